//! Which records get the next positions, tried on made-up ones.

use redress_ledger::Kind;
use serde_json::{Value, json};

use super::*;
use crate::seen::Seen;

const KEYS: Uuid = Uuid::from_u128(1);
const ONE: Uuid = Uuid::from_u128(2);
const TWO: Uuid = Uuid::from_u128(3);

/// Records of one run, chained; each with its transaction and its body.
fn chain(run: Uuid, records: &[(u64, Value)]) -> Vec<Candidate> {
    let mut head = Hash::ZERO;
    let mut chained = Vec::new();
    for (seq, (xid, body)) in (1..).zip(records) {
        let record = Record {
            v: redress_ledger::record::VERSION,
            origin: "test.redress.example/lab".to_owned(),
            generation: 1,
            run,
            epoch: 1,
            switch_no: 1,
            seq,
            prev: head,
            kind: Kind::SnapshotTaken,
            at: "2026-05-01T12:00:00.000000Z".to_owned(),
            actor: "test".to_owned(),
            engine: "test".to_owned(),
            policy: None,
            idem: None,
            body: body.clone(),
        };
        let encoded = record.encode().unwrap();
        head = encoded.hash;
        chained.push(Candidate {
            xid: *xid,
            run,
            seq,
            hash: encoded.hash,
            bytes: encoded.bytes,
        });
    }
    chained
}

fn plain(xid: u64) -> (u64, Value) {
    (xid, json!({}))
}

fn decided(xid: u64, keyring: i64) -> (u64, Value) {
    (xid, json!({"envelope": {}, "keyring": keyring}))
}

fn visible(records: Vec<Candidate>, keys: Vec<Candidate>, cut_off: bool) -> Visible {
    Visible {
        records,
        keys,
        generation: 1,
        keys_sealed: 0,
        opening: 2,
        cut_off,
    }
}

fn places(batch: &Batch) -> Vec<(u128, i64)> {
    let place = |leaf: &Candidate| (leaf.run.as_u128(), leaf.seq);
    batch.leaves.iter().map(place).collect()
}

#[test]
fn the_opening_stands_first_and_decisions_behind_what_judged_them() {
    let keys = chain(KEYS, &[plain(10), plain(10), plain(30), plain(50)]);
    // Before the opening, between its two changes, and behind both; another run decides nothing.
    let mut records = chain(ONE, &[plain(1), decided(2, 0), decided(40, 3), plain(60)]);
    records.extend(chain(TWO, &[plain(3), decided(20, 2), decided(70, 4)]));
    records.reverse();
    let batch = batch(visible(records, keys, false), &HashMap::new()).unwrap();
    let expected = [
        (1, 1),
        (2, 1),
        (3, 1),
        (1, 2),
        (2, 2),
        (3, 2),
        (1, 3),
        (2, 3),
        (2, 4),
        (1, 4),
        (3, 3),
    ];
    assert_eq!(places(&batch), expected);
    assert!(batch.waiting.is_empty());
}

#[test]
fn what_was_sealed_before_is_passed_over_and_continued() {
    let keys = chain(KEYS, &[plain(10), plain(10)]);
    let records = chain(ONE, &[plain(1), plain(2), plain(3)]);
    let heads = HashMap::from([(ONE, (2, records[1].hash)), (KEYS, (2, keys[1].hash))]);
    let mut visible = visible(records, Vec::new(), false);
    visible.keys_sealed = 2;
    let batch = batch(visible, &heads).unwrap();
    assert_eq!(places(&batch), [(2, 3)]);
}

#[test]
fn a_batch_that_was_cut_off_lets_wait_what_it_cannot_place() {
    let keys = chain(KEYS, &[plain(10), plain(10), plain(11)]);
    // The second record of the run has the smaller transaction id; its first one was cut off.
    let mut records = chain(ONE, &[plain(90), plain(20)]);
    records.remove(0);
    records.extend(chain(TWO, &[plain(21), decided(22, 3), plain(23)]));
    let found = batch(
        visible(records.clone(), keys.clone(), true),
        &HashMap::new(),
    )
    .unwrap();
    assert_eq!(places(&found), [(1, 1), (3, 1), (1, 2)]);
    assert_eq!(found.waiting, BTreeSet::from([11, 20, 22, 23]));
    // Not cut off, the same is a gap.
    let error = batch(visible(records, keys, false), &HashMap::new())
        .err()
        .unwrap();
    assert!(
        matches!(error, SealError::Gap { run: ONE, seq: 2 }),
        "{error}"
    );
}

#[test]
fn a_record_that_was_changed_stops_the_batch() {
    let keys = || chain(KEYS, &[plain(10), plain(10)]);
    let check = |change: fn(&mut Vec<Candidate>), why: &str| {
        let mut records = chain(ONE, &[plain(1), plain(2)]);
        change(&mut records);
        match batch(visible(records, keys(), false), &HashMap::new()) {
            Err(SealError::Chain { why: found, .. }) => assert!(found.contains(why), "{found}"),
            other => panic!("{why}: {:?}", other.map(|batch| places(&batch))),
        }
    };
    check(|all| all[1].hash = Hash::of(b"x"), "stored hash");
    check(
        |all| {
            let other = chain(ONE, &[(8, json!({"x": 1}))]).remove(0);
            all[1] = Candidate { seq: 2, ..other };
        },
        "columns",
    );
    check(
        |all| all[1] = chain(ONE, &[(1, json!({"other": 1})), plain(2)]).remove(1),
        "another record before it",
    );
    check(|all| all[0].bytes.truncate(40), "");
}

#[test]
fn a_snapshot_is_read_and_cut() {
    let seen = Seen::parse("5:20:7,9,15").unwrap();
    assert_eq!((seen.below, seen.in_flight.len()), (20, 3));
    assert_eq!(Seen::parse("5:5:").unwrap().in_flight.len(), 0);
    assert_eq!(Seen::parse("5"), None);
    assert_eq!(Seen::parse("5:x:"), None);
    let waiting = BTreeSet::from([8, 13]);
    let cut = seen.up_to(Some(12), &waiting);
    assert_eq!((cut.below, cut.in_flight), (12, BTreeSet::from([7, 8, 9])));
    let whole = seen.up_to(None, &BTreeSet::new());
    assert_eq!(whole, seen);
}

#[test]
fn a_record_of_another_generation_that_was_not_carried_is_refused() {
    let records = chain(ONE, &[plain(1)]);
    let keys = chain(KEYS, &[plain(2)]);
    let later = Visible {
        generation: 2,
        ..visible(records, keys, false)
    };
    assert!(matches!(
        batch(later, &HashMap::new()),
        Err(SealError::Chain {
            run: ONE,
            seq: 1,
            ..
        })
    ));
}
