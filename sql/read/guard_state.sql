-- The event triggers that refuse DDL on our schema, and their function: names of both, schema.
select e.evtname::text, e.evtenabled::text, p.prosrc::text, r.rolsuper
from pg_event_trigger e
join pg_proc p on p.oid = e.evtfoid
join pg_namespace n on n.oid = p.pronamespace
join pg_roles r on r.oid = p.proowner
where e.evtname = any ($1::text[]) and n.nspname = $2
order by 1
