//! Tries the verifier: nothing at all, each byte changed, records moved, ends cut off.

use serde_json::json;

use super::*;
use crate::record::Encoded;
use crate::testing::{decided, failed, read, read_to, run, trust, verify};

#[test]
fn a_log_that_holds_is_verified() {
    let report = verify(&decided(&json!({"sovereign": 1}), &["alice"], "decide"));
    assert_eq!(report.verdict, Verdict::Verified);
    assert_eq!(
        (report.runs, report.sealed, report.records, report.decisions),
        (1, 1, 11, 1)
    );
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["verdict"], "verified");
    assert_eq!(json["records"], 11);
}

#[test]
fn nothing_is_never_verified() {
    let incomplete = |report: Report| matches!(report.verdict, Verdict::Incomplete { .. });
    let trust = trust();
    assert!(incomplete(LogVerifier::new(None, Some(&trust)).finish()));
    assert_eq!(failed(&read(&[], Some(&trust))), (1, "RD0653"));
    let log = decided(&json!({"sovereign": 1}), &["alice"], "decide");
    assert!(incomplete(read(&log.rows(), None)));
    // Without any decision there is nothing that only a key could judge.
    let plain = decided(&json!({}), &[], "soft_revert");
    assert_eq!(read(&plain.rows(), None).verdict, Verdict::Verified);
}

/// F81. Each byte of each record: changed alone, and changed with its hash made anew.
#[test]
fn a_changed_byte_is_found_and_its_record_named() {
    let log = decided(&json!({"sovereign": 1}), &["alice"], "decide");
    let rows = log.rows();
    let trust = trust();
    let head = Head {
        seq: 11,
        hash: rows[10].hash,
    };
    for (index, row) in rows.iter().enumerate() {
        let place = i64::try_from(index).unwrap() + 1;
        for at in 0..row.bytes.len() {
            let mut rows = rows.clone();
            rows[index].bytes[at] ^= 1;
            let found = failed(&read_to(&rows, Some(&head), Some(&trust)));
            assert_eq!(found, (place, "RD0650"), "byte {at}");
            rows[index].hash = leaf_hash(&rows[index].bytes);
            let found = failed(&read_to(&rows, Some(&head), Some(&trust)));
            // Good by itself, it still is not the record that the next one or the head names.
            let named = found.0 == place || found == (place + 1, "RD0632");
            assert!(named, "byte {at} of {place}: {found:?}");
        }
    }
}

/// The last record has no follower; a remembered head is what finds it.
#[test]
fn a_changed_or_missing_end_is_found_against_a_remembered_head() {
    let log = decided(&json!({}), &[], "soft_revert");
    let rows = log.rows();
    let last = rows.last().unwrap();
    let head = Head {
        seq: 10,
        hash: last.hash,
    };
    let check = |rows: &[Encoded], head: Head, expected: Option<(i64, &str)>| {
        let report = read_to(rows, Some(&head), None);
        match expected {
            Some(expected) => assert_eq!(failed(&report), expected),
            None => assert_eq!(report.verdict, Verdict::Verified),
        }
    };
    check(&rows, head, None);
    check(&rows[..9], head, Some((10, "RD0652")));
    check(&rows[..1], head, Some((2, "RD0652")));
    check(&[], head, Some((1, "RD0652")));
    let shorter = Head { seq: 9, ..head };
    check(&rows, shorter, Some((10, "RD0652")));
    let mut other = log.clone();
    other.records[9].actor.push('x');
    check(&other.rows(), head, Some((10, "RD0652")));
}

/// F82.
#[test]
fn a_deleted_swapped_doubled_or_foreign_record_is_named() {
    let log = decided(&json!({"sovereign": 1}), &["alice"], "decide");
    let check = |expected: (i64, &str), edit: fn(&mut Vec<Encoded>)| {
        let mut rows = log.rows();
        edit(&mut rows);
        assert_eq!(failed(&read(&rows, Some(&trust()))), expected);
    };
    check((4, "RD0631"), |rows| drop(rows.remove(3)));
    check((4, "RD0631"), |rows| rows.swap(3, 4));
    check((5, "RD0631"), |rows| rows.insert(4, rows[3].clone()));
    check((1, "RD0631"), |rows| rows.reverse());
    check((4, "RD0650"), |rows| {
        let bytes = rows[4].bytes.clone();
        rows[3].bytes = bytes;
    });
    check((3, "RD0614"), |rows| {
        rows[2].bytes = vec![b' '; 1 << 20];
        rows[2].hash = leaf_hash(&rows[2].bytes);
    });
}

/// F38.
#[test]
fn a_log_of_another_environment_is_refused() {
    let log = decided(&json!({}), &[], "soft_revert");
    let mut verifier = LogVerifier::new(Some("prod.example"), None);
    verifier.record(&log.rows()[0].bytes, &log.rows()[0].hash);
    assert_eq!(failed(&verifier.finish()), (0, "RD0654"));
    let mut verifier = LogVerifier::new(Some("prod.example"), None);
    verifier.start_run(run(1));
    verifier.record(&log.rows()[0].bytes, &log.rows()[0].hash);
    verifier.record(&log.rows()[1].bytes, &log.rows()[1].hash);
    assert_eq!(failed(&verifier.finish()), (1, "RD0651"));
}
