-- A run's records in order: run, after this seq.
select seq, hash, kind, phase, epoch, switch_no, transition, bytes
from redress.record
where run = $1 and seq > $2
order by seq
