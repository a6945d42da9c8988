//! Decides whether what a log says was done was allowed by the decisions that the log holds.
//!
//! What a record's body must hold for that, by kind:
//!
//! | kind | members |
//! |---|---|
//! | `plan.made` | `plan` (digest), `basis` {seq, hash}, `quorum`, optionally `requester` |
//! | `plan.approved`, `decision` | `envelope` |
//! | `runbook.step` | `envelope`, `plan` (digest of the runbook's plan), `step` |
//! | `plan.started` | `plan` |
//! | `compensation.committed` | `action`, optionally `plan` |
//! | `hold.released` | `hold`, `envelope` here or in an earlier `decision`, optionally `quorum` |
//! | `switch.released` | `released` (the kill's number; default the record's `switch_no`), as above |
//! | `resolved` | as above |
//!
//! A `decision_id` beside an envelope must be that of its decision.
//!
//! **Invariant:** a decision counts once. Where its envelope appears again, the log is refused,
//! except that an action may cite an approval of the very plan that is being executed.
//!
//! Who signs is judged by the reader's file where a database is read run by run, and by the keys of
//! the ledger at the position where its records come in their order; what must be signed is the same.
//!
//! **Not here:** whether the stated quorum is the one of the definition; the floor that no record
//! can lower is one sovereign for a hard delete, and one signature of a sovereign where a release,
//! a resolution or a deciding action states nothing.

mod error;
mod judge;
mod run;

use crate::hash::Hash;
use crate::record::Record;
use crate::trust::Trust;

pub use error::AuthorityError;
pub(crate) use judge::{ByKeyring, ByTrust};
pub(crate) use run::{KeptBasis, RunAuthority};

/// Follows the decisions of a log, one run after the other.
pub(crate) struct Authority<'t> {
    judge: ByTrust<'t>,
    run: RunAuthority,
}

impl<'t> Authority<'t> {
    /// Judges by these keys; without any, decisions are only counted and matched.
    pub(crate) fn new(trust: Option<&'t Trust>) -> Authority<'t> {
        Authority {
            judge: ByTrust::new(trust),
            run: RunAuthority::default(),
        }
    }

    /// Forgets the run before; used decisions stay known.
    pub(crate) fn start_run(&mut self) {
        self.run = RunAuthority::default();
    }

    /// How many different decisions were met.
    pub(crate) fn decisions(&self) -> u64 {
        self.judge.decisions()
    }

    /// How many envelopes could not be judged because no trust was given.
    pub(crate) fn unjudged(&self) -> u64 {
        self.judge.unjudged()
    }

    /// Takes the next record of the run.
    pub(crate) fn push(&mut self, record: &Record, hash: Hash) -> Result<(), AuthorityError> {
        self.run.push(&mut self.judge, record, hash)
    }
}

#[cfg(test)]
mod tests;
