-- Runs that wait for a person, oldest first: what failed or is stuck, what a hold stops, and what only a signature wakes
-- (such a run is to be looked at in a hundred years).
select id, saga, version, definition, subject, exclusive, key, input_hash, requester,
       to_char(opened_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as opened_at,
       state, phase, epoch, seq, head, basis_seq, basis, attempts, claims, owner,
       to_char(ended_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as ended_at,
       failed_phase, error_code, error, plan
from redress.run r
where state in ('failed', 'stuck')
   or (state = 'running' and next_at > clock_timestamp() + interval '10 years')
   or (state in ('running', 'compensating')
     and exists (
       select from redress.hold h
       where h.released_at is null
         and (h.scope = 'all'
           or (h.scope = 'saga' and h.target = r.saga)
           or (h.scope = 'subject' and h.target = r.subject)
           or (h.scope = 'run' and h.target = r.id::text))))
order by r.opened_at, id
