//! What a worker allows sagas to touch: the roots it lists, where it keeps snapshots, and for how long.
//!
//! **Invariant:** a definition lives in the database, so it may only name a root; where that is, this machine says.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::keep::Retention;
use super::store::LOCK_WAIT;

/// The section `fileset` of a worker's configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    /// Folders below which directories may be updated, by the name that sagas use.
    pub roots: BTreeMap<String, PathBuf>,
    /// The folder of artefacts that sagas may name.
    pub artefacts: Option<PathBuf>,
    /// Where snapshots are kept. All workers that serve a root share it.
    pub store: PathBuf,
    /// How long snapshots are kept that no open run needs.
    pub retention: Retention,
    /// How long an update waits for another one of the same directory.
    pub lock_wait: Duration,
}

impl Config {
    /// A configuration that keeps snapshots here and lists nothing yet.
    pub fn new(store: impl Into<PathBuf>) -> Self {
        Self {
            roots: BTreeMap::new(),
            artefacts: None,
            store: store.into(),
            retention: Retention::default(),
            lock_wait: LOCK_WAIT,
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
}
