-- Failed and stuck runs that a shell offers where a plan is meant, the youngest first.
select r.id, r.saga, r.state, coalesce(r.subject, '') as subject
from redress.run r
where r.state in ('failed', 'stuck', 'compensating')
order by r.id desc
limit 200
