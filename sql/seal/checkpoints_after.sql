-- Signed heads in order: generation, after this size, limit.
select size, note
from redress.checkpoint
where generation = $1 and size > $2
order by size
limit $3
