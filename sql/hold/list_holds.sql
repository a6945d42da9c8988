-- Holds: all of them, or those in force only.
select id, scope, target, run, reason, code, by,
       to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as at, released_at is not null as released
from redress.hold
where released_at is null or not $1
order by hold.at, id
