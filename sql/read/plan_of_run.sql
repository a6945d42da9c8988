-- The last plan made for a run: run.
select digest, basis_seq, canonical
from redress.plan
where run = $1
order by made_at desc, digest
limit 1
