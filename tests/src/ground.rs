//! The folders under which everything of a test process lies, and the sweep of dead owners.
//!
//! Servers lie in memory where there is plenty: making the thousand files of a server, or the
//! three hundred of a database, costs several times as much on a disk. What a killed process
//! leaves is the same on both. Benches stay on the disk.
//!
//! **Invariant:** a folder is removed only while its owner's lock can be taken: the kernel frees
//! that lock when the owner dies, however it dies, and no process number has to be trusted.

use std::env;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::OnceLock;
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
    pub fn claim(ground: Ground) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let base = ground.base();
        let _guard = lock(&base.join("lock"), LOCK_LIMIT);
        sweep(&base);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = base.join(format!("{PREFIX}{}-{number}", process::id()));
        // A namesake was swept above unless its owner lives, and then it is not our number.
        fs::create_dir(&path).expect("the folder of a new test server is free");
        let owner = lock(&path.join(OWNER), LOCK_LIMIT);
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

/// Where a server lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ground {
    /// In memory if there is plenty, else as `Disk`.
    Memory,
    /// In the temporary folder.
    Disk,
}

impl Ground {
    /// The base folder, `redress-tests-UID`; refused if somebody else made it.
    pub fn base(self) -> PathBuf {
        let place = match self {
            Self::Memory => memory_place().unwrap_or_else(env::temp_dir),
            Self::Disk => env::temp_dir(),
        };
        let uid = rustix::process::geteuid().as_raw();
        let base = place.join(format!("redress-tests-{uid}"));
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
}

/// The memory's folder, if both it and the machine have room; asked once, so that all servers of
/// a process lie together. `TMPDIR` is an answer too.
fn memory_place() -> Option<PathBuf> {
    static PLACE: OnceLock<Option<PathBuf>> = OnceLock::new();
    let look = || {
        let place = Path::new("/dev/shm");
        let room = rustix::fs::statvfs(place).ok()?;
        let memory = fs::read_to_string("/proc/meminfo").ok()?;
        let kib: u64 = memory
            .lines()
            .find_map(|line| line.strip_prefix("MemAvailable:"))
            .and_then(|rest| rest.split_whitespace().next())
            .and_then(|number| number.parse().ok())?;
        let enough =
            room.f_bavail.saturating_mul(room.f_frsize).min(kib * 1024) >= MEMORY_BYTES_MIN;
        let meta = fs::metadata(place).ok()?;
        let open = meta.mode() & 0o1777 == 0o1777;
        (enough && open && env::var_os("TMPDIR").is_none()).then(|| place.to_path_buf())
    };
    PLACE.get_or_init(look).clone()
}

/// Takes a lock on a file, waiting for other test processes.
pub fn lock(path: &Path, limit: Duration) -> File {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .unwrap_or_else(|error| panic!("could not open {}: {error}", path.display()));
    until(limit, || file.try_lock().ok())
        .unwrap_or_else(|| panic!("{} stayed locked for {limit:?}", path.display()));
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
const MEMORY_BYTES_MIN: u64 = 6 << 30;
/// Longer than initdb may take.
pub(crate) const LOCK_LIMIT: Duration = Duration::from_secs(180);
