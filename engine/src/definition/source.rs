//! Says where in a file a value stands, so that a later refusal can point at it.
//!
//! **Invariant:** every finding gets a line and a column: its own, or those of the nearest value
//! around it.

use std::collections::HashMap;
use std::fmt;

use redress_ledger::Class;

use crate::name::tame;
use crate::pointer::tokens_of;

use super::error::{Finding, Problem};

/// A place in a file; both numbers begin at 1 and count characters.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Position {
    /// The line.
    pub line: u32,
    /// The column.
    pub column: u32,
}

impl Position {
    /// The first character of a file.
    pub const START: Self = Self { line: 1, column: 1 };
}

/// The place of one value, of its key, and of what is in it.
///
/// A tree and not a list of paths: a path repeats every key above it, and a small file with long
/// keys could fill the memory with them.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) value: Position,
    pub(super) key: Option<Position>,
    pub(super) parts: HashMap<String, Place>,
}

impl Place {
    pub(super) fn new(value: Position) -> Self {
        Self {
            value,
            key: None,
            parts: HashMap::new(),
        }
    }
}

/// The places of all values of one file.
#[derive(Clone, Debug)]
pub struct SourceMap {
    file: String,
    root: Place,
}

impl SourceMap {
    pub(super) fn new(file: &str, root: Place) -> Self {
        let file = tame(file);
        Self { file, root }
    }

    /// The file's name, as it was given.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The place of a value, by JSON pointer, or of the nearest value around it (for one that the
    /// file leaves out).
    pub fn locate(&self, path: &str) -> Position {
        self.nearest(path).value
    }

    /// The place of a value's key; of the value where it has none.
    pub fn locate_key(&self, path: &str) -> Position {
        let place = self.nearest(path);
        place.key.unwrap_or(place.value)
    }

    /// Gives a finding its place.
    pub fn place(&self, finding: Finding) -> DefinitionError {
        let Finding { path, problem } = finding;
        let at = match problem {
            Problem::Shape { at_key: true, .. } => self.locate_key(&path),
            _ => self.locate(&path),
        };
        DefinitionError::new(problem, path, &self.file, at)
    }

    fn nearest(&self, path: &str) -> &Place {
        let mut place = &self.root;
        for token in tokens_of(path) {
            match place.parts.get(&token) {
                Some(part) => place = part,
                None => break,
            }
        }
        place
    }
}

/// What is wrong with a file, and where.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DefinitionError {
    /// What is wrong.
    pub problem: Problem,
    /// Which value, as a JSON pointer.
    pub path: String,
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1, in characters.
    pub column: u32,
}

impl DefinitionError {
    pub(super) fn new(problem: Problem, path: String, file: &str, at: Position) -> Self {
        Self {
            problem,
            path,
            file: tame(file),
            line: at.line,
            column: at.column,
        }
    }

    /// The stable code of this error.
    pub const fn code(&self) -> &'static str {
        self.problem.code()
    }

    /// What to do about it: nothing was changed.
    pub const fn class(&self) -> Class {
        self.problem.class()
    }

    /// What is wrong, without the place.
    pub fn message(&self) -> String {
        self.problem.to_string()
    }
}

impl std::error::Error for DefinitionError {}

impl fmt::Display for DefinitionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            problem,
            file,
            line,
            column,
            ..
        } = self;
        write!(f, "{file}:{line}:{column}: {problem}")
    }
}
