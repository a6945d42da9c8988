-- Migrations in order.
select version, name, sha256
from redress.migration
order by version
