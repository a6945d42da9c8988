//! What a check found, with one code for each way in which tables, ledger and schema can disagree.

use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

/// The version of the report's JSON form.
pub const SCHEMA: u32 = 1;
/// Findings that a report names; more are only counted.
pub const FINDINGS_MAX: usize = 1_000;

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CheckReport {
    /// The version of this form; 1.
    pub schema: u32,
    /// Nothing was found.
    pub ok: bool,
    /// How many runs were compared with their log.
    pub runs: u64,
    /// How many records were read.
    pub records: u64,
    /// What was found, at most [`FINDINGS_MAX`].
    pub findings: Vec<CheckFinding>,
    /// How many findings are not named.
    pub more: u64,
    /// How many runs are in archives.
    pub archived: u64,
    /// What is no fault and should be known.
    pub notes: Vec<String>,
}

/// One disagreement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CheckFinding {
    /// The stable code.
    pub code: &'static str,
    /// What it is about: `run.state`, `hold`, `trigger`, …
    pub what: &'static str,
    /// The run.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub run: Option<Uuid>,
    /// The record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<i64>,
    /// In words.
    pub message: String,
}

/// The ways in which tables, ledger and schema can disagree; what is wrong with the bytes of a record has the
/// ledger's own codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A column of a record is not what its bytes say.
    Projection,
    /// A run has no record.
    RunWithoutRecords,
    /// Records belong to no run.
    RecordsWithoutRun,
    /// A run's state or end is not what its log leads to.
    RunState,
    /// A run's head is not the last record.
    RunHead,
    /// A run's epoch is below that of a record.
    RunEpoch,
    /// A run's basis is not what its log leads to.
    RunBasis,
    /// What a run is, is not what its first record says.
    RunIdentity,
    /// A run's next phase, attempts, error or plan are not what its log leads to.
    RunProgress,
    /// A hold without a record.
    HoldWithoutRecord,
    /// The record of a hold without its row.
    HoldMissing,
    /// A hold's row is not what its records say.
    HoldDiffers,
    /// The switch is not what the last record of it says.
    Switch,
    /// A plan without a record, a record without a plan, or other bytes.
    Plan,
    /// A blob that a record needs is missing or does not fit.
    Blob,
    /// A blob that no record names.
    BlobUnreferenced,
    /// The list of used decisions is not what the records say.
    DecisionUse,
    /// A definition is missing or not that of its digest.
    Definition,
    /// An execution of a runbook is not what its records say.
    Execution,
    /// The list of refusals is not what the records say.
    Refusal,
    /// The log of leaves is not that of the records, or not what was signed.
    Leaf,
    /// Runs are gone that no decision of the root let go, or others than it named.
    Archived,
    /// A trigger that keeps records append-only is missing, changed or not always on.
    Trigger,
    /// A function is missing, changed, or its search_path is not pinned.
    Function,
    /// Somebody has a right that only the owner may have, or lacks one.
    Grant,
    /// The head of the system log is not its last record.
    SystemHead,
    /// A constraint or index is missing.
    Constraint,
    /// A table is missing, not the owner's, or has rules, row security or no log.
    Table,
}

impl Fault {
    /// The stable code.
    pub fn code(self) -> &'static str {
        match self {
            Self::Projection => "RD0675",
            Self::RunWithoutRecords => "RD0676",
            Self::RecordsWithoutRun => "RD0677",
            Self::RunState => "RD0678",
            Self::RunHead => "RD0679",
            Self::RunEpoch => "RD0680",
            Self::RunBasis => "RD0681",
            Self::RunIdentity => "RD0682",
            Self::RunProgress => "RD0683",
            Self::HoldWithoutRecord => "RD0684",
            Self::HoldMissing => "RD0685",
            Self::HoldDiffers => "RD0686",
            Self::Switch => "RD0687",
            Self::Plan => "RD0688",
            Self::Execution => "RD0752",
            Self::Blob => "RD0689",
            Self::BlobUnreferenced => "RD0690",
            Self::DecisionUse => "RD0691",
            Self::Definition => "RD0692",
            Self::Refusal => "RD0693",
            Self::Trigger => "RD0694",
            Self::Function => "RD0695",
            Self::Grant => "RD0696",
            Self::SystemHead => "RD0697",
            Self::Constraint => "RD0698",
            Self::Table => "RD0699",
            Self::Leaf => "RD0746",
            Self::Archived => "RD0747",
        }
    }

    /// What it is about.
    pub fn what(self) -> &'static str {
        match self {
            Self::Projection => "record.columns",
            Self::RunWithoutRecords | Self::RecordsWithoutRun => "run.records",
            Self::RunState => "run.state",
            Self::RunHead => "run.head",
            Self::RunEpoch => "run.epoch",
            Self::RunBasis => "run.basis",
            Self::RunIdentity => "run.identity",
            Self::RunProgress => "run.progress",
            Self::HoldWithoutRecord | Self::HoldMissing | Self::HoldDiffers => "hold",
            Self::Switch => "switch",
            Self::Plan => "plan",
            Self::Execution => "execution",
            Self::Blob | Self::BlobUnreferenced => "blob",
            Self::DecisionUse => "decision",
            Self::Definition => "definition",
            Self::Refusal => "refusal",
            Self::Trigger => "trigger",
            Self::Function => "function",
            Self::Grant => "grant",
            Self::SystemHead => "system.head",
            Self::Constraint => "constraint",
            Self::Table => "table",
            Self::Leaf => "leaf",
            Self::Archived => "archive",
        }
    }
}

/// Gathers findings.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub named: Vec<CheckFinding>,
    pub more: u64,
    pub archived: u64,
    pub notes: Vec<String>,
}

impl Findings {
    /// Adds a finding of ours.
    pub fn add(
        &mut self,
        fault: Fault,
        run: Option<Uuid>,
        seq: Option<i64>,
        message: impl Into<String>,
    ) {
        self.add_coded(fault.code(), fault.what(), run, seq, message.into());
    }

    /// Adds a finding that has the code of another module.
    pub fn add_coded(
        &mut self,
        code: &'static str,
        what: &'static str,
        run: Option<Uuid>,
        seq: Option<i64>,
        message: String,
    ) {
        if self.named.len() == FINDINGS_MAX {
            self.more += 1;
            return;
        }
        self.named.push(CheckFinding {
            code,
            what,
            run,
            seq,
            message,
        });
    }
}
