-- One definition: digest.
select saga, version, canonical
from redress.definition
where digest = $1
