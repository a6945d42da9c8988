//! What the tests of several modules share: people with keys, a decision, a log that holds.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::chain::transition_value;
use crate::decision::{Basis, Decision, Purpose};
use crate::envelope::sign;
use crate::hash::Hash;
use crate::key::{Role, SigningKey};
use crate::record::{Encoded, Kind, Record};
use crate::state::{After, Event, State, transition};
use crate::trust::Trust;
use crate::verify::{Head, LogVerifier, Report, Verdict};

pub(crate) const ORIGIN: &str = "test.redress.example/ledger";
pub(crate) const NOW: &str = "2026-05-01T12:00:00.000000Z";
pub(crate) const LATER: &str = "2026-05-02T12:00:00.000000Z";

pub(crate) fn run(number: u128) -> Uuid {
    Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + number)
}

/// Alice is a sovereign, Bob a reviewer, Carol an operator, Eve unknown.
pub(crate) fn key(name: &str) -> SigningKey {
    let seed = name.as_bytes().first().copied().unwrap_or_default();
    SigningKey::from_seed(name, &[seed; 32]).unwrap()
}

pub(crate) fn trust() -> Trust {
    let mut trust = Trust::new();
    let people = [
        ("alice", Role::Sovereign),
        ("bob", Role::Reviewer),
        ("carol", Role::Operator),
    ];
    for (name, role) in people {
        trust.add(role, key(name).vkey().clone()).unwrap();
    }
    trust
}

/// A decision that approves the plan of the log below.
pub(crate) fn decision() -> Decision {
    Decision {
        id: run(100),
        purpose: Purpose::PlanApprove,
        origin: ORIGIN.to_owned(),
        generation: 1,
        run: Some(run(1)),
        basis: Some(Basis {
            seq: 3,
            hash: Hash::of(b"basis"),
        }),
        switch_no: None,
        holds: vec![],
        hold: None,
        plan: Some(Hash::of(b"plan")),
        phase: None,
        reason_code: "repair".to_owned(),
        reason: "the verification of leg B failed".to_owned(),
        policy: None,
        not_after: LATER.to_owned(),
        requester: "carol".to_owned(),
    }
}

pub(crate) fn record() -> Record {
    Record {
        v: 1,
        origin: ORIGIN.to_owned(),
        generation: 1,
        run: run(1),
        epoch: 1,
        switch_no: 4,
        seq: 1,
        prev: Hash::ZERO,
        kind: Kind::RunOpened,
        at: NOW.to_owned(),
        actor: "worker".to_owned(),
        engine: "redress/0.1.0".to_owned(),
        policy: None,
        idem: None,
        body: json!({"input": {"order": "A-1", "qty": 2}}),
    }
}

/// A log that is built record by record.
#[derive(Clone)]
pub(crate) struct Log {
    pub(crate) records: Vec<Record>,
    state: State,
    basis: Option<Basis>,
}

impl Log {
    pub(crate) fn new() -> Log {
        Log {
            records: Vec::new(),
            state: State::Running,
            basis: None,
        }
    }

    /// Adds a record that does not move the state, or moves it by what its kind implies.
    pub(crate) fn add(&mut self, kind: Kind, body: Value) -> &mut Log {
        let prev = self.records.last().map_or(Hash::ZERO, |last| {
            last.encode().expect("the record before was encoded").hash
        });
        let record = Record {
            seq: i64::try_from(self.records.len()).unwrap() + 1,
            prev,
            kind,
            body,
            ..record()
        };
        if kind.moves_basis() {
            let hash = record.encode().unwrap().hash;
            let seq = record.seq;
            self.basis = Some(Basis { seq, hash });
        }
        self.records.push(record);
        self
    }

    /// Adds a record that states its move.
    pub(crate) fn step(&mut self, kind: Kind, event: Event, mut body: Value) -> &mut Log {
        let to = transition(self.state, &event).unwrap();
        body["transition"] = transition_value(self.state, &event, to);
        self.state = to;
        self.add(kind, body)
    }

    pub(crate) fn basis(&self) -> Basis {
        self.basis.expect("the log has a basis")
    }

    /// Links the records again after one of them was changed, as somebody would who owns the rows.
    pub(crate) fn relink(&mut self) {
        let mut prev = Hash::ZERO;
        for (seq, record) in (1..).zip(&mut self.records) {
            record.seq = seq;
            record.prev = prev;
            prev = record.encode().unwrap().hash;
        }
    }

    pub(crate) fn rows(&self) -> Vec<Encoded> {
        let rows = self.records.iter().map(|record| record.encode().unwrap());
        rows.collect()
    }
}

/// A run up to its failure and a plan that needs `quorum`; the digest of the plan is `plan`.
pub(crate) fn failed_run(quorum: &Value) -> Log {
    let mut log = Log::new();
    log.add(Kind::RunOpened, json!({"input": {"doc": "x"}}))
        .add(Kind::PhaseCommitted, json!({"phase": "leg_a"}))
        .add(Kind::PhaseCommitted, json!({"phase": "leg_b"}))
        .step(
            Kind::PhaseFailed,
            Event::PhaseFailed,
            json!({"phase": "verify", "code": "RD0301"}),
        );
    let basis = json!({"seq": log.basis().seq, "hash": log.basis().hash});
    log.add(
        Kind::PlanMade,
        json!({"plan": Hash::of(b"plan"), "basis": basis, "quorum": quorum}),
    );
    log
}

/// The decision that approves the plan of [`failed_run`].
pub(crate) fn approval(log: &Log) -> Decision {
    Decision {
        basis: Some(log.basis()),
        ..decision()
    }
}

/// Executes the plan of [`failed_run`] with one action, and seals the run.
pub(crate) fn unwind(log: &mut Log, action: &str) {
    let plan = Hash::of(b"plan");
    log.step(Kind::PlanStarted, Event::PlanStarted, json!({"plan": plan}))
        .add(
            Kind::CompensationCommitted,
            json!({"phase": "leg_b", "action": action, "plan": plan}),
        )
        .add(
            Kind::CompensationCommitted,
            json!({"phase": "leg_a", "action": "soft_revert"}),
        )
        .step(
            Kind::PlanFinished,
            Event::PlanFinished(After::Compensated),
            json!({"plan": plan}),
        );
    let count = log.records.len() + 1;
    log.add(Kind::RunSealed, json!({"count": count}));
}

pub(crate) fn read(rows: &[Encoded], trust: Option<&Trust>) -> Report {
    read_to(rows, None, trust)
}

pub(crate) fn read_to(rows: &[Encoded], head: Option<&Head>, trust: Option<&Trust>) -> Report {
    let mut verifier = LogVerifier::new(Some(ORIGIN), trust);
    verifier.start_run(run(1));
    for row in rows {
        verifier.record(&row.bytes, &row.hash);
    }
    verifier.end_run(head);
    verifier.finish()
}

pub(crate) fn verify(log: &Log) -> Report {
    read(&log.rows(), Some(&trust()))
}

/// The place and the code of a failed verdict.
pub(crate) fn failed(report: &Report) -> (i64, &'static str) {
    match &report.verdict {
        Verdict::Failed { seq, code, .. } => (*seq, code),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn approve(log: &mut Log, decision: &Decision, names: &[&str]) {
    let mut envelope = sign(decision, &key(names[0])).unwrap();
    for name in &names[1..] {
        envelope.countersign(&key(name)).unwrap();
    }
    let body = json!({"decision_id": decision.id, "envelope": envelope.to_value()});
    log.add(Kind::PlanApproved, body);
}

/// A failed run whose plan was approved by these people and executed.
pub(crate) fn decided(quorum: &Value, names: &[&str], action: &str) -> Log {
    let mut log = failed_run(quorum);
    let decision = approval(&log);
    if !names.is_empty() {
        approve(&mut log, &decision, names);
    }
    unwind(&mut log, action);
    log
}
