-- Records of transactions from this one on, in the order of their transactions: transaction, limit. What a restored copy
-- has from transactions that lie ahead comes when they are reached. (Qualified: `order by xid` would order the text.)
select r.xid::text, r.run, r.seq, r.hash, r.bytes
from redress.record r
where r.xid >= $1::text::xid8 and r.xid < pg_snapshot_xmax(pg_current_snapshot())
order by r.xid, r.run, r.seq
limit $2
