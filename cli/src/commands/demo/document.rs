//! Reads the document of a demo and makes the inputs from it.

use std::path::Path;

use redress_examples::cutover::DOCUMENTS;
use serde_json::{Value, json};

use crate::fail::Fail;
use crate::read::{INPUT_BYTES_MAX, read_bounded};

/// A document that can be cut.
#[derive(Clone, Debug)]
pub struct Document {
    /// Its file name.
    pub file: String,
    /// The name by which the ledger knows it.
    pub name: String,
    title: String,
    text: String,
}

impl Document {
    /// The document of a file, or the one that comes with the command.
    ///
    /// # Errors
    /// RD0923: nothing that could be cut.
    pub fn read(path: Option<&Path>) -> Result<Self, Fail> {
        let Some(path) = path else {
            let (file, text) = DOCUMENTS[0];
            return Self::new(file, text.to_owned());
        };
        let refuse = |why: String| Fail::own("RD0923", format!("{why}: {}", path.display()));
        let bytes = read_bounded(path, DOCUMENT_BYTES_MAX + 1)
            .map_err(|error| refuse(format!("the document cannot be read ({error})")))?;
        if bytes.len() > DOCUMENT_BYTES_MAX {
            return Err(refuse(format!(
                "the document is larger than {DOCUMENT_BYTES_MAX} bytes"
            )));
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            refuse(format!(
                "the document is not UTF-8 text, from byte {} on",
                error.utf8_error().valid_up_to()
            ))
        })?;
        let file = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        Self::new(&file, text).map_err(|fail| refuse(fail.to_string()))
    }

    fn new(file: &str, text: String) -> Result<Self, Fail> {
        if text.trim().is_empty() {
            return Err(Fail::own("RD0923", "the document is empty"));
        }
        if text.contains('\0') {
            return Err(Fail::own(
                "RD0923",
                "the document contains the character U+0000, so it is no text",
            ));
        }
        let plain = |c: char| {
            if c.is_alphanumeric() || "._-".contains(c) {
                c
            } else {
                '-'
            }
        };
        let name: String = file.chars().take(NAME_CHARS_MAX).map(plain).collect();
        let heading = text.lines().find_map(|line| line.strip_prefix("# "));
        let title: String = heading
            .unwrap_or(file)
            .trim()
            .chars()
            .take(TITLE_CHARS_MAX)
            .collect();
        let document = Self {
            file: file.to_owned(),
            title: if title.is_empty() {
                name.clone()
            } else {
                title
            },
            name: format!("demo/{name}"),
            text,
        };
        if document.input(Some(1)).to_string().len() > INPUT_BYTES_MAX {
            let why = format!(
                "the document has more than {INPUT_BYTES_MAX} bytes when it is written as JSON"
            );
            return Err(Fail::own("RD0923", why));
        }
        Ok(document)
    }

    /// The input of the saga.
    pub fn input(&self, expected_units: Option<u64>) -> Value {
        let mut input = json!({
            "document": self.name,
            "title": self.title,
            "text": self.text,
            "signers": [{"principal": "cutter"}, {"principal": "checker"}],
        });
        if let Some(units) = expected_units {
            input["expected_units"] = units.into();
        }
        input
    }

    /// How many bytes it has.
    pub fn bytes(&self) -> usize {
        self.text.len()
    }
}

const DOCUMENT_BYTES_MAX: usize = 4 << 20;
const NAME_CHARS_MAX: usize = 100;
const TITLE_CHARS_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn any_text_is_taken_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let read = |bytes: &[u8]| {
            let path = dir.path().join("a document.md");
            fs::write(&path, bytes).unwrap();
            Document::read(Some(&path))
        };
        let document = read("# Über uns\n\ntext".as_bytes()).unwrap();
        assert_eq!(document.name, "demo/a-document.md");
        assert_eq!(document.input(None)["title"], "Über uns");
        assert!(read(b"plain words").is_ok());
        for bytes in [
            &b""[..],
            b" \n\n\t",
            b"a\xffb",
            b"a\0b",
            &[b'x'; DOCUMENT_BYTES_MAX + 1],
            &[1; 4 << 20],
        ] {
            assert_eq!(read(bytes).unwrap_err().code(), "RD0923");
        }
        assert_eq!(
            Document::read(Some(dir.path())).unwrap_err().code(),
            "RD0923"
        );
        assert!(Document::read(None).is_ok());
    }
}
