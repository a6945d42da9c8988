//! The shape of a runbook: what a file gives, and nothing that only an execution knows.
//!
//! **Invariant:** every default is filled in when a runbook is read, so its canonical form names each value and its
//! digest pins what will run.
//!
//! **Not here:** whether a runbook makes sense (`lint`), and whether its SQL and names fit a database (`check`).

mod step;

use std::collections::BTreeMap;

use redress::definition::duration;
use redress::name::Name;
use redress::pointer::Pointer;
use redress_ledger::quorum::Quorum;
use redress_ledger::state::State;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::schema::{LengthText, NameText, PointerText, QuorumShape, StateText};

pub use step::*;

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

impl Runbook {
    /// Names the steps that have no name: by their kind, and their number where that is taken.
    pub(crate) fn name_steps(&mut self) {
        for at in 0..self.steps.len() {
            if self.steps[at].id.as_str() != step::UNNAMED {
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
