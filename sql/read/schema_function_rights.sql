-- Who besides the owner may call each function in our schema; no name is PUBLIC: schema.
select distinct p.proname::text as name, case when a.grantee = 0 then 'PUBLIC' else pg_get_userbyid(a.grantee)::text end as grantee
from pg_proc p
join pg_namespace n on n.oid = p.pronamespace
cross join lateral aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
where n.nspname = $1 and a.privilege_type = 'EXECUTE' and a.grantee <> p.proowner
order by 1, 2
