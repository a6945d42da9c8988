-- Adds transactions: [{id, run, phase, reference, digest (hex), reverses, effective, forced_by, captured}].
insert into postings.transaction (id, run, phase, reference, digest, reverses, effective_at, forced_by, captured)
select w.id, w.run, w.phase, w.reference, pg_catalog.decode(w.digest, 'hex'), w.reverses,
       coalesce(w.effective, pg_catalog.clock_timestamp()), w.forced_by, w.captured
from pg_catalog.jsonb_to_recordset($1::jsonb)
     as w (id uuid, run uuid, phase text, reference text, digest text, reverses uuid, effective timestamptz,
           forced_by text, captured jsonb)
returning id, pg_catalog.to_char(effective_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as effective
