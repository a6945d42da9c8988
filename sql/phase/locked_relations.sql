-- Relations whose rows this transaction locked without writing them (ROW SHARE), partitions as their roots. Left out are
-- those that a foreign key accounts for: parents, and children, of what it wrote.
with held as (
  select coalesce(pg_catalog.pg_partition_root(k.oid), k.oid) as oid,
         pg_catalog.bool_or(l.mode = 'RowShareLock') as locked,
         pg_catalog.bool_or(l.mode not in ('AccessShareLock', 'RowShareLock')) as written
  from pg_catalog.pg_locks l
  join pg_catalog.pg_class k on k.oid = l.relation
  where l.pid = pg_catalog.pg_backend_pid() and l.locktype = 'relation' and l.granted
    and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database())
    and k.relkind in ('r', 'p', 'f', 'm')
  group by 1
), keyed as (
  select coalesce(pg_catalog.pg_partition_root(k.conrelid), k.conrelid) as child,
         coalesce(pg_catalog.pg_partition_root(k.confrelid), k.confrelid) as parent
  from pg_catalog.pg_constraint k
  where k.contype = 'f'
)
select n.nspname || '.' || c.relname as relation
from held
join pg_catalog.pg_class c on c.oid = held.oid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where held.locked and not held.written
  and n.nspname not in ('redress', 'pg_catalog')
  and n.nspname not like 'pg\_temp\_%'
  and not exists (select from keyed
                  join held w on w.written
                  where keyed.parent = held.oid and keyed.child = w.oid
                     or keyed.child = held.oid and keyed.parent = w.oid)
order by 1
