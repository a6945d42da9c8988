//! Holds the log of each generation: each carries the one before it, whole and in its order, behind its first leaf.
//!
//! **Invariant:** a record is judged by the log of its own generation, at its position in that log, whatever log it was
//! carried into. So nothing is judged more mildly for being old.
//!
//! **Invariant:** what a root said about the log that it carries on is held against the records themselves: their
//! number, their order and every byte, and the head that somebody outside remembered.
//!
//! **What can go wrong:** a restored database is older than the remembered head. What was lost stays lost; the root
//! signed for that, and the report says so.

use std::collections::{BTreeMap, BTreeSet};

use crate::hash::Hash;
use crate::keyring::{Carried, Keyring, KeyringError};
use crate::record::{Kind, Record};
use crate::runs::Run;
use crate::tree::Frontier;
use crate::trust::Trust;
use crate::used::Used;

use super::fault::{Stop, fault};

/// The logs of a bundle.
pub(super) struct Logs {
    generation: i64,
    trust: Trust,
    /// Whether every record comes, so that the older trees can be grown.
    whole: bool,
    /// The newest first; an older one is added when its first record comes.
    logs: Vec<Log>,
    /// Decisions and acts count once in all of them together.
    used: Used,
    /// Positions of the newest log.
    doubtful: BTreeSet<u64>,
    /// The roots of older logs at the sizes that the reader remembers: how many generations ago, which size.
    remembered: BTreeMap<(usize, u64), Option<Hash>>,
}

struct Log {
    ring: Keyring,
    /// Of the newest log the bundle's own tree is grown elsewhere.
    tree: Frontier,
}

/// Where a record stands in the log of its own generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// How many generations ago.
    depth: usize,
    position: u64,
}

/// What is known of an older head when all records were read.
pub(super) enum Head {
    /// The records, or the root that pinned it, give this.
    Root(Hash),
    /// Nothing: it lies where something was lost, or not every record came.
    Unknown,
}

impl Logs {
    /// Begins with no record; `remembered` are heads of older generations, by generation and size.
    pub(super) fn new(
        generation: i64,
        trust: &Trust,
        whole: bool,
        remembered: impl Iterator<Item = (i64, u64)>,
    ) -> Logs {
        let remembered = remembered.filter_map(|(older, size)| {
            let depth = usize::try_from(generation.checked_sub(older)?).ok()?;
            Some(((depth, size), None))
        });
        Logs {
            generation,
            trust: trust.clone(),
            whole,
            logs: vec![Log::new(generation, trust)],
            used: Used::new(),
            doubtful: BTreeSet::new(),
            remembered: remembered.collect(),
        }
    }

    /// The keys of the newest log.
    pub(super) fn ring(&self) -> &Keyring {
        &self.logs[0].ring
    }

    /// Finds the place of the record at a position of the newest log, and checks that it is of that generation.
    pub(super) fn place(&mut self, record: &Record, position: u64) -> Result<Place, Stop> {
        let (mut depth, mut at) = (0, position);
        while at > 0 && self.generation_at(depth) > 1 {
            let Some(carried) = self.logs[depth].ring.carried() else {
                return Err(KeyringError::NotOpened.into());
            };
            if at > carried.size {
                break;
            }
            depth += 1;
            at -= 1;
            if depth == self.logs.len() {
                let log = Log::new(self.generation_at(depth), &self.trust);
                self.logs.push(log);
            }
        }
        let expected = self.generation_at(depth);
        if record.generation == expected {
            let position = at;
            return Ok(Place { depth, position });
        }
        if position == 0 && record.generation < expected && expected > 1 {
            return Err(fault("RD0575", "the first leaf is of another generation"));
        }
        let words = format!(
            "the record is of generation {}, where one of generation {expected} stands",
            record.generation
        );
        Err(fault("RD0634", words))
    }

    fn generation_at(&self, depth: usize) -> i64 {
        self.generation - i64::try_from(depth).unwrap_or(i64::MAX)
    }

    /// Judges a record by the keys of its own log.
    pub(super) fn judge(
        &mut self,
        run: &mut Run,
        record: &Record,
        hash: Hash,
        place: Place,
    ) -> Result<(), Stop> {
        let Place { depth, position } = place;
        let ring = &mut self.logs[depth].ring;
        std::mem::swap(&mut ring.used, &mut self.used);
        let known = ring.doubtful().len();
        ring.push(record, hash, position)?;
        run.judge(ring, record, hash, position)?;
        std::mem::swap(&mut ring.used, &mut self.used);
        if record.kind == Kind::KeyCompromised {
            if ring.doubtful().len() > known {
                let shift = depth as u64;
                let all = ring.doubtful().iter().map(|at| at + shift);
                self.doubtful.extend(all);
            }
            self.doubt_older(record, depth);
        }
        Ok(())
    }

    /// What the key signed in older logs stands in this one too, some positions further.
    fn doubt_older(&mut self, record: &Record, depth: usize) {
        let key = record.body.get("key").and_then(|key| key.as_str());
        let key = key.and_then(|key| key.parse().ok());
        let since = record.body.get("since").and_then(|since| since.as_u64());
        let (Some(key), Some(since)) = (key, since) else {
            return;
        };
        for (older, log) in self.logs.iter().enumerate().skip(depth + 1) {
            let signed = log.ring.signed_at(&key).iter();
            let since = since.saturating_add(depth as u64);
            let positions = signed.map(|at| at + older as u64);
            self.doubtful
                .extend(positions.filter(|position| *position >= since));
        }
    }

    /// Grows the older trees, and holds what was said of them against what they are.
    pub(super) fn grow(&mut self, hash: Hash, place: Place) -> Result<(), Stop> {
        if !self.whole {
            return Ok(());
        }
        for depth in 1..=place.depth {
            let log = &mut self.logs[depth];
            log.tree
                .push(hash)
                .map_err(|error| fault("RD0710", error))?;
            let size = log.tree.size();
            let newer = &self.logs[depth - 1].ring;
            let (Some(carried), Some(pinned)) = (newer.carried(), newer.pinned()) else {
                continue;
            };
            let tree = &self.logs[depth].tree;
            let wanted = self.remembered.get_mut(&(depth, size));
            if size != carried.size && size != pinned.size && wanted.is_none() {
                continue;
            }
            let root = tree.root();
            if size == pinned.size && size <= carried.sealed && root != pinned.root {
                let words = "a fork: the carried records are not those of the pinned checkpoint";
                return Err(fault("RD0656", words));
            }
            if size == carried.size && root != carried.root {
                let words = "the carried records are not those that the generation was opened with";
                return Err(fault("RD0655", words));
            }
            if let Some(wanted) = wanted.filter(|_| size <= carried.sealed) {
                *wanted = Some(root);
            }
        }
        Ok(())
    }

    /// The logs that were carried whole into a bundle of this size: what opened the newer one, the newer, the older.
    fn carried(&self, size: u64) -> impl Iterator<Item = (u64, &Carried, &Keyring, &Keyring)> {
        let pairs = self.logs.iter().zip(self.logs.iter().skip(1));
        let pairs = (0_u64..).zip(pairs).map(move |(depth, (newer, older))| {
            let carried = newer.ring.carried();
            let carried = carried.filter(|carried| size.saturating_sub(depth) > carried.size);
            carried.map(|carried| (depth, carried, &newer.ring, &older.ring))
        });
        pairs.map_while(|found| found)
    }

    /// Whether every older log is in a bundle of this size as a whole.
    pub(super) fn is_whole(&self, size: u64) -> bool {
        let older = i64::try_from(self.carried(size).count()).unwrap_or(i64::MAX);
        older == self.generation - 1
    }

    /// Whether the remembered head of an older log is ahead of what was carried.
    pub(super) fn is_cut_off(&self) -> bool {
        self.logs.iter().any(|log| {
            let pinned = log.ring.pinned().map(|pinned| pinned.size);
            let sealed = log.ring.carried().map(|carried| carried.sealed);
            pinned > sealed
        })
    }

    /// Checks that each log goes on with the keys of the one before it.
    pub(super) fn check_continues(&self, size: u64) -> Result<(), Stop> {
        for (opened_at, _, newer, older) in self.carried(size) {
            newer
                .check_continues(older)
                .map_err(|error| Stop::from(error).at(opened_at))?;
        }
        Ok(())
    }

    /// Checks that the reader's file names a root that one of the logs ever had.
    pub(super) fn check_roots(&self, size: u64, trust: &Trust) -> Result<(), Stop> {
        let older = self.carried(size).map(|(_, _, _, older)| older);
        let mut all = std::iter::once(self.ring()).chain(older);
        let named = all.any(|ring| ring.check_roots(trust).is_ok());
        let found = named.then_some(()).ok_or(KeyringError::OtherRoots);
        found.map_err(|error| Stop::from(error).at(0))
    }

    /// What the records give for a head of an older generation.
    pub(super) fn head(&self, generation: i64, size: u64) -> Head {
        let depth = self.generation.checked_sub(generation);
        let Some(depth) = depth.and_then(|depth| usize::try_from(depth).ok()) else {
            return Head::Unknown;
        };
        let newer = depth.checked_sub(1).and_then(|newer| self.logs.get(newer));
        let pinned = newer.and_then(|newer| newer.ring.pinned());
        let pinned = pinned.filter(|pinned| pinned.size == size);
        let grown = self.remembered.get(&(depth, size)).copied().flatten();
        match pinned.map(|pinned| pinned.root).or(grown) {
            Some(root) => Head::Root(root),
            None => Head::Unknown,
        }
    }

    /// The positions of decisions and acts that a compromised key signed.
    pub(super) fn doubtful(&self) -> Vec<u64> {
        self.doubtful.iter().copied().collect()
    }
}

impl Log {
    fn new(generation: i64, trust: &Trust) -> Log {
        Log {
            ring: Keyring::with_trust(generation, trust.clone()),
            tree: Frontier::new(),
        }
    }
}
