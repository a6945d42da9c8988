-- Runs whose id begins so, archived ones too: prefix.
select id
from redress.run
where id::text like $1::text || '%'
union all
select run
from redress.archived_run
where run::text like $1::text || '%'
limit 2
