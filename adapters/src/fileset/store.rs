//! Snapshots of directories: content-addressed, compressed, incremental.
//!
//! ```text
//! STORE/objects/ab/HASH.gz   contents      STORE/snapshots/ID.json.gz   lists      STORE/acts/   what became of acts
//! STORE/tmp, STORE/lock      being written, collected                  STORE/holders/  who has which directory
//! ```
//!
//! **Invariant:** a list stands only when every content that it names is on the disk. A content that an earlier snapshot
//! brought is not copied again.
//!
//! **What can go wrong:** somebody deletes or changes files of the store. Nothing is believed without its hash: a list
//! that is not its id and a content that is not its name are [`FilesetError::SnapshotCorrupt`], what is missing is
//! [`FilesetError::SnapshotGone`].
//!
//! **Not here:** extended attributes, ACLs and times are not kept. A hard link is kept as the file that it is.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use redress_ledger::Hash;
use rustix::fs::FlockOperation;

use super::dir::{Dir, Found, file_node, hash_of};
use super::error::{FilesetError, changing, reading, shown};
use super::lock::{self, Locked, Place};
use super::manifest::{Entry, Manifest, Owner};
use super::metrics::{Counter, Metrics};
use super::node::Node;
use super::object::{Intake, Lack, Objects, make_folder, write_whole};
use super::path::{DEPTH_MAX, RelPath};

/// Most entries of one directory.
pub const FILES_MAX: usize = 200_000;
/// Largest file.
pub const FILE_BYTES_MAX: u64 = 4 << 30;
/// Largest list, uncompressed.
const LIST_BYTES_MAX: u64 = 256 << 20;
/// Files up to this size are read once.
const SMALL_BYTES_MAX: u64 = 1 << 20;
/// How long a writer waits for a collection, and a collection for writers.
const STORE_WAIT: Duration = Duration::from_secs(30);

/// A store of snapshots.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
    pub(super) objects: Objects,
    pub(super) counter: Arc<Counter>,
    /// How long an update waits for another one of the same directory.
    pub(super) wait: Duration,
}

/// A snapshot that was taken.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Its id.
    pub id: Hash,
    /// Its list.
    pub manifest: Manifest,
    /// Bytes that it added to the store.
    pub bytes_added: u64,
}

impl Store {
    /// Opens a store; its folders are made when they are not there.
    ///
    /// # Errors
    /// When the folders cannot be made.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, FilesetError> {
        let root = root.into();
        let objects = Objects::new(&root);
        make_folder(&root)?;
        objects.make()?;
        for name in ["snapshots", "acts", "holders"] {
            make_folder(&root.join(name))?;
        }
        Ok(Self {
            root,
            objects,
            counter: Arc::default(),
            wait: LOCK_WAIT,
        })
    }

    /// Sets how long an update waits for another one of the same directory.
    pub fn waiting(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// What was counted since the store was opened.
    pub fn metrics(&self) -> Metrics {
        self.counter.read()
    }

    /// Locks a directory; `act` is what others are told who wait for it.
    ///
    /// # Errors
    /// [`FilesetError::Busy`] when another update has it all the while; [`FilesetError::DirectoryGone`].
    pub fn lock(&self, place: &Place, act: &str) -> Result<Locked, FilesetError> {
        lock::lock(place, &self.root.join("holders"), act, self.wait)
    }

    pub(super) fn folder(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub(super) fn list_path(&self, id: &Hash) -> PathBuf {
        self.folder("snapshots").join(format!("{id}.json.gz"))
    }

    /// Keeps collections and writers apart; the lock lasts as long as what is returned.
    pub(super) fn hold(&self, operation: FlockOperation) -> Result<Dir, FilesetError> {
        let folder = Dir::open(&self.root)?;
        if lock::try_lock(&folder, operation, STORE_WAIT)? {
            return Ok(folder);
        }
        Err(FilesetError::Busy {
            path: shown(&self.root),
            holder: "a collection of old snapshots, or a snapshot being taken".to_owned(),
        })
    }

    /// Takes a snapshot of a directory.
    ///
    /// # Errors
    /// Whatever keeps it from being whole: then there is none.
    pub fn take(
        &self,
        locked: &Locked,
        owner: Owner,
        exclude: &[RelPath],
    ) -> Result<Snapshot, FilesetError> {
        let start = Instant::now();
        let taken = self.take_uncounted(locked.dir(), owner, exclude);
        let took = start.elapsed();
        let done = taken.as_ref().ok().map(|snapshot| {
            let (files, bytes) = snapshot.manifest.size();
            tracing::info!(
                snapshot = %snapshot.id,
                directory = %snapshot.manifest.directory,
                files,
                bytes,
                ms = took.as_millis() as u64,
                "snapshot taken"
            );
            (files, snapshot.bytes_added)
        });
        self.counter
            .count(|metrics| &mut metrics.snapshots, took, done);
        taken
    }

    fn take_uncounted(
        &self,
        dir: &Dir,
        owner: Owner,
        exclude: &[RelPath],
    ) -> Result<Snapshot, FilesetError> {
        let _held = self.hold(FlockOperation::NonBlockingLockShared)?;
        let mut walk = Walk {
            store: self,
            intake: self.objects.intake(),
            known: BTreeSet::new(),
            exclude,
            entries: Vec::new(),
        };
        walk.folder(dir, &RelPath::top(), 0)?;
        let Walk {
            intake, entries, ..
        } = walk;
        let objects_added = intake.finish()?;
        let shown_dir = dir.shown().to_owned();
        let manifest = Manifest::new(shown_dir.clone(), owner, exclude.to_owned(), entries);
        let (bytes, id) = manifest.sealed().map_err(|why| FilesetError::Os {
            what: "write the list of",
            path: shown_dir,
            source: io::Error::other(why),
        })?;
        let path = self.list_path(&id);
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        let packed = gzip.write_all(&bytes).and_then(|()| gzip.finish());
        let packed = packed.map_err(changing("write", shown(&path)))?;
        write_whole(&self.objects.temporary(), &path, &packed)?;
        Ok(Snapshot {
            id,
            manifest,
            bytes_added: objects_added + packed.len() as u64,
        })
    }

    /// Reads the list of a snapshot.
    ///
    /// # Errors
    /// [`FilesetError::SnapshotGone`], [`FilesetError::SnapshotCorrupt`].
    pub fn manifest(&self, id: &Hash) -> Result<Manifest, FilesetError> {
        let path = self.list_path(id);
        let what = || "its list".to_owned();
        let packed = match fs::read(&path) {
            Ok(packed) => packed,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(FilesetError::SnapshotGone {
                    what: what(),
                    id: *id,
                });
            }
            Err(error) => return Err(reading("read", shown(&path))(error)),
        };
        let mut bytes = Vec::new();
        let unpacked = MultiGzDecoder::new(packed.as_slice())
            .take(LIST_BYTES_MAX)
            .read_to_end(&mut bytes);
        let manifest = unpacked.ok().and_then(|_| Manifest::read(&bytes, id));
        manifest.ok_or_else(|| FilesetError::SnapshotCorrupt {
            what: what(),
            id: *id,
        })
    }

    /// Copies a content of a snapshot out.
    pub(super) fn copy_out(
        &self,
        id: &Hash,
        path: &RelPath,
        content: (&Hash, u64),
        to: &mut impl Write,
        shown_to: &str,
    ) -> Result<(), FilesetError> {
        let (hash, size) = content;
        let what = format!("the content of {path}");
        match self.objects.copy_to(hash, size, to, shown_to)? {
            Ok(()) => Ok(()),
            Err(Lack::Gone) => Err(FilesetError::SnapshotGone { what, id: *id }),
            Err(Lack::Corrupt) => Err(FilesetError::SnapshotCorrupt { what, id: *id }),
        }
    }

    /// Reads every content of a snapshot that stands under one of these paths and compares it with its hash.
    ///
    /// # Errors
    /// The first that is missing or is not what was written.
    pub fn verify_paths(&self, id: &Hash, paths: &[RelPath]) -> Result<(), FilesetError> {
        let manifest = self.manifest(id)?;
        for path in paths {
            if let Some(file) = manifest.node(path).and_then(Node::file) {
                let content = (&file.sha256, file.size);
                self.copy_out(id, path, content, &mut io::sink(), "nowhere")?;
            }
        }
        Ok(())
    }
}

/// A walk over a directory that takes in what is new.
struct Walk<'a> {
    store: &'a Store,
    intake: Intake<'a>,
    known: BTreeSet<Hash>,
    exclude: &'a [RelPath],
    entries: Vec<Entry>,
}

impl Walk<'_> {
    fn folder(&mut self, dir: &Dir, at: &RelPath, depth: usize) -> Result<(), FilesetError> {
        if depth > DEPTH_MAX {
            return Err(too_much(dir.shown(), "levels of folders", DEPTH_MAX as u64));
        }
        for name in dir.names()? {
            use std::os::unix::ffi::OsStrExt;
            if at.is_top() && name == super::path::STAGE {
                continue;
            }
            let path = at.join(name.as_bytes())?;
            if self.exclude.iter().any(|left_out| path.is_in(left_out)) {
                continue;
            }
            let here = RelPath::of_bytes(name.as_bytes())?;
            let node = match dir.look(&here)? {
                // Gone since it was listed.
                None => continue,
                Some(Found::Link(target)) => Node::link(&target),
                Some(Found::File) => self.file(dir, &here)?,
                Some(Found::Folder { mode }) => {
                    self.push(dir, path.clone(), Node::Folder(mode))?;
                    self.folder(&dir.below(&here)?, &path, depth + 1)?;
                    continue;
                }
                Some(Found::Other(why)) => {
                    let path = dir.name_of(&here);
                    return Err(FilesetError::NotInside { path, why });
                }
            };
            self.push(dir, path, node)?;
        }
        Ok(())
    }

    fn push(&mut self, dir: &Dir, path: RelPath, node: Node) -> Result<(), FilesetError> {
        if self.entries.len() >= FILES_MAX {
            return Err(too_much(dir.shown(), "entries", FILES_MAX as u64));
        }
        self.entries.push(Entry { path, node });
        Ok(())
    }

    fn file(&mut self, dir: &Dir, path: &RelPath) -> Result<Node, FilesetError> {
        let name = dir.name_of(path);
        let (mut file, stat) = dir.read(path)?;
        let length = u64::try_from(stat.st_size).unwrap_or_default();
        if length > FILE_BYTES_MAX {
            return Err(too_much(&name, "bytes", FILE_BYTES_MAX));
        }
        let (sha256, size) = if length <= SMALL_BYTES_MAX {
            let mut whole = Vec::new();
            // A file that grows while it is read is read to its end, as far as it may be large.
            let read = (&mut file).take(FILE_BYTES_MAX).read_to_end(&mut whole);
            read.map_err(reading("read", &name))?;
            let hash = Hash::of(&whole);
            if !self.has(&hash) {
                self.intake.take(&mut whole.as_slice(), &name)?;
            }
            (hash, whole.len() as u64)
        } else {
            let (hash, size) = hash_of(&mut file).map_err(reading("read", &name))?;
            if self.has(&hash) {
                (hash, size)
            } else {
                let (mut again, _) = dir.read(path)?;
                // What was read the second time is what is kept, and what is listed.
                self.intake.take(&mut again, &name)?
            }
        };
        self.known.insert(sha256);
        Ok(Node::File(file_node(&stat, sha256, size)))
    }

    fn has(&self, hash: &Hash) -> bool {
        self.known.contains(hash) || self.store.objects.has(hash)
    }
}

fn too_much(path: &str, what: &'static str, max: u64) -> FilesetError {
    FilesetError::TooMuch {
        path: path.to_owned(),
        what,
        max,
    }
}

/// How long an update waits for another one of the same directory.
pub const LOCK_WAIT: Duration = Duration::from_secs(10);
