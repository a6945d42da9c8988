//! The typed `with` of the `command` adapter.

use std::fmt;

use redress::pointer::Pointer;
use serde::de::value::MapAccessDeserializer;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::pieces::Piece;

/// What a phase with `adapter: command` gives under `with`.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct With {
    /// The program and its arguments; the program is fixed, and one that the worker lists.
    pub argv: Vec<Piece>,
    /// What is written to its standard input, as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin: Option<Pointer>,
    /// Names of the worker's environment variables that it gets, among those that the worker allows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// Where it runs; `/` when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// How its standard output is kept.
    #[serde(default, skip_serializing_if = "Output::is_text")]
    pub output: Output,
    /// Exit codes that say: nothing was done, try again. 75 is one of them always.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retry: Vec<i32>,
    /// Exit codes that leave open whether it was done: the probe is asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<i32>,
    /// Says whether it was done: exit code 0 yes, 1 no, any other one cannot tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<Command>,
    /// Takes it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<Undo>,
    /// Looks before the act, without changing anything; its output is at `/captured`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capture: Option<Command>,
    /// It changes nothing, so it needs neither probe nor undo.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
}

/// How standard output is kept.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Output {
    /// As text, at `/phases/PHASE/stdout`.
    #[default]
    Text,
    /// As the JSON value that it is, at `/phases/PHASE/json`.
    Json,
}

impl Output {
    fn is_text(&self) -> bool {
        *self == Self::Text
    }
}

/// A command beside the act: a list of arguments, or a mapping with `argv`.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Command {
    /// The program and its arguments.
    pub argv: Vec<Piece>,
    /// What is written to its standard input, as JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdin: Option<Pointer>,
}

/// The undo: a list of arguments, or a mapping with `argv` and its own `probe`.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Undo {
    /// The program and its arguments.
    pub argv: Vec<Piece>,
    /// What is written to its standard input, as JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdin: Option<Pointer>,
    /// Says whether it was undone, by the same exit codes; without it the act's own probe is asked, whose "not done" is
    /// this one's "done".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe: Option<Command>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CommandFields {
    argv: Vec<Piece>,
    #[serde(default)]
    stdin: Option<Pointer>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UndoFields {
    argv: Vec<Piece>,
    #[serde(default)]
    stdin: Option<Pointer>,
    #[serde(default)]
    probe: Option<Command>,
}

/// A list of arguments or a mapping.
trait ListOrMapping: Sized {
    type Fields: for<'de> Deserialize<'de>;

    fn of_list(argv: Vec<Piece>) -> Self;
    fn of_fields(fields: Self::Fields) -> Self;
}

impl ListOrMapping for Command {
    type Fields = CommandFields;

    fn of_list(argv: Vec<Piece>) -> Self {
        Self { argv, stdin: None }
    }

    fn of_fields(fields: CommandFields) -> Self {
        Self {
            argv: fields.argv,
            stdin: fields.stdin,
        }
    }
}

impl ListOrMapping for Undo {
    type Fields = UndoFields;

    fn of_list(argv: Vec<Piece>) -> Self {
        Self {
            argv,
            ..Self::default()
        }
    }

    fn of_fields(fields: UndoFields) -> Self {
        Self {
            argv: fields.argv,
            stdin: fields.stdin,
            probe: fields.probe,
        }
    }
}

struct Reader<T>(std::marker::PhantomData<T>);

impl<'de, T: ListOrMapping> Visitor<'de> for Reader<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of arguments or a mapping with `argv`")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<T, A::Error> {
        Vec::<Piece>::deserialize(SeqAccessDeserializer::new(list)).map(T::of_list)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::Fields::deserialize(MapAccessDeserializer::new(map)).map(T::of_fields)
    }
}

impl<'de> Deserialize<'de> for Command {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader(std::marker::PhantomData))
    }
}

impl<'de> Deserialize<'de> for Undo {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader(std::marker::PhantomData))
    }
}
