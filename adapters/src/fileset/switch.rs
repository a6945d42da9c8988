//! Many files as one switch: prepare all, write the intent, change, verify, clear away; or take all of it back.
//!
//! ```text
//! stage N.new, N.old -> intent (the point of no forgetting) -> rename each -> fsync folders -> verify by hash -> clear
//!                                                     \ any failure -> turn -> put each back -> verify by hash -> clear
//! ```
//!
//! **Invariant:** normal path and recovery are one function, [`finish`]: it looks at each path by hash and does what is
//! left to do, so it may be called any number of times.
//!
//! **What can go wrong:** *killed before the intent*: nothing was changed, the folder is cleared away. *Killed after
//! it*: whoever locks the directory next finishes the switch, or takes it back when it cannot be finished. *A file
//! was changed by somebody else meanwhile*: the switch is taken back, and that file is left as it is and named.
//! Between two renames a reader without the lock can see new files beside old ones.

use std::time::Instant;

use redress_ledger::Hash;

use super::dir::Dir;
use super::error::FilesetError;
use super::journal::{
    Act, Change, Ended, Intent, Way, begin, clear, commit, slot, turn, unfinished,
};
use super::node::{Node, said, same};
use super::path::RelPath;
use super::stage::{FOLDER_MODE, Target, dress, stage_all};
use super::store::Store;

/// What an unfinished switch came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Recovered {
    /// It was only prepared, and nothing had been changed.
    Cleared,
    /// It was finished.
    Finished,
    /// It was taken back.
    TakenBack,
}

/// Prepares and makes a switch; on failure every path is what it was, and the error says so.
pub(super) fn switch(
    store: &Store,
    dir: &Dir,
    mut intent: Intent,
    targets: Vec<Target>,
    deadline: Option<Instant>,
) -> Result<Intent, FilesetError> {
    let start = Instant::now();
    let staged = begin(dir)
        .and_then(|()| stage_all(store, dir, &mut intent, targets))
        .and_then(|()| in_time(&intent.key, deadline))
        .and_then(|()| commit(dir, &intent));
    let done = match staged {
        Ok(()) => finish(store, dir, &intent, Way::Forward),
        Err(original) => Err(take_back(store, dir, &intent, original)),
    };
    let bytes = intent
        .changes
        .iter()
        .filter_map(|change| change.after.as_ref());
    let bytes = bytes.filter_map(Node::file).map(|file| file.size).sum();
    let counted = done.as_ref().ok().map(|()| (intent.changes.len(), bytes));
    store
        .counter
        .count(|metrics| &mut metrics.switches, start.elapsed(), counted);
    done.map(|()| intent)
}

/// Whoever was frozen, or waited too long, does not begin what nobody waits for any more.
fn in_time(key: &str, deadline: Option<Instant>) -> Result<(), FilesetError> {
    if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
        let key = key.to_owned();
        return Err(FilesetError::TooLate { key });
    }
    Ok(())
}

/// Finishes or takes back what a dead process left in a directory.
pub(super) fn recover(store: &Store, dir: &Dir) -> Result<Option<Recovered>, FilesetError> {
    let start = Instant::now();
    let (recovered, files) = match unfinished(dir)? {
        None => return Ok(None),
        Some(None) => {
            clear(dir)?;
            (Recovered::Cleared, 0)
        }
        Some(Some((way, intent))) => {
            let recovered = match finish(store, dir, &intent, way) {
                Ok(()) if way == Way::Forward => Recovered::Finished,
                Ok(()) | Err(FilesetError::Restored { .. }) => Recovered::TakenBack,
                Err(error) => return Err(error),
            };
            (recovered, intent.changes.len())
        }
    };
    tracing::warn!(
        directory = dir.shown(),
        outcome = ?recovered,
        files,
        "unfinished switch"
    );
    store.counter.count(
        |metrics| &mut metrics.recoveries,
        start.elapsed(),
        Some((files, 0)),
    );
    Ok(Some(recovered))
}

/// Does what is left to do of a switch whose intent is written.
fn finish(store: &Store, dir: &Dir, intent: &Intent, way: Way) -> Result<(), FilesetError> {
    if way == Way::Back {
        put_back(store, dir, intent)?;
        note(store, dir, intent, Ended::TakenBack)?;
        return clear(dir);
    }
    let done = go_forward(dir, intent).and_then(|()| note(store, dir, intent, Ended::Done));
    if let Err(original) = done {
        return Err(take_back(store, dir, intent, original));
    }
    // Everything is done; what cannot be cleared away now is cleared by whoever comes next.
    let cleared = drop_folders(dir, &intent.dropped).and_then(|()| clear(dir));
    if let Err(error) = cleared {
        tracing::warn!(directory = dir.shown(), %error, "the switch is done; its folder is left");
    }
    Ok(())
}

/// Puts everything back after a failure and says how that ended.
fn take_back(store: &Store, dir: &Dir, intent: &Intent, original: FilesetError) -> FilesetError {
    let start = Instant::now();
    if dir.is_gone() {
        // Nothing can be put back into it; the caller makes it anew.
        let path = dir.shown().to_owned();
        return FilesetError::DirectoryGone { path };
    }
    let back = || -> Result<usize, FilesetError> {
        let committed = matches!(unfinished(dir)?, Some(Some(_)));
        if committed {
            turn(dir)?;
        }
        put_back(store, dir, intent)?;
        if committed {
            note(store, dir, intent, Ended::TakenBack)?;
        }
        clear(dir)?;
        Ok(intent.changes.len())
    };
    let restored = back();
    let counted = restored.as_ref().ok().map(|files| (*files, 0));
    store.counter.count(
        |metrics| &mut metrics.restorations,
        start.elapsed(),
        counted,
    );
    let (original, snapshot) = (Box::new(original), intent.snapshot);
    match restored {
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

fn note(store: &Store, dir: &Dir, intent: &Intent, ended: Ended) -> Result<(), FilesetError> {
    store.note(&Act {
        directory: dir.shown().to_owned(),
        identity: dir.identity(),
        ended,
        intent: intent.clone(),
        at: jiff::Timestamp::now().to_string(),
    })
}

fn go_forward(dir: &Dir, intent: &Intent) -> Result<(), FilesetError> {
    for (folder, mode) in &intent.made {
        // Its own permissions come when its files are in it.
        if dir.make_folder(folder, *mode | 0o700)? {
            dir.sync(&folder.above().unwrap_or_default())?;
        }
    }
    for (n, change) in intent.changes.iter().enumerate() {
        let now = dir.node(&change.path)?;
        if same(now.as_ref(), change.after.as_ref()) {
            continue;
        }
        if !same(now.as_ref(), change.before.as_ref()) {
            return Err(changed(
                dir,
                &change.path,
                now.as_ref(),
                change.before.as_ref(),
            ));
        }
        match &change.after {
            None => dir.remove(&change.path)?,
            Some(_) => dir.rename(&slot(n, "new"), &change.path, now.is_none())?,
        }
    }
    for (folder, mode) in intent.made.iter().rev() {
        dir.set_folder_mode(folder, *mode)?;
    }
    sync_folders(dir, intent)?;
    verify(dir, intent, Way::Forward)
}

/// Puts back every path that can be; the first that cannot is the error.
fn put_back(store: &Store, dir: &Dir, intent: &Intent) -> Result<(), FilesetError> {
    let mut first = None;
    for (n, change) in intent.changes.iter().enumerate() {
        if let Err(error) = put_one_back(store, dir, intent.snapshot, n, change) {
            first.get_or_insert(error);
        }
    }
    sync_folders(dir, intent)?;
    for (folder, _) in intent.made.iter().rev() {
        dir.remove_folder(folder)?;
    }
    match first {
        Some(error) => Err(error),
        None => verify(dir, intent, Way::Back),
    }
}

fn put_one_back(
    store: &Store,
    dir: &Dir,
    snapshot: Hash,
    n: usize,
    change: &Change,
) -> Result<(), FilesetError> {
    let now = dir.node(&change.path)?;
    if same(now.as_ref(), change.before.as_ref()) {
        return Ok(());
    }
    // What neither we nor the snapshot put there belongs to somebody else.
    if now.is_some() && !same(now.as_ref(), change.after.as_ref()) {
        return Err(changed(
            dir,
            &change.path,
            now.as_ref(),
            change.after.as_ref(),
        ));
    }
    let Some(before) = &change.before else {
        return dir.remove(&change.path);
    };
    make_parents(dir, &change.path)?;
    let old = slot(n, "old");
    if !same(dir.node(&old)?.as_ref(), Some(before)) {
        dir.remove(&old)?;
        bring(store, dir, snapshot, &change.path, before, &old)?;
        dir.sync(&RelPath::stage())?;
    }
    dir.rename(&old, &change.path, false)
}

/// Brings a file or link of a snapshot under a name of ours.
fn bring(
    store: &Store,
    dir: &Dir,
    snapshot: Hash,
    path: &RelPath,
    node: &Node,
    to: &RelPath,
) -> Result<(), FilesetError> {
    let Node::File(file) = node else {
        return dir.make_link(to, &node.target().unwrap_or_default());
    };
    let name = dir.name_of(path);
    let mut out = dir.create(to)?;
    store.copy_out(&snapshot, path, (&file.sha256, file.size), &mut out, &name)?;
    dress(&out, Some(file), file.mode, &name)
}

fn make_parents(dir: &Dir, path: &RelPath) -> Result<(), FilesetError> {
    let mut missing = Vec::new();
    let mut at = path.clone();
    while let Some(folder) = at.above().filter(|folder| !folder.is_top()) {
        if dir.look(&folder)?.is_some() {
            break;
        }
        missing.push(folder.clone());
        at = folder;
    }
    for folder in missing.iter().rev() {
        dir.make_folder(folder, FOLDER_MODE)?;
    }
    Ok(())
}

fn sync_folders(dir: &Dir, intent: &Intent) -> Result<(), FilesetError> {
    let paths = intent.changes.iter().map(|change| &change.path);
    let mut folders: Vec<_> = paths.filter_map(RelPath::above).collect();
    folders.sort();
    folders.dedup();
    folders.iter().try_for_each(|folder| dir.sync(folder))
}

fn verify(dir: &Dir, intent: &Intent, way: Way) -> Result<(), FilesetError> {
    for change in &intent.changes {
        let expected = match way {
            Way::Forward => change.after.as_ref(),
            Way::Back => change.before.as_ref(),
        };
        let found = dir.node(&change.path)?;
        if !same(found.as_ref(), expected) {
            return Err(changed(dir, &change.path, found.as_ref(), expected));
        }
    }
    Ok(())
}

fn drop_folders(dir: &Dir, folders: &[RelPath]) -> Result<(), FilesetError> {
    for folder in folders {
        dir.remove_folder(folder)?;
    }
    Ok(())
}

/// A path does not hold what it must.
pub(super) fn changed(
    dir: &Dir,
    path: &RelPath,
    found: Option<&Node>,
    expected: Option<&Node>,
) -> FilesetError {
    FilesetError::Changed {
        path: dir.name_of(path),
        found: said(found),
        expected: said(expected),
    }
}
