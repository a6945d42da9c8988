-- What a document is cut into: units, their content, and the log of their lives.
--
-- A cut makes new rows, all draft. Draft becomes enacted or withdrawn, once; neither changes any more. A later cut of
-- the same document has the next version_no and names, unit by unit, what it supersedes.

create table public.information_unit (
    unit_id uuid not null default gen_random_uuid(),
    change_set_id uuid not null,
    run_id uuid not null,
    document_id text not null,
    document_title text not null,
    version_no integer not null,
    ordinal integer not null,
    -- 1 to 6 as the heading says; 0 is text that stands under no heading.
    level integer not null,
    heading text,
    created_at timestamptz not null default clock_timestamp(),
    -- The columns below are the only ones that ever change.
    state text not null default 'draft',
    enacted_at timestamptz,
    enacted_by uuid,
    withdrawn_at timestamptz,
    withdrawn_by uuid,
    withdrawn_reason text,
    constraint information_unit_pkey primary key (unit_id),
    constraint information_unit_has_one_place unique (document_id, version_no, ordinal),
    constraint information_unit_document_named check (char_length(document_id) between 1 and 200),
    constraint information_unit_title_named check (char_length(document_title) between 1 and 500),
    constraint information_unit_counts_from_one check (version_no >= 1 and ordinal >= 1),
    constraint information_unit_heading_matches_level
        check ((level = 0 and heading is null) or (level between 1 and 6 and heading is not null)),
    constraint information_unit_state_known check (state in ('draft', 'enacted', 'withdrawn')),
    constraint information_unit_enacted_says_when_and_by
        check ((state = 'enacted') = (enacted_at is not null) and (enacted_at is null) = (enacted_by is null)),
    constraint information_unit_withdrawn_says_when_by_and_why
        check ((state = 'withdrawn') = (withdrawn_at is not null)
            and (withdrawn_at is null) = (withdrawn_by is null)
            and (withdrawn_at is null) = (withdrawn_reason is null))
);
comment on table public.information_unit is 'One headed section of a document, in one cut of it.';
comment on column public.information_unit.enacted_by is 'The run that enacted it.';
comment on column public.information_unit.withdrawn_by is 'The run that withdrew it.';

create index information_unit_by_change_set on public.information_unit (change_set_id, ordinal);
-- Two cuts of one document cannot both be open, whoever makes them.
create unique index information_unit_one_draft_cut on public.information_unit (document_id, ordinal) where state = 'draft';

create table public.unit_version (
    version_id uuid not null default gen_random_uuid(),
    unit_id uuid not null,
    change_set_id uuid not null,
    supersedes uuid,
    content text not null,
    content_sha256 text not null,
    created_at timestamptz not null default clock_timestamp(),
    -- The columns below are the only ones that ever change.
    state text not null default 'draft',
    enacted_at timestamptz,
    withdrawn_at timestamptz,
    constraint unit_version_pkey primary key (version_id),
    constraint unit_version_one_per_unit unique (unit_id),
    constraint unit_version_of_a_unit foreign key (unit_id) references public.information_unit (unit_id),
    constraint unit_version_supersedes_a_version foreign key (supersedes) references public.unit_version (version_id),
    constraint unit_version_hash_is_sha256 check (content_sha256 ~ '^[0-9a-f]{64}$'),
    constraint unit_version_state_known check (state in ('draft', 'enacted', 'withdrawn')),
    constraint unit_version_enacted_says_when check ((state = 'enacted') = (enacted_at is not null)),
    constraint unit_version_withdrawn_says_when check ((state = 'withdrawn') = (withdrawn_at is not null))
);
comment on table public.unit_version is
    'The text of a unit, byte for byte: the contents of a cut, in order, are the document.';
comment on column public.unit_version.supersedes is
    'The same section in the last enacted cut: same level, same heading, same turn among equals.';

create index unit_version_by_change_set on public.unit_version (change_set_id);
create index unit_version_by_superseded on public.unit_version (supersedes) where supersedes is not null;

create table public.iu_lifecycle_log (
    log_id uuid not null default gen_random_uuid(),
    unit_id uuid not null,
    change_set_id uuid not null,
    run_id uuid not null,
    from_state text,
    to_state text not null,
    reason text not null,
    at timestamptz not null default clock_timestamp(),
    recorded_by text not null default session_user,
    constraint iu_lifecycle_log_pkey primary key (log_id),
    constraint iu_lifecycle_log_enters_a_state_once unique (unit_id, to_state),
    constraint iu_lifecycle_log_change_legal
        check (case
            when from_state is null then to_state = 'draft'
            else from_state = 'draft' and to_state in ('enacted', 'withdrawn', 'deleted')
        end)
);
comment on table public.iu_lifecycle_log is
    'Every change of a unit''s state. It has no foreign key, so that it outlives a unit that a sovereign had deleted.';

create index iu_lifecycle_log_by_change_set on public.iu_lifecycle_log (change_set_id);

-- The executor makes drafts and moves them on; it can rewrite nothing else. Delete serves the sovereign's plan alone,
-- and the triggers of the next bundle let it reach drafts only.
grant select, delete on public.information_unit, public.unit_version to cutover_executor;
grant insert (unit_id, change_set_id, run_id, document_id, document_title, version_no, ordinal, level, heading, created_at)
    on public.information_unit to cutover_executor;
grant update (state, enacted_at, enacted_by, withdrawn_at, withdrawn_by, withdrawn_reason)
    on public.information_unit to cutover_executor;
grant insert (version_id, unit_id, change_set_id, supersedes, content, content_sha256, created_at)
    on public.unit_version to cutover_executor;
grant update (state, enacted_at, withdrawn_at)
    on public.unit_version to cutover_executor;
grant select on public.iu_lifecycle_log to cutover_executor;
grant insert (log_id, unit_id, change_set_id, run_id, from_state, to_state, reason, at)
    on public.iu_lifecycle_log to cutover_executor;
grant select on public.information_unit, public.unit_version, public.iu_lifecycle_log to cutover_reader;
