-- Runs whose last act outside the database has no outcome in the log while nobody is at it, oldest first.
select r.id, r.saga, r.state, coalesce(r.phase, r.failed_phase, '') as phase,
       extract(epoch from clock_timestamp() - r.opened_at)::bigint as seconds
from redress.run r
left join redress.worker w on w.id = r.owner and w.lease_until > clock_timestamp()
where r.state in ('running', 'failed', 'compensating', 'stuck') and w.id is null
  and (r.error_code = 'RD0317'
    or exists (select from redress.record i where i.run = r.id and i.seq = r.seq and i.kind = 'phase.intended'))
order by r.opened_at
limit 20
