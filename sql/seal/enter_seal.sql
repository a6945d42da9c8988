-- Locks the head of the log and gives the snapshot that the batch is read with: fence, statement ms, lock ms, idle ms.
select generation, size, root, edge, seen_below, in_flight, pg_current_snapshot()::text
from redress.enter_seal($1, $2, $3, $4)
