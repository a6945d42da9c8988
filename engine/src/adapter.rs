//! What stands behind a phase: an adapter with `apply`, `guard` and `revert`, each inside the phase's one transaction.
//!
//! **Invariant:** an adapter works through [`PhaseTx`] and never sees BEGIN, COMMIT or the connection.
//!
//! **What can go wrong:** whatever an adapter returns as an error rolls its transaction back; its class decides
//! whether the phase is tried again, fails, or holds the run. A panic is caught and counts as an error.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use redress_ledger::Class;
use serde::Serialize;
use serde_json::{Map, Value};
use thiserror::Error;

use crate::definition::Phase;
use crate::phase_tx::{PhaseTx, TxError};
use crate::plan::Action;

/// What an adapter is called with.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The phase of the definition that the run is pinned to.
    pub phase: &'a Phase,
    /// The context that pointers look into: `/run`, `/input`, `/phases`, and in a compensation `/plan`, `/decision`.
    pub context: &'a Value,
    /// What `apply` kept for the way back; null while going forward.
    pub undo: &'a Value,
    /// Folder for artefacts, when the process has one.
    pub artefacts: Option<&'a Path>,
}

/// What a phase did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Applied {
    /// Rows kept under a name: `/phases/PHASE/NAME/ROW/COLUMN`.
    pub output: Map<String, Value>,
    /// Undo data (before-images or keys), captured in the same transaction; stored in the record.
    pub undo: Value,
    /// What was touched, for people: relation or artefact to count.
    pub touched: Map<String, Value>,
}

/// What a look at the database says about a phase, before any run uses it.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// What is wrong; the definition is refused when there is anything.
    pub findings: Vec<Finding>,
    /// How the writes of `apply` are covered.
    pub coverage: Coverage,
    /// What the phase's role needs for its statements.
    pub rights: Rights,
}

/// What a role needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// Each right.
    pub needed: BTreeSet<Right>,
    /// Routines that run with the caller's rights: what they do inside was not seen.
    pub unseen: BTreeSet<String>,
}

/// One right on one object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Right {
    /// `schema`, `table`, `sequence` or `routine`.
    pub kind: String,
    /// The object, quoted as SQL needs it.
    pub name: String,
    /// `usage`, `select`, `insert`, `update`, `delete` or `execute`.
    pub needed: String,
}

/// How it is known that a phase writes only what it declares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Coverage {
    /// Read from this backend's locks inside each transaction.
    #[default]
    Locks,
    /// Proven from the statements' plans; these relations (by their id in this database, for this process only) must
    /// still have no trigger, rule or child when the phase commits.
    Proven(Vec<u32>),
}

/// One thing that is wrong with a definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// RFC 6901 pointer into the definition; from an adapter: below the phase's `with`.
    pub path: String,
    /// The stable code.
    pub code: &'static str,
    /// What is wrong, in plain words.
    pub message: String,
}

/// An adapter could not do what it was asked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AdapterError {
    /// A statement failed.
    #[error("{place}: {source}")]
    Statement {
        /// Which statement: `apply 1`, `guard 2`.
        place: String,
        /// Why.
        source: TxError,
    },
    /// A guard said no: the rows may no longer be compensated this way.
    #[error("guard refused: {0}")]
    Guard(String),
    /// A verification said no.
    #[error("verification failed: {0}")]
    Verify(String),
    /// A statement touched another number of rows than the definition demands.
    #[error("{place} touched {found} rows, expected {expected}")]
    Rows {
        /// Which statement.
        place: String,
        /// How many rows it touched.
        found: u64,
        /// What the definition demands.
        expected: String,
    },
    /// A pointer leads to nothing.
    #[error("{0}")]
    Pointer(String),
    /// The business said no, in the adapter's own words.
    #[error("{0}")]
    Business(String),
    /// Try again: nothing was done.
    #[error("{0}")]
    Transient(String),
    /// The phase is not to run yet; this is no failed attempt. It is tried again after this time.
    #[error("not yet: {why}")]
    NotYet {
        /// What it waits for.
        why: String,
        /// When it is worth looking again.
        wait: Duration,
    },
    /// A person must look.
    #[error("{0}")]
    Hold(String),
    /// A refusal of the adapter's own, with a code of its own.
    #[error("{message}")]
    Coded {
        /// The stable code; it has a page.
        code: &'static str,
        /// What must be done.
        class: Class,
        /// What is wrong.
        message: String,
    },
    /// This adapter cannot do this action.
    #[error("adapter {adapter} cannot {action}")]
    Unsupported {
        /// The adapter's name.
        adapter: String,
        /// The action that was asked for.
        action: &'static str,
    },
}

impl AdapterError {
    /// What must be done.
    pub fn class(&self) -> Class {
        match self {
            Self::Statement { source, .. } => source.class(),
            Self::Guard(_)
            | Self::Verify(_)
            | Self::Rows { .. }
            | Self::Pointer(_)
            | Self::Business(_) => Class::Business,
            Self::Transient(_) | Self::NotYet { .. } => Class::Retry,
            Self::Coded { class, .. } => *class,
            Self::Hold(_) | Self::Unsupported { .. } => Class::Hold,
        }
    }

    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Statement { source, .. } => source.code(),
            Self::Guard(_) => "RD0421",
            Self::Verify(_) => "RD0311",
            Self::Rows { .. } => "RD0312",
            Self::Pointer(_) => "RD0313",
            Self::Business(_) => "RD0303",
            Self::Transient(_) => "RD0314",
            Self::NotYet { .. } => "RD0329",
            Self::Hold(_) => "RD0309",
            Self::Coded { code, .. } => code,
            Self::Unsupported { .. } => "RD0315",
        }
    }

    /// The SQLSTATE, when the server answered.
    pub fn sqlstate(&self) -> Option<&str> {
        match self {
            Self::Statement { source, .. } => source.sqlstate(),
            _ => None,
        }
    }
}

impl From<TxError> for AdapterError {
    fn from(source: TxError) -> Self {
        Self::Statement {
            place: "statement".to_owned(),
            source,
        }
    }
}

/// The code behind phases. One adapter serves many phases; what differs stands in each phase's `with`.
#[async_trait]
pub trait Adapter: Send + Sync {
    /// The name that definitions use.
    fn name(&self) -> &str;

    /// Whether `apply` leaves artefacts outside the database that a compensation merely discards.
    fn keeps_artefacts(&self) -> bool {
        false
    }

    /// Whether its compensations work inside the database, so that they can share one transaction with others.
    fn in_database(&self) -> bool {
        true
    }

    /// Judges a phase's `with` without a database; paths are below `with`.
    fn check(&self, phase: &Phase) -> Vec<Finding>;

    /// Judges a phase against the database: statements prepare, types can be kept, guards lock. The transaction is
    /// rolled back afterwards.
    async fn survey(&self, _tx: &PhaseTx<'_>, _phase: &Phase) -> Result<Survey, AdapterError> {
        Ok(Survey::default())
    }

    /// Does the phase's work and its verification.
    async fn apply(&self, tx: &PhaseTx<'_>, call: &Call<'_>) -> Result<Applied, AdapterError>;

    /// Locks what a compensation would touch and judges whether it may; [`AdapterError::Guard`] when not.
    async fn guard(
        &self,
        tx: &PhaseTx<'_>,
        call: &Call<'_>,
        action: Action,
    ) -> Result<(), AdapterError>;

    /// Compensates and verifies; returns what was touched, for people.
    async fn revert(
        &self,
        tx: &PhaseTx<'_>,
        call: &Call<'_>,
        action: Action,
    ) -> Result<Map<String, Value>, AdapterError>;
}
