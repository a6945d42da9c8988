-- Records of these runs in the order of their positions: generation, runs, position behind the last.
select l.position, l.run, l.seq, l.hash, r.bytes, a.run is not null
from redress.leaf l
left join redress.record r on r.run = l.run and r.seq = l.seq
left join redress.archived_run a on a.run = l.run
where l.run = any ($2::uuid[]) and l.generation = $1 and l.position < $3
order by l.position
