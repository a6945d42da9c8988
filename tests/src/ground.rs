//! The one folder under which everything of a test process lies, and the sweep of dead owners.
//!
//! **Invariant:** a folder is removed only while its owner's lock can be taken: the kernel frees
//! that lock when the owner dies, however it dies, and no process number has to be trusted.

use std::env;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use redress_cli::cluster::{self, Stop, until};

/// A folder of one owner; the owner's lock is held as long as this value lives.
#[derive(Debug)]
pub struct Plot {
    path: PathBuf,
    _owner: File,
}

impl Plot {
    /// Makes a new folder owned by this process, after sweeping those of dead ones.
    pub fn claim() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let base = base();
        let _guard = lock(&base.join("lock"));
        sweep(&base);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = base.join(format!("{PREFIX}{}-{number}", process::id()));
        // A namesake was swept above unless its owner lives, and then it is not our number.
        fs::create_dir(&path).expect("the folder of a new test server is free");
        let owner = lock(&path.join(OWNER));
        Self {
            path,
            _owner: owner,
        }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder inside for the private server.
    pub fn server(&self) -> PathBuf {
        self.path.join(SERVER)
    }
}

/// The base folder, `redress-tests-UID` in the temporary folder; refused if somebody else made it.
pub fn base() -> PathBuf {
    let uid = rustix::process::geteuid().as_raw();
    let base = env::temp_dir().join(format!("redress-tests-{uid}"));
    let made = DirBuilder::new().recursive(true).mode(0o755).create(&base);
    made.unwrap_or_else(|error| panic!("could not make {}: {error}", base.display()));
    let meta = fs::symlink_metadata(&base).expect("the base folder was just made");
    assert!(
        meta.is_dir() && meta.uid() == uid && meta.mode() & 0o022 == 0,
        "somebody else can write to {}: set TMPDIR to another folder",
        base.display()
    );
    base
}

/// Takes a lock on a file, waiting for other test processes.
pub fn lock(path: &Path) -> File {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .unwrap_or_else(|error| panic!("could not open {}: {error}", path.display()));
    until(LOCK_LIMIT, || file.try_lock().ok())
        .unwrap_or_else(|| panic!("{} stayed locked for {LOCK_LIMIT:?}", path.display()));
    file
}

/// Removes the folders and servers of owners that are dead; the caller holds the base's lock.
fn sweep(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else {
        return;
    };
    let plots = entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX));
    for entry in plots {
        let path = entry.path();
        let free = match File::open(path.join(OWNER)) {
            Ok(owner) => owner.try_lock().is_ok(),
            // Its owner died between making the folder and the lock.
            Err(_) => true,
        };
        if free {
            // What cannot be swept now is tried again at the next start.
            let _ = cluster::remove(&path.join(SERVER), Stop::Immediate);
            let _ = fs::remove_dir_all(&path);
        }
    }
}

const PREFIX: &str = "c-";
const OWNER: &str = "owner";
const SERVER: &str = "pg";
const LOCK_LIMIT: Duration = Duration::from_secs(180);
