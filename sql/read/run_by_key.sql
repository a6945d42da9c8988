-- One run: saga, key.
select id, saga, version, definition, subject, exclusive, key, input_hash, requester,
       to_char(opened_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as opened_at,
       state, phase, epoch, seq, head, basis_seq, basis, attempts, claims, owner,
       to_char(ended_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as ended_at,
       failed_phase, error_code, error, plan
from redress.run
where saga = $1 and key = $2
