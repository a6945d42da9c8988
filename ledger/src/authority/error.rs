//! Names why what a record says was done was not allowed.

use thiserror::Error;
use uuid::Uuid;

use crate::class::Class;
use crate::decision::DecisionError;
use crate::hash::Hash;
use crate::quorum::Missing;

/// Why what a record says was done was not allowed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// A member of the body that is missing or not what it must be.
    #[error("the body's member is missing or not valid: {0}")]
    Member(&'static str),
    /// A decision that is not genuine or not meant for this.
    #[error(transparent)]
    Decision(#[from] DecisionError),
    /// Not enough people signed.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// Nobody signed.
    #[error("no decision before this record allows it")]
    NoDecision,
    /// A decision that was used before.
    #[error("the decision was used before, decision {0}")]
    UsedTwice(Uuid),
    /// A plan that the run does not know.
    #[error("the record speaks of a plan that the run does not have")]
    UnknownPlan,
    /// A plan that was started although the run had moved on.
    #[error("a stale plan was started, plan {0}")]
    Stale(Hash),
    /// An approved plan that was started again.
    #[error("an approved plan was started twice, plan {0}")]
    StartedTwice(Hash),
}

impl AuthorityError {
    /// The stable code of the error.
    pub fn code(&self) -> &'static str {
        match self {
            AuthorityError::Member(_) => "RD0660",
            AuthorityError::Decision(error) => error.code(),
            AuthorityError::Missing(missing) => missing.code(),
            AuthorityError::NoDecision => "RD0661",
            AuthorityError::UsedTwice(_) => "RD0662",
            AuthorityError::UnknownPlan => "RD0663",
            AuthorityError::Stale(_) => "RD0664",
            AuthorityError::StartedTwice(_) => "RD0665",
        }
    }

    /// What the caller must do: something was done that nobody allowed.
    pub fn class(&self) -> Class {
        Class::Kill
    }
}
