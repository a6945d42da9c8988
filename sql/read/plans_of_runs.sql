-- The plans of these runs: runs.
select run, digest, basis_seq, canonical
from redress.plan
where run = any ($1)
order by run, digest
