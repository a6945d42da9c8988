-- Blobs that no record of their run names: limit. A record names one by its id, in lower case.
select id, run
from redress.blob b
where not exists (
  select from redress.record r
  where r.run = b.run and position(convert_to('"id":"' || b.id::text || '"', 'UTF8') in r.bytes) > 0)
order by id
limit $1
