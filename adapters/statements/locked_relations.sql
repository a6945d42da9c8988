-- Relations of which some statement that was prepared in this transaction locks rows, partitions as their roots. Nothing was
-- carried out: what is locked is what the texts name.
select distinct n.nspname || '.' || c.relname as relation
from pg_catalog.pg_locks l
join pg_catalog.pg_class k on k.oid = l.relation
join pg_catalog.pg_class c on c.oid = coalesce(pg_catalog.pg_partition_root(k.oid), k.oid)
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where l.pid = pg_catalog.pg_backend_pid() and l.locktype = 'relation' and l.granted and l.mode = 'RowShareLock'
  and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database())
  and c.relkind in ('r', 'p', 'f', 'm')
  and n.nspname <> 'pg_catalog' and n.nspname not like 'pg\_temp\_%'
order by 1
