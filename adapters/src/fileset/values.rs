//! A phase's `with` and a run's values, put together: where, what must stand there, and what changes.
//!
//! **Invariant:** whatever a run's input names is a path below the directory, or an artefact below the configured folder;
//! anything else is refused before a file is touched.

use redress::pointer::Pointer;
use redress_ledger::Hash;
use serde::Deserialize;
use serde_json::Value;

use super::config::Config;
use super::dir::Dir;
use super::error::FilesetError;
use super::path::{PathError, RelPath};
use super::stage::Content;
use super::update::{Edit, Expected};
use super::with::{Expect, With, Write, directory, read_mode};

/// What `write_from` leads to, one file each.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    path: String,
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    artefact: Option<String>,
    #[serde(default)]
    sha256: Option<Hash>,
    #[serde(default)]
    mode: Option<String>,
}

/// A value that a saga gives cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum ValueError {
    /// A pointer leads to nothing.
    #[error("{place}: nothing stands at {pointer}")]
    Nothing { place: String, pointer: Pointer },
    /// What stands there is of another kind.
    #[error("{place}: {why}")]
    Kind { place: String, why: String },
    /// The files or the configuration say no.
    #[error(transparent)]
    Files(#[from] FilesetError),
}

impl From<PathError> for ValueError {
    fn from(error: PathError) -> Self {
        Self::Files(error.into())
    }
}

impl With {
    /// The directory of a run.
    pub(super) fn directory_of(&self, context: &Value) -> Result<RelPath, ValueError> {
        let text = match (&self.directory, &self.directory_from) {
            (Some(text), _) => text.clone(),
            (None, Some(pointer)) => text_at("directory", pointer, context)?,
            (None, None) => String::new(),
        };
        Ok(directory(&text)?)
    }

    /// What snapshots of it leave out.
    pub(super) fn left_out(&self) -> Result<Vec<RelPath>, ValueError> {
        let paths = self.exclude.iter().map(|path| RelPath::named(path));
        Ok(paths.collect::<Result<_, _>>()?)
    }

    /// What must stand before.
    pub(super) fn expected(&self, context: &Value) -> Result<Vec<Expected>, ValueError> {
        let one = |expect: &Expect| -> Result<Expected, ValueError> {
            let sha256 = match &expect.sha256_from {
                None => expect.sha256,
                Some(pointer) => hash_at(&expect.path, pointer, context)?,
            };
            let path = RelPath::named(&expect.path)?;
            Ok(Expected { path, sha256 })
        };
        self.expect.iter().map(one).collect()
    }

    /// What changes; artefacts are opened.
    pub(super) fn edits(&self, context: &Value, config: &Config) -> Result<Vec<Edit>, ValueError> {
        let mut edits = Vec::new();
        for write in &self.write {
            let given = write.given(context)?;
            edits.push(given.edit(config)?);
        }
        if let Some(pointer) = &self.write_from {
            let value = value_at("write_from", pointer, context)?;
            let list: Vec<Given> = Deserialize::deserialize(value)
                .map_err(|error| kind("write_from", error.to_string()))?;
            for (at, given) in list.into_iter().enumerate() {
                if given.content.is_some() == given.artefact.is_some() {
                    let why = "give one of `content` and `artefact`".to_owned();
                    return Err(kind(&format!("write_from {at}"), why));
                }
                edits.push(given.edit(config)?);
            }
        }
        for (list, may_lack) in [(&self.delete, false), (&self.delete_if_there, true)] {
            for path in list {
                edits.push(Edit {
                    path: RelPath::named(path)?,
                    content: Content::Nothing,
                    mode: None,
                    sha256: None,
                    may_lack,
                });
            }
        }
        Ok(edits)
    }
}

impl Write {
    fn given(&self, context: &Value) -> Result<Given, ValueError> {
        let place = |what: &str| format!("{what} of {}", self.path);
        let text = |given: &Option<String>, from: &Option<Pointer>, what: &str| match from {
            None => Ok(given.clone()),
            Some(pointer) => text_at(&place(what), pointer, context).map(Some),
        };
        Ok(Given {
            path: self.path.clone(),
            content: text(&self.content, &self.content_from, "content")?,
            artefact: text(&self.artefact, &self.artefact_from, "artefact")?,
            sha256: match &self.sha256_from {
                None => self.sha256,
                Some(pointer) => hash_at(&place("sha256"), pointer, context)?,
            },
            mode: self.mode.clone(),
        })
    }
}

impl Given {
    fn edit(self, config: &Config) -> Result<Edit, ValueError> {
        let mode = self.mode.as_deref().map(read_mode).transpose();
        let content = match (self.content, self.artefact) {
            (_, Some(artefact)) => open(&artefact, config)?,
            (content, None) => Content::Bytes(content.unwrap_or_default().into_bytes()),
        };
        Ok(Edit {
            path: RelPath::named(&self.path)?,
            content,
            mode: mode.map_err(|why| kind(&self.path, why))?,
            sha256: self.sha256,
            may_lack: false,
        })
    }
}

/// Opens an artefact below the configured folder; no link is followed.
fn open(artefact: &str, config: &Config) -> Result<Content, ValueError> {
    let folder = config
        .artefacts
        .as_ref()
        .ok_or_else(|| FilesetError::NotListed {
            what: "a folder of artefacts",
            name: "artefacts".to_owned(),
        })?;
    let path = RelPath::named(artefact)?;
    let folder = Dir::open(folder)?;
    let (file, _) = folder.read(&path)?;
    Ok(Content::File(file, folder.name_of(&path)))
}

fn kind(place: &str, why: String) -> ValueError {
    ValueError::Kind {
        place: place.to_owned(),
        why,
    }
}

fn value_at<'c>(
    place: &str,
    pointer: &Pointer,
    context: &'c Value,
) -> Result<&'c Value, ValueError> {
    pointer.resolve(context).ok_or_else(|| ValueError::Nothing {
        place: place.to_owned(),
        pointer: pointer.clone(),
    })
}

fn text_at(place: &str, pointer: &Pointer, context: &Value) -> Result<String, ValueError> {
    let text = value_at(place, pointer, context)?.as_str();
    let wrong = || kind(place, format!("not a text at {pointer}"));
    Ok(text.ok_or_else(wrong)?.to_owned())
}

/// The hash at a pointer; null there is none.
fn hash_at(place: &str, pointer: &Pointer, context: &Value) -> Result<Option<Hash>, ValueError> {
    let value = value_at(place, pointer, context)?;
    if value.is_null() {
        return Ok(None);
    }
    let hash = value.as_str().and_then(|text| text.parse().ok());
    let wrong = || kind(place, format!("not a SHA-256 in hexadecimal at {pointer}"));
    Ok(Some(hash.ok_or_else(wrong)?))
}
