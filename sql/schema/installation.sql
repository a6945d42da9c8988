-- The installation and the server it stands on.
select i.origin, i.generation, i.system_identifier,
       (select c.system_identifier::text from pg_control_system() c) as server,
       (select max(version) from redress.migration) as schema_version
from redress.installation i
