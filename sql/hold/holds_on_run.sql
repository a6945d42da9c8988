-- Holds in force that bear on a run: saga, subject, run.
select id, scope, reason, code, by,
       to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as at
from redress.hold
where released_at is null
  and (scope = 'all'
    or (scope = 'saga' and target = $1)
    or (scope = 'subject' and target = $2)
    or (scope = 'run' and target = $3::uuid::text))
order by hold.at, id
