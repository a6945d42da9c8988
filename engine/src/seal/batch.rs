//! Decides which of the records that became visible get the next positions of the log, and in which order.
//!
//! **Invariant:** pure. Each run's records are taken in their order, none left out, and each must fit the chain: the
//! sealed head or the record before it. So every element of every chain equals its leaf.
//!
//! **Invariant:** the keyring's records stand before what was judged by them, and behind what was judged by the
//! keyring before. The database tells: a decision names the record of the keyring that it was judged by, and whoever
//! changes the keyring waits for it.
//!
//! **What can go wrong:** a batch that was cut off shows a run's later record without the earlier one, because
//! transaction ids are not in commit order. Such a record waits; in a batch that was not cut off it is a gap.

use std::collections::{BTreeSet, HashMap};

use redress_ledger::{Hash, Record, leaf_hash};
use serde_json::Value;
use uuid::Uuid;

use super::error::SealError;

/// A record as it was read.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub xid: u64,
    pub run: Uuid,
    pub seq: i64,
    pub hash: Hash,
    pub bytes: Vec<u8>,
}

/// What was read for one batch.
pub(super) struct Visible {
    /// Records of runs, the keyring's left out.
    pub records: Vec<Candidate>,
    /// The keyring's records that have no position yet.
    pub keys: Vec<Candidate>,
    /// The generation that is sealed; what it carries stands before all of this.
    pub generation: i64,
    /// How many records of the keyring have a position.
    pub keys_sealed: i64,
    /// How many records opened the keyring, in one transaction.
    pub opening: i64,
    /// Whether more became visible than was read.
    pub cut_off: bool,
}

/// A part of the log to come.
pub(super) struct Batch {
    /// In the order of their positions.
    pub leaves: Vec<Candidate>,
    /// Transactions of which something waits.
    pub waiting: BTreeSet<u64>,
}

/// A record's place among the others: behind how many records of the keyring, itself one of them or not.
type Rank = (i64, bool);

/// Orders what can be sealed. `heads` has the last sealed record of each run, if it has one.
pub(super) fn batch(
    visible: Visible,
    heads: &HashMap<Uuid, (i64, Hash)>,
) -> Result<Batch, SealError> {
    let Visible {
        mut records,
        keys,
        generation,
        keys_sealed,
        opening,
        cut_off,
    } = visible;
    let mut waiting = BTreeSet::new();
    let mut ranked: Vec<(Rank, Candidate)> = Vec::with_capacity(records.len() + keys.len());
    let mut known = keys_sealed;
    let mut chain = heads
        .get(&keys.first().map_or(Uuid::nil(), |key| key.run))
        .copied();
    for key in keys {
        // A decision that was judged by the keyring before may be among what was cut off.
        if cut_off && key.seq > opening {
            waiting.insert(key.xid);
            continue;
        }
        fits(&key, &decode(&key)?, chain)?;
        chain = Some((key.seq, key.hash));
        known = key.seq;
        ranked.push(((key.seq, false), key));
    }
    records.sort_by_key(|record| (record.run, record.seq));
    let mut at = None;
    let (mut head, mut rank) = (None, 0);
    for record in records {
        if at != Some(record.run) {
            at = Some(record.run);
            head = heads.get(&record.run).copied();
            rank = 1;
        }
        let next = head.map_or(1, |(seq, _)| seq + 1);
        if record.seq < next {
            continue; // read again
        }
        let decoded = decode(&record)?;
        if decoded.generation != generation {
            let why = "it is of another generation and was not carried when this one was opened";
            return Err(no_fit(&record, why.to_owned()));
        }
        rank = rank.max(judged_by(&decoded, opening));
        if record.seq > next || rank > known {
            if !cut_off {
                let (run, seq) = (record.run, record.seq);
                return Err(SealError::Gap { run, seq });
            }
            waiting.insert(record.xid);
            continue;
        }
        fits(&record, &decoded, head)?;
        head = Some((record.seq, record.hash));
        ranked.push(((rank, true), record));
    }
    ranked.sort_by_key(|(rank, record)| (*rank, record.run, record.seq));
    let leaves = ranked.into_iter().map(|(_, record)| record).collect();
    Ok(Batch { leaves, waiting })
}

/// The record of the keyring behind which a record must stand.
fn judged_by(record: &Record, opening: i64) -> i64 {
    match record.body.get("keyring").and_then(Value::as_i64) {
        Some(stamp) if stamp > 0 => stamp,
        // Decided before the ledger was opened: by a key that the opening registered.
        _ if record.body.get("envelope").is_some() => opening,
        _ => 1,
    }
}

fn decode(candidate: &Candidate) -> Result<Record, SealError> {
    Record::decode(&candidate.bytes).map_err(|error| no_fit(candidate, error.to_string()))
}

fn fits(
    candidate: &Candidate,
    record: &Record,
    head: Option<(i64, Hash)>,
) -> Result<(), SealError> {
    let (seq, prev) = head.map_or((1, Hash::ZERO), |(seq, hash)| (seq + 1, hash));
    let why = if leaf_hash(&candidate.bytes) != candidate.hash {
        "the stored hash is not that of the bytes"
    } else if record.run != candidate.run || record.seq != candidate.seq {
        "the columns are not what the bytes say"
    } else if record.seq != seq {
        "another number was expected"
    } else if record.prev != prev {
        "it names another record before it"
    } else {
        return Ok(());
    };
    Err(no_fit(candidate, why.to_owned()))
}

fn no_fit(candidate: &Candidate, why: String) -> SealError {
    SealError::Chain {
        run: candidate.run,
        seq: candidate.seq,
        why,
    }
}

#[cfg(test)]
mod tests;
