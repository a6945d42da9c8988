//! The way back of an update: what it touched is restored from its snapshot, verified by hash.
//!
//! **Invariant:** a path that holds neither what the update put there nor what the snapshot has belongs to somebody else:
//! then nothing is restored, and that path is named.
//!
//! **What can go wrong:** the directory is gone: it is made anew, whole. The snapshot is gone or does not hold: nothing is
//! changed, and the error says which.

use std::time::Instant;

use redress_ledger::Hash;
use uuid::Uuid;

use super::dir::Dir;
use super::error::FilesetError;
use super::journal::{Ended, Intent};
use super::lock::{Locked, Place};
use super::manifest::{Entry, Manifest, Owner};
use super::node::{Node, same};
use super::path::RelPath;
use super::stage::{Content, Target};
use super::store::Store;
use super::switch::{changed, switch};
use super::update::{intent, undo_key};

impl Store {
    /// Judges whether an act can be undone, without changing anything.
    ///
    /// # Errors
    /// The snapshot is gone or corrupted; a file was changed by somebody else since.
    pub fn judge_undo(&self, place: &Place, done: &Intent) -> Result<(), FilesetError> {
        let paths: Vec<_> = done
            .changes
            .iter()
            .map(|change| change.path.clone())
            .collect();
        self.verify_paths(&done.snapshot, &paths)?;
        match self.locked(place, &undo_key(&done.key)) {
            Ok(locked) => self.way_back(locked.dir(), done).map(drop),
            Err(FilesetError::DirectoryGone { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Restores what an act changed, verified by hash; gives how many files stand again as they did.
    ///
    /// # Errors
    /// As [`Store::judge_undo`], and whatever keeps the files from being written: then nothing is changed.
    pub fn undo(&self, place: &Place, done: &Intent) -> Result<usize, FilesetError> {
        let start = Instant::now();
        let undone = self.undo_uncounted(place, done);
        let took = start.elapsed();
        let counted = undone.as_ref().ok().map(|files| (*files, 0));
        self.counter
            .count(|metrics| &mut metrics.restorations, took, counted);
        if let Ok(files) = &undone {
            tracing::info!(
                snapshot = %done.snapshot,
                directory = %place.shown(),
                files,
                ms = took.as_millis() as u64,
                "restored"
            );
        }
        undone
    }

    fn undo_uncounted(&self, place: &Place, done: &Intent) -> Result<usize, FilesetError> {
        let key = undo_key(&done.key);
        let locked = match self.locked(place, &key) {
            Ok(locked) => locked,
            Err(FilesetError::DirectoryGone { .. }) => {
                return self.bring_all(place, done.run, done.snapshot);
            }
            Err(error) => return Err(error),
        };
        if let Some((Ended::Done, _)) = self.act_of(&key)? {
            return Ok(done.changes.len());
        }
        let paths: Vec<_> = done
            .changes
            .iter()
            .map(|change| change.path.clone())
            .collect();
        self.verify_paths(&done.snapshot, &paths)?;
        let targets = self.way_back(locked.dir(), done)?;
        let mut intent = intent(&key, done.run, done.snapshot);
        intent.dropped = done
            .made
            .iter()
            .rev()
            .map(|(path, _)| path.clone())
            .collect();
        switch(self, locked.dir(), intent, targets, None)?;
        Ok(done.changes.len())
    }

    /// What must be done so that every path is again what it was before an act.
    fn way_back(&self, dir: &Dir, done: &Intent) -> Result<Vec<Target>, FilesetError> {
        let mut targets = Vec::new();
        for change in &done.changes {
            let now = dir.node(&change.path)?;
            if same(now.as_ref(), change.before.as_ref()) {
                continue;
            }
            // What neither we nor the snapshot put there belongs to somebody else.
            if now.is_some() && !same(now.as_ref(), change.after.as_ref()) {
                let expected = change.after.as_ref();
                return Err(changed(dir, &change.path, now.as_ref(), expected));
            }
            targets.push(target(&change.path, now, change.before.as_ref()));
        }
        Ok(targets)
    }

    /// Restores a whole directory to a snapshot: what it has is brought back, what it has not is removed.
    ///
    /// A snapshot of what stands there now is taken first; its id comes back with the number of paths that changed.
    ///
    /// # Errors
    /// As [`Store::undo`].
    pub fn restore(
        &self,
        place: &Place,
        id: &Hash,
        owner: Owner,
    ) -> Result<(Hash, usize), FilesetError> {
        let start = Instant::now();
        let restored = self
            .locked(place, &owner.key)
            .and_then(|locked| self.restore_locked(&locked, id, owner));
        let counted = restored.as_ref().ok().map(|(_, files)| (*files, 0));
        self.counter.count(
            |metrics| &mut metrics.restorations,
            start.elapsed(),
            counted,
        );
        restored
    }

    fn restore_locked(
        &self,
        locked: &Locked,
        id: &Hash,
        owner: Owner,
    ) -> Result<(Hash, usize), FilesetError> {
        let wanted = self.manifest(id)?;
        let now = self.take(locked, owner.clone(), &wanted.exclude)?;
        let mut intent = intent(&owner.key, owner.run, *id);
        intent.made = folders_only_in(&wanted, &now.manifest);
        let dropped = folders_only_in(&now.manifest, &wanted);
        intent.dropped = dropped.into_iter().rev().map(|(path, _)| path).collect();
        let mut targets = Vec::new();
        for entry in files_of(&wanted) {
            let before = now.manifest.node(&entry.path);
            if !same(before, Some(&entry.node)) {
                targets.push(target(&entry.path, before.cloned(), Some(&entry.node)));
            }
        }
        for entry in files_of(&now.manifest) {
            if wanted.node(&entry.path).is_none() {
                targets.push(target(&entry.path, Some(entry.node.clone()), None));
            }
        }
        let done = switch(self, locked.dir(), intent, targets, None)?;
        Ok((now.id, done.changes.len()))
    }

    /// Makes a directory anew that was deleted under an act.
    pub(super) fn bring_back(
        &self,
        place: &Place,
        run: Option<Uuid>,
        snapshot: Hash,
        original: FilesetError,
    ) -> FilesetError {
        let original = Box::new(original);
        match self.bring_all(place, run, snapshot) {
            Ok(files) => FilesetError::Restored {
                original,
                files,
                snapshot,
            },
            Err(restore) => FilesetError::NotRestored {
                original,
                restore: Box::new(restore),
                snapshot,
            },
        }
    }

    fn bring_all(
        &self,
        place: &Place,
        run: Option<Uuid>,
        snapshot: Hash,
    ) -> Result<usize, FilesetError> {
        let root = Dir::open(&place.root)?;
        let mut at = RelPath::top();
        for name in place.directory.names() {
            use std::os::unix::ffi::OsStrExt;
            at = at.join(name.as_bytes())?;
            if root.make_folder(&at, 0o755)? {
                root.sync(&at.above().unwrap_or_default())?;
            }
        }
        let key = format!("restore of {snapshot}");
        let (_, files) = self.restore(place, &snapshot, Owner { run, key })?;
        Ok(files)
    }
}

fn target(path: &RelPath, before: Option<Node>, after: Option<&Node>) -> Target {
    let content = match after {
        None | Some(Node::Folder(_)) => Content::Nothing,
        Some(Node::Link(text)) => Content::Link(text.clone()),
        Some(Node::File(file)) => Content::Kept(file.sha256, file.clone()),
    };
    Target {
        path: path.clone(),
        before,
        content,
        mode: None,
        sha256: None,
    }
}

fn files_of(manifest: &Manifest) -> impl Iterator<Item = &Entry> {
    let entries = manifest.entries.iter();
    entries.filter(|entry| !matches!(entry.node, Node::Folder(_)))
}

fn folders_only_in(one: &Manifest, other: &Manifest) -> Vec<(RelPath, u32)> {
    let folders = one.entries.iter().filter_map(|entry| match entry.node {
        Node::Folder(mode) if other.node(&entry.path).is_none() => Some((entry.path.clone(), mode)),
        _ => None,
    });
    folders.collect()
}
