//! Tries the record: exact bytes, bounds, and everything that must not be read as one.

use super::*;
use crate::canonical::to_canonical;
use crate::testing;
use proptest::prelude::*;
use serde_json::json;

fn tree(record: &Record) -> Value {
    serde_json::from_slice(&record.encode().unwrap().bytes).unwrap()
}

#[test]
fn the_bytes_are_the_canonical_form_of_the_fields() {
    let check = |record: Record| {
        let encoded = record.encode().unwrap();
        assert_eq!(encoded.hash, leaf_hash(&encoded.bytes));
        assert_eq!(to_canonical(&tree(&record)).unwrap(), encoded.bytes);
        assert_eq!(Record::decode(&encoded.bytes).unwrap(), record);
    };
    check(testing::record());
    check(Record {
        policy: Some(Hash::of(b"policy")),
        idem: Some("key \"1\"\n€".to_owned()),
        body: json!({"z": [1, {"y": null, "x": "\u{1f}"}], "a": -5}),
        ..testing::record()
    });
}

/// Fixed for ever: a verifier that was written from the format alone must agree.
#[test]
fn the_known_record_has_the_known_bytes() {
    let encoded = testing::record().encode().unwrap();
    let zeros = "0".repeat(64);
    let expected = [
        r#"{"actor":"worker","at":"2026-05-01T12:00:00.000000Z","#,
        r#""body":{"input":{"order":"A-1","qty":2}},"engine":"redress/0.1.0","#,
        r#""epoch":1,"generation":1,"idem":null,"kind":"run.opened","#,
        r#""origin":"test.redress.example/ledger","policy":null,"prev":""#,
        &zeros,
        r#"","run":"01900000-0000-7000-8000-000000000001","seq":1,"switch_no":4,"v":1}"#,
    ]
    .concat();
    assert_eq!(String::from_utf8(encoded.bytes).unwrap(), expected);
}

#[test]
fn a_field_outside_its_range_is_refused() {
    let check = |code: &str, edit: fn(&mut Record)| {
        let mut record = testing::record();
        edit(&mut record);
        let error = record.encode().unwrap_err();
        assert_eq!(error.code(), code, "{error}");
    };
    check("RD0611", |record| record.v = 2);
    check("RD0612", |record| record.seq = 0);
    check("RD0612", |record| record.epoch = -1);
    check("RD0612", |record| record.generation = -1);
    check("RD0612", |record| record.switch_no = -1);
    check("RD0612", |record| record.origin.clear());
    check("RD0612", |record| record.origin = "two words".into());
    check("RD0612", |record| record.actor.clear());
    check("RD0612", |record| record.engine.clear());
    check("RD0612", |record| record.at = "2026-05-01T12:00:00Z".into());
    check("RD0612", |record| record.body = json!([]));
    check("RD0604", |record| record.seq = 1 << 53);
    check("RD0605", |record| record.actor = "a\0".into());
    check("RD0603", |record| record.body = json!({"a": 0.1}));
    check("RD0614", |record| {
        record.body = json!({"a": "x".repeat(RECORD_BYTES_MAX)});
    });
}

#[test]
fn the_largest_record_fits_and_one_byte_more_does_not() {
    let empty = Record {
        body: json!({"a": ""}),
        ..testing::record()
    };
    let room = RECORD_BYTES_MAX - empty.encode().unwrap().bytes.len();
    let filled = |len: usize| Record {
        body: json!({"a": "x".repeat(len)}),
        ..testing::record()
    };
    assert_eq!(filled(room).encode().unwrap().bytes.len(), RECORD_BYTES_MAX);
    assert_eq!(
        filled(room + 1).encode(),
        Err(RecordError::TooLong(RECORD_BYTES_MAX + 1))
    );
}

/// F90, F93.
#[test]
fn bytes_that_are_not_the_record_are_refused() {
    let good = String::from_utf8(testing::record().encode().unwrap().bytes).unwrap();
    let check = |from: &str, to: &str, code: &str| {
        let text = good.replacen(from, to, 1);
        assert_ne!(text, good, "{from}");
        let error = Record::decode(text.as_bytes()).unwrap_err();
        assert_eq!(error.code(), code, "{from} -> {to}: {error}");
    };
    check("\"idem\":null,", "", "RD0610");
    check("\"policy\":null,", "", "RD0610");
    check("\"seq\":1,", "", "RD0610");
    check("\"v\":1", "\"v\":1,\"w\":1", "RD0610");
    check("\"v\":1", "\"v\":1,\"v\":1", "RD0610");
    check("\"v\":1", "\"v\":2", "RD0611");
    check("\"v\":1", "\"v\":1.0", "RD0610");
    check("\"seq\":1", "\"seq\":\"1\"", "RD0610");
    check("run.opened", "run.deleted", "RD0610");
    check("\"qty\":2", "\"qty\":2,\"qty\":2", "RD0602");
    check("\"qty\":2", "\"qty\":2.0", "RD0603");
    check("\"qty\":2", "\"qty\": 2", "RD0602");
    check("\"order\"", "\"\\u006frder\"", "RD0602");
    let run = testing::run(1).to_string();
    check(&run, &run.replace('-', ""), "RD0602");
    check(&run, &format!("{{{run}}}"), "RD0602");
    check(".000000Z", "Z", "RD0612");
    check("{\"actor\"", " {\"actor\"", "RD0602");
    check("\"v\":1}", "\"v\":1}\n", "RD0602");
    let swapped = good.replacen("\"seq\":1,\"switch_no\":4", "\"switch_no\":4,\"seq\":1", 1);
    let error = Record::decode(swapped.as_bytes()).unwrap_err();
    assert_eq!(error.code(), "RD0602");
    assert!(Record::decode(&vec![b' '; RECORD_BYTES_MAX + 1]).is_err());
}

#[test]
fn kinds_are_read_back_and_unknown_ones_refused() {
    for kind in Kind::ALL {
        assert_eq!(kind.as_str().parse::<Kind>().unwrap(), *kind);
    }
    assert!("phase.started".parse::<Kind>().is_err());
    assert!("".parse::<Kind>().is_err());
}

proptest! {
    #[test]
    fn any_record_is_read_back(
        numbers in (0..1i64 << 53, 0..1i64 << 53, 0..1i64 << 53, 1..1i64 << 53),
        texts in ("[^\0]{1,20}", "[^\0]{1,20}", proptest::option::of("[^\0]{0,20}")),
        hashes: ([u8; 32], Option<[u8; 32]>),
        run: u128,
        kind in 0..Kind::ALL.len(),
    ) {
        let record = Record {
            generation: numbers.0,
            epoch: numbers.1,
            switch_no: numbers.2,
            seq: numbers.3,
            actor: texts.0,
            engine: texts.1,
            idem: texts.2,
            prev: hashes.0.into(),
            policy: hashes.1.map(Hash::from),
            run: Uuid::from_u128(run),
            kind: Kind::ALL[kind],
            ..testing::record()
        };
        let encoded = record.encode().unwrap();
        prop_assert_eq!(to_canonical(&tree(&record)).unwrap(), encoded.bytes.clone());
        prop_assert_eq!(Record::decode(&encoded.bytes).unwrap(), record);
    }
}
