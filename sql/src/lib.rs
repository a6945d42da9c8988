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
/// What the numbered migrations leave: a line for each column, constraint and index, by tabs: table, kind, name, text.
pub const SHAPE: &str = include_str!("../migrations/shape.tsv");
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

/// Each statement as a constant of its own, and all of them.
macro_rules! statements {
    ($($folder:literal { $($(#[$doc:meta])* $name:ident = $file:literal;)* })*) => {
        $($(
            $(#[$doc])*
            pub const $name: Statement = Statement {
                name: $file,
                text: include_str!(concat!("../", $folder, "/", $file, ".sql")),
            };
        )*)*

        /// Every statement, in the order of the flow.
        pub const STATEMENTS: &[Statement] = &[$($($name,)*)*];
    };
}

statements! {
    "schema" {
        /// Migrations in order.
        APPLIED_MIGRATIONS = "applied_migrations";
        /// Makes the installation's rows: origin, system run.
        FOUND_INSTALLATION = "found_installation";
        /// Writes down what is ours in this schema, as the server names it: schema, owner.
        GUARDED = "guarded";
        /// The installation and the server it stands on.
        INSTALLATION = "installation";
        /// One migrator at a time.
        LOCK_MIGRATION = "lock_migration";
        /// Notes a migration: version, name, SHA-256 of its text.
        NOTE_MIGRATION = "note_migration";
        /// Whether a role exists: name.
        ROLE_EXISTS = "role_exists";
        /// The search_path of a migration: schema.
        SET_SEARCH_PATH = "set_search_path";
        /// What a connection stands on before anything is done.
        SURROUNDINGS = "surroundings";
    }
    "definition" {
        /// One definition: digest.
        DEFINITION_BY_DIGEST = "definition_by_digest";
        /// A saga's newest version, or the one named: saga, version or null.
        DEFINITION_BY_NAME = "definition_by_name";
        /// The digest of every definition.
        DEFINITION_DIGESTS = "definition_digests";
        /// Definitions and how many unfinished runs each has.
        LIST_DEFINITIONS = "list_definitions";
        /// Registers a definition; false when it stands already: digest, saga, version, bytes, by.
        PUT_DEFINITION = "put_definition";
    }
    "start" {
        /// Opens a run, or finds the one that has its key.
        ENTER_START = "enter_start";
        /// What entering a start sets for its transaction, as it was before.
        READ_SETTINGS = "read_settings";
        /// Puts back what entering a start has set: in the order of `read_settings`.
        RESTORE_SETTINGS = "restore_settings";
    }
    "claim" {
        /// Whether runs that can be executed here wait for their time or for another worker's lease: definitions.
        RUNS_WAITING = "runs_waiting";
        /// Hears of work.
        LISTEN_FOR_WORK = "listen_for_work";
        /// Wakes the workers that listen.
        TELL_OF_WORK = "tell_of_work";
        /// Renews a worker's lease: worker, name, lease ms.
        BEAT = "beat";
        /// Claims the oldest runnable runs: worker, limit, definitions it can execute.
        CLAIM = "claim";
        /// Claims one named run: worker, run.
        CLAIM_RUN = "claim_run";
        /// Gives one run back: run, epoch, worker, wait ms.
        GIVE_BACK = "give_back";
        /// Gives back everything a worker holds: worker.
        LEAVE = "leave";
    }
    "phase" {
        /// Appends records and moves the run: see the function's own parameters.
        APPEND = "append";
        /// Enters a phase: run, epoch, phase, saga, subject, statement ms, lock ms, idle ms.
        ENTER_PHASE = "enter_phase";
        /// Keeps large or personal data beside a record: id, run, salt, content, commitment.
        PUT_BLOB = "put_blob";
        /// Runs what follows under a role until it is set back; the name is a bound value, never text in SQL.
        SET_ROLE = "set_role";
        /// Relations whose rows this transaction has locked and not written.
        LOCKED_RELATIONS = "locked_relations";
        /// Relations that this transaction has written.
        WRITTEN_RELATIONS = "written_relations";
    }
    "compensate" {
        /// Enters a compensation: run, epoch or null, raise, saga, subject, switch_no or null, holds, statement ms, lock ms, idle ms.
        ENTER_COMPENSATION = "enter_compensation";
        /// Locks a run: run, epoch or null, raise the epoch, statement ms, lock ms, idle ms.
        ENTER_RUN = "enter_run";
        /// Notes a refusal; true when it is new: run, actor, code, basis.
        NOTE_REFUSAL = "note_refusal";
        /// Stores a plan: digest, run, basis seq, canonical bytes.
        PUT_PLAN = "put_plan";
        /// Which of these roles this session may not take: roles.
        ROLES_MISSING = "roles_missing";
    }
    "hold" {
        /// Appends records to the system log: head seq, records.
        APPEND_SYSTEM = "append_system";
        /// Waits until earlier entrants have ended: lock ms.
        DRAIN_GATE = "drain_gate";
        /// Locks the system log: statement ms, lock ms, idle ms.
        ENTER_SYSTEM = "enter_system";
        /// Backends that hold the gate.
        GATE_HOLDERS = "gate_holders";
        /// Holds in force that bear on a run: saga, subject, run.
        HOLDS_ON_RUN = "holds_on_run";
        /// Lifts a hold; false when it was not in force: id, by.
        LIFT_HOLD = "lift_hold";
        /// Holds: all of them, or those in force only.
        LIST_HOLDS = "list_holds";
        /// The database's time, RFC 3339 UTC with microseconds.
        NOW = "now";
        /// Publishes a state of the switch: state, reason, by.
        PUBLISH_SWITCH = "publish_switch";
        /// Sets a hold: id, scope, target, run, reason, code, by.
        PUT_HOLD = "put_hold";
        /// The switch as it stands.
        READ_SWITCH = "read_switch";
        /// The switch's number while it lets work go on, and the released holds that would bear on a run: saga, subject, run.
        RELEASED_ON_RUN = "released_on_run";
        /// Ends a backend: pid.
        TERMINATE = "terminate";
    }
    "seal" {
        /// Runs that may leave, with how many records each has: the instant, the end of the signed log.
        ARCHIVABLE = "archivable";
        /// Takes runs out: the instant, the end of the log, the digest over them, the number of the record that decides it.
        ARCHIVE_RUNS = "archive_runs";
        /// A signed head: generation, size.
        CHECKPOINT_AT = "checkpoint_at";
        /// Signed heads in order: generation, after this size, limit.
        CHECKPOINTS_AFTER = "checkpoints_after";
        /// How many leaves the log of a generation has: generation.
        COUNT_LEAVES = "count_leaves";
        /// Locks the head of the log and gives the snapshot that the batch is read with: fence, statement ms, lock ms, idle ms.
        ENTER_SEAL = "enter_seal";
        /// Gives records their places at the end of an old log: generation, leaves that are there, runs, numbers, hashes.
        END_LOG = "end_log";
        /// Records in the order of their positions: generation, first position, position behind the last, limit.
        ENTRIES_FROM = "entries_from";
        /// Records of these runs in the order of their positions: generation, runs, position behind the last.
        ENTRIES_OF_RUNS = "entries_of_runs";
        /// Erases a blob and its salt; false when it is not there: id.
        ERASE_BLOB = "erase_blob";
        /// Extends the log: see the function's own parameters.
        EXTEND_LOG = "extend_log";
        /// Whether only an archive holds a blob: id.
        IS_ARCHIVED_BLOB = "is_archived_blob";
        /// Records of the keyring's log behind a place, each with its transaction: run, after this seq.
        KEYRING_RECORDS = "keyring_records";
        /// Records of transactions that were in flight when the log was sealed last: transactions.
        LATE_RECORDS = "late_records";
        /// Gives the lease of the sealer back: owner.
        LEAVE_SEAL = "leave_seal";
        /// Hashes in the order of their positions: generation, first position, limit.
        LEAVES_FROM = "leaves_from";
        /// Records of transactions from this one on that have no position yet, in their order: transaction, limit, generation.
        NEW_RECORDS = "new_records";
        /// The newest signed head: generation.
        NEWEST_CHECKPOINT = "newest_checkpoint";
        /// Continues the ledger as the next generation: its number, the run of its keyring. The head of the old log.
        OPEN_GENERATION = "open_generation";
        /// The last sealed record of each of these runs: runs, generation.
        SEALED_HEADS = "sealed_heads";
        /// Takes or renews the lease of the sealer: owner, name, lease ms.
        TAKE_SEAL = "take_seal";
        /// Records that have no position in the log of a generation, in the order of their runs: generation.
        UNSEALED_RECORDS = "unsealed_records";
    }
    "notify" {
        /// Remembers how far a subscriber has come; false when it lost its place: name, owner, position.
        KEEP_POSITION = "keep_position";
        /// Gives the place back: name, owner.
        LEAVE_SUBSCRIBER = "leave_subscriber";
        /// Takes or renews the one place of a subscriber: name, owner, lease ms.
        TAKE_SUBSCRIBER = "take_subscriber";
    }
    "rehearse" {
        /// A relation as `writes` names it, with its primary key: name.
        FIND_RELATION = "find_relation";
        /// Rows that were there before a rehearsal and are not now: relation.
        GONE_ROWS = "gone_rows";
        /// Relations that this backend has locked beyond reading.
        HELD_LOCKS = "held_locks";
        /// Rows that are there now and were not before a rehearsal: relation.
        NEW_ROWS = "new_rows";
        /// What became of a transaction: its number.
        READ_FATE = "read_fate";
        /// Notes every row of a relation before a rehearsal: relation, at most so many.
        REMEMBER_ROWS = "remember_rows";
        /// Rows by the places of their versions: relation, parts, places.
        ROWS_AT = "rows_at";
        /// Settings of a rehearsal: lock, statement and idle limits in milliseconds.
        SET_LIMITS = "set_limits";
        /// The moment that this transaction sees, and its number.
        SHARE_SNAPSHOT = "share_snapshot";
    }
    "runbook" {
        /// The time now, and after so many milliseconds.
        CLOCK = "clock";
        /// Stores the plan of an execution of a runbook: id, log, flight, runbook, version, digest, canonical bytes, by whom.
        PUT_EXECUTION = "put_execution";
        /// Takes an execution in hands, or null: id, owner, name, lease ms.
        TAKE_EXECUTION = "take_execution";
        /// Keeps an execution in hands: id, token, lease ms.
        BEAT_EXECUTION = "beat_execution";
        /// Gives an execution out of hands: id, token.
        LEAVE_EXECUTION = "leave_execution";
        /// Moves an execution with its record: id, token, was, done before, state, done.
        MOVE_EXECUTION = "move_execution";
        /// Executions whose id begins or ends so: a part of an id.
        EXECUTIONS_BY_PREFIX = "executions_by_prefix";
        /// Executions, youngest first: log or null, only those under way, at most.
        LIST_EXECUTIONS = "list_executions";
        /// A role that cannot write and that this session may take: the named one or null.
        READER_ROLE = "reader_role";
    }
    "read" {
        /// Every hold and whether it is released.
        ALL_HOLDS_STATE = "all_holds_state";
        /// Every record, run by run: after run and seq, limit.
        ALL_RECORDS = "all_records";
        /// One run that was archived, as it stood when it left: id.
        ARCHIVED_RUN_BY_ID = "archived_run_by_id";
        /// Whether a decision was used: id.
        IS_DECISION_USED = "is_decision_used";
        /// One blob: id.
        BLOB_BY_ID = "blob_by_id";
        /// Archived runs by the act that took them out.
        CHECK_ARCHIVED = "check_archived";
        /// These blobs, without their content: ids. The constant is what commitments begin with, as bytes.
        CHECK_BLOBS = "check_blobs";
        /// Every used decision, after this one: decision, limit.
        CHECK_DECISIONS = "check_decisions";
        /// Every definition with its bytes.
        CHECK_DEFINITIONS = "check_definitions";
        /// Every execution of a runbook, after one: execution, limit.
        CHECK_EXECUTIONS = "check_executions";
        /// Holds, after one, and whether their run was archived: hold, limit.
        CHECK_HOLDS = "check_holds";
        /// Leaves with what their records say, in the order of positions: generation, first position, limit.
        CHECK_LEAVES = "check_leaves";
        /// Every run as it stands, after this one: run, limit.
        CHECK_RUNS = "check_runs";
        /// How many blobs there are.
        COUNT_BLOBS = "count_blobs";
        /// What this transaction sees.
        CURRENT_SNAPSHOT = "current_snapshot";
        /// Records of transactions from this one on, in the order of their transactions: transaction, limit.
        EVENTS_SINCE = "events_since";
        /// The event triggers that refuse DDL on our schema, and their function: names, schema.
        GUARD_STATE = "guard_state";
        /// Plans that go back to a phase, youngest first, with the records of their way: run, target, since, until, limit.
        LIST_REWINDS = "list_rewinds";
        /// Runs, youngest first: saga, state, subject, ids (each may be null), limit.
        LIST_RUNS = "list_runs";
        /// What is not sealed yet: how many records, the age of the oldest in seconds, and the size that is sealed.
        OPEN_WINDOW = "open_window";
        /// Plans whose digest begins so: hex prefix.
        PLANS_BY_PREFIX = "plans_by_prefix";
        /// The plans of these runs: runs.
        PLANS_OF_RUNS = "plans_of_runs";
        /// Plans of a run that is not there: limit.
        PLANS_WITHOUT_RUN = "plans_without_run";
        /// One plan: digest.
        PLAN_BY_DIGEST = "plan_by_digest";
        /// The last plan made for a run: run.
        PLAN_OF_RUN = "plan_of_run";
        /// The triggers that keep records append-only, and whether each fires always.
        PROTECTIONS = "protections";
        /// A run's records in order: run, after this seq.
        RECORDS_OF_RUN = "records_of_run";
        /// The hash of one record: run, seq.
        RECORD_HASH_AT = "record_hash_at";
        /// The refusals of these runs: runs.
        REFUSALS_OF_RUNS = "refusals_of_runs";
        /// Refusals of a run that is not there: limit.
        REFUSALS_WITHOUT_RUN = "refusals_without_run";
        /// Runs whose id begins or ends so, archived ones too: a part of an id.
        RUNS_BY_PREFIX = "runs_by_prefix";
        /// Runs that wait for a person, oldest first.
        RUNS_NEEDING_A_PERSON = "runs_needing_a_person";
        /// Every run that has records, in order, after this one: run, limit.
        RUNS_WITH_RECORDS = "runs_with_records";
        /// One run: id.
        RUN_BY_ID = "run_by_id";
        /// One run: saga, key.
        RUN_BY_KEY = "run_by_key";
        /// Every run with its head, after this one: run, limit.
        RUN_HEADS = "run_heads";
        /// Every constraint and index on our tables, and whether it is in force: schema.
        SCHEMA_CONSTRAINTS = "schema_constraints";
        /// Every function in our schema: schema.
        SCHEMA_FUNCTIONS = "schema_functions";
        /// Who besides the owner may call each function in our schema; no name is PUBLIC: schema.
        SCHEMA_FUNCTION_RIGHTS = "schema_function_rights";
        /// Which of these roles can do what only the owner may: owner, roles.
        SCHEMA_MEMBERS = "schema_members";
        /// Rights on our tables and schema that somebody besides the owner has; no name is PUBLIC: schema.
        SCHEMA_RIGHTS = "schema_rights";
        /// Columns, constraints and indexes in our schema, as the server writes them: schema.
        SCHEMA_SHAPE = "schema_shape";
        /// Every table in our schema and what could change or hide its rows: schema.
        SCHEMA_TABLES = "schema_tables";
        /// Every trigger on our tables: schema. The type's bits: 1 row, 2 before, 4 insert, 8 delete, 16 update, 32 truncate.
        SCHEMA_TRIGGERS = "schema_triggers";
        /// What the gauges show: rows counted at most, records counted at most.
        SAMPLE_METRICS = "sample_metrics";
        /// The head of the log, and the newest one that was signed.
        SEALER_HEAD = "sealer_head";
        /// The head of the system log.
        SYSTEM_HEADS = "system_heads";
        /// Blobs that no record of their run names: limit. A record names one by its id, in lower case.
        UNREFERENCED_BLOBS = "unreferenced_blobs";
    }
    "doctor" {
        /// The server and this login.
        SERVER_STATE = "server_state";
        /// The settings that a ledger rests on.
        SERVER_SETTINGS = "server_settings";
        /// Open connections and their limits.
        CONNECTIONS = "connections";
        /// Prepared transactions that nobody has ended.
        PREPARED_TRANSACTIONS = "prepared_transactions";
        /// Transactions that are open for long.
        OLDEST_TRANSACTIONS = "oldest_transactions";
        /// Ages of the databases in transactions and multixacts.
        TRANSACTION_AGE = "transaction_age";
        /// Replication slots and what is kept for them.
        REPLICATION_SLOTS = "replication_slots";
        /// Standbys and how far behind they are.
        STANDBYS = "standbys";
        /// How continuous archiving goes.
        ARCHIVER = "archiver";
        /// The roles of an installation, and which of them this login may use.
        LOGIN_RIGHTS = "login_rights";
        /// Who works, and what nobody does.
        WORK_STATE = "work_state";
        /// Runs whose last act outside has no outcome.
        RUNS_IN_DOUBT = "runs_in_doubt";
        /// How far the newest recorded time is ahead of the server's clock, in seconds.
        RECORDED_TIME = "recorded_time";
        /// The head of the log and the newest one that was signed.
        SIGNED_HEAD = "signed_head";
    }
    "complete" {
        /// Runs that a shell offers.
        OFFERED_RUNS = "offered_runs";
        /// Runs that a shell offers where a plan is meant.
        OFFERED_FAILED_RUNS = "offered_failed_runs";
        /// Sagas that a shell offers.
        OFFERED_SAGAS = "offered_sagas";
        /// Holds that a shell offers.
        OFFERED_HOLDS = "offered_holds";
        /// Executions that a shell offers.
        OFFERED_EXECUTIONS = "offered_executions";
    }
}
