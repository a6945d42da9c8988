-- The refusals of these runs: runs.
select run, actor, code, basis
from redress.refusal
where run = any ($1)
order by run, actor, code, basis
