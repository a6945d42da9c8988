-- A signed head: generation, size.
select size, root, note
from redress.checkpoint
where generation = $1 and size = $2
