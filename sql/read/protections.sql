-- The triggers that keep records append-only, and whether each fires always.
select c.relname::text as relation, t.tgname::text as trigger, t.tgenabled = 'A' as always
from pg_trigger t
join pg_class c on c.oid = t.tgrelid
join pg_namespace n on n.oid = c.relnamespace
where n.nspname = $1 and not t.tgisinternal
order by 1, 2
