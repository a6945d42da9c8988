-- Records of transactions that were in flight when the log was sealed last: transactions.
select xid::text, run, seq, hash, bytes
from redress.record
where xid = any ($1::text[]::xid8[])
order by xid, run, seq
