//! Reads records and blobs back from archives: exported bundles or the published log, whichever has the position.
//!
//! **Invariant:** nothing is believed because an archive says so: each record must have the hash that the log of leaves
//! has for its position, each blob the commitment that its record has.
//!
//! **Not here:** whether an archive is whole, and who signed it (`redress_ledger::bundle`).

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use base64ct::{Base64, Encoding};
use redress_ledger::blob::{self, BlobRef};
use redress_ledger::bundle::{CHECKPOINT_NAME, blob_name};
use redress_ledger::checkpoint::CHECKPOINT_BYTES_MAX;
use redress_ledger::tree::{BundleReader, Tile, TileKind};
use redress_ledger::{Checkpoint, Hash, leaf_hash, log_origin};
use rustix::fs::{Mode, OFlags};
use serde::Deserialize;

use crate::error::Error;

/// Entries of one file of the log.
const ENTRIES_A_TILE: u64 = 256;
/// The largest file of a blob that is read: what a blob may have, as base64 in JSON.
const BLOB_FILE_BYTES_MAX: u64 = 1 << 31;

/// Folders that hold what the database no longer has.
#[derive(Debug, Default)]
pub struct Archives {
    folders: Vec<Folder>,
    /// The file that was read last: folder, number, entries.
    open: Option<(usize, u64, Vec<Vec<u8>>)>,
}

#[derive(Debug)]
struct Folder {
    path: PathBuf,
    origin: String,
    size: u64,
}

/// A blob as a bundle has it.
#[derive(Deserialize)]
struct BlobFile {
    content: String,
    salt: String,
}

impl Archives {
    /// No archive: what is not in the database is not to be had.
    pub fn none() -> Archives {
        Archives::default()
    }

    /// Takes folders of whole ledgers: exported ones, or the published log.
    ///
    /// # Errors
    /// [`Error::Archive`] when one has no checkpoint.
    pub fn open<P: AsRef<Path>>(folders: &[P]) -> Result<Archives, Error> {
        let folders = folders.iter().map(|path| Folder::open(path.as_ref()));
        Ok(Archives {
            folders: folders.collect::<Result<_, _>>()?,
            open: None,
        })
    }

    /// The record at a position of a log, if one of the folders has it: with the hash that the leaf has.
    pub(crate) fn record(
        &mut self,
        origin: &str,
        position: u64,
        leaf: Hash,
    ) -> Result<Option<Vec<u8>>, Error> {
        let mut found = None;
        for index in 0..self.folders.len() {
            let folder = &self.folders[index];
            if folder.origin != origin || position >= folder.size {
                continue;
            }
            let bytes = self.entry(index, position)?;
            if leaf_hash(&bytes) == leaf {
                return Ok(Some(bytes));
            }
            found = Some(index);
        }
        match found {
            None => Ok(None),
            Some(index) => {
                let why = format!("the record at position {position} is not the one of the log");
                Err(self.folders[index].failed(why))
            }
        }
    }

    /// The same for a log that carries older ones: a folder of any of them may have it.
    pub(crate) fn record_of(
        &mut self,
        installation: &str,
        generation: i64,
        position: u64,
        leaf: Hash,
    ) -> Result<Option<Vec<u8>>, Error> {
        let origin = log_origin(installation, generation);
        if let Some(bytes) = self.record(&origin, position, leaf)? {
            return Ok(Some(bytes));
        }
        let older = (1..generation).rev().zip((0..position).rev());
        for (generation, position) in older {
            let origin = log_origin(installation, generation);
            // Where the older log had gone on otherwise, another record stands there.
            if let Ok(Some(bytes)) = self.record(&origin, position, leaf) {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }

    /// A blob that fits what its record says of it, as the file that a bundle has of it.
    pub(crate) fn blob(&self, reference: &BlobRef) -> Result<Option<Vec<u8>>, Error> {
        for folder in &self.folders {
            let name = blob_name(reference.id);
            let Some(bytes) = folder.read_if_any(&name, BLOB_FILE_BYTES_MAX)? else {
                continue;
            };
            if !fits(&bytes, reference) {
                let why = format!("{name} is not what its record says");
                return Err(folder.failed(why));
            }
            return Ok(Some(bytes));
        }
        Ok(None)
    }

    fn entry(&mut self, index: usize, position: u64) -> Result<Vec<u8>, Error> {
        let tile = position / ENTRIES_A_TILE;
        let known = |(at, number, _): &(usize, u64, Vec<Vec<u8>>)| (*at, *number) == (index, tile);
        if !self.open.as_ref().is_some_and(known) {
            let entries = self.folders[index].entries(tile)?;
            self.open = Some((index, tile, entries));
        }
        let place = usize::try_from(position % ENTRIES_A_TILE).unwrap_or(usize::MAX);
        let entry = self.open.as_ref().and_then(|(_, _, all)| all.get(place));
        entry
            .cloned()
            .ok_or_else(|| self.folders[index].failed(format!("position {position} is missing")))
    }
}

impl Folder {
    fn open(path: &Path) -> Result<Folder, Error> {
        let mut folder = Folder {
            path: path.to_owned(),
            origin: String::new(),
            size: 0,
        };
        let limit = CHECKPOINT_BYTES_MAX as u64;
        let bytes = folder.read_if_any(CHECKPOINT_NAME, limit)?;
        let bytes = bytes.ok_or_else(|| folder.failed("it has no checkpoint"))?;
        let head = Checkpoint::peek(&bytes).map_err(|error| folder.failed(error))?;
        (folder.origin, folder.size) = (head.origin, head.size);
        Ok(folder)
    }

    /// The entries of one file of the log.
    fn entries(&self, number: u64) -> Result<Vec<Vec<u8>>, Error> {
        let width = (self.size - number * ENTRIES_A_TILE).min(ENTRIES_A_TILE);
        let width = u16::try_from(width).unwrap_or(u16::MAX);
        let tile = Tile::new(TileKind::Entries, number, width);
        let tile = tile.map_err(|error| self.failed(error))?;
        let path = tile.path();
        let file = self.open_if_any(&path)?;
        let file = file.ok_or_else(|| self.failed(format!("{path} is missing")))?;
        let mut reader = BundleReader::new(BufReader::new(file), width);
        let mut entries = Vec::with_capacity(usize::from(width));
        while let Some(entry) = reader
            .next_entry()
            .map_err(|error| self.failed(format!("{error}, {path}")))?
        {
            entries.push(entry.to_vec());
        }
        Ok(entries)
    }

    fn read_if_any(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, Error> {
        let Some(file) = self.open_if_any(name)? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        let read = file.take(limit + 1).read_to_end(&mut bytes);
        read.map_err(|error| self.failed(format!("{error}, {name}")))?;
        match bytes.len() as u64 > limit {
            true => Err(self.failed(format!("{name} is larger than any such file"))),
            false => Ok(Some(bytes)),
        }
    }

    /// Opens a plain file, through no link at its end.
    fn open_if_any(&self, name: &str) -> Result<Option<File>, Error> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match rustix::fs::open(self.path.join(name), flags, Mode::empty()) {
            Ok(file) => Ok(Some(File::from(file))),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(error) => Err(self.failed(format!("{error}, {name}"))),
        }
    }

    fn failed(&self, why: impl ToString) -> Error {
        Error::Archive {
            why: why.to_string(),
            path: self.path.display().to_string(),
        }
    }
}

fn fits(file: &[u8], reference: &BlobRef) -> bool {
    let Ok(file) = serde_json::from_slice::<BlobFile>(file) else {
        return false;
    };
    let content = Base64::decode_vec(&file.content);
    let salt = Base64::decode_vec(&file.salt).ok();
    let salt = salt.and_then(|salt| <[u8; 32]>::try_from(salt).ok());
    match (content, salt) {
        (Ok(content), Some(salt)) => {
            i64::try_from(content.len()) == Ok(reference.len)
                && blob::commit(&salt, &content) == reference.commitment
        }
        _ => false,
    }
}
