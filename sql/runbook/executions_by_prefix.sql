-- Executions whose id begins or ends so, at most three: a part of an id. Its end is what is shown where room is short.
select id, log, flight, runbook, version, plan, canonical, made_by, state, done, owner_name,
       to_char(made_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), to_char(taken_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), lease_until > clock_timestamp()
from redress.execution
where id::text like $1 || '%' or id::text like '%' || $1
order by id
limit 3
