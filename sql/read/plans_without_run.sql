-- Plans of a run that is not there: limit.
select run, digest
from redress.plan p
where not exists (select from redress.run r where r.id = p.run)
order by run, digest
limit $1
