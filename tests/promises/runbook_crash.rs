//! A runbook whose process dies at any statement, and that is carried on from there to the same end.

use redress::ledger::state::State;
use redress::{Engine, Outcome};
use redress_runbooks::execute::{self, Operator, Request};
use redress_runbooks::model::Runbook;
use redress_tests::Running;
use redress_tests::bank::{self, Bank};
use redress_tests::worker::LEASE;
use serde_json::json;
use uuid::Uuid;

use crate::common::{MARKS, mark, run, saga, sound};
use crate::crash::{LIMIT, call, died};
use crate::runbook::book;

/// The places between whose passages a process dies.
const POINTS: [&str; 8] = [
    "runbook.acted",
    "runbook.before_commit",
    "runbook.step",
    "statement",
    "compensate.entered",
    "compensate.after_effect",
    "decision.signed",
    "phase.commit_sent",
];
/// Passages of one point that are tried.
const PASSAGES_MAX: u64 = 40;

fn recovery() -> Runbook {
    book(
        "
runbook: recovery
version: 1
title: Bring it back, and say so
owner: the shop
risk: reversible
match: {saga: line, states: [failed]}
scope: {relations: [shop.audit], rows: select 0, max: 1}
checks: [{id: live, why: w, sql: \"select count(*) = 2 from shop.mark where run = $1 and state = 'live'\", params: [/run/id]}]
steps:
  - {id: note, transaction: {do: [{sql: insert into shop.audit (note) values ($1), params: [/run/id], rows: 1}]}}
  - {id: stop, hold: {scope: saga}}
  - {id: undo, compensate: {}}
  - {id: go, release: {holds: run}}
  - {id: free, release: {holds: /steps/stop/0/hold}}
  - {id: see, snapshot: {queries: [{name: n, sql: select count(*) from shop.audit}]}}
after: [{id: none, why: w, sql: \"select count(*) from shop.mark where run = $1 and state = 'live'\", params: [/run/id], expect: 0}]
tests: [{name: t, fixture: nothing, expect: {outcome: done, state: compensated}}]
",
    )
}

async fn failed(bank: &Bank, engine: &Engine) -> Uuid {
    let broken = json!({"with": {
        "apply": [{"sql": "insert into shop.mark (run, phase) select $1, 'p3' where false", "params": ["/run/id"], "rows": 1}],
        "guard": [{"sql": "select true from shop.mark where run = $1 and phase = 'p3' for update", "params": ["/run/id"]}],
        "revert": [{"sql": "update shop.mark set state = 'withdrawn' where run = $1 and phase = 'p3'", "params": ["/run/id"]}],
    }});
    let phases = vec![
        mark("p1", json!({})),
        mark("p2", json!({})),
        mark("p3", broken),
    ];
    let line = saga(
        "line",
        phases,
        json!({"authority": {"soft_revert": {"sovereign": 1}}}),
    );
    let Outcome::Held(row) = run(engine, &line).await else {
        panic!("p3 fails")
    };
    assert_eq!(row.state, State::Failed);
    // What was in force before does not stand in the way.
    assert_eq!(
        bank.sql(&format!(
            "select count(*) from redress.hold where run = '{}'",
            row.id
        )),
        "1"
    );
    row.id
}

async fn planned(engine: &Engine, run: Uuid) -> Uuid {
    let key = bank::sovereign();
    let person = key.vkey().name().to_string();
    let operator = Operator {
        engine,
        key: &key,
        person,
        host: "here".to_owned(),
    };
    let request = Request {
        runbook: recovery(),
        run: Some(run),
        params: Default::default(),
        reason: "the test says so".to_owned(),
    };
    execute::plan(&operator, &request)
        .await
        .expect("planned")
        .0
        .id
}

/// Every step once, in their order, each signed.
const TOLD: &str =
    "begun begin, step note, step stop, step undo, step go, step free, step see, finished after";

async fn told(engine: &Engine, id: Uuid) -> String {
    let execution = engine.execution(&id.to_string()).await.unwrap();
    let records = engine.execution_records(&execution).await.unwrap();
    let words: Vec<String> = records
        .iter()
        .filter(|record| record.body["event"] != "planned")
        .map(|record| {
            assert!(record.body["principal"].is_string() && record.body["envelope"].is_object());
            let text = |name: &str| record.body[name].as_str().unwrap_or("-").to_owned();
            format!("{} {}", text("event"), text("step"))
        })
        .collect();
    words.join(", ")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runbook_that_dies_at_any_place_is_carried_on_to_the_same_end() {
    let bank = Bank::new().await;
    bank.sql("create schema shop");
    bank.sql(MARKS);
    let engine = bank.engine().await;
    let mut all = 0;
    for point in POINTS {
        let mut deaths = 0;
        for n in 1..=PASSAGES_MAX {
            let run = failed(&bank, &engine).await;
            let id = planned(&engine, run).await;
            let act = ["runbook-resume", &id.to_string()];
            let mut child =
                Running::start(call(&bank, &act).env("REDRESS_CRASH", format!("{point}:{n}")));
            let dead = died(&mut child, point);
            if dead {
                deaths += 1;
                tokio::time::sleep(LEASE).await;
                let mut again = Running::start(&mut call(&bank, &act));
                let status = again.wait(LIMIT);
                assert!(
                    status.success(),
                    "{point}:{n}: {}{}",
                    again.stdout(),
                    again.stderr()
                );
            }
            assert_eq!(told(&engine, id).await, TOLD, "{point}:{n}");
            assert_eq!(
                engine.show(run).await.unwrap().state,
                State::Compensated,
                "{point}:{n}"
            );
            let notes = format!("select count(*) from shop.audit where note = '{run}'");
            assert_eq!(bank.sql(&notes), "1", "{point}:{n}");
            assert_eq!(
                bank.sql("select count(*) from redress.hold where released_at is null"),
                "0"
            );
            if !dead {
                break;
            }
        }
        assert!((1..PASSAGES_MAX).contains(&deaths), "{point}: {deaths}");
        all += deaths;
    }
    println!("killed {all} times");
    sound(&engine).await;
}
