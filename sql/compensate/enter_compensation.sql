-- Enters a compensation: run, epoch or null, raise, saga, subject, switch_no or null, holds, statement ms, lock ms, idle ms.
select xid, seq, head, at, switch_no, epoch, state, phase, basis_seq, basis
from redress.enter_compensation($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
