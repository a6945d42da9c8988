-- Runs that a shell offers, the youngest first; their ids are ordered by time.
select r.id, r.saga, r.state, coalesce(r.subject, '') as subject
from redress.run r
order by r.id desc
limit 200
