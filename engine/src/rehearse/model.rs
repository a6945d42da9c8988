//! What a rehearsal found: one point for each place at which a run could fail, and what stood after the way back.
//!
//! **Invariant:** field names and their order are a contract; a new field goes to the end of its struct.

use redress_ledger::Hash;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::name::Name;
use crate::plan::Action;

/// The most rows of one relation that are compared, unless the caller says otherwise.
pub const ROWS_MAX_DEFAULT: u64 = 1_000_000;
/// How long a lock is waited for, unless the caller says otherwise.
pub const LOCK_MS_DEFAULT: u32 = 2_000;

/// How to rehearse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The most rows of one relation that are compared; a larger one is refused.
    pub rows_max: u64,
    /// How long a lock is waited for, in milliseconds.
    pub lock_ms: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            rows_max: ROWS_MAX_DEFAULT,
            lock_ms: LOCK_MS_DEFAULT,
        }
    }
}

/// A rehearsal: every failure point, forward and back, in a transaction that was rolled back.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Rehearsal {
    /// The saga.
    pub saga: String,
    /// Its version.
    pub version: u32,
    /// The digest of the definition that was rehearsed.
    #[schemars(with = "String")]
    pub definition: Hash,
    /// What it would act on.
    pub subject: Option<String>,
    /// Every point that was reached holds, and every one was reached.
    pub holds: bool,
    /// One for each number of committed phases, 0 first.
    pub points: Vec<Point>,
    /// What was locked beyond reading while it lasted.
    pub locks: Vec<Locked>,
    /// The relations whose rows were compared.
    pub compared: Vec<String>,
    /// What became of the transaction.
    pub unchanged: Unchanged,
}

impl Rehearsal {
    /// Whether something does not hold, as opposed to what could not be reached.
    pub fn is_broken(&self) -> bool {
        let broken = |point: &Point| point.verdict == Verdict::Broken;
        self.points.iter().any(broken)
    }
}

/// A place at which a run could fail.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Point {
    /// The phases that have committed, in order.
    #[schemars(with = "Vec<String>")]
    pub committed: Vec<Name>,
    /// The phase that fails here; none when all have committed and the completed run is reverted.
    #[schemars(with = "Option<String>")]
    pub fails_at: Option<Name>,
    /// What the planner says.
    pub actions: Vec<Planned>,
    /// Whether it holds, or is as the file says.
    pub holds: bool,
    /// How.
    pub verdict: Verdict,
    /// What does not hold.
    pub findings: Vec<Difference>,
    /// Rows that were added and rightly stay.
    pub residue: Vec<Residue>,
    /// What is worth knowing and is no fault.
    pub notes: Vec<String>,
}

/// An action as it was planned.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Planned {
    /// The phase.
    #[schemars(with = "String")]
    pub phase: Name,
    /// What is done about it.
    #[schemars(with = "String")]
    pub action: Action,
}

/// Whether a point holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Everything is as it was, but for declared residue.
    Holds,
    /// There is no way back from here, and the file says so (pivot, irreversible): only forward, or a decision.
    ForwardOnly,
    /// Something is not as it was.
    Broken,
    /// The run does not get here with this input.
    Unreached,
    /// A phase works outside the database: what it does cannot be rolled back.
    NotRehearsable,
}

impl Verdict {
    /// Nothing is wrong and nothing is open.
    pub const fn is_good(self) -> bool {
        matches!(self, Self::Holds | Self::ForwardOnly)
    }

    /// The words for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::ForwardOnly => "forward only",
            Self::Broken => "DOES NOT HOLD",
            Self::Unreached => "not reached",
            Self::NotRehearsable => "not rehearsable",
        }
    }
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// A phase does not go forward with this input.
    Forward,
    /// The planner refuses an action.
    Plan,
    /// A guard says no.
    Guard,
    /// A verification says no.
    Verify,
    /// An action fails.
    Revert,
    /// Something was written that is not declared.
    Coverage,
    /// A baseline value is another one.
    Baseline,
    /// A row that was there before is another one, or gone.
    Changed,
    /// A row was added that is no declared residue.
    Added,
    /// A soft revert deleted what its phase wrote.
    Erased,
    /// A soft revert left every row as its phase wrote it.
    Untouched,
}

/// One thing that does not hold.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Difference {
    /// What kind of thing.
    pub what: What,
    /// The phase whose way back it is.
    #[schemars(with = "Option<String>")]
    pub phase: Option<Name>,
    /// The relation, or those that the phase writes.
    pub relation: Option<String>,
    /// The difference in words.
    pub difference: String,
    /// The code of the error, when there was one.
    pub code: Option<String>,
    /// The row by its key, or whole where it has none.
    pub row: Option<Value>,
}

/// Rows that a way back rightly leaves.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Residue {
    /// The relation.
    pub relation: String,
    /// How many rows.
    pub rows: usize,
}

/// A relation that was locked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
pub struct Locked {
    /// The relation.
    pub relation: String,
    /// How, as PostgreSQL calls it.
    pub modes: Vec<String>,
}

/// That nothing is left of the rehearsal.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Unchanged {
    /// The number of its transaction.
    pub transaction: String,
    /// What PostgreSQL says became of it.
    pub status: String,
    /// What a rollback does not take back.
    pub except: &'static str,
}
