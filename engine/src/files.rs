//! The state folder: snapshots and hold files, each changed atomically under a file lock.
//!
//! **Invariant:** a file is the old one or the new one: temporary file, fsync, rename, fsync of the folder.
//!
//! **What can go wrong:** the folder cannot be written: the act in the database stands and the error says so. A hold
//! file that cannot be read counts as a hold on everything; only the database can prove a release.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use redress_ledger::Class;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;
use uuid::Uuid;

/// Largest hold file that is read.
const HOLD_FILE_BYTES_MAX: u64 = 64 * 1024;

/// A file of the state folder could not be read or written.
#[derive(Debug, Error)]
#[error("{doing} {}: {source}", path.display())]
pub struct FileError {
    doing: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl FileError {
    /// What must be done.
    pub fn class(&self) -> Class {
        Class::Hold
    }

    /// The stable code.
    pub fn code(&self) -> &'static str {
        "RD0901"
    }
}

/// What a hold file says.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct HoldFile {
    /// The hold's id in the database.
    pub id: Uuid,
    /// `all`, `saga`, `subject` or `run`.
    pub scope: String,
    /// What the scope names; null for `all`.
    pub target: Option<String>,
    /// The run that failed, when one did.
    pub run: Option<Uuid>,
    /// Why.
    pub reason: String,
    /// The error's code.
    pub code: String,
    /// Since when.
    pub at: String,
    /// By whom.
    pub by: String,
}

/// A hold that a file puts on this machine.
#[derive(Clone, Debug)]
pub(crate) struct LocalHold {
    pub path: PathBuf,
    /// `None`: the file cannot be read, so it holds everything.
    pub file: Option<HoldFile>,
}

/// The folder of one installation on one machine.
#[derive(Clone, Debug)]
pub struct StateDir {
    root: PathBuf,
}

impl StateDir {
    /// Names the folder; it is made when something is written.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where artefacts are kept.
    pub fn artefacts(&self) -> PathBuf {
        self.root.join("artefacts")
    }

    /// Makes the folder for artefacts.
    ///
    /// # Errors
    /// [`FileError`] when it cannot be made.
    pub fn make_artefacts(&self) -> Result<PathBuf, FileError> {
        let path = self.artefacts();
        make_dir(&path)?;
        Ok(path)
    }

    /// Writes `runs/RUN/NAME.json`.
    ///
    /// # Errors
    /// [`FileError`] when it cannot be written.
    pub fn write_snapshot(
        &self,
        run: Uuid,
        name: &str,
        value: &Value,
    ) -> Result<PathBuf, FileError> {
        let folder = self.root.join("runs").join(run.to_string());
        let path = folder.join(format!("{name}.json"));
        self.write(&folder, &path, value)?;
        Ok(path)
    }

    /// Where `runs/RUN/NAME.json` is.
    pub fn snapshot_path(&self, run: Uuid, name: &str) -> PathBuf {
        self.root
            .join("runs")
            .join(run.to_string())
            .join(format!("{name}.json"))
    }

    /// Writes `hold/ID.json`.
    ///
    /// # Errors
    /// [`FileError`] when it cannot be written.
    pub fn write_hold(&self, hold: &HoldFile) -> Result<PathBuf, FileError> {
        let folder = self.root.join("hold");
        let path = folder.join(format!("{}.json", hold.id));
        let value = serde_json::to_value(hold).map_err(|e| failed("encode", &path)(e.into()))?;
        self.write(&folder, &path, &value)?;
        Ok(path)
    }

    /// Every hold that files put on this machine; what cannot be read holds everything.
    ///
    /// # Errors
    /// [`FileError`] when the folder exists and cannot be listed.
    pub(crate) fn holds(&self) -> Result<Vec<LocalHold>, FileError> {
        let folder = self.root.join("hold");
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed("list", &folder)(error)),
        };
        let mut holds = Vec::new();
        for entry in entries {
            let path = entry.map_err(failed("list", &folder))?.path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if name.starts_with('.') {
                continue; // the lock, or a temporary file that was never renamed
            }
            holds.push(LocalHold {
                file: read_hold(&path),
                path,
            });
        }
        Ok(holds)
    }

    /// Removes a hold file whose release the database proved; one that is gone already is no error.
    ///
    /// # Errors
    /// [`FileError`] when it stands and cannot be removed.
    pub(crate) fn remove_hold(&self, path: &Path) -> Result<(), FileError> {
        let folder = self.root.join("hold");
        if !folder.exists() {
            return Ok(()); // no hold was ever written here
        }
        let _lock = lock(&folder)?;
        match fs::remove_file(path) {
            Ok(()) => sync_dir(&folder),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(failed("remove", path)(error)),
        }
    }

    /// The file of a hold.
    pub(crate) fn hold_path(&self, id: Uuid) -> PathBuf {
        self.root.join("hold").join(format!("{id}.json"))
    }

    /// Appends one line to `alerts.jsonl`.
    ///
    /// # Errors
    /// [`FileError`] when it cannot be written.
    pub fn append_alert(&self, line: &Value) -> Result<(), FileError> {
        make_dir(&self.root)?;
        let path = self.root.join("alerts.jsonl");
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&path)
            .map_err(failed("open", &path))?;
        // One write call: lines of several processes do not mix.
        file.write_all(format!("{line}\n").as_bytes())
            .map_err(failed("write", &path))
    }

    fn write(&self, folder: &Path, path: &Path, value: &Value) -> Result<(), FileError> {
        make_dir(folder)?;
        let _lock = lock(folder)?;
        let mut text =
            serde_json::to_string_pretty(value).map_err(|e| failed("encode", path)(e.into()))?;
        text.push('\n');
        write_atomically(folder, path, text.as_bytes())
    }
}

fn read_hold(path: &Path) -> Option<HoldFile> {
    let meta = fs::symlink_metadata(path).ok()?;
    if !meta.is_file() || meta.len() > HOLD_FILE_BYTES_MAX {
        return None;
    }
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// Replaces a file as a whole.
pub(crate) fn write_atomically(folder: &Path, path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let temporary = folder.join(format!(".{}.tmp", Uuid::now_v7()));
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().map_err(|error| {
        let _ = fs::remove_file(&temporary);
        failed("write", path)(error)
    })?;
    sync_dir(folder)
}

/// Makes a folder and those above it.
pub(crate) fn make_dir(path: &Path) -> Result<(), FileError> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(failed("make folder", path))
}

fn sync_dir(folder: &Path) -> Result<(), FileError> {
    File::open(folder)
        .and_then(|dir| dir.sync_all())
        .map_err(failed("sync", folder))
}

/// Held until it is dropped.
fn lock(folder: &Path) -> Result<File, FileError> {
    let path = folder.join(".lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(failed("open", &path))?;
    flock(&file, FlockOperation::LockExclusive).map_err(|e| failed("lock", &path)(e.into()))?;
    Ok(file)
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_owned();
    move |source| FileError {
        doing,
        path,
        source,
    }
}
