//! What a switch is about to do, written beside the files before it is done, and what became of it.
//!
//! ```text
//! DIRECTORY/.redress-switch/   N.new, N.old   what will stand, what stood
//!                              forward        the intent: from here on the switch is finished …
//!                              back           … or, after a failure, taken back
//! ```
//!
//! **Invariant:** the folder stands only while a switch is going on or unfinished. Without `forward` or `back` in it
//! nothing was changed yet, and it is cleared away.
//!
//! **Invariant:** every path in an intent is a [`RelPath`]: whoever forges one reaches nothing outside the directory.

use std::io::{Read, Write};
use std::path::PathBuf;

use redress_ledger::Hash;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::dir::{Dir, Found};
use super::error::{FilesetError, changing, reading, shown};
use super::node::Node;
use super::object::{entries, write_whole};
use super::path::RelPath;
use super::store::Store;

/// Largest intent that is read.
const INTENT_BYTES_MAX: u64 = 256 << 20;
const FORWARD: &str = "forward";
const BACK: &str = "back";
const WRITTEN: &str = "intent.tmp";

/// One path that changes.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Where.
    pub path: RelPath,
    /// What stood there; null for nothing.
    pub before: Option<Node>,
    /// What is to stand there; null for nothing.
    pub after: Option<Node>,
}

/// What a switch does.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Intent {
    /// The act's key.
    pub key: String,
    /// The run it belongs to.
    pub run: Option<Uuid>,
    /// The snapshot that has everything that stood before.
    pub snapshot: Hash,
    /// Folders that are made for it, outermost first, with their permission bits.
    pub made: Vec<(RelPath, u32)>,
    /// Folders that are removed in the end when they are empty, innermost first.
    pub dropped: Vec<RelPath>,
    /// The files and links.
    pub changes: Vec<Change>,
}

/// How an act ended.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// Every file is what it was to become.
    Done,
    /// It failed, and every file is again what it was.
    TakenBack,
}

/// What became of an act; kept in the store under the hash of its key.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Act {
    /// The directory, as people call it.
    pub directory: String,
    /// Its device and inode.
    pub identity: (u64, u64),
    /// How it ended.
    pub ended: Ended,
    /// What it did.
    pub intent: Intent,
    /// When; UTC.
    pub at: String,
}

/// Which way an unfinished switch goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Way {
    Forward,
    Back,
}

fn file_of(way: Way) -> RelPath {
    RelPath::staged(match way {
        Way::Forward => FORWARD,
        Way::Back => BACK,
    })
}

/// The staged name of what will stand, or stood, under change number `n`.
pub(super) fn slot(n: usize, what: &str) -> RelPath {
    RelPath::staged(&format!("{n}.{what}"))
}

/// Makes the folder in which a switch is prepared.
pub(super) fn begin(dir: &Dir) -> Result<(), FilesetError> {
    dir.make_folder(&RelPath::stage(), 0o700)?;
    dir.sync(&RelPath::top())
}

/// Writes the intent: from its rename on, the switch is finished or taken back, never forgotten.
pub(super) fn commit(dir: &Dir, intent: &Intent) -> Result<(), FilesetError> {
    let path = RelPath::staged(WRITTEN);
    let name = dir.name_of(&path);
    let text = serde_json::to_vec(intent).map_err(|error| FilesetError::Journal {
        path: dir.shown().to_owned(),
        why: error.to_string(),
    })?;
    let mut file = dir.create(&path)?;
    file.write_all(&text)
        .and_then(|()| file.sync_all())
        .map_err(changing("write", name))?;
    dir.sync(&RelPath::stage())?;
    dir.rename(&path, &file_of(Way::Forward), false)?;
    dir.sync(&RelPath::stage())
}

/// Turns round: from now on the switch is taken back. No room is needed for that.
pub(super) fn turn(dir: &Dir) -> Result<(), FilesetError> {
    if dir.look(&file_of(Way::Back))?.is_some() {
        return Ok(());
    }
    dir.rename(&file_of(Way::Forward), &file_of(Way::Back), false)?;
    dir.sync(&RelPath::stage())
}

/// What is unfinished in a directory; `Some(None)` when something was prepared and nothing was changed.
pub(super) fn unfinished(dir: &Dir) -> Result<Option<Option<(Way, Intent)>>, FilesetError> {
    match dir.look(&RelPath::stage())? {
        None => return Ok(None),
        Some(Found::Folder { .. }) => {}
        Some(_) => {
            return Err(FilesetError::Journal {
                path: dir.shown().to_owned(),
                why: "something that is no folder stands in its place".to_owned(),
            });
        }
    }
    for way in [Way::Back, Way::Forward] {
        let path = file_of(way);
        if dir.look(&path)?.is_some() {
            return read(dir, &path).map(|intent| Some(Some((way, intent))));
        }
    }
    Ok(Some(None))
}

fn read(dir: &Dir, path: &RelPath) -> Result<Intent, FilesetError> {
    let (file, _) = dir.read(path)?;
    let mut text = Vec::new();
    file.take(INTENT_BYTES_MAX)
        .read_to_end(&mut text)
        .map_err(reading("read", dir.name_of(path)))?;
    serde_json::from_slice(&text).map_err(|error| FilesetError::Journal {
        path: dir.shown().to_owned(),
        why: error.to_string(),
    })
}

/// Clears the folder away, the intent last but for the folder itself.
pub(super) fn clear(dir: &Dir) -> Result<(), FilesetError> {
    if dir.look(&RelPath::stage())?.is_none() {
        return Ok(());
    }
    let intents = [FORWARD, BACK];
    for name in dir.below(&RelPath::stage())?.names()? {
        let name = name.to_string_lossy();
        if !intents.contains(&name.as_ref()) {
            dir.remove(&RelPath::staged(&name))?;
        }
    }
    dir.sync(&RelPath::stage())?;
    for name in intents {
        dir.remove(&RelPath::staged(name))?;
    }
    if dir.remove_folder(&RelPath::stage())? {
        return dir.sync(&RelPath::top());
    }
    Err(FilesetError::Journal {
        path: dir.shown().to_owned(),
        why: "something that is not ours stands in its folder".to_owned(),
    })
}

impl Store {
    fn act_path(&self, key: &str) -> PathBuf {
        let name = Hash::of(key.as_bytes());
        self.folder("acts").join(format!("{name}.json"))
    }

    /// Writes down how an act ended.
    pub(super) fn note(&self, act: &Act) -> Result<(), FilesetError> {
        let path = self.act_path(&act.intent.key);
        let text = serde_json::to_vec(act).map_err(|error| FilesetError::Journal {
            path: shown(&path),
            why: error.to_string(),
        })?;
        write_whole(&self.objects.temporary(), &path, &text)
    }

    /// Every note that can be read, one after the other, and where it stands.
    pub(super) fn acts(&self) -> Result<impl Iterator<Item = (PathBuf, Act)>, FilesetError> {
        let all = entries(&self.folder("acts"))?.into_iter();
        Ok(all.filter_map(|(_, path)| {
            let act = serde_json::from_slice(&std::fs::read(&path).ok()?).ok()?;
            Some((path, act))
        }))
    }

    /// How an act ended, if it is known here.
    ///
    /// # Errors
    /// When what is known cannot be read.
    pub fn noted(&self, key: &str) -> Result<Option<Act>, FilesetError> {
        let path = self.act_path(key);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(reading("read", shown(&path))(error)),
        };
        let read = serde_json::from_slice(&text);
        read.map(Some).map_err(|error| FilesetError::Journal {
            path: shown(&path),
            why: error.to_string(),
        })
    }
}
