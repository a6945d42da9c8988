//! Remembers the last signed head outside the database, so that a restored one is found out.
//!
//! **Invariant:** written after COMMIT and before anything is published: what anybody outside may have seen is never
//! ahead of it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::error::SealError;
use crate::files;

/// Largest anchor that is read.
const ANCHOR_BYTES_MAX: u64 = 64 * 1024;

/// Where the last signed head is remembered. Another one than a file may be a service that only ever grows.
pub trait Anchor: Send + Sync {
    /// The bytes of the last head; `None` when nothing was ever remembered.
    ///
    /// # Errors
    /// [`SealError::Anchor`] when it cannot be read: nothing is signed.
    fn read(&self) -> Result<Option<Vec<u8>>, SealError>;

    /// Remembers a head; it is durable when this returns.
    ///
    /// # Errors
    /// [`SealError::Anchor`]: what was sealed stands and is not published.
    fn write(&self, checkpoint: &[u8]) -> Result<(), SealError>;

    /// How a person finds it.
    fn place(&self) -> String;
}

/// A file, best on another disk or machine than the database.
#[derive(Clone, Debug)]
pub struct FileAnchor {
    path: PathBuf,
}

impl FileAnchor {
    /// Names the file; it is made with the first head.
    pub fn new(path: impl Into<PathBuf>) -> FileAnchor {
        FileAnchor { path: path.into() }
    }

    fn failed(&self, why: impl ToString) -> SealError {
        SealError::Anchor {
            why: why.to_string(),
            path: self.place(),
        }
    }
}

impl Anchor for FileAnchor {
    fn read(&self) -> Result<Option<Vec<u8>>, SealError> {
        match fs::symlink_metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.failed(error)),
            Ok(meta) if !meta.is_file() || meta.len() > ANCHOR_BYTES_MAX => {
                return Err(self.failed("it is no plain file of a checkpoint's length"));
            }
            Ok(_) => {}
        }
        fs::read(&self.path)
            .map(Some)
            .map_err(|error| self.failed(error))
    }

    fn write(&self, checkpoint: &[u8]) -> Result<(), SealError> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        files::make_dir(folder)
            .and_then(|()| files::write_atomically(folder, &self.path, checkpoint))
            .map_err(|error| self.failed(error))
    }

    fn place(&self) -> String {
        self.path.display().to_string()
    }
}
