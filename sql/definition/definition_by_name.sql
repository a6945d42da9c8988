-- A saga's newest version, or the one named: saga, version or null.
select digest, version, canonical
from redress.definition
where saga = $1 and ($2::int is null or version = $2)
order by version desc
limit 1
