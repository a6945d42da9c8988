//! Holds every run of a log at once: records come in the order of positions, runs interleaved.
//!
//! **Invariant:** no run is ever forgotten, because a record could still claim to follow its seal.
//! One that is sealed and has neither plan nor decision lies in about a hundred bytes.
//!
//! A record that is refused leaves its run half changed; whoever judges stops there.

use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;

use crate::authority::{AuthorityError, ByKeyring, KeptBasis, RunAuthority};
use crate::chain::{Chain, Fault, KeptChain};
use crate::hash::Hash;
use crate::keyring::Keyring;
use crate::record::Record;

/// Every run that was met.
#[derive(Default)]
pub(crate) struct Runs {
    live: HashMap<Uuid, Box<Run>>,
    /// A tree and no table: millions of them lie close, and it never has to be copied to grow.
    kept: BTreeMap<Uuid, (KeptChain, KeptBasis)>,
    open: u64,
}

/// One run that something may still follow, or that has plans.
pub(crate) struct Run {
    chain: Chain,
    authority: RunAuthority,
}

impl Runs {
    pub(crate) fn new() -> Runs {
        Runs::default()
    }

    /// How many runs have begun and are not sealed.
    pub(crate) fn open(&self) -> u64 {
        self.open
    }

    /// Whether nothing must follow in a run; `None` if it was not met.
    pub(crate) fn is_open(&self, run: Uuid) -> Option<bool> {
        match self.live.get(&run) {
            Some(run) => Some(run.chain.is_open()),
            None => self.kept.contains_key(&run).then_some(false),
        }
    }

    /// Takes out the run of a record; [`Runs::put`] brings it back.
    pub(crate) fn take(&mut self, record: &Record) -> Box<Run> {
        let id = record.run;
        let run = self.live.remove(&id).unwrap_or_else(|| {
            let kept = self.kept.remove(&id);
            Box::new(match kept {
                Some((chain, basis)) => Run {
                    chain: Chain::resume(id, &record.origin, &chain),
                    authority: RunAuthority::resume(&basis),
                },
                None => Run {
                    chain: Chain::new(id),
                    authority: RunAuthority::default(),
                },
            })
        });
        self.open -= u64::from(run.chain.is_open());
        run
    }

    /// Keeps a run, in its short form if it has one.
    pub(crate) fn put(&mut self, id: Uuid, run: Box<Run>) {
        self.open += u64::from(run.chain.is_open());
        match (run.chain.keep(), run.authority.keep()) {
            (Some(chain), Some(basis)) => {
                self.kept.insert(id, (chain, basis));
            }
            _ => {
                self.live.insert(id, run);
            }
        }
    }
}

impl Run {
    /// The place that the next record of this run has.
    pub(crate) fn next_seq(&self) -> i64 {
        self.chain.end().count.saturating_add(1)
    }

    pub(crate) fn is_system(&self) -> bool {
        self.chain.is_system()
    }

    /// Takes the next record, if it fits behind the ones before.
    pub(crate) fn follow(&mut self, record: &Record, hash: Hash) -> Result<(), Fault> {
        let pushed = self.chain.push(record, hash);
        pushed.map_err(|error| error.fault)
    }

    /// Judges what the record says was done, by the keys of the ledger at its position.
    pub(crate) fn judge(
        &mut self,
        ring: &mut Keyring,
        record: &Record,
        hash: Hash,
        position: u64,
    ) -> Result<(), AuthorityError> {
        let mut judge = ByKeyring { ring, position };
        self.authority.push(&mut judge, record, hash)
    }
}

#[cfg(test)]
mod tests;
