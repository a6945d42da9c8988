-- Every record, run by run: after run and seq, limit.
select run, seq, hash, kind, phase, epoch, switch_no, transition, bytes
from redress.record
where (run, seq) > ($1, $2)
order by run, seq
limit $3
