//! What a phase may cost: rows, waits, and memory when a hundred thousand rows are touched.

use std::time::{Duration, Instant};

use redress::{Engine, Outcome};
use redress_tests::{Lab, try_query_text};
use serde_json::{Value, json};

use crate::{phase, saga};

async fn run(engine: &Engine, phases: Value) -> Outcome {
    engine.register(&saga(phases)).await.expect("registered");
    let start = engine.start("try", json!({}));
    engine.start_and_drive(start).await.expect("driven").1
}

#[track_caller]
fn failed(outcome: &Outcome) -> (String, String) {
    outcome.run().error.clone().expect("it failed")
}

fn fail() -> Value {
    phase(
        "fail",
        &[],
        "none",
        json!({"apply": [{"sql": "select 1 / 0"}]}),
    )
}

/// A hundred thousand rows are changed and changed back by their keys, which the record keeps as one range.
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_rows_go_forward_and_back_by_their_keys() {
    let lab = Lab::new().await;
    lab.sql(
        "create schema b; create table b.item (id bigint primary key, state text not null);
         insert into b.item select n, 'old' from generate_series(1, 100000) n; insert into b.item values (200000, 'other')",
    );
    let engine = lab.engine().await;
    let change = phase(
        "change",
        &["b.item"],
        "soft_revert",
        json!({
            "capture": [{"sql": "select id from b.item where state = 'old' order by id for update", "as": "old", "form": "keys"}],
            "apply": [{"sql": "update b.item set state = 'new' where id <@ $1::int8multirange",
                       "params": ["/undo/capture/old/0/keys"], "rows": 100_000}],
            "guard": [{"sql": "select bool_and(state = 'new') from (select state from b.item where id <@ $1::int8multirange for update) i",
                       "params": ["/undo/capture/old/0/keys"], "rows": 1}],
            "revert": [{"sql": "update b.item set state = 'old' where id <@ $1::int8multirange",
                        "params": ["/undo/capture/old/0/keys"], "rows": 100_000}],
        }),
    );
    let outcome = run(&engine, json!([change, fail()])).await;
    assert!(matches!(outcome, Outcome::Compensated(_)), "{outcome:?}");
    assert_eq!(
        lab.sql("select state, count(*) from b.item group by 1 order by 1"),
        "old|100000\nother|1"
    );
    let sql = format!(
        "select convert_from(bytes, 'UTF8')::jsonb #>> '{{body,undo,capture,old,0}}', length(bytes) < 2000 \
         from redress.record where run = '{}' and kind = 'phase.committed'",
        outcome.run().id
    );
    assert_eq!(
        lab.sql(&sql),
        r#"{"keys": "{[1,100000]}", "count": "100000"}|t"#
    );
}

/// Keys of other types are an array; what is no key is refused at registration.
#[tokio::test(flavor = "multi_thread")]
async fn keys_of_other_types_bind_as_an_array() {
    let lab = Lab::new().await;
    lab.sql("create schema b; create table b.item (id uuid primary key, name text, n numeric)");
    lab.sql("insert into b.item select gen_random_uuid(), 'a\"b,' || n, n from generate_series(1, 50) n");
    let engine = lab.engine().await;
    let keys = |column: &str, cast: &str| {
        json!({
            "capture": [{"sql": format!("select {column} from b.item"), "as": "all", "form": "keys"}],
            "apply": [{"sql": format!("update b.item set n = 0 where {column} = any ($1::{cast}[])"),
                       "params": ["/undo/capture/all/0/keys"], "rows": 50}],
        })
    };
    let both = json!([
        phase("a", &["b.item"], "none", keys("id", "uuid")),
        phase("b", &["b.item"], "none", keys("name", "text"))
    ]);
    let outcome = run(&engine, both).await;
    assert!(matches!(outcome, Outcome::Completed(_)), "{outcome:?}");
    for sql in ["select n from b.item", "select id, name from b.item"] {
        let with = json!({"capture": [{"sql": sql, "as": "all", "form": "keys"}], "apply": [{"sql": "select 1"}]});
        let findings = engine
            .check_definition(&saga(json!([phase("p", &[], "none", with)])))
            .await
            .expect("judged");
        assert_eq!(
            (findings[0].path.as_str(), findings[0].code),
            ("/phases/0/with/capture/0/sql", "RD0142")
        );
    }
}

/// More rows than the budget: rolled back, with a code of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_phase_over_its_budget_of_rows_is_rolled_back() {
    for (rows, code) in [(9, Some("RD0345")), (10, None)] {
        let lab = Lab::new().await;
        lab.sql("create schema b; create table b.item (id int)");
        let engine = lab.engine().await;
        let insert = json!({"sql": "insert into b.item select n from generate_series(1, 5) n"});
        let with = json!({"budget": {"rows": rows}, "apply": [insert, insert]});
        let outcome = run(&engine, json!([phase("p", &["b.item"], "none", with)])).await;
        match code {
            Some(code) => {
                assert_eq!(failed(&outcome).0, code);
                assert!(failed(&outcome).1.contains("apply 2"), "{outcome:?}");
                assert_eq!(lab.sql("select count(*) from b.item"), "0");
            }
            None => assert!(matches!(outcome, Outcome::Completed(_)), "{outcome:?}"),
        }
    }
}

/// The statement that is over the budget is the last one that is sent: a sequence, which no rollback puts back, tells.
#[tokio::test(flavor = "multi_thread")]
async fn behind_a_statement_over_its_budget_nothing_more_is_sent() {
    let lab = Lab::new().await;
    lab.sql("create schema b; create table b.item (id int); create sequence b.sent");
    let engine = lab.engine().await;
    let with = json!({"budget": {"rows": 9}, "apply": [
        {"sql": "insert into b.item select n from generate_series(1, 10) n"},
        {"sql": "insert into b.item select nextval('b.sent')"}]});
    let outcome = run(&engine, json!([phase("p", &["b.item"], "none", with)])).await;
    assert_eq!(failed(&outcome).0, "RD0345");
    assert_eq!(lab.sql("select is_called from b.sent"), "f");
}

/// A lock that somebody else holds is waited for as long as the budget says.
#[tokio::test(flavor = "multi_thread")]
async fn a_phase_over_its_budget_of_a_lock_is_rolled_back() {
    let lab = Lab::new().await;
    lab.sql("create schema b; create table b.item (id int); insert into b.item values (1)");
    let engine = lab.engine().await;
    let with = json!({"budget": {"lock": "200ms"}, "apply": [{"sql": "update b.item set id = 2", "rows": 1}]});
    let definition = saga(json!([phase("p", &["b.item"], "none", with)]));
    engine.register(&definition).await.expect("registered");
    // Looked at once, so that the run meets the lock in its phase and not in the survey.
    let start = engine.start("try", json!({}));
    let first = engine.start_and_drive(start).await.expect("driven").1;
    assert!(matches!(first, Outcome::Completed(_)), "{first:?}");
    let url = lab.url().to_owned();
    let holder = std::thread::spawn(move || {
        try_query_text(&url, "begin; lock table b.item; select pg_sleep(4); commit")
    });
    let held = "select count(*) from pg_locks where mode = 'AccessExclusiveLock' and granted and relation = 'b.item'::regclass";
    let begun = Instant::now();
    while lab.sql(held) != "1" {
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "nobody holds the lock"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let begun = Instant::now();
    let start = engine.start("try", json!({}));
    let outcome = engine.start_and_drive(start).await.expect("driven").1;
    assert_eq!(failed(&outcome).0, "RD0346", "{outcome:?}");
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "it waited {:?}",
        begun.elapsed()
    );
    holder.join().expect("ended").expect("held");
}
