-- Runs, youngest first: saga, state, subject, ids (each may be null), limit.
select id, saga, version, definition, subject, exclusive, key, input_hash, requester,
       to_char(opened_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as opened_at,
       state, phase, epoch, seq, head, basis_seq, basis, attempts, claims, owner,
       to_char(ended_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as ended_at,
       failed_phase, error_code, error, plan
from redress.run
where ($1::text is null or saga = $1)
  and ($2::text is null or state = $2)
  and ($3::text is null or subject = $3)
  and ($4::uuid[] is null or id = any ($4))
order by run.opened_at desc, id desc
limit $5
