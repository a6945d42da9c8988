//! A folder that appears as a whole or not at all.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use redress_ledger::bundle::ListedFile;
use redress_ledger::tree::TileBytes;
use uuid::Uuid;

use crate::error::Error;

/// A folder in the making; removed when it is dropped unfinished.
pub(super) struct Files {
    target: PathBuf,
    making: PathBuf,
    pub listed: Vec<ListedFile>,
    /// Folders that were made.
    made: HashSet<PathBuf>,
    done: bool,
}

impl Files {
    pub fn begin(target: &Path) -> Result<Files, Error> {
        let failed = |why: &dyn ToString| Error::Export {
            why: why.to_string(),
            path: target.display().to_string(),
        };
        if fs::symlink_metadata(target).is_ok() {
            return Err(failed(&"it stands already, and nothing is overwritten"));
        }
        let name = target
            .file_name()
            .ok_or_else(|| failed(&"it names no folder"))?;
        let parent = target
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        let making = parent.join(format!(
            ".{}.{}.tmp",
            name.to_string_lossy(),
            Uuid::now_v7()
        ));
        fs::create_dir_all(&making).map_err(|error| failed(&error))?;
        Ok(Files {
            target: target.to_owned(),
            making,
            listed: Vec::new(),
            made: HashSet::new(),
            done: false,
        })
    }

    pub fn failed(&self, why: impl ToString) -> Error {
        Error::Export {
            why: why.to_string(),
            path: self.target.display().to_string(),
        }
    }

    pub fn write_tile(&mut self, tile: &TileBytes) -> Result<(), Error> {
        self.write(&tile.tile.path(), &tile.bytes)
    }

    pub fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let path = self.making.join(name);
        let folder = path.parent().unwrap_or(&self.making).to_owned();
        let write = || -> io::Result<()> {
            if !self.made.contains(&folder) {
                fs::create_dir_all(&folder)?;
            }
            File::create_new(&path)?.write_all(bytes)
        };
        write().map_err(|error| self.failed(format!("{error}, {name}")))?;
        self.made.insert(folder);
        self.listed.push(ListedFile::of(name, bytes));
        Ok(())
    }

    /// Everything to the disk, then the name.
    pub fn finish(mut self) -> Result<(), Error> {
        let sync = || -> io::Result<()> {
            rustix::fs::syncfs(File::open(&self.making)?)?;
            fs::rename(&self.making, &self.target)?;
            let parent = self.target.parent().filter(|p| !p.as_os_str().is_empty());
            File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
        };
        sync().map_err(|error| self.failed(error))?;
        self.done = true;
        Ok(())
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        if !self.done {
            // What cannot be removed is a folder with a dot, and no bundle.
            let _ = fs::remove_dir_all(&self.making);
        }
    }
}
