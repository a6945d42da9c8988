-- The head of the log, and the newest one that was signed.
select s.generation, s.size, s.root, c.size, c.root
from redress.sealer s
left join lateral (
  select size, root from redress.checkpoint c
  where c.generation = s.generation
  order by size desc
  limit 1) c on true
