-- Holds in force that a shell offers, the youngest first.
select h.id, h.scope, coalesce(h.target, '') as target, h.reason
from redress.hold h
where h.released_at is null
order by h.id desc
limit 200
