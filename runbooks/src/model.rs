//! The shape of a runbook: what a file gives, and nothing that only an execution knows.
//!
//! **Invariant:** every default is filled in when a runbook is read, so its canonical form names each value and its
//! digest pins what will run.
//!
//! **Not here:** whether a runbook makes sense (`lint`), and whether its SQL and names fit a database (`check`).

use std::collections::BTreeMap;

use redress::definition::duration;
use redress::name::Name;
use redress::pointer::Pointer;
use redress_ledger::quorum::Quorum;
use redress_ledger::state::State;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::schema::{
    ActionText, LengthText, NameText, PointerText, QuorumShape, ScopeText, StateText,
};

/// A way to bring something to a safe end, as data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Runbook {
    /// Its name.
    #[schemars(with = "NameText")]
    pub runbook: Name,
    /// Its version; another content needs another version.
    pub version: u32,
    /// What it does, in one line.
    #[schemars(length(min = 1, max = 80))]
    pub title: String,
    /// Who answers for it.
    pub owner: String,
    /// What it can do at worst.
    pub risk: Risk,
    /// For whom and when, in Markdown.
    #[serde(default)]
    pub summary: String,
    /// The installations it is for, by origin; empty: every one.
    #[serde(default)]
    pub environments: Vec<String>,
    /// When it is the right one.
    #[serde(default, rename = "match")]
    pub matches: Match,
    /// What the operator gives; bound, never put into a text.
    #[serde(default)]
    #[schemars(with = "BTreeMap<NameText, Param>")]
    pub params: BTreeMap<Name, Param>,
    /// The role under which checks read; it must not be able to write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Values that must be the same when it is done.
    #[serde(default)]
    pub baseline: Vec<Query>,
    /// What it may touch, and how much of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// Who must sign before it is applied.
    #[serde(default)]
    pub approvals: Approvals,
    /// Time limits.
    #[serde(default)]
    pub limits: Limits,
    /// What must hold, when planning and again under lock.
    #[serde(default)]
    pub checks: Vec<Check>,
    /// What is done, in this order.
    #[schemars(length(min = 1, max = 64))]
    pub steps: Vec<Step>,
    /// What must hold afterwards.
    #[serde(default)]
    pub after: Vec<Check>,
    /// How it was tried.
    #[serde(default)]
    #[schemars(required, length(min = 1, max = 64))]
    pub tests: Vec<Test>,
}

/// What a runbook can do at worst.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Risk {
    /// It only looks.
    ReadOnly,
    /// What it does can be undone.
    Reversible,
    /// What it does stays.
    Irreversible,
}

/// When a runbook is the right one; what is empty matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Match {
    /// Runs of this saga.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<NameText>")]
    pub saga: Option<Name>,
    /// Of these versions of it.
    pub versions: Vec<u32>,
    /// Whose failed phase is this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<NameText>")]
    pub failed_phase: Option<Name>,
    /// Of which at least these phases stand.
    #[schemars(with = "Vec<NameText>")]
    pub committed: Vec<Name>,
    /// In one of these states.
    #[schemars(with = "Vec<StateText>")]
    pub states: Vec<State>,
    /// With one of these error codes.
    pub codes: Vec<String>,
}

/// What the operator gives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Param {
    /// What kind of value.
    #[serde(rename = "type")]
    pub kind: ParamType,
    /// What it is for.
    #[serde(default)]
    pub about: String,
    /// A text must match this whole (a regular expression, anchored at both ends).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// One of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<Value>,
    /// The smallest whole number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<i64>,
    /// The largest whole number, or the most characters of a text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<i64>,
    /// What it is when nothing is given; without one it must be given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
}

/// The kinds of parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ParamType {
    /// Any text without NUL.
    Text,
    /// A whole number of at most 53 bits.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// A UUID.
    Uuid,
    /// An instant, RFC 3339.
    Timestamp,
    /// The name of a phase of the run's saga.
    Phase,
}

/// A statement with its parameters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// The name under which its rows are kept.
    #[schemars(with = "NameText")]
    pub name: Name,
    /// The statement.
    pub sql: String,
    /// Pointers whose values are bound to `$1`, `$2`, …
    #[serde(default)]
    #[schemars(with = "Vec<PointerText>")]
    pub params: Vec<Pointer>,
}

/// What a runbook may touch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scope {
    /// The relations (`schema.table`) that its own statements may write.
    pub relations: Vec<String>,
    /// A query that counts the rows it is about.
    pub rows: String,
    /// Pointers whose values are bound to `$1`, `$2`, …
    #[serde(default)]
    #[schemars(with = "Vec<PointerText>")]
    pub params: Vec<Pointer>,
    /// The most rows.
    pub max: u64,
}

/// Who must sign before a runbook is applied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Approvals {
    /// Whoever runs it counts for none of them.
    pub distinct: bool,
    /// Role to number.
    #[serde(flatten)]
    #[schemars(with = "QuorumShape")]
    pub quorum: Quorum,
}

/// Time limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// How long a plan may be applied, in milliseconds.
    #[serde(with = "duration")]
    #[schemars(with = "LengthText")]
    pub plan_ttl: u64,
    /// How long a statement waits for a lock, in milliseconds.
    #[serde(with = "duration")]
    #[schemars(with = "LengthText")]
    pub lock: u64,
    /// How long a statement may take, in milliseconds.
    #[serde(with = "duration")]
    #[schemars(with = "LengthText")]
    pub statement: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            plan_ttl: 3_600_000,
            lock: 5_000,
            statement: 60_000,
        }
    }
}

/// One thing that must hold. It passes, fails, or could not be told; the last one refuses too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// Its name, unique in the runbook.
    #[schemars(with = "NameText")]
    pub id: Name,
    /// Why it matters.
    pub why: String,
    /// A query.
    pub sql: String,
    /// Pointers whose values are bound to `$1`, `$2`, …
    #[serde(default)]
    #[schemars(with = "Vec<PointerText>")]
    pub params: Vec<Pointer>,
    /// What the one value of its one row must be. Without it every value of every row must be true.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub expect: Option<Value>,
    /// What a failure means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_fail: Option<OnFail>,
}

/// What a failed check means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OnFail {
    /// The code of the refusal: a code of Redress or a word of the runbook's own.
    pub refuse: String,
    /// The runbook that is right then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<NameText>")]
    pub next: Option<Name>,
}

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

/// One trial of a runbook.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Test {
    /// What it shows.
    pub name: String,
    /// The prepared state that it starts from: a name that `redress drill` knows.
    pub fixture: String,
    /// Parameters.
    #[serde(default)]
    #[schemars(with = "BTreeMap<NameText, Value>")]
    pub params: BTreeMap<Name, Value>,
    /// Evidence for manual steps.
    #[serde(default)]
    #[schemars(with = "BTreeMap<NameText, String>")]
    pub evidence: BTreeMap<Name, String>,
    /// What must come of it.
    pub expect: Expectation,
}

/// What must come of a trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    /// Whether it is done or refused.
    pub outcome: Outcome,
    /// The code of the refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The state of the run afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<StateText>")]
    pub state: Option<State>,
}

/// How an execution ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every step was done, and what must hold afterwards holds.
    Done,
    /// It was refused, and nothing was changed.
    Refused,
}

fn call_ms() -> u64 {
    60_000
}

fn wait_ms() -> u64 {
    600_000
}

/// The word for a step without a name, until it is read whole.
const UNNAMED: &str = "unnamed";

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

impl Runbook {
    /// Names the steps that have no name: by their kind, and their number where that is taken.
    pub(crate) fn name_steps(&mut self) {
        for at in 0..self.steps.len() {
            if self.steps[at].id.as_str() != UNNAMED {
                continue;
            }
            let kind = self.steps[at].kind();
            let taken = self.steps.iter().any(|step| step.id.as_str() == kind);
            let name = match taken {
                true => format!("{kind}-{}", at + 1),
                false => kind.to_owned(),
            };
            if let Ok(name) = Name::new(name.as_str()) {
                self.steps[at].id = name;
            }
        }
    }
}

/// Keeps the difference between a value that is not there and one that is null.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
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
