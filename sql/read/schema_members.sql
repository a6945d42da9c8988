-- Who may act as one of our roles and must not: one of these roles as another or as the owner, and, with `ours` false,
-- logins beside them as the owner: owner, roles.
select r.rolname::text as role, o.rolname::text as other, r.rolname = any ($2::text[]) as ours
from pg_roles r
join pg_roles o on o.rolname = $1::text or o.rolname = any ($2::text[])
where r.oid <> o.oid
  and case when r.rolname = any ($2::text[])
           then case when r.rolsuper then o.rolname = $1::text else pg_has_role(r.oid, o.oid, 'member') end
           else o.rolname = $1::text and r.rolcanlogin and not r.rolsuper and pg_has_role(r.oid, o.oid, 'member') end
order by 1, 2
