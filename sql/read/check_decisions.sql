-- Every used decision, after this one, and whether its run was archived: decision, limit.
select d.id, d.run, d.seq, a.run is not null
from redress.decision_used d
left join redress.archived_run a on a.run = d.run
where d.id > $1
order by d.id
limit $2
