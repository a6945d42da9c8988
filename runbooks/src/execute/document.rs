//! The plan of a runbook: what was looked at, what will be done, and until when it may be.
//!
//! **Invariant:** the whole runbook stands in its plan, so what was approved is what is carried out, whatever becomes of
//! the file.

use std::collections::BTreeMap;

use redress::name::Name;
use redress_ledger::Hash;
use redress_ledger::decision::Basis;
use redress_ledger::state::State;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::model::Runbook;

/// A plan, as it is stored and signed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// The version of this form, 1.
    pub schema: u32,
    /// The execution.
    pub execution: Uuid,
    /// The installation.
    pub origin: String,
    /// Its ledger's generation.
    pub generation: i64,
    /// The whole runbook.
    pub runbook: Runbook,
    /// The run that it is about.
    pub run: Option<PlannedRun>,
    /// The parameters.
    pub params: Map<String, Value>,
    /// Why, in the words of whoever planned it.
    pub reason: String,
    /// The role under which checks read; nothing where the session may take none.
    pub role: Option<String>,
    /// The plans of its steps `compensate` and `rewind`, by step.
    pub plans: BTreeMap<Name, Hash>,
    /// What the checks found.
    pub checks: Vec<Value>,
    /// The values that must be the same when it is done.
    pub baseline: Map<String, Value>,
    /// How many rows it is about.
    pub rows: Option<u64>,
    /// When it was made, RFC 3339 UTC.
    pub made_at: String,
    /// Until when it may be begun.
    pub not_after: String,
}

/// The run as it was when the plan was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedRun {
    /// The run.
    pub id: Uuid,
    /// Its saga.
    pub saga: String,
    /// The saga's version.
    pub version: i32,
    /// Its state.
    pub state: State,
    /// The last record that changes what a plan would say.
    pub basis: Basis,
}
