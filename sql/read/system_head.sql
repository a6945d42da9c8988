-- The head of the system log.
select run, seq, head
from redress.system_log
