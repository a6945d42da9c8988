//! Removes artefacts that nobody needs any more: those that were discarded, and those of attempts that rolled back.
//!
//! **Invariant:** what a committed phase needs for its way back stays, and so does whatever is not an artefact's file.
//!
//! **What can go wrong:** death half-way leaves some; the next collection removes them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use redress_ledger::Hash;
use serde::Serialize;

use super::artefact::{ArtefactError, file_name};

/// A file that no record names may belong to a phase that is about to commit.
const UNNAMED_AGE_MIN: Duration = Duration::from_secs(24 * 3_600);

/// What the ledger says about artefacts.
#[derive(Clone, Debug, Default)]
pub struct Named {
    /// Those of committed phases: the way back needs them.
    pub needed: BTreeSet<Hash>,
    /// Those that were discarded.
    pub discarded: BTreeSet<Hash>,
    /// Whether every record is at hand; if some are archived, a file that no record names may be theirs.
    pub complete: bool,
}

/// What stands in the folder, or what was done about it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Collected {
    /// Needed.
    pub kept: Vec<String>,
    /// Not needed; removed, when it was asked for.
    pub unneeded: Vec<String>,
    /// Named by no record, and not removed: too young, or perhaps an archived run's.
    pub unnamed: Vec<String>,
    /// How many bytes the unneeded ones have.
    pub bytes: u64,
}

/// Looks at every artefact, and removes what nobody needs when `remove` says so.
///
/// # Errors
/// [`ArtefactError::File`] when the folder cannot be read or a file not be removed.
pub fn collect(folder: &Path, named: &Named, remove: bool) -> Result<Collected, ArtefactError> {
    let failed = |what: &'static str| move |source| ArtefactError::File { what, source };
    let mut collected = Collected::default();
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        // Nothing was ever backed up here.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(collected),
        Err(error) => return Err(failed("look for")(error)),
    };
    for entry in entries {
        let entry = entry.map_err(failed("look for"))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let hash = name
            .split_once('.')
            .and_then(|(hash, _)| hash.parse::<Hash>().ok());
        let meta = fs::symlink_metadata(entry.path()).map_err(failed("look at"))?;
        let Some(hash) = hash.filter(|hash| meta.is_file() && file_name(hash) == name) else {
            continue;
        };
        let age = meta
            .modified()
            .ok()
            .and_then(|at| SystemTime::now().duration_since(at).ok());
        let old = age.is_some_and(|age| age >= UNNAMED_AGE_MIN);
        if named.needed.contains(&hash) {
            collected.kept.push(name);
        } else if named.discarded.contains(&hash) || named.complete && old {
            if remove {
                fs::remove_file(entry.path()).map_err(failed("remove"))?;
            }
            collected.bytes += meta.len();
            collected.unneeded.push(name);
        } else {
            collected.unnamed.push(name);
        }
    }
    for list in [
        &mut collected.kept,
        &mut collected.unneeded,
        &mut collected.unnamed,
    ] {
        list.sort();
    }
    Ok(collected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::artefact::write_artefact;

    #[test]
    fn what_a_phase_needs_stays_and_the_rest_goes() {
        let temp = tempfile::tempdir().expect("a folder");
        let folder = temp.path();
        let write = |text: &str| write_artefact(folder, text.as_bytes()).expect("written");
        let (needed, discarded, both) = (write("a"), write("b"), write("c"));
        let (young, old) = (write("d"), write("e"));
        let aged = fs::File::options()
            .write(true)
            .open(folder.join(file_name(&old)))
            .expect("a file");
        aged.set_modified(SystemTime::now() - 2 * UNNAMED_AGE_MIN)
            .expect("a time");
        fs::write(folder.join("notes.txt"), "mine").expect("written");
        let mut named = Named {
            needed: BTreeSet::from([needed, both]),
            discarded: BTreeSet::from([discarded, both]),
            complete: false,
        };
        let looked = collect(folder, &named, false).expect("looked");
        assert_eq!(
            (
                looked.kept.len(),
                looked.unneeded.len(),
                looked.unnamed.len()
            ),
            (2, 1, 2)
        );
        assert!(
            folder.join(file_name(&discarded)).exists(),
            "a look removes nothing"
        );
        named.complete = true;
        let done = collect(folder, &named, true).expect("collected");
        assert_eq!(done.unneeded.len(), 2);
        for (hash, stays) in [
            (needed, true),
            (both, true),
            (young, true),
            (discarded, false),
            (old, false),
        ] {
            assert_eq!(folder.join(file_name(&hash)).exists(), stays);
        }
        assert!(folder.join("notes.txt").exists());
        assert_eq!(
            collect(&folder.join("nothing"), &named, true).expect("nothing"),
            Collected::default()
        );
    }
}
