//! Decides which value of a run's context a statement, a subject or a query means: RFC 6901,
//! nothing else.
//!
//! **Invariant:** a pointer is only ever looked up; no text is built from what it finds.
//!
//! **Not here:** what the context holds (`/run`, `/input`, `/phases`, …); that is the phase's
//! business.

use std::fmt;
use std::str::FromStr;

use redress_ledger::Class;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;

use crate::name::shown;

/// The longest pointer, in bytes.
pub const POINTER_BYTES_MAX: usize = 1_024;

/// A parsed RFC 6901 JSON pointer.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Pointer {
    tokens: Vec<String>,
}

impl Pointer {
    /// Parses `/a/b~1c`; the empty text points to the whole document.
    pub fn parse(text: &str) -> Result<Self, PointerError> {
        let refuse = |why| {
            Err(PointerError::Shape {
                why,
                pointer: shown(text),
            })
        };
        if text.len() > POINTER_BYTES_MAX {
            return refuse("is longer than 1024 bytes");
        }
        if text.contains('\0') {
            return refuse("holds a NUL");
        }
        if text.is_empty() {
            return Ok(Self::default());
        }
        let Some(rest) = text.strip_prefix('/') else {
            return refuse("must begin with `/`");
        };
        let mut tokens = Vec::new();
        for raw in rest.split('/') {
            match unescape(raw) {
                Some(token) => tokens.push(token),
                None => return refuse("has a `~` that is not `~0` or `~1`"),
            }
        }
        Ok(Self { tokens })
    }

    /// Makes a pointer of plain tokens; they are escaped when shown.
    pub fn from_tokens<T: Into<String>>(tokens: impl IntoIterator<Item = T>) -> Self {
        Self {
            tokens: tokens.into_iter().map(Into::into).collect(),
        }
    }

    /// The unescaped tokens.
    pub fn tokens(&self) -> &[String] {
        &self.tokens
    }

    /// The first token: which part of the context is meant.
    pub fn root(&self) -> Option<&str> {
        self.tokens.first().map(String::as_str)
    }

    /// Finds the value; `None` when it points to nothing (which callers refuse; JSON null is a
    /// value).
    pub fn resolve<'v>(&self, document: &'v Value) -> Option<&'v Value> {
        self.tokens
            .iter()
            .try_fold(document, |value, token| match value {
                Value::Object(map) => map.get(token),
                Value::Array(items) => items.get(array_index(token)?),
                _ => None,
            })
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tokens
            .iter()
            .try_for_each(|token| write!(f, "/{}", escape(token)))
    }
}

impl FromStr for Pointer {
    type Err = PointerError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl Serialize for Pointer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Pointer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(de::Error::custom)
    }
}

/// Why a text is not a pointer.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PointerError {
    /// The text is not RFC 6901, or too long.
    #[error("a pointer {why}: {pointer}")]
    Shape {
        /// What is wrong, as the rest of a sentence that begins "a pointer".
        why: &'static str,
        /// The text, escaped and cut so that it can be shown.
        pointer: String,
    },
}

impl PointerError {
    /// The stable code of this error.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Shape { .. } => "RD0102",
        }
    }

    /// What to do about it: nothing was changed.
    pub const fn class(&self) -> Class {
        match self {
            Self::Shape { .. } => Class::Refused,
        }
    }
}

/// The tokens of a pointer that was made here and not read; it may be longer than one that is read.
pub(crate) fn tokens_of(made: &str) -> impl Iterator<Item = String> {
    made.split('/').skip(1).filter_map(unescape)
}

/// Escapes one token for use in a pointer's text.
pub(crate) fn escape(token: &str) -> String {
    token.replace('~', "~0").replace('/', "~1")
}

fn unescape(raw: &str) -> Option<String> {
    let mut out = String::with_capacity(raw.len());
    let mut chars = raw.chars();
    while let Some(c) = chars.next() {
        match c {
            '~' => out.push(match chars.next()? {
                '0' => '~',
                '1' => '/',
                _ => return None,
            }),
            _ => out.push(c),
        }
    }
    Some(out)
}

/// RFC 6901 knows no signs and no leading zeros; `-` (past the end) never points to a value.
fn array_index(token: &str) -> Option<usize> {
    let plain = token == "0"
        || (!token.starts_with('0') && token.bytes().all(|byte| byte.is_ascii_digit()));
    if plain { token.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_examples_of_rfc_6901_resolve() {
        let document = json!({
            "foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4, "i\\j": 5, "k\"l": 6, " ": 7, "m~n": 8
        });
        let cases = [
            ("/foo", json!(["bar", "baz"])),
            ("/foo/0", json!("bar")),
            ("/", json!(0)),
            ("/a~1b", json!(1)),
            ("/c%d", json!(2)),
            ("/e^f", json!(3)),
            ("/g|h", json!(4)),
            ("/i\\j", json!(5)),
            ("/k\"l", json!(6)),
            ("/ ", json!(7)),
            ("/m~0n", json!(8)),
        ];
        for (text, expected) in cases {
            let pointer = Pointer::parse(text).unwrap();
            assert_eq!(pointer.resolve(&document), Some(&expected), "{text}");
            assert_eq!(pointer.to_string(), text);
        }
        assert_eq!(Pointer::default().resolve(&document), Some(&document));
    }

    #[test]
    fn a_pointer_to_nothing_finds_nothing() {
        let document = json!({"a": [1, 2], "n": null});
        for text in [
            "/b",
            "/a/2",
            "/a/-",
            "/a/01",
            "/a/+1",
            "/a/ 1",
            "/n/x",
            "/a/0/x",
            "/a/99999999999999999999",
        ] {
            assert_eq!(
                Pointer::parse(text).unwrap().resolve(&document),
                None,
                "{text}"
            );
        }
        assert_eq!(
            Pointer::parse("/n").unwrap().resolve(&document),
            Some(&Value::Null)
        );
    }

    #[test]
    fn what_is_not_a_pointer_is_refused() {
        let long = format!("/{}", "a".repeat(POINTER_BYTES_MAX));
        for text in ["a", "input/a", "/a~", "/a~2", "#/a", "/a\0", &long] {
            let error = Pointer::parse(text).expect_err(text);
            assert_eq!(error.code(), "RD0102");
        }
    }
}
