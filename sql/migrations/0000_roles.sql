-- Roles, schema and the list of migrations: what every later migration needs. Idempotent. CREATEROLE is enough;
-- roles that exist already (made by an administrator) are used as they are.
do $$
declare
  r text;
begin
  foreach r in array array['redress_owner', 'redress_engine', 'redress_operator', 'redress_sealer', 'redress_auditor'] loop
    if not exists (select from pg_roles where rolname = r) then
      execute format('create role %I nologin', r);
    end if;
  end loop;
  -- Since 16 who makes a role is a member that may neither act as it nor use it. Where an administrator made the roles
  -- this may be refused: SET ROLE below then says whether what there is suffices.
  foreach r in array array['redress_owner', 'redress_engine', 'redress_operator', 'redress_sealer', 'redress_auditor'] loop
    if not pg_has_role(current_user, r, 'usage') then
      begin
        execute format('grant %I to %I', r, current_user);
      exception when insufficient_privilege then
        null;
      end;
    end if;
  end loop;
end $$;

do $$
begin
  if to_regnamespace('redress') is null then
    execute format('create schema %I authorization %I', 'redress', 'redress_owner');
  end if;
end $$;

set local role redress_owner;

create table if not exists redress.migration (
  version     int         not null,
  name        text        not null,
  sha256      bytea       not null,
  applied_at  timestamptz not null default clock_timestamp(),
  constraint migration_pkey primary key (version)
);
