-- Leaves with what their records say, in the order of positions, and whether the run was archived: generation, first
-- position, limit.
select l.position, l.run, l.seq, l.hash, r.hash, a.run is not null
from redress.leaf l
left join redress.record r on r.run = l.run and r.seq = l.seq
left join redress.archived_run a on a.run = l.run
where l.generation = $1 and l.position >= $2
order by l.position
limit $3
