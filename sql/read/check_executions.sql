-- Every execution of a runbook, after this one: execution, limit.
select id, log, encode(plan, 'hex'), state, done
from redress.execution
where id > $1
order by id
limit $2
