-- The newest time that the ledger has recorded, against the server's clock now.
select coalesce(extract(epoch from max(t.at) - clock_timestamp()), 0)::float8 as ahead
from (select (select max(c.made_at) from redress.checkpoint c) as at
      union all
      select (select r.opened_at from redress.run r where r.state = s.state order by r.opened_at desc limit 1)
      from unnest('{running, failed, compensating, compensated, stuck, completed, resolved}'::text[]) s (state)) t
