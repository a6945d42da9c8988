//! A path below a directory: names joined by `/`, nothing that could lead out.
//!
//! **Invariant:** a [`RelPath`] has no `..`, no `.`, no empty name, no NUL and no leading `/`. That it does not lead
//! through a link is decided when it is opened ([`super::dir`]), because it can change.
//!
//! In manifests and journals a path is text: bytes that are no UTF-8, control characters and `%` stand as `%XX`.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

/// Longest path.
pub const PATH_BYTES_MAX: usize = 4_096;
/// Deepest path.
pub const DEPTH_MAX: usize = 64;
/// The folder in which a switch is prepared; it stands in a directory only while one is going on.
pub const STAGE: &str = ".redress-switch";

/// A text is not a path below a directory.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("not a path below the directory: {text:?} ({why})")]
pub struct PathError {
    text: String,
    why: &'static str,
}

/// A path below a directory; empty for the directory itself.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RelPath(Vec<u8>);

impl RelPath {
    /// Reads what a saga names: a plain text, without escapes and control characters.
    ///
    /// # Errors
    /// [`PathError`] when it could lead out, has a control character, or is reserved.
    pub fn named(text: &str) -> Result<Self, PathError> {
        if text.chars().any(char::is_control) {
            return Err(fault(text.as_bytes(), "a control character in it"));
        }
        Self::of_bytes(text.as_bytes())
    }

    /// Takes the bytes of a path.
    ///
    /// # Errors
    /// [`PathError`] when it could lead out, or is reserved.
    pub fn of_bytes(bytes: &[u8]) -> Result<Self, PathError> {
        if bytes.len() > PATH_BYTES_MAX {
            return Err(fault(&bytes[..64], "too long"));
        }
        let mut depth = 0;
        for name in bytes.split(|byte| *byte == b'/') {
            let why = match name {
                b"" => "an empty name in it",
                b"." | b".." => "`.` and `..` lead elsewhere",
                name if name.contains(&0) => "a NUL in it",
                name if name.len() > 255 => "a name that is too long",
                name if name == STAGE.as_bytes() => "the name is reserved",
                _ => {
                    depth += 1;
                    continue;
                }
            };
            return Err(fault(bytes, why));
        }
        if depth > DEPTH_MAX {
            return Err(fault(bytes, "too deep"));
        }
        Ok(Self(bytes.to_owned()))
    }

    /// The directory itself.
    pub const fn top() -> Self {
        Self(Vec::new())
    }

    /// The folder in which a switch is prepared.
    pub(super) fn stage() -> Self {
        Self(STAGE.as_bytes().to_owned())
    }

    /// A file of ours in that folder.
    pub(super) fn staged(name: &str) -> Self {
        Self(format!("{STAGE}/{name}").into_bytes())
    }

    /// Whether it is the directory itself.
    pub fn is_top(&self) -> bool {
        self.0.is_empty()
    }

    /// The path of an entry of this folder.
    ///
    /// # Errors
    /// As [`RelPath::of_bytes`].
    pub fn join(&self, name: &[u8]) -> Result<Self, PathError> {
        let mut bytes = self.0.clone();
        if !bytes.is_empty() {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(name);
        Self::of_bytes(&bytes)
    }

    /// Its names, outermost first.
    pub fn names(&self) -> impl Iterator<Item = &OsStr> {
        let names = self.0.split(|byte| *byte == b'/');
        names.filter(|name| !name.is_empty()).map(OsStr::from_bytes)
    }

    /// The folder that it lies in, and its last name; `None` for the directory itself.
    pub fn split(&self) -> Option<(Self, &OsStr)> {
        if self.is_top() {
            return None;
        }
        Some(match self.0.iter().rposition(|byte| *byte == b'/') {
            None => (Self::top(), OsStr::from_bytes(&self.0)),
            Some(at) => (
                Self(self.0[..at].to_owned()),
                OsStr::from_bytes(&self.0[at + 1..]),
            ),
        })
    }

    /// The folder that it lies in; `None` for the directory itself.
    pub fn above(&self) -> Option<Self> {
        self.split().map(|(folder, _)| folder)
    }

    /// Whether it is that path or lies below it.
    pub fn is_in(&self, folder: &Self) -> bool {
        let Some(rest) = self.0.strip_prefix(folder.0.as_slice()) else {
            return false;
        };
        folder.is_top() || rest.is_empty() || rest[0] == b'/'
    }
}

fn fault(bytes: &[u8], why: &'static str) -> PathError {
    let text = escaped(bytes);
    PathError { text, why }
}

/// Bytes as text that can be read back.
pub(super) fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_control() || character == '%' {
                let mut buffer = [0; 4];
                for byte in character.encode_utf8(&mut buffer).bytes() {
                    text.push_str(&format!("%{byte:02X}"));
                }
            } else {
                text.push(character);
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// The bytes of such a text; `None` when it is not one that [`escaped`] gives.
pub(super) fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        if *first == b'%' {
            let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    (escaped(&bytes) == text).then_some(bytes)
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_top() {
            return f.write_str(".");
        }
        f.write_str(&escaped(&self.0))
    }
}

impl FromStr for RelPath {
    type Err = PathError;

    /// Reads back what `Display` gives.
    fn from_str(text: &str) -> Result<Self, PathError> {
        if text == "." {
            return Ok(Self::top());
        }
        let bytes = unescaped(text).ok_or_else(|| fault(text.as_bytes(), "not escaped rightly"))?;
        Self::of_bytes(&bytes)
    }
}

impl Serialize for RelPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RelPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_could_lead_out_is_no_path() {
        let refused = [
            "",
            "/etc/passwd",
            "../x",
            "a/../b",
            "a//b",
            "a/",
            "./a",
            ".",
            "..",
            "a/..",
            "a\0b",
            "a\nb",
            ".redress-switch",
            "a/.redress-switch/new",
        ];
        for text in refused {
            assert!(RelPath::named(text).is_err(), "{text:?}");
        }
        assert!(RelPath::named(&"a/".repeat(DEPTH_MAX)).is_err());
        assert!(RelPath::named(&format!("{}a", "a/".repeat(DEPTH_MAX))).is_err());
        for text in ["a", "a/b", "..a", "a b", "a%2F", "é", ".hidden"] {
            assert!(RelPath::named(text).is_ok(), "{text:?}");
        }
    }

    #[test]
    fn a_path_knows_where_it_lies() {
        let path = RelPath::named("a/b/c").expect("a path");
        let (folder, name) = path.split().expect("not the top");
        assert_eq!((folder.to_string().as_str(), name), ("a/b", "c".as_ref()));
        let lies = |folder: &str| path.is_in(&folder.parse().expect("a path"));
        assert!(lies("a") && lies("a/b/c") && lies("."));
        assert!(!lies("a/bb") && !lies("b"));
    }

    proptest! {
        #[test]
        fn any_bytes_come_back_from_their_text(bytes in proptest::collection::vec(any::<u8>(), 1..80)) {
            if let Ok(path) = RelPath::of_bytes(&bytes) {
                let text = path.to_string();
                prop_assert!(!text.chars().any(char::is_control));
                prop_assert_eq!(text.parse::<RelPath>().expect("it was written by us"), path);
            }
        }

        #[test]
        fn a_text_that_was_read_names_only_what_lies_below(text in "[./a%\\x00-\\x7f]{0,12}") {
            if let Ok(path) = text.parse::<RelPath>() {
                prop_assert!(path.names().all(|name| name != ".." && name != "." && !name.is_empty()));
            }
        }
    }
}
