-- Locks keys in one order: [{kind, target, key}].
select m.kind, m.target, m.key, m.revision, m.value
from postings.metadata m
where (m.kind, m.target, m.key) in (
  select w.kind, w.target, w.key
  from pg_catalog.jsonb_to_recordset($1::jsonb) as w (kind text, target text, key text))
order by m.kind collate "C", m.target, m.key
for update of m
