//! Decides what a saga, a phase, an adapter or a query may be called.
//!
//! **Invariant:** a [`Name`] matches `[a-z][a-z0-9_-]{0,62}`, so it fits PostgreSQL's identifiers
//! and needs no escaping in a message, a file name, a JSON pointer or a terminal.
//!
//! **Not here:** names of roles and relations; those are PostgreSQL's and keep its rules.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use redress_ledger::Class;
use serde::{Deserialize, Deserializer, Serialize, de};

/// The longest name, in bytes.
pub const NAME_BYTES_MAX: usize = 63;

/// A checked name: `[a-z][a-z0-9_-]{0,62}`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct Name(String);

impl Name {
    /// Checks the text and keeps it.
    pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
        let text = text.into();
        match fault(&text) {
            None => Ok(Self(text)),
            Some(why) => Err(NameError::Shape {
                why,
                name: shown(&text),
            }),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

impl TryFrom<&str> for Name {
    type Error = NameError;

    fn try_from(text: &str) -> Result<Self, Self::Error> {
        Self::new(text)
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// Lets a map keyed by `Name` be asked with `&str`; order and hash are those of the text.
impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for Name {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

impl PartialEq<&str> for Name {
    fn eq(&self, other: &&str) -> bool {
        self.0 == *other
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(text).map_err(de::Error::custom)
    }
}

/// Why a text is not a name.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// The text does not match `[a-z][a-z0-9_-]{0,62}`.
    #[error("a name {why} (a name is `[a-z][a-z0-9_-]{{0,62}}`): {name}")]
    Shape {
        /// What is wrong, as the rest of a sentence that begins "a name".
        why: &'static str,
        /// The text, escaped and cut so that it can be shown.
        name: String,
    },
}

impl NameError {
    /// The stable code of this error.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Shape { .. } => "RD0101",
        }
    }

    /// What to do about it: nothing was changed.
    pub const fn class(&self) -> Class {
        match self {
            Self::Shape { .. } => Class::Refused,
        }
    }
}

fn fault(text: &str) -> Option<&'static str> {
    let mut bytes = text.bytes();
    match bytes.next() {
        None => return Some("may not be empty"),
        Some(b'a'..=b'z') => {}
        Some(_) => return Some("must begin with a lower-case letter"),
    }
    if text.len() > NAME_BYTES_MAX {
        return Some("may have at most 63 characters");
    }
    if !bytes.all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-')) {
        return Some("may hold only lower-case letters, digits, `_` and `-`");
    }
    None
}

/// Quotes a text from outside for a message: escaped, and cut where it is long.
pub(crate) fn shown(text: &str) -> String {
    const CHARS_MAX: usize = 80;
    let mut cut: String = text.chars().take(CHARS_MAX).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    let escaped = cut.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{}\"", tame(&escaped))
}

/// Escapes what a terminal would act on, and what hides or reorders text; everything else stays as it is. The one place
/// that decides this: messages, runbooks and screens all ask here.
pub fn tame(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || is_invisible(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// Characters that have no width, hide or reorder text, or are drawn in as many cells as a terminal likes.
pub fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_names_are_kept_verbatim() {
        let longest = format!("a{}", "b".repeat(62));
        for text in ["a", "cut_leg_a", "cut-leg-a", "z9", "a-", "a_", &longest] {
            assert_eq!(Name::new(text).unwrap().as_str(), text);
        }
    }

    /// F96
    #[test]
    fn nasty_names_are_refused_and_shown_harmless() {
        let long = "a".repeat(64);
        let nasty = [
            "",
            " ",
            "A",
            "aB",
            "9a",
            "_a",
            "-a",
            "a b",
            "a.b",
            "a;drop table x",
            "a'",
            "a\"",
            "a`",
            "a\\",
            "a/b",
            "../a",
            "a\0",
            "a\n",
            "\u{1b}[31ma",
            "ä",
            "aä",
            "а",
            "a\u{200b}",
            "a\u{202e}",
            "${a}",
            "{{a}}",
            "a$",
            "a%",
            "--",
            "/*a*/",
            "a\r\n",
            "a\t",
            "\u{feff}a",
            "a'; select pg_sleep(10); --",
            &long,
        ];
        for text in nasty {
            let error = Name::new(text).expect_err(text);
            assert_eq!(error.code(), "RD0101");
            let message = error.to_string();
            assert!(!message.chars().any(char::is_control), "{message:?}");
            assert!(!message.contains('\u{202e}'), "{message:?}");
            let json = serde_json::Value::from(text);
            assert!(serde_json::from_value::<Name>(json).is_err());
        }
    }

    #[test]
    fn a_long_text_is_cut_in_the_message() {
        let error = Name::new("A".repeat(100_000)).unwrap_err();
        assert!(error.to_string().len() < 300);
    }
}
