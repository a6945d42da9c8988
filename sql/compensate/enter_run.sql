-- Locks a run: run, epoch or null, raise the epoch, statement ms, lock ms, idle ms.
select xid, seq, head, at, switch_no, epoch, state, phase, basis_seq, basis
from redress.enter_run($1, $2, $3, $4, $5, $6)
