//! One run's records, replayed one by one, and compared with the run's row.
//!
//! **Invariant:** pure, and flat in memory: a record is forgotten once it is taken. What a run is in, is judged by the
//! same `Chain`, `Story` and `transition` as every live write.
//!
//! **Not here:** owner, claims and the time of the next try: a lease leaves no record.

use std::collections::{BTreeMap, BTreeSet};

use redress_ledger::chain::Chain;
use redress_ledger::state::State;
use redress_ledger::{Hash, Kind, Record, leaf_hash};
use serde_json::Value;
use uuid::Uuid;

use super::model::{Fault, Findings};
use super::stream::Stored;
use crate::definition::Definition;
use crate::error::Error;
use crate::run::RunRow;
use crate::story::Story;

/// The code of a stored hash that is not that of the bytes, as the ledger's verifier gives it.
const HASH_CODE: &str = "RD0650";
/// The code of a cancellation, as it stands in the run's row.
const CANCELLED: &str = "RD0217";

/// A run as its records tell it.
pub(super) struct Tale {
    run: Uuid,
    system: bool,
    chain: Chain,
    story: Story,
    /// A record did not follow: nothing after it can be replayed.
    broken: bool,
    /// How many records were read.
    pub records: u64,
    opening: Option<Value>,
    epoch: i64,
    attempts: i64,
    failed_phase: Option<String>,
    error: Option<(String, String)>,
    plan: Option<Hash>,
    /// Plans that were made: digest to the record and the basis it states.
    pub plans: BTreeMap<Hash, (i64, Value)>,
    /// Refusals that were recorded: actor, code, basis.
    pub refusals: BTreeSet<(String, String, Hash)>,
}

impl Tale {
    /// Begins before the first record.
    pub fn new(run: Uuid, system: bool) -> Result<Self, Error> {
        Ok(Self {
            run,
            system,
            chain: Chain::new(run),
            story: Story::read(run, std::iter::empty())?,
            broken: false,
            records: 0,
            opening: None,
            epoch: 0,
            attempts: 0,
            failed_phase: None,
            error: None,
            plan: None,
            plans: BTreeMap::new(),
            refusals: BTreeSet::new(),
        })
    }

    /// Number and hash of the last record that followed.
    pub fn head(&self) -> (i64, Hash) {
        (self.chain.end().count, self.chain.end().head)
    }

    /// Whether every record followed.
    pub fn is_whole(&self) -> bool {
        !self.broken
    }

    /// Takes the next record; gives it back when its bytes are a record at all.
    pub fn take(&mut self, stored: &Stored, findings: &mut Findings) -> Option<Record> {
        self.records += 1;
        let (run, seq) = (Some(self.run), Some(stored.seq));
        if !stored.hash_holds() {
            let text = "the stored hash is not that of the bytes".to_owned();
            findings.add_coded(HASH_CODE, "record", run, seq, text);
        }
        let record = match Record::decode(&stored.bytes) {
            Ok(record) => record,
            Err(error) => {
                self.broken = true;
                findings.add_coded(error.code(), "record", run, seq, error.to_string());
                return None;
            }
        };
        let differing = stored.differing(&record, self.system);
        if !differing.is_empty() {
            let text = format!("not what the bytes say: {}", differing.join(", "));
            findings.add(Fault::Projection, run, seq, text);
        }
        if !self.broken {
            self.follow(stored, &record, findings);
        }
        Some(record)
    }

    fn follow(&mut self, stored: &Stored, record: &Record, findings: &mut Findings) {
        let (run, seq) = (Some(self.run), Some(stored.seq));
        let hash = leaf_hash(&stored.bytes);
        if let Err(error) = self.chain.push(record, hash) {
            self.broken = true;
            findings.add_coded(error.code(), "record", run, seq, error.to_string());
            return;
        }
        if self.system {
            return;
        }
        let basis_before = self.story.basis.1;
        if let Err(error) = self.story.take(self.run, record.seq, record.clone(), hash) {
            self.broken = true;
            findings.add_coded(error.code(), "record", run, seq, error.to_string());
            return;
        }
        // Flat memory: what counts of a record has been taken out of it.
        self.story.entries.clear();
        self.remember(record, basis_before);
    }

    fn remember(&mut self, record: &Record, basis_before: Hash) {
        let body = &record.body;
        let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
        let is = |name: &str| body.get(name) == Some(&Value::Bool(true));
        let said = || {
            let message = text("message").unwrap_or_default();
            text("code").map(|code| (code, message))
        };
        let digest = || text("plan").and_then(|digest| digest.parse::<Hash>().ok());
        self.epoch = self.epoch.max(record.epoch);
        match record.kind {
            Kind::RunOpened => self.opening = Some(body.clone()),
            Kind::PhaseCommitted | Kind::RunResumed => self.attempts = 0,
            Kind::PhaseFailed => {
                self.error = said();
                self.attempts = body.get("attempt").and_then(Value::as_i64).unwrap_or(0);
                if is("final") {
                    self.attempts = 0;
                    if !is("continue") {
                        self.failed_phase = text("phase");
                    }
                }
            }
            Kind::RunCancelled => {
                let reason = text("reason").unwrap_or_default();
                self.error = Some((CANCELLED.to_owned(), reason));
            }
            Kind::CompensationFailed => {
                self.error = said();
                self.plan = digest().or(self.plan);
            }
            Kind::PlanMade => {
                self.plan = digest().or(self.plan);
                if let Some(digest) = digest() {
                    let basis = body.get("basis").cloned().unwrap_or(Value::Null);
                    self.plans.insert(digest, (record.seq, basis));
                }
            }
            Kind::PlanFinished => {
                self.plan = digest().or(self.plan);
                if body.get("rewind").is_some() {
                    self.attempts = 0;
                }
            }
            Kind::PlanRefused => {
                if let Some(code) = text("code") {
                    let refusal = (record.actor.clone(), code, basis_before);
                    self.refusals.insert(refusal);
                }
            }
            _ => {}
        }
    }

    /// Compares the run's row with what its records lead to.
    pub fn compare(
        &self,
        row: &RunRow,
        exclusive: bool,
        definition: Option<&Definition>,
        findings: &mut Findings,
    ) {
        let run = Some(self.run);
        if self.records == 0 {
            findings.add(Fault::RunWithoutRecords, run, None, "the run has no record");
            return;
        }
        if self.broken {
            return;
        }
        let end = self.chain.end();
        let mut add =
            |fault, what: &str, is: &dyn std::fmt::Debug, should: &dyn std::fmt::Debug| {
                let text = format!("{what} is {is:?}, the log says {should:?}");
                findings.add(fault, run, Some(end.count), text);
            };
        if row.seq != end.count || row.head != end.head {
            let text = |(seq, hash): (i64, Hash)| format!("{seq} {hash}");
            let (is, should) = (text((row.seq, row.head)), text((end.count, end.head)));
            add(Fault::RunHead, "head", &is, &should);
        }
        if row.state != self.story.state {
            let (is, should) = (row.state.as_str(), self.story.state.as_str());
            add(Fault::RunState, "state", &is, &should);
        }
        let ended = self.story.state.is_terminal();
        if row.ended_at.is_some() != ended {
            add(Fault::RunState, "the end", &row.ended_at, &ended);
        }
        if row.basis != self.story.basis {
            let text = |(seq, hash): (i64, Hash)| format!("{seq} {hash}");
            let (is, should) = (text(row.basis), text(self.story.basis));
            add(Fault::RunBasis, "basis", &is, &should);
        }
        if row.epoch < self.epoch {
            add(Fault::RunEpoch, "epoch", &row.epoch, &self.epoch);
        }
        self.compare_progress(row, definition, &mut add);
        self.compare_identity(row, exclusive, definition, &mut add);
    }

    fn compare_progress(
        &self,
        row: &RunRow,
        definition: Option<&Definition>,
        add: &mut impl FnMut(Fault, &str, &dyn std::fmt::Debug, &dyn std::fmt::Debug),
    ) {
        let fault = Fault::RunProgress;
        if let Some(definition) = definition {
            let running = self.story.state == State::Running;
            let next = definition.next_phase(&self.story.done());
            let next = next.filter(|_| running).map(|phase| phase.name.to_string());
            if row.phase != next {
                add(fault, "phase", &row.phase, &next);
            }
        }
        if i64::from(row.attempts) != self.attempts {
            add(fault, "attempts", &row.attempts, &self.attempts);
        }
        if row.failed_phase != self.failed_phase {
            add(fault, "failed phase", &row.failed_phase, &self.failed_phase);
        }
        if row.error != self.error {
            add(fault, "error", &row.error, &self.error);
        }
        if row.plan != self.plan {
            let text = |plan: Option<Hash>| plan.map(|digest| digest.to_string());
            add(fault, "plan", &text(row.plan), &text(self.plan));
        }
    }

    fn compare_identity(
        &self,
        row: &RunRow,
        exclusive: bool,
        definition: Option<&Definition>,
        add: &mut impl FnMut(Fault, &str, &dyn std::fmt::Debug, &dyn std::fmt::Debug),
    ) {
        let Some(opening) = &self.opening else { return };
        let text = |name: &str| opening.get(name).and_then(Value::as_str).map(str::to_owned);
        let columns = [
            ("saga", Some(row.saga.clone())),
            ("definition", Some(row.definition.to_string())),
            ("subject", row.subject.clone()),
            ("key", Some(row.key.clone())),
            ("input_hash", Some(row.input_hash.to_string())),
            ("requester", Some(row.requester.clone())),
        ];
        for (name, is) in columns {
            if is != text(name) {
                add(Fault::RunIdentity, name, &is, &text(name));
            }
        }
        let version = opening.get("version").and_then(Value::as_i64);
        if Some(i64::from(row.version)) != version {
            add(Fault::RunIdentity, "version", &row.version, &version);
        }
        if let Some(definition) = definition
            && definition.exclusive != exclusive
        {
            let should = definition.exclusive;
            add(Fault::RunIdentity, "exclusive", &exclusive, &should);
        }
    }
}
