-- Refusals of a run that is not there: limit.
select run, actor, code
from redress.refusal f
where not exists (select from redress.run r where r.id = f.run)
order by run, actor, code
limit $1
