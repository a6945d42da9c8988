-- Transactions that somebody prepared and did not end, oldest first.
select p.gid, p.database::text as database, p.owner::text as owner,
       extract(epoch from clock_timestamp() - p.prepared)::bigint as seconds, age(p.transaction) as age
from pg_prepared_xacts p
order by p.prepared
limit 20
