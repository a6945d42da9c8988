//! Tries runs that are interleaved, kept short, and taken up again.

use serde_json::json;

use super::*;
use crate::hash::Hash;
use crate::record::Kind;
use crate::testing::{Log, decided, failed_run, run};

/// The records of a log under the name of another run, linked again.
fn of_run(log: &Log, number: u128) -> Log {
    let mut log = log.clone();
    for record in &mut log.records {
        record.run = run(number);
    }
    log.relink();
    log
}

fn follow(runs: &mut Runs, log: &Log, index: usize) -> Result<(), Fault> {
    let record = &log.records[index];
    let mut taken = runs.take(record);
    taken.follow(record, record.encode().unwrap().hash)?;
    runs.put(record.run, taken);
    Ok(())
}

/// A completed run of four records.
fn sealed() -> Log {
    let mut log = Log::new();
    log.add(Kind::RunOpened, json!({}))
        .add(Kind::PhaseCommitted, json!({"phase": "a"}))
        .step(
            Kind::PhaseCommitted,
            crate::state::Event::RunCompleted,
            json!({"phase": "b"}),
        )
        .add(Kind::RunSealed, json!({"count": 4}));
    log
}

#[test]
fn interleaved_runs_are_each_followed_to_their_end() {
    let mut runs = Runs::new();
    let (one, two) = (of_run(&sealed(), 1), of_run(&sealed(), 2));
    for index in 0..4 {
        follow(&mut runs, &one, index).unwrap();
        assert_eq!(runs.is_open(run(1)), Some(index < 3));
        follow(&mut runs, &two, index).unwrap();
        assert_eq!(runs.open(), if index < 3 { 2 } else { 0 });
    }
    assert_eq!(runs.is_open(run(3)), None);
}

/// F82. A seal is no reason to forget: what follows it must still fit.
#[test]
fn a_sealed_run_is_kept_short_and_still_contradicts() {
    let mut runs = Runs::new();
    let log = of_run(&sealed(), 1);
    for index in 0..4 {
        follow(&mut runs, &log, index).unwrap();
    }
    assert!(runs.live.is_empty() && runs.kept.len() == 1);
    assert!(size_of::<(KeptChain, KeptBasis)>() <= 100);
    let forged = |edit: fn(&mut Record)| {
        let mut next = log.clone();
        next.add(Kind::RunSealed, json!({"count": 5}));
        edit(&mut next.records[4]);
        next
    };
    let check = |code: &str, edit: fn(&mut Record)| {
        let mut runs = Runs::new();
        for index in 0..4 {
            follow(&mut runs, &log, index).unwrap();
        }
        let found = follow(&mut runs, &forged(edit), 4);
        assert_eq!(found.map_or_else(|fault| fault.code(), |()| ""), code);
    };
    check("RD0631", |record| record.seq = 1);
    check("RD0632", |record| record.prev = Hash::ZERO);
    check("RD0634", |record| record.generation = 0);
    check("RD0635", |record| record.epoch = 0);
    check("RD0620", |record| {
        record.kind = Kind::PhaseCommitted;
    });
    check("RD0638", |record| record.body = json!({"count": 4}));
    // A second seal that is right: the last one counts.
    check("", |record| record.run = run(1));
}

#[test]
fn a_run_with_a_plan_is_kept_whole() {
    let mut runs = Runs::new();
    let log = failed_run(&json!({}));
    let mut ring = Keyring::new(1);
    for record in &log.records {
        let hash = record.encode().unwrap().hash;
        let mut taken = runs.take(record);
        taken.follow(record, hash).unwrap();
        taken.judge(&mut ring, record, hash, 7).unwrap();
        runs.put(record.run, taken);
    }
    assert_eq!((runs.live.len(), runs.open()), (1, 1));
}

/// F88, F89. Whose signature counts is what the ledger says at that position.
#[test]
fn a_decision_is_judged_by_the_keys_of_the_ledger() {
    let log = decided(&json!({"sovereign": 1}), &["alice"], "decide");
    let mut runs = Runs::new();
    let mut ring = Keyring::new(1);
    let mut codes = Vec::new();
    for record in &log.records {
        let hash = record.encode().unwrap().hash;
        let mut taken = runs.take(record);
        taken.follow(record, hash).unwrap();
        if let Err(error) = taken.judge(&mut ring, record, hash, 7) {
            codes.push((record.kind, error.code()));
            break;
        }
        runs.put(record.run, taken);
    }
    assert_eq!(codes, [(Kind::PlanApproved, "RD0547")]);
}
