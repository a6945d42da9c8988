-- Hashes in the order of their positions: generation, first position, limit.
select position, hash
from redress.leaf
where generation = $1 and position >= $2
order by position
limit $3
