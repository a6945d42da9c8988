-- Records in the order of their positions: generation, first position, position behind the last, limit.
select l.position, l.run, l.seq, l.hash, r.bytes, a.run is not null
from redress.leaf l
left join redress.record r on r.run = l.run and r.seq = l.seq
left join redress.archived_run a on a.run = l.run
where l.generation = $1 and l.position >= $2 and l.position < $3
order by l.position
limit $4
