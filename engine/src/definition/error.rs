//! What can be wrong with a saga's definition, each with a code that stays.

use std::fmt;

use redress_ledger::Class;

use crate::name::tame;

/// One thing that is wrong with a definition, and which value it is about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// The value, as a JSON pointer into the definition.
    pub path: String,
    /// What is wrong.
    pub problem: Problem,
}

impl Finding {
    /// Notes a problem at a path.
    pub fn new(path: impl Into<String>, problem: Problem) -> Self {
        Self {
            path: path.into(),
            problem,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            write!(f, "{}", self.problem)
        } else {
            write!(f, "{}: {}", tame(&self.path), self.problem)
        }
    }
}

/// A definition that is not accepted, with everything that is wrong with it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{}", lines(.findings))]
pub struct Invalid {
    /// The findings, in the order of the definition; never empty.
    pub findings: Vec<Finding>,
}

impl Invalid {
    /// The code of the first finding.
    pub fn code(&self) -> &'static str {
        self.findings
            .first()
            .map_or("RD0110", |finding| finding.problem.code())
    }

    /// What to do about it: nothing was changed.
    pub const fn class(&self) -> Class {
        Class::Refused
    }
}

fn lines(findings: &[Finding]) -> String {
    let lines: Vec<String> = findings.iter().map(Finding::to_string).collect();
    lines.join("\n")
}

/// What is wrong.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The file is too large to be a definition; it was not parsed.
    #[error("the file has {bytes} bytes; at most {bytes_max} are read")]
    TooLarge {
        /// The file's size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// The bytes are not UTF-8 text.
    #[error("the file is not UTF-8 text from this byte on")]
    NotUtf8,
    /// The text is not YAML.
    #[error("{0}")]
    Syntax(String),
    /// Something that YAML has and a saga file does not.
    #[error("{0}")]
    Forbidden(&'static str),
    /// A key stands twice in one mapping.
    #[error("this key stands already on line {line}: {key}")]
    DuplicateKey {
        /// The key.
        key: String,
        /// Where it stood first.
        line: u32,
    },
    /// Too deep or too many values.
    #[error("{what}: at most {max}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        max: u64,
    },
    /// A number that a record cannot hold exactly.
    #[error("{why}: {text}")]
    Number {
        /// What is wrong and what to write instead.
        why: &'static str,
        /// The number as written.
        text: String,
    },
    /// A field is unknown or missing, or a value has the wrong type.
    #[error("{message}")]
    Shape {
        /// What is wrong.
        message: String,
        /// The key is meant, and not its value.
        at_key: bool,
    },
    /// No such adapter is registered here.
    #[error("unknown adapter (known here: {known}): {adapter}")]
    UnknownAdapter {
        /// The names that are known.
        known: String,
        /// The name that is not.
        adapter: String,
    },
    /// A name stands twice where it must be unique.
    #[error("a second {what} of the same name: {name}")]
    Duplicate {
        /// What it is.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// `after` names no phase of this saga.
    #[error("`after` names a phase that this saga does not have: {phase}")]
    UnknownPhase {
        /// The name.
        phase: String,
    },
    /// Phases wait for each other.
    #[error("these phases wait for each other: {phases}")]
    Cycle {
        /// The phases of the cycle.
        phases: String,
    },
    /// A rewind that could not work or would not end.
    #[error("`rewind_to` {why}: {phase}")]
    Rewind {
        /// What is wrong with the target.
        why: &'static str,
        /// The target.
        phase: String,
    },
    /// P12: a phase changes rows and declares no way back.
    #[error(
        "the phase changes rows and declares no way back; give a compensation, say `irreversible`, or list under `residue` every relation whose rows rightly stay; not listed: {relations}"
    )]
    NoWayBack {
        /// The relations that would be left behind.
        relations: String,
    },
    /// More than one pivot.
    #[error("a saga has one pivot; it is already: {phase}")]
    SecondPivot {
        /// The first pivot.
        phase: String,
    },
    /// Something that is planned across the pivot.
    #[error(
        "{what} cannot be planned across the pivot; after it only forward recovery or a decision is allowed; the pivot is: {pivot}"
    )]
    AcrossPivot {
        /// The compensation or the rewind.
        what: &'static str,
        /// The pivot.
        pivot: String,
    },
    /// A baseline that other runs move.
    #[error("{0}")]
    Baseline(&'static str),
    /// Who must sign is not sensible.
    #[error("{0}")]
    Authority(String),
    /// A relation or role name that PostgreSQL could not mean.
    #[error("{why}: {name}")]
    DatabaseName {
        /// What is expected.
        why: &'static str,
        /// The name.
        name: String,
    },
    /// A setting outside its range, or missing where another needs it.
    #[error("{0}")]
    Setting(String),
    /// The JSON Schema of the input is not one.
    #[error("the input's JSON Schema is not valid: {0}")]
    InputSchema(String),
    /// A pointer to a part of the context that is not there yet.
    #[error("only {allowed} can be pointed to here: {pointer}")]
    PointerRoot {
        /// What may be pointed to.
        allowed: &'static str,
        /// The pointer.
        pointer: String,
    },
    /// A pointer to what a phase gives that has not run by then.
    #[error("phase {phase} runs later, so this leads to nothing here: {pointer}")]
    PointerAhead {
        /// The phase.
        phase: String,
        /// The pointer.
        pointer: String,
    },
    /// A value that has no canonical form.
    #[error("the definition has no canonical form: {0}")]
    NotCanonical(String),
    /// A stored definition that is not what it should be.
    #[error("the stored definition cannot be read: {0}")]
    Stored(String),
}

impl Problem {
    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "RD0103",
            Self::NotUtf8 => "RD0104",
            Self::Syntax(_) => "RD0105",
            Self::Forbidden(_) => "RD0106",
            Self::DuplicateKey { .. } => "RD0107",
            Self::Limit { .. } => "RD0108",
            Self::Number { .. } => "RD0109",
            Self::Shape { .. } => "RD0110",
            Self::UnknownAdapter { .. } => "RD0111",
            Self::Duplicate { .. } => "RD0112",
            Self::UnknownPhase { .. } => "RD0113",
            Self::Cycle { .. } => "RD0114",
            Self::Rewind { .. } => "RD0115",
            Self::NoWayBack { .. } => "RD0116",
            Self::SecondPivot { .. } | Self::AcrossPivot { .. } => "RD0117",
            Self::Baseline(_) => "RD0118",
            Self::Authority(_) => "RD0119",
            Self::DatabaseName { .. } => "RD0120",
            Self::Setting(_) => "RD0121",
            Self::InputSchema(_) => "RD0122",
            Self::PointerRoot { .. } | Self::PointerAhead { .. } => "RD0123",
            Self::NotCanonical(_) => "RD0124",
            Self::Stored(_) => "RD0125",
        }
    }

    /// What to do about it: nothing was changed. A stored definition that cannot be read holds the
    /// run.
    pub const fn class(&self) -> Class {
        match self {
            Self::Stored(_) => Class::Hold,
            _ => Class::Refused,
        }
    }
}
