-- Every hold and whether it is released.
select id, released_at is not null as released
from redress.hold
order by id
