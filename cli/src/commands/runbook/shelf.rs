//! Which runbooks can be used here: the shipped ones, those of a folder, and a file that is named.
//!
//! **Invariant:** a file that is refused hides no other one: it is told, and the rest is used.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use redress::definition::yaml::YAML_BYTES_MAX;
use redress_runbooks::error::RunbookError;
use redress_runbooks::library::{Book, Shelf, ShelfError};

use super::Where;
use crate::fail::{Fail, Located};
use crate::place::Place;
use crate::read::{read_bounded, read_file};

/// The runbooks that can be used, and the files that cannot.
pub struct Found {
    /// What can be used.
    pub shelf: Shelf,
    /// Files that were refused, and why.
    pub refused: Vec<(String, ShelfError)>,
}

impl Found {
    /// Tells the refused files, so that nobody misses one in silence.
    pub fn tell_refused(&self, place: &Place) {
        for (file, error) in &self.refused {
            place.say.notice(&format!(
                "[{}] not used: {error}, {file}; redress runbook lint shows why",
                error.code()
            ));
        }
    }
}

/// Reads the shelf.
///
/// # Errors
/// RD0910 when the folder cannot be read.
pub fn read(place: &Place, at: &Where) -> Result<Found, Fail> {
    let mut shelf = Shelf::shipped().map_err(fail)?;
    let refused = shelf.add(&own(place, at)?);
    Ok(Found { shelf, refused })
}

/// The runbook of a name, or of a file.
///
/// # Errors
/// RD0165; [`Fail::Runbook`] for a file that is refused.
pub fn find(place: &Place, at: &Where, name: &str) -> Result<Book, Fail> {
    let mut found = read(place, at)?;
    if !is_path(name) {
        return found.shelf.find(name).cloned().map_err(|error| {
            // A file that is refused may be the one that is meant.
            found.tell_refused(place);
            fail(error)
        });
    }
    let bytes = read_file(Path::new(name), YAML_BYTES_MAX)?;
    if let Some((_, error)) = found.shelf.add(&[(name.to_owned(), bytes)]).pop() {
        return Err(fail(error));
    }
    let of_file = |book: &&Book| book.file.as_deref() == Some(name);
    let book = found.shelf.books().iter().find(of_file).cloned();
    book.ok_or_else(|| Fail::own("RD0165", format!("no runbook in {name}")))
}

/// Whether a file is meant and not a name.
pub fn is_path(name: &str) -> bool {
    name.contains('/') || name.ends_with(".yaml") || name.ends_with(".yml")
}

/// The files of the folder, in the order of their names.
fn own(place: &Place, at: &Where) -> Result<Vec<(String, Vec<u8>)>, Fail> {
    let named = at
        .dir
        .clone()
        .or_else(|| place.settings.path("runbooks.dir"));
    let folder = match &named {
        Some(dir) => dir.clone(),
        None => place.state()?.join("runbooks"),
    };
    let cannot = |path: &Path, error: io::Error| {
        let text = format!("cannot read it: {error}, {}", path.display());
        Fail::own("RD0910", text)
    };
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(cannot(&folder, error)),
    };
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| cannot(&folder, error))?.path();
        let is_yaml = path
            .extension()
            .is_some_and(|end| end == "yaml" || end == "yml");
        if is_yaml {
            paths.push(path);
        }
    }
    if paths.len() > FILES_MAX {
        let text = format!("more than {FILES_MAX} runbooks in {}", folder.display());
        return Err(Fail::own("RD0911", text));
    }
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            // One byte more than is accepted: the reader says that it is too large.
            let bytes =
                read_bounded(&path, YAML_BYTES_MAX + 1).map_err(|error| cannot(&path, error))?;
            Ok((path.display().to_string(), bytes))
        })
        .collect()
}

/// A refusal as the command tells it.
pub fn fail(error: ShelfError) -> Fail {
    match error {
        ShelfError::Refused(errors) => Fail::Runbook(errors.iter().map(located).collect()),
        other => Fail::own(other.code(), other.to_string()),
    }
}

/// A finding with its place.
pub fn located(error: &RunbookError) -> Located {
    Located {
        code: error.code(),
        place: format!("{}:{}:{}", error.file, error.line, error.column),
        line: error.line,
        column: error.column,
        path: error.path.clone(),
        message: error.message(),
    }
}

const FILES_MAX: usize = 1_000;
