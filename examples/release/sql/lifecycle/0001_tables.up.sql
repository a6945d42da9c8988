-- From nothing to version 1. Run again, it changes nothing; on any later version it refuses (RL002).
-- Each step says which version it needs and which it leaves, in one transaction: killed in between, nothing of it stands.

do $$
declare
  v int;
begin
  if to_regclass('release.schema_version') is not null then
    select version into v from release.schema_version;
    if v = 1 then
      raise notice 'release: version 1 stands already';
      return;
    end if;
    raise exception 'release: this step makes version 1 of nothing, here is version %', v using errcode = 'RL002';
  end if;

  create schema if not exists release;

  create table release.schema_version (
    one      boolean not null default true primary key check (one),
    version  int     not null
  );

  -- The chain, in its order.
  create table release.stage (name text primary key, place int not null unique);
  insert into release.stage values ('brainstorm', 1), ('strategy', 2), ('plan', 3), ('execute', 4), ('review', 5), ('ship', 6);

  -- Where a run stands. Completed means the last phase and an end time, all three or none.
  create table release.run (
    run           uuid        primary key,
    project       text        not null constraint run_project_is_named check (project <> ''),
    phase         text        references release.stage (name),
    state         text        not null default 'active' constraint run_state_is_known check (state in ('active', 'completed')),
    completed_at  timestamptz,
    constraint run_completed_is_whole check ((state = 'completed') = (completed_at is not null)),
    constraint run_completes_at_the_end check (state <> 'completed' or (phase is not null and phase = 'ship'))
  );
  create index run_is_listed_by_state on release.run (state, project);

  -- Each move of a run, written by the move itself.
  create table release.transition (
    id          uuid        primary key default gen_random_uuid(),
    run         uuid        not null references release.run (run),
    from_phase  text,
    to_phase    text,
    at          timestamptz not null default clock_timestamp()
  );
  create index transition_is_listed_by_run on release.transition (run, at);

  create table release.artefact (
    id          uuid        primary key default gen_random_uuid(),
    run         uuid        not null references release.run (run),
    phase       text        not null references release.stage (name),
    name        text        not null constraint artefact_is_named check (name <> ''),
    status      text        not null default 'live' constraint artefact_status_is_known check (status in ('live', 'rewound')),
    created_at  timestamptz not null default clock_timestamp()
  );
  -- What a gate counts: live ones only.
  create index artefact_counts_for_a_gate on release.artefact (run, phase) where status = 'live';

  create table release.agent (
    id      uuid primary key default gen_random_uuid(),
    run     uuid not null references release.run (run),
    phase   text not null references release.stage (name),
    status  text not null default 'working' constraint agent_status_is_known check (status in ('working', 'released'))
  );
  create index agent_is_found_by_status on release.agent (run, phase, status);

  -- A rewind cancels those that are running and those that are done: what a done one gave stays readable and counts no more.
  create table release.dispatch (
    id      uuid  primary key default gen_random_uuid(),
    run     uuid  not null references release.run (run),
    phase   text  not null references release.stage (name),
    agent   uuid  not null references release.agent (id),
    status  text  not null default 'running' constraint dispatch_status_is_known check (status in ('running', 'done', 'cancelled')),
    result  jsonb,
    constraint dispatch_done_has_a_result check (status <> 'done' or result is not null),
    constraint dispatch_running_has_none check (status <> 'running' or result is null)
  );
  create index dispatch_is_found_by_status on release.dispatch (status, run, phase);

  insert into release.schema_version (version) values (1);
end $$;
