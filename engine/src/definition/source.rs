//! Says where in a file a value stands, so that a later refusal can point at it.
//!
//! **Invariant:** every finding gets a line and a column: its own, or those of the nearest value
//! around it.

use std::collections::HashMap;
use std::fmt;

use redress_ledger::Class;

use crate::name::tame;

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

/// The places of all values of one file, by JSON pointer.
#[derive(Clone, Debug)]
pub struct SourceMap {
    file: String,
    values: HashMap<String, Position>,
    keys: HashMap<String, Position>,
}

impl SourceMap {
    pub(super) fn new(file: &str) -> Self {
        Self {
            file: tame(file),
            values: HashMap::new(),
            keys: HashMap::new(),
        }
    }

    /// The file's name, as it was given.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The place of a value, or of the nearest value around it (for one that the file leaves out).
    pub fn locate(&self, path: &str) -> Position {
        nearest(path, |path| self.values.get(path))
    }

    /// The place of a value's key; of the value where it has none.
    pub fn locate_key(&self, path: &str) -> Position {
        self.keys
            .get(path)
            .copied()
            .unwrap_or_else(|| self.locate(path))
    }

    /// Gives a finding its place.
    pub fn place(&self, finding: Finding) -> DefinitionError {
        let Finding { path, problem } = finding;
        let at = match problem {
            Problem::Shape { at_key: true, .. } => self.locate_key(&path),
            _ => self.locate(&path),
        };
        self.error(path, problem, at)
    }

    pub(super) fn error(&self, path: String, problem: Problem, at: Position) -> DefinitionError {
        DefinitionError {
            problem,
            path,
            file: self.file.clone(),
            line: at.line,
            column: at.column,
        }
    }

    pub(super) fn put_value(&mut self, path: &str, at: Position) {
        self.values.insert(path.to_owned(), at);
    }

    pub(super) fn put_key(&mut self, path: &str, at: Position) {
        self.keys.insert(path.to_owned(), at);
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

fn nearest<'m>(mut path: &str, find: impl Fn(&str) -> Option<&'m Position>) -> Position {
    loop {
        if let Some(position) = find(path) {
            return *position;
        }
        match path.rfind('/') {
            Some(end) => path = &path[..end],
            None => return Position::START,
        }
    }
}
