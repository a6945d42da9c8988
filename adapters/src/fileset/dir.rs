//! A directory that is held open: everything below it is reached through its handle, name by name.
//!
//! **Invariant:** no link is ever followed below the handle, and nothing on another file system is entered. A folder
//! that is exchanged for a link between two calls is refused by the second.
//!
//! **Invariant:** a file under a name that others may see is never opened for writing. It is written beside, under a
//! name of our own, and renamed; so another hard link of the old file keeps the old content.
//!
//! **What can go wrong:** the directory is deleted or renamed while it is held: [`Dir::is_gone`] tells.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use redress_ledger::Hash;
use rustix::fs::{self, AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use super::error::{FilesetError, changing, reading, shown};
use super::fault::step;
use super::node::{FileNode, Node};
use super::path::{RelPath, escaped};

/// Longest target of a link that is kept.
const LINK_BYTES_MAX: usize = 4_096;

/// An open directory, and what to call it.
#[derive(Debug)]
pub struct Dir {
    handle: OwnedFd,
    /// What people call it.
    shown: String,
    identity: (u64, u64),
}

/// What stands under a name; a file is not read yet.
pub(super) enum Found {
    File,
    Link(Vec<u8>),
    Folder { mode: u32 },
    Other(&'static str),
}

impl Dir {
    /// Opens a directory by a path that the configuration gives; links on the way there are followed.
    ///
    /// # Errors
    /// [`FilesetError::DirectoryGone`] when it is not there.
    pub fn open(path: &Path) -> Result<Self, FilesetError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = fs::openat(CWD, path, flags, Mode::empty());
        Self::of(gone_or("open", shown(path), handle)?, shown(path))
    }

    fn of(handle: OwnedFd, shown: String) -> Result<Self, FilesetError> {
        let stat = fs::fstat(&handle).map_err(reading("look at", &shown))?;
        let identity = identity(&stat);
        Ok(Self {
            handle,
            shown,
            identity,
        })
    }

    /// Opens a folder below.
    ///
    /// # Errors
    /// [`FilesetError::DirectoryGone`], or what stands in the way.
    pub fn below(&self, path: &RelPath) -> Result<Self, FilesetError> {
        let shown = self.name_of(path);
        let found = self.walk(path.names())?;
        let Some(handle) = found else {
            return Err(FilesetError::DirectoryGone { path: shown });
        };
        Self::of(handle, shown)
    }

    /// What people call a path below.
    pub fn name_of(&self, path: &RelPath) -> String {
        if path.is_top() {
            return self.shown.clone();
        }
        format!("{}/{path}", self.shown.trim_end_matches('/'))
    }

    /// What people call it.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Whether both are the same directory.
    pub fn is_same(&self, other: &Self) -> bool {
        self.identity == other.identity
    }

    /// Device and inode.
    pub(super) fn identity(&self) -> (u64, u64) {
        self.identity
    }

    /// Whether it was deleted while it is held.
    pub fn is_gone(&self) -> bool {
        fs::fstat(&self.handle).is_ok_and(|stat| stat.st_nlink == 0)
    }

    fn walk<'a>(
        &self,
        names: impl Iterator<Item = &'a OsStr>,
    ) -> Result<Option<OwnedFd>, FilesetError> {
        let mut at = self.duplicate()?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for name in names {
            let what = || format!("{}/…/{}", self.shown, escaped(name.as_bytes()));
            at = match fs::openat(&at, name, flags, Mode::empty()) {
                Ok(next) => next,
                Err(Errno::NOENT) => return Ok(None),
                Err(errno) => return Err(reading("enter", what())(errno)),
            };
            let stat = fs::fstat(&at).map_err(reading("look at", what()))?;
            if identity(&stat).0 != self.identity.0 {
                let why = "lies on another file system";
                return Err(FilesetError::NotInside { path: what(), why });
            }
        }
        Ok(Some(at))
    }

    fn duplicate(&self) -> Result<OwnedFd, FilesetError> {
        let copy = self.handle.try_clone();
        copy.map_err(reading("hold", &self.shown))
    }

    /// The folder that a path lies in, and the path's last name; `None` when that folder is not there.
    fn parent<'a>(&self, path: &'a RelPath) -> Result<Option<(OwnedFd, &'a OsStr)>, FilesetError> {
        let Some((folder, name)) = path.split() else {
            return Err(FilesetError::NotInside {
                path: self.shown.clone(),
                why: "is the directory itself",
            });
        };
        Ok(self.walk(folder.names())?.map(|handle| (handle, name)))
    }

    fn parent_there<'a>(
        &self,
        what: &'static str,
        path: &'a RelPath,
    ) -> Result<(OwnedFd, &'a OsStr), FilesetError> {
        let there = self.parent(path)?;
        there.ok_or_else(|| changing(what, self.name_of(path))(Errno::NOENT))
    }

    /// What stands under a path.
    pub(super) fn look(&self, path: &RelPath) -> Result<Option<Found>, FilesetError> {
        let Some((folder, name)) = self.parent(path)? else {
            return Ok(None);
        };
        let shown = self.name_of(path);
        let stat = match fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(reading("look at", shown)(errno)),
        };
        Ok(Some(match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Found::File,
            FileType::Directory => Found::Folder {
                mode: permissions(&stat),
            },
            FileType::Symlink => {
                let target = fs::readlinkat(&folder, name, Vec::new());
                let target = target
                    .map_err(reading("read the link", &shown))?
                    .into_bytes();
                if target.len() > LINK_BYTES_MAX {
                    return Err(too_long(shown));
                }
                Found::Link(target)
            }
            FileType::Fifo => Found::Other("is a pipe"),
            FileType::Socket => Found::Other("is a socket"),
            _ => Found::Other("is a device"),
        }))
    }

    /// Opens a file for reading; a link, pipe or device under the name is refused without waiting for it.
    pub(super) fn read(&self, path: &RelPath) -> Result<(File, Stat), FilesetError> {
        let shown = self.name_of(path);
        let (folder, name) = self.parent_there("open", path)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let handle = fs::openat(&folder, name, flags, Mode::empty());
        let handle = handle.map_err(reading("open", &shown))?;
        let stat = fs::fstat(&handle).map_err(reading("look at", &shown))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            let why = "is no regular file";
            return Err(FilesetError::NotInside { path: shown, why });
        }
        Ok((File::from(handle), stat))
    }

    /// What stands under a path, with the content's hash; a folder counts as something in the way.
    pub(super) fn node(&self, path: &RelPath) -> Result<Option<Node>, FilesetError> {
        let why = match self.look(path)? {
            None => return Ok(None),
            Some(Found::Link(target)) => return Ok(Some(Node::link(&target))),
            Some(Found::File) => {
                let (mut file, stat) = self.read(path)?;
                let hashed = hash_of(&mut file);
                let (sha256, size) = hashed.map_err(reading("read", self.name_of(path)))?;
                return Ok(Some(Node::File(file_node(&stat, sha256, size))));
            }
            Some(Found::Folder { .. }) => "is a folder",
            Some(Found::Other(why)) => why,
        };
        let path = self.name_of(path);
        Err(FilesetError::NotInside { path, why })
    }

    /// The names in this directory, sorted.
    pub(super) fn names(&self) -> Result<Vec<OsString>, FilesetError> {
        let mut names = Vec::new();
        let entries = fs::Dir::read_from(&self.handle).map_err(reading("list", &self.shown))?;
        for entry in entries {
            let entry = entry.map_err(reading("list", &self.shown))?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name != "." && name != ".." {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// Makes a new file that nobody else may open yet.
    pub(super) fn create(&self, path: &RelPath) -> Result<File, FilesetError> {
        let (folder, name) = self.parent_there("create", path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let made = step().and_then(|()| {
            fs::openat(
                &folder,
                name,
                flags | OFlags::CLOEXEC,
                Mode::from_raw_mode(0o600),
            )
        });
        Ok(File::from(
            made.map_err(changing("create", self.name_of(path)))?,
        ))
    }

    /// Makes a link with this target.
    pub(super) fn make_link(&self, path: &RelPath, target: &[u8]) -> Result<(), FilesetError> {
        let (folder, name) = self.parent_there("create", path)?;
        let target = OsStr::from_bytes(target);
        let made = step().and_then(|()| fs::symlinkat(target, &folder, name));
        made.map_err(changing("create the link", self.name_of(path)))
    }

    /// Gives a file a second name; `false` where that is not possible.
    pub(super) fn link(&self, from: &RelPath, to: &RelPath) -> Result<bool, FilesetError> {
        let (from_folder, from_name) = self.parent_there("link", from)?;
        let (to_folder, to_name) = self.parent_there("link", to)?;
        let made = step().and_then(|()| {
            fs::linkat(
                &from_folder,
                from_name,
                &to_folder,
                to_name,
                AtFlags::empty(),
            )
        });
        match made {
            Ok(()) => Ok(true),
            Err(Errno::PERM | Errno::NOTSUP | Errno::NOSYS | Errno::MLINK | Errno::XDEV) => {
                Ok(false)
            }
            Err(errno) => Err(changing("link", self.name_of(from))(errno)),
        }
    }

    /// Renames; with `fresh` nothing may stand under the new name.
    pub(super) fn rename(
        &self,
        from: &RelPath,
        to: &RelPath,
        fresh: bool,
    ) -> Result<(), FilesetError> {
        let (from_folder, from_name) = self.parent_there("replace", from)?;
        let (to_folder, to_name) = self.parent_there("replace", to)?;
        let plain = || fs::renameat(&from_folder, from_name, &to_folder, to_name);
        let renamed = step().and_then(|()| {
            if !fresh {
                return plain();
            }
            let flags = RenameFlags::NOREPLACE;
            match fs::renameat_with(&from_folder, from_name, &to_folder, to_name, flags) {
                // A file system that cannot: what stood there was looked at just now.
                Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => plain(),
                done => done,
            }
        });
        renamed.map_err(changing("replace", self.name_of(to)))
    }

    /// Removes a file or link; one that is not there is no error.
    pub(super) fn remove(&self, path: &RelPath) -> Result<(), FilesetError> {
        let Some((folder, name)) = self.parent(path)? else {
            return Ok(());
        };
        match step().and_then(|()| fs::unlinkat(&folder, name, AtFlags::empty())) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(changing("remove", self.name_of(path))(errno)),
        }
    }

    /// Makes a folder; false when one stands there already.
    pub(super) fn make_folder(&self, path: &RelPath, mode: u32) -> Result<bool, FilesetError> {
        let (folder, name) = self.parent_there("make the folder", path)?;
        let failed = || changing("make the folder", self.name_of(path));
        match step().and_then(|()| fs::mkdirat(&folder, name, Mode::from_raw_mode(0o700))) {
            Ok(()) => {}
            Err(Errno::EXIST) => match self.look(path)? {
                Some(Found::Folder { .. }) => return Ok(false),
                _ => return Err(failed()(Errno::NOTDIR)),
            },
            Err(errno) => return Err(failed()(errno)),
        }
        self.set_folder_mode(path, mode)?;
        Ok(true)
    }

    /// Sets the permission bits of a folder.
    pub(super) fn set_folder_mode(&self, path: &RelPath, mode: u32) -> Result<(), FilesetError> {
        let folder = self.below(path)?;
        let mode = Mode::from_raw_mode(mode as rustix::fs::RawMode);
        let set = fs::fchmod(&folder.handle, mode);
        set.map_err(changing("set the permissions of", self.name_of(path)))
    }

    /// Removes a folder when it is empty; says whether it is gone.
    pub(super) fn remove_folder(&self, path: &RelPath) -> Result<bool, FilesetError> {
        let Some((folder, name)) = self.parent(path)? else {
            return Ok(true);
        };
        match step().and_then(|()| fs::unlinkat(&folder, name, AtFlags::REMOVEDIR)) {
            Ok(()) | Err(Errno::NOENT) => Ok(true),
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => Ok(false),
            Err(errno) => Err(changing("remove the folder", self.name_of(path))(errno)),
        }
    }

    /// Makes the names in a folder below lasting; a folder that is not there has none.
    pub(super) fn sync(&self, folder: &RelPath) -> Result<(), FilesetError> {
        let Some(handle) = self.walk(folder.names())? else {
            return Ok(());
        };
        let synced = step().and_then(|()| fs::fsync(&handle));
        synced.map_err(changing("make lasting", self.name_of(folder)))
    }

    /// The handle, for a lock.
    pub(super) fn handle(&self) -> impl AsFd + '_ {
        &self.handle
    }
}

fn gone_or<T>(what: &'static str, path: String, done: Result<T, Errno>) -> Result<T, FilesetError> {
    match done {
        Err(Errno::NOENT) => Err(FilesetError::DirectoryGone { path }),
        done => done.map_err(reading(what, path)),
    }
}

fn too_long(path: String) -> FilesetError {
    FilesetError::TooMuch {
        path,
        what: "bytes in its link",
        max: LINK_BYTES_MAX as u64,
    }
}

fn identity(stat: &Stat) -> (u64, u64) {
    (wide(stat.st_dev), wide(stat.st_ino))
}

/// The permission bits.
pub(super) fn permissions(stat: &Stat) -> u32 {
    u32::try_from(wide(stat.st_mode) & 0o7777).unwrap_or_default()
}

/// The types of these numbers differ between systems.
fn wide(number: impl TryInto<u64>) -> u64 {
    number.try_into().unwrap_or(u64::MAX)
}

/// A file's node, from its look and its content.
pub(super) fn file_node(stat: &Stat, sha256: Hash, size: u64) -> FileNode {
    FileNode {
        mode: permissions(stat),
        size,
        sha256,
        uid: stat.st_uid,
        gid: stat.st_gid,
    }
}

/// Hash and length of what is left to read.
pub(super) fn hash_of(reader: &mut impl Read) -> io::Result<(Hash, u64)> {
    let mut hasher = Sha256::new();
    let size = io::copy(reader, &mut hasher)?;
    Ok((Hash::from_bytes(hasher.finalize().into()), size))
}
