//! Prepares a switch: what will stand and what stands, under names of our own, before anything is changed.
//!
//! **Invariant:** nothing is changed under a name that others see. A disk that is full is found here.
//!
//! A file that is replaced keeps owner and permission bits; one whose owner cannot be kept is refused.

use std::fs::File;
use std::io::{self, Read, Write};

use redress_ledger::Hash;
use rustix::fs::{Gid, Mode, Uid, fchmod, fchown, fstat};
use sha2::{Digest, Sha256};

use super::dir::{Dir, file_node};
use super::error::{FilesetError, changing, reading};
use super::fault::step;
use super::journal::{Change, Intent, slot};
use super::node::{FileNode, Node, same};
use super::path::RelPath;
use super::store::{FILE_BYTES_MAX, Store};
use super::switch::changed;

/// What a path is to hold.
#[derive(Debug)]
pub enum Content {
    /// These bytes.
    Bytes(Vec<u8>),
    /// A file that is open, with its name for messages.
    File(File, String),
    /// A content that a snapshot keeps.
    Kept(Hash, FileNode),
    /// A link, never followed.
    Link(String),
    /// Nothing: the path is removed.
    Nothing,
}

/// One path and what it is to hold.
#[derive(Debug)]
pub struct Target {
    /// Where.
    pub path: RelPath,
    /// What stands there, as far as the caller knows; it must stand there when the switch begins.
    pub before: Option<Node>,
    /// What is to stand there.
    pub content: Content,
    /// Permission bits; else those of the file that is replaced, else 0644.
    pub mode: Option<u32>,
    /// The hash that the content must have.
    pub sha256: Option<Hash>,
}

/// The permission bits of a new file when nothing says otherwise.
const MODE_DEFAULT: u32 = 0o644;
/// The permission bits of a folder that is made.
pub(super) const FOLDER_MODE: u32 = 0o755;

/// Writes everything that is to stand, and keeps what stands, under names of ours; completes the intent.
pub(super) fn stage_all(
    store: &Store,
    dir: &Dir,
    intent: &mut Intent,
    targets: Vec<Target>,
) -> Result<(), FilesetError> {
    for (n, target) in targets.into_iter().enumerate() {
        let found = dir.node(&target.path)?;
        if !same(found.as_ref(), target.before.as_ref()) {
            return Err(changed(
                dir,
                &target.path,
                found.as_ref(),
                target.before.as_ref(),
            ));
        }
        // Known from here on, so that whatever fails is compared with what stood there.
        intent.changes.push(Change {
            path: target.path.clone(),
            before: target.before.clone(),
            after: target.before.clone(),
        });
        if found.is_some() {
            keep_old(dir, &target.path, n)?;
        }
        let after = stage(store, dir, intent.snapshot, n, &target)?;
        make_list(dir, intent, &target.path, after.is_some())?;
        intent.changes[n].after = after;
    }
    dir.sync(&RelPath::stage())
}

/// Notes which folders must be made for a path.
fn make_list(
    dir: &Dir,
    intent: &mut Intent,
    path: &RelPath,
    stands: bool,
) -> Result<(), FilesetError> {
    let mut missing = Vec::new();
    let mut at = path.clone();
    while let Some(folder) = at.above().filter(|folder| stands && !folder.is_top()) {
        if dir.look(&folder)?.is_some() || intent.made.iter().any(|(made, _)| *made == folder) {
            break;
        }
        missing.push((folder.clone(), FOLDER_MODE));
        at = folder;
    }
    intent.made.extend(missing.into_iter().rev());
    Ok(())
}

/// Gives the old file a second name among ours, or copies it where it cannot have two.
fn keep_old(dir: &Dir, path: &RelPath, n: usize) -> Result<(), FilesetError> {
    let old = slot(n, "old");
    if dir.link(path, &old)? {
        return Ok(());
    }
    match dir.node(path)? {
        Some(Node::File(node)) => {
            let (mut from, _) = dir.read(path)?;
            let mut to = dir.create(&old)?;
            let name = dir.name_of(path);
            io::copy(&mut from, &mut to).map_err(changing("write", &name))?;
            dress(&to, Some(&node), node.mode, &name)
        }
        Some(link) => dir.make_link(&old, &link.target().unwrap_or_default()),
        None => Ok(()),
    }
}

fn stage(
    store: &Store,
    dir: &Dir,
    snapshot: Hash,
    n: usize,
    target: &Target,
) -> Result<Option<Node>, FilesetError> {
    let new = slot(n, "new");
    let name = dir.name_of(&target.path);
    let before = target.before.as_ref().and_then(Node::file);
    let mut kept = None;
    let mut counted = match &target.content {
        Content::Nothing => return Ok(None),
        Content::Link(text) => {
            let node = Node::Link(text.clone());
            dir.make_link(&new, &node.target().unwrap_or_default())?;
            return Ok(Some(node));
        }
        Content::Bytes(bytes) => {
            let mut to = Counted::new(dir.create(&new)?);
            to.write_all(bytes).map_err(changing("write", &name))?;
            to
        }
        Content::File(from, from_name) => {
            let mut to = Counted::new(dir.create(&new)?);
            copy(from, from_name, &mut to, &name)?;
            to
        }
        Content::Kept(hash, node) => {
            kept = Some(node);
            let mut to = Counted::new(dir.create(&new)?);
            store.copy_out(&snapshot, &target.path, (hash, node.size), &mut to, &name)?;
            to
        }
    };
    let (sha256, size) = counted.ended();
    if let Some(expected) = target.sha256.filter(|expected| *expected != sha256) {
        return Err(FilesetError::Changed {
            path: format!("what is to become {name}"),
            found: format!("sha256:{sha256}"),
            expected: format!("sha256:{expected}"),
        });
    }
    let mode = target.mode.or(kept.map(|node| node.mode));
    let mode = mode
        .or(before.map(|node| node.mode))
        .unwrap_or(MODE_DEFAULT);
    dress(&counted.file, kept.or(before), mode, &name)?;
    let stat = fstat(&counted.file).map_err(reading("look at", &name))?;
    Ok(Some(Node::File(file_node(&stat, sha256, size))))
}

/// Gives a staged file owner and permissions, and makes it lasting.
pub(super) fn dress(
    file: &File,
    owner: Option<&FileNode>,
    mode: u32,
    name: &str,
) -> Result<(), FilesetError> {
    let stat = fstat(file).map_err(reading("look at", name))?;
    if let Some(owner) = owner.filter(|own| (own.uid, own.gid) != (stat.st_uid, stat.st_gid)) {
        let uid = Uid::from_raw(owner.uid);
        let gid = Gid::from_raw(owner.gid);
        fchown(file, Some(uid), Some(gid)).map_err(reading("keep the owner of", name))?;
    }
    let mode = Mode::from_raw_mode(mode as rustix::fs::RawMode);
    fchmod(file, mode).map_err(changing("set the permissions of", name))?;
    let synced = step().map_err(io::Error::from);
    synced
        .and_then(|()| file.sync_all())
        .map_err(changing("make lasting", name))
}

fn copy(
    mut from: &File,
    from_name: &str,
    to: &mut impl Write,
    name: &str,
) -> Result<(), FilesetError> {
    let mut buffer = vec![0; 64 * 1024];
    let mut left = FILE_BYTES_MAX;
    loop {
        let read = from.read(&mut buffer).map_err(reading("read", from_name))?;
        if read == 0 {
            return Ok(());
        }
        left = left
            .checked_sub(read as u64)
            .ok_or_else(|| FilesetError::TooMuch {
                path: from_name.to_owned(),
                what: "bytes",
                max: FILE_BYTES_MAX,
            })?;
        to.write_all(&buffer[..read])
            .map_err(changing("write", name))?;
    }
}

/// A file that is written and hashed in one go.
struct Counted {
    file: File,
    hasher: Sha256,
    size: u64,
}

impl Counted {
    fn new(file: File) -> Self {
        Self {
            file,
            hasher: Sha256::new(),
            size: 0,
        }
    }

    fn ended(&mut self) -> (Hash, u64) {
        let hasher = std::mem::take(&mut self.hasher);
        (Hash::from_bytes(hasher.finalize().into()), self.size)
    }
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        step()?;
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
