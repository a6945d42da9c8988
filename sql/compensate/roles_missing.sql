-- Which of these roles this session may not take: roles.
select r.name
from unnest($1::text[]) r(name)
where not coalesce((select pg_has_role(current_user, o.oid, 'member') from pg_roles o where o.rolname = r.name), false)
order by 1
