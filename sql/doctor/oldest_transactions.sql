-- Transactions that are open for long, oldest first; what other roles run may be hidden.
select a.pid, coalesce(a.usename::text, '') as login, coalesce(a.datname::text, '') as database,
       coalesce(a.application_name, '') as application, coalesce(a.state, '') as state,
       extract(epoch from clock_timestamp() - a.xact_start)::bigint as seconds, coalesce(age(a.backend_xmin), 0) as age
from pg_stat_activity a
where a.xact_start is not null and a.pid <> pg_backend_pid() and a.backend_type = 'client backend'
order by a.xact_start
limit 5
