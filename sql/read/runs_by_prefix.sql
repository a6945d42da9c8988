-- Runs whose id begins so: prefix.
select id
from redress.run
where id::text like $1::text || '%'
limit 2
