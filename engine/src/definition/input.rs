//! Decides whether an input may start a run: it can be kept exactly, and it fits the saga's JSON
//! Schema.
//!
//! **Invariant:** compiling and checking fetch nothing, and patterns match in linear time, so a
//! schema that somebody else wrote cannot call out or stall a worker.
//!
//! **Invariant:** a message names the place and the rule, never the value: inputs may hold secrets.

use std::fmt;

use jsonschema::{PatternOptions, Validator};
use redress_ledger::Class;
use redress_ledger::canonical::INTEGER_MAX;
use serde_json::{Number, Value};

use crate::name::tame;
use crate::pointer::escape;

/// The deepest nesting of an input; a record holds it a few levels down and has a limit of 64
/// itself.
pub const INPUT_DEPTH_MAX: usize = 60;
/// The most errors that one check reports.
pub const INPUT_ERRORS_MAX: usize = 50;
/// The largest automaton of one pattern, in bytes.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// A compiled JSON Schema of a saga's input.
#[derive(Debug)]
pub struct InputSchema {
    validator: Validator,
}

impl InputSchema {
    /// Compiles a schema; a reference to anything outside it is refused.
    pub fn compile(schema: &Value) -> Result<Self, InputError> {
        let patterns = PatternOptions::regex()
            .size_limit(PATTERN_BYTES_MAX)
            .dfa_size_limit(PATTERN_BYTES_MAX);
        let validator = jsonschema::options()
            .offline()
            .with_pattern_options(patterns)
            .should_validate_formats(true)
            .should_ignore_unknown_formats(false)
            .build(schema)
            .map_err(|error| InputError::Schema {
                path: error.instance_path().to_string(),
                message: tame(&error.to_string()),
            })?;
        Ok(Self { validator })
    }

    /// Checks an input; all errors come back, up to [`INPUT_ERRORS_MAX`].
    pub fn check(&self, input: &Value) -> Result<(), Vec<InputError>> {
        let mut errors = Vec::new();
        keepable(input, &mut String::new(), 0, &mut errors);
        if errors.is_empty() {
            let found = self.validator.iter_errors(input).take(INPUT_ERRORS_MAX);
            errors.extend(found.map(|error| InputError::Unfit {
                path: error.instance_path().to_string(),
                message: tame(&error.masked_with("the value").to_string()),
            }));
        }
        if errors.is_empty() {
            Ok(())
        } else {
            Err(errors)
        }
    }
}

/// Why a schema or an input is refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// The JSON Schema itself is not valid.
    #[error("{message}{}", at(.path))]
    Schema {
        /// Where in the schema.
        path: String,
        /// What is wrong.
        message: String,
    },
    /// The input does not fit the schema.
    #[error("{message}{}", at(.path))]
    Unfit {
        /// Where in the input.
        path: String,
        /// The rule that is broken.
        message: String,
    },
    /// The input holds something that a record cannot keep exactly.
    #[error("{why}{}", at(.path))]
    NotKept {
        /// Where in the input.
        path: String,
        /// What it is, and what to write instead.
        why: &'static str,
    },
}

impl InputError {
    /// The stable code of this error.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Schema { .. } => "RD0122",
            Self::Unfit { .. } => "RD0130",
            Self::NotKept { .. } => "RD0131",
        }
    }

    /// What to do about it: nothing was changed.
    pub const fn class(&self) -> Class {
        match self {
            Self::Schema { .. } | Self::Unfit { .. } | Self::NotKept { .. } => Class::Refused,
        }
    }

    /// The JSON pointer of the part that is meant.
    pub fn path(&self) -> &str {
        match self {
            Self::Schema { path, .. } | Self::Unfit { path, .. } | Self::NotKept { path, .. } => {
                path
            }
        }
    }
}

fn at(path: &str) -> impl fmt::Display {
    if path.is_empty() {
        String::new()
    } else {
        format!("; at {}", tame(path))
    }
}

fn keepable(value: &Value, path: &mut String, depth: usize, errors: &mut Vec<InputError>) {
    if errors.len() >= INPUT_ERRORS_MAX {
        return;
    }
    let why = match value {
        Value::Null | Value::Bool(_) => return,
        Value::Number(number) => not_exact(number),
        Value::String(text) => text.contains('\0').then_some(NUL),
        Value::Array(_) | Value::Object(_) if depth >= INPUT_DEPTH_MAX => {
            Some("the input nests too deep; at most 60 levels are kept")
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                below(&at.to_string(), item, path, depth, errors);
            }
            return;
        }
        Value::Object(members) => {
            for (key, member) in members {
                below(key, member, path, depth, errors);
            }
            members.keys().any(|key| key.contains('\0')).then_some(NUL)
        }
    };
    if let Some(why) = why {
        let path = path.clone();
        errors.push(InputError::NotKept { path, why });
    }
}

const NUL: &str = "text with a NUL cannot be kept";

fn below(
    token: &str,
    value: &Value,
    path: &mut String,
    depth: usize,
    errors: &mut Vec<InputError>,
) {
    let parent = path.len();
    path.push('/');
    path.push_str(&escape(token));
    keepable(value, path, depth + 1, errors);
    path.truncate(parent);
}

fn not_exact(number: &Number) -> Option<&'static str> {
    match number.as_i64() {
        Some(integer) if integer.unsigned_abs() <= INTEGER_MAX.unsigned_abs() => None,
        Some(_) => Some(BEYOND),
        None if number.is_u64() => Some(BEYOND),
        None => Some(
            "a number with a fraction or an exponent is not kept exactly; use a whole number of a smaller unit, or text",
        ),
    }
}

const BEYOND: &str = "an integer beyond 2^53 is not kept exactly; write it as text";

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::time::{Duration, Instant};

    fn errors(schema: Value, input: Value) -> Vec<String> {
        let schema = InputSchema::compile(&schema).unwrap();
        match schema.check(&input) {
            Ok(()) => Vec::new(),
            Err(errors) => errors
                .iter()
                .map(|error| format!("{} {}", error.code(), error.path()))
                .collect(),
        }
    }

    #[test]
    fn every_broken_rule_is_named_with_its_place() {
        let schema = json!({
            "type": "object",
            "required": ["order", "qty"],
            "properties": {
                "order": {"type": "string", "minLength": 1},
                "qty": {"type": "integer", "minimum": 1, "multipleOf": 2},
                "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}},
                "day": {"format": "date"}
            },
            "additionalProperties": false,
            "$defs": {"line": {"type": "object", "required": ["a/b"]}}
        });
        let check = |input: Value, expected: &[&str]| {
            assert_eq!(errors(schema.clone(), input.clone()), expected, "{input}");
        };
        check(
            json!({"order": "a", "qty": 2, "lines": [{"a/b": null}], "day": "2024-02-29"}),
            &[],
        );
        check(
            json!({"order": "", "qty": 0}),
            &["RD0130 /order", "RD0130 /qty"],
        );
        check(json!({"qty": 2}), &["RD0130 "]);
        check(json!({"order": "a", "qty": 3}), &["RD0130 /qty"]);
        check(
            json!({"order": "a", "qty": 2, "lines": [{"a/b": 1}, {}]}),
            &["RD0130 /lines/1"],
        );
        check(json!({"order": "a", "qty": 2, "other": 1}), &["RD0130 "]);
        check(
            json!({"order": "a", "qty": 2, "day": "2023-02-29"}),
            &["RD0130 /day"],
        );
        check(json!([]), &["RD0130 "]);
    }

    #[test]
    fn what_a_record_cannot_hold_exactly_is_refused_whatever_the_schema_says() {
        let check = |text: &str, expected: &[&str]| {
            let input: Value = serde_json::from_str(text).unwrap();
            assert_eq!(errors(json!(true), input), expected, "{text}");
        };
        check("[9007199254740991, -9007199254740991, null, true]", &[]);
        check("[9007199254740992]", &["RD0131 /0"]);
        check("[-9007199254740992]", &["RD0131 /0"]);
        check(
            "[18446744073709551615, 99999999999999999999]",
            &["RD0131 /0", "RD0131 /1"],
        );
        check(
            r#"{"a": {"b/c": 1.5}, "d": 1.0, "e": 1e3}"#,
            &["RD0131 /a/b~1c", "RD0131 /d", "RD0131 /e"],
        );
        check(
            r#"["a\u0000b", {"a\u0000b": 1}]"#,
            &["RD0131 /0", "RD0131 /1"],
        );
        let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        check(&deep(INPUT_DEPTH_MAX), &[]);
        let path = format!("RD0131 {}", "/0".repeat(INPUT_DEPTH_MAX));
        check(&deep(INPUT_DEPTH_MAX + 1), &[&path]);
        let many = Value::from(vec![0.5; 10_000]);
        assert_eq!(errors(json!(true), many).len(), INPUT_ERRORS_MAX);
    }

    #[test]
    fn a_schema_that_is_none_is_refused_and_nothing_is_fetched() {
        let check = |schema: Value, path: &str| {
            let error = InputSchema::compile(&schema).expect_err(&schema.to_string());
            assert_eq!((error.code(), error.path()), ("RD0122", path), "{error}");
        };
        check(json!(3), "");
        check(json!({"type": "strin"}), "/type");
        check(
            json!({"properties": {"a": {"minimum": "1"}}}),
            "/properties/a/minimum",
        );
        check(json!({"pattern": "("}), "/pattern");
        check(json!({"pattern": "(?=a)b"}), "/pattern");
        check(json!({"pattern": "a{1000}{1000}"}), "/pattern");
        check(json!({"format": "no-such-format"}), "/format");
        let started = Instant::now();
        for elsewhere in ["https://192.0.2.1/a.json", "file:///etc/passwd", "a.json"] {
            let schema = json!({"$ref": elsewhere});
            assert!(InputSchema::compile(&schema).is_err(), "{elsewhere}");
        }
        assert!(InputSchema::compile(&json!({"$schema": "https://192.0.2.1/s"})).is_err());
        assert!(started.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn a_hostile_schema_ends() {
        for schema in [
            json!({"$ref": "#"}),
            json!({"allOf": [{"$ref": "#"}]}),
            json!({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}),
            json!({"pattern": "^(a+)+$"}),
        ] {
            let started = Instant::now();
            let text = "a".repeat(2_000) + "!";
            if let Ok(schema) = InputSchema::compile(&schema) {
                let _ = schema.check(&json!(text));
            }
            assert!(started.elapsed() < Duration::from_secs(5), "{schema}");
        }
    }

    /// F98: inputs may hold secrets.
    #[test]
    fn a_message_never_shows_the_value() {
        let schema = json!({"properties": {
            "a": {"type": "integer"}, "b": {"enum": ["x"]}, "c": {"pattern": "^x$"}, "d": {"anyOf": [{"type": "null"}]},
            "e": {"items": false}, "f": {"const": 1}, "g": {"format": "date"}, "h": {"not": {}}
        }});
        let schema = InputSchema::compile(&schema).unwrap();
        let canary = "canary-7f3a";
        let fields = ["a", "b", "c", "d", "f", "g", "h"];
        let mut input: serde_json::Map<_, _> = fields
            .into_iter()
            .map(|field| (field.to_owned(), json!(canary)))
            .collect();
        input.insert("e".into(), json!([canary]));
        let errors = schema.check(&Value::Object(input)).unwrap_err();
        assert_eq!(errors.len(), 8);
        for error in errors {
            assert!(!format!("{error} {error:?}").contains(canary), "{error}");
        }
    }
}
