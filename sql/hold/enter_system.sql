-- Locks a log that belongs to no run: its name, statement ms, lock ms, idle ms.
select run, seq, head, at, switch_no
from redress.enter_system($1, $2, $3, $4)
