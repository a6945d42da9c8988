//! Executions of runbooks: who has one in hands, and the record of each step, in one transaction with what the step did.
//!
//! **Invariant:** a step's statements, its signed record and the count of steps done commit together or not at all; the
//! count is moved under the token of whoever has the execution in hands, so nobody else's step slips in.
//!
//! **What can go wrong:** the process dies: its lease runs out and somebody else takes over, behind the last step that has
//! a record. A commit in doubt is asked about before anything is said.
//!
//! **Not here:** what a runbook is, its checks and the order of its steps (`redress_runbooks`).

mod approve;
mod hand;
mod record;

use async_trait::async_trait;
use redress_ledger::Hash;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::adapter::AdapterError;
use crate::ask::Demand;
use crate::phase_tx::{PhaseTx, Rows};

/// Where an execution is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecutionState {
    /// Its plan is stored; nothing was done.
    Planned,
    /// At least one step was begun.
    Begun,
    /// Every step is done, and what must hold afterwards holds.
    Done,
    /// Every step is done, and what must hold afterwards does not, or could not be told.
    Unproven,
    /// A check said no.
    Refused,
    /// Somebody gave it up.
    Abandoned,
}

impl ExecutionState {
    const ALL: [Self; 6] = [
        Self::Planned,
        Self::Begun,
        Self::Done,
        Self::Unproven,
        Self::Refused,
        Self::Abandoned,
    ];

    /// As it stands in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Begun => "begun",
            Self::Done => "done",
            Self::Unproven => "unproven",
            Self::Refused => "refused",
            Self::Abandoned => "abandoned",
        }
    }

    /// Whether steps may still be done.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Planned | Self::Begun)
    }
}

/// One execution of a runbook.
#[derive(Clone, Debug)]
pub struct Execution {
    /// Its id.
    pub id: Uuid,
    /// The log that its records stand in: its run's, or the system's.
    pub log: Uuid,
    /// The run that it is about.
    pub run: Option<Uuid>,
    /// The runbook.
    pub runbook: String,
    /// Its version.
    pub version: i32,
    /// The digest of its plan.
    pub plan: Hash,
    /// The plan itself.
    pub document: Value,
    /// Who planned it, as a principal.
    pub made_by: String,
    /// When, RFC 3339 UTC.
    pub made_at: String,
    /// Where it is.
    pub state: ExecutionState,
    /// How many steps are done.
    pub done: u32,
    /// Who has it in hands, while the lease lasts.
    pub owner: Option<String>,
    /// Since when.
    pub taken_at: Option<String>,
}

/// What is planned.
#[derive(Clone, Debug)]
pub struct Opening<'a> {
    /// A new id, version 7.
    pub id: Uuid,
    /// The run that it is about.
    pub run: Option<Uuid>,
    /// The runbook.
    pub runbook: &'a str,
    /// Its version.
    pub version: u32,
    /// The plan: canonical JSON is made of it.
    pub document: &'a Value,
    /// Why.
    pub reason: &'a str,
}

/// An execution in hands.
#[derive(Clone, Debug)]
pub struct Hand {
    execution: Execution,
    token: i64,
}

impl Hand {
    /// The execution as it is now.
    pub fn execution(&self) -> &Execution {
        &self.execution
    }
}

/// What a record of an execution says.
#[derive(Clone, Debug)]
pub struct Note<'a> {
    /// `step`, `refused`, `finished` or `abandoned`.
    pub event: &'static str,
    /// The step, or what else it is about; the signature is bound to it.
    pub step: &'a str,
    /// Whether one more step is done.
    pub advances: bool,
    /// Where the execution is then.
    pub state: ExecutionState,
    /// Why, in the words of whoever acts.
    pub reason: &'a str,
    /// What else the record says.
    pub body: Map<String, Value>,
}

/// Statements of a step.
#[async_trait]
pub trait Work: Send + Sync {
    /// Does them, knowing what each lock of the demand found; what comes back stands in the record.
    async fn act(
        &self,
        tx: &PhaseTx<'_>,
        locked: Vec<Rows>,
    ) -> Result<Map<String, Value>, AdapterError>;

    /// The relations that they may write.
    fn writes(&self) -> &[String];
}

/// What a step's transaction does beside its record.
pub struct Acting<'a> {
    /// What has to hold.
    pub demand: &'a Demand,
    /// What is done.
    pub work: &'a dyn Work,
}
