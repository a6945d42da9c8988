//! The steps of a runbook, each kind with what it needs.

use std::collections::BTreeMap;

use redress::definition::duration;
use redress::name::Name;
use redress::pointer::Pointer;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Query;
use crate::schema::{ActionText, LengthText, NameText, PointerText, ScopeText};

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Its name, unique in the runbook; when it is left out, its kind, with its number where that is taken.
    #[serde(default = "unnamed")]
    #[schemars(with = "NameText")]
    pub id: Name,
    /// What it is for.
    #[serde(default)]
    pub why: String,
    /// The planner's plan is carried out.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "Option::is_none"
    )]
    pub compensate: Option<Compensate>,
    /// The run goes back to a phase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewind: Option<Back>,
    /// Statements of its own, in one transaction with its record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction: Option<Transaction>,
    /// Something is held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
    /// Holds, or the kill switch, are released.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<Release>,
    /// A failed run goes forward again.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "Option::is_none"
    )]
    pub resume: Option<Resume>,
    /// A run is closed as it stands.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "Option::is_none"
    )]
    pub resolve: Option<Resolve>,
    /// Values are read and kept as evidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<Snapshot>,
    /// An adapter acts outside the database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<Call>,
    /// Time passes, or something comes true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<Wait>,
    /// A person does something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manual: Option<Manual>,
}

/// Carries out the planner's plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Compensate {
    /// Other actions than the definition declares, by phase.
    #[schemars(with = "BTreeMap<NameText, ActionText>")]
    pub actions: BTreeMap<Name, redress::plan::Action>,
}

/// Takes the run back to a phase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Back {
    /// The phase that is undone last and runs next: its name, or a pointer to one.
    pub to: String,
    /// Whether the run goes on by itself.
    #[serde(default)]
    pub then: Then,
}

/// What follows a rewind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    /// It stays failed.
    #[default]
    Stop,
    /// It runs.
    Resume,
}

/// Statements in one transaction with the step's record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Transaction {
    /// Queries that lock what is judged and changed (`for update`).
    pub lock: Vec<Statement>,
    /// The checks that are made again; all, unless they are listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<NameText>>")]
    pub recheck: Option<Vec<Name>>,
    /// Queries whose rows are kept in the record as they were before.
    pub capture: Vec<Statement>,
    /// What is done.
    #[serde(rename = "do")]
    pub acts: Vec<Statement>,
    /// Statements that append what says what was done; they may only insert.
    pub append: Vec<Statement>,
    /// Queries of which every value of every row must be true before COMMIT.
    pub verify: Vec<Statement>,
}

/// One statement of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// The statement.
    pub sql: String,
    /// Pointers whose values are bound to `$1`, `$2`, …
    #[serde(default)]
    #[schemars(with = "Vec<PointerText>")]
    pub params: Vec<Pointer>,
    /// How many rows it must touch or give.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<Rows>,
    /// The name under which its rows are kept: `/steps/STEP/NAME/ROW/COLUMN`.
    #[serde(default, rename = "as", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<NameText>")]
    pub name: Option<Name>,
}

/// How many rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, deny_unknown_fields)]
pub enum Rows {
    /// Exactly so many.
    Exactly(u64),
    /// From so many to so many.
    Between {
        /// At least.
        #[serde(default)]
        min: u64,
        /// At most.
        max: u64,
    },
}

/// Holds something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hold {
    /// What: of the run's own run, subject or saga, or everything.
    #[schemars(with = "ScopeText")]
    pub scope: redress::definition::HoldScope,
}

/// Releases something.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Release {
    /// The holds that the run's own failure set, or those that name it: `own` or `run`; or a pointer to one's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holds: Option<String>,
    /// The kill switch.
    pub switch: bool,
}

/// Lets a failed run go forward.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Resume {}

/// Closes a run as it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Resolve {}

/// Reads and keeps values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// The queries.
    pub queries: Vec<Query>,
}

/// Calls an adapter that acts outside the database.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// The adapter.
    #[schemars(with = "NameText")]
    pub adapter: Name,
    /// What it reads, as in a phase.
    pub with: Value,
    /// How long it may take, in milliseconds.
    #[serde(default = "call_ms", with = "duration")]
    #[schemars(with = "LengthText")]
    pub timeout: u64,
}

/// Lets time pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Wait {
    /// So long, in milliseconds.
    #[serde(
        default,
        rename = "for",
        with = "optional_duration",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<LengthText>")]
    pub pause: Option<u64>,
    /// Until every value of every row is true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Statement>,
    /// The longest wait for `until`, in milliseconds.
    #[serde(default = "wait_ms", with = "duration")]
    #[schemars(with = "LengthText")]
    pub timeout: u64,
}

/// A person does something and says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Manual {
    /// What to do.
    pub instruction: String,
    /// What has to be attached, by name; each is what it is.
    #[serde(default)]
    #[schemars(with = "BTreeMap<NameText, String>")]
    pub evidence: BTreeMap<Name, String>,
}

fn call_ms() -> u64 {
    60_000
}

fn wait_ms() -> u64 {
    600_000
}

/// The word for a step without a name, until it is read whole.
pub(super) const UNNAMED: &str = "unnamed";

fn unnamed() -> Name {
    Name::new(UNNAMED).expect("a fixed word that is a name")
}

/// `compensate:` with nothing behind it is `compensate: {}`.
fn or_default<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Option::deserialize(deserializer).map(|value: Option<T>| Some(value.unwrap_or_default()))
}

/// A length of time that may be missing.
mod optional_duration {
    use redress::definition::duration;
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(ms: &Option<u64>, to: S) -> Result<S::Ok, S::Error> {
        match ms {
            Some(ms) => duration::serialize(ms, to),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
        duration::deserialize(from).map(Some)
    }
}
