//! Reads signed heads of a log: the newest, those that were published, those that a reader remembers.
//!
//! **Invariant:** a [`Head`] exists only after a key of the reader's own file signed it for its own
//! log, if the file has any key of a log at all.

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::key::{KeyId, Vkey};
use crate::note::{Note, NoteError};
use crate::trust::Trust;

/// A head and whose keys signed it.
pub(super) struct Head {
    pub(super) checkpoint: Checkpoint,
    pub(super) note: Note,
    /// The log keys of the reader's file that signed.
    pub(super) signers: Vec<KeyId>,
}

impl Head {
    /// Reads a head of this log.
    pub(super) fn read(bytes: &[u8], trust: &Trust, log: &str) -> Result<Head, CheckpointError> {
        let (checkpoint, note) = Checkpoint::parse(bytes)?;
        if checkpoint.origin != log {
            return Err(CheckpointError::OtherOrigin(checkpoint.origin));
        }
        let signers = signers_for(&note, trust, log)?;
        Ok(Head {
            checkpoint,
            note,
            signers,
        })
    }
}

/// The log keys that signed; one of them is named as the log, if the reader has any.
fn signers_for(note: &Note, trust: &Trust, log: &str) -> Result<Vec<KeyId>, NoteError> {
    let signers = note.signers(trust.logs())?;
    if !trust.logs().is_empty() && !signers.iter().any(|key| key.name() == log) {
        return Err(NoteError::NoKnownKey);
    }
    Ok(signers.into_iter().map(Vkey::id).cloned().collect())
}

/// A head that the reader kept from before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered(Checkpoint);

impl Remembered {
    /// Reads a kept checkpoint; a log key of the reader's file must have signed it, if it has any.
    pub fn read(bytes: &[u8], trust: &Trust) -> Result<Remembered, CheckpointError> {
        let (checkpoint, note) = Checkpoint::parse(bytes)?;
        if !trust.logs().is_empty() {
            signers_for(&note, trust, &checkpoint.origin)?;
        }
        Ok(Remembered(checkpoint))
    }

    /// What is remembered.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.0
    }
}
