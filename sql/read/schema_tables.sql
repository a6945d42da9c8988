-- Every table in our schema and what could change or hide its rows: schema.
select c.relname::text as name, pg_get_userbyid(c.relowner)::text as owner, c.relpersistence::text as persistence,
       c.relrowsecurity as row_security, (select count(*) from pg_rewrite w where w.ev_class = c.oid) as rules,
       c.relhassubclass or c.relispartition as family
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
where n.nspname = $1 and c.relkind in ('r', 'p', 'f', 'v', 'm')
order by 1
