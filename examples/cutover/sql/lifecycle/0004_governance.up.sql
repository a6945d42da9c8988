-- The governance ledger: what was cut, who signed, what the check found, what a sovereign decided. Rows are only added.
--
-- No foreign key points at the public tables: the ledger names what it saw and stays when that is gone.

create schema cutter_governance;
comment on schema cutter_governance is 'Append-only evidence about document cuts; closed to readers.';

create table cutter_governance.cut_change_set (
    change_set_id uuid not null,
    run_id uuid not null,
    document_id text not null,
    document_title text not null,
    version_no integer not null,
    unit_count integer not null,
    recorded_at timestamptz not null default clock_timestamp(),
    recorded_by text not null default session_user,
    constraint cut_change_set_pkey primary key (change_set_id),
    constraint cut_change_set_cuts_something check (unit_count >= 1)
);
comment on table cutter_governance.cut_change_set is 'One cut of one document.';
create index cut_change_set_by_run on cutter_governance.cut_change_set (run_id);
create index cut_change_set_by_document on cutter_governance.cut_change_set (document_id, version_no);

create table cutter_governance.manifest_envelope (
    manifest_id uuid not null default gen_random_uuid(),
    change_set_id uuid not null,
    run_id uuid not null,
    -- Of the text as it was handed in, not of what was stored: that is what the check compares.
    document_sha256 text not null,
    units_sha256 text not null,
    unit_count integer not null,
    -- What the person who asked for the cut counted; null when nobody counted.
    expected_units integer,
    recorded_at timestamptz not null default clock_timestamp(),
    constraint manifest_envelope_pkey primary key (manifest_id),
    constraint manifest_envelope_one_per_change_set unique (change_set_id),
    constraint manifest_envelope_of_a_change_set
        foreign key (change_set_id) references cutter_governance.cut_change_set (change_set_id),
    constraint manifest_envelope_hashes_are_sha256
        check (document_sha256 ~ '^[0-9a-f]{64}$' and units_sha256 ~ '^[0-9a-f]{64}$'),
    constraint manifest_envelope_counts_something check (unit_count >= 1 and expected_units >= 1)
);
comment on table cutter_governance.manifest_envelope is 'What the cut must amount to.';
comment on column cutter_governance.manifest_envelope.units_sha256 is
    'SHA-256 over the content hashes in order, one a line.';

create table cutter_governance.cut_change_set_affected_row (
    change_set_id uuid not null,
    relation text not null,
    row_id uuid not null,
    row_sha256 text not null,
    constraint cut_change_set_affected_row_pkey primary key (change_set_id, relation, row_id),
    constraint cut_change_set_affected_row_of_a_change_set
        foreign key (change_set_id) references cutter_governance.cut_change_set (change_set_id),
    constraint cut_change_set_affected_row_relation_known
        check (relation in ('public.information_unit', 'public.unit_version')),
    constraint cut_change_set_affected_row_hash_is_sha256 check (row_sha256 ~ '^[0-9a-f]{64}$')
);
comment on table cutter_governance.cut_change_set_affected_row is 'Each row that the cut made, and its hash.';

create table cutter_governance.dot_pair_signature (
    change_set_id uuid not null,
    -- The document's hash: what both put their names to before the cut.
    signed_sha256 text not null,
    first_principal text not null,
    first_signature text,
    second_principal text not null,
    second_signature text,
    recorded_at timestamptz not null default clock_timestamp(),
    constraint dot_pair_signature_pkey primary key (change_set_id),
    constraint dot_pair_signature_of_a_change_set
        foreign key (change_set_id) references cutter_governance.cut_change_set (change_set_id),
    constraint dot_pair_signature_hash_is_sha256 check (signed_sha256 ~ '^[0-9a-f]{64}$'),
    constraint dot_pair_signature_principals_named
        check (btrim(first_principal) <> '' and btrim(second_principal) <> ''),
    constraint dot_pair_signature_two_principals
        check (lower(btrim(first_principal)) <> lower(btrim(second_principal)))
);
comment on table cutter_governance.dot_pair_signature is 'The two different parties that signed for a cut.';

create table cutter_governance.verify_result (
    verify_id uuid not null default gen_random_uuid(),
    change_set_id uuid not null,
    run_id uuid not null,
    units_expected integer not null,
    units_found integer not null,
    rows_recorded integer not null,
    rows_matching integer not null,
    document_expected text not null,
    document_found text not null,
    verified_at timestamptz not null default clock_timestamp(),
    -- Nobody writes the verdict: it follows from what was found.
    passed boolean generated always as (
        units_found = units_expected
        and rows_recorded = 2 * units_found
        and rows_matching = rows_recorded
        and document_found = document_expected
    ) stored,
    constraint verify_result_pkey primary key (verify_id),
    constraint verify_result_of_a_change_set
        foreign key (change_set_id) references cutter_governance.cut_change_set (change_set_id)
);
comment on table cutter_governance.verify_result is 'What was found when a cut was read again.';
create index verify_result_by_change_set on cutter_governance.verify_result (change_set_id);

create table cutter_governance.review_decision (
    decision_id uuid not null,
    change_set_id uuid not null,
    -- The run that reverted the change set.
    run_id uuid not null,
    verdict text not null,
    principal text not null,
    reason text not null,
    plan_digest text not null,
    payload text not null,
    signature text not null,
    recorded_at timestamptz not null default clock_timestamp(),
    constraint review_decision_pkey primary key (decision_id, change_set_id),
    constraint review_decision_of_a_change_set
        foreign key (change_set_id) references cutter_governance.cut_change_set (change_set_id),
    constraint review_decision_once_per_change_set unique (change_set_id),
    constraint review_decision_verdict_known check (verdict = 'reverted'),
    constraint review_decision_principal_named check (btrim(principal) <> ''),
    constraint review_decision_plan_is_a_digest check (plan_digest ~ '^[0-9a-f]{64}$')
);
comment on table cutter_governance.review_decision is
    'A sovereign''s signed decision that a change set is reverted; the change set itself stays as it was recorded.';

create function cutter_governance.fn_refuse_change()
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
revoke execute on function cutter_governance.fn_refuse_change() from public;

do $$
declare
    name text;
begin
    foreach name in array array[
        'cut_change_set', 'manifest_envelope', 'cut_change_set_affected_row',
        'dot_pair_signature', 'verify_result', 'review_decision']
    loop
        execute format('create trigger trg_append_only before update or delete on cutter_governance.%I '
            'for each row execute function cutter_governance.fn_refuse_change()', name);
        execute format('create trigger trg_no_truncate before truncate on cutter_governance.%I '
            'for each statement execute function cutter_governance.fn_refuse_change()', name);
        execute format('alter table cutter_governance.%I enable always trigger trg_append_only', name);
        execute format('alter table cutter_governance.%I enable always trigger trg_no_truncate', name);
    end loop;
end
$$;

grant usage on schema cutter_governance to cutover_executor;
grant select, insert on all tables in schema cutter_governance to cutover_executor;
