-- Records of the keyring's log behind a place, each with its transaction: run, after this seq.
select xid::text, run, seq, hash, bytes
from redress.record
where run = $1 and seq > $2
order by seq
