//! What a worker allows sagas to touch: the roots it lists, where it keeps snapshots, and for how long.
//!
//! ```toml
//! [fileset]
//! roots = {projects = "/srv/projects"}    # folders below which directories may be updated, by the name sagas use
//! artefacts = "/srv/artefacts"            # the folder of files that sagas may copy from
//! store = "/srv/snapshots"                # all workers that serve a root share it; else ARTEFACTS/fileset of the state folder
//! keep_last = 10                          # a snapshot goes when no rule keeps it and no open run needs it
//! keep_days = 30
//! lock_wait_seconds = 10                  # how long an update waits for another one of the same directory
//! ```
//!
//! **Invariant:** a definition lives in the database, so it may only name a root; where that is, this machine says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::error::FilesetError;
use super::keep::Retention;

/// The section `fileset` of a worker's configuration.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Folders below which directories may be updated, by the name that sagas use.
    pub roots: BTreeMap<String, PathBuf>,
    /// The folder of artefacts that sagas may name.
    pub artefacts: Option<PathBuf>,
    /// Where snapshots are kept; else below the state folder's artefacts.
    pub store: Option<PathBuf>,
    /// How many of each directory's newest snapshots are kept.
    pub keep_last: usize,
    /// For how many days every snapshot is kept.
    pub keep_days: u32,
    /// How long an update waits for another one of the same directory.
    pub lock_wait_seconds: u32,
}

impl Default for Config {
    /// Lists nothing.
    fn default() -> Self {
        Self {
            roots: BTreeMap::new(),
            artefacts: None,
            store: None,
            keep_last: 10,
            keep_days: 30,
            lock_wait_seconds: 10,
        }
    }
}

impl Config {
    /// A configuration that keeps snapshots here and lists nothing yet.
    pub fn new(store: impl Into<PathBuf>) -> Self {
        Self {
            store: Some(store.into()),
            ..Self::default()
        }
    }

    /// Lists a root.
    pub fn root(mut self, name: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        self.roots.insert(name.into(), path.into());
        self
    }

    /// Names the folder of artefacts.
    pub fn artefacts(mut self, path: impl Into<PathBuf>) -> Self {
        self.artefacts = Some(path.into());
        self
    }

    /// Every path that it names.
    pub fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        let others = self.artefacts.iter().chain(&self.store);
        self.roots.values().chain(others)
    }

    /// How long snapshots are kept that no open run needs.
    pub fn retention(&self) -> Retention {
        Retention {
            keep_last: self.keep_last,
            keep_newer_than: Duration::from_secs(u64::from(self.keep_days) * 24 * 3_600),
        }
    }

    /// Where snapshots are kept by a process with this folder for artefacts.
    ///
    /// # Errors
    /// [`FilesetError::NotListed`] when neither says where.
    pub fn store_path(&self, artefacts: Option<&Path>) -> Result<PathBuf, FilesetError> {
        let below = || artefacts.map(|folder| folder.join("fileset"));
        let path = self.store.clone().or_else(below);
        path.ok_or_else(|| FilesetError::NotListed {
            what: "a store for snapshots",
            name: "store".to_owned(),
        })
    }
}
