-- Records of transactions from this one on, in the order of their transactions: transaction, limit. What a restored copy
-- has from transactions that lie ahead comes when they are reached.
select xid::text, run, seq, hash, bytes
from redress.record
where xid >= $1::text::xid8 and xid < pg_snapshot_xmax(pg_current_snapshot())
order by xid, run, seq
limit $2
