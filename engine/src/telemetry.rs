//! What the engine tells while it works: names of spans and fields, each with one meaning.
//!
//! Events and spans of the crate `tracing`; whoever wants to hear them installs a subscriber. Spans are of the level `info`,
//! what an operator wants to read is `info` or above, the rest `debug`.
//!
//! **Invariant:** a field has a name of [`FIELDS`] and nothing else, in every crate of this workspace.
//!
//! **Invariant:** nothing of a run's content is told: no input, no output, no parameter, no subject, no text of an adapter
//! and none of the server about a statement, since both quote values. A failure has its code; the text stands in its record.
//!
//! **Not here:** figures (`metric`), and how spans leave the process: a subscriber's business.

use std::fmt;

use crate::db::DbError;
use crate::error::Error;

/// Names of fields, and what each says. They are the words of ARCHITECTURE.md.
pub const FIELDS: &[(&str, &str)] = &[
    ("message", "what happened, the same words each time"),
    ("run", "the run's id"),
    ("saga", "the saga's name"),
    ("version", "the saga's version"),
    ("phase", "the phase's name"),
    ("attempt", "which attempt it is, from 1"),
    ("epoch", "the run's fencing token"),
    (
        "outcome",
        "how a phase, a plan or a letting go ended, a word of a list",
    ),
    ("code", "the error's code, for `redress explain`"),
    ("sqlstate", "what the server answered"),
    (
        "error",
        "the text of an error of the engine's own surroundings: connection, lease, file, key. What an adapter or the server says of a run's values is never in it",
    ),
    ("plan", "the plan's digest"),
    ("hold", "the hold's id"),
    ("seq", "the record's number in its log"),
    ("switch_no", "the number of the kill switch"),
    ("worker", "the worker's id"),
    ("notifier", "the notifier's name in `redress.toml`"),
    ("execution", "the runbook execution's id"),
    ("runbook", "the runbook's name"),
    ("step", "the runbook step's id"),
    ("generation", "of the ledger"),
    ("records", "how many records"),
    ("size", "of the log, in records"),
    ("directory", "a folder of the adapter `fileset`"),
    ("snapshot", "a snapshot of the adapter `fileset`"),
    ("files", "how many files"),
    ("bytes", "how many bytes"),
    ("ms", "how long it took, in milliseconds"),
    (
        "why",
        "why a phase's writes are not proven: names of relations and functions",
    ),
    ("pid", "a server process that held the gate"),
    ("user", "the database role of that process"),
];

/// Names of spans, the fields that each has, and what it stands for.
pub const SPANS: &[(&str, &[&str], &str)] = &[
    (
        "start",
        &["run", "saga", "version"],
        "a run that is opened with its first phase in one transaction",
    ),
    (
        "run",
        &["run", "saga", "version", "epoch", "outcome"],
        "a claimed run that is driven, until it is let go of",
    ),
    (
        "phase",
        &["phase", "attempt", "outcome", "code"],
        "one attempt of a phase, inside `run` or `start`",
    ),
    (
        "compensation",
        &["run", "saga", "plan", "outcome", "code"],
        "a plan that is carried out, by a driver or a person; a rewind is one too",
    ),
    ("apply", &["plan"], "a person's `apply`"),
    ("rewind", &["run", "phase"], "a person's `rewind`"),
    (
        "step",
        &["execution", "runbook", "step"],
        "one step of a runbook",
    ),
    (
        "seal",
        &["generation", "records", "size"],
        "one batch of the sealer",
    ),
];

/// An error as it may be told: its text where that is ours, its code where it may quote a run's values.
pub struct Told<'e>(pub &'e Error);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Error::Db(error) | Error::Unknown(error) => DbTold(error).fmt(f),
            Error::Keyring(_)
            | Error::Act(_)
            | Error::Decision(_)
            | Error::Seal(_)
            | Error::File(_)
            | Error::Schema(_)
            | Error::UnknownAdapter(_)
            | Error::UnknownRun(_)
            | Error::ReleaseUnproven { .. }
            | Error::ExecutionLost(_)
            | Error::Archived(_)
            | Error::NoTrust => self.0.fmt(f),
            other => f.write_str(other.code()),
        }
    }
}

/// The same for an answer of the database.
pub(crate) struct DbTold<'e>(pub &'e DbError);

impl fmt::Display for DbTold<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            DbError::Lost(_)
            | DbError::Unreachable(_)
            | DbError::NotConnected(_)
            | DbError::Target(_) => self.0.fmt(f),
            DbError::Server { sqlstate, .. } => write!(f, "{} [{sqlstate}]", self.0.code()),
            DbError::Value(_) => f.write_str(self.0.code()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_servers_text_is_never_told() {
        let server = DbError::Server {
            sqlstate: "23505".to_owned(),
            message: "duplicate key (Key (card)=(4711))".to_owned(),
            constraint: None,
            detail: None,
        };
        let told = Told(&Error::Db(server)).to_string();
        assert!(told.contains("23505") && !told.contains("4711"), "{told}");
        let panic = Error::Panic {
            phase: "pay".to_owned(),
            message: "card 4711".to_owned(),
        };
        assert_eq!(Told(&panic).to_string(), panic.code());
        let lost = Error::Db(DbError::Lost("reset".to_owned()));
        assert_eq!(Told(&lost).to_string(), lost.to_string());
    }

    #[test]
    fn every_field_of_a_span_is_a_field_and_names_stand_once() {
        let names: BTreeSet<_> = FIELDS.iter().map(|(name, _)| *name).collect();
        assert_eq!(names.len(), FIELDS.len());
        for (span, fields, _) in SPANS {
            for field in *fields {
                assert!(names.contains(field), "{span} has {field}");
            }
        }
    }
}
