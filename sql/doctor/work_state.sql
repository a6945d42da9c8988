-- Who works, and what nobody does: workers with a lease, leases from the future, runs whose owner is gone, runs that wait.
select (select count(*) from redress.worker w where w.lease_until > clock_timestamp()) as workers,
       (select count(*) from redress.worker w where w.lease_until > clock_timestamp() + interval '1 day') as beyond,
       (select count(*) from redress.run r left join redress.worker w on w.id = r.owner
        where r.owner is not null and r.state in ('running', 'compensating')
          and (w.id is null or w.lease_until < clock_timestamp())) as orphans,
       (select count(*) from redress.run r
        where r.state in ('running', 'compensating') and r.owner is null and r.next_at < clock_timestamp() - interval '1 minute'
          and (select s.state from redress.switch s) = 'run'
          and not exists (
            select from redress.hold h where h.released_at is null
              and (h.scope = 'all' or (h.scope = 'saga' and h.target = r.saga)
                or (h.scope = 'subject' and h.target = r.subject) or (h.scope = 'run' and h.target = r.id::text)))) as waiting,
       (select coalesce(extract(epoch from clock_timestamp() - min(r.next_at)), 0)::bigint from redress.run r
        where r.state in ('running', 'compensating') and r.owner is null and r.next_at < clock_timestamp()) as waiting_seconds,
       (select s.lease_until > clock_timestamp() from redress.sealer s) as sealing,
       (select s.lease_until > clock_timestamp() + interval '1 day' and s.lease_until <> 'infinity' from redress.sealer s) as sealer_beyond
