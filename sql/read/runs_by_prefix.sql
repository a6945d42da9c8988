-- Runs whose id begins or ends so, archived ones too: a part of an id. Its end is what is shown where room is short.
select id
from redress.run
where id::text like $1::text || '%' or id::text like '%' || $1::text
union all
select run
from redress.archived_run
where run::text like $1::text || '%' or run::text like '%' || $1::text
limit 2
