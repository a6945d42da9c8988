-- Which of these roles can do what only the owner may: owner, roles.
select r.rolname::text
from pg_roles r
where r.rolname = any ($2::text[])
  and (r.rolsuper or pg_has_role(r.oid, (select o.oid from pg_roles o where o.rolname = $1::text), 'member'))
order by 1
