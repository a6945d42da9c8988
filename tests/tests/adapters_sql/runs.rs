//! What the adapters do inside a run's transactions.

use redress::{Engine, Outcome};
use redress_adapters::backup::read_artefact;
use redress_tests::Lab;
use serde_json::{Value, json};

use crate::{KINDS, phase, saga};

async fn run(engine: &Engine, phases: Value, input: Value) -> Outcome {
    engine
        .register(&saga(phases))
        .await
        .expect("a sound definition");
    let start = engine.start("try", input);
    engine.start_and_drive(start).await.expect("driven").1
}

/// A statement reads what earlier ones kept; a restore puts back what was captured.
#[tokio::test(flavor = "multi_thread")]
async fn a_restore_puts_back_what_was_captured_before_the_phase() {
    let lab = Lab::new().await;
    lab.sql(
        "create schema a; create table a.item (id int primary key, price numeric(9,2), note text);
             create table a.log (item int, run uuid);
             insert into a.item values (1, 9.50, null), (2, 1, 'x'), (3, 7, 'y')",
    );
    let engine = lab.engine().await;
    let change = phase(
        "change",
        &["a.item", "a.log"],
        "restore",
        json!({
            "capture": [{"sql": "select id, price, note from a.item where id < 3 order by id for update", "as": "was"}],
            "apply": [
                {"sql": "update a.item set price = $1, note = 'new' where id < 3 returning id", "params": ["/input/price"],
                 "rows": {"min": 1, "max": 2}, "as": "changed"},
                {"sql": "insert into a.log values ($1, $2)", "params": ["/phases/change/changed/1/id", "/run/id"], "rows": 1},
                {"sql": "insert into a.log values ($1, $2)", "params": ["/undo/capture/was/0/id", "/run/id"], "rows": 1},
            ],
            "verify": [{"sql": "select price is not null from a.item where id = $1",
                        "params": ["/phases/change/changed/0/id"], "rows": 1}],
            "guard": [{"sql": "select note = 'new' from a.item where id < 3 for update", "rows": 2}],
            "revert": [{"sql": "update a.item i set price = w.price, note = w.note \
                                from jsonb_to_recordset($1) as w (id int, price numeric, note text) where w.id = i.id",
                        "params": ["/undo/capture/was"], "rows": 2}],
        }),
    );
    let fail = phase(
        "fail",
        &["a.log"],
        "none",
        json!({"apply": [{"sql": "insert into a.log select 1 / (price * 0), null from a.item"}]}),
    );
    let outcome = run(&engine, json!([change, fail]), json!({"price": 12})).await;
    let Outcome::Compensated(run) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(
        lab.sql("select * from a.item order by id"),
        "1|9.50|\n2|1.00|x\n3|7.00|y"
    );
    assert_eq!(lab.sql("select item from a.log order by 1"), "1\n2");
    let body = lab.sql(&format!(
        "select convert_from(bytes, 'UTF8')::jsonb #>> '{{body,touched}}' from redress.record where run = '{}' and kind = 'phase.committed'",
        run.id
    ));
    assert_eq!(body, r#"{"a.log": 2, "a.item": 2}"#);
}

/// Statements leave together; what is reported is the first that was wrong, not the echo of the transaction's death.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_wrong_statement_of_a_flight_is_the_one_reported() {
    let insert = json!({"sql": "insert into a.item values ($1)", "params": ["/input/id"]});
    let cases = [
        (
            json!({"apply": [{"sql": "delete from a.item where id = -1", "rows": 1}, {"sql": "select 1 / 0"}]}),
            "RD0312",
            "apply 1 touched 0 rows, expected 1",
        ),
        (
            json!({"apply": [insert, insert, {"sql": "select 1 / 0"}]}),
            "RD0303",
            "apply 2: duplicate key",
        ),
        (
            json!({"apply": [insert, {"sql": "select true", "params": []}], "verify": [{"sql": "select null::bool"}]}),
            "RD0311",
            "verify 1, row 1 is null",
        ),
        (
            json!({"apply": [insert], "verify": [{"sql": "select x from unnest(array[true, false]) x"}]}),
            "RD0311",
            "verify 1, row 2 is false",
        ),
        (
            json!({"apply": [insert], "verify": [{"sql": "select true where false", "rows": {"min": 1}}]}),
            "RD0311",
            "at least 1",
        ),
        (
            json!({"apply": [insert, {"sql": "select $1::int", "params": ["/input/nothing"]}]}),
            "RD0313",
            "apply 2: nothing stands at /input/nothing",
        ),
    ];
    for (with, code, text) in cases {
        let lab = Lab::new().await;
        lab.sql("create schema a; create table a.item (id int primary key)");
        let outcome = run(
            &lab.engine().await,
            json!([phase("p", &["a.item"], "none", with.clone())]),
            json!({"id": 1}),
        )
        .await;
        let (found, message) = outcome.run().error.clone().expect("the run failed");
        assert!(
            found == code && message.contains(text),
            "{with}: {found} {message}"
        );
        assert_eq!(lab.sql("select count(*) from a.item"), "0", "{with}");
    }
}

/// Coverage beyond the plans: a function that writes, and a trigger that appears after the proof.
#[tokio::test(flavor = "multi_thread")]
async fn an_undeclared_write_is_refused_however_it_is_hidden() {
    let lab = Lab::new().await;
    lab.sql(KINDS);
    let engine = lab.engine().await;
    let hidden = json!([phase(
        "p",
        &["k.plain"],
        "none",
        json!({"apply": [{"sql": "select k.writes(1)"}]})
    )]);
    let outcome = run(&engine, hidden, json!({})).await;
    assert_eq!(outcome.run().error.clone().expect("refused").0, "RD0302");

    let later = Lab::new().await;
    later.sql(KINDS);
    let engine = later.engine().await;
    let plain = json!([phase(
        "p",
        &["k.plain"],
        "none",
        json!({"apply": [{"sql": "insert into k.plain (id) values (1)"}]})
    )]);
    let outcome = run(&engine, plain.clone(), json!({})).await;
    assert!(matches!(outcome, Outcome::Completed(_)), "{outcome:?}");
    later.sql(
        "create trigger fires before insert on k.plain for each row execute function k.fires()",
    );
    let outcome = run(&engine, plain, json!({})).await;
    assert_eq!(outcome.run().error.clone().expect("refused").0, "RD0302");
    assert_eq!(
        later.sql("select (select count(*) from k.plain), (select count(*) from k.secret)"),
        "1|0"
    );
}

/// A guard that says no leaves the run to a person and the rows as they are.
#[tokio::test(flavor = "multi_thread")]
async fn a_guard_that_is_false_stops_the_revert() {
    let lab = Lab::new().await;
    lab.sql(
        "create schema a; create table a.item (id int, state text); create table a.other (id int)",
    );
    let engine = lab.engine().await;
    let make = phase(
        "make",
        &["a.item"],
        "soft_revert",
        json!({
            "apply": [{"sql": "insert into a.item values (1, 'enacted'), (2, 'draft')"}],
            "guard": [{"sql": "select state = 'draft' from a.item order by id desc for update"}],
            "revert": [{"sql": "update a.item set state = 'withdrawn'"}],
        }),
    );
    let fail = phase(
        "fail",
        &["a.other"],
        "none",
        json!({"apply": [{"sql": "insert into a.other select 1 / count(*) from a.other"}]}),
    );
    let outcome = run(&engine, json!([make, fail]), json!({})).await;
    assert!(
        matches!(outcome, Outcome::Stuck(_) | Outcome::Held(_)),
        "{outcome:?}"
    );
    assert_eq!(
        lab.sql("select state from a.item order by id"),
        "enacted\ndraft"
    );
    let said = lab.sql("select convert_from(bytes, 'UTF8') from redress.record order by seq");
    assert!(
        said.contains("guard refused: guard 1, row 2 is false"),
        "{said}"
    );
}

/// A backup keeps the rows as they are, is found by its hash, and is discarded, not reverted.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_named_by_its_content_and_read_back_by_it() {
    let lab = Lab::new().await;
    lab.sql("create schema a; create table a.item (id int, t text, n numeric, at timestamptz);
             insert into a.item values (1, E'two\nlines', 1.50, '2026-01-02 03:04:05+00'), (2, null, 2, null), (3, 'z', 3, null)");
    let engine = lab.engine().await;
    let phases = json!([
        {"name": "keep", "adapter": "backup", "writes": [], "compensation": "none", "with": {"rows": [
            {"name": "item", "sql": "select id, t, n, at from a.item where id <= $1 order by id", "params": ["/input/upto"]},
            {"name": "count", "sql": "select count(*) as n from a.item"},
        ]}},
        phase("fail", &["a.item"], "none", json!({"apply": [{"sql": "update a.item set id = id / 0"}]})),
    ]);
    let outcome = run(&engine, phases, json!({"upto": 2})).await;
    assert!(matches!(outcome, Outcome::Compensated(_)), "{outcome:?}");
    let entry = lab.sql("select convert_from(bytes, 'UTF8')::jsonb #>> '{body,output,artefact,0}' from redress.record where kind = 'phase.committed'");
    let entry: Value = serde_json::from_str(&entry).expect("json");
    let hash = entry["sha256"].as_str().expect("a hash");
    let path = lab
        .path("artefacts")
        .join(entry["file"].as_str().expect("a name"));
    let lines = read_artefact(&path, &hash.parse().expect("a hash")).expect("read back");
    let rows: Vec<Value> = lines
        .iter()
        .map(|line| json!([line.name, line.row]))
        .collect();
    let expected = json!([
        ["item", {"id": 1, "t": "two\nlines", "n": "1.50", "at": "2026-01-02 03:04:05+00"}],
        ["item", {"id": 2, "t": null, "n": "2", "at": null}],
        ["count", {"n": "3"}],
    ]);
    assert_eq!(
        (Value::Array(rows), entry["rows"].as_u64()),
        (expected, Some(3))
    );
    assert_eq!(
        std::fs::read_dir(lab.path("artefacts"))
            .expect("a folder")
            .count(),
        1
    );
}
