-- Every run as it stands, after this one: run, limit.
select id, saga, version, definition, subject, exclusive, key, input_hash, requester,
       to_char(opened_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as opened_at,
       state, phase, epoch, seq, head, basis_seq, basis, attempts, claims, owner,
       to_char(ended_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as ended_at,
       failed_phase, error_code, error, plan
from redress.run
where id > $1
order by id
limit $2
