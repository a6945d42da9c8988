-- Every run with its head, after this one: run, limit.
select id, state, phase, seq, head, epoch, definition
from redress.run
where id > $1
order by id
limit $2
