-- Enters a phase: run, epoch, phase, saga, subject, statement ms, lock ms, idle ms.
select xid, seq, head, at, switch_no
from redress.enter_phase($1, $2, $3, $4, $5, $6, $7, $8)
