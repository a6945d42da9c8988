-- Every hold, after this one, and whether the run that caused it was archived: hold, limit.
select h.id, h.scope, h.target, h.run, h.reason, h.code, h.by, h.released_at is not null as released, h.released_by,
       a.run is not null as archived
from redress.hold h
left join redress.archived_run a on a.run = h.run
where h.id > $1
order by h.id
limit $2
