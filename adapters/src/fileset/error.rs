//! What can go wrong with a set of files, each case its own code.
//!
//! **Invariant:** an error names the path and what was tried; it never carries a file's content.

use std::io;
use std::path::Path;

use redress_ledger::{Class, Hash};
use rustix::io::Errno;
use thiserror::Error;

use super::path::PathError;

/// A set of files could not be looked at, kept, switched or restored.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FilesetError {
    /// No room, or the quota is used up.
    #[error("the disk is full: cannot {what} {path}")]
    DiskFull {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: String,
    },
    /// The directory or its file system does not take changes.
    #[error("read-only: cannot {what} {path}")]
    ReadOnly {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: String,
    },
    /// This process may not.
    #[error("no permission to {what} {path}")]
    Permission {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: String,
    },
    /// The directory is not there, was deleted meanwhile, or another stands in its place.
    #[error("the directory is gone: {path}")]
    DirectoryGone {
        /// Its path.
        path: String,
    },
    /// The update was made, and now another directory stands under the path.
    #[error("{path} was exchanged for another directory during the update")]
    Exchanged {
        /// Its path.
        path: String,
    },
    /// The way leads through a link, a device, another file system, or to something that is no file.
    #[error("{path} {why}")]
    NotInside {
        /// The path.
        path: String,
        /// What stands in the way.
        why: &'static str,
    },
    /// The path itself is not one that a directory may hold.
    #[error(transparent)]
    Path(#[from] PathError),
    /// More files, depth or bytes than are handled.
    #[error("{path} has more than {max} {what}")]
    TooMuch {
        /// The path.
        path: String,
        /// What there is too much of.
        what: &'static str,
        /// The bound.
        max: u64,
    },
    /// Another update of the directory is going on.
    #[error("the directory {path} is locked by {holder}")]
    Busy {
        /// Its path.
        path: String,
        /// Who has it, as far as is known.
        holder: String,
    },
    /// A file is not what it must be before it may be touched, or not what was handed in.
    #[error("{path} is {found}, expected {expected}")]
    Changed {
        /// The file.
        path: String,
        /// What was found: a hash, `absent`, or what else it is.
        found: String,
        /// What must be there.
        expected: String,
    },
    /// A snapshot, or part of it, was deleted.
    #[error("snapshot {id} cannot be used: {what} was deleted")]
    SnapshotGone {
        /// What is missing: the list, or an object of it.
        what: String,
        /// The snapshot.
        id: Hash,
    },
    /// A snapshot is not what was written.
    #[error("snapshot {id} cannot be used: {what} is corrupted")]
    SnapshotCorrupt {
        /// What does not fit its hash.
        what: String,
        /// The snapshot.
        id: Hash,
    },
    /// An unfinished switch stands in the directory and cannot be read.
    #[error("an unfinished switch in {path} cannot be read: {why}")]
    Journal {
        /// The directory.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// The file system said no, for another reason.
    #[error("cannot {what} {path}: {source}")]
    Os {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: String,
        /// Why it did not work.
        source: io::Error,
    },
    /// The switch failed and so did the way back. What is unfinished is kept beside the files for the next try.
    #[error("{original}; the way back failed too: {restore}; snapshot {snapshot}")]
    NotRestored {
        /// Why the switch failed.
        original: Box<FilesetError>,
        /// Why it could not be taken back.
        restore: Box<FilesetError>,
        /// What the files can be restored from.
        snapshot: Hash,
    },
    /// The switch failed and every file is again what it was, by hash.
    #[error("{original}; nothing changed: {files} files verified by hash; snapshot {snapshot}")]
    Restored {
        /// Why the switch failed.
        original: Box<FilesetError>,
        /// How many files were verified.
        files: usize,
        /// The snapshot that was taken before.
        snapshot: Hash,
    },
    /// This act was undone, or nobody waits for it any more.
    #[error("it is too late for this act: {key}")]
    TooLate {
        /// The act's key.
        key: String,
    },
    /// The worker's configuration does not list what the definition names.
    #[error("{what} is not listed in this worker's configuration: {name}")]
    NotListed {
        /// What kind of thing.
        what: &'static str,
        /// Its name.
        name: String,
    },
}

impl FilesetError {
    /// The stable code. A failed switch has the code of what made it fail.
    pub fn code(&self) -> &'static str {
        match self {
            Self::DiskFull { .. } => "RD0970",
            Self::ReadOnly { .. } => "RD0971",
            Self::Permission { .. } => "RD0972",
            Self::DirectoryGone { .. } | Self::Exchanged { .. } => "RD0973",
            Self::NotInside { .. } | Self::Path(_) => "RD0974",
            Self::TooMuch { .. } => "RD0975",
            Self::Busy { .. } => "RD0976",
            Self::Changed { .. } => "RD0977",
            Self::SnapshotGone { .. } => "RD0978",
            Self::SnapshotCorrupt { .. } => "RD0979",
            Self::Journal { .. } => "RD0980",
            Self::Os { .. } => "RD0981",
            Self::NotRestored { .. } => "RD0982",
            Self::NotListed { .. } => "RD0983",
            Self::TooLate { .. } => "RD0984",
            Self::Restored { original, .. } => original.code(),
        }
    }

    /// What must be done.
    pub fn class(&self) -> Class {
        match self {
            Self::Busy { .. } => Class::Retry,
            Self::DiskFull { .. }
            | Self::ReadOnly { .. }
            | Self::Permission { .. }
            | Self::DirectoryGone { .. }
            | Self::NotInside { .. }
            | Self::Path(_)
            | Self::TooMuch { .. }
            | Self::Changed { .. }
            | Self::Os { .. }
            | Self::TooLate { .. } => Class::Business,
            Self::SnapshotGone { .. }
            | Self::SnapshotCorrupt { .. }
            | Self::Journal { .. }
            | Self::NotRestored { .. }
            | Self::Exchanged { .. }
            | Self::NotListed { .. } => Class::Hold,
            Self::Restored { original, .. } => original.class(),
        }
    }

    /// What failed first, without what was done about it.
    pub fn original(&self) -> &Self {
        match self {
            Self::Restored { original, .. } | Self::NotRestored { original, .. } => original,
            other => other,
        }
    }
}

/// Sorts what the file system says while something is read or looked for.
pub(super) fn reading<E: Into<io::Error>>(
    what: &'static str,
    path: impl std::fmt::Display,
) -> impl FnOnce(E) -> FilesetError {
    move |source| sorted(what, path.to_string(), source.into(), false)
}

/// Sorts what the file system says while a directory is changed.
pub(super) fn changing<E: Into<io::Error>>(
    what: &'static str,
    path: impl std::fmt::Display,
) -> impl FnOnce(E) -> FilesetError {
    move |source| sorted(what, path.to_string(), source.into(), true)
}

fn sorted(what: &'static str, path: String, source: io::Error, changes: bool) -> FilesetError {
    let Some(errno) = source.raw_os_error().map(Errno::from_raw_os_error) else {
        return FilesetError::Os { what, path, source };
    };
    match errno {
        Errno::NOSPC | Errno::DQUOT => FilesetError::DiskFull { what, path },
        Errno::ROFS => FilesetError::ReadOnly { what, path },
        // To add, rename or remove a name needs the directory's write permission and nothing else.
        Errno::ACCESS if changes => FilesetError::ReadOnly { what, path },
        Errno::ACCESS | Errno::PERM => FilesetError::Permission { what, path },
        Errno::LOOP | Errno::NOTDIR => FilesetError::NotInside {
            path,
            why: "leads through a link or a file, where a folder is expected",
        },
        Errno::XDEV => FilesetError::NotInside {
            path,
            why: "lies on another file system",
        },
        _ => FilesetError::Os { what, path, source },
    }
}

/// A path of the store or the configuration, for a message.
pub(super) fn shown(path: &Path) -> String {
    path.display().to_string()
}
