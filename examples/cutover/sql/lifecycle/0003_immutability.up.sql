-- What is settled stays: an enacted (or withdrawn) unit and its version refuse every change; the log refuses all of them.
--
-- ENABLE ALWAYS, because session_replication_role = replica passes over ordinary triggers. The owner of the tables and
-- a superuser can still take the triggers away; the saga looks at both before each run and refuses without them.

create function public.fn_refuse_settled_change()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    if old.state <> 'draft' then
        raise exception '% of %.%: the row is % and may not change', tg_op, tg_table_schema, tg_table_name, old.state
            using errcode = 'restrict_violation',
                schema = tg_table_schema, table = tg_table_name, constraint = tg_name,
                hint = 'a new cut of the document supersedes it';
    end if;
    return case tg_op when 'DELETE' then old else new end;
end
$$;

create function public.fn_refuse_change()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    raise exception '% of %.% is refused: what is recorded stays', tg_op, tg_table_schema, tg_table_name
        using errcode = 'restrict_violation',
            schema = tg_table_schema, table = tg_table_name, constraint = tg_name;
end
$$;

revoke execute on function public.fn_refuse_settled_change(), public.fn_refuse_change() from public;

create trigger trg_iu_enacted_immut
    before update or delete on public.information_unit
    for each row execute function public.fn_refuse_settled_change();
create trigger trg_iu_no_truncate
    before truncate on public.information_unit
    for each statement execute function public.fn_refuse_change();
alter table public.information_unit enable always trigger trg_iu_enacted_immut;
alter table public.information_unit enable always trigger trg_iu_no_truncate;

create trigger trg_uv_enacted_immut
    before update or delete on public.unit_version
    for each row execute function public.fn_refuse_settled_change();
create trigger trg_uv_no_truncate
    before truncate on public.unit_version
    for each statement execute function public.fn_refuse_change();
alter table public.unit_version enable always trigger trg_uv_enacted_immut;
alter table public.unit_version enable always trigger trg_uv_no_truncate;

create trigger trg_log_append_only
    before update or delete on public.iu_lifecycle_log
    for each row execute function public.fn_refuse_change();
create trigger trg_log_no_truncate
    before truncate on public.iu_lifecycle_log
    for each statement execute function public.fn_refuse_change();
alter table public.iu_lifecycle_log enable always trigger trg_log_append_only;
alter table public.iu_lifecycle_log enable always trigger trg_log_no_truncate;
