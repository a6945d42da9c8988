//! Names why nothing more is sealed.

use redress_ledger::checkpoint::CheckpointError;
use redress_ledger::keyring::KeyringError;
use redress_ledger::{Class, KeyId, TreeError};
use thiserror::Error;
use uuid::Uuid;

/// Why the log was not extended. Nothing was signed and nothing published.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SealError {
    /// Another sealer has the lease.
    #[error("another sealer is active until {until}: {name}")]
    Busy {
        /// What it calls itself.
        name: String,
        /// When its lease ends if it is not heard of again.
        until: String,
    },
    /// Nobody has stated the roots yet.
    #[error("the ledger is not opened: nobody has stated its roots")]
    NotOpened,
    /// Nothing was sealed yet.
    #[error("nothing is sealed yet")]
    Nothing,
    /// There are no two such heads, one behind the other.
    #[error("the log has {size} leaves: there is no proof from {old} to {new}")]
    Sizes {
        /// The earlier size.
        old: u64,
        /// The later size.
        new: u64,
        /// How many leaves are sealed.
        size: u64,
    },
    /// The key is not the one that the ledger says signs now.
    #[error("the ledger says that {expected} signs its heads, and this key is {found}")]
    OtherKey {
        /// The key in force.
        expected: KeyId,
        /// The key that was given.
        found: KeyId,
    },
    /// The database remembers less, or something else, than was signed.
    #[error(
        "FORK: {0}. Nothing was signed. An older database was restored or the log was rewritten; \
         runbook `ledger-fork`"
    )]
    Fork(String),
    /// The log has leaves and there is no anchor to compare with.
    #[error(
        "the log has {size} leaves and there is no anchor at {path}: without it a restored database cannot be told from \
         the right one"
    )]
    NoAnchor {
        /// How large the log is.
        size: u64,
        /// Where it should be.
        path: String,
    },
    /// The anchor is there and cannot be used.
    #[error("the anchor cannot be used: {why}, {path}")]
    Anchor {
        /// Why not.
        why: String,
        /// Where it is.
        path: String,
    },
    /// A record is not what its run's chain says.
    #[error("record {seq} of run {run} does not fit its chain: {why}")]
    Chain {
        /// The run.
        run: Uuid,
        /// The record's number.
        seq: i64,
        /// What differs.
        why: String,
    },
    /// A record before it is neither sealed nor there.
    #[error("record {seq} of run {run} is there and the one before it is not")]
    Gap {
        /// The run.
        run: Uuid,
        /// The record's number.
        seq: i64,
    },
    /// What the database remembers of the tree is not one tree.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The keyring does not hold.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// The head cannot be signed or read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The manifest cannot be signed.
    #[error(transparent)]
    Manifest(#[from] redress_ledger::bundle::ManifestError),
    /// The published files could not be written; what was sealed stands and is published at the next start.
    #[error("what was sealed stands and could not be published: {why}, {path}")]
    Publish {
        /// Why not.
        why: String,
        /// Which file.
        path: String,
    },
}

impl SealError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Busy { .. } => "RD0732",
            Self::NotOpened => "RD0733",
            Self::Nothing => "RD0742",
            Self::Sizes { .. } => "RD0745",
            Self::Manifest(error) => error.code(),
            Self::OtherKey { .. } => "RD0734",
            Self::Fork(_) => "RD0735",
            Self::NoAnchor { .. } => "RD0736",
            Self::Anchor { .. } => "RD0737",
            Self::Chain { .. } => "RD0738",
            Self::Gap { .. } => "RD0739",
            Self::Publish { .. } => "RD0740",
            Self::Tree(error) => error.code(),
            Self::Keyring(error) => error.code(),
            Self::Checkpoint(error) => error.code(),
        }
    }

    /// What must be done.
    pub fn class(&self) -> Class {
        match self {
            Self::Busy { .. }
            | Self::NotOpened
            | Self::Nothing
            | Self::Sizes { .. }
            | Self::OtherKey { .. }
            | Self::NoAnchor { .. } => Class::Refused,
            Self::Fork(_) | Self::Anchor { .. } | Self::Chain { .. } | Self::Gap { .. } => {
                Class::Kill
            }
            Self::Publish { .. } => Class::Hold,
            Self::Tree(error) => error.class(),
            Self::Keyring(error) => error.class(),
            Self::Checkpoint(error) => error.class(),
            Self::Manifest(error) => error.class(),
        }
    }
}
