//! Every error of the engine in one place, with what must be done about it.
//!
//! **Invariant:** `class()` and `code()` are exhaustive; a new error without a decision does not compile.

use redress_ledger::Class;
use redress_ledger::decision::DecisionError;
use thiserror::Error;
use uuid::Uuid;

use crate::adapter::{AdapterError, Finding};
use crate::db::DbError;
use crate::definition;
use crate::files::FileError;
use crate::log::LogError;
use crate::plan::PlanError;
use crate::schema::SchemaError;

/// What the engine could not do.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The definition is not one that may be registered; every finding with its path.
    #[error("the definition is refused: {}", findings_text(.0))]
    Definition(Vec<Finding>),
    /// The same name and version stands with another digest.
    #[error("saga {saga} version {version} is registered with another digest: raise the version")]
    VersionTaken {
        /// The saga.
        saga: String,
        /// The version.
        version: u32,
    },
    /// No such saga.
    #[error("unknown saga {0}: `redress saga list` shows what is registered")]
    UnknownSaga(String),
    /// No such run.
    #[error("unknown run {0}: `redress runs` lists them")]
    UnknownRun(String),
    /// No such plan.
    #[error("unknown plan {0}: `redress plan RUN` makes one")]
    UnknownPlan(String),
    /// No failed run has a fingerprint that begins so, or several differ behind it.
    #[error("no failed run has this fingerprint: {0}")]
    UnknownFingerprint(String),
    /// Runs fail alike, and no plan brings them back.
    #[error("no plan brings them back: {0}")]
    NotRecoverable(String),
    /// No such hold.
    #[error("unknown or released hold {0}: `redress holds` lists those in force")]
    UnknownHold(String),
    /// The input does not fit the saga's schema.
    #[error("the input does not fit the saga: {0}")]
    Input(String),
    /// The key was used with another input.
    #[error("key {key} was used with another input, by run {run}")]
    Conflict {
        /// The key.
        key: String,
        /// The run that has it.
        run: Uuid,
    },
    /// Another run is active on the subject.
    #[error("another run is active on subject {0}: finish, compensate or resolve it first")]
    SubjectBusy(String),
    /// A snapshot query did not give what it must before a run.
    #[error("snapshot `{name}` is {found}, expected {expected}: nothing was started")]
    Expectation {
        /// The query's name.
        name: String,
        /// What it gave.
        found: String,
        /// What it must give.
        expected: String,
    },
    /// A phase wrote what it did not declare.
    #[error("phase {phase} wrote {relations} without declaring it in `writes`: rolled back")]
    Coverage {
        /// The phase.
        phase: String,
        /// The relations, comma separated.
        relations: String,
    },
    /// A phase locked rows of what it did not declare.
    #[error(
        "phase {phase} read rows of {relations} for update without declaring it in `locks` or `writes`: rolled back"
    )]
    LockCoverage {
        /// The phase.
        phase: String,
        /// The relations, comma separated.
        relations: String,
    },
    /// The adapter did not end in time.
    #[error("phase {phase} did not end within {ms} ms: rolled back")]
    Timeout {
        /// The phase.
        phase: String,
        /// The limit.
        ms: u64,
    },
    /// The adapter panicked.
    #[error("phase {phase} panicked: {message}; rolled back")]
    Panic {
        /// The phase.
        phase: String,
        /// What it said.
        message: String,
    },
    /// Whether an act outside the database was done is not known.
    #[error(
        "whether {what} of phase {phase} was done outside is not known: {why}; look there, then `redress resume` asks again"
    )]
    InDoubt {
        /// The phase.
        phase: String,
        /// `the act` or `the undo`.
        what: &'static str,
        /// Why it cannot be told.
        why: String,
    },
    /// The worker has no adapter of this name.
    #[error("no adapter named {0} here: run it where one is registered")]
    UnknownAdapter(String),
    /// A compensation is asked for where none is possible.
    #[error("run {run} is {state}: {needed}")]
    WrongState {
        /// The run.
        run: Uuid,
        /// Its state.
        state: String,
        /// What would be needed.
        needed: &'static str,
    },
    /// The run has moved on since the plan was made.
    #[error("the plan is stale, the run has moved on since it was made: plan again, run {0}")]
    StalePlan(Uuid),
    /// The login may not act as a role that the plan's phases name.
    #[error("this login may not act as the role of a phase that the plan takes back: {roles}")]
    RoleMissing {
        /// The roles.
        roles: String,
    },
    /// The plan contains an action that is refused.
    #[error("the plan cannot run: phase {phase} is refused, {why}")]
    PlanRefused {
        /// The phase.
        phase: String,
        /// Why.
        why: String,
    },
    /// A guard said no before anything was done.
    #[error(
        "phase {phase} may not be compensated this way: {why}; nothing was changed, plan another action or ask the sovereign"
    )]
    GuardRefused {
        /// The phase.
        phase: String,
        /// Why.
        why: String,
        /// The stable code: the adapter's own, where it has one.
        code: &'static str,
    },
    /// What an act rests on does not hold, or could not be told.
    #[error("check {check} {}: {found}; nothing was changed", if *unknown { "could not be told" } else { "failed" })]
    CheckFailed {
        /// The check.
        check: String,
        /// Whether it could not be told.
        unknown: bool,
        /// What was found, or why it could not be told.
        found: String,
    },
    /// No such execution of a runbook.
    #[error("unknown execution {0}: `redress runbook executions` shows them")]
    UnknownExecution(String),
    /// Somebody else carries out a runbook here.
    #[error(
        "{by} carries out runbook {runbook} here since {since}; wait, or ask them: execution {execution}"
    )]
    ExecutionBusy {
        /// Person and machine.
        by: String,
        /// Which runbook.
        runbook: String,
        /// Since when.
        since: String,
        /// The execution.
        execution: Uuid,
    },
    /// The execution is not where it would have to be.
    #[error("the execution is {state}: {needed}, execution {execution}")]
    ExecutionState {
        /// The execution.
        execution: Uuid,
        /// Where it is.
        state: &'static str,
        /// What would be needed.
        needed: &'static str,
    },
    /// Somebody else took the execution over.
    #[error(
        "somebody else has taken this over: look with `redress runbook show {0}`, execution {0}"
    )]
    ExecutionLost(Uuid),
    /// It could not be rehearsed, and nothing was done.
    #[error("not rehearsed: {0}")]
    NotRehearsed(String),
    /// A baseline value is not what it was before the run.
    #[error("baseline `{name}` was {before} before the run and is {now}: rolled back")]
    Baseline {
        /// The query's name.
        name: String,
        /// Before the run.
        before: String,
        /// Inside the compensation.
        now: String,
    },
    /// The compensation could not finish.
    #[error(
        "the compensation failed and was rolled back: {why}; the run is stuck, still standing: {standing}; run {run}"
    )]
    Stuck {
        /// The run.
        run: Uuid,
        /// Why.
        why: String,
        /// Phases that still stand.
        standing: String,
    },
    /// Signatures are missing.
    #[error("{0}")]
    ApprovalsMissing(String),
    /// A decision or its signature is not acceptable.
    #[error(transparent)]
    Decision(#[from] DecisionError),
    /// The ledger's own keys: an act that is refused, or a keyring that is not ours.
    #[error(transparent)]
    Keyring(#[from] redress_ledger::keyring::KeyringError),
    /// An act of the root that is refused before it is recorded: nothing was written.
    #[error("{0}; nothing was recorded")]
    Act(#[source] redress_ledger::keyring::KeyringError),
    /// A text that a person gives has no room in a record.
    #[error(
        "{what} is too long: {bytes} bytes, at most {}",
        crate::bound::TEXT_BYTES_MAX
    )]
    TextTooLong {
        /// Which text.
        what: &'static str,
        /// How long it is.
        bytes: usize,
    },
    /// The run has no sealed record of the phase.
    #[error("run {run} has no sealed record of a phase {phase}; it has {known}")]
    UnknownPhase {
        /// The run.
        run: Uuid,
        /// What was asked for.
        phase: String,
        /// The phases that it has, in their order.
        known: String,
    },
    /// No such blob, or it was erased before.
    #[error("there is no blob {0}, or it was erased before")]
    UnknownBlob(Uuid),
    /// The run ended long ago and its records are in an archive.
    #[error("the run was archived: its records are in an archive of the ledger, run {0}")]
    Archived(Uuid),
    /// An archive cannot give what it should have.
    #[error("the archive has not what it should have: {why}, {path}")]
    Archive {
        /// What is missing or differs.
        why: String,
        /// Which one.
        path: String,
    },
    /// A bundle could not be written.
    #[error("the bundle was not written: {why}, {path}")]
    Export {
        /// Why not.
        why: String,
        /// Where it was to be.
        path: String,
    },
    /// Nothing more is sealed.
    #[error(transparent)]
    Seal(#[from] crate::seal::SealError),
    /// The decision was used before.
    #[error("the decision was used before: sign a new one, decision {0}")]
    Replayed(Uuid),
    /// A decision is needed and no trust roots are configured.
    #[error("no trust roots are configured: give --trust FILE or REDRESS_TRUST")]
    NoTrust,
    /// Hold, kill or freeze is in the way.
    #[error("{0}")]
    Held(String),
    /// The switch or a hold stands as released, and no signed decision that this machine trusts says so.
    #[error(
        "{what} stands as released, and that is not proven here: {why}; nothing goes on until it is released by `redress release`"
    )]
    ReleaseUnproven {
        /// The switch with its number, or the hold with its id.
        what: String,
        /// Why it is not proven.
        why: String,
    },
    /// The kill switch is published, but an earlier entrant has not ended.
    #[error(
        "the switch is published, nobody new gets in; not drained, these may still commit: {0}"
    )]
    NotDrained(String),
    /// The kill switch is published, and whether earlier entrants have ended could not be found out.
    #[error(
        "the switch is published, nobody new gets in; not drained, whoever had entered before may still commit: {0}"
    )]
    DrainFailed(DbError),
    /// An adapter said no.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    /// The schema is not ours.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// The log cannot be trusted.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A stored plan that cannot be read.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A file of the state folder.
    #[error(transparent)]
    File(#[from] FileError),
    /// The database's own answer.
    #[error(transparent)]
    Db(#[from] DbError),
    /// A commit of an operator's act whose outcome is not known.
    #[error("whether this was done is not known, ask again before you repeat it: {0}")]
    Unknown(DbError),
    /// The engine found something that its own rules exclude.
    #[error("inconsistent: {0}")]
    Inconsistent(String),
}

impl Error {
    /// What must be done.
    pub fn class(&self) -> Class {
        match self {
            Self::Definition(_)
            | Self::VersionTaken { .. }
            | Self::UnknownSaga(_)
            | Self::UnknownRun(_)
            | Self::UnknownPlan(_)
            | Self::UnknownFingerprint(_)
            | Self::NotRecoverable(_)
            | Self::UnknownHold(_)
            | Self::Input(_)
            | Self::Conflict { .. }
            | Self::SubjectBusy(_)
            | Self::Expectation { .. }
            | Self::WrongState { .. }
            | Self::StalePlan(_)
            | Self::PlanRefused { .. }
            | Self::RoleMissing { .. }
            | Self::GuardRefused { .. }
            | Self::NotRehearsed(_)
            | Self::CheckFailed { .. }
            | Self::UnknownExecution(_)
            | Self::ExecutionBusy { .. }
            | Self::ExecutionState { .. }
            | Self::ExecutionLost(_)
            | Self::ApprovalsMissing(_)
            | Self::Replayed(_)
            | Self::NoTrust
            | Self::Act(_)
            | Self::TextTooLong { .. }
            | Self::UnknownPhase { .. }
            | Self::Export { .. }
            | Self::Archived(_)
            | Self::Archive { .. }
            | Self::UnknownBlob(_)
            | Self::Decision(_) => Class::Refused,
            Self::Baseline { .. } => Class::Business,
            Self::Timeout { .. } => Class::Retry,
            Self::Panic { .. } | Self::Coverage { .. } | Self::LockCoverage { .. } => {
                Class::Business
            }
            Self::UnknownAdapter(_)
            | Self::InDoubt { .. }
            | Self::Stuck { .. }
            | Self::Held(_)
            | Self::ReleaseUnproven { .. }
            | Self::NotDrained(_)
            | Self::DrainFailed(_)
            | Self::Inconsistent(_) => Class::Hold,
            Self::Adapter(error) => error.class(),
            Self::Keyring(error) => error.class(),
            Self::Seal(error) => error.class(),
            Self::Schema(error) => error.class(),
            Self::Log(error) => error.class(),
            Self::Plan(error) => error.class(),
            Self::File(error) => error.class(),
            Self::Db(error) => error.class(),
            Self::Unknown(_) => Class::InDoubt,
        }
    }

    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Definition(findings) => findings.first().map_or("RD0101", |finding| finding.code),
            Self::VersionTaken { .. } => "RD0190",
            Self::UnknownSaga(_) => "RD0191",
            Self::Input(_) => "RD0192",
            Self::TextTooLong { .. } => "RD0196",
            Self::UnknownPhase { .. } => "RD0197",
            Self::UnknownRun(_) => "RD0206",
            Self::Conflict { .. } => "RD0211",
            Self::SubjectBusy(_) => "RD0212",
            Self::Expectation { .. } => "RD0213",
            Self::Held(_) => "RD0204",
            Self::NotDrained(_) | Self::DrainFailed(_) => "RD0214",
            Self::UnknownHold(_) => "RD0215",
            Self::ReleaseUnproven { .. } => "RD0218",
            Self::UnknownAdapter(_) => "RD0304",
            Self::InDoubt { .. } => "RD0317",
            Self::Coverage { .. } | Self::LockCoverage { .. } => "RD0302",
            Self::Timeout { .. } => "RD0305",
            Self::Panic { .. } => "RD0316",
            Self::StalePlan(_) => "RD0420",
            Self::GuardRefused { code, .. } => code,
            Self::NotRehearsed(_) => "RD0430",
            Self::UnknownExecution(_) => "RD0440",
            Self::ExecutionBusy { .. } => "RD0441",
            Self::CheckFailed { unknown: false, .. } => "RD0442",
            Self::ExecutionState { .. } => "RD0443",
            Self::ExecutionLost(_) => "RD0444",
            Self::CheckFailed { unknown: true, .. } => "RD0445",
            Self::Baseline { .. } => "RD0422",
            Self::PlanRefused { .. } => "RD0423",
            Self::RoleMissing { .. } => "RD0433",
            Self::Stuck { .. } => "RD0424",
            Self::WrongState { .. } => "RD0425",
            Self::UnknownPlan(_) => "RD0426",
            Self::UnknownFingerprint(_) => "RD0428",
            Self::NotRecoverable(_) => "RD0429",
            Self::ApprovalsMissing(_) => "RD0560",
            Self::NoTrust => "RD0562",
            Self::Replayed(_) => "RD0563",
            Self::Decision(error) => error.code(),
            Self::Keyring(error) => error.code(),
            Self::Act(error) => act_code(error),
            Self::Seal(error) => error.code(),
            Self::Export { .. } => "RD0741",
            Self::UnknownBlob(_) => "RD0743",
            Self::Archived(_) => "RD0748",
            Self::Archive { .. } => "RD0749",
            Self::Adapter(error) => error.code(),
            Self::Schema(error) => error.code(),
            Self::Log(error) => error.code(),
            Self::Plan(error) => error.code(),
            Self::File(error) => error.code(),
            Self::Db(error) => error.code_outside(),
            Self::Unknown(_) => "RD0809",
            Self::Inconsistent(_) => "RD0672",
        }
    }

    /// The stable code of what ended an attempt of a phase: there, what the server refuses is the phase's.
    pub(crate) fn code_inside(&self) -> &'static str {
        match self {
            Self::Db(error) => error.code(),
            other => other.code(),
        }
    }

    /// Whether only the way to the database was lost: nothing is said about the work itself.
    pub(crate) fn is_lost(&self) -> bool {
        // Unreachable, lost, class 57 (the server shuts down, crashed or starts up), and what keeps a new connection
        // from being made: certificates, their files, the login.
        matches!(
            self.code(),
            "RD0801"
                | "RD0802"
                | "RD0807"
                | "RD0811"
                | "RD0812"
                | "RD0813"
                | "RD0814"
                | "RD0815"
                | "RD0816"
                | "RD0817"
                | "RD0818"
                | "RD0819"
        )
    }

    /// The SQLSTATE, when the server answered.
    pub fn sqlstate(&self) -> Option<&str> {
        match self {
            Self::Db(error) | Self::Unknown(error) => error.sqlstate(),
            Self::Adapter(error) => error.sqlstate(),
            Self::Schema(SchemaError::Db(error)) => error.sqlstate(),
            _ => None,
        }
    }
}

impl From<definition::Finding> for Finding {
    fn from(finding: definition::Finding) -> Self {
        Self {
            path: finding.path,
            code: finding.problem.code(),
            message: finding.problem.to_string(),
        }
    }
}

/// Nothing stands in the ledger yet that would have to be doubted: what a verifier would name is only refused.
fn act_code(error: &redress_ledger::keyring::KeyringError) -> &'static str {
    use redress_ledger::keyring::KeyringError;
    match error {
        KeyringError::UsedTwice(_) => "RD0563",
        KeyringError::Member(_) | KeyringError::Beyond { .. } => "RD0585",
        error => error.code(),
    }
}

fn findings_text(findings: &[Finding]) -> String {
    let lines: Vec<String> = findings
        .iter()
        .map(|f| format!("{}: {} [{}]", f.path, f.message, f.code))
        .collect();
    lines.join("; ")
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Db(error.into())
    }
}
