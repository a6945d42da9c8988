use super::builder::{self, Query, Saga};
use super::*;
use proptest::prelude::*;
use redress_ledger::key::Role;
use redress_ledger::quorum::Quorum;
use serde_json::{Value, json};
use std::time::Duration;

const FULL: &str = "\
saga: restock
version: 3
description: Reserve stock and book the cost.
input:
  type: object
  required: [order, sku, qty]
subject: /input/order
exclusive: true
snapshot:
  - {name: live, sql: \"select count(*) from shop.reservation where sku = $1\", params: [/input/sku, /input/order], baseline: true}
  - {name: guarded, sql: select tgenabled from pg_trigger, expect: \"A\", role: shop_read}
  - {name: nothing, sql: select null, expect: null}
authority:
  soft_revert: auto
  hard_delete: {sovereign: 1, reviewer: 1}
on_unrecovered: {hold: subject, kill: true}
max_rewinds: 2
phases:
  - name: reserve
    adapter: sql
    writes: [shop.reservation]
    role: shop_reserve
    compensation: soft_revert
    retry: {attempts: 5, backoff: 10s}
    timeout: 2m
    residue: [shop.reservation]
    with:
      apply:
        - {sql: insert into shop.reservation default values, rows: 1, as: reservation}
  - name: check
    adapter: sql
    after: []
    on_failure: continue
  - name: book
    adapter: sql
    writes: [shop.cost]
    compensation: decide
    pivot: true
    approvals: {reviewer: 1}
    after: [reserve, check]
    on_failure: {rewind_to: reserve}
  - name: report
    adapter: command
    on_failure: hold
";

fn full() -> Definition {
    load_yaml(FULL.as_bytes(), "restock.yaml", None).unwrap().0
}

fn built() -> Definition {
    Saga::new("restock", 3)
        .description("Reserve stock and book the cost.")
        .input(json!({"type": "object", "required": ["order", "sku", "qty"]}))
        .subject("/input/order")
        .exclusive()
        .snapshot(
            Query::new("live", "select count(*) from shop.reservation where sku = $1")
                .params(["/input/sku", "/input/order"])
                .baseline(),
        )
        .snapshot(
            Query::new("guarded", "select tgenabled from pg_trigger")
                .expect("A")
                .role("shop_read"),
        )
        .snapshot(Query::new("nothing", "select null").expect(Value::Null))
        .authority("soft_revert", Authority::Auto)
        .authority(
            "hard_delete",
            Authority::Quorum(Quorum::from([(Role::Sovereign, 1), (Role::Reviewer, 1)])),
        )
        .on_unrecovered(HoldScope::Subject, true)
        .max_rewinds(2)
        .phase(
            builder::Phase::new("reserve", "sql")
                .writes(["shop.reservation"])
                .role("shop_reserve")
                .compensation(Compensation::SoftRevert)
                .retry(Retry { attempts: 5, backoff_ms: 10_000, max_ms: 10_000 })
                .timeout(Duration::from_secs(120))
                .residue(["shop.reservation"])
                .with(json!({"apply": [
                    {"sql": "insert into shop.reservation default values", "rows": 1, "as": "reservation"}
                ]})),
        )
        .phase(builder::Phase::new("check", "sql").after([]).on_failure(OnFailure::Continue))
        .phase(
            builder::Phase::new("book", "sql")
                .writes(["shop.cost"])
                .compensation(Compensation::Decide)
                .pivot()
                .approvals(&Quorum::from([(Role::Reviewer, 1)]))
                .after(["reserve", "check"])
                .on_failure(OnFailure::RewindTo {
                    phase: Name::new("reserve").unwrap(),
                    then: Then::Stop,
                }),
        )
        .phase(builder::Phase::new("report", "command").on_failure(OnFailure::Hold))
        .build()
        .unwrap()
}

#[test]
fn a_saga_file_gives_every_field_and_every_default() {
    let definition = full();
    let names = |phase: &Phase| phase.after.iter().map(Name::to_string).collect::<Vec<_>>();
    let [reserve, check, book, report] = &definition.phases[..] else {
        panic!("four phases");
    };
    assert_eq!(
        reserve.retry,
        Retry {
            attempts: 5,
            backoff_ms: 10_000,
            max_ms: 10_000
        }
    );
    assert_eq!(reserve.timeout_ms, 120_000);
    assert_eq!(names(reserve), Vec::<String>::new());
    assert_eq!(check.retry, Retry::default());
    assert_eq!(
        (
            check.retry.attempts,
            check.retry.backoff_ms,
            check.retry.max_ms
        ),
        (3, 200, 5_000)
    );
    assert_eq!(
        (check.timeout_ms, check.compensation),
        (30_000, Compensation::None)
    );
    assert_eq!(check.with, json!({}));
    assert_eq!(names(report), ["book"]);
    assert!(book.pivot && !report.pivot);
    assert_eq!(definition.snapshot[1].expect, Some(json!("A")));
    assert_eq!(definition.snapshot[2].expect, Some(Value::Null));
    assert_eq!(definition.snapshot[0].expect, None);
    let small = "saga: s\nversion: 1\nphases:\n  - {name: a, adapter: sql}\n";
    let (small, _) = load_yaml(small.as_bytes(), "f", None).unwrap();
    assert_eq!(
        small.on_unrecovered,
        OnUnrecovered {
            hold: HoldScope::Run,
            kill: false
        }
    );
    assert_eq!(
        (small.max_rewinds, small.exclusive, small.subject),
        (1, false, None)
    );
    assert_eq!(small.phases[0].on_failure, OnFailure::Compensate);
}

#[test]
fn file_and_builder_give_one_digest() {
    assert_eq!(built(), full());
    assert_eq!(built().digest().unwrap(), full().digest().unwrap());
}

#[test]
fn the_canonical_form_reads_back_and_has_one_spelling() {
    let definition = full();
    let bytes = definition.canonical().unwrap();
    let back = Definition::from_canonical(&bytes).unwrap();
    assert_eq!(back, definition);
    assert_eq!(back.canonical().unwrap(), bytes);
    // It is a saga file too, because JSON is YAML.
    let (again, _) = load_yaml(&bytes, "canonical.json", None).unwrap();
    assert_eq!(again, definition);
    let same = FULL
        .replace("timeout: 2m", "timeout: 120000ms")
        .replace("    after: []\n", "    after:  [ ]\n");
    let (same, _) = load_yaml(same.as_bytes(), "f", None).unwrap();
    assert_eq!(same.digest().unwrap(), definition.digest().unwrap());
    let other = FULL.replace("timeout: 2m", "timeout: 3m");
    let (other, _) = load_yaml(other.as_bytes(), "f", None).unwrap();
    assert_ne!(other.digest().unwrap(), definition.digest().unwrap());
}

#[test]
fn stored_bytes_that_are_not_canonical_are_refused() {
    let text = String::from_utf8(full().canonical().unwrap()).unwrap();
    let bad = [
        text.replace("\"max_rewinds\":2,", ""),
        text.replace("\"timeout\":\"2m\"", "\"timeout\":\"120s\""),
        text.replace("\"version\":3", "\"version\": 3"),
        text.replace("\"version\":3", "\"version\":3,\"zeal\":1"),
        text.replace("restock", "Restock"),
        "{}".to_owned(),
        String::new(),
    ];
    for bytes in bad {
        assert_ne!(bytes, text);
        let problem = Definition::from_canonical(bytes.as_bytes()).unwrap_err();
        assert_eq!(problem.code(), "RD0125", "{problem}");
    }
}

/// What is put for what, where the error stands, and a word of its message.
#[rustfmt::skip]
const WRONG_SHAPES: &[(&str, &str, &str, &str)] = &[
    ("max_rewinds: 2", "max_rewind: 2", "17:1 RD0110 /max_rewind", "unknown field"),
    ("    pivot: true", "    pivots: true", "38:5 RD0110 /phases/2/pivots", "unknown field"),
    ("attempts: 5", "tries: 5", "24:13 RD0110 /phases/0/retry/tries", "unknown field"),
    ("kill: true", "kil: true", "16:33 RD0110 /on_unrecovered/kil", "unknown field"),
    ("baseline: true", "base: true", "10:115 RD0110 /snapshot/0/base", "unknown field"),
    ("{rewind_to: reserve}", "{rewind: reserve}", "41:18 RD0110 /phases/2/on_failure/rewind", "unknown field"),
    ("version: 3", "version: three", "2:10 RD0110 /version", "expected u32"),
    ("version: 3", "version: -1", "2:10 RD0110 /version", "expected u32"),
    ("version: 3", "version: 3.0", "2:10 RD0109 /version", "fractions"),
    ("    pivot: true", "    pivot: yes", "38:12 RD0110 /phases/2/pivot", "expected a boolean"),
    ("timeout: 2m", "timeout: 2", "25:14 RD0110 /phases/0/timeout", "its unit"),
    ("timeout: 2m", "timeout: 2 min", "25:14 RD0110 /phases/0/timeout", "its unit"),
    ("backoff: 10s", "backoff: fast", "24:35 RD0110 /phases/0/retry/backoff", "its unit"),
    ("adapter: sql", "adapter: SQL", "20:14 RD0110 /phases/0/adapter", "lower-case"),
    ("saga: restock", "saga: \"a'; drop table x\"", "1:7 RD0110 /saga", "a name"),
    ("subject: /input/order", "subject: input/order", "7:10 RD0110 /subject", "must begin with `/`"),
    ("compensation: decide", "compensation: undo", "37:19 RD0110 /phases/2/compensation", "soft_revert"),
    ("soft_revert: auto", "soft_revert: never", "14:16 RD0110 /authority/soft_revert", "`auto`"),
    ("reviewer: 1}\non", "boss: 1}\non", "15:16 RD0110 /authority/hard_delete", "unknown variant"),
    ("on_failure: continue", "on_failure: halt", "33:17 RD0110 /phases/1/on_failure", "`continue`"),
    ("hold: subject", "hold: world", "16:24 RD0110 /on_unrecovered/hold", "unknown variant"),
    ("    adapter: command\n", "", "42:5 RD0110 /phases/3", "missing field `adapter`"),
    ("{hold: subject, kill: true}", "[subject, true]", "16:17 RD0110 /on_unrecovered", "not a list"),
    ("{attempts: 5, backoff: 10s}", "[5, 10s]", "24:12 RD0110 /phases/0/retry", "not a list"),
    ("    after: []", "    after: check", "32:12 RD0110 /phases/1/after", "sequence"),
];

/// Every error of shape points at the key or value that is wrong.
#[test]
fn a_wrong_shape_is_refused_with_its_place() {
    for (from, to, expected, word) in WRONG_SHAPES {
        assert!(FULL.contains(from), "{from}");
        let text = FULL.replacen(from, to, 1);
        let error = read_yaml(text.as_bytes(), "f.yaml").expect_err(to);
        let DefinitionError {
            path, line, column, ..
        } = &error;
        assert_eq!(
            format!("{line}:{column} {} {path}", error.code()),
            *expected,
            "{error}"
        );
        assert!(error.to_string().contains(word), "{error}");
    }
}

/// F100
#[test]
fn a_key_cannot_act_on_the_terminal() {
    let text = FULL.replace("max_rewinds: 2", "\"\\e[31m\\n\\u202e\": 2");
    let error = read_yaml(text.as_bytes(), "f.yaml").unwrap_err();
    let shown = error.to_string();
    assert!(
        !shown.chars().any(|c| c.is_control() || c == '\u{202e}'),
        "{shown:?}"
    );
}

#[test]
fn the_builder_returns_what_is_wrong() {
    let codes = |saga: Saga| {
        let invalid = saga.build().unwrap_err();
        let codes: Vec<_> = invalid
            .findings
            .iter()
            .map(|finding| format!("{} {}", finding.problem.code(), finding.path))
            .collect();
        codes
    };
    let phase = || builder::Phase::new("a", "sql");
    let saga = || Saga::new("s", 1);
    assert_eq!(codes(saga()), ["RD0121 /phases"]);
    assert_eq!(
        codes(saga().phase(builder::Phase::new("A", "sql"))),
        ["RD0110 /phases/0/name"]
    );
    assert_eq!(
        codes(saga().phase(phase().writes(["a.b"]))),
        ["RD0116 /phases/0/compensation"]
    );
    assert_eq!(
        codes(saga().phase(phase().with(json!({"x": 0.5})))),
        ["RD0124 "]
    );
    assert_eq!(
        codes(saga().phase(phase().with(json!([])))),
        ["RD0110 /phases/0/with"]
    );
    let two = saga()
        .phase(phase())
        .phase(phase().writes(["x"]).compensation(Compensation::Decide));
    assert_eq!(
        codes(two),
        ["RD0112 /phases/1/name", "RD0120 /phases/1/writes/0"]
    );
}

#[test]
fn the_next_phase_is_the_first_that_is_not_done() {
    let definition = full();
    let mut done = BTreeSet::new();
    for name in ["reserve", "check", "book", "report"] {
        assert_eq!(definition.next_phase(&done).unwrap().name, name);
        done.insert(Name::new(name).unwrap());
    }
    assert!(definition.next_phase(&done).is_none());
}

/// Whatever the bytes are: no panic, and a place that is in the file.
fn survives(bytes: &[u8]) {
    if let Err(errors) = load_yaml(bytes, "f.yaml", None) {
        let lines = bytes.split(|byte| *byte == b'\n').count();
        for error in errors {
            assert!(error.line >= 1 && error.column >= 1, "{error}");
            assert!(error.line as usize <= lines + 1, "{error}");
            assert!(
                !error.to_string().chars().any(char::is_control),
                "{error:?}"
            );
        }
    }
}

proptest! {
    /// F95
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        survives(&bytes);
    }

    /// F95
    #[test]
    fn any_text_of_yaml_is_read_or_refused(text in "[-a-z:,&*!|>'\"%@`#?{}\\[\\] \n\t0-9~.]{0,120}") {
        survives(text.as_bytes());
    }

    /// F95: a sound file with anything changed in it.
    #[test]
    fn a_damaged_saga_file_is_read_or_refused(at in 0..FULL.len(), cut in 0..40usize, put in "[-a-z:,&*!|'\"{}\\[\\] \n0-9]{0,6}") {
        let end = (at + cut).min(FULL.len());
        survives(format!("{}{put}{}", &FULL[..at], &FULL[end..]).as_bytes());
    }
}
