//! Verifies a log offline: every byte, every chain, every move and every decision.
//!
//! The caller streams the records run by run, in the order of `seq`, each run once. Memory is flat
//! but for the ids of decisions, each of which must be met once only.
//!
//! **Invariant:** `Verified` is never said of nothing, and never while a decision was not judged.
//! The first fault is the verdict; nothing after it can change that.
//!
//! **What can go wrong:** records cut off at the end of a run leave a shorter, perfect log. They
//! are found if the caller gives the head that the run's row remembers, and against a signed
//! checkpoint; from the records alone they cannot be found.

use serde::Serialize;
use thiserror::Error;
use uuid::Uuid;

use crate::authority::{Authority, AuthorityError};
use crate::chain::{Chain, End, Fault};
use crate::class::Class;
use crate::hash::{Hash, leaf_hash};
use crate::record::{Record, RecordError};
use crate::trust::Trust;

/// The last record of a run, as something else than the records remembers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its place.
    pub seq: i64,
    /// Its hash.
    pub hash: Hash,
}

/// Verifies the records of one installation.
pub struct LogVerifier<'t> {
    authority: Authority<'t>,
    origin: Option<String>,
    chain: Option<(Uuid, Chain)>,
    report: Report,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The verdict.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// How many runs were read to their end.
    pub runs: u64,
    /// How many of them end in a seal, so that they are provably complete.
    pub sealed: u64,
    /// How many records were read.
    pub records: u64,
    /// How many different decisions they hold.
    pub decisions: u64,
}

/// The answer of a verifier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// Everything was read and everything holds.
    Verified,
    /// Something does not hold.
    Failed {
        /// The run.
        run: Uuid,
        /// The place in the run.
        seq: i64,
        /// The code of the fault.
        code: &'static str,
        /// The fault in words.
        message: String,
    },
    /// Nothing is wrong, but not everything could be judged.
    Incomplete {
        /// What could not be.
        reason: String,
    },
}

impl<'t> LogVerifier<'t> {
    /// Judges by the reader's own keys. An origin that is given must be that of every record.
    pub fn new(origin: Option<&str>, trust: Option<&'t Trust>) -> LogVerifier<'t> {
        LogVerifier {
            authority: Authority::new(trust),
            origin: origin.map(str::to_owned),
            chain: None,
            report: Report {
                verdict: Verdict::Verified,
                runs: 0,
                sealed: 0,
                records: 0,
                decisions: 0,
            },
        }
    }

    /// Begins the records of a run; a run that was not ended is ended without a head.
    pub fn start_run(&mut self, run: Uuid) {
        self.end_run(None);
        self.authority.start_run();
        self.chain = Some((run, Chain::new(run)));
    }

    /// Takes the next record: its bytes and the hash that is stored beside them.
    pub fn record(&mut self, bytes: &[u8], stored: &Hash) {
        if self.has_failed() {
            return;
        }
        self.report.records += 1;
        let (run, seq) = match &self.chain {
            Some((run, chain)) => (*run, chain.end().count + 1),
            None => (Uuid::nil(), 0),
        };
        if let Err(error) = self.judge(bytes, stored) {
            self.fail(run, seq, &error);
        }
    }

    /// Ends the records of a run; the head is the one that the run's row remembers.
    pub fn end_run(&mut self, head: Option<&Head>) -> Option<End> {
        let (run, chain) = self.chain.take()?;
        let end = *chain.end();
        if self.has_failed() {
            return Some(end);
        }
        let differs = head.is_some_and(|head| (head.seq, head.hash) != (end.count, end.head));
        if end.count == 0 || differs {
            let error = match head {
                Some(head) if differs => VerifyError::Head(head.seq, end.count),
                _ => VerifyError::NoRecord,
            };
            // The first place that is not there, or the last one if something follows the head.
            let beyond = head.is_some_and(|head| head.seq <= end.count);
            let seq = if beyond { end.count } else { end.count + 1 };
            self.fail(run, seq, &error);
        }
        self.report.runs += 1;
        if end.is_sealed() {
            self.report.sealed += 1;
        }
        Some(end)
    }

    /// Gives the verdict.
    pub fn finish(mut self) -> Report {
        self.end_run(None);
        self.report.decisions = self.authority.decisions();
        if !self.has_failed() {
            if self.report.records == 0 {
                self.report.verdict = Verdict::Incomplete {
                    reason: "there is nothing to verify".to_owned(),
                };
            } else if self.authority.unjudged() > 0 {
                let n = self.authority.unjudged();
                self.report.verdict = Verdict::Incomplete {
                    reason: format!("no trusted keys were given to judge the decisions: {n}"),
                };
            }
        }
        self.report
    }

    fn judge(&mut self, bytes: &[u8], stored: &Hash) -> Result<(), VerifyError> {
        let Some((_, chain)) = &mut self.chain else {
            return Err(VerifyError::NoRun);
        };
        let hash = leaf_hash(bytes);
        if hash != *stored {
            return Err(VerifyError::Hash(*stored));
        }
        let record = Record::decode(bytes)?;
        match &self.origin {
            Some(origin) if *origin != record.origin => {
                return Err(VerifyError::Origin(record.origin));
            }
            Some(_) => {}
            None => self.origin = Some(record.origin.clone()),
        }
        chain
            .push(&record, hash)
            .map_err(|error| VerifyError::Chain(error.fault))?;
        Ok(self.authority.push(&record, hash)?)
    }

    fn has_failed(&self) -> bool {
        matches!(self.report.verdict, Verdict::Failed { .. })
    }

    fn fail(&mut self, run: Uuid, seq: i64, error: &VerifyError) {
        self.report.verdict = Verdict::Failed {
            run,
            seq,
            code: error.code(),
            message: error.to_string(),
        };
    }
}

/// Why a log does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The stored hash is not that of the bytes.
    #[error("the stored hash is not that of the bytes: {0}")]
    Hash(Hash),
    /// The bytes are no record.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The record belongs to another installation.
    #[error("the record belongs to another environment: {0}")]
    Origin(String),
    /// The record does not fit behind the one before it.
    #[error(transparent)]
    Chain(Fault),
    /// What it says was done was not allowed.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The run's row remembers another last record.
    #[error("the run remembers {0} records, or another last one, and the log has {1}")]
    Head(i64, i64),
    /// A run without a single record.
    #[error("the run has no record")]
    NoRecord,
    /// A record outside any run: a fault of the caller.
    #[error("a record came before its run was named")]
    NoRun,
}

impl VerifyError {
    /// The stable code of the error.
    pub fn code(&self) -> &'static str {
        match self {
            VerifyError::Hash(_) => "RD0650",
            VerifyError::Record(error) => error.code(),
            VerifyError::Origin(_) => "RD0651",
            VerifyError::Chain(fault) => fault.code(),
            VerifyError::Authority(error) => error.code(),
            VerifyError::Head(..) => "RD0652",
            VerifyError::NoRecord => "RD0653",
            VerifyError::NoRun => "RD0654",
        }
    }

    /// What the caller must do: a log that does not hold stops everything that rests on it.
    pub fn class(&self) -> Class {
        Class::Kill
    }
}

#[cfg(test)]
mod tests;
