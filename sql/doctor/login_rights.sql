-- The five roles of an installation: which exist, and which of them this login may use.
select w.role, r.oid is not null as there,
       coalesce(pg_has_role(current_user, r.oid, 'usage'), false) as usable,
       coalesce(pg_has_role(current_user, r.oid, 'member'), false) as member
from (values ('redress_owner'), ('redress_engine'), ('redress_operator'), ('redress_sealer'), ('redress_auditor')) w (role)
left join pg_roles r on r.rolname = w.role
