//! What postings refuse, each with a code of its own.

use redress::adapter::AdapterError;
use redress::phase_tx::TxError;
use redress_ledger::Class;
use thiserror::Error;
use uuid::Uuid;

/// Postings could not be done.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PostingsError {
    /// An account would be below nothing, or below what is expected.
    #[error("account {account} has {balance} {asset}, {needed}")]
    Insufficient {
        /// The account.
        account: String,
        /// The asset.
        asset: String,
        /// What it has.
        balance: String,
        /// What would be needed, in words.
        needed: String,
    },
    /// The record or transaction was written by a version that captured no postings.
    #[error(
        "{0} has no captured postings (LegacyRecord): it is of an older format, and a reversal never scans the log"
    )]
    LegacyRecord(String),
    /// There is no such transaction.
    #[error("there is no transaction {0}")]
    NotFound(Uuid),
    /// Something that our own rules exclude.
    #[error("inconsistent: {0}")]
    Inconsistent(String),
    /// The transaction is reversed already.
    #[error("transaction {transaction} is reversed already, by {by}")]
    AlreadyReversed {
        /// The transaction.
        transaction: String,
        /// What reversed it.
        by: String,
    },
    /// The reference belongs to something else.
    #[error("reference {reference} was used for something else, by transaction {transaction}")]
    Conflict {
        /// The reference.
        reference: String,
        /// What has it.
        transaction: String,
    },
    /// An account is open, and not as asked.
    #[error("account {0} is open with another answer to whether it may be overdrawn")]
    OpenedOtherwise(String),
    /// The tables are of another version.
    #[error(
        "the tables of postings in schema {schema} are of version {found}; this program works with {wanted} and nothing else"
    )]
    StorageVersion {
        /// The schema.
        schema: String,
        /// What stands there.
        found: String,
        /// What is needed.
        wanted: i32,
    },
    /// A key of metadata that is not there was to be deleted.
    #[error("there is nothing to delete at {0}: say `mode: ingest` where that is no mistake")]
    Absent(String),
    /// A value that is none.
    #[error("{what}: {found:?}")]
    Malformed {
        /// What it should be.
        what: &'static str,
        /// What was found.
        found: String,
    },
    /// A receipt that proves nothing.
    #[error("the receipt is refused: {0}")]
    Receipt(String),
    /// Somebody changed since what the phase had changed.
    #[error("{0} was changed since by somebody else")]
    Changed(String),
    /// Beyond what the phase declares.
    #[error("the phase reads, writes or deletes what it does not declare (CoverageMiss): {0}")]
    CoverageMiss(String),
    /// Another transaction came first; the next attempt sees it.
    #[error("another transaction took the reference {0} at the same time")]
    Raced(String),
    /// A pointer that leads to nothing.
    #[error("nothing stands at {0}")]
    Pointer(String),
    /// A statement failed.
    #[error("{place}: {source}")]
    Statement {
        /// Which one.
        place: &'static str,
        /// Why.
        source: TxError,
    },
}

impl PostingsError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::CoverageMiss(_) => "RD0302",
            Self::Pointer(_) => "RD0313",
            Self::Raced(_) => "RD0314",
            Self::Insufficient { .. } => "RD0350",
            Self::LegacyRecord(_) => "RD0351",
            Self::NotFound(_) => "RD0352",
            Self::Inconsistent(_) => "RD0353",
            Self::AlreadyReversed { .. } => "RD0354",
            Self::Conflict { .. } | Self::OpenedOtherwise(_) => "RD0355",
            Self::StorageVersion { .. } => "RD0356",
            Self::Absent(_) => "RD0357",
            Self::Malformed { .. } => "RD0358",
            Self::Receipt(_) => "RD0359",
            Self::Changed(_) => "RD0360",
            Self::Statement { source, .. } => source.code(),
        }
    }

    /// What must be done.
    pub fn class(&self) -> Class {
        match self {
            Self::Insufficient { .. }
            | Self::LegacyRecord(_)
            | Self::NotFound(_)
            | Self::AlreadyReversed { .. }
            | Self::Conflict { .. }
            | Self::OpenedOtherwise(_)
            | Self::Absent(_)
            | Self::Malformed { .. }
            | Self::Receipt(_)
            | Self::Changed(_)
            | Self::CoverageMiss(_)
            | Self::Pointer(_) => Class::Business,
            Self::Raced(_) => Class::Retry,
            Self::Inconsistent(_) | Self::StorageVersion { .. } => Class::Hold,
            Self::Statement { source, .. } => source.class(),
        }
    }
}

impl From<PostingsError> for AdapterError {
    fn from(error: PostingsError) -> Self {
        match error {
            PostingsError::Statement { place, source } => Self::Statement {
                place: place.to_owned(),
                source,
            },
            other => Self::Coded {
                code: other.code(),
                class: other.class(),
                message: other.to_string(),
            },
        }
    }
}
