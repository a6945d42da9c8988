//! Decides whether a value may be given for a parameter.
//!
//! **Invariant:** a value is bound or refused; no text is ever built from it.

use redress::name::Name;
use redress_ledger::canonical::INTEGER_MAX;
use regex::{Regex, RegexBuilder};
use serde_json::Value;
use uuid::Uuid;

use crate::model::{Param, ParamType};

/// The most characters of a text, unless the parameter says less.
pub const TEXT_CHARS_MAX: usize = 4_096;
/// The longest pattern, in bytes.
pub const PATTERN_BYTES_MAX: usize = 512;

impl ParamType {
    /// The type in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Text => "a text",
            Self::Integer => "a whole number",
            Self::Boolean => "true or false",
            Self::Uuid => "a UUID",
            Self::Timestamp => "an instant such as 2026-01-31T08:00:00Z",
            Self::Phase => "the name of a phase",
        }
    }
}

impl Param {
    /// Whether the value may be given.
    ///
    /// # Errors
    /// Why not, as the rest of a sentence that begins with the parameter's name; the value is not repeated.
    pub fn fits(&self, value: &Value) -> Result<(), String> {
        let wanted = || format!("must be {}", self.kind.words());
        match (self.kind, value) {
            (ParamType::Text, Value::String(text)) => self.text_fits(text)?,
            (ParamType::Integer, Value::Number(number)) => {
                let number = number.as_i64().ok_or_else(wanted)?;
                self.integer_fits(number)?;
            }
            (ParamType::Boolean, Value::Bool(_)) => {}
            (ParamType::Uuid, Value::String(text)) => {
                // Only the usual form: one value, one spelling.
                let uuid = Uuid::try_parse(text).map_err(|_| wanted())?;
                if uuid.hyphenated().to_string() != *text {
                    return Err("must be a UUID in lower case with hyphens".into());
                }
            }
            (ParamType::Timestamp, Value::String(text)) => {
                text.parse::<jiff::Timestamp>().map_err(|_| wanted())?;
            }
            (ParamType::Phase, Value::String(text)) => {
                Name::new(text.as_str()).map_err(|_| wanted())?;
            }
            _ => return Err(wanted()),
        }
        if !self.values.is_empty() && !self.values.contains(value) {
            return Err("is not one of the values that are listed".into());
        }
        Ok(())
    }

    fn text_fits(&self, text: &str) -> Result<(), String> {
        let max = self
            .max
            .map_or(TEXT_CHARS_MAX, |max| usize::try_from(max).unwrap_or(0));
        if text.contains('\0') {
            return Err("may not hold a NUL".into());
        }
        if text.chars().take(max + 1).count() > max {
            return Err(format!("has more than {max} characters"));
        }
        match &self.pattern {
            Some(pattern) if !compile(pattern)?.is_match(text) => {
                Err("does not match its pattern".into())
            }
            _ => Ok(()),
        }
    }

    fn integer_fits(&self, number: i64) -> Result<(), String> {
        let (min, max) = (
            self.min.unwrap_or(-INTEGER_MAX),
            self.max.unwrap_or(INTEGER_MAX),
        );
        if (min..=max).contains(&number) {
            Ok(())
        } else {
            Err(format!("must be from {min} to {max}"))
        }
    }
}

/// A pattern, anchored at both ends; time and memory are bounded by the engine of the library.
///
/// # Errors
/// Why it is none, in one line.
pub fn compile(pattern: &str) -> Result<Regex, String> {
    if pattern.len() > PATTERN_BYTES_MAX {
        return Err(format!(
            "has a pattern of more than {PATTERN_BYTES_MAX} bytes"
        ));
    }
    // First by itself: `a)|(b` would be a pattern only between our own parentheses.
    let checked = RegexBuilder::new(pattern)
        .size_limit(PATTERN_SIZE_MAX)
        .build();
    checked
        .and_then(|_| {
            RegexBuilder::new(&format!(r"\A(?:{pattern})\z"))
                .size_limit(PATTERN_SIZE_MAX)
                .build()
        })
        .map_err(|error| {
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default();
            let why = last.trim().trim_start_matches("error: ");
            format!(
                "has a pattern that does not compile: {}",
                crate::text::plain(why)
            )
        })
}

const PATTERN_SIZE_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn param(yaml: Value) -> Param {
        serde_json::from_value(yaml).unwrap()
    }

    #[test]
    fn a_value_fits_or_is_refused() {
        let check = |of: Value, value: Value, fits: bool| {
            let result = param(of.clone()).fits(&value);
            assert_eq!(result.is_ok(), fits, "{of} {value}: {result:?}");
        };
        check(json!({"type": "text"}), json!("'; drop table x; --"), true);
        check(json!({"type": "text"}), json!("a\0"), false);
        check(json!({"type": "text"}), json!(1), false);
        check(json!({"type": "text", "max": 2}), json!("äöü"), false);
        check(
            json!({"type": "text", "pattern": "[a-z]+"}),
            json!("ab"),
            true,
        );
        check(
            json!({"type": "text", "pattern": "[a-z]+"}),
            json!("ab\n"),
            false,
        );
        check(
            json!({"type": "text", "pattern": "a|b"}),
            json!("ac"),
            false,
        );
        check(json!({"type": "integer", "min": 1}), json!(0), false);
        check(json!({"type": "integer"}), json!(1), true);
        check(json!({"type": "integer"}), json!("1"), false);
        check(
            json!({"type": "integer"}),
            json!(9_007_199_254_740_993_u64),
            false,
        );
        check(json!({"type": "boolean"}), json!(true), true);
        check(json!({"type": "boolean"}), json!("true"), false);
        check(
            json!({"type": "uuid"}),
            json!("01978f5e-aaaa-7bbb-8ccc-0123456789ab"),
            true,
        );
        check(
            json!({"type": "uuid"}),
            json!("01978F5E-aaaa-7bbb-8ccc-0123456789ab"),
            false,
        );
        check(json!({"type": "uuid"}), json!("x"), false);
        check(
            json!({"type": "timestamp"}),
            json!("2026-01-31T08:00:00Z"),
            true,
        );
        check(json!({"type": "timestamp"}), json!("yesterday"), false);
        check(json!({"type": "phase"}), json!("write_verify"), true);
        check(json!({"type": "phase"}), json!("x; y"), false);
        check(
            json!({"type": "text", "values": ["a", "b"]}),
            json!("c"),
            false,
        );
    }

    #[test]
    fn a_pattern_is_whole_and_bounded() {
        assert!(compile("[a-z").unwrap_err().contains("does not compile"));
        assert!(compile("a)|(b").is_err());
        assert!(compile("a{1000}{1000}{1000}").is_err());
        assert!(compile(&"a".repeat(PATTERN_BYTES_MAX + 1)).is_err());
        assert!(compile("a|b").unwrap().is_match("b"));
        assert!(!compile("a|b").unwrap().is_match("xb"));
    }
}
