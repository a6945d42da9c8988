//! An update of one directory: snapshot and switch, each under the directory's lock.
//!
//! **Invariant:** no snapshot, no update: [`Store::prepare`] takes it and reads back by hash what the way back would
//! need. [`Store::act`] refuses when a file that it would touch is no longer what that snapshot has.
//!
//! **Invariant:** each act has a key. One that was done is not done again; one that was undone is never done.
//!
//! **What can go wrong:** the directory is deleted while it is updated. Then it is made anew from the snapshot, and the
//! error says both.

use std::collections::BTreeSet;
use std::time::Instant;

use redress_ledger::Hash;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::dir::Dir;
use super::error::FilesetError;
use super::journal::{Change, Ended, Intent};
use super::lock::{self, Locked, Place};
use super::manifest::Owner;
use super::node::{Node, said};
use super::path::RelPath;
use super::stage::{Content, Target};
use super::store::{Snapshot, Store};
use super::switch::{recover, switch};

/// Most files of one update.
pub const TARGETS_MAX: usize = 20_000;

/// What a file must be before anything is touched.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Expected {
    /// Where.
    pub path: RelPath,
    /// The hash of its content; `None`: nothing may stand there.
    pub sha256: Option<Hash>,
}

/// One path of an update.
#[derive(Debug)]
pub struct Edit {
    /// Where.
    pub path: RelPath,
    /// What is to stand there.
    pub content: Content,
    /// Permission bits; else those of the file that is replaced, else 0644.
    pub mode: Option<u32>,
    /// The hash that the content must have.
    pub sha256: Option<Hash>,
    /// Whether a path that is to be removed may be absent already.
    pub may_lack: bool,
}

/// What one act does in one directory.
#[derive(Debug)]
pub struct Order {
    /// The act's key.
    pub key: String,
    /// The run it belongs to.
    pub run: Option<Uuid>,
    /// The directory.
    pub place: Place,
    /// Paths that snapshots leave out, and that may not be written.
    pub exclude: Vec<RelPath>,
    /// What must stand there before.
    pub expect: Vec<Expected>,
    /// What changes.
    pub edits: Vec<Edit>,
    /// When nothing may be begun any more, because nobody waits for it.
    pub deadline: Option<Instant>,
}

/// What stands before an act: the snapshot, and what it has of the paths that the act touches.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Prepared {
    /// The snapshot's id.
    pub snapshot: Hash,
    /// Files and links in it.
    pub files: usize,
    /// Bytes of its files.
    pub bytes: u64,
    /// Bytes that it added to the store.
    pub bytes_added: u64,
}

/// What a look at an act found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Seen {
    /// It was done, and nothing of it is open.
    Done(Box<Intent>),
    /// It was not done: the files are what they were, as far as this act is concerned.
    NotDone,
    /// It cannot be told now.
    Unknown(String),
}

impl Store {
    /// Takes the snapshot of an update and judges what is to be done, without changing anything.
    ///
    /// # Errors
    /// Whatever would keep the update or its way back from being done.
    pub fn prepare(&self, order: &Order) -> Result<Prepared, FilesetError> {
        let locked = self.locked(&order.place, &order.key)?;
        let touched = self.judge(&locked, order)?;
        let owner = Owner {
            run: order.run,
            key: order.key.clone(),
        };
        let snapshot = self.take_usable(&locked, owner, &order.exclude, &touched)?;
        let (files, bytes) = snapshot.manifest.size();
        Ok(Prepared {
            snapshot: snapshot.id,
            files,
            bytes,
            bytes_added: snapshot.bytes_added,
        })
    }

    /// Makes the switch that was prepared.
    ///
    /// # Errors
    /// [`FilesetError::Restored`] when it failed and everything is what it was; [`FilesetError::NotRestored`] when not.
    pub fn act(&self, order: Order, prepared: &Prepared) -> Result<Intent, FilesetError> {
        let snapshot = prepared.snapshot;
        let place = order.place.clone();
        let run = order.run;
        let done = self.act_in(order, snapshot);
        let gone = |error: &FilesetError| matches!(error, FilesetError::DirectoryGone { .. });
        match done {
            Err(original) if gone(&original) => {
                Err(self.bring_back(&place, run, snapshot, original))
            }
            done => done,
        }
    }

    fn act_in(&self, order: Order, snapshot: Hash) -> Result<Intent, FilesetError> {
        let locked = self.locked(&order.place, &order.key)?;
        // A key whose way back was gone is not done any more.
        if let Some((Ended::Done, _)) = self.act_of(&undo_key(&order.key))? {
            return Err(FilesetError::TooLate { key: order.key });
        }
        if let Some(act) = self
            .noted(&order.key)?
            .filter(|act| act.ended == Ended::Done)
        {
            if act.identity == locked.dir().identity() {
                return Ok(act.intent);
            }
            return Err(FilesetError::Exchanged {
                path: order.place.shown(),
            });
        }
        let manifest = self.manifest(&snapshot)?;
        let intent = intent(&order.key, order.run, snapshot);
        let targets = order.edits.into_iter().map(|edit| Target {
            before: manifest.node(&edit.path).cloned(),
            path: edit.path,
            content: edit.content,
            mode: edit.mode,
            sha256: edit.sha256,
        });
        let done = switch(
            self,
            locked.dir(),
            intent,
            targets.collect(),
            order.deadline,
        )?;
        self.still_there(&order.place, &locked)?;
        Ok(done)
    }

    /// Prepares and makes an update in one go.
    ///
    /// # Errors
    /// As [`Store::prepare`] and [`Store::act`].
    pub fn update(&self, order: Order) -> Result<(Prepared, Intent), FilesetError> {
        let prepared = self.prepare(&order)?;
        let done = self.act(order, &prepared)?;
        Ok((prepared, done))
    }

    /// Finishes what a dead process left, and tells whether an act was done.
    ///
    /// # Errors
    /// When the directory or the store cannot be read.
    pub fn look(&self, place: &Place, key: &str) -> Result<Seen, FilesetError> {
        let locked = match self.locked(place, key) {
            Ok(locked) => Some(locked),
            Err(error @ FilesetError::Busy { .. }) => return Ok(Seen::Unknown(error.to_string())),
            // What became of the act is in the store.
            Err(FilesetError::DirectoryGone { .. }) => None,
            Err(error) => return Err(error),
        };
        let Some(act) = self.noted(key)?.filter(|act| act.ended == Ended::Done) else {
            return Ok(Seen::NotDone);
        };
        let identity = locked.as_ref().map(|locked| locked.dir().identity());
        if identity.is_some_and(|identity| identity != act.identity) {
            let why = "it was done in a directory that does not stand there any more";
            return Ok(Seen::Unknown(why.to_owned()));
        }
        Ok(Seen::Done(Box::new(act.intent)))
    }

    /// Locks a directory and finishes or takes back what a dead process left in it.
    pub(super) fn locked(&self, place: &Place, key: &str) -> Result<Locked, FilesetError> {
        let locked = self.lock(place, key)?;
        recover(self, locked.dir())?;
        Ok(locked)
    }

    pub(super) fn act_of(&self, key: &str) -> Result<Option<(Ended, Intent)>, FilesetError> {
        Ok(self.noted(key)?.map(|act| (act.ended, act.intent)))
    }

    fn still_there(&self, place: &Place, locked: &Locked) -> Result<(), FilesetError> {
        match lock::open(place) {
            Ok(dir) if dir.is_same(locked.dir()) => Ok(()),
            Ok(_) | Err(FilesetError::DirectoryGone { .. }) => {
                let path = place.shown();
                Err(FilesetError::Exchanged { path })
            }
            Err(error) => Err(error),
        }
    }

    /// Takes a snapshot whose contents of these paths can be read back. One that the store had and that was
    /// changed there is taken in anew.
    fn take_usable(
        &self,
        locked: &Locked,
        owner: Owner,
        exclude: &[RelPath],
        touched: &[RelPath],
    ) -> Result<Snapshot, FilesetError> {
        let snapshot = self.take(locked, owner.clone(), exclude)?;
        match self.verify_paths(&snapshot.id, touched) {
            Ok(()) => return Ok(snapshot),
            Err(FilesetError::SnapshotCorrupt { .. }) => {}
            Err(error) => return Err(error),
        }
        for path in touched {
            if let Some(file) = snapshot.manifest.node(path).and_then(Node::file) {
                self.objects.remove(&file.sha256)?;
            }
        }
        let snapshot = self.take(locked, owner, exclude)?;
        self.verify_paths(&snapshot.id, touched)?;
        Ok(snapshot)
    }

    fn judge(&self, locked: &Locked, order: &Order) -> Result<Vec<RelPath>, FilesetError> {
        let dir = locked.dir();
        if order.edits.len() > TARGETS_MAX {
            return Err(FilesetError::TooMuch {
                path: dir.shown().to_owned(),
                what: "files in one update",
                max: TARGETS_MAX as u64,
            });
        }
        let touched: BTreeSet<_> = order.edits.iter().map(|edit| edit.path.clone()).collect();
        let refused = |path: &RelPath, why| {
            let path = dir.name_of(path);
            Err(FilesetError::NotInside { path, why })
        };
        if touched.len() != order.edits.len() {
            return refused(&RelPath::top(), "has a path that is named twice");
        }
        for expected in &order.expect {
            expect(dir, expected)?;
        }
        for edit in &order.edits {
            if order
                .exclude
                .iter()
                .any(|left_out| edit.path.is_in(left_out))
            {
                return refused(&edit.path, "is left out of snapshots and cannot be written");
            }
            let mut above = edit.path.above();
            while let Some(folder) = above {
                if touched.contains(&folder) {
                    return refused(&folder, "is a file and a folder in one update");
                }
                above = folder.above();
            }
            match dir.node(&edit.path)? {
                Some(Node::Link(_)) => return refused(&edit.path, "is a link"),
                None if matches!(edit.content, Content::Nothing) && !edit.may_lack => {
                    return Err(FilesetError::Changed {
                        path: dir.name_of(&edit.path),
                        found: said(None),
                        expected: "a file to delete".to_owned(),
                    });
                }
                _ => {}
            }
        }
        Ok(touched.into_iter().collect())
    }
}

/// The key under which an act's way back is known.
pub(super) fn undo_key(key: &str) -> String {
    format!("{key}.undo")
}

fn expect(dir: &Dir, expected: &Expected) -> Result<(), FilesetError> {
    let found = dir.node(&expected.path)?;
    let hash = found.as_ref().and_then(Node::file).map(|file| file.sha256);
    let holds = match expected.sha256 {
        None => found.is_none(),
        Some(_) => hash == expected.sha256,
    };
    if holds {
        return Ok(());
    }
    Err(FilesetError::Changed {
        path: dir.name_of(&expected.path),
        found: said(found.as_ref()),
        expected: expected
            .sha256
            .map_or(said(None), |hash| format!("sha256:{hash}")),
    })
}

/// An intent in which nothing stands yet.
pub(super) fn intent(key: &str, run: Option<Uuid>, snapshot: Hash) -> Intent {
    Intent {
        key: key.to_owned(),
        run,
        snapshot,
        made: Vec::new(),
        dropped: Vec::new(),
        changes: Vec::<Change>::new(),
    }
}
