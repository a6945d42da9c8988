//! What a planner is told and what it answers.
//!
//! **Invariant:** everything here is plain data with one canonical form; a plan's digest names what
//! was approved.

use std::collections::{BTreeMap, BTreeSet};

use redress_ledger::decision::Basis;
use redress_ledger::quorum::Quorum;
use redress_ledger::{Class, Hash, State, canonical};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::definition::{Authority, Then};
use crate::name::Name;

/// What stands of a run, as its log says.
#[derive(Clone, Debug, PartialEq)]
pub struct History {
    /// The run.
    pub run: Uuid,
    /// The last record that changes what a plan would say.
    pub basis: Basis,
    /// The run's state.
    pub state: State,
    /// The phases that have committed, in commit order; a phase that was rewound and has committed
    /// again stands here once, for its latest commit.
    pub committed: Vec<Committed>,
    /// Those among `committed` (and the failed phase) whose action has committed already. A
    /// finished rewind takes its phases out of both.
    pub compensated: BTreeSet<Name>,
    /// The phase that failed for good, if one did.
    pub failed: Option<Name>,
    /// How often each phase has been the target of a rewind.
    pub rewinds: BTreeMap<Name, u32>,
    /// The phase whose act outside the database may have been done, without an outcome in the log.
    pub in_doubt: Option<InDoubt>,
}

/// An act outside the database of which only the intent stands in the log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct InDoubt {
    /// The phase.
    pub phase: Name,
    /// The record of the intent.
    pub record: RecordRef,
}

/// A phase that has committed.
#[derive(Clone, Debug, PartialEq)]
pub struct Committed {
    /// The phase.
    pub phase: Name,
    /// Its record's place in the saga log.
    pub seq: i64,
    /// Its record's hash.
    pub hash: Hash,
    /// The record holds what a revert needs.
    pub has_undo: bool,
    /// What the phase wrote, as the record has it.
    pub touched: Value,
}

/// Why a plan is made.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cause {
    /// What happened.
    pub kind: CauseKind,
    /// The reason in words.
    pub reason: String,
    /// Who asked for it; an automatic plan has the engine's own name.
    pub requester: String,
}

/// What happened.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum CauseKind {
    /// A phase failed for good.
    Failure {
        /// The phase.
        phase: Name,
        /// The code of its error.
        code: String,
        /// The message of its error.
        message: String,
    },
    /// Somebody cancelled the run.
    Cancelled {},
    /// Somebody asked for the run to be undone.
    Requested {},
    /// The run goes back to a phase.
    RewindTo {
        /// The phase that is undone last and runs next.
        phase: Name,
        /// Whether the run goes on by itself.
        then: Then,
        /// The phase that the run was at.
        from: Option<Name>,
        /// What set it off.
        trigger: Trigger,
    },
}

/// What set off a rewind.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// A phase failed, and its `on_failure` says `rewind_to`.
    Automatic,
    /// A person asked for it.
    Manual,
}

impl Trigger {
    /// The word in records and lists.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Automatic => "automatic",
            Self::Manual => "manual",
        }
    }
}

/// What the planner must know beyond the definition.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Policy {
    /// Adapters that keep artefacts outside the tables (such as `backup`): undone by discarding.
    pub artefact_adapters: BTreeSet<String>,
    /// What somebody asks for instead of what the definition declares, by phase.
    pub overrides: BTreeMap<Name, Action>,
}

/// What is done about one phase.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Nothing: there is nothing to undo.
    Nothing,
    /// The artefact is marked for collection; only a record.
    Discard,
    /// Rows move to a withdrawn state and stay.
    SoftRevert,
    /// The captured state is put back.
    Restore,
    /// A signed statement is appended.
    Decide,
    /// Rows are deleted, by a sovereign quorum and only while all of them are drafts.
    HardDelete,
    /// The plan cannot be executed.
    Refuse,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 7] = [
        Self::Nothing,
        Self::Discard,
        Self::SoftRevert,
        Self::Restore,
        Self::Decide,
        Self::HardDelete,
        Self::Refuse,
    ];

    /// The word in plans, files and commands.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Discard => "discard",
            Self::SoftRevert => "soft_revert",
            Self::Restore => "restore",
            Self::Decide => "decide",
            Self::HardDelete => "hard_delete",
            Self::Refuse => "refuse",
        }
    }

    /// Whether rows that the phase wrote are changed, so that a guard must hold under lock.
    pub const fn touches_rows(self) -> bool {
        match self {
            Self::SoftRevert | Self::Restore | Self::HardDelete => true,
            Self::Nothing | Self::Discard | Self::Decide | Self::Refuse => false,
        }
    }
}

/// One action of a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedAction {
    /// The phase.
    pub phase: Name,
    /// What is done about it.
    pub action: Action,
    /// The rule that chose it, in plain words.
    pub why: String,
    /// Who must sign for it.
    pub authority: Authority,
    /// What it will touch, from the record.
    pub touches: Value,
    /// A guard must hold under lock before it.
    pub guard: bool,
    /// The record that it undoes; none for the artefact of a failed attempt.
    pub record: Option<RecordRef>,
    /// Why it is refused, as a code.
    pub code: Option<RefusalCode>,
}

/// A record of the saga log.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordRef {
    /// Its place.
    pub seq: i64,
    /// Its hash.
    pub hash: Hash,
}

/// Why an action is refused.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub enum RefusalCode {
    /// The definition says that there is no way back.
    #[serde(rename = "RD0401")]
    Irreversible,
    /// The pivot has committed: only forward recovery or a decision is allowed.
    #[serde(rename = "RD0402")]
    PastPivot,
    /// The record holds no undo data (`LegacyRecord`).
    #[serde(rename = "RD0403")]
    LegacyRecord,
    /// The phase to rewind to has not committed, or is undone already.
    #[serde(rename = "RD0404")]
    RewindTarget,
    /// The phase has been a rewind target as often as the definition allows.
    #[serde(rename = "RD0405")]
    RewindsUsed,
    /// What was asked for instead of the declared compensation is not allowed for this phase.
    #[serde(rename = "RD0406")]
    Override,
    /// The definition declares no way back for a phase that changes rows.
    #[serde(rename = "RD0407")]
    NoWayBack,
    /// The log names a phase that the definition does not have (`Inconsistent`).
    #[serde(rename = "RD0408")]
    Inconsistent,
}

impl RefusalCode {
    /// The stable code.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Irreversible => "RD0401",
            Self::PastPivot => "RD0402",
            Self::LegacyRecord => "RD0403",
            Self::RewindTarget => "RD0404",
            Self::RewindsUsed => "RD0405",
            Self::Override => "RD0406",
            Self::NoWayBack => "RD0407",
            Self::Inconsistent => "RD0408",
        }
    }
}

/// The ordered actions that compensate a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The format; 1.
    pub v: u32,
    /// The run.
    pub run: Uuid,
    /// The saga.
    pub saga: Name,
    /// The saga's version.
    pub version: u32,
    /// The digest of the definition that the run is pinned to.
    pub definition: Hash,
    /// What the plan was made from; another basis makes it stale.
    pub basis: Basis,
    /// Why it was made.
    pub cause: Cause,
    /// The actions, in the order in which they are done.
    pub actions: Vec<PlannedAction>,
    /// The baseline queries that must hold again before COMMIT; none for a rewind that leaves phases standing, since
    /// what they wrote stands too.
    pub baseline: Vec<Name>,
    /// Who must sign, over all actions.
    pub quorum: Quorum,
    /// The plan may run by itself.
    pub automatic: bool,
    /// One action is refused (or the definition has no canonical form), so nothing starts.
    pub refused: bool,
    /// The phase that runs next after a rewind.
    pub stops_at: Option<Name>,
}

impl Plan {
    /// The canonical bytes: what is stored, and what the digest names.
    pub fn canonical(&self) -> Result<Vec<u8>, PlanError> {
        let value = serde_json::to_value(self)
            .map_err(|error| PlanError::NotCanonical(error.to_string()))?;
        canonical::to_canonical(&value).map_err(|error| PlanError::NotCanonical(error.to_string()))
    }

    /// The SHA-256 of the canonical bytes.
    pub fn digest(&self) -> Result<Hash, PlanError> {
        Ok(Hash::of(&self.canonical()?))
    }

    /// Reads a stored plan; any other bytes than [`Plan::canonical`] would give are refused.
    pub fn from_canonical(bytes: &[u8]) -> Result<Self, PlanError> {
        let value = canonical::parse_canonical(bytes)
            .map_err(|error| PlanError::Stored(error.to_string()))?;
        let plan: Self =
            serde_json::from_value(value).map_err(|error| PlanError::Stored(error.to_string()))?;
        if plan.v != PLAN_VERSION {
            return Err(PlanError::Stored(format!("unknown format: {}", plan.v)));
        }
        if plan.canonical()? != bytes {
            return Err(PlanError::Stored("a field is not written out".into()));
        }
        Ok(plan)
    }
}

/// The format of plans that this engine writes and reads.
pub(super) const PLAN_VERSION: u32 = 1;

/// Why a plan cannot be written or read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// A value in it has no canonical form.
    #[error("the plan has no canonical form: {0}")]
    NotCanonical(String),
    /// The stored bytes are not a plan.
    #[error("the stored plan cannot be read: {0}")]
    Stored(String),
}

impl PlanError {
    /// The stable code of this error.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotCanonical(_) => "RD0409",
            Self::Stored(_) => "RD0410",
        }
    }

    /// What to do about it: a plan that cannot be trusted holds the run.
    pub const fn class(&self) -> Class {
        match self {
            Self::NotCanonical(_) | Self::Stored(_) => Class::Hold,
        }
    }
}
