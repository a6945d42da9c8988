//! `runbook lint`: judges runbooks before anybody needs them.

use std::path::{Path, PathBuf};

use redress::definition::yaml::YAML_BYTES_MAX;
use redress_runbooks::error::RunbookError;
use redress_runbooks::library::{SHIPPED, Shelf};
use redress_runbooks::lint::{Known, load_yaml};
use redress_runbooks::read::read_yaml;
use serde_json::{Value, json};

use super::shelf::{fail, located};
use crate::exit::Exit;
use crate::fail::{Fail, Located};
use crate::place::Place;
use crate::read::read_bounded;

/// Which runbooks.
#[derive(Debug, clap::Args)]
pub struct LintArgs {
    /// Files; without any, the shipped runbooks
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

/// Judges them; every finding of every file is told.
///
/// # Errors
/// [`Fail::Runbook`] with all findings; RD0910 for a file that cannot be read.
pub fn lint(place: &Place, args: &LintArgs) -> Result<Exit, Fail> {
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    for path in &args.files {
        files.push((path.display().to_string(), bytes(path)?));
    }
    let own = !files.is_empty();
    if !own {
        let shipped = SHIPPED.iter();
        files.extend(shipped.map(|one| (format!("{}.yaml", one.name), one.yaml.into())));
    }
    let names = files.iter().filter_map(|(file, bytes)| {
        let (book, _) = read_yaml(bytes, file).ok()?;
        Some(book.runbook.to_string())
    });
    let known = Known::shipped().and(names);
    let (mut sound, mut wrong): (Vec<Value>, Vec<Located>) = (Vec::new(), Vec::new());
    let mut lines = Vec::new();
    for (file, bytes) in &files {
        match load_yaml(bytes, file, &known) {
            Ok((book, _)) => {
                let digest = book
                    .digest()
                    .map_err(|problem| Fail::own(problem.code(), format!("{problem}, {file}")))?;
                sound.push(json!({"file": file, "runbook": book.runbook, "version": book.version, "digest": digest}));
                lines.push(format!(
                    "{file}: {} version {} is sound",
                    book.runbook, book.version
                ));
            }
            Err(errors) => wrong.extend(errors.iter().map(located)),
        }
    }
    if own {
        wrong.extend(taken(&files)?);
    }
    if !wrong.is_empty() {
        return Err(Fail::Runbook(wrong));
    }
    if place.say.is_json() {
        place
            .say
            .value(&json!({"schema": 1, "runbooks": sound, "errors": []}))?;
    } else {
        for line in lines {
            place.say.line(&line)?;
        }
    }
    Ok(Exit::Done)
}

/// Names that another runbook has already.
fn taken(files: &[(String, Vec<u8>)]) -> Result<Vec<Located>, Fail> {
    let mut shelf = Shelf::shipped().map_err(fail)?;
    let refused = shelf.add(files);
    let taken = refused
        .into_iter()
        .filter(|(_, error)| error.code() == "RD0167");
    Ok(taken
        .map(|(file, error)| Located {
            code: error.code(),
            place: file,
            line: 0,
            column: 0,
            path: "/runbook".to_owned(),
            message: error.to_string(),
        })
        .collect())
}

/// One byte more than is accepted: the reader says, with its code, that it is too large.
fn bytes(path: &Path) -> Result<Vec<u8>, Fail> {
    read_bounded(path, YAML_BYTES_MAX + 1).map_err(|error| {
        let text = format!("cannot read the file: {error}, {}", path.display());
        Fail::own("RD0910", text)
    })
}

impl From<RunbookError> for Located {
    fn from(error: RunbookError) -> Self {
        located(&error)
    }
}
