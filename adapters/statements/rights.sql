-- What a role needs for the statements that were prepared and planned in this transaction: words of their texts, words that
-- are called, and the oids that are inserted into, updated, deleted from, and read while they are modified. Names are quoted
-- as SQL needs them. Nothing was carried out, so the locks are those of the texts.
with held as (
  select k.oid,
         pg_catalog.bool_or(l.mode in ('AccessShareLock', 'RowShareLock')) as read,
         pg_catalog.bool_or(l.mode = 'RowShareLock') as locked
  from pg_catalog.pg_locks l
  join pg_catalog.pg_class k on k.oid = l.relation
  where l.pid = pg_catalog.pg_backend_pid() and l.locktype = 'relation' and l.granted
    and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database())
    and k.oid >= 16384 and k.relkind in ('r', 'p', 'v', 'm', 'f') and k.relname = any ($1::text[])
  group by k.oid
), on_table (oid, needed) as (
  select held.oid, 'select' from held where held.read
  union select held.oid, 'update' from held where held.locked
  union select o.oid, 'insert' from unnest($3::oid[]) as o (oid)
  union select o.oid, 'update' from unnest($4::oid[]) as o (oid)
  union select o.oid, 'delete' from unnest($5::oid[]) as o (oid)
  union select o.oid, 'select' from unnest($6::oid[]) as o (oid)
), on_sequence (oid) as (
  select distinct d.refobjid
  from pg_catalog.pg_attrdef a
  join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_attrdef'::regclass and d.objid = a.oid
    and d.refclassid = 'pg_catalog.pg_class'::regclass
  join pg_catalog.pg_class s on s.oid = d.refobjid and s.relkind = 'S'
  where a.adrelid = any ($3::oid[])
), on_routine as (
  select p.oid, p.pronamespace, p.prosecdef, p.prolang
  from pg_catalog.pg_proc p
  join pg_catalog.pg_namespace n on n.oid = p.pronamespace
  where p.oid >= 16384 and p.proname = any ($2::text[])
    and (n.nspname = any ($1::text[]) or pg_catalog.pg_function_is_visible(p.oid))
), named (kind, oid, needed) as (
  select 'table', on_table.oid, on_table.needed from on_table
  union all
  select 'sequence', on_sequence.oid, 'usage' from on_sequence
)
select 'schema' as kind, pg_catalog.quote_ident(n.nspname) as name, 'usage' as needed, false as unseen
from pg_catalog.pg_namespace n
where n.oid in (select c.relnamespace from pg_catalog.pg_class c where c.oid in (select named.oid from named)
                union select on_routine.pronamespace from on_routine)
  and n.nspname not like 'pg\_%'
union
select named.kind, pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname), named.needed, false
from named
join pg_catalog.pg_class c on c.oid = named.oid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where n.nspname not like 'pg\_temp\_%'
union
select 'routine',
       pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(p.proname)
         || '(' || pg_catalog.pg_get_function_identity_arguments(p.oid) || ')',
       'execute', not p.prosecdef and l.lanname in ('plpgsql', 'sql')
from on_routine
join pg_catalog.pg_proc p on p.oid = on_routine.oid
join pg_catalog.pg_namespace n on n.oid = p.pronamespace
join pg_catalog.pg_language l on l.oid = p.prolang
order by 1, 2, 3
