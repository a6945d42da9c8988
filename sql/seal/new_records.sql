-- Records of transactions from this one on that have no position yet, in their order: transaction, limit, generation.
-- In a restored copy the ids of old transactions may lie ahead; those records are known by their leaf.
select r.xid::text, r.run, r.seq, r.hash, r.bytes
from redress.record r
where r.xid >= $1::text::xid8
  and not exists (select from redress.leaf l where l.run = r.run and l.seq = r.seq and l.generation = $3)
order by r.xid, r.run, r.seq
limit $2
