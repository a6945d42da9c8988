//! Contents by their hash: gzip, one file each, written once.
//!
//! **Invariant:** under a hash's name stands the whole content: it gets its name only when it is on the disk. What
//! was changed there later is found by whoever reads it.
//!
//! **What can go wrong:** a process killed while writing leaves files in `tmp`, which nobody refers to; the next
//! collection, when no writer is at work, removes them.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use redress_ledger::Hash;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::error::{FilesetError, changing, reading, shown};
use super::fault::step;

/// From so many new files on, the file system is made lasting as a whole instead of each file.
#[cfg(target_os = "linux")]
const SYNC_ALL_FROM: usize = 64;

/// Where contents are kept.
#[derive(Clone, Debug)]
pub(super) struct Objects {
    objects: PathBuf,
    tmp: PathBuf,
}

/// What is wrong with a content that was kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Lack {
    Gone,
    Corrupt,
}

/// Contents that are being taken in; they have no names yet.
pub(super) struct Intake<'a> {
    of: &'a Objects,
    waiting: Vec<(PathBuf, Hash)>,
    /// Bytes written, compressed.
    pub bytes: u64,
}

impl Objects {
    pub(super) fn new(root: &Path) -> Self {
        Self {
            objects: root.join("objects"),
            tmp: root.join("tmp"),
        }
    }

    pub(super) fn make(&self) -> Result<(), FilesetError> {
        make_folder(&self.objects)?;
        make_folder(&self.tmp)
    }

    fn path(&self, hash: &Hash) -> PathBuf {
        let name = hash.to_string();
        self.objects.join(&name[..2]).join(format!("{name}.gz"))
    }

    pub(super) fn intake(&self) -> Intake<'_> {
        Intake {
            of: self,
            waiting: Vec::new(),
            bytes: 0,
        }
    }

    /// Whether a content is there; what it is worth is known when it is read.
    pub(super) fn has(&self, hash: &Hash) -> bool {
        fs::symlink_metadata(self.path(hash)).is_ok_and(|meta| meta.is_file() && meta.len() > 0)
    }

    /// Copies a content out; the inner result says whether it was what its name says.
    pub(super) fn copy_to(
        &self,
        hash: &Hash,
        size: u64,
        to: &mut impl Write,
        shown_to: &str,
    ) -> Result<Result<(), Lack>, FilesetError> {
        let path = self.path(hash);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Err(Lack::Gone)),
            Err(error) => return Err(reading("open", shown(&path))(error)),
        };
        // One byte more than there may be tells a content that is too long.
        let mut from = MultiGzDecoder::new(file).take(size + 1);
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let Ok(read) = from.read(&mut buffer) else {
                return Ok(Err(Lack::Corrupt));
            };
            if read == 0 {
                break;
            }
            hasher.update(&buffer[..read]);
            to.write_all(&buffer[..read])
                .map_err(changing("write", shown_to))?;
        }
        let found = Hash::from_bytes(hasher.finalize().into());
        Ok(if found == *hash {
            Ok(())
        } else {
            Err(Lack::Corrupt)
        })
    }

    /// Every content that is kept, with its length on disk.
    pub(super) fn all(&self) -> Result<Vec<(Hash, u64)>, FilesetError> {
        let mut all = Vec::new();
        for folder in entries(&self.objects)? {
            for (name, path) in entries(&folder.1)? {
                let hash = name.strip_suffix(".gz").and_then(|name| name.parse().ok());
                if let (Some(hash), Ok(meta)) = (hash, fs::symlink_metadata(&path)) {
                    all.push((hash, meta.len()));
                }
            }
        }
        Ok(all)
    }

    pub(super) fn remove(&self, hash: &Hash) -> Result<(), FilesetError> {
        remove(&self.path(hash))
    }

    /// Removes what killed writers left; only while nobody writes.
    pub(super) fn sweep(&self) -> Result<(), FilesetError> {
        for (_, path) in entries(&self.tmp)? {
            remove(&path)?;
        }
        Ok(())
    }

    /// A file of ours that has no name yet.
    pub(super) fn temporary(&self) -> PathBuf {
        self.tmp.join(Uuid::new_v4().simple().to_string())
    }
}

impl Intake<'_> {
    /// Takes a content in; gives the hash and length of what was read.
    pub(super) fn take(
        &mut self,
        from: &mut impl Read,
        shown_from: &str,
    ) -> Result<(Hash, u64), FilesetError> {
        let path = self.of.temporary();
        let taken = self.write(&path, from, shown_from);
        let (hash, size, file) = match taken {
            Ok(taken) => taken,
            Err(error) => {
                // What is wrong was wrong before; what stays is swept later.
                let _ = fs::remove_file(&path);
                return Err(error);
            }
        };
        self.bytes += file.metadata().map_or(0, |meta| meta.len());
        self.waiting.push((path, hash));
        Ok((hash, size))
    }

    fn write(
        &self,
        path: &Path,
        from: &mut impl Read,
        shown_from: &str,
    ) -> Result<(Hash, u64, File), FilesetError> {
        let mut gzip = GzEncoder::new(create(path)?, Compression::default());
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 64 * 1024];
        let mut size = 0;
        loop {
            let read = from
                .read(&mut buffer)
                .map_err(reading("read", shown_from))?;
            if read == 0 {
                break;
            }
            hasher.update(&buffer[..read]);
            size += read as u64;
            gzip.write_all(&buffer[..read])
                .map_err(changing("write", shown(path)))?;
        }
        let file = gzip.finish().map_err(changing("write", shown(path)))?;
        Ok((Hash::from_bytes(hasher.finalize().into()), size, file))
    }

    /// Makes everything lasting and gives it its names.
    pub(super) fn finish(mut self) -> Result<u64, FilesetError> {
        self.sync()?;
        let mut folders = Vec::new();
        for (path, hash) in std::mem::take(&mut self.waiting) {
            let target = self.of.path(&hash);
            let folder = target.parent().unwrap_or(&self.of.objects).to_owned();
            if !folders.contains(&folder) {
                make_folder(&folder)?;
                folders.push(folder);
            }
            step()
                .map_err(io::Error::from)
                .and_then(|()| fs::rename(&path, &target))
                .map_err(changing("name", shown(&target)))?;
        }
        for folder in folders {
            sync_folder(&folder)?;
        }
        sync_folder(&self.of.objects)?;
        Ok(self.bytes)
    }

    fn sync(&self) -> Result<(), FilesetError> {
        #[cfg(target_os = "linux")]
        if self.waiting.len() >= SYNC_ALL_FROM {
            let folder = File::open(&self.of.tmp).map_err(reading("open", shown(&self.of.tmp)))?;
            let synced = step().and_then(|()| rustix::fs::syncfs(&folder));
            return synced.map_err(changing("make lasting", shown(&self.of.tmp)));
        }
        for (path, _) in &self.waiting {
            let synced = step().map_err(io::Error::from);
            synced
                .and_then(|()| File::open(path)?.sync_all())
                .map_err(changing("make lasting", shown(path)))?;
        }
        Ok(())
    }
}

impl Drop for Intake<'_> {
    /// Removes what got no name.
    fn drop(&mut self) {
        for (path, _) in &self.waiting {
            let _ = fs::remove_file(path);
        }
    }
}

/// The entries of a folder of the store; one that is not there has none.
pub(super) fn entries(folder: &Path) -> Result<Vec<(String, PathBuf)>, FilesetError> {
    let list = match fs::read_dir(folder) {
        Ok(list) => list,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(reading("list", shown(folder))(error)),
    };
    let mut all = Vec::new();
    for entry in list {
        let entry = entry.map_err(reading("list", shown(folder)))?;
        all.push((
            entry.file_name().to_string_lossy().into_owned(),
            entry.path(),
        ));
    }
    all.sort();
    Ok(all)
}

/// Makes a folder of the store that only we may enter.
pub(super) fn make_folder(path: &Path) -> Result<(), FilesetError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(changing("make the folder", shown(path)))
}

pub(super) fn remove(path: &Path) -> Result<(), FilesetError> {
    match step()
        .map_err(io::Error::from)
        .and_then(|()| fs::remove_file(path))
    {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(changing("remove", shown(path))(error)),
    }
}

pub(super) fn sync_folder(path: &Path) -> Result<(), FilesetError> {
    let synced = step().map_err(io::Error::from);
    synced
        .and_then(|()| File::open(path)?.sync_all())
        .map_err(changing("make lasting", shown(path)))
}

fn create(path: &Path) -> Result<File, FilesetError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let made = step().map_err(io::Error::from);
    made.and_then(|()| options.open(path))
        .map_err(changing("create", shown(path)))
}

/// Writes a small file of the store as a whole: beside, made lasting, renamed.
pub(super) fn write_whole(tmp: &Path, path: &Path, bytes: &[u8]) -> Result<(), FilesetError> {
    let written = create(tmp).and_then(|mut file| {
        file.write_all(bytes)
            .and_then(|()| file.sync_all())
            .map_err(changing("write", shown(tmp)))?;
        step()
            .map_err(io::Error::from)
            .and_then(|()| fs::rename(tmp, path))
            .map_err(changing("name", shown(path)))
    });
    if let Err(error) = written {
        let _ = fs::remove_file(tmp);
        return Err(error);
    }
    path.parent().map_or(Ok(()), sync_folder)
}
