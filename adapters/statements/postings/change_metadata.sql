-- Sets keys and deletes them (value null: a tombstone); the keys are locked: [{kind, target, key, value}].
update postings.metadata m
set value = w.value, revision = m.revision + 1, changed_at = pg_catalog.clock_timestamp()
from pg_catalog.jsonb_to_recordset($1::jsonb) as w (kind text, target text, key text, value text)
where m.kind = w.kind and m.target = w.target and m.key = w.key
