-- Records of transactions from this one on, in their order: transaction, limit.
select xid::text, run, seq, hash, bytes
from redress.record
where xid >= $1::text::xid8
order by xid, run, seq
limit $2
