-- Sagas that a shell offers.
select d.saga, max(d.version) as version
from redress.definition d
group by d.saga
order by d.saga
limit 500
