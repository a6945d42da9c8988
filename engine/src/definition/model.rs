//! The shape of a saga: what a file or the builder gives, and nothing that only a run knows.
//!
//! **Invariant:** every default is filled in when a definition is made, so the stored form names
//! each value and a later version of the engine cannot change what a pinned definition means.

use std::collections::BTreeMap;

use redress_ledger::quorum::{self, Quorum};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::name::Name;
use crate::pointer::Pointer;

use super::duration;
use super::schema::{NameText, PointerText};

/// A saga as it is registered: named, versioned phases and who may undo them.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, from = "super::raw::RawDefinition")]
pub struct Definition {
    /// The saga's name.
    pub saga: Name,
    /// The version; another content needs another version.
    pub version: u32,
    /// What the saga is for, for people.
    pub description: String,
    /// The JSON Schema of the input.
    pub input: Value,
    /// Where in the context the subject stands; holds and exclusivity bind to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<Pointer>,
    /// One active run a subject, over all exclusive sagas; without a subject, one active run of
    /// this saga.
    pub exclusive: bool,
    /// The queries read before the run and after a failure.
    pub snapshot: Vec<SnapshotQuery>,
    /// Action to who must sign; what is not listed needs one sovereign.
    pub authority: BTreeMap<String, Authority>,
    /// What stops when a failure is not recovered.
    pub on_unrecovered: OnUnrecovered,
    /// How often one rewind target may be used in a run.
    pub max_rewinds: u32,
    /// The phases, in file order.
    pub phases: Vec<Phase>,
}

/// One phase: one adapter, one transaction.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Phase {
    /// The phase's name, unique in the saga.
    pub name: Name,
    /// The adapter that does it.
    pub adapter: Name,
    /// The relations (`schema.table`, as the catalogue spells them) that the phase may change.
    pub writes: Vec<String>,
    /// The relations whose rows the phase may read for update and not change; those of `writes` need not be listed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub locks: Vec<String>,
    /// The database role under which the statements run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// How the committed phase is undone.
    pub compensation: Compensation,
    /// After this phase only forward recovery or a decision is allowed.
    pub pivot: bool,
    /// How a failed attempt is repeated.
    pub retry: Retry,
    /// The longest time one attempt may take, in milliseconds.
    #[serde(rename = "timeout", with = "duration")]
    pub timeout_ms: u64,
    /// Who must sign before the phase may run; empty: nobody.
    pub approvals: Quorum,
    /// Relations in which a revert rightly leaves rows.
    pub residue: Vec<String>,
    /// The phases that must be done before this one.
    pub after: Vec<Name>,
    /// What happens when the phase has failed for good.
    pub on_failure: OnFailure,
    /// What the adapter reads; an object whose shape is the adapter's business.
    pub with: Value,
}

/// A named read-only query of the pre and post snapshots.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SnapshotQuery {
    /// The name under which the rows stand in the snapshot.
    #[schemars(with = "NameText")]
    pub name: Name,
    /// The query.
    pub sql: String,
    /// Pointers whose values are bound to `$1`, `$2`, …
    #[serde(default)]
    #[schemars(with = "Vec<PointerText>")]
    pub params: Vec<Pointer>,
    /// The value that the query must give; `Some(Value::Null)` expects NULL.
    #[serde(
        default,
        deserialize_with = "super::raw::present",
        skip_serializing_if = "Option::is_none"
    )]
    pub expect: Option<Value>,
    /// The value must be the same again after a compensation.
    #[serde(default)]
    pub baseline: bool,
    /// The database role under which the query runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
}

/// Who must sign for an action.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Authority {
    /// Nobody: the action may run by itself.
    Auto,
    /// So many distinct people of each role.
    Quorum(Quorum),
}

impl Authority {
    /// What an action needs that the file does not list: one sovereign.
    pub fn unlisted() -> Self {
        Self::Quorum(quorum::one_sovereign())
    }

    /// Whether nobody has to sign.
    pub const fn is_auto(&self) -> bool {
        matches!(self, Self::Auto)
    }
}

/// How a committed phase is undone.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Compensation {
    /// Nothing: the phase changes no row, or all of its rows are declared residue.
    #[default]
    None,
    /// Rows move to a withdrawn state and stay.
    SoftRevert,
    /// A signed statement is appended; rows do not change.
    Decide,
    /// The captured state is put back.
    Restore,
    /// Rows are deleted, by a sovereign quorum and only while all of them are drafts.
    HardDelete,
    /// There is no way back, and the definition says so.
    Irreversible,
}

impl Compensation {
    /// The word of the saga file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::SoftRevert => "soft_revert",
            Self::Decide => "decide",
            Self::Restore => "restore",
            Self::HardDelete => "hard_delete",
            Self::Irreversible => "irreversible",
        }
    }

    /// Whether rows that the phase wrote are changed again; past the pivot that is forbidden.
    pub const fn touches_rows(self) -> bool {
        match self {
            Self::SoftRevert | Self::Restore | Self::HardDelete => true,
            Self::None | Self::Decide | Self::Irreversible => false,
        }
    }
}

/// How a failed attempt is repeated.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Retry {
    /// Attempts in all, the first included.
    pub attempts: u32,
    /// The pause before the second attempt, in milliseconds; it doubles.
    #[serde(rename = "backoff", with = "duration")]
    pub backoff_ms: u64,
    /// The longest pause, in milliseconds.
    #[serde(rename = "max", with = "duration")]
    pub max_ms: u64,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 3,
            backoff_ms: 200,
            max_ms: 5_000,
        }
    }
}

/// What happens when a phase has failed for good.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum OnFailure {
    /// The run is compensated.
    #[default]
    Compensate,
    /// The run is held for a person.
    Hold,
    /// The failure is allowed; the next phase runs.
    Continue,
    /// The run is compensated back to an earlier phase.
    RewindTo {
        /// The phase that is undone last and runs next.
        phase: Name,
        /// Whether the run goes on by itself.
        then: Then,
    },
}

/// What follows a rewind.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    /// The run ends failed; a person resumes it.
    #[default]
    Stop,
    /// The run goes on at once.
    Resume,
}

/// What stops when a failure is not recovered.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OnUnrecovered {
    /// How far the hold reaches.
    pub hold: HoldScope,
    /// Whether the kill switch is thrown too.
    pub kill: bool,
}

/// How far a hold reaches.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HoldScope {
    /// This run.
    #[default]
    Run,
    /// Every run on this subject.
    Subject,
    /// Every run of this saga.
    Saga,
    /// Everything.
    All,
}

impl HoldScope {
    /// The word of the saga file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Subject => "subject",
            Self::Saga => "saga",
            Self::All => "all",
        }
    }
}
