-- A role that cannot write and that this session may take: the named one, else one that reads everything, else the auditor's.
select case
  when $1::text is not null then $1
  when pg_has_role(current_user, 'pg_read_all_data', 'MEMBER') then 'pg_read_all_data'
  when pg_has_role(current_user, 'redress_auditor', 'MEMBER') then 'redress_auditor'
end
