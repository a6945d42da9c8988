-- Keeps the receipts from which reversals were made: [{transaction, record_sha256 (hex), note}].
insert into postings.receipt (transaction, record_sha256, note)
select w.transaction, pg_catalog.decode(w.record_sha256, 'hex'), w.note
from pg_catalog.jsonb_to_recordset($1::jsonb) as w (transaction uuid, record_sha256 text, note text)
