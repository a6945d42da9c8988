-- Executions of runbooks that are under way and that a shell offers, the youngest first.
select e.id, e.runbook, e.state
from redress.execution e
where e.state in ('planned', 'running')
order by e.id desc
limit 200
