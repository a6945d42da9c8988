-- Records of transactions that were in flight when the log was sealed last: transactions.
select r.xid::text, r.run, r.seq, r.hash, r.bytes
from redress.record r
where r.xid = any ($1::text[]::xid8[])
order by r.xid, r.run, r.seq
