-- Stores the plan of an execution: id, log, flight, runbook, version, digest, canonical bytes, by whom.
select redress.put_execution($1, $2, $3, $4, $5, $6, $7, $8)
