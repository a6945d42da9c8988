-- Plans whose digest begins so: hex prefix.
select digest
from redress.plan
where encode(digest, 'hex') like $1::text || '%'
limit 2
