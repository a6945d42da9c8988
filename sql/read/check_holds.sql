-- Every hold, after this one: hold, limit.
select id, scope, target, run, reason, code, by, released_at is not null as released, released_by
from redress.hold
where id > $1
order by id
limit $2
