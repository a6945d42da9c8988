//! Decides whether an input may start a run: it can be kept exactly, and it fits the saga's JSON Schema.
//!
//! **Invariant:** compiling and checking fetch nothing, and patterns match in linear time, so a schema that
//! somebody else wrote cannot call out or stall a worker.
//!
//! **Invariant:** a message names the place and the rule, never the value: inputs may hold secrets.

use std::fmt;

use jsonschema::{PatternOptions, Validator};
use redress_ledger::Class;
use redress_ledger::canonical::INTEGER_MAX;
use serde_json::{Number, Value};

use crate::name::shown;
use crate::pointer::escape;

/// The deepest nesting of an input; a record holds it a few levels down and has a limit of 64 itself.
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
                message: error.to_string(),
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
                message: error.masked_with("the value").to_string(),
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
        format!("; at {}", shown(path).trim_matches('"'))
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
    #[test]
    fn probe() {
        for schema in [
            json!({"$ref":"#"}),
            json!({"allOf":[{"$ref":"#"}]}),
            json!({"$defs":{"a":{"$ref":"#/$defs/b"},"b":{"$ref":"#/$defs/a"}},"$ref":"#/$defs/a"}),
            json!({"$dynamicRef":"#"}),
            json!({"not":{"$ref":"#"}}),
            json!({"$ref":"https://example.com/x.json"}),
            json!({"$ref":"file:///etc/passwd"}),
            json!({"$schema":"https://example.com/x.json"}),
            json!({"format":"int32"}),
            json!({"type":"strin"}),
            json!({"pattern":"(a+)+$"}),
            json!({"pattern":"(?=a)"}),
            json!({"requird":1}),
            json!(3),
            json!(true),
            json!({"pattern":"a{1000}{1000}"}),
        ] {
            eprintln!("{schema}");
            match InputSchema::compile(&schema) {
                Ok(s) => eprintln!("   ok {:?}", s.check(&json!({"a":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab"}))),
                Err(e) => eprintln!("   {e}"),
            }
        }
    }
}
