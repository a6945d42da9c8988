-- Locks the system log: statement ms, lock ms, idle ms.
select run, seq, head, at, switch_no
from redress.enter_system($1, $2, $3)
