//! Reads the files of a bundle: plain files that the manifest lists, and nothing through a link.
//!
//! **Invariant:** a file is opened without following a link and without waiting on a pipe, and
//! never more of it is read than its kind may have.
//!
//! **Invariant:** what may not be read, or fails while it is read, ends the question: nothing is said of what was not
//! seen.
//!
//! **What can go wrong:** a file that changes between the walk and its reading is another file than
//! the manifest says, or is missing; both are found when it is read.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::class::Class;
use crate::hash::Hash;

use super::fault::{Stop, fault};
use super::manifest::{ListedFile, MANIFEST_NAME};
use super::path::{is_path, position_of};

/// How much of a file that is only hashed is in memory at once.
const BLOCK_BYTES: usize = 64 * 1024;

/// A folder and what its manifest lists.
pub(super) struct Folder {
    root: PathBuf,
    listed: Vec<ListedFile>,
}

/// A name below the folder that is no folder itself.
pub(super) struct Found {
    path: Vec<u8>,
    plain: bool,
}

impl Folder {
    /// Takes a folder of which nothing is listed yet.
    pub(super) fn open(root: &Path) -> Result<Folder, FolderError> {
        let kind = fs::metadata(root).map_err(|error| FolderError::new(root, &error))?;
        if !kind.is_dir() {
            return Err(FolderError::NotAFolder(root.to_owned()));
        }
        let root = root.to_owned();
        let listed = Vec::new();
        Ok(Folder { root, listed })
    }

    /// What the manifest lists, sorted by path.
    pub(super) fn listed(&self) -> &[ListedFile] {
        &self.listed
    }

    /// The manifest's list, sorted and without doubles.
    pub(super) fn set_listed(&mut self, listed: Vec<ListedFile>) {
        self.listed = listed;
    }

    /// The manifest's line about a path.
    pub(super) fn find(&self, path: &str) -> Option<&ListedFile> {
        let found = self
            .listed
            .binary_search_by(|one| one.path.as_str().cmp(path));
        found.ok().map(|index| &self.listed[index])
    }

    /// Every name below the folder, sorted by bytes.
    pub(super) fn walk(&self) -> Result<Vec<Found>, FolderError> {
        let (mut found, mut todo) = (Vec::new(), vec![Vec::new()]);
        while let Some(below) = todo.pop() {
            let folder = self.root.join(std::ffi::OsStr::from_bytes(&below));
            let failed = |error: io::Error| FolderError::new(&folder, &error);
            for entry in fs::read_dir(&folder).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                // Of the name itself: a link is a link here, wherever it leads.
                let kind = entry.file_type().map_err(failed)?;
                let mut path = below.clone();
                path.extend_from_slice(entry.file_name().as_bytes());
                if kind.is_dir() {
                    path.push(b'/');
                    todo.push(path);
                } else {
                    let plain = kind.is_file();
                    found.push(Found { path, plain });
                }
            }
        }
        found.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }

    /// Checks that the folder holds exactly what the manifest lists.
    pub(super) fn check_walk(&self, found: &[Found]) -> Result<(), Stop> {
        for one in found {
            let shown = String::from_utf8_lossy(&one.path);
            if !one.plain {
                return Err(fault("RD0712", "not a plain file").file(&shown));
            }
            if !is_path(&one.path) {
                return Err(fault("RD0711", "a name that no file of a bundle has").file(&shown));
            }
            if shown != MANIFEST_NAME && self.find(&shown).is_none() {
                return Err(fault("RD0714", "a file that the manifest does not list").file(&shown));
            }
        }
        for one in &self.listed {
            let path = one.path.as_bytes();
            if found
                .binary_search_by(|found| found.path.as_slice().cmp(path))
                .is_err()
            {
                let missing = fault("RD0713", "a file that the manifest lists is missing");
                return Err(missing.at_some(position_of(&one.path)).file(&one.path));
            }
        }
        Ok(())
    }

    fn open_file(&self, path: &str) -> Result<File, Stop> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = rustix::fs::open(self.root.join(path), flags, Mode::empty());
        let file = match opened {
            Ok(file) => File::from(file),
            Err(rustix::io::Errno::NOENT) => {
                return Err(fault("RD0713", "a file is missing").file(path));
            }
            Err(error) => return Err(self.not_opened(path, &error.into())),
        };
        let kind = file.metadata().map_err(|error| self.failed(path, &error))?;
        if !kind.is_file() {
            return Err(fault("RD0712", "not a plain file").file(path));
        }
        Ok(file)
    }

    /// Whether a name that does not open is no plain file, which is a verdict, or one that may not be read, of which
    /// nothing can be said.
    fn not_opened(&self, path: &str, error: &io::Error) -> Stop {
        let other = match fs::symlink_metadata(self.root.join(path)) {
            Ok(kind) => !kind.is_file(),
            Err(error) => error.kind() == io::ErrorKind::NotADirectory,
        };
        match other {
            true => fault("RD0712", format!("not a plain file: {error}")).file(path),
            false => self.failed(path, error),
        }
    }

    fn failed(&self, path: &str, error: &io::Error) -> Stop {
        FolderError::new(&self.root.join(path), error).into()
    }

    /// Reads a file into a buffer and says whether it is what the manifest says.
    pub(super) fn read_into(
        &self,
        path: &str,
        bytes_max: usize,
        bytes: &mut Vec<u8>,
    ) -> Result<bool, Stop> {
        bytes.clear();
        let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX);
        let mut file = self.open_file(path)?.take(limit.saturating_add(1));
        file.read_to_end(bytes)
            .map_err(|error| self.failed(path, &error))?;
        if bytes.len() > bytes_max {
            let words = format!("larger than such a file may be: {bytes_max} bytes");
            return Err(fault("RD0718", words).file(path));
        }
        Ok(self.find(path).is_none_or(|listed| listed.is(bytes)))
    }

    /// Reads a file that must be what the manifest says.
    pub(super) fn read_same(&self, path: &str, bytes_max: usize) -> Result<Vec<u8>, Stop> {
        let mut bytes = Vec::new();
        if !self.read_into(path, bytes_max, &mut bytes)? {
            return Err(differs(path));
        }
        Ok(bytes)
    }

    /// Checks a file that is only hashed and may have any size.
    pub(super) fn check_hash(&self, listed: &ListedFile) -> Result<(), Stop> {
        let path = &listed.path;
        let mut file = self.open_file(path)?;
        let (mut digest, mut size, mut block) = (Sha256::new(), 0_u64, vec![0; BLOCK_BYTES]);
        loop {
            let read = file.read(&mut block);
            let read = read.map_err(|error| self.failed(path, &error))?;
            if read == 0 {
                break;
            }
            digest.update(&block[..read]);
            size = size.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
        }
        let hash = Hash::from_bytes(digest.finalize().into());
        if (size, hash) != (listed.size, listed.sha256) {
            return Err(differs(path));
        }
        Ok(())
    }
}

/// A file that is not what the manifest says.
pub(super) fn differs(path: &str) -> Stop {
    let stop = fault("RD0715", "the file is not what the manifest says");
    stop.at_some(position_of(path)).file(path)
}

/// Why a folder cannot be verified at all.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FolderError {
    /// Something else than a folder.
    #[error("not a folder: {}", .0.display())]
    NotAFolder(PathBuf),
    /// The system does not let it be read.
    #[error("cannot be read: {reason}: {}", .path.display())]
    Io {
        /// What was to be read.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
}

impl FolderError {
    fn new(path: &Path, error: &io::Error) -> FolderError {
        FolderError::Io {
            path: path.to_owned(),
            reason: error.to_string(),
        }
    }

    /// The stable code of the error.
    pub fn code(&self) -> &'static str {
        match self {
            FolderError::NotAFolder(_) | FolderError::Io { .. } => "RD0721",
        }
    }

    /// What the caller must do.
    pub fn class(&self) -> Class {
        match self {
            FolderError::NotAFolder(_) => Class::Refused,
            FolderError::Io { .. } => Class::Retry,
        }
    }
}
