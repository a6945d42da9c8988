-- Whether runs that can be executed here wait for their time, an hour at most, or for another worker's lease: definitions.
-- What waits longer (a gate, people) is no reason to stay.
select exists (
  select from redress.run r
  where r.state in ('running', 'compensating')
    and r.definition = any ($1)
    and r.next_at < clock_timestamp() + interval '1 hour'
    and (select s.state from redress.switch s) = 'run'
    and not exists (
      select from redress.hold h where h.released_at is null
        and (h.scope = 'all'
          or (h.scope = 'saga' and h.target = r.saga)
          or (h.scope = 'subject' and h.target = r.subject)
          or (h.scope = 'run' and h.target = r.id::text))))
