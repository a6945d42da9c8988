//! Publishes the log as static files (C2SP tlog-tiles): tiles, entries, and last the checkpoint that covers them.
//!
//! **Invariant:** a checkpoint is published behind everything that it covers, so that whoever reads it finds the rest.
//! Publishing is idempotent: what a death left half done is written again at the next start, from the database.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use redress_ledger::tree::{Bundler, TileBytes, Tiler};
use redress_ledger::{Checkpoint, Hash};

use super::error::SealError;
use crate::files;

/// The newest head among the published files.
const CHECKPOINT: &str = "checkpoint";

/// Writes the files of one log.
pub(super) struct Publisher {
    folder: PathBuf,
    tiler: Tiler,
    bundler: Bundler,
}

impl Publisher {
    /// Takes up what is published under this log's name, if it is a part of the tree with this root at its size.
    ///
    /// `root_at` gives the root of the first leaves of the log. Files that do not fit are not believed: everything is
    /// written again.
    pub fn open(
        folder: &Path,
        origin: &str,
        root_at: impl FnOnce(u64) -> Option<Hash>,
    ) -> Publisher {
        let fresh = || Publisher {
            folder: folder.to_owned(),
            tiler: Tiler::new(),
            bundler: Bundler::new(),
        };
        let Some(found) = read_checkpoint(folder) else {
            return fresh();
        };
        if found.origin != origin || root_at(found.size) != Some(found.root) {
            return fresh();
        }
        let read = |path: String| fs::read(folder.join(path)).ok();
        let tiler = Tiler::resume(found.size, &found.root, |tile| read(tile.path()));
        let open = match Bundler::open_bundle(found.size) {
            Some(tile) => read(tile.path()),
            None => Some(Vec::new()),
        };
        let bundler = open.and_then(|open| Bundler::resume(found.size, open).ok());
        match (tiler, bundler) {
            (Ok(tiler), Some(bundler)) => Publisher {
                folder: folder.to_owned(),
                tiler,
                bundler,
            },
            _ => fresh(),
        }
    }

    /// How many leaves the files hold so far.
    pub fn size(&self) -> u64 {
        self.tiler.size()
    }

    /// Adds the next record of the log; tiles that it fills are written.
    pub fn push(&mut self, hash: Hash, bytes: &[u8]) -> Result<(), SealError> {
        for tile in self.tiler.push(hash)? {
            self.write_full(&tile)?;
        }
        let filled = self
            .bundler
            .push(bytes)
            .map_err(|error| failed(&self.folder, error))?;
        match filled {
            Some(bundle) => self.write_full(&bundle),
            None => Ok(()),
        }
    }

    /// Writes what is not full yet, and then the checkpoint over all that was pushed.
    pub fn publish(&mut self, checkpoint: &[u8]) -> Result<(), SealError> {
        for tile in self.tiler.cut().iter().chain(&self.bundler.cut()) {
            self.write(&tile.tile.path(), &tile.bytes)?;
        }
        self.write(CHECKPOINT, checkpoint)
    }

    fn write_full(&self, tile: &TileBytes) -> Result<(), SealError> {
        let path = tile.tile.path();
        self.write(&path, &tile.bytes)?;
        // What was not full is no longer needed by any newer checkpoint.
        let partial = self.folder.join(format!("{path}.p"));
        match fs::remove_dir_all(&partial) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(&partial, error)),
            _ => Ok(()),
        }
    }

    fn write(&self, path: &str, bytes: &[u8]) -> Result<(), SealError> {
        let path = self.folder.join(path);
        let folder = path.parent().unwrap_or(&self.folder);
        files::make_dir(folder)
            .and_then(|()| files::write_atomically(folder, &path, bytes))
            .map_err(|error| failed(&path, error))
    }
}

fn read_checkpoint(folder: &Path) -> Option<Checkpoint> {
    Checkpoint::peek(&fs::read(folder.join(CHECKPOINT)).ok()?).ok()
}

fn failed(path: &Path, why: impl ToString) -> SealError {
    SealError::Publish {
        why: why.to_string(),
        path: path.display().to_string(),
    }
}
