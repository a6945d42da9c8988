-- One run that was archived, as it stood when it left: id.
select run as id, saga, version, definition, subject, key, input_hash, requester,
       to_char(opened_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as opened_at,
       state, null::text as phase, epoch, seq, head, basis_seq, basis, 0 as attempts, 0 as claims,
       to_char(ended_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as ended_at,
       null::text as failed_phase, null::text as error_code, null::text as error, null::bytea as plan
from redress.archived_run
where run = $1
