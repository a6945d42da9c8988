-- Makes room for keys that are about to be set, in the order in which they are locked: [{kind, target, key}].
insert into postings.metadata (kind, target, key, revision, value)
select w.kind, w.target, w.key, 0, null
from pg_catalog.jsonb_to_recordset($1::jsonb) as w (kind text, target text, key text)
order by w.kind collate "C", w.target collate "C", w.key collate "C"
on conflict (kind, target, key) do nothing
