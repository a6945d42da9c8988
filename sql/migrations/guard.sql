-- Refuses ALTER, DROP and replacement of what is ours in this schema, where the installer may say so: an event trigger
-- needs a superuser. Idempotent; run behind the grants, as whoever installs. Elsewhere `redress check` says that there is
-- none. It stops accidents and whoever is in a hurry: a superuser, and whoever sets `redress.migrating`, gets past it, and
-- then `check` and the sealed log find what was done.
-- The function belongs to the superuser and not to the owner of the schema: it runs in every DDL command of everybody.
do $guard$
begin
  if not (select r.rolsuper from pg_roles r where r.rolname = current_user) then
    return;
  end if;

  create or replace function redress.refuse_ddl() returns event_trigger
  language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_what text;
begin
  if current_setting('redress.migrating', true) = 'on' then
    return;
  end if;
  if tg_event = 'ddl_command_start' then
    -- With the schema this trigger would go before it fires, and which schema goes is not told yet: the text has to do.
    v_what := case when current_query() ~* 'redress' then 'a schema or role that the command names' end;
  elsif to_regclass('redress.guarded') is null then
    return;
  elsif tg_event = 'sql_drop' then
    select o.object_identity into v_what
    from pg_event_trigger_dropped_objects() o
    join redress.guarded g on g.type = o.object_type and g.identity = o.object_identity
    limit 1;
  else
    select c.object_identity into v_what
    from pg_event_trigger_ddl_commands() c
    left join pg_trigger t on c.classid = 'pg_trigger'::regclass and t.oid = c.objid
    left join pg_rewrite r on c.classid = 'pg_rewrite'::regclass and r.oid = c.objid
    left join pg_policy p on c.classid = 'pg_policy'::regclass and p.oid = c.objid
    cross join lateral pg_identify_object('pg_class'::regclass, coalesce(t.tgrelid, r.ev_class, p.polrelid), 0) o
    join redress.guarded g on (g.type, g.identity) in ((c.object_type, c.object_identity), (o.type, o.identity))
    where c.command_tag not in ('COMMENT', 'REINDEX')
    limit 1;
  end if;
  if v_what is not null then
    raise exception '% is refused: % belongs to the ledger and is changed by a migration only', tg_tag, v_what
      using errcode = 'RDA02', hint = 'Where it is meant: set redress.migrating = on. The check of the ledger names every difference.';
  end if;
end $$;

  if not exists (select from pg_event_trigger where evtname = 'redress_refuses_ddl') then
    create event trigger redress_refuses_ddl on ddl_command_end execute function redress.refuse_ddl();
  end if;
  if not exists (select from pg_event_trigger where evtname = 'redress_refuses_drop') then
    create event trigger redress_refuses_drop on sql_drop execute function redress.refuse_ddl();
  end if;
  if not exists (select from pg_event_trigger where evtname = 'redress_refuses_end') then
    create event trigger redress_refuses_end on ddl_command_start when tag in ('DROP SCHEMA', 'DROP OWNED')
      execute function redress.refuse_ddl();
  end if;
  alter event trigger redress_refuses_end enable always;
  alter event trigger redress_refuses_ddl enable always;
  alter event trigger redress_refuses_drop enable always;
end $guard$
