-- Relations of others than ourselves that this backend has locked beyond reading, and how.
select format('%s.%s', n.nspname, c.relname) as relation, l.mode
from pg_locks l
join pg_class c on c.oid = l.relation
join pg_namespace n on n.oid = c.relnamespace
where l.pid = pg_backend_pid() and l.locktype = 'relation' and l.granted
  and l.database = (select d.oid from pg_database d where d.datname = current_database())
  and c.relkind in ('r', 'p', 'm', 'f')
  and n.nspname not in ('pg_catalog', 'redress')
  and n.nspname not like 'pg\_temp\_%' and n.nspname not like 'pg\_toast%'
  and l.mode <> 'AccessShareLock'
order by 1, 2
