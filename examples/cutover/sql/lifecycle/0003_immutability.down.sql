-- Takes the triggers away; the rows stay, and from then on nothing protects them.

do $$
begin
    if pg_catalog.to_regclass('cutter_governance.cut_change_set') is not null then
        raise exception 'bundle 0004_governance is still applied: revert the bundles in reverse order'
            using errcode = 'object_not_in_prerequisite_state';
    end if;
end
$$;

drop trigger trg_log_no_truncate on public.iu_lifecycle_log;
drop trigger trg_log_append_only on public.iu_lifecycle_log;
drop trigger trg_uv_no_truncate on public.unit_version;
drop trigger trg_uv_enacted_immut on public.unit_version;
drop trigger trg_iu_no_truncate on public.information_unit;
drop trigger trg_iu_enacted_immut on public.information_unit;
drop function public.fn_refuse_change();
drop function public.fn_refuse_settled_change();
