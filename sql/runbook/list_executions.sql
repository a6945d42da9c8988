-- Executions, youngest first: of a log or all, only those under way, at most.
select id, log, flight, runbook, version, plan, canonical, made_by, state, done, owner_name,
       to_char(made_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), to_char(taken_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), lease_until > clock_timestamp()
from redress.execution
where ($1::uuid is null or log = $1) and (not $2 or state = 'begun')
order by made_at desc, id desc
limit $3
