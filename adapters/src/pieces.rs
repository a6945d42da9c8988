//! What `command` and `http` share: pieces that are fixed text or a pointer into the context, and that context.
//!
//! **Invariant:** a pointer's value is a whole piece; nothing is ever put into the middle of a text.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use redress::adapter::{AdapterError, Finding};
use redress::external::ExternalCall;
use redress::pointer::Pointer;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};

use crate::finding::{POINTER_ROOT, finding};

/// Fixed text, or `{pointer: /input/x}`.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Piece {
    /// As it stands.
    Text(String),
    /// The value that a pointer leads to, as a whole.
    At {
        /// Where it stands in the context.
        pointer: Pointer,
    },
}

impl Piece {
    /// The piece as text: texts, numbers and booleans have one.
    ///
    /// # Errors
    /// [`AdapterError::Pointer`] when the pointer leads to nothing, or to something else.
    pub fn text(&self, context: &Value) -> Result<String, AdapterError> {
        match self {
            Self::Text(text) => Ok(text.clone()),
            Self::At { pointer } => match found(pointer, context)? {
                Value::String(text) => Ok(text.clone()),
                Value::Number(number) => Ok(number.to_string()),
                Value::Bool(yes) => Ok(yes.to_string()),
                other => Err(AdapterError::Pointer(format!(
                    "the pointer leads to {}, and a text, a number or a boolean is needed: {pointer}",
                    kind(other)
                ))),
            },
        }
    }

    /// The pointer, when it is one.
    pub fn pointer(&self) -> Option<&Pointer> {
        match self {
            Self::Text(_) => None,
            Self::At { pointer } => Some(pointer),
        }
    }
}

impl<'de> Deserialize<'de> for Piece {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Piece;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or `{pointer: /…}`")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Piece, E> {
                Ok(Piece::Text(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Piece, A::Error> {
                let at = At::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Piece::At {
                    pointer: at.pointer,
                })
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct At {
    pointer: Pointer,
}

/// Reads a struct from a mapping and from nothing else: serde would take a list for its fields in their order.
pub(crate) fn mapping<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct Reader<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for Reader<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a mapping")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map))
        }
    }
    deserializer.deserialize_any(Reader(PhantomData))
}

/// As [`mapping`], where nothing may stand as well.
pub(crate) fn mapping_if_any<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    mapping(deserializer).map(Some)
}

/// A JSON value in which `{pointer: /…}` stands for the value there, of whatever type.
///
/// # Errors
/// [`AdapterError::Pointer`].
pub fn filled(template: &Value, context: &Value) -> Result<Value, AdapterError> {
    Ok(match template {
        Value::Object(fields) => match only_pointer(fields) {
            Some(text) => {
                let pointer = Pointer::parse(text)
                    .map_err(|error| AdapterError::Pointer(error.to_string()))?;
                found(&pointer, context)?.clone()
            }
            None => {
                let mut full = Map::new();
                for (name, value) in fields {
                    full.insert(name.clone(), filled(value, context)?);
                }
                Value::Object(full)
            }
        },
        Value::Array(list) => {
            let full: Result<Vec<Value>, _> = list.iter().map(|one| filled(one, context)).collect();
            Value::Array(full?)
        }
        other => other.clone(),
    })
}

/// Every pointer of a template, with its path in it; one that cannot be read is a finding.
pub(crate) fn pointers_in(
    template: &Value,
    path: &str,
    found: &mut Vec<(String, Pointer)>,
    findings: &mut Vec<Finding>,
) {
    match template {
        Value::Object(fields) => match only_pointer(fields) {
            Some(text) => match Pointer::parse(text) {
                Ok(pointer) => found.push((path.to_owned(), pointer)),
                Err(error) => findings.push(finding(path, POINTER_ROOT, error.to_string())),
            },
            None => {
                for (name, value) in fields {
                    let name = name.replace('~', "~0").replace('/', "~1");
                    pointers_in(value, &format!("{path}/{name}"), found, findings);
                }
            }
        },
        Value::Array(list) => {
            for (at, one) in list.iter().enumerate() {
                pointers_in(one, &format!("{path}/{at}"), found, findings);
            }
        }
        _ => {}
    }
}

fn only_pointer(fields: &Map<String, Value>) -> Option<&str> {
    match fields.len() {
        1 => fields.get("pointer").and_then(Value::as_str),
        _ => None,
    }
}

/// The value that a pointer leads to.
///
/// # Errors
/// [`AdapterError::Pointer`] when it leads to nothing.
pub fn found<'v>(pointer: &Pointer, context: &'v Value) -> Result<&'v Value, AdapterError> {
    pointer
        .resolve(context)
        .ok_or_else(|| AdapterError::Pointer(format!("the pointer leads to nothing: {pointer}")))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// When a call is made; what pointers may lead to differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// Before the act: what it captures is not there yet.
    Before,
    /// The act and its probe.
    Forth,
    /// The undo and its probe.
    Back,
}

impl When {
    /// The roots that are there; the last three only in a step of a runbook, which the engine holds a saga to.
    fn roots(self) -> &'static [&'static str] {
        match self {
            Self::Before => &[
                "run",
                "input",
                "phases",
                "approvals",
                "key",
                "params",
                "steps",
                "execution",
            ],
            Self::Forth => &[
                "run",
                "input",
                "phases",
                "approvals",
                "key",
                "captured",
                "params",
                "steps",
                "execution",
            ],
            Self::Back => &[
                "run",
                "input",
                "phases",
                "approvals",
                "key",
                "captured",
                "done",
                "plan",
                "decision",
            ],
        }
    }
}

/// What is wrong with a pointer at this time.
pub(crate) fn misdirected(path: &str, pointer: &Pointer, when: When) -> Option<Finding> {
    let roots = when.roots();
    if pointer.root().is_some_and(|root| roots.contains(&root)) {
        return None;
    }
    let message = format!(
        "only /{} can be pointed to here: {pointer}",
        roots.join(", /")
    );
    Some(finding(path, POINTER_ROOT, message))
}

/// What pointers of a call look into: the engine's context, the act's key, what was captured and what the act gave.
pub(crate) fn context_of(call: &ExternalCall<'_>) -> Value {
    let mut context = call.context.clone();
    if let Some(fields) = context.as_object_mut() {
        fields.insert("key".to_owned(), json!(call.act_key));
        for (name, source) in [("captured", call.prepared), ("done", call.undo)] {
            if let Some(value) = source.get(name) {
                fields.insert(name.to_owned(), value.clone());
            }
        }
    }
    context
}

/// What an adapter prepares: what it captured, under its name.
pub(crate) fn prepared(captured: Option<Map<String, Value>>) -> Value {
    match captured {
        Some(captured) => json!({ "captured": captured }),
        None => json!({}),
    }
}

/// Texts by name, as a saga file writes them.
pub type Texts = BTreeMap<String, Piece>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_is_a_whole_value() {
        let context = json!({"input": {"n": 3, "s": "a b", "list": [1], "none": null}});
        let check = |piece: Value, expected: Option<&str>| {
            let piece: Piece = serde_json::from_value(piece).unwrap();
            assert_eq!(piece.text(&context).ok().as_deref(), expected, "{piece:?}");
        };
        check(json!("/input/n"), Some("/input/n"));
        check(json!({"pointer": "/input/n"}), Some("3"));
        check(json!({"pointer": "/input/s"}), Some("a b"));
        check(json!({"pointer": "/input/list"}), None);
        check(json!({"pointer": "/input/none"}), None);
        check(json!({"pointer": "/input/nowhere"}), None);
        let template = json!({"a": {"pointer": "/input/list"}, "b": [{"pointer": "/input/none"}], "c": {"pointer": "/input/n", "d": 1}});
        let full = filled(&template, &context).unwrap();
        assert_eq!(
            full,
            json!({"a": [1], "b": [null], "c": {"pointer": "/input/n", "d": 1}})
        );
    }

    #[test]
    fn what_is_no_piece_is_refused() {
        for bad in [
            json!(1),
            json!(["a"]),
            json!({"pointer": "input"}),
            json!({"pointer": "/a", "x": 1}),
            json!(null),
        ] {
            assert!(
                serde_json::from_value::<Piece>(bad.clone()).is_err(),
                "{bad}"
            );
        }
    }
}
