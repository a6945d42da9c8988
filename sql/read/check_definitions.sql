-- Every definition with its bytes.
select digest, saga, version, canonical
from redress.definition
order by saga, version
