-- The heads of the logs that belong to no run.
select run, seq, head, name
from redress.system_log
order by name desc
