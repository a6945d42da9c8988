-- The last sealed record of each of these runs: runs, generation.
select u.run, l.seq, l.hash
from unnest($1::uuid[]) u (run)
cross join lateral (
  select l.seq, l.hash from redress.leaf l
  where l.run = u.run and l.generation = $2
  order by l.seq desc
  limit 1) l
