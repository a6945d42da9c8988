//! The saga log, read: a run's records replayed into what it has done.
//!
//! **Invariant:** a stored state is never trusted alone: [`Story::read`] replays the log through `transition`, and the
//! caller compares the result with the run's row.

use std::collections::{BTreeMap, BTreeSet};

use redress_ledger::state::{self, Event, State};
use redress_ledger::{Hash, Kind, Record, leaf_hash};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::log::LogError;
use crate::name::Name;
use crate::outside::Settled;

/// One record as read back.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The record.
    pub record: Record,
    /// Its hash.
    pub hash: Hash,
}

/// A committed phase.
#[derive(Clone, Debug)]
pub struct Committed {
    /// Its name.
    pub phase: Name,
    /// The number of its record.
    pub seq: i64,
    /// The hash of its record.
    pub hash: Hash,
    /// What `apply` kept for the way back.
    pub undo: Value,
    /// What it touched, for people.
    pub touched: Value,
    /// The intent of an act outside the database; none for a phase inside it.
    pub intent: Option<Intent>,
}

/// An act outside the database, or its undo, that is about to be done, or may have been.
#[derive(Clone, Debug)]
pub struct Intent {
    /// The number of its last record.
    pub seq: i64,
    /// The hash of its last record.
    pub hash: Hash,
    /// When that was recorded.
    pub at: String,
    /// The idempotency key.
    pub key: String,
    /// What was looked up for the way back before anything was done.
    pub prepared: Value,
    /// For an undo: what the act kept for it.
    pub undo: Value,
    /// Whether it may have been done; a try that a probe found not done leaves what was prepared.
    pub open: bool,
}

/// What became of a phase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// `committed`, `failed`, `reverted`, `decided`, `discarded` or `standing`; absent phases are pending.
    pub state: &'static str,
    /// Attempts that were recorded, the successful one included.
    pub attempts: u32,
    /// Its last record.
    pub record: (i64, Hash),
    /// The code and message of its last failure.
    pub error: Option<(String, String)>,
}

/// A run's log, replayed.
#[derive(Clone, Debug)]
pub struct Story {
    /// Every record, in order.
    pub entries: Vec<Entry>,
    /// The state after the last one.
    pub state: State,
    /// Hash of the last one.
    pub head: Hash,
    /// The last record that changes what a plan would say.
    pub basis: (i64, Hash),
    /// The input, or where it lives.
    pub input: Value,
    /// Baseline and other values read before the run.
    pub pre: Value,
    /// Phases that stand, in commit order.
    pub committed: Vec<Committed>,
    /// Phases that failed for good and were allowed to (`on_failure: continue`), with the record that says so.
    pub passed_over: BTreeMap<Name, i64>,
    /// What became of each phase.
    pub traces: BTreeMap<Name, Trace>,
    /// Outputs by phase.
    pub outputs: Map<String, Value>,
    /// Phases that the last finished or running plan compensated.
    pub compensated: BTreeSet<Name>,
    /// The phase that failed last.
    pub failed: Option<Name>,
    /// The digest of the plan that was started and not finished.
    pub running_plan: Option<Hash>,
    /// Acts outside the database that have no outcome yet.
    pub intents: BTreeMap<Name, Intent>,
    /// Undos outside the database that have no outcome yet.
    pub undos: BTreeMap<Name, Intent>,
    /// How often each phase was compensated: an act that runs again then is another one.
    pub rounds: BTreeMap<Name, u32>,
    /// How often each phase has been the target of a finished rewind.
    pub rewinds: BTreeMap<Name, u32>,
    /// The last finished rewind, while nothing has committed since.
    pub rewound: Option<Rewound>,
}

/// A finished rewind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewound {
    /// The phase that was undone last and runs next.
    pub to: Name,
    /// The phase that the run was at before.
    pub from: Option<Name>,
    /// The digest of its plan.
    pub plan: Option<Hash>,
}

impl Story {
    /// Replays a run's records.
    ///
    /// # Errors
    /// [`LogError`] when a record cannot be read or does not follow from the ones before it.
    pub fn read(
        run: Uuid,
        records: impl IntoIterator<Item = (i64, Vec<u8>)>,
    ) -> Result<Self, LogError> {
        let mut story = Self {
            entries: Vec::new(),
            state: State::Running,
            head: Hash::ZERO,
            basis: (0, Hash::ZERO),
            input: Value::Null,
            pre: Value::Null,
            committed: Vec::new(),
            passed_over: BTreeMap::new(),
            traces: BTreeMap::new(),
            outputs: Map::new(),
            compensated: BTreeSet::new(),
            failed: None,
            running_plan: None,
            intents: BTreeMap::new(),
            undos: BTreeMap::new(),
            rounds: BTreeMap::new(),
            rewinds: BTreeMap::new(),
            rewound: None,
        };
        for (seq, bytes) in records {
            let record =
                Record::decode(&bytes).map_err(|source| LogError::Record { seq, run, source })?;
            let hash = leaf_hash(&bytes);
            story.take(run, seq, record, hash)?;
        }
        Ok(story)
    }

    /// Takes one more record, which follows the last one.
    pub(crate) fn take(
        &mut self,
        run: Uuid,
        seq: i64,
        record: Record,
        hash: Hash,
    ) -> Result<(), LogError> {
        let disagree = |what: &str, is: String, should: String| LogError::Disagree {
            logged: format!("{what} {is} at record {seq}"),
            stored: should,
            run,
        };
        if record.run != run || record.prev != self.head {
            return Err(disagree(
                "previous hash",
                record.prev.to_string(),
                self.head.to_string(),
            ));
        }
        if let Some(moved) = record.body.get("transition") {
            let text = |key: &str| moved.get(key).and_then(Value::as_str).unwrap_or_default();
            let (from, event, to) = (text("from"), text("event"), text("to"));
            let next = to
                .parse()
                .ok()
                .and_then(|state| Event::from_parts(event, state));
            let next = next.and_then(|event| state::transition(self.state, &event).ok());
            match next {
                Some(next) if from == self.state.as_str() && next.as_str() == to => {
                    self.state = next
                }
                _ => {
                    let moved = format!("{from}-{event}-{to}");
                    return Err(disagree(
                        "transition",
                        moved,
                        self.state.as_str().to_owned(),
                    ));
                }
            }
        }
        self.head = hash;
        if record.kind.moves_basis() {
            self.basis = (seq, hash);
        }
        self.remember(run, seq, &record, hash)?;
        self.entries.push(Entry { record, hash });
        Ok(())
    }

    fn remember(
        &mut self,
        run: Uuid,
        seq: i64,
        record: &Record,
        hash: Hash,
    ) -> Result<(), LogError> {
        let body = &record.body;
        let phase = body
            .get("phase")
            .and_then(Value::as_str)
            .and_then(|p| p.parse::<Name>().ok());
        let need = |phase: Option<Name>| {
            phase.ok_or(LogError::Field {
                seq,
                field: "phase",
                run,
            })
        };
        match record.kind {
            Kind::RunOpened => {
                self.input = field(body, "input");
                self.pre = field(body, "pre");
            }
            Kind::PhaseIntended => self.remember_intent(need(phase)?, (seq, hash), record),
            Kind::PhaseCommitted => self.remember_commit(need(phase)?, (seq, hash), body),
            Kind::PhaseFailed => self.remember_failure(need(phase)?, (seq, hash), body),
            Kind::CompensationCommitted => self.remember_action(need(phase)?, (seq, hash), body),
            Kind::PlanStarted => {
                self.running_plan = body
                    .get("plan")
                    .and_then(Value::as_str)
                    .and_then(|p| p.parse().ok());
            }
            Kind::PlanFinished => {
                self.remember_rewind(body);
                self.running_plan = None;
            }
            // A plan that is stuck does not go on: a new one is made for what still stands.
            Kind::CompensationFailed => self.running_plan = None,
            Kind::RunResumed => self.failed = None,
            _ => {}
        }
        Ok(())
    }

    fn remember_intent(&mut self, phase: Name, (seq, hash): (i64, Hash), record: &Record) {
        let intent = Intent {
            seq,
            hash,
            at: record.at.clone(),
            key: record.idem.clone().unwrap_or_default(),
            prepared: field(&record.body, "prepared"),
            undo: field(&record.body, "undo"),
            open: true,
        };
        match record.body.get("way").and_then(Value::as_str) {
            Some("back") => self.undos.insert(phase, intent),
            _ => self.intents.insert(phase, intent),
        };
    }

    /// A failure that says how the act outside ended; one that does not leaves the doubt.
    pub(crate) fn settle(&mut self, phase: &Name, outside: Option<Settled>) {
        match outside {
            Some(Settled::NotDone) => {
                self.intents.remove(phase);
            }
            Some(Settled::Probed) => {
                if let Some(intent) = self.intents.get_mut(phase) {
                    intent.open = false;
                }
            }
            None => {}
        }
    }

    /// The phase whose act outside the database may have been done, without an outcome in the log.
    pub fn in_doubt(&self) -> Option<(&Name, &Intent)> {
        self.intents.iter().find(|(_, intent)| intent.open)
    }

    /// The idempotency key of a phase's act outside the database, in this round.
    pub fn act_key(&self, run: Uuid, phase: &Name) -> String {
        let round = self.rounds.get(phase).copied().unwrap_or(0) + 1;
        format!("{run}.{phase}.{round}")
    }

    fn remember_commit(&mut self, phase: Name, record: (i64, Hash), body: &Value) {
        let attempts = self.traces.get(&phase).map_or(0, |t| t.attempts) + 1;
        let trace = Trace {
            state: "committed",
            attempts,
            record,
            error: None,
        };
        self.traces.insert(phase.clone(), trace);
        self.outputs
            .insert(phase.to_string(), field(body, "output"));
        self.compensated.remove(&phase);
        let intent = self.intents.remove(&phase);
        self.rewound = None;
        self.committed.push(Committed {
            intent,
            phase,
            seq: record.0,
            hash: record.1,
            undo: field(body, "undo"),
            touched: field(body, "touched"),
        });
    }

    fn remember_failure(&mut self, phase: Name, record: (i64, Hash), body: &Value) {
        let attempts = self.traces.get(&phase).map_or(0, |t| t.attempts) + 1;
        let text = |name: &'static str| {
            body.get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let error = Some((text("code"), text("message")));
        let outside = body.get("outside").and_then(Value::as_str);
        self.settle(&phase, outside.and_then(Settled::from_word));
        let last = body.get("final") == Some(&Value::Bool(true));
        let trace = Trace {
            state: if last { "failed" } else { "pending" },
            attempts,
            record,
            error,
        };
        self.traces.insert(phase.clone(), trace);
        if body.get("continue") == Some(&Value::Bool(true)) {
            self.passed_over.insert(phase, record.0);
        } else if last {
            self.failed = Some(phase);
        }
    }

    fn remember_action(&mut self, phase: Name, record: (i64, Hash), body: &Value) {
        let action = body
            .get("action")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let state = match action {
            "decide" => "decided",
            "discard" => "discarded",
            "nothing" => "standing",
            _ => "reverted",
        };
        if let Some(trace) = self.traces.get_mut(&phase) {
            // A failed attempt whose artefact is discarded stays failed: it never was committed.
            if trace.state != "failed" {
                trace.state = state;
            }
            trace.record = record;
        }
        self.committed.retain(|c| c.phase != phase);
        self.outputs.remove(phase.as_str());
        self.intents.remove(&phase);
        self.undos.remove(&phase);
        *self.rounds.entry(phase.clone()).or_default() += 1;
        self.compensated.insert(phase);
    }

    /// The run stands where it stood before its target ran: what came after it is as if it had never been.
    fn remember_rewind(&mut self, body: &Value) {
        let Some(rewind) = body.get("rewind") else {
            return;
        };
        let name = |field: &str| {
            let text = rewind.get(field).and_then(Value::as_str);
            text.and_then(|text| text.parse::<Name>().ok())
        };
        let Some(to) = name("to") else { return };
        let target = rewind.get("target").and_then(Value::as_i64);
        self.passed_over
            .retain(|_, seq| target.is_none_or(|target| *seq < target));
        self.compensated.clear();
        self.failed = None;
        *self.rewinds.entry(to.clone()).or_default() += 1;
        self.rewound = Some(Rewound {
            to,
            from: name("from"),
            plan: self.running_plan,
        });
    }

    /// Phases that need not run any more: committed, or failed and passed over.
    pub fn done(&self) -> BTreeSet<Name> {
        self.done_before(i64::MAX)
    }

    /// As [`Story::done`], by the records before this one alone.
    pub(crate) fn done_before(&self, seq: i64) -> BTreeSet<Name> {
        let committed = self.committed.iter().filter(|c| c.seq < seq);
        let passed_over = self.passed_over.iter().filter(|(_, at)| **at < seq);
        committed
            .map(|c| c.phase.clone())
            .chain(passed_over.map(|(phase, _)| phase.clone()))
            .collect()
    }
}

/// A field of a body, null when it is not there.
fn field(body: &Value, name: &str) -> Value {
    body.get(name).cloned().unwrap_or(Value::Null)
}
