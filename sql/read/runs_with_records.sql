-- Every run that has records, in order, after this one: run, limit.
select distinct run
from redress.record
where run > $1
order by run
limit $2
