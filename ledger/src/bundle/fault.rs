//! Holds the first thing that does not hold: a code, words, and as much of the place as is known.

use uuid::Uuid;

use crate::authority::AuthorityError;
use crate::blob::BlobError;
use crate::chain;
use crate::checkpoint::CheckpointError;
use crate::decision::DecisionError;
use crate::keyring::KeyringError;
use crate::note::NoteError;
use crate::record::RecordError;

use super::{FirstFailure, FolderError};

/// Why a verification ends before its end.
#[derive(Debug)]
pub(super) enum Stop {
    /// Something does not hold: that is the verdict.
    Fault(Box<Fault>),
    /// The folder cannot be read: there is no verdict.
    Folder(FolderError),
}

/// What does not hold, and where.
#[derive(Debug)]
pub(super) struct Fault {
    code: &'static str,
    message: String,
    position: Option<u64>,
    run: Option<Uuid>,
    seq: Option<i64>,
    file: Option<String>,
}

/// A fault of this code, of which no place is known yet.
pub(super) fn fault(code: &'static str, message: impl ToString) -> Stop {
    Stop::Fault(Box::new(Fault {
        code,
        message: message.to_string(),
        position: None,
        run: None,
        seq: None,
        file: None,
    }))
}

impl Stop {
    fn edit(mut self, edit: impl FnOnce(&mut Fault)) -> Stop {
        if let Stop::Fault(fault) = &mut self {
            edit(fault);
        }
        self
    }

    /// Adds the position, if whoever found the fault did not know one.
    pub(super) fn at(self, position: u64) -> Stop {
        self.edit(|fault| {
            fault.position.get_or_insert(position);
        })
    }

    /// Adds the position if there is one.
    pub(super) fn at_some(self, position: Option<u64>) -> Stop {
        self.edit(|fault| fault.position = fault.position.or(position))
    }

    /// Adds the file.
    pub(super) fn file(self, path: &str) -> Stop {
        self.edit(|fault| {
            fault.file.get_or_insert_with(|| path.to_owned());
        })
    }

    /// Adds the run and the place in it at which the record stands.
    pub(super) fn record(self, run: Uuid, seq: i64) -> Stop {
        self.edit(|fault| {
            fault.run.get_or_insert(run);
            fault.seq.get_or_insert(seq);
        })
    }
}

impl From<Fault> for FirstFailure {
    fn from(fault: Fault) -> FirstFailure {
        FirstFailure {
            code: fault.code,
            position: fault.position,
            run: fault.run,
            seq: fault.seq,
            file: fault.file,
            message: fault.message,
        }
    }
}

impl From<FolderError> for Stop {
    fn from(error: FolderError) -> Stop {
        Stop::Folder(error)
    }
}

macro_rules! coded {
    ($($error:ty),*) => {
        $(impl From<$error> for Stop {
            fn from(error: $error) -> Stop {
                fault(error.code(), error)
            }
        })*
    };
}

coded!(
    BlobError,
    chain::Fault,
    CheckpointError,
    NoteError,
    RecordError
);

impl From<AuthorityError> for Stop {
    fn from(error: AuthorityError) -> Stop {
        match &error {
            AuthorityError::Decision(inner) => fault(code_of(inner), error),
            _ => fault(error.code(), error),
        }
    }
}

impl From<KeyringError> for Stop {
    fn from(error: KeyringError) -> Stop {
        match &error {
            KeyringError::Act(inner) => fault(code_of(inner), error),
            _ => fault(error.code(), error),
        }
    }
}

/// What is wrong inside a signature by OpenSSH helps whoever signs; a bundle has one code for it.
fn code_of(error: &DecisionError) -> &'static str {
    match error {
        DecisionError::SshSignature(..) => "RD0580",
        error => error.code(),
    }
}
