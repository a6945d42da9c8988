//! Reads and writes the signed list of a bundle.
//!
//! **Invariant:** what is written reads again; the list is sorted by the bytes of its paths, names
//! every file but the manifest once, and none that leads out of the folder.

use serde::Deserialize;
use serde_json::{Map, Value};
use thiserror::Error;
use uuid::Uuid;

use crate::canonical::{CanonicalError, INTEGER_MAX, parse_canonical, write_string};
use crate::checkpoint::log_origin;
use crate::class::Class;
use crate::hash::Hash;
use crate::key::{KeyId, SigningKey};
use crate::note::{Note, NoteError};
use crate::record::is_origin;
use crate::time::parse_utc;
use crate::tree::TREE_SIZE_MAX;
use crate::trust::Trust;

use super::fault::{Stop, fault};
use super::path::is_path;

/// The name of the manifest's own file, which it does not list.
pub const MANIFEST_NAME: &str = "manifest";

/// The largest manifest.
pub const MANIFEST_BYTES_MAX: usize = 256 << 20;

const FIRST_LINE: &str = "redress-bundle-v1";

/// What a bundle holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BundleKind {
    /// The whole ledger.
    Ledger,
    /// One run, and the system runs.
    Run(Uuid),
}

/// One file of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListedFile {
    /// Where it is, relative to the folder.
    pub path: String,
    /// How many bytes it has.
    pub size: u64,
    /// The hash of its bytes.
    pub sha256: Hash,
}

impl ListedFile {
    /// Lists a file by its bytes.
    pub fn of(path: &str, bytes: &[u8]) -> ListedFile {
        ListedFile {
            path: path.to_owned(),
            size: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            sha256: Hash::of(bytes),
        }
    }

    /// Whether these are the bytes that are listed.
    pub fn is(&self, bytes: &[u8]) -> bool {
        u64::try_from(bytes.len()) == Ok(self.size) && Hash::of(bytes) == self.sha256
    }
}

/// What a bundle says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The installation, as its records name it.
    pub origin: String,
    /// The generation of the ledger.
    pub generation: i64,
    /// What the bundle holds.
    pub kind: BundleKind,
    /// How many leaves the log has.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
    /// When it was made, RFC 3339 UTC with microseconds.
    pub made_at: String,
    /// Every file but the manifest; written sorted.
    pub files: Vec<ListedFile>,
}

/// A manifest of which the signatures hold and the list of files was not looked at yet.
pub(super) struct Head {
    pub(super) manifest: Manifest,
    pub(super) signers: Vec<KeyId>,
    files: Files,
}

/// The list of a manifest.
enum Files {
    /// Read at once, and nothing is wrong with it.
    Good(Vec<ListedFile>),
    /// Something may be wrong, and the first fault is to be named.
    Doubtful(Vec<Value>),
}

/// The line of a manifest as it is if nothing is wrong.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    files: Vec<ListedFile>,
    generation: i64,
    kind: String,
    made_at: String,
    origin: String,
    root: Hash,
    run: Option<Uuid>,
    size: u64,
}

impl Line {
    /// Reads a text that is exactly what would be written; anything else is for the slow way.
    fn read(text: &str) -> Option<Manifest> {
        let line: Line = serde_json::from_str(text.strip_prefix(FIRST_LINE)?).ok()?;
        let manifest = Manifest {
            origin: line.origin,
            generation: line.generation,
            kind: match (line.kind.as_str(), line.run) {
                ("ledger", None) => BundleKind::Ledger,
                ("run", Some(run)) => BundleKind::Run(run),
                _ => return None,
            },
            size: line.size,
            root: line.root,
            made_at: line.made_at,
            files: line.files,
        };
        (manifest.to_text().ok()? == text).then_some(manifest)
    }
}

impl Manifest {
    /// The log that the bundle is of, and the name of its key.
    pub fn log(&self) -> String {
        log_origin(&self.origin, self.generation)
    }

    /// The text that is signed, the files in their order.
    pub fn to_text(&self) -> Result<String, ManifestError> {
        self.check()?;
        let mut files: Vec<&ListedFile> = self.files.iter().collect();
        files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        for (index, one) in files.iter().enumerate() {
            if one.size > TREE_SIZE_MAX {
                return Err(ManifestError::Field("files"));
            }
            let twice = index > 0 && files[index - 1].path == one.path;
            if twice || one.path == MANIFEST_NAME || !is_path(one.path.as_bytes()) {
                return Err(ManifestError::Path(one.path.clone()));
            }
        }
        let mut line = b"{\"files\":[".to_vec();
        for (index, one) in files.iter().enumerate() {
            // A path has no character that would need an escape.
            let comma = if index > 0 { "," } else { "" };
            let (path, sha256, size) = (&one.path, one.sha256, one.size);
            let file = format!(r#"{comma}{{"path":"{path}","sha256":"{sha256}","size":{size}}}"#);
            line.extend_from_slice(file.as_bytes());
        }
        line.extend_from_slice(format!("],\"generation\":{}", self.generation).as_bytes());
        let (kind, run) = match self.kind {
            BundleKind::Ledger => ("ledger", String::new()),
            BundleKind::Run(run) => ("run", format!(",\"run\":\"{run}\"")),
        };
        let (made_at, root, size) = (&self.made_at, self.root, self.size);
        let middle = format!(",\"kind\":\"{kind}\",\"made_at\":\"{made_at}\",\"origin\":");
        line.extend_from_slice(middle.as_bytes());
        write_string(&mut line, &self.origin)?;
        let end = format!(",\"root\":\"{root}\"{run},\"size\":{size}}}");
        line.extend_from_slice(end.as_bytes());
        let line = String::from_utf8(line).map_err(|_| ManifestError::Field("origin"))?;
        Ok(format!("{FIRST_LINE}\n{line}\n"))
    }

    /// Signs the list with the log's key, whose name must be the log's.
    pub fn sign(&self, key: &SigningKey) -> Result<Note, ManifestError> {
        let text = self.to_text()?;
        if key.name() != self.log() {
            return Err(ManifestError::Key(key.name().to_owned()));
        }
        let mut note = Note::new(&text)?;
        note.sign(key)?;
        Ok(note)
    }

    fn check(&self) -> Result<(), ManifestError> {
        let field = |name: &'static str, good: bool| match good {
            true => Ok(()),
            false => Err(ManifestError::Field(name)),
        };
        field("origin", is_origin(&self.origin))?;
        field("generation", (1..=INTEGER_MAX).contains(&self.generation))?;
        field("size", self.size <= TREE_SIZE_MAX)?;
        field("made_at", parse_utc(&self.made_at).is_some())
    }
}

impl Head {
    /// Reads a manifest and looks at its signatures, before anything in it is believed.
    pub(super) fn read(bytes: &[u8], trust: &Trust) -> Result<Head, Stop> {
        let note = Note::parse_within(bytes, MANIFEST_BYTES_MAX)?;
        let signers = note.signers(trust.logs())?;
        if !trust.logs().is_empty() && signers.is_empty() {
            return Err(NoteError::NoKnownKey.into());
        }
        let (manifest, files) = match Line::read(note.text()) {
            Some(mut manifest) => {
                let files = std::mem::take(&mut manifest.files);
                (manifest, Files::Good(files))
            }
            None => read_slowly(note.text())?,
        };
        let log = manifest.log();
        if !trust.logs().is_empty() && !signers.iter().any(|key| key.name() == log) {
            let words = format!("no trusted key of the log {log} signed the manifest");
            return Err(fault("RD0643", words));
        }
        let signers = signers.into_iter().map(|key| key.id().clone()).collect();
        Ok(Head {
            manifest,
            signers,
            files,
        })
    }

    /// Reads the list of files; refuses names that lead away, and any order but the one.
    pub(super) fn take_files(&mut self) -> Result<Vec<ListedFile>, Stop> {
        let files = match std::mem::replace(&mut self.files, Files::Good(Vec::new())) {
            Files::Good(files) => return Ok(files),
            Files::Doubtful(files) => files,
        };
        let mut listed: Vec<ListedFile> = Vec::with_capacity(files.len());
        for value in files {
            let (path, size, sha256) = read_file(&value).ok_or_else(|| {
                fault("RD0710", "a file of the manifest is path, size and sha256")
            })?;
            let path = path.as_str().unwrap_or_default();
            if !is_path(path.as_bytes()) {
                let words = format!("a name that no file of a bundle has: {path:?}");
                return Err(fault("RD0711", words));
            }
            if path == MANIFEST_NAME {
                return Err(fault("RD0714", "the manifest does not list itself").file(path));
            }
            if listed
                .last()
                .is_some_and(|before| path <= before.path.as_str())
            {
                let words = "the files of the manifest are not in order";
                return Err(fault("RD0716", words).file(path));
            }
            let path = path.to_owned();
            listed.push(ListedFile { path, size, sha256 });
        }
        Ok(listed)
    }
}

/// Reads a text in which something may be wrong, with every fault of FORMAT.md by its name.
fn read_slowly(text: &str) -> Result<(Manifest, Files), Stop> {
    let line = text.strip_prefix(FIRST_LINE);
    let line = line.and_then(|rest| rest.strip_prefix('\n')?.strip_suffix('\n'));
    let line = line.filter(|line| !line.contains('\n'));
    let line = line.ok_or_else(|| {
        fault(
            "RD0710",
            format!("a manifest is {FIRST_LINE} and one line of JSON"),
        )
    })?;
    let value = parse_canonical(line.as_bytes())
        .map_err(|error| fault("RD0710", format!("the manifest is not canonical: {error}")))?;
    let (manifest, files) = read_members(value)
        .ok_or_else(|| fault("RD0710", "the manifest has not exactly the members of one"))?;
    Ok((manifest, Files::Doubtful(files)))
}

fn read_members(value: Value) -> Option<(Manifest, Vec<Value>)> {
    let Value::Object(mut members) = value else {
        return None;
    };
    let text = |members: &Map<String, Value>, name: &str| {
        let text = members.get(name).and_then(Value::as_str);
        text.map(str::to_owned)
    };
    let (count, kind) = match members.get("kind")?.as_str()? {
        "ledger" => (7, BundleKind::Ledger),
        "run" => {
            let text = text(&members, "run")?;
            let run: Uuid = text.parse().ok()?;
            // A second spelling would be the same run under another name.
            if run.to_string() != text {
                return None;
            }
            (8, BundleKind::Run(run))
        }
        _ => return None,
    };
    let Some(Value::Array(files)) = members.remove("files") else {
        return None;
    };
    let manifest = Manifest {
        origin: text(&members, "origin")?,
        generation: members.get("generation")?.as_i64()?,
        kind,
        size: members.get("size")?.as_u64()?,
        root: text(&members, "root")?.parse().ok()?,
        made_at: text(&members, "made_at")?,
        files: Vec::new(),
    };
    manifest.check().ok()?;
    (members.len() + 1 == count).then_some((manifest, files))
}

fn read_file(value: &Value) -> Option<(&Value, u64, Hash)> {
    let members = value.as_object().filter(|members| members.len() == 3)?;
    let size = members.get("size")?.as_u64()?;
    let sha256 = members.get("sha256")?.as_str()?.parse().ok()?;
    Some((members.get("path")?, size, sha256))
}

/// Why a manifest cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// A member that would not be read again.
    #[error("the manifest's member is not valid: {0}")]
    Field(&'static str),
    /// A path that no file of a bundle can have, or that is listed twice.
    #[error("no file of a bundle has this path, or two have it: {0:?}")]
    Path(String),
    /// To be signed by a key that is named otherwise than the log.
    #[error("a manifest is signed by the key of its own log, not by {0}")]
    Key(String),
    /// A value without a canonical form.
    #[error(transparent)]
    Canonical(#[from] CanonicalError),
    /// The text cannot be a note.
    #[error(transparent)]
    Note(#[from] NoteError),
}

impl ManifestError {
    /// The stable code of the error.
    pub fn code(&self) -> &'static str {
        match self {
            ManifestError::Field(_) => "RD0710",
            ManifestError::Path(_) => "RD0711",
            ManifestError::Key(_) => "RD0646",
            ManifestError::Canonical(error) => error.code(),
            ManifestError::Note(error) => error.code(),
        }
    }

    /// What the caller must do.
    pub fn class(&self) -> Class {
        match self {
            ManifestError::Field(_) | ManifestError::Path(_) | ManifestError::Key(_) => {
                Class::Refused
            }
            ManifestError::Canonical(error) => error.class(),
            ManifestError::Note(error) => error.class(),
        }
    }
}

#[cfg(test)]
mod tests;
