-- Every function in our schema: schema.
select p.proname::text as name, pg_get_userbyid(p.proowner)::text as owner, p.prosecdef as definer, p.prosrc as source,
       coalesce((select c from unnest(p.proconfig) c where c like 'search\_path=%'), '') as search_path
from pg_proc p
join pg_namespace n on n.oid = p.pronamespace
where n.nspname = $1
order by 1, 4
