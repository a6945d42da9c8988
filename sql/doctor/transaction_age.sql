-- How many transactions and multixacts ago the oldest unfrozen row of each database may be from, the oldest database first.
select d.datname::text as database, age(d.datfrozenxid) as xid_age, mxid_age(d.datminmxid) as mxid_age
from pg_database d
order by greatest(age(d.datfrozenxid), mxid_age(d.datminmxid)) desc
limit 5
