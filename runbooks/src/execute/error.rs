//! What can go wrong when a runbook is planned or carried out, and what it means.
//!
//! **Invariant:** `code()` and `class()` are exhaustive; a refusal names the check and the next runbook where there is one.

use redress_ledger::Class;
use thiserror::Error;
use uuid::Uuid;

/// A runbook could not be planned or carried out.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ExecuteError {
    /// The engine's own answer.
    #[error(transparent)]
    Engine(#[from] redress::Error),
    /// The runbook is not for this run.
    #[error(
        "runbook {runbook} is not for this run: {why}; `redress runbook suggest RUN` names the right one"
    )]
    NotForRun {
        /// The runbook.
        runbook: String,
        /// Why not.
        why: String,
    },
    /// The runbook is for another installation.
    #[error("runbook {runbook} is for {meant}, and this is {here}")]
    Environment {
        /// The runbook.
        runbook: String,
        /// Its environments.
        meant: String,
        /// This origin.
        here: String,
    },
    /// A parameter is missing or does not fit.
    #[error("parameter {name}: {why}")]
    Param {
        /// Which one.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// A pointer leads to nothing.
    #[error("{place}: the pointer leads to nothing: {pointer}")]
    Pointer {
        /// The check, step or query.
        place: String,
        /// The pointer.
        pointer: String,
    },
    /// A check said no, or could not be told. Nothing was changed.
    #[error("check {check} {}: {found}; {why}", if *unknown { "could not be told" } else { "failed" })]
    Refused {
        /// The check.
        check: String,
        /// Whether it could not be told.
        unknown: bool,
        /// What was found.
        found: String,
        /// Why the check is there.
        why: String,
        /// The runbook's own code for it.
        refusal: Option<String>,
        /// The runbook that is right then.
        next: Option<String>,
    },
    /// It is about more rows than it may be.
    #[error("it is about {found} rows, at most {max} are allowed: nothing was changed")]
    Scope {
        /// How many.
        found: u64,
        /// The most.
        max: u64,
    },
    /// What was planned is no longer so.
    #[error("the runbook's plan is stale: {0}; plan again")]
    Stale(String),
    /// A person has to do something first.
    #[error("step {step} waits for a person")]
    Waits {
        /// The step.
        step: String,
        /// What to do.
        instruction: String,
        /// Names of the evidence that must be attached.
        evidence: Vec<String>,
    },
    /// What a step waits for did not come true.
    #[error("step {step} waited {ms} ms in vain: {found}; it may be tried again")]
    InVain {
        /// The step.
        step: String,
        /// How long.
        ms: u64,
        /// What was found.
        found: String,
    },
    /// A step cannot be done as things stand.
    #[error("step {step} cannot be done: {why}")]
    Step {
        /// The step.
        step: String,
        /// Why.
        why: String,
    },
    /// Everything was done, and what must hold afterwards does not, or could not be told.
    #[error(
        "every step is done, and what must hold afterwards does not: {why}; execution {execution}"
    )]
    Unproven {
        /// The execution.
        execution: Uuid,
        /// Which check, and what was found.
        why: String,
    },
    /// The runbook does not fit into a record.
    #[error("the plan of this runbook has {0} bytes, a record holds at most {max}", max = super::DOCUMENT_BYTES_MAX)]
    TooLong(usize),
    /// The stored plan is none that this version can read.
    #[error("the stored plan cannot be read: {0}")]
    Document(String),
}

impl ExecuteError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Engine(error) => error.code(),
            Self::NotForRun { .. } => "RD0446",
            Self::Environment { .. } => "RD0447",
            Self::Param { .. } | Self::Pointer { .. } => "RD0448",
            Self::Refused { unknown: false, .. } => "RD0442",
            Self::Refused { unknown: true, .. } => "RD0445",
            Self::Scope { .. } => "RD0449",
            Self::Stale(_) => "RD0450",
            Self::Waits { .. } => "RD0451",
            Self::InVain { .. } => "RD0452",
            Self::Step { .. } => "RD0453",
            Self::Unproven { .. } => "RD0454",
            Self::TooLong(_) => "RD0455",
            Self::Document(_) => "RD0456",
        }
    }

    /// What must be done.
    pub fn class(&self) -> Class {
        match self {
            Self::Engine(error) => error.class(),
            Self::NotForRun { .. }
            | Self::Environment { .. }
            | Self::Param { .. }
            | Self::Pointer { .. }
            | Self::Refused { .. }
            | Self::Scope { .. }
            | Self::Stale(_)
            | Self::TooLong(_)
            | Self::Document(_) => Class::Refused,
            Self::Waits { .. } | Self::Unproven { .. } => Class::Hold,
            Self::InVain { .. } => Class::Retry,
            Self::Step { .. } => Class::Business,
        }
    }
}
