-- Rights on our tables and schema that somebody besides the owner has; no name is PUBLIC: schema.
select c.relname::text as relation, case when a.grantee = 0 then 'PUBLIC' else pg_get_userbyid(a.grantee)::text end as grantee,
       a.privilege_type::text as privilege
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
cross join lateral aclexplode(c.relacl) a
where n.nspname = $1 and a.grantee <> c.relowner and a.privilege_type <> 'MAINTAIN'
union all
select c.relname || '.' || t.attname, case when a.grantee = 0 then 'PUBLIC' else pg_get_userbyid(a.grantee)::text end, a.privilege_type
from pg_attribute t
join pg_class c on c.oid = t.attrelid
join pg_namespace n on n.oid = c.relnamespace
cross join lateral aclexplode(t.attacl) a
where n.nspname = $1 and a.grantee <> c.relowner and (a.privilege_type <> 'SELECT' or a.grantee = 0)
union all
select 'schema ' || n.nspname, case when a.grantee = 0 then 'PUBLIC' else pg_get_userbyid(a.grantee)::text end, a.privilege_type
from pg_namespace n
cross join lateral aclexplode(n.nspacl) a
where n.nspname = $1 and a.grantee <> n.nspowner
union all
select 'schema ' || n.nspname || ' (by default)', case when a.grantee = 0 then 'PUBLIC' else pg_get_userbyid(a.grantee)::text end,
       a.privilege_type || ' on what ' || pg_get_userbyid(d.defaclrole) || ' makes'
from pg_default_acl d
join pg_namespace n on n.oid = d.defaclnamespace
cross join lateral aclexplode(d.defaclacl) a
where n.nspname = $1 and a.grantee <> d.defaclrole
order by 1, 2, 3
