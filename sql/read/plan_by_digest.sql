-- One plan: digest.
select run, basis_seq, canonical
from redress.plan
where digest = $1
