-- Whether a role exists: name.
select exists (select from pg_roles where rolname = $1)
