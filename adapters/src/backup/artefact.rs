//! Writes and reads artefacts: JSON lines, gzip, named by the SHA-256 of their uncompressed content.
//!
//! **Invariant:** under a name stands the whole content or nothing, and only the owner may read it.
//!
//! **What can go wrong:** a process killed while writing leaves a `.part` file; a later write removes those that are
//! older than an hour. Disk full, no permission, a folder that is gone: each is an error that names the path's role,
//! and nothing is left.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use redress_ledger::{Class, Hash};
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;
use uuid::Uuid;

use super::CONTENT_BYTES_MAX;

/// The ending of a file that is being written.
const PART: &str = ".part";
/// A part file of this age belongs to no living writer.
const PART_AGE_MAX: Duration = Duration::from_secs(3_600);

/// An artefact could not be written or read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ArtefactError {
    /// The file system said no.
    #[error("cannot {what} the artefact: {source}")]
    File {
        /// What was tried.
        what: &'static str,
        /// Why it did not work.
        source: io::Error,
    },
    /// The content is not what its name says.
    #[error("the artefact's content has hash {found}, expected {expected}")]
    Content {
        /// The hash of what was read.
        found: Hash,
        /// The hash that was asked for.
        expected: Hash,
    },
    /// Something else stands under the name.
    #[error("a folder, link or device stands where the artefact should be: {0}")]
    NotAFile(String),
    /// The content is larger than any artefact.
    #[error("the artefact has more than {CONTENT_BYTES_MAX} bytes")]
    TooLarge,
    /// A line is not what an artefact holds.
    #[error("line {line} of the artefact cannot be read: {why}")]
    Line {
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        why: String,
    },
}

impl ArtefactError {
    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::File { .. } => "RD0960",
            Self::Content { .. } | Self::NotAFile(_) | Self::TooLarge | Self::Line { .. } => {
                "RD0961"
            }
        }
    }

    /// What must be done: a person must look.
    pub const fn class(&self) -> Class {
        Class::Hold
    }
}

fn failed(what: &'static str) -> impl FnOnce(io::Error) -> ArtefactError {
    move |source| ArtefactError::File { what, source }
}

/// One line of an artefact.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// The query that gave it.
    pub name: String,
    /// The row, columns by name.
    pub row: Value,
}

/// The name of the artefact with this content.
pub(super) fn file_name(hash: &Hash) -> String {
    format!("{hash}.jsonl.gz")
}

/// Writes an artefact unless it stands there already.
pub(super) fn write_artefact(folder: &Path, content: &[u8]) -> Result<Hash, ArtefactError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(failed("make the folder of"))?;
    sweep(folder);
    let hash = Hash::of(content);
    let path = folder.join(file_name(&hash));
    match fs::symlink_metadata(&path) {
        Ok(_) => return read_content(&path, &hash).map(|_| hash),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed("look for")(error)),
    }
    let part = folder.join(format!(".{hash}.{}{PART}", Uuid::new_v4().simple()));
    let written =
        write_part(&part, content).and_then(|()| fs::rename(&part, &path).map_err(failed("name")));
    if let Err(error) = written {
        // What is wrong was wrong before; a part file that stays is swept later.
        let _ = fs::remove_file(&part);
        return Err(error);
    }
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(failed("make lasting the name of"))?;
    Ok(hash)
}

fn write_part(part: &Path, content: &[u8]) -> Result<(), ArtefactError> {
    let mut options = OpenOptions::new();
    let file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(part)
        .map_err(failed("create"))?;
    let mut gzip = GzEncoder::new(file, Compression::default());
    gzip.write_all(content).map_err(failed("write"))?;
    let file = gzip.finish().map_err(failed("write"))?;
    file.sync_all().map_err(failed("make lasting"))
}

/// Removes what killed writers left; what cannot be removed is tried again next time.
fn sweep(folder: &Path) {
    let is_old = |path: &Path| {
        let age = fs::symlink_metadata(path)
            .and_then(|meta| meta.modified())
            .map(|modified| {
                SystemTime::now()
                    .duration_since(modified)
                    .unwrap_or_default()
            });
        age.is_ok_and(|age| age > PART_AGE_MAX)
    };
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with('.') && name.ends_with(PART) && is_old(&entry.path()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Reads an artefact to its end, and refuses anything but the content with this hash; nothing is kept.
pub(super) fn verify(path: &Path, expected: &Hash) -> Result<(), ArtefactError> {
    read_content(path, expected).map(|_| ())
}

/// The lines of an artefact, some at a time.
pub(super) struct Lines {
    reader: BufReader<MultiGzDecoder<File>>,
    line: usize,
}

impl Lines {
    /// Opens an artefact whose hash was verified.
    pub fn open(path: &Path) -> Result<Self, ArtefactError> {
        let file = File::open(path).map_err(failed("open"))?;
        Ok(Self {
            reader: BufReader::new(MultiGzDecoder::new(file)),
            line: 0,
        })
    }

    /// At most so many lines; none at the end.
    pub fn next(&mut self, most: usize) -> Result<Vec<Line>, ArtefactError> {
        let mut lines = Vec::new();
        let mut text = Vec::new();
        while lines.len() < most {
            text.clear();
            let read = (&mut self.reader).take(CONTENT_BYTES_MAX as u64);
            let mut read = read;
            if read.read_until(b'\n', &mut text).map_err(failed("read"))? == 0 {
                break;
            }
            self.line += 1;
            let line = serde_json::from_slice(&text).map_err(|error| ArtefactError::Line {
                line: self.line,
                why: error.to_string(),
            })?;
            lines.push(line);
        }
        Ok(lines)
    }
}

/// Reads an artefact back; anything but the content with this hash is refused.
pub fn read_artefact(path: &Path, expected: &Hash) -> Result<Vec<Line>, ArtefactError> {
    let content = read_content(path, expected)?;
    let lines = content.split_inclusive(|byte| *byte == b'\n').enumerate();
    lines
        .map(|(at, line)| {
            serde_json::from_slice(line).map_err(|error| ArtefactError::Line {
                line: at + 1,
                why: error.to_string(),
            })
        })
        .collect()
}

fn read_content(path: &Path, expected: &Hash) -> Result<Vec<u8>, ArtefactError> {
    let meta = fs::symlink_metadata(path).map_err(failed("look for"))?;
    if !meta.is_file() {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        return Err(ArtefactError::NotAFile(name));
    }
    let file = File::open(path).map_err(failed("open"))?;
    let mut content = Vec::new();
    let limit = CONTENT_BYTES_MAX as u64 + 1;
    MultiGzDecoder::new(file)
        .take(limit)
        .read_to_end(&mut content)
        .map_err(failed("read"))?;
    if content.len() > CONTENT_BYTES_MAX {
        return Err(ArtefactError::TooLarge);
    }
    let found = Hash::of(&content);
    if found != *expected {
        return Err(ArtefactError::Content {
            found,
            expected: *expected,
        });
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const CONTENT: &[u8] =
        b"{\"name\":\"a\",\"row\":{\"id\":1}}\n{\"name\":\"b\",\"row\":{\"t\":\"x\\ny\"}}\n";

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("the folder is there");
        entries
            .map(|entry| {
                entry
                    .expect("an entry")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect()
    }

    #[test]
    fn an_artefact_is_read_back_as_it_was_written() {
        let temp = tempfile::tempdir().expect("a folder");
        let folder = temp.path().join("state/artefacts");
        let hash = write_artefact(&folder, CONTENT).expect("written");
        let path = folder.join(file_name(&hash));
        let lines = read_artefact(&path, &hash).expect("read");
        assert_eq!(
            lines[1],
            Line {
                name: "b".to_owned(),
                row: serde_json::json!({"t": "x\ny"})
            }
        );
        assert_eq!(
            fs::metadata(&path).expect("a file").permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(
            write_artefact(&folder, CONTENT).expect("the same content"),
            hash
        );
        assert_eq!(names(&folder), [file_name(&hash)]);
        let empty = write_artefact(&folder, b"").expect("no rows");
        assert_eq!(
            read_artefact(&folder.join(file_name(&empty)), &empty).expect("read"),
            []
        );
    }

    #[test]
    fn what_was_changed_is_not_taken_up() {
        let temp = tempfile::tempdir().expect("a folder");
        let folder = temp.path();
        let hash = write_artefact(folder, CONTENT).expect("written");
        let path = folder.join(file_name(&hash));
        let whole = fs::read(&path).expect("read");
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            fs::write(&path, &changed).expect("written");
            // A byte of the header that says nothing about the content may change; the content may not.
            if let Ok(lines) = read_artefact(&path, &hash) {
                assert!(at < 10 && lines.len() == 2, "byte {at}");
            }
        }
        fs::write(&path, &whole[..whole.len() / 2]).expect("written");
        assert!(read_artefact(&path, &hash).is_err() && write_artefact(folder, CONTENT).is_err());
        fs::remove_file(&path).expect("removed");
        assert!(matches!(
            read_artefact(&path, &hash),
            Err(ArtefactError::File { .. })
        ));
        std::os::unix::fs::symlink("/dev/null", &path).expect("a link");
        assert!(matches!(
            write_artefact(folder, CONTENT),
            Err(ArtefactError::NotAFile(_))
        ));
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_an_error_and_leaves_nothing() {
        let temp = tempfile::tempdir().expect("a folder");
        let file = temp.path().join("file");
        fs::write(&file, "x").expect("written");
        let error = write_artefact(&file, CONTENT).expect_err("a file is no folder");
        assert_eq!((error.code(), error.class()), ("RD0960", Class::Hold));
        assert_eq!(names(temp.path()), ["file"]);
    }

    #[test]
    fn what_killed_writers_left_is_swept_when_it_is_old() {
        let temp = tempfile::tempdir().expect("a folder");
        for (name, age) in [(".a.part", 7_200), (".b.part", 60), ("c.part", 7_200)] {
            let file = File::create(temp.path().join(name)).expect("a file");
            file.set_modified(SystemTime::now() - Duration::from_secs(age))
                .expect("a time");
        }
        write_artefact(temp.path(), CONTENT).expect("written");
        let mut left = names(temp.path());
        left.sort();
        assert_eq!(
            (left.len(), left[0].as_str(), left[2].as_str()),
            (3, ".b.part", "c.part")
        );
    }
}
