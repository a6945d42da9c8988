-- The newest signed head: generation.
select size, root, note
from redress.checkpoint
where generation = $1
order by size desc
limit 1
