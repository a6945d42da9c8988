-- Takes the three public tables away, with their rows.

do $$
begin
    if pg_catalog.to_regclass('cutter_governance.cut_change_set') is not null then
        raise exception 'bundle 0004_governance is still applied: revert the bundles in reverse order'
            using errcode = 'object_not_in_prerequisite_state';
    end if;
    if pg_catalog.to_regproc('public.fn_refuse_settled_change') is not null then
        raise exception 'bundle 0003_immutability is still applied: revert the bundles in reverse order'
            using errcode = 'object_not_in_prerequisite_state';
    end if;
end
$$;

drop table public.iu_lifecycle_log;
drop table public.unit_version;
drop table public.information_unit;
