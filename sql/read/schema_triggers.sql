-- Every trigger on our tables: schema. The type's bits: 1 row, 2 before, 4 insert, 8 delete, 16 update, 32 truncate.
select c.relname::text as relation, t.tgname::text as trigger, t.tgenabled::text as enabled, t.tgtype::int as bits,
       f.pronamespace = c.relnamespace as ours, f.proname::text as function, t.tgqual is null as always,
       t.tgattr::text as columns
from pg_trigger t
join pg_class c on c.oid = t.tgrelid
join pg_namespace n on n.oid = c.relnamespace
join pg_proc f on f.oid = t.tgfoid
where n.nspname = $1 and not t.tgisinternal
order by 1, 2
