-- Takes the governance ledger away, with its rows: keep a copy of them first.

do $$
begin
    if pg_catalog.to_regproc('public.fn_iu_enact') is not null then
        raise exception 'bundle 0005_functions is still applied: revert the bundles in reverse order'
            using errcode = 'object_not_in_prerequisite_state';
    end if;
end
$$;

drop table cutter_governance.review_decision;
drop table cutter_governance.verify_result;
drop table cutter_governance.dot_pair_signature;
drop table cutter_governance.cut_change_set_affected_row;
drop table cutter_governance.manifest_envelope;
drop table cutter_governance.cut_change_set;
drop function cutter_governance.fn_refuse_change();
drop schema cutter_governance;
