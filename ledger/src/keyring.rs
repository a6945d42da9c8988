//! Decides which keys of a ledger count at a position: the root, people, engines and the log.
//!
//! A [`Keyring`] is fed with every record, in order; only root acts change it. What the records of
//! the keys must hold stands in FORMAT.md, section 10; `body` makes them.
//!
//! **Invariant:** the first record opens the keyring and no other does; every change after it is
//! signed by the threshold of the root in force, another root also by its own. A record that is
//! refused changes nothing.
//!
//! **Invariant:** what counts is the position and no clock. No id and no public key is ever used
//! again, and a key has one role for ever.
//!
//! **What can go wrong:** the root that opens a log is named by the log itself. Whether it is the
//! reader's is [`Keyring::check_roots`], and a caller that forgets it believes anybody.
//!
//! **Not here:** whether a person's decision allows what was done (`authority`).

mod act;
mod archived;
pub mod body;
mod carried;
mod change;
mod error;
mod known;
mod lack;
mod root;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde_json::Value;
use uuid::Uuid;

use crate::checkpoint::Checkpoint;
use crate::decision::{Basis, DecisionError};
use crate::envelope::{Envelope, Verified};
use crate::hash::Hash;
use crate::key::{KeyId, Vkey};
use crate::record::{Kind, Record};
use crate::trust::Trust;
use crate::used::{Use, Used};

pub use crate::act::{ACT_PAYLOAD_TYPE, Act, DECISION_MEMBER, Terms};
pub use archived::Archived;
pub use carried::Carried;
pub use error::KeyringError;
pub use known::{KeyRole, LedgerKey, Standing};
pub use lack::Lack;
pub use root::{ROOT_KEYS_MAX, Root};

use carried::Older;
use change::Change;

/// The keys of a ledger as its records say, up to the last record that was pushed.
#[derive(Clone, Debug)]
pub struct Keyring {
    generation: i64,
    trust: Trust,
    run: Option<Uuid>,
    keys: BTreeMap<KeyId, LedgerKey>,
    publics: HashSet<[u8; 32]>,
    roots: Vec<Root>,
    /// From which size of the log on each key of the log is in force.
    logs: Vec<(u64, KeyId)>,
    basis: Option<Basis>,
    last: i64,
    older: Option<Older>,
    doubtful: BTreeSet<u64>,
    pub(crate) used: Used,
}

/// Where a record stands.
#[derive(Clone, Copy)]
struct Place {
    position: u64,
    /// Whether the position is the log's, so that it can be compared with others.
    known: bool,
    /// The highest position that the body may name, where one is known.
    last: Option<u64>,
}

impl Keyring {
    /// Starts before the first record of a generation.
    pub fn new(generation: i64) -> Keyring {
        Keyring::with_trust(generation, Trust::new())
    }

    /// Also holds what the ledger says of keys against what the reader's file says of them.
    pub fn with_trust(generation: i64, trust: Trust) -> Keyring {
        Keyring {
            generation,
            trust,
            run: None,
            keys: BTreeMap::new(),
            publics: HashSet::new(),
            roots: Vec::new(),
            logs: Vec::new(),
            basis: None,
            last: 0,
            older: None,
            doubtful: BTreeSet::new(),
            used: Used::new(),
        }
    }

    /// Takes the record at a position of the log; `hash` is that of its bytes.
    pub fn push(&mut self, record: &Record, hash: Hash, position: u64) -> Result<(), KeyringError> {
        let place = Place {
            position,
            known: true,
            last: Some(position),
        };
        self.take(record, hash, place)
    }

    /// Takes the next record of the keyring's own run, of which the position is not known yet.
    ///
    /// `seq - 1` stands for it: the first record opens the keyring, order and validity are the
    /// same, and [`LedgerKey::since`] and [`Keyring::log_key_at`] speak of places in that run. The
    /// position that a `key.compromised` names is of the log and can be held against nothing here,
    /// so that nothing becomes doubtful.
    pub fn push_unplaced(&mut self, record: &Record, hash: Hash) -> Result<(), KeyringError> {
        let position = u64::try_from(record.seq.saturating_sub(1)).unwrap_or_default();
        let place = Place {
            position,
            known: false,
            last: None,
        };
        self.take(record, hash, place)
    }

    /// Takes a record of the keyring's own run that is about to be written, as [`Keyring::push_unplaced`] does.
    ///
    /// `sealed` is the size of the log now. The record will have that position or a later one, and it stands behind all
    /// of its own run: a body that names a position beyond both may turn out to be wrong for ever, and is refused.
    pub fn push_next(
        &mut self,
        record: &Record,
        hash: Hash,
        sealed: u64,
    ) -> Result<(), KeyringError> {
        let position = u64::try_from(record.seq.saturating_sub(1)).unwrap_or_default();
        let carried = self.carried().map_or(0, |carried| carried.size);
        let place = Place {
            position,
            known: false,
            last: Some(sealed.max(carried.saturating_add(position))),
        };
        self.take(record, hash, place)
    }

    fn take(&mut self, record: &Record, hash: Hash, place: Place) -> Result<(), KeyringError> {
        let opens = opens(record);
        if place.position == 0 {
            if !self.is_first_kind(record) || !self.roots.is_empty() {
                return Err(KeyringError::FirstLeaf(record.kind));
            }
        } else if opens {
            return Err(KeyringError::OpenedAgain);
        } else if self.roots.is_empty() {
            return Err(KeyringError::NotOpened);
        } else if !record.kind.is_root_act() {
            return Ok(());
        } else if self.run != Some(record.run) {
            return Err(KeyringError::OutOfPlace(record.kind));
        }
        let signed = record.body.get(DECISION_MEMBER);
        let signed = signed.ok_or_else(|| KeyringError::member(DECISION_MEMBER))?;
        let change = self.change(record, place)?;
        let (act, signers) = self.verify_act(signed, &change)?;
        act.check(record, self.basis)?;
        if self.used.contains_key(&act.id) {
            return Err(KeyringError::UsedTwice(act.id));
        }
        for root in self.deciding(&change) {
            root.check_met(&signers)?;
        }
        self.apply(change, place);
        let first = Use {
            run: record.run,
            plan: None,
        };
        self.used.insert(act.id, first);
        self.run = Some(record.run);
        self.note_signatures(&signers, place.position);
        self.last = record.seq;
        if record.kind.is_key_act() {
            let seq = record.seq;
            self.basis = Some(Basis { seq, hash });
        }
        Ok(())
    }

    fn is_first_kind(&self, record: &Record) -> bool {
        match self.generation {
            1 => record.kind == Kind::KeyRegistered && opens(record),
            _ => record.kind == Kind::GenerationOpened,
        }
    }

    /// The roots whose thresholds a change needs: the one in force, then the one that follows it.
    fn deciding<'a>(&'a self, change: &'a Change) -> impl Iterator<Item = &'a Root> {
        self.roots.last().into_iter().chain(change.new_root())
    }

    fn verify_act(
        &self,
        signed: &Value,
        change: &Change,
    ) -> Result<(Act, Vec<KeyId>), KeyringError> {
        let mut signers = Vec::new();
        let envelope = Envelope::from_value(signed)?;
        let act = envelope.verify_act_with(|id| {
            signers.push(id.clone());
            let found = self.deciding(change).find_map(|root| root.key(id));
            found.ok_or_else(|| match self.standing(id) {
                Standing::Unknown => DecisionError::UnknownKey(id.clone()),
                Standing::Ended(_) => DecisionError::KeyEnded(id.clone()),
                Standing::Valid(_) => DecisionError::KeyPurpose(id.clone()),
            })
        })?;
        Ok((act, signers))
    }

    fn apply(&mut self, change: Change, place: Place) {
        match change {
            Change::Open {
                root,
                log,
                others,
                older,
            } => {
                for (_, vkey) in root.keys() {
                    self.add(vkey.clone(), KeyRole::SOVEREIGN, place);
                }
                self.set_log(log, place);
                for (vkey, role) in others {
                    self.add(vkey, role, place);
                }
                self.roots.push(root);
                self.older = older;
            }
            Change::Add(vkey, role) => self.add(vkey, role, place),
            Change::Replace { old, new, role } => {
                self.end(&old, place);
                match role {
                    KeyRole::Log => self.set_log(new, place),
                    role => self.add(new, role, place),
                }
            }
            Change::Root(root) => self.set_root(root, place),
            Change::End(id) => self.end(&id, place),
            Change::Compromise { key, since } => {
                self.end(&key, place);
                if let (Some(key), true) = (self.keys.get(&key), place.known) {
                    let behind = key.signed_at.iter().filter(|at| **at >= since);
                    self.doubtful.extend(behind);
                }
            }
            Change::Nothing => {}
        }
    }

    fn set_root(&mut self, root: Root, place: Place) {
        let before: Vec<KeyId> = match self.roots.last() {
            Some(before) => before.keys().map(|(id, _)| id.clone()).collect(),
            None => Vec::new(),
        };
        for id in before.iter().filter(|id| root.key(id).is_none()) {
            self.end(id, place);
        }
        let new = root.keys().filter(|(id, _)| !self.keys.contains_key(*id));
        let new: Vec<Vkey> = new.map(|(_, vkey)| vkey.clone()).collect();
        for vkey in new {
            self.add(vkey, KeyRole::SOVEREIGN, place);
        }
        self.roots.push(root);
    }

    fn set_log(&mut self, vkey: Vkey, place: Place) {
        let size = place.position.saturating_add(1);
        self.logs.push((size, vkey.id().clone()));
        self.add(vkey, KeyRole::Log, place);
    }

    fn add(&mut self, vkey: Vkey, role: KeyRole, place: Place) {
        self.publics.insert(*vkey.key().as_bytes());
        let key = LedgerKey {
            vkey,
            role,
            since: place.position,
            until: None,
            signed_at: Vec::new(),
        };
        self.keys.insert(key.vkey.id().clone(), key);
    }

    fn end(&mut self, id: &KeyId, place: Place) {
        if let Some(key) = self.keys.get_mut(id) {
            key.until.get_or_insert(place.position);
        }
    }

    /// Remembers who signed what was accepted at a position, in case a key turns out to be stolen.
    pub(crate) fn note_signatures(&mut self, signers: &[KeyId], position: u64) {
        for id in signers {
            if let Some(key) = self.keys.get_mut(id) {
                key.signed_at.push(position);
            }
        }
    }

    /// What the ledger says of a key behind the last record.
    pub fn standing(&self, id: &KeyId) -> Standing<'_> {
        match self.keys.get(id) {
            None => Standing::Unknown,
            Some(key) if key.until.is_none() => Standing::Valid(key),
            Some(key) => Standing::Ended(key),
        }
    }

    /// What it said of a key when the record at a position was judged.
    pub fn standing_at(&self, id: &KeyId, position: u64) -> Standing<'_> {
        match self.keys.get(id) {
            None => Standing::Unknown,
            Some(key) if key.since < position && key.until.is_none_or(|end| position <= end) => {
                Standing::Valid(key)
            }
            Some(key) => Standing::Ended(key),
        }
    }

    /// Checks the signatures on a person's decision, by the keys that count now.
    pub fn verify(&self, envelope: &Envelope) -> Result<Verified, DecisionError> {
        self.verify_by(envelope, |id| self.standing(id))
    }

    /// Checks them by the keys that counted when the record at a position was judged.
    pub fn verify_at(&self, envelope: &Envelope, position: u64) -> Result<Verified, DecisionError> {
        self.verify_by(envelope, |id| self.standing_at(id, position))
    }

    fn verify_by<'k>(
        &'k self,
        envelope: &Envelope,
        standing: impl Fn(&KeyId) -> Standing<'k>,
    ) -> Result<Verified, DecisionError> {
        envelope.verify_with(|id| match standing(id) {
            Standing::Unknown => Err(DecisionError::UnknownKey(id.clone())),
            Standing::Ended(_) => Err(DecisionError::KeyEnded(id.clone())),
            Standing::Valid(key) => match key.role {
                KeyRole::Person(role) => Ok((&key.vkey, role)),
                KeyRole::Engine | KeyRole::Log => Err(DecisionError::KeyPurpose(id.clone())),
            },
        })
    }

    /// Every key that was ever known, by id.
    pub fn keys(&self) -> impl Iterator<Item = &LedgerKey> {
        self.keys.values()
    }

    /// The root in force, `None` before the log was opened.
    pub fn root(&self) -> Option<&Root> {
        self.roots.last()
    }

    /// The root that opened the log, and each one after it.
    pub fn roots(&self) -> &[Root] {
        &self.roots
    }

    /// The log's key in force, `None` before the log was opened.
    pub fn log_key(&self) -> Option<&Vkey> {
        self.vkey(&self.logs.last()?.1)
    }

    /// The log's key that had to sign a checkpoint of this size.
    pub fn log_key_at(&self, size: u64) -> Option<&Vkey> {
        let mut before = self.logs.iter().rev();
        let (_, id) = before.find(|(from, _)| *from <= size)?;
        self.vkey(id)
    }

    fn vkey(&self, id: &KeyId) -> Option<&Vkey> {
        self.keys.get(id).map(|key| &key.vkey)
    }

    /// The positions of decisions and acts that a compromised key signed.
    pub fn doubtful(&self) -> &BTreeSet<u64> {
        &self.doubtful
    }

    /// The head of the generation before that somebody outside remembered.
    pub fn pinned(&self) -> Option<&Checkpoint> {
        self.older.as_ref().map(|older| &older.pinned)
    }

    /// The log that this one carries on; `None` in the first generation.
    pub fn carried(&self) -> Option<&Carried> {
        self.older.as_ref().map(|older| &older.carried)
    }

    /// Where a key signed what was accepted.
    pub(crate) fn signed_at(&self, id: &KeyId) -> &[u64] {
        self.keys.get(id).map_or(&[], |key| &key.signed_at)
    }

    /// Checks that this ledger goes on with the root and with keys that the one before it had in force at its end.
    pub fn check_continues(&self, before: &Keyring) -> Result<(), KeyringError> {
        if self.roots.first() != before.roots.last() {
            return Err(KeyringError::OtherRoots);
        }
        let restated = self.keys.values().filter(|key| key.since == 0);
        for key in restated.filter(|key| key.role != KeyRole::Log) {
            match before.standing(key.vkey.id()) {
                Standing::Valid(known) if (&known.vkey, known.role) == (&key.vkey, key.role) => {}
                _ => return Err(KeyringError::NotInForce(key.vkey.id().to_string())),
            }
        }
        Ok(())
    }

    /// Whether an act of this id was taken, or a decision that was judged with this keyring. Each id counts once.
    pub fn is_used(&self, id: Uuid) -> bool {
        self.used.contains_key(&id)
    }

    /// The run that the keys are records of.
    pub fn run(&self) -> Option<Uuid> {
        self.run
    }

    /// The record of the keys that the next act must name.
    pub fn basis(&self) -> Option<Basis> {
        self.basis
    }

    /// The number of the last root act's record; 0 before the opening. Acts about blobs and archived runs are among them,
    /// and do not move [`Keyring::basis`].
    pub fn last_act(&self) -> i64 {
        self.last
    }

    /// Checks that the reader's file names one of the roots that the ledger ever had.
    pub fn check_roots(&self, trust: &Trust) -> Result<(), KeyringError> {
        if self.roots.iter().any(|root| root.is_named_by(trust)) {
            Ok(())
        } else {
            Err(KeyringError::OtherRoots)
        }
    }
}

/// Whether a record states that it opens a log.
fn opens(record: &Record) -> bool {
    match record.kind {
        Kind::GenerationOpened => true,
        Kind::KeyRegistered => record.body.get("root").is_some(),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
