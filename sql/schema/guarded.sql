-- Writes down what is ours in this schema, as the server names it: schema, owner. Names and not ids, which a restore changes.
with ours as (
  select 'pg_class'::regclass as class, c.oid
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  where n.nspname = $1 and pg_get_userbyid(c.relowner) = $2
  union all
  select 'pg_proc'::regclass, p.oid
  from pg_proc p
  join pg_namespace n on n.oid = p.pronamespace
  where n.nspname = $1 and pg_get_userbyid(p.proowner) = $2
  union all
  select 'pg_type'::regclass, t.oid
  from pg_type t
  join pg_namespace n on n.oid = t.typnamespace
  where n.nspname = $1 and pg_get_userbyid(t.typowner) = $2
  union all
  select 'pg_trigger'::regclass, t.oid
  from pg_trigger t
  join pg_class c on c.oid = t.tgrelid
  join pg_namespace n on n.oid = c.relnamespace
  where n.nspname = $1 and pg_get_userbyid(c.relowner) = $2 and not t.tgisinternal
  union all
  select 'pg_namespace'::regclass, n.oid
  from pg_namespace n
  where n.nspname = $1)
insert into redress.guarded (type, identity)
select o.type, o.identity
from ours
cross join lateral pg_identify_object(ours.class, ours.oid, 0) o
on conflict on constraint guarded_pkey do nothing
