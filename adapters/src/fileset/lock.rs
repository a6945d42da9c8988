//! One update of a directory at a time: a file lock on the directory itself.
//!
//! **Invariant:** the lock is on the directory's inode, so two paths that lead to it are one lock, and it ends with
//! the process that has it. After the lock was got, the path is looked up again: it must still lead there.
//!
//! **What can go wrong:** programs that do not ask for the lock are not kept out. What they change is found by hash,
//! before the switch and after it. Who wants to read the set as a whole takes the lock shared (`flock --shared DIR`).

use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use redress_ledger::Hash;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::dir::Dir;
use super::error::{FilesetError, reading};
use super::path::RelPath;

/// Between two tries for a lock that somebody else has.
const PAUSE: Duration = Duration::from_millis(20);
/// How often the directory may be exchanged under us while we wait.
const EXCHANGES_MAX: usize = 8;

/// A directory, as the configuration and a saga name it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Place {
    /// The folder that the configuration lists.
    pub root: PathBuf,
    /// Where below it the directory lies; empty for the folder itself.
    pub directory: RelPath,
}

impl Place {
    /// What people call it.
    pub fn shown(&self) -> String {
        let root = self.root.display().to_string();
        if self.directory.is_top() {
            return root;
        }
        format!("{}/{}", root.trim_end_matches('/'), self.directory)
    }
}

/// Who has a lock, as its holder wrote it down.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Holder {
    process: u32,
    host: String,
    act: String,
    since: String,
}

/// A directory of which we have the lock.
#[derive(Debug)]
pub struct Locked {
    dir: Dir,
    holder: PathBuf,
}

impl Locked {
    /// The directory.
    pub fn dir(&self) -> &Dir {
        &self.dir
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // The lock ends with the handle; what is left here only says who had it.
        let _ = fs::remove_file(&self.holder);
    }
}

/// Locks a directory, waiting for at most so long.
pub(super) fn lock(
    place: &Place,
    holders: &std::path::Path,
    act: &str,
    wait: Duration,
) -> Result<Locked, FilesetError> {
    let start = Instant::now();
    let path = place.shown();
    let holder = holders.join(format!("{}.json", Hash::of(path.as_bytes())));
    for _ in 0..EXCHANGES_MAX {
        let dir = open(place)?;
        let left = wait.saturating_sub(start.elapsed());
        if !try_lock(&dir, FlockOperation::NonBlockingLockExclusive, left)? {
            let holder = named(&holder);
            return Err(FilesetError::Busy { path, holder });
        }
        if open(place)?.is_same(&dir) {
            write_holder(&holder, act);
            return Ok(Locked { dir, holder });
        }
    }
    Err(FilesetError::DirectoryGone { path })
}

/// Opens a directory without locking it.
pub(super) fn open(place: &Place) -> Result<Dir, FilesetError> {
    Dir::open(&place.root)?.below(&place.directory)
}

/// Polls for a lock; false when somebody else has it all the while.
pub(super) fn try_lock(
    dir: &Dir,
    operation: FlockOperation,
    wait: Duration,
) -> Result<bool, FilesetError> {
    let start = Instant::now();
    loop {
        match flock(dir.handle(), operation) {
            Ok(()) => return Ok(true),
            Err(Errno::WOULDBLOCK | Errno::INTR) => {}
            Err(errno) => return Err(reading("lock", dir.shown())(errno)),
        }
        if start.elapsed() >= wait {
            return Ok(false);
        }
        sleep(PAUSE);
    }
}

fn write_holder(path: &std::path::Path, act: &str) {
    let holder = Holder {
        process: std::process::id(),
        host: rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned(),
        act: act.to_owned(),
        since: jiff::Timestamp::now().to_string(),
    };
    // For people who wait: the lock itself does not depend on it.
    if let Ok(text) = serde_json::to_vec(&holder) {
        let _ = fs::write(path, text);
    }
}

fn named(path: &std::path::Path) -> String {
    let read = fs::read(path).ok();
    let holder = read.and_then(|text| serde_json::from_slice::<Holder>(&text).ok());
    match holder {
        Some(holder) => format!(
            "process {} on {} ({}, since {})",
            holder.process, holder.host, holder.act, holder.since
        ),
        None => "another program, which left no name".to_owned(),
    }
}
