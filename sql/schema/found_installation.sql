-- Makes the installation's rows: origin, system run, keyring's run.
with i as (
  insert into redress.installation (origin, system_identifier)
  select $1, (select c.system_identifier::text from pg_control_system() c)
  on conflict on constraint installation_pkey do nothing
  returning 1),
s as (
  insert into redress.switch (state, switch_no, reason, by, at)
  select 'run', 1, 'installed', 'migrate', clock_timestamp() from i)
insert into redress.system_log (name, run, seq, head)
select l.name, l.run, 0, decode(repeat('00', 32), 'hex') from i, (values ('system', $2::uuid), ('keys', $3::uuid)) l (name, run)
