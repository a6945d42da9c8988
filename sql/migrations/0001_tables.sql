-- Tables of one installation. The schema, the owner and the search_path are set by the migrator;
-- nothing here is qualified, so that an installation may live in a schema of any name.
-- Rules: a primary key everywhere, no serials, no identity columns, no foreign key that leaves the schema,
-- none to small shared tables (each check would share-lock one row from every phase).

create table installation (
  one                boolean     not null default true,
  origin             text        not null,
  generation         bigint      not null default 1,
  system_identifier  text        not null,
  created_at         timestamptz not null default clock_timestamp(),
  constraint installation_pkey primary key (one),
  constraint installation_is_one_row check (one)
);

-- A saga's canonical definition; a run is pinned to its digest.
create table definition (
  digest         bytea       not null,
  saga           text        not null,
  version        int         not null,
  canonical      bytea       not null,
  registered_at  timestamptz not null default clock_timestamp(),
  registered_by  text        not null,
  constraint definition_pkey primary key (digest),
  constraint definition_digest_is_of_its_bytes check (digest = sha256(canonical)),
  constraint definition_version_is_used_once unique (saga, version)
);

-- Empty for ever: every phase holds ROW SHARE on it, a kill drains by asking for EXCLUSIVE.
create table gate (
  one  boolean not null,
  constraint gate_pkey primary key (one),
  constraint gate_is_empty check (false)
);

create table switch (
  one        boolean     not null default true,
  state      text        not null,
  switch_no  bigint      not null,
  reason     text        not null,
  by         text        not null,
  at         timestamptz not null,
  constraint switch_pkey primary key (one),
  constraint switch_is_one_row check (one),
  constraint switch_no_is_positive check (switch_no > 0)
);

create table worker (
  id           uuid        not null,
  name         text        not null,
  started_at   timestamptz not null default clock_timestamp(),
  lease_until  timestamptz not null,
  constraint worker_pkey primary key (id)
);

-- What costs most to read lives in domains: PostgreSQL reads a table's CHECK anew for each statement that writes a row,
-- and a domain's once a session (measured: 18 to 5 us an insert of a record, 51 to 20 us an update of a run).

create domain run_state as text constraint run_state_is_known check (value = any
  ('{running, failed, compensating, compensated, stuck, completed, resolved}'::text[]));

create domain record_bytes as bytea constraint record_is_bounded check (octet_length(value) <= 65535);

-- From, event and to. The same triples as `transition` in redress_ledger::state; a test compares them both ways.
create domain transition as text constraint transition_is_legal check (value = any ('{
    running phase_committed running,
    running attempt_failed running,
    running phase_failed failed,
    running cancelled failed,
    running run_completed completed,
    failed plan_started compensating,
    stuck plan_started compensating,
    completed plan_started compensating,
    compensating action_committed compensating,
    compensating action_failed compensating,
    compensating plan_finished compensated,
    compensating plan_finished running,
    compensating plan_finished failed,
    compensating compensation_failed stuck,
    failed forward_resumed running,
    failed resolved resolved,
    stuck resolved resolved}'::text[]));

create table run (
  id            uuid        not null,
  saga          text        not null,
  version       int         not null,
  definition    bytea       not null,
  subject       text,
  exclusive     boolean     not null,
  key           text        not null,
  input_hash    bytea       not null,
  requester     text        not null,
  opened_at     timestamptz not null,
  state         run_state   not null,
  phase         text,
  epoch         bigint      not null,
  seq           bigint      not null,
  head          bytea       not null,
  basis_seq     bigint      not null,
  basis         bytea       not null,
  attempts      int         not null default 0,
  claims        int         not null default 0,
  owner         uuid,
  next_at       timestamptz not null,
  ended_at      timestamptz,
  failed_phase  text,
  error_code    text,
  error         text,
  plan          bytea,
  constraint run_pkey primary key (id),
  constraint run_key_is_used_once unique (saga, key),
  constraint run_ends_when_terminal check
    ((state = any ('{completed, compensated, resolved}'::text[])) = (ended_at is not null)),
  constraint run_has_a_phase_while_running check ((state = 'running') = (phase is not null)),
  constraint run_epoch_is_positive check (epoch > 0),
  constraint run_exclusive_has_subject check (not exclusive or subject is not null)
) with (fillfactor = 50);

-- Failed and stuck runs count as active: their effects still stand.
create unique index subject_has_one_active_run on run (subject)
  where exclusive and state in ('running', 'failed', 'compensating', 'stuck');

create index run_is_claimed_by_age on run (next_at, id) where state in ('running', 'compensating');
create index run_is_listed_by_state on run (state, opened_at);
create index run_is_listed_by_subject on run (subject, opened_at) where subject is not null;

-- The saga log and the ledger: one kind of row. `bytes` is what counts; the other columns are projections of it.
-- Few constraints on purpose, since each costs every phase: numbers and hashes are made by `append` from the bytes,
-- and `redress check` and `audit verify` compare them.
create table record (
  run         uuid          not null,
  seq         bigint        not null,
  hash        bytea         not null,
  kind        text          not null,
  phase       text,
  epoch       bigint        not null,
  switch_no   bigint        not null,
  xid         xid8          not null,
  transition  transition,
  bytes       record_bytes  not null,
  constraint record_pkey primary key (run, seq)
);

-- Heads of the logs that belong to no run: `system` tells what people did (holds, the switch), `keys` who may,
-- `keys/1` who might in the first generation.
create table system_log (
  name  text    not null,
  run   uuid    not null,
  seq   bigint  not null,
  head  bytea   not null,
  constraint system_log_pkey primary key (name),
  constraint system_log_is_known check (name ~ '^(system|keys(/[1-9][0-9]*)?)$')
);

-- Data too large for a record, or personal; the record holds length and salted commitment.
create table blob (
  id          uuid   not null,
  run         uuid   not null,
  salt        bytea  not null,
  content     bytea  not null,
  commitment  bytea  not null,
  constraint blob_pkey primary key (id),
  constraint blob_salt_is_32_bytes check (octet_length(salt) = 32),
  constraint blob_matches_its_commitment check
    (commitment = sha256('redress-blob-v1'::bytea || '\x00'::bytea || salt || content))
);

create table plan (
  digest     bytea       not null,
  run        uuid        not null,
  basis_seq  bigint      not null,
  canonical  bytea       not null,
  made_at    timestamptz not null default clock_timestamp(),
  constraint plan_pkey primary key (digest),
  constraint plan_digest_is_of_its_bytes check (digest = sha256(canonical))
);
create index plan_is_listed_by_run on plan (run, made_at);

create table hold (
  id           uuid        not null,
  scope        text        not null,
  target       text,
  run          uuid,
  reason       text        not null,
  code         text        not null,
  by           text        not null,
  at           timestamptz not null,
  released_at  timestamptz,
  released_by  text,
  constraint hold_pkey primary key (id),
  constraint hold_scope_is_known check (scope in ('all', 'saga', 'subject', 'run')),
  constraint hold_target_unless_all check ((scope = 'all') = (target is null)),
  constraint hold_release_is_whole check ((released_at is null) = (released_by is null))
);
create index hold_is_in_force on hold (scope, target) where released_at is null;

-- A decision is used once; the primary key keeps it.
create table decision_used (
  id   uuid   not null,
  run  uuid   not null,
  seq  bigint not null,
  constraint decision_is_used_once primary key (id)
);

-- Refusals are recorded once per actor, code and basis.
create table refusal (
  run    uuid   not null,
  actor  text   not null,
  code   text   not null,
  basis  bytea  not null,
  constraint refusal_is_recorded_once primary key (run, actor, code, basis)
);

-- What people carry out by a runbook: one row an execution. What was done stands in the log; here stands who has it in
-- hands now, and how far it has come.
create table execution (
  id           uuid        not null,
  log          uuid        not null,
  flight       text        not null,
  runbook      text        not null,
  version      int         not null,
  plan         bytea       not null,
  canonical    bytea       not null,
  made_at      timestamptz not null default clock_timestamp(),
  made_by      text        not null,
  state        text        not null default 'planned',
  done         int         not null default 0,
  token        bigint      not null default 0,
  owner        uuid,
  owner_name   text,
  taken_at     timestamptz,
  lease_until  timestamptz not null default '-infinity',
  constraint execution_pkey primary key (id),
  constraint execution_plan_is_of_its_bytes check (plan = sha256(canonical)),
  constraint execution_state_is_known check (state in ('planned', 'begun', 'done', 'unproven', 'refused', 'abandoned')),
  constraint execution_done_is_counted check (done >= 0),
  constraint execution_owner_is_whole check ((owner is null) = (owner_name is null))
);

-- Two people cannot carry out runbooks on one run at once, or one runbook that is about no run.
create unique index flight_has_one_execution on execution (flight) where state = 'begun';
create index execution_is_listed_by_log on execution (log, made_at);
