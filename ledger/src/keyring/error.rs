//! Names why a record of the keys is refused.

use thiserror::Error;
use uuid::Uuid;

use crate::checkpoint::CheckpointError;
use crate::class::Class;
use crate::decision::DecisionError;
use crate::key::{KeyError, KeyId};
use crate::record::Kind;

/// Why a root act is refused, or the roots are not the reader's.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyringError {
    /// A log whose first leaf does something else than open it.
    #[error("the first leaf opens the log, and this is a {0}")]
    FirstLeaf(Kind),
    /// An opening that is not the first leaf.
    #[error("a log is opened by its first leaf and only there")]
    OpenedAgain,
    /// Records of a log whose first leaf is not there.
    #[error("the first leaf, which opens the log, is not there")]
    NotOpened,
    /// A root act in another run than the one that opened the log.
    #[error("a record of kind {0} stands in the run that opened the log and in no other")]
    OutOfPlace(Kind),
    /// A member of the body that is missing, too much, or not what it must be.
    #[error("the body's member is missing or not valid: {0}")]
    Member(String),
    /// A position that the log does not have.
    #[error("the body's member `{name}` names position {position}, and the log reaches to {last}")]
    Beyond {
        /// The member.
        name: &'static str,
        /// What it says.
        position: u64,
        /// The last one that it may name.
        last: u64,
    },
    /// A key or a role that is not accepted.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// An act that is not genuine or not meant for this.
    #[error(transparent)]
    Act(#[from] DecisionError),
    /// An act that was used before.
    #[error("the act was used before, decision {0}")]
    UsedTwice(Uuid),
    /// A key or an id that stands in the ledger already.
    #[error("the key or its id stands in the ledger already: {0}")]
    UsedAgain(KeyId),
    /// A key that is not known or no longer valid.
    #[error("no such key is in force: {0}")]
    NotInForce(String),
    /// What cannot be done with this key.
    #[error("{what}: {key}")]
    Forbidden {
        /// Why not.
        what: &'static str,
        /// The key, or the name that it has.
        key: String,
    },
    /// Not enough people of a root signed.
    #[error("the threshold of the root is not met: {0}")]
    Threshold(u64),
    /// No root of the ledger is one that the reader's file names.
    #[error("the roots of the ledger are not those of the trust file")]
    OtherRoots,
    /// The reader's file says another name or role of a key.
    #[error("the trust file says something else of the key {0}")]
    TrustDiffers(KeyId),
    /// The pinned checkpoint is not one.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

impl KeyringError {
    pub(super) fn member(name: &str) -> KeyringError {
        KeyringError::Member(name.to_owned())
    }

    pub(super) fn forbidden(what: &'static str, key: impl ToString) -> KeyringError {
        let key = key.to_string();
        KeyringError::Forbidden { what, key }
    }

    /// The stable code of the error.
    pub fn code(&self) -> &'static str {
        match self {
            KeyringError::FirstLeaf(_) | KeyringError::OpenedAgain | KeyringError::NotOpened => {
                "RD0575"
            }
            KeyringError::OutOfPlace(_) => "RD0636",
            KeyringError::Member(_) | KeyringError::Beyond { .. } => "RD0660",
            KeyringError::Key(error) => error.code(),
            KeyringError::Act(error) => error.code(),
            KeyringError::UsedTwice(_) => "RD0662",
            KeyringError::UsedAgain(_) => "RD0572",
            KeyringError::NotInForce(_) => "RD0573",
            KeyringError::Forbidden { .. } => "RD0574",
            KeyringError::Threshold(_) => "RD0577",
            KeyringError::OtherRoots => "RD0578",
            KeyringError::TrustDiffers(_) => "RD0579",
            KeyringError::Checkpoint(error) => error.code(),
        }
    }

    /// What the caller must do: before such a record is written it is refused; one that stands in
    /// the ledger was refused by nobody, and the verifier says so.
    pub fn class(&self) -> Class {
        match self {
            KeyringError::FirstLeaf(_)
            | KeyringError::OpenedAgain
            | KeyringError::NotOpened
            | KeyringError::OutOfPlace(_)
            | KeyringError::OtherRoots
            | KeyringError::TrustDiffers(_) => Class::Kill,
            KeyringError::Member(_)
            | KeyringError::Beyond { .. }
            | KeyringError::UsedTwice(_)
            | KeyringError::UsedAgain(_)
            | KeyringError::NotInForce(_)
            | KeyringError::Forbidden { .. }
            | KeyringError::Threshold(_) => Class::Refused,
            KeyringError::Key(error) => error.class(),
            KeyringError::Act(error) => error.class(),
            KeyringError::Checkpoint(error) => error.class(),
        }
    }
}
