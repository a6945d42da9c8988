//! What a failed statement means: one table from SQLSTATE to what must be done.
//!
//! Source of the codes: PostgreSQL, appendix A; class `RD` is our own (`sql/migrations/0002_functions.sql`).

use redress_ledger::Class;
use thiserror::Error;

use super::{NotConnected, TargetError};

/// A five-character SQLSTATE.
pub type Sqlstate = str;

/// The database did not do what was asked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DbError {
    /// The server answered with an error; nothing of the statement stands.
    #[error("{message} [{sqlstate}]")]
    Server {
        /// The SQLSTATE.
        sqlstate: String,
        /// The server's message, with its detail when it gave one.
        message: String,
        /// The constraint that was violated, when there is one.
        constraint: Option<String>,
        /// The DETAIL field alone.
        detail: Option<String>,
    },
    /// The connection broke; whether the last statement was done is not known.
    #[error("the connection to the database is lost: {0}")]
    Lost(String),
    /// No connection could be made.
    #[error("the database cannot be reached: {0}")]
    Unreachable(String),
    /// No host gave a session; each is named with its reason.
    #[error(transparent)]
    NotConnected(NotConnected),
    /// The connection string is not used, or a file that it names.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// A value did not have the type that the statement or the row wanted.
    #[error("{0}")]
    Value(String),
}

impl DbError {
    /// The SQLSTATE, when the server answered.
    pub fn sqlstate(&self) -> Option<&str> {
        match self {
            Self::Server { sqlstate, .. } => Some(sqlstate),
            Self::Lost(_)
            | Self::Unreachable(_)
            | Self::NotConnected(_)
            | Self::Target(_)
            | Self::Value(_) => None,
        }
    }

    /// The violated constraint.
    pub fn constraint(&self) -> Option<&str> {
        match self {
            Self::Server { constraint, .. } => constraint.as_deref(),
            Self::Lost(_)
            | Self::Unreachable(_)
            | Self::NotConnected(_)
            | Self::Target(_)
            | Self::Value(_) => None,
        }
    }

    /// What must be done, given that COMMIT was not sent.
    pub fn class(&self) -> Class {
        match self {
            Self::Server { sqlstate, .. } => class_of_sqlstate(sqlstate),
            Self::Lost(_) | Self::Unreachable(_) => Class::Retry,
            Self::NotConnected(error) => error.class(),
            Self::Target(error) => error.class(),
            Self::Value(_) => Class::Business,
        }
    }

    /// The stable code of a statement of our own, outside any phase: what the server refuses there (a right, a relation,
    /// a function, a schema) is about this login or this installation, not about a saga.
    pub fn code_outside(&self) -> &'static str {
        match self {
            Self::Server { sqlstate, .. } if OURS_REFUSED.contains(&sqlstate.as_str()) => "RD0820",
            other => other.code(),
        }
    }

    /// The stable code, of a statement of a phase.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Server { sqlstate, .. } => code_of_sqlstate(sqlstate),
            Self::Lost(_) => "RD0802",
            Self::Unreachable(_) => "RD0801",
            Self::NotConnected(error) => error.code(),
            Self::Target(error) => error.code(),
            Self::Value(_) => "RD0803",
        }
    }
}

impl From<tokio_postgres::Error> for DbError {
    fn from(error: tokio_postgres::Error) -> Self {
        if let Some(db) = error.as_db_error() {
            let message = match db.detail() {
                Some(detail) if db.code().code() != "RDG04" => {
                    format!("{} ({detail})", db.message())
                }
                _ => db.message().to_owned(),
            };
            return Self::Server {
                sqlstate: db.code().code().to_owned(),
                message,
                constraint: db.constraint().map(str::to_owned),
                detail: db.detail().map(str::to_owned),
            };
        }
        let source = std::error::Error::source(&error);
        let text = source.map_or_else(|| error.to_string(), |source| format!("{error}: {source}"));
        if error.is_closed() || source.is_some_and(|s| s.is::<std::io::Error>()) {
            Self::Lost(text)
        } else {
            Self::Value(text)
        }
    }
}

/// No right; no such function, relation, schema, role.
const OURS_REFUSED: &[&str] = &["42501", "42883", "42P01", "3F000", "42704"];

/// What must be done about a SQLSTATE, given that COMMIT was not sent. What is not listed holds and is a finding.
pub fn class_of_sqlstate(code: &Sqlstate) -> Class {
    match code {
        "RDG03" | "RDG04" | "RDG05" => Class::Hold,
        "RDG02" => Class::Kill,
        "RDR02" | "RDR03" | "RDR04" => Class::Refused,
        "RDR06" | "RDR08" | "RDR10" => Class::Retry,
        "RDS01" | "RDS03" | "RDS04" => Class::Refused,
        "RDS02" => Class::Kill,
        // A prepared statement whose result changed under it; the session's statements are forgotten before the retry.
        // Likewise a named statement that a pooler's other server process does not know.
        "0A000" | "26000" => Class::Retry,
        "40001" | "40P01" | "55P03" | "57014" | "25P03" => Class::Retry,
        "57P01" | "57P02" | "57P03" | "57P05" => Class::Retry,
        "XX001" | "XX002" => Class::Kill,
        _ => match code.get(..2) {
            Some("08") => Class::Retry,
            Some("53") => Class::Retry,
            // Data, constraints, cardinality, an exception that a function raised: the business said no.
            Some("21" | "22" | "23" | "27" | "44" | "P0") => Class::Business,
            _ => Class::Hold,
        },
    }
}

fn code_of_sqlstate(code: &Sqlstate) -> &'static str {
    match code {
        "RDG01" => "RD0201",
        "RDG02" => "RD0202",
        "RDG03" => "RD0203",
        "RDG04" => "RD0204",
        "RDG05" => "RD0205",
        "RDR01" => "RD0206",
        "RDR02" => "RD0207",
        "RDR03" => "RD0208",
        "RDR04" => "RD0209",
        "RDR05" => "RD0301",
        "RDR06" | "RDR07" => "RD0673",
        "RDR08" => "RD0302",
        "RDR09" => "RD0210",
        "RDR10" => "RD0219",
        "RDS01" => "RD0730",
        "RDS02" => "RD0731",
        "RDS03" => "RD0744",
        "RDS04" => "RD0750",
        "RDA01" => "RD0674",
        "25006" => "RD0804",
        "57014" => "RD0305",
        "55P03" | "40P01" | "40001" => "RD0805",
        "25P03" => "RD0306",
        "XX001" | "XX002" => "RD0808",
        _ => match code.get(..2) {
            Some("53") => "RD0806",
            Some("08") => "RD0802",
            Some("57") => "RD0807",
            Some("42") => "RD0310",
            Some("21" | "22" | "23" | "27" | "44" | "P0") => "RD0303",
            _ => "RD0309",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sqlstate_has_a_decision() {
        let check = |code: &str, class: Class| assert_eq!(class_of_sqlstate(code), class, "{code}");
        check("40001", Class::Retry);
        check("40P01", Class::Retry);
        check("57014", Class::Retry);
        check("53100", Class::Retry);
        check("23505", Class::Business);
        check("P0001", Class::Business);
        check("42P01", Class::Hold);
        check("25P02", Class::Hold);
        check("XX001", Class::Kill);
        check("RDG02", Class::Kill);
        check("RDR02", Class::Refused);
        check("", Class::Hold);
    }

    #[test]
    fn a_right_that_is_missing_outside_a_phase_is_told_without_one() {
        let check = |sqlstate: &str, outside: &str, inside: &str| {
            let error = DbError::Server {
                sqlstate: sqlstate.to_owned(),
                message: String::new(),
                constraint: None,
                detail: None,
            };
            assert_eq!((error.code_outside(), error.code()), (outside, inside));
        };
        check("42501", "RD0820", "RD0310");
        check("42883", "RD0820", "RD0310");
        check("3F000", "RD0820", "RD0309");
        check("42601", "RD0310", "RD0310");
        check("23505", "RD0303", "RD0303");
        check("RDG02", "RD0202", "RD0202");
    }
}
