-- The hash of one record: run, seq.
select hash
from redress.record
where run = $1 and seq = $2
