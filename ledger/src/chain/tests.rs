//! Tries the chain: records that are missing, doubled, moved, or tell what cannot be true.

use super::*;
use crate::testing::{Log, failed_run, run, unwind};
use serde_json::json;

fn read(log: &Log) -> Result<End, ChainError> {
    let mut chain = Chain::new(run(1));
    for record in &log.records {
        chain.push(record, record.encode().unwrap().hash)?;
    }
    Ok(*chain.end())
}

fn whole() -> Log {
    let mut log = failed_run(&json!({}));
    unwind(&mut log, "soft_revert");
    log
}

#[test]
fn a_whole_run_ends_where_it_says() {
    let log = whole();
    let end = read(&log).unwrap();
    assert_eq!((end.count, end.state), (10, State::Compensated));
    assert_eq!(end.head, log.rows()[9].hash);
    assert!(end.is_sealed());
    let mut more = log.clone();
    more.add(Kind::SnapshotTaken, json!({"which": "post"}));
    let end = read(&more).unwrap();
    assert_eq!((end.sealed, end.is_sealed()), (Some(10), false));
    assert_eq!(read(&Log::new()).unwrap().count, 0);
}

/// The records as somebody left them, without new hashes.
fn check(seq: i64, code: &str, edit: fn(&mut Vec<Record>)) {
    let mut log = whole();
    edit(&mut log.records);
    let error = read(&log).unwrap_err();
    assert_eq!((error.seq, error.code()), (seq, code), "{error}");
}

/// F82.
#[test]
fn a_record_that_is_missing_doubled_swapped_or_inserted_is_named() {
    check(1, "RD0631", |records| drop(records.remove(0)));
    check(4, "RD0631", |records| drop(records.remove(3)));
    check(3, "RD0631", |records| records.swap(2, 3));
    check(5, "RD0631", |records| {
        let record = records[3].clone();
        records.insert(4, record);
    });
    check(4, "RD0632", |records| {
        records.remove(3);
        records[3].seq = 4;
    });
    check(4, "RD0632", |records| records[2].actor.push('x'));
    check(3, "RD0630", |records| records[2].run = run(2));
    check(3, "RD0633", |records| records[2].origin.push('x'));
    check(3, "RD0634", |records| records[2].generation = 0);
    check(3, "RD0635", |records| records[2].epoch = 0);
}

/// The same with every hash made anew: only the story can give it away.
fn check_story(seq: i64, code: &str, edit: fn(&mut Vec<Record>)) {
    let mut log = whole();
    edit(&mut log.records);
    log.relink();
    let error = read(&log).unwrap_err();
    assert_eq!((error.seq, error.code()), (seq, code), "{error}");
}

#[test]
fn a_story_that_cannot_be_true_is_named() {
    check_story(1, "RD0636", |records| drop(records.remove(0)));
    check_story(2, "RD0636", |records| {
        let record = records[0].clone();
        records.insert(1, record);
    });
    check_story(5, "RD0620", |records| {
        let record = records[1].clone();
        records.insert(4, record);
    });
    check_story(4, "RD0637", |records| {
        records[3].body["transition"]["to"] = json!("stuck");
        records[3].body["transition"]["event"] = json!("compensation_failed");
    });
    check_story(4, "RD0637", |records| {
        records[3].body["transition"]["from"] = json!("failed");
    });
    check_story(4, "RD0620", |records| {
        records[3].body["transition"]["to"] = json!("completed");
    });
    check_story(4, "RD0637", |records| {
        records[3].body["transition"]["to"] = json!("deleted");
    });
    check_story(4, "RD0637", |records| {
        records[3].body["transition"]["more"] = json!(1);
    });
    check_story(4, "RD0637", |records| {
        records[3].body["transition"]["event"] = json!("resolved");
    });
    check_story(6, "RD0637", |records| {
        records[5]
            .body
            .as_object_mut()
            .unwrap()
            .remove("transition");
    });
    check_story(5, "RD0637", |records| {
        let stated = json!({"from": "failed", "event": "forward_resumed", "to": "running"});
        records[4].body["transition"] = stated;
    });
    check_story(10, "RD0638", |records| {
        records[9].body = json!({"count": 9})
    });
    check_story(10, "RD0638", |records| records[9].body = json!({}));
    check_story(9, "RD0638", |records| {
        records.remove(8);
        records[8].body = json!({"count": 9});
    });
    // An external act cannot begin in a run that stands still.
    check_story(5, "RD0620", |records| records[4].kind = Kind::PhaseIntended);
}

/// An act outside the database: its intent, then its outcome, and nothing else between them.
#[test]
fn nothing_goes_forward_beside_an_open_act() {
    type Told<'a> = (Kind, Value);
    let check = |tale: &[Told<'_>], expected: Result<i64, (i64, &str)>| {
        let mut log = Log::new();
        log.add(Kind::RunOpened, json!({"saga": "x"}));
        for (kind, body) in tale {
            log.add(*kind, body.clone());
        }
        let read = read(&log).map(|end| end.count);
        let read = read.map_err(|error| (error.seq, error.code()));
        assert_eq!(read, expected, "{tale:?}");
    };
    let intent = |phase: &str| (Kind::PhaseIntended, json!({"phase": phase, "way": "forth"}));
    let done = |phase: &str| (Kind::PhaseCommitted, json!({"phase": phase}));
    let failed = |phase: &str, outside: Value| {
        (
            Kind::PhaseFailed,
            json!({"phase": phase, "outside": outside}),
        )
    };
    let back = || (Kind::PhaseIntended, json!({"phase": "a", "way": "back"}));
    check(&[intent("a"), done("a"), intent("b"), done("b")], Ok(5));
    check(&[intent("a"), intent("a"), done("a"), done("b")], Ok(5));
    check(
        &[intent("a"), failed("a", json!("not_done")), done("b")],
        Ok(4),
    );
    check(
        &[intent("a"), failed("a", json!("probed")), intent("b")],
        Ok(4),
    );
    check(&[intent("a"), done("b")], Err((3, "RD0619")));
    check(&[intent("a"), intent("b")], Err((3, "RD0619")));
    check(
        &[intent("a"), failed("b", json!("not_done"))],
        Err((3, "RD0619")),
    );
    check(
        &[intent("a"), failed("a", json!(null)), done("b")],
        Err((4, "RD0619")),
    );
    check(
        &[intent("a"), failed("a", json!("perhaps")), intent("b")],
        Err((4, "RD0619")),
    );
    check(&[back()], Err((2, "RD0619")));
    check(&[(Kind::PhaseIntended, json!({}))], Err((2, "RD0619")));
    let ends = json!({"count": 3, "transition": {"from": "running", "event": "run_completed", "to": "completed"}});
    check(&[intent("a"), (Kind::RunSealed, ends)], Err((3, "RD0619")));
    let fails = json!({"phase": "a", "transition": {"from": "running", "event": "phase_failed", "to": "failed"}});
    let starts =
        json!({"transition": {"from": "failed", "event": "plan_started", "to": "compensating"}});
    let begun = [
        intent("a"),
        (Kind::PhaseFailed, fails),
        (Kind::PlanStarted, starts),
    ];
    let with = |more: &[Told<'_>]| [&begun[..], more].concat();
    let taken = |phase: &str| {
        (
            Kind::CompensationCommitted,
            json!({"phase": phase, "action": "restore"}),
        )
    };
    let resumes =
        json!({"transition": {"from": "compensating", "event": "plan_finished", "to": "running"}});
    let resumed = || (Kind::PlanFinished, resumes.clone());
    check(&with(&[back(), taken("a"), resumed(), done("b")]), Ok(8));
    check(
        &with(&[taken("b"), resumed(), done("b")]),
        Err((7, "RD0619")),
    );
    check(&with(&[intent("a")]), Err((5, "RD0619")));
}

#[test]
fn the_system_run_has_its_own_records_only() {
    let mut log = Log::new();
    log.add(Kind::GenerationOpened, json!({}))
        .add(Kind::SwitchKilled, json!({"reason": "x"}))
        .add(Kind::KeyRegistered, json!({}))
        .add(Kind::GenerationOpened, json!({}));
    assert_eq!(read(&log).unwrap().count, 4);
    for kind in [Kind::PhaseCommitted, Kind::RunOpened, Kind::PlanMade] {
        let mut log = log.clone();
        log.add(kind, json!({}));
        let error = read(&log).unwrap_err();
        assert_eq!((error.seq, error.code()), (5, "RD0636"), "{kind}");
    }
}

#[test]
fn a_rewind_goes_on_and_ends_again() {
    let mut log = failed_run(&json!({}));
    log.step(Kind::PlanStarted, Event::PlanStarted, json!({}))
        .add(Kind::CompensationFailed, json!({"phase": "leg_b"}))
        .add(Kind::CompensationCommitted, json!({"phase": "leg_b"}))
        .step(
            Kind::PlanFinished,
            Event::PlanFinished(After::Running),
            json!({}),
        )
        .step(
            Kind::PhaseCommitted,
            Event::RunCompleted,
            json!({"phase": "leg_b"}),
        )
        .add(Kind::RunSealed, json!({"count": 11}))
        .step(Kind::PlanStarted, Event::PlanStarted, json!({}))
        .step(
            Kind::CompensationFailed,
            Event::CompensationFailed,
            json!({}),
        )
        .step(Kind::Resolved, Event::Resolved, json!({}))
        .add(Kind::RunSealed, json!({"count": 15}));
    let end = read(&log).unwrap();
    assert_eq!(
        (end.state, end.sealed, end.count),
        (State::Resolved, Some(15), 15)
    );
}
