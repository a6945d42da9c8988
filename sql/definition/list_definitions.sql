-- Definitions and how many unfinished runs each has.
select d.saga, d.version, d.digest,
       to_char(d.registered_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as registered_at,
       (select count(*) from redress.run r
        where r.definition = d.digest and r.state not in ('completed', 'compensated', 'resolved')) as active
from redress.definition d
order by d.saga, d.version
