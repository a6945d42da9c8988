//! Every SQL statement and migration of Redress, as files handed out as constants.
//!
//! The folders follow the flow: `schema`, `definition`, `start`, `claim`, `phase`, `compensate`, `hold`, `seal`, `notify`, `rehearse`, `runbook`, `read`,
//! `doctor`, `complete`.
//!
//! ```
//! use redress_sql::{Sql, SchemaName};
//!
//! // An installation may have another name than `redress`; the statements are rendered once for it.
//! let sql = Sql::for_schema("shop_redress".parse::<SchemaName>().expect("a name"));
//! assert!(sql.text(redress_sql::RUN_BY_ID).contains("shop_redress.run"));
//! ```
//!
//! No features.
//!
//! **Invariant:** one statement a file; nothing is assembled from strings. The files are written for the schema
//! `redress`; [`Sql::for_schema`] renders them once for an installation of another name.
//!
//! **Not here:** no connection, no parameter types, no logic.

mod render;

pub use render::{Part, SchemaName, SchemaNameError, Sql};

/// One statement: its name (the file's stem) and its text, written for the schema `redress`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Statement {
    /// The file's stem, a verb and a noun.
    pub name: &'static str,
    /// The text as it stands in the file.
    pub text: &'static str,
}

/// One numbered migration; its checksum is the SHA-256 of this text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Migration {
    /// Dense from 1.
    pub version: i32,
    /// The file's stem without the number.
    pub name: &'static str,
    /// The text as it stands in the file.
    pub text: &'static str,
}

/// Roles, schema and the list of migrations; idempotent, run before the numbered ones.
pub const FOUNDATION: &str = include_str!("../migrations/0000_roles.sql");
/// The triggers that refuse changes of records; idempotent, run after the numbered ones.
pub const TRIGGERS: &str = include_str!("../migrations/triggers.sql");
/// The grants of the engine, the operator, the sealer and the auditor; idempotent, run after the numbered ones.
pub const GRANTS: &str = include_str!("../migrations/grants.sql");
/// The event trigger that refuses DDL on our schema, where the installer is a superuser; idempotent, run last.
pub const GUARD: &str = include_str!("../migrations/guard.sql");

/// The numbered migrations in order.
pub const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        name: "tables",
        text: include_str!("../migrations/0001_tables.sql"),
    },
    Migration {
        version: 2,
        name: "functions",
        text: include_str!("../migrations/0002_functions.sql"),
    },
    Migration {
        version: 3,
        name: "sealing",
        text: include_str!("../migrations/0003_sealing.sql"),
    },
    Migration {
        version: 4,
        name: "archiving",
        text: include_str!("../migrations/0004_archiving.sql"),
    },
    Migration {
        version: 5,
        name: "subscribers",
        text: include_str!("../migrations/0005_subscribers.sql"),
    },
    Migration {
        version: 6,
        name: "executions",
        text: include_str!("../migrations/0006_executions.sql"),
    },
];

/// Tables and functions of a rehearsal, made in its own transaction and rolled back with it.
pub const REHEARSAL_TOOLS: &str = include_str!("../rehearse/make_tools.sql");

// schema
/// Migrations in order.
pub const APPLIED_MIGRATIONS: Statement = Statement {
    name: "applied_migrations",
    text: include_str!("../schema/applied_migrations.sql"),
};
/// Makes the installation's rows: origin, system run.
pub const FOUND_INSTALLATION: Statement = Statement {
    name: "found_installation",
    text: include_str!("../schema/found_installation.sql"),
};
/// Writes down what is ours in this schema, as the server names it: schema, owner.
pub const GUARDED: Statement = Statement {
    name: "guarded",
    text: include_str!("../schema/guarded.sql"),
};
/// The installation and the server it stands on.
pub const INSTALLATION: Statement = Statement {
    name: "installation",
    text: include_str!("../schema/installation.sql"),
};
/// One migrator at a time.
pub const LOCK_MIGRATION: Statement = Statement {
    name: "lock_migration",
    text: include_str!("../schema/lock_migration.sql"),
};
/// Notes a migration: version, name, SHA-256 of its text.
pub const NOTE_MIGRATION: Statement = Statement {
    name: "note_migration",
    text: include_str!("../schema/note_migration.sql"),
};
/// Whether a role exists: name.
pub const ROLE_EXISTS: Statement = Statement {
    name: "role_exists",
    text: include_str!("../schema/role_exists.sql"),
};
/// The search_path of a migration: schema.
pub const SET_SEARCH_PATH: Statement = Statement {
    name: "set_search_path",
    text: include_str!("../schema/set_search_path.sql"),
};
/// What a connection stands on before anything is done.
pub const SURROUNDINGS: Statement = Statement {
    name: "surroundings",
    text: include_str!("../schema/surroundings.sql"),
};

// definition
/// One definition: digest.
pub const DEFINITION_BY_DIGEST: Statement = Statement {
    name: "definition_by_digest",
    text: include_str!("../definition/definition_by_digest.sql"),
};
/// A saga's newest version, or the one named: saga, version or null.
pub const DEFINITION_BY_NAME: Statement = Statement {
    name: "definition_by_name",
    text: include_str!("../definition/definition_by_name.sql"),
};
/// The digest of every definition.
pub const DEFINITION_DIGESTS: Statement = Statement {
    name: "definition_digests",
    text: include_str!("../definition/definition_digests.sql"),
};
/// Definitions and how many unfinished runs each has.
pub const LIST_DEFINITIONS: Statement = Statement {
    name: "list_definitions",
    text: include_str!("../definition/list_definitions.sql"),
};
/// Registers a definition; false when it stands already: digest, saga, version, bytes, by.
pub const PUT_DEFINITION: Statement = Statement {
    name: "put_definition",
    text: include_str!("../definition/put_definition.sql"),
};

// start
/// Opens a run, or finds the one that has its key.
pub const ENTER_START: Statement = Statement {
    name: "enter_start",
    text: include_str!("../start/enter_start.sql"),
};
/// What entering a start sets for its transaction, as it was before.
pub const READ_SETTINGS: Statement = Statement {
    name: "read_settings",
    text: include_str!("../start/read_settings.sql"),
};
/// Puts back what entering a start has set: in the order of `read_settings`.
pub const RESTORE_SETTINGS: Statement = Statement {
    name: "restore_settings",
    text: include_str!("../start/restore_settings.sql"),
};

// claim
/// Whether runs that can be executed here wait for their time or for another worker's lease: definitions.
pub const RUNS_WAITING: Statement = Statement {
    name: "runs_waiting",
    text: include_str!("../claim/runs_waiting.sql"),
};
/// Hears of work.
pub const LISTEN_FOR_WORK: Statement = Statement {
    name: "listen_for_work",
    text: include_str!("../claim/listen_for_work.sql"),
};
/// Wakes the workers that listen.
pub const TELL_OF_WORK: Statement = Statement {
    name: "tell_of_work",
    text: include_str!("../claim/tell_of_work.sql"),
};
/// Renews a worker's lease: worker, name, lease ms.
pub const BEAT: Statement = Statement {
    name: "beat",
    text: include_str!("../claim/beat.sql"),
};
/// Claims the oldest runnable runs: worker, limit, definitions it can execute.
pub const CLAIM: Statement = Statement {
    name: "claim",
    text: include_str!("../claim/claim.sql"),
};
/// Claims one named run: worker, run.
pub const CLAIM_RUN: Statement = Statement {
    name: "claim_run",
    text: include_str!("../claim/claim_run.sql"),
};
/// Gives one run back: run, epoch, worker, wait ms.
pub const GIVE_BACK: Statement = Statement {
    name: "give_back",
    text: include_str!("../claim/give_back.sql"),
};
/// Gives back everything a worker holds: worker.
pub const LEAVE: Statement = Statement {
    name: "leave",
    text: include_str!("../claim/leave.sql"),
};

// phase
/// Appends records and moves the run: see the function's own parameters.
pub const APPEND: Statement = Statement {
    name: "append",
    text: include_str!("../phase/append.sql"),
};
/// Enters a phase: run, epoch, phase, saga, subject, statement ms, lock ms, idle ms.
pub const ENTER_PHASE: Statement = Statement {
    name: "enter_phase",
    text: include_str!("../phase/enter_phase.sql"),
};
/// Keeps large or personal data beside a record: id, run, salt, content, commitment.
pub const PUT_BLOB: Statement = Statement {
    name: "put_blob",
    text: include_str!("../phase/put_blob.sql"),
};
/// Runs what follows under a role until it is set back; the name is a bound value, never text in SQL.
pub const SET_ROLE: Statement = Statement {
    name: "set_role",
    text: include_str!("../phase/set_role.sql"),
};
/// Relations whose rows this transaction has locked and not written.
pub const LOCKED_RELATIONS: Statement = Statement {
    name: "locked_relations",
    text: include_str!("../phase/locked_relations.sql"),
};
/// Relations that this transaction has written.
pub const WRITTEN_RELATIONS: Statement = Statement {
    name: "written_relations",
    text: include_str!("../phase/written_relations.sql"),
};

// compensate
/// Enters a compensation: run, epoch or null, raise, saga, subject, switch_no or null, holds, statement ms, lock ms, idle ms.
pub const ENTER_COMPENSATION: Statement = Statement {
    name: "enter_compensation",
    text: include_str!("../compensate/enter_compensation.sql"),
};
/// Locks a run: run, epoch or null, raise the epoch, statement ms, lock ms, idle ms.
pub const ENTER_RUN: Statement = Statement {
    name: "enter_run",
    text: include_str!("../compensate/enter_run.sql"),
};
/// Notes a refusal; true when it is new: run, actor, code, basis.
pub const NOTE_REFUSAL: Statement = Statement {
    name: "note_refusal",
    text: include_str!("../compensate/note_refusal.sql"),
};
/// Stores a plan: digest, run, basis seq, canonical bytes.
pub const PUT_PLAN: Statement = Statement {
    name: "put_plan",
    text: include_str!("../compensate/put_plan.sql"),
};

// hold
/// Appends records to the system log: head seq, records.
pub const APPEND_SYSTEM: Statement = Statement {
    name: "append_system",
    text: include_str!("../hold/append_system.sql"),
};
/// Waits until earlier entrants have ended: lock ms.
pub const DRAIN_GATE: Statement = Statement {
    name: "drain_gate",
    text: include_str!("../hold/drain_gate.sql"),
};
/// Locks the system log: statement ms, lock ms, idle ms.
pub const ENTER_SYSTEM: Statement = Statement {
    name: "enter_system",
    text: include_str!("../hold/enter_system.sql"),
};
/// Backends that hold the gate.
pub const GATE_HOLDERS: Statement = Statement {
    name: "gate_holders",
    text: include_str!("../hold/gate_holders.sql"),
};
/// Holds in force that bear on a run: saga, subject, run.
pub const HOLDS_ON_RUN: Statement = Statement {
    name: "holds_on_run",
    text: include_str!("../hold/holds_on_run.sql"),
};
/// Lifts a hold; false when it was not in force: id, by.
pub const LIFT_HOLD: Statement = Statement {
    name: "lift_hold",
    text: include_str!("../hold/lift_hold.sql"),
};
/// Holds: all of them, or those in force only.
pub const LIST_HOLDS: Statement = Statement {
    name: "list_holds",
    text: include_str!("../hold/list_holds.sql"),
};
/// The database's time, RFC 3339 UTC with microseconds.
pub const NOW: Statement = Statement {
    name: "now",
    text: include_str!("../hold/now.sql"),
};
/// Publishes a state of the switch: state, reason, by.
pub const PUBLISH_SWITCH: Statement = Statement {
    name: "publish_switch",
    text: include_str!("../hold/publish_switch.sql"),
};
/// Sets a hold: id, scope, target, run, reason, code, by.
pub const PUT_HOLD: Statement = Statement {
    name: "put_hold",
    text: include_str!("../hold/put_hold.sql"),
};
/// The switch as it stands.
pub const READ_SWITCH: Statement = Statement {
    name: "read_switch",
    text: include_str!("../hold/read_switch.sql"),
};
/// The switch's number while it lets work go on, and the released holds that would bear on a run: saga, subject, run.
pub const RELEASED_ON_RUN: Statement = Statement {
    name: "released_on_run",
    text: include_str!("../hold/released_on_run.sql"),
};
/// Ends a backend: pid.
pub const TERMINATE: Statement = Statement {
    name: "terminate",
    text: include_str!("../hold/terminate.sql"),
};

// seal
/// Runs that may leave, with how many records each has: the instant, the end of the signed log.
pub const ARCHIVABLE: Statement = Statement {
    name: "archivable",
    text: include_str!("../seal/archivable.sql"),
};
/// Takes runs out: the instant, the end of the log, the digest over them, the number of the record that decides it.
pub const ARCHIVE_RUNS: Statement = Statement {
    name: "archive_runs",
    text: include_str!("../seal/archive_runs.sql"),
};
/// A signed head: generation, size.
pub const CHECKPOINT_AT: Statement = Statement {
    name: "checkpoint_at",
    text: include_str!("../seal/checkpoint_at.sql"),
};
/// Signed heads in order: generation, after this size, limit.
pub const CHECKPOINTS_AFTER: Statement = Statement {
    name: "checkpoints_after",
    text: include_str!("../seal/checkpoints_after.sql"),
};
/// How many leaves the log of a generation has: generation.
pub const COUNT_LEAVES: Statement = Statement {
    name: "count_leaves",
    text: include_str!("../seal/count_leaves.sql"),
};
/// Locks the head of the log and gives the snapshot that the batch is read with: fence, statement ms, lock ms, idle ms.
pub const ENTER_SEAL: Statement = Statement {
    name: "enter_seal",
    text: include_str!("../seal/enter_seal.sql"),
};
/// Gives records their places at the end of an old log: generation, leaves that are there, runs, numbers, hashes.
pub const END_LOG: Statement = Statement {
    name: "end_log",
    text: include_str!("../seal/end_log.sql"),
};
/// Records in the order of their positions: generation, first position, position behind the last, limit.
pub const ENTRIES_FROM: Statement = Statement {
    name: "entries_from",
    text: include_str!("../seal/entries_from.sql"),
};
/// Records of these runs in the order of their positions: generation, runs, position behind the last.
pub const ENTRIES_OF_RUNS: Statement = Statement {
    name: "entries_of_runs",
    text: include_str!("../seal/entries_of_runs.sql"),
};
/// Erases a blob and its salt; false when it is not there: id.
pub const ERASE_BLOB: Statement = Statement {
    name: "erase_blob",
    text: include_str!("../seal/erase_blob.sql"),
};
/// Extends the log: see the function's own parameters.
pub const EXTEND_LOG: Statement = Statement {
    name: "extend_log",
    text: include_str!("../seal/extend_log.sql"),
};
/// Whether only an archive holds a blob: id.
pub const IS_ARCHIVED_BLOB: Statement = Statement {
    name: "is_archived_blob",
    text: include_str!("../seal/is_archived_blob.sql"),
};
/// Records of the keyring's log behind a place, each with its transaction: run, after this seq.
pub const KEYRING_RECORDS: Statement = Statement {
    name: "keyring_records",
    text: include_str!("../seal/keyring_records.sql"),
};
/// Records of transactions that were in flight when the log was sealed last: transactions.
pub const LATE_RECORDS: Statement = Statement {
    name: "late_records",
    text: include_str!("../seal/late_records.sql"),
};
/// Gives the lease of the sealer back: owner.
pub const LEAVE_SEAL: Statement = Statement {
    name: "leave_seal",
    text: include_str!("../seal/leave_seal.sql"),
};
/// Hashes in the order of their positions: generation, first position, limit.
pub const LEAVES_FROM: Statement = Statement {
    name: "leaves_from",
    text: include_str!("../seal/leaves_from.sql"),
};
/// Records of transactions from this one on that have no position yet, in their order: transaction, limit, generation.
pub const NEW_RECORDS: Statement = Statement {
    name: "new_records",
    text: include_str!("../seal/new_records.sql"),
};
/// The newest signed head: generation.
pub const NEWEST_CHECKPOINT: Statement = Statement {
    name: "newest_checkpoint",
    text: include_str!("../seal/newest_checkpoint.sql"),
};
/// Continues the ledger as the next generation: its number, the run of its keyring. The head of the old log.
pub const OPEN_GENERATION: Statement = Statement {
    name: "open_generation",
    text: include_str!("../seal/open_generation.sql"),
};
/// The last sealed record of each of these runs: runs, generation.
pub const SEALED_HEADS: Statement = Statement {
    name: "sealed_heads",
    text: include_str!("../seal/sealed_heads.sql"),
};
/// Takes or renews the lease of the sealer: owner, name, lease ms.
pub const TAKE_SEAL: Statement = Statement {
    name: "take_seal",
    text: include_str!("../seal/take_seal.sql"),
};
/// Records that have no position in the log of a generation, in the order of their runs: generation.
pub const UNSEALED_RECORDS: Statement = Statement {
    name: "unsealed_records",
    text: include_str!("../seal/unsealed_records.sql"),
};

// notify
/// Remembers how far a subscriber has come; false when it lost its place: name, owner, position.
pub const KEEP_POSITION: Statement = Statement {
    name: "keep_position",
    text: include_str!("../notify/keep_position.sql"),
};
/// Gives the place back: name, owner.
pub const LEAVE_SUBSCRIBER: Statement = Statement {
    name: "leave_subscriber",
    text: include_str!("../notify/leave_subscriber.sql"),
};
/// Takes or renews the one place of a subscriber: name, owner, lease ms.
pub const TAKE_SUBSCRIBER: Statement = Statement {
    name: "take_subscriber",
    text: include_str!("../notify/take_subscriber.sql"),
};

// rehearse
/// A relation as `writes` names it, with its primary key: name.
pub const FIND_RELATION: Statement = Statement {
    name: "find_relation",
    text: include_str!("../rehearse/find_relation.sql"),
};
/// Rows that were there before a rehearsal and are not now: relation.
pub const GONE_ROWS: Statement = Statement {
    name: "gone_rows",
    text: include_str!("../rehearse/gone_rows.sql"),
};
/// Relations that this backend has locked beyond reading.
pub const HELD_LOCKS: Statement = Statement {
    name: "held_locks",
    text: include_str!("../rehearse/held_locks.sql"),
};
/// Rows that are there now and were not before a rehearsal: relation.
pub const NEW_ROWS: Statement = Statement {
    name: "new_rows",
    text: include_str!("../rehearse/new_rows.sql"),
};
/// What became of a transaction: its number.
pub const READ_FATE: Statement = Statement {
    name: "read_fate",
    text: include_str!("../rehearse/read_fate.sql"),
};
/// Notes every row of a relation before a rehearsal: relation, at most so many.
pub const REMEMBER_ROWS: Statement = Statement {
    name: "remember_rows",
    text: include_str!("../rehearse/remember_rows.sql"),
};
/// Rows by the places of their versions: relation, parts, places.
pub const ROWS_AT: Statement = Statement {
    name: "rows_at",
    text: include_str!("../rehearse/rows_at.sql"),
};
/// Settings of a rehearsal: lock, statement and idle limits in milliseconds.
pub const SET_LIMITS: Statement = Statement {
    name: "set_limits",
    text: include_str!("../rehearse/set_limits.sql"),
};
/// The moment that this transaction sees, and its number.
pub const SHARE_SNAPSHOT: Statement = Statement {
    name: "share_snapshot",
    text: include_str!("../rehearse/share_snapshot.sql"),
};

// runbook
/// The time now, and after so many milliseconds.
pub const CLOCK: Statement = Statement {
    name: "clock",
    text: include_str!("../runbook/clock.sql"),
};
/// Stores the plan of an execution of a runbook: id, log, flight, runbook, version, digest, canonical bytes, by whom.
pub const PUT_EXECUTION: Statement = Statement {
    name: "put_execution",
    text: include_str!("../runbook/put_execution.sql"),
};
/// Takes an execution in hands, or null: id, owner, name, lease ms.
pub const TAKE_EXECUTION: Statement = Statement {
    name: "take_execution",
    text: include_str!("../runbook/take_execution.sql"),
};
/// Keeps an execution in hands: id, token, lease ms.
pub const BEAT_EXECUTION: Statement = Statement {
    name: "beat_execution",
    text: include_str!("../runbook/beat_execution.sql"),
};
/// Gives an execution out of hands: id, token.
pub const LEAVE_EXECUTION: Statement = Statement {
    name: "leave_execution",
    text: include_str!("../runbook/leave_execution.sql"),
};
/// Moves an execution with its record: id, token, was, done before, state, done.
pub const MOVE_EXECUTION: Statement = Statement {
    name: "move_execution",
    text: include_str!("../runbook/move_execution.sql"),
};
/// Executions whose id begins or ends so: a part of an id.
pub const EXECUTIONS_BY_PREFIX: Statement = Statement {
    name: "executions_by_prefix",
    text: include_str!("../runbook/executions_by_prefix.sql"),
};
/// Executions, youngest first: log or null, only those under way, at most.
pub const LIST_EXECUTIONS: Statement = Statement {
    name: "list_executions",
    text: include_str!("../runbook/list_executions.sql"),
};
/// A role that cannot write and that this session may take: the named one or null.
pub const READER_ROLE: Statement = Statement {
    name: "reader_role",
    text: include_str!("../runbook/reader_role.sql"),
};

// read
/// Every hold and whether it is released.
pub const ALL_HOLDS_STATE: Statement = Statement {
    name: "all_holds_state",
    text: include_str!("../read/all_holds_state.sql"),
};
/// Every record, run by run: after run and seq, limit.
pub const ALL_RECORDS: Statement = Statement {
    name: "all_records",
    text: include_str!("../read/all_records.sql"),
};
/// One run that was archived, as it stood when it left: id.
pub const ARCHIVED_RUN_BY_ID: Statement = Statement {
    name: "archived_run_by_id",
    text: include_str!("../read/archived_run_by_id.sql"),
};
/// One blob: id.
pub const BLOB_BY_ID: Statement = Statement {
    name: "blob_by_id",
    text: include_str!("../read/blob_by_id.sql"),
};
/// Archived runs by the act that took them out.
pub const CHECK_ARCHIVED: Statement = Statement {
    name: "check_archived",
    text: include_str!("../read/check_archived.sql"),
};
/// These blobs, without their content: ids. The constant is what commitments begin with, as bytes.
pub const CHECK_BLOBS: Statement = Statement {
    name: "check_blobs",
    text: include_str!("../read/check_blobs.sql"),
};
/// Every used decision, after this one: decision, limit.
pub const CHECK_DECISIONS: Statement = Statement {
    name: "check_decisions",
    text: include_str!("../read/check_decisions.sql"),
};
/// Every definition with its bytes.
pub const CHECK_DEFINITIONS: Statement = Statement {
    name: "check_definitions",
    text: include_str!("../read/check_definitions.sql"),
};
/// Every execution of a runbook, after one: execution, limit.
pub const CHECK_EXECUTIONS: Statement = Statement {
    name: "check_executions",
    text: include_str!("../read/check_executions.sql"),
};
/// Holds, after one, and whether their run was archived: hold, limit.
pub const CHECK_HOLDS: Statement = Statement {
    name: "check_holds",
    text: include_str!("../read/check_holds.sql"),
};
/// Leaves with what their records say, in the order of positions: generation, first position, limit.
pub const CHECK_LEAVES: Statement = Statement {
    name: "check_leaves",
    text: include_str!("../read/check_leaves.sql"),
};
/// Every run as it stands, after this one: run, limit.
pub const CHECK_RUNS: Statement = Statement {
    name: "check_runs",
    text: include_str!("../read/check_runs.sql"),
};
/// How many blobs there are.
pub const COUNT_BLOBS: Statement = Statement {
    name: "count_blobs",
    text: include_str!("../read/count_blobs.sql"),
};
/// What this transaction sees.
pub const CURRENT_SNAPSHOT: Statement = Statement {
    name: "current_snapshot",
    text: include_str!("../read/current_snapshot.sql"),
};
/// Records of transactions from this one on, in the order of their transactions: transaction, limit.
pub const EVENTS_SINCE: Statement = Statement {
    name: "events_since",
    text: include_str!("../read/events_since.sql"),
};
/// The event triggers that refuse DDL on our schema, and their function: names, schema.
pub const GUARD_STATE: Statement = Statement {
    name: "guard_state",
    text: include_str!("../read/guard_state.sql"),
};
/// Plans that go back to a phase, youngest first, with the records of their way: run, target, since, until, limit.
pub const LIST_REWINDS: Statement = Statement {
    name: "list_rewinds",
    text: include_str!("../read/list_rewinds.sql"),
};
/// Runs, youngest first: saga, state, subject, ids (each may be null), limit.
pub const LIST_RUNS: Statement = Statement {
    name: "list_runs",
    text: include_str!("../read/list_runs.sql"),
};
/// What is not sealed yet: how many records, the age of the oldest in seconds, and the size that is sealed.
pub const OPEN_WINDOW: Statement = Statement {
    name: "open_window",
    text: include_str!("../read/open_window.sql"),
};
/// Plans whose digest begins so: hex prefix.
pub const PLANS_BY_PREFIX: Statement = Statement {
    name: "plans_by_prefix",
    text: include_str!("../read/plans_by_prefix.sql"),
};
/// The plans of these runs: runs.
pub const PLANS_OF_RUNS: Statement = Statement {
    name: "plans_of_runs",
    text: include_str!("../read/plans_of_runs.sql"),
};
/// Plans of a run that is not there: limit.
pub const PLANS_WITHOUT_RUN: Statement = Statement {
    name: "plans_without_run",
    text: include_str!("../read/plans_without_run.sql"),
};
/// One plan: digest.
pub const PLAN_BY_DIGEST: Statement = Statement {
    name: "plan_by_digest",
    text: include_str!("../read/plan_by_digest.sql"),
};
/// The last plan made for a run: run.
pub const PLAN_OF_RUN: Statement = Statement {
    name: "plan_of_run",
    text: include_str!("../read/plan_of_run.sql"),
};
/// The triggers that keep records append-only, and whether each fires always.
pub const PROTECTIONS: Statement = Statement {
    name: "protections",
    text: include_str!("../read/protections.sql"),
};
/// A run's records in order: run, after this seq.
pub const RECORDS_OF_RUN: Statement = Statement {
    name: "records_of_run",
    text: include_str!("../read/records_of_run.sql"),
};
/// The hash of one record: run, seq.
pub const RECORD_HASH_AT: Statement = Statement {
    name: "record_hash_at",
    text: include_str!("../read/record_hash_at.sql"),
};
/// The refusals of these runs: runs.
pub const REFUSALS_OF_RUNS: Statement = Statement {
    name: "refusals_of_runs",
    text: include_str!("../read/refusals_of_runs.sql"),
};
/// Refusals of a run that is not there: limit.
pub const REFUSALS_WITHOUT_RUN: Statement = Statement {
    name: "refusals_without_run",
    text: include_str!("../read/refusals_without_run.sql"),
};
/// Runs whose id begins or ends so, archived ones too: a part of an id.
pub const RUNS_BY_PREFIX: Statement = Statement {
    name: "runs_by_prefix",
    text: include_str!("../read/runs_by_prefix.sql"),
};
/// Runs that wait for a person, oldest first.
pub const RUNS_NEEDING_A_PERSON: Statement = Statement {
    name: "runs_needing_a_person",
    text: include_str!("../read/runs_needing_a_person.sql"),
};
/// Every run that has records, in order, after this one: run, limit.
pub const RUNS_WITH_RECORDS: Statement = Statement {
    name: "runs_with_records",
    text: include_str!("../read/runs_with_records.sql"),
};
/// One run: id.
pub const RUN_BY_ID: Statement = Statement {
    name: "run_by_id",
    text: include_str!("../read/run_by_id.sql"),
};
/// One run: saga, key.
pub const RUN_BY_KEY: Statement = Statement {
    name: "run_by_key",
    text: include_str!("../read/run_by_key.sql"),
};
/// Every run with its head, after this one: run, limit.
pub const RUN_HEADS: Statement = Statement {
    name: "run_heads",
    text: include_str!("../read/run_heads.sql"),
};
/// Every constraint and index on our tables, and whether it is in force: schema.
pub const SCHEMA_CONSTRAINTS: Statement = Statement {
    name: "schema_constraints",
    text: include_str!("../read/schema_constraints.sql"),
};
/// Every function in our schema: schema.
pub const SCHEMA_FUNCTIONS: Statement = Statement {
    name: "schema_functions",
    text: include_str!("../read/schema_functions.sql"),
};
/// Who besides the owner may call each function in our schema; no name is PUBLIC: schema.
pub const SCHEMA_FUNCTION_RIGHTS: Statement = Statement {
    name: "schema_function_rights",
    text: include_str!("../read/schema_function_rights.sql"),
};
/// Which of these roles can do what only the owner may: owner, roles.
pub const SCHEMA_MEMBERS: Statement = Statement {
    name: "schema_members",
    text: include_str!("../read/schema_members.sql"),
};
/// Rights to change our tables or schema that somebody besides the owner has; no name is PUBLIC: schema.
pub const SCHEMA_RIGHTS: Statement = Statement {
    name: "schema_rights",
    text: include_str!("../read/schema_rights.sql"),
};
/// Every table in our schema and what could change or hide its rows: schema.
pub const SCHEMA_TABLES: Statement = Statement {
    name: "schema_tables",
    text: include_str!("../read/schema_tables.sql"),
};
/// Every trigger on our tables: schema. The type's bits: 1 row, 2 before, 4 insert, 8 delete, 16 update, 32 truncate.
pub const SCHEMA_TRIGGERS: Statement = Statement {
    name: "schema_triggers",
    text: include_str!("../read/schema_triggers.sql"),
};
/// What the gauges show: rows counted at most, records counted at most.
pub const SAMPLE_METRICS: Statement = Statement {
    name: "sample_metrics",
    text: include_str!("../read/sample_metrics.sql"),
};
/// The head of the log, and the newest one that was signed.
pub const SEALER_HEAD: Statement = Statement {
    name: "sealer_head",
    text: include_str!("../read/sealer_head.sql"),
};
/// The head of the system log.
pub const SYSTEM_HEADS: Statement = Statement {
    name: "system_heads",
    text: include_str!("../read/system_heads.sql"),
};
/// Blobs that no record of their run names: limit. A record names one by its id, in lower case.
pub const UNREFERENCED_BLOBS: Statement = Statement {
    name: "unreferenced_blobs",
    text: include_str!("../read/unreferenced_blobs.sql"),
};

// doctor
/// The server and this login.
pub const SERVER_STATE: Statement = Statement {
    name: "server_state",
    text: include_str!("../doctor/server_state.sql"),
};
/// The settings that a ledger rests on.
pub const SERVER_SETTINGS: Statement = Statement {
    name: "server_settings",
    text: include_str!("../doctor/server_settings.sql"),
};
/// Open connections and their limits.
pub const CONNECTIONS: Statement = Statement {
    name: "connections",
    text: include_str!("../doctor/connections.sql"),
};
/// Prepared transactions that nobody has ended.
pub const PREPARED_TRANSACTIONS: Statement = Statement {
    name: "prepared_transactions",
    text: include_str!("../doctor/prepared_transactions.sql"),
};
/// Transactions that are open for long.
pub const OLDEST_TRANSACTIONS: Statement = Statement {
    name: "oldest_transactions",
    text: include_str!("../doctor/oldest_transactions.sql"),
};
/// Ages of the databases in transactions and multixacts.
pub const TRANSACTION_AGE: Statement = Statement {
    name: "transaction_age",
    text: include_str!("../doctor/transaction_age.sql"),
};
/// Replication slots and what is kept for them.
pub const REPLICATION_SLOTS: Statement = Statement {
    name: "replication_slots",
    text: include_str!("../doctor/replication_slots.sql"),
};
/// Standbys and how far behind they are.
pub const STANDBYS: Statement = Statement {
    name: "standbys",
    text: include_str!("../doctor/standbys.sql"),
};
/// How continuous archiving goes.
pub const ARCHIVER: Statement = Statement {
    name: "archiver",
    text: include_str!("../doctor/archiver.sql"),
};
/// The roles of an installation, and which of them this login may use.
pub const LOGIN_RIGHTS: Statement = Statement {
    name: "login_rights",
    text: include_str!("../doctor/login_rights.sql"),
};
/// Who works, and what nobody does.
pub const WORK_STATE: Statement = Statement {
    name: "work_state",
    text: include_str!("../doctor/work_state.sql"),
};
/// Runs whose last act outside has no outcome.
pub const RUNS_IN_DOUBT: Statement = Statement {
    name: "runs_in_doubt",
    text: include_str!("../doctor/runs_in_doubt.sql"),
};
/// How far the newest recorded time is ahead of the server's clock, in seconds.
pub const RECORDED_TIME: Statement = Statement {
    name: "recorded_time",
    text: include_str!("../doctor/recorded_time.sql"),
};
/// The head of the log and the newest one that was signed.
pub const SIGNED_HEAD: Statement = Statement {
    name: "signed_head",
    text: include_str!("../doctor/signed_head.sql"),
};

// complete
/// Runs that a shell offers.
pub const OFFERED_RUNS: Statement = Statement {
    name: "offered_runs",
    text: include_str!("../complete/offered_runs.sql"),
};
/// Runs that a shell offers where a plan is meant.
pub const OFFERED_FAILED_RUNS: Statement = Statement {
    name: "offered_failed_runs",
    text: include_str!("../complete/offered_failed_runs.sql"),
};
/// Sagas that a shell offers.
pub const OFFERED_SAGAS: Statement = Statement {
    name: "offered_sagas",
    text: include_str!("../complete/offered_sagas.sql"),
};
/// Holds that a shell offers.
pub const OFFERED_HOLDS: Statement = Statement {
    name: "offered_holds",
    text: include_str!("../complete/offered_holds.sql"),
};
/// Executions that a shell offers.
pub const OFFERED_EXECUTIONS: Statement = Statement {
    name: "offered_executions",
    text: include_str!("../complete/offered_executions.sql"),
};

/// Every statement, in the order of the flow.
pub const STATEMENTS: &[Statement] = &[
    APPLIED_MIGRATIONS,
    FOUND_INSTALLATION,
    GUARDED,
    INSTALLATION,
    LOCK_MIGRATION,
    NOTE_MIGRATION,
    ROLE_EXISTS,
    SET_SEARCH_PATH,
    SURROUNDINGS,
    DEFINITION_BY_DIGEST,
    DEFINITION_BY_NAME,
    DEFINITION_DIGESTS,
    LIST_DEFINITIONS,
    PUT_DEFINITION,
    ENTER_START,
    READ_SETTINGS,
    RESTORE_SETTINGS,
    LISTEN_FOR_WORK,
    TELL_OF_WORK,
    BEAT,
    RUNS_WAITING,
    CLAIM,
    CLAIM_RUN,
    GIVE_BACK,
    LEAVE,
    APPEND,
    ENTER_PHASE,
    PUT_BLOB,
    SET_ROLE,
    LOCKED_RELATIONS,
    WRITTEN_RELATIONS,
    ENTER_COMPENSATION,
    ENTER_RUN,
    NOTE_REFUSAL,
    PUT_PLAN,
    APPEND_SYSTEM,
    DRAIN_GATE,
    ENTER_SYSTEM,
    GATE_HOLDERS,
    HOLDS_ON_RUN,
    LIFT_HOLD,
    LIST_HOLDS,
    NOW,
    PUBLISH_SWITCH,
    PUT_HOLD,
    READ_SWITCH,
    RELEASED_ON_RUN,
    TERMINATE,
    ARCHIVABLE,
    ARCHIVE_RUNS,
    CHECKPOINT_AT,
    CHECKPOINTS_AFTER,
    COUNT_LEAVES,
    ENTER_SEAL,
    END_LOG,
    ENTRIES_FROM,
    ENTRIES_OF_RUNS,
    ERASE_BLOB,
    EXTEND_LOG,
    IS_ARCHIVED_BLOB,
    KEYRING_RECORDS,
    LATE_RECORDS,
    LEAVE_SEAL,
    LEAVES_FROM,
    NEW_RECORDS,
    NEWEST_CHECKPOINT,
    OPEN_GENERATION,
    SEALED_HEADS,
    TAKE_SEAL,
    UNSEALED_RECORDS,
    KEEP_POSITION,
    LEAVE_SUBSCRIBER,
    TAKE_SUBSCRIBER,
    FIND_RELATION,
    GONE_ROWS,
    HELD_LOCKS,
    NEW_ROWS,
    READ_FATE,
    REMEMBER_ROWS,
    ROWS_AT,
    SET_LIMITS,
    SHARE_SNAPSHOT,
    CLOCK,
    PUT_EXECUTION,
    TAKE_EXECUTION,
    BEAT_EXECUTION,
    LEAVE_EXECUTION,
    MOVE_EXECUTION,
    EXECUTIONS_BY_PREFIX,
    LIST_EXECUTIONS,
    READER_ROLE,
    ALL_HOLDS_STATE,
    ALL_RECORDS,
    ARCHIVED_RUN_BY_ID,
    BLOB_BY_ID,
    CHECK_ARCHIVED,
    CHECK_BLOBS,
    CHECK_DECISIONS,
    CHECK_DEFINITIONS,
    CHECK_EXECUTIONS,
    CHECK_HOLDS,
    CHECK_LEAVES,
    CHECK_RUNS,
    COUNT_BLOBS,
    CURRENT_SNAPSHOT,
    EVENTS_SINCE,
    GUARD_STATE,
    LIST_REWINDS,
    LIST_RUNS,
    OPEN_WINDOW,
    PLANS_BY_PREFIX,
    PLANS_OF_RUNS,
    PLANS_WITHOUT_RUN,
    PLAN_BY_DIGEST,
    PLAN_OF_RUN,
    PROTECTIONS,
    RECORDS_OF_RUN,
    RECORD_HASH_AT,
    REFUSALS_OF_RUNS,
    REFUSALS_WITHOUT_RUN,
    RUNS_BY_PREFIX,
    RUNS_NEEDING_A_PERSON,
    RUNS_WITH_RECORDS,
    RUN_BY_ID,
    RUN_BY_KEY,
    RUN_HEADS,
    SCHEMA_CONSTRAINTS,
    SCHEMA_FUNCTIONS,
    SCHEMA_FUNCTION_RIGHTS,
    SCHEMA_MEMBERS,
    SCHEMA_RIGHTS,
    SCHEMA_TABLES,
    SCHEMA_TRIGGERS,
    SAMPLE_METRICS,
    SEALER_HEAD,
    SYSTEM_HEADS,
    UNREFERENCED_BLOBS,
    SERVER_STATE,
    SERVER_SETTINGS,
    CONNECTIONS,
    PREPARED_TRANSACTIONS,
    OLDEST_TRANSACTIONS,
    TRANSACTION_AGE,
    REPLICATION_SLOTS,
    STANDBYS,
    ARCHIVER,
    LOGIN_RIGHTS,
    WORK_STATE,
    RUNS_IN_DOUBT,
    RECORDED_TIME,
    SIGNED_HEAD,
    OFFERED_RUNS,
    OFFERED_FAILED_RUNS,
    OFFERED_SAGAS,
    OFFERED_HOLDS,
    OFFERED_EXECUTIONS,
];
