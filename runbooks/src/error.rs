//! What can be wrong with a runbook, each with a code that stays and, where a name was meant, a suggestion.
//!
//! **Invariant:** no text of a file reaches a message with characters that a terminal would act on.

use std::fmt;

use redress::definition::{DefinitionError, Problem as FileProblem, SourceMap};
use redress_ledger::Class;

use crate::text::{plain, quoted};

/// One thing that is wrong with a runbook, and which value it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The value, as a JSON pointer into the runbook.
    pub path: String,
    /// What is wrong.
    pub problem: Problem,
    /// What was probably meant.
    pub suggestion: Option<String>,
    at_key: bool,
}

impl Finding {
    /// Notes a problem at a value.
    pub fn new(path: impl Into<String>, problem: Problem) -> Self {
        Self {
            path: path.into(),
            problem,
            suggestion: None,
            at_key: false,
        }
    }

    /// The key of the value is meant, and not the value.
    #[must_use]
    pub fn at_key(mut self) -> Self {
        self.at_key = true;
        self
    }

    /// What was probably meant.
    #[must_use]
    pub fn meant(mut self, suggestion: Option<String>) -> Self {
        self.suggestion = suggestion;
        self
    }

    /// The same finding with its place in a file.
    pub fn placed(self, map: &SourceMap) -> RunbookError {
        let at = if self.at_key {
            map.locate_key(&self.path)
        } else {
            map.locate(&self.path)
        };
        RunbookError {
            problem: self.problem,
            suggestion: self.suggestion,
            path: self.path,
            file: map.file().to_owned(),
            line: at.line,
            column: at.column,
        }
    }
}

/// What is wrong with a runbook's file, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunbookError {
    /// What is wrong.
    pub problem: Problem,
    /// What was probably meant.
    pub suggestion: Option<String>,
    /// Which value, as a JSON pointer.
    pub path: String,
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1, in characters.
    pub column: u32,
}

impl RunbookError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        self.problem.code()
    }

    /// What to do about it: nothing was changed.
    pub fn class(&self) -> Class {
        self.problem.class()
    }

    /// What is wrong, without the place.
    pub fn message(&self) -> String {
        match &self.suggestion {
            Some(meant) => format!("{}; did you mean {}?", self.problem, quoted(meant)),
            None => self.problem.to_string(),
        }
    }
}

impl From<DefinitionError> for RunbookError {
    fn from(error: DefinitionError) -> Self {
        Self {
            problem: Problem::File(error.problem),
            suggestion: None,
            path: error.path,
            file: error.file,
            line: error.line,
            column: error.column,
        }
    }
}

impl std::error::Error for RunbookError {}

impl fmt::Display for RunbookError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (file, message) = (plain(&self.file), self.message());
        write!(f, "{file}:{}:{}: {message}", self.line, self.column)
    }
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// What a saga file could have as well: syntax, shape, a name that stands twice, a setting, a relation's name.
    #[error("{0}")]
    File(FileProblem),
    /// A step does nothing, or several things.
    #[error("a step does exactly one thing, this one {0}")]
    Kinds(String),
    /// Nobody ever tried it.
    #[error(
        "a runbook without tests is refused: give at least one fixture and what must come of it"
    )]
    Untested,
    /// Fewer people than its risk demands.
    #[error("{0}")]
    Approvals(String),
    /// It does more than its risk says.
    #[error("{0}")]
    Risk(String),
    /// It writes and does not say where and how much.
    #[error(
        "a transaction that writes needs a `scope` at the top: the relations, a query that counts the rows, and the most rows"
    )]
    Scope,
    /// A parameter that could not be given, or was given wrongly.
    #[error("{0}")]
    Param(String),
    /// A pointer that leads nowhere.
    #[error("{0}")]
    Pointer(String),
    /// A statement that may not stand there.
    #[error("{0}")]
    Statement(String),
    /// A text that cannot be shown to people.
    #[error("{0}")]
    Text(String),
    /// A length of time out of its bounds.
    #[error("{0}")]
    Duration(String),
    /// Something of that name does not exist.
    #[error("unknown {what}: {}", quoted(name))]
    Unknown {
        /// What it should be.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A refusal that has no proper code.
    #[error(
        "a refusal has a code of Redress (`RD0421`) or a word of its own such as `UNITS_ENACTED`, not {}",
        quoted(.0)
    )]
    Refusal(String),
    /// A test that shows nothing.
    #[error("{0}")]
    Test(String),
    /// It has no steps.
    #[error("a runbook has at least one step")]
    Nothing,
    /// A stored runbook that is not what it should be.
    #[error("the stored runbook cannot be read: {0}")]
    Stored(String),
}

impl Problem {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::File(problem) => problem.code(),
            Self::Kinds(_) => "RD0150",
            Self::Untested => "RD0151",
            Self::Approvals(_) => "RD0152",
            Self::Risk(_) => "RD0153",
            Self::Scope => "RD0154",
            Self::Param(_) => "RD0155",
            Self::Pointer(_) => "RD0156",
            Self::Statement(_) => "RD0157",
            Self::Text(_) => "RD0158",
            Self::Duration(_) => "RD0159",
            Self::Unknown { .. } => "RD0160",
            Self::Refusal(_) => "RD0161",
            Self::Test(_) => "RD0162",
            Self::Nothing => "RD0163",
            Self::Stored(_) => "RD0164",
        }
    }

    /// What to do about it: nothing was changed. A stored runbook that cannot be read stops what it was about.
    pub fn class(&self) -> Class {
        match self {
            Self::Stored(_) => Class::Hold,
            Self::File(problem) => problem.class(),
            Self::Kinds(_)
            | Self::Untested
            | Self::Approvals(_)
            | Self::Risk(_)
            | Self::Scope
            | Self::Param(_)
            | Self::Pointer(_)
            | Self::Statement(_)
            | Self::Text(_)
            | Self::Duration(_)
            | Self::Unknown { .. }
            | Self::Refusal(_)
            | Self::Test(_)
            | Self::Nothing => Class::Refused,
        }
    }
}
