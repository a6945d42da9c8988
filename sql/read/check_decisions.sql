-- Every used decision, after this one: decision, limit.
select id, run, seq
from redress.decision_used
where id > $1
order by id
limit $2
