-- Records that have no position in the log of a generation, in the order of their runs: generation.
select r.xid::text, r.run, r.seq, r.hash, r.bytes
from redress.record r
where not exists (select from redress.leaf l where l.run = r.run and l.seq = r.seq and l.generation = $1)
order by r.run, r.seq
