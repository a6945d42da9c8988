//! Runbooks carried out: planned, approved, applied, refused, resumed, and each step signed in the log.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use redress::ledger::key::SigningKey;
use redress::ledger::state::State;
use redress::step::ExecutionState;
use redress::{Engine, Error, Outcome, RunRow};
use redress_runbooks::execute::{self, Applied, Evidence, ExecuteError, Given, Operator, Request};
use redress_runbooks::model::Runbook;
use redress_runbooks::read::read_yaml;
use redress_tests::Lab;
use redress_tests::outside::Depot;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::common::{MARKS, code, mark, run, saga, sound};

/// A run whose phases p1 and p2 stand and whose p3 failed; an operator must sign to take it back.
pub(crate) struct Ground {
    pub lab: Lab,
    pub engine: Engine,
    pub run: RunRow,
}

pub(crate) fn line() -> redress::definition::Definition {
    let p3 = mark(
        "p3",
        json!({"with": {
            "apply": [{"sql": "insert into shop.mark (run, phase) select $1, 'p3' where not exists (select from shop.broken)", "params": ["/run/id"], "rows": 1}],
            "guard": [{"sql": "select true from shop.mark where run = $1 and phase = 'p3' for update", "params": ["/run/id"]}],
            "revert": [{"sql": "update shop.mark set state = 'withdrawn' where run = $1 and phase = 'p3'", "params": ["/run/id"]}],
        }}),
    );
    let phases = vec![mark("p1", json!({})), mark("p2", json!({})), p3];
    saga(
        "line",
        phases,
        json!({"authority": {"soft_revert": {"operator": 1}}}),
    )
}

impl Ground {
    pub async fn new() -> Self {
        let lab = Lab::new().await;
        lab.sql(MARKS);
        lab.sql("create table shop.broken (why text); insert into shop.broken values ('it is')");
        let engine = lab.engine().await;
        let Outcome::Held(row) = run(&engine, &line()).await else {
            panic!("p3 fails")
        };
        assert_eq!(row.state, State::Failed);
        Self {
            lab,
            engine,
            run: row,
        }
    }

    fn operator<'a>(&'a self, key: &'a SigningKey) -> Operator<'a> {
        let person = key.vkey().name().to_string();
        Operator {
            engine: &self.engine,
            key,
            person,
            host: "here".to_owned(),
        }
    }

    fn request(&self, book: &Runbook, params: &[(&str, &str)]) -> Request {
        let params = params
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Request {
            runbook: book.clone(),
            run: Some(self.run.id),
            params: params.collect(),
            reason: "the test says so".to_owned(),
        }
    }

    /// Plans as Otto, the operator.
    async fn plan(&self, book: &Runbook, params: &[(&str, &str)]) -> Result<Uuid, ExecuteError> {
        let otto = self.operator(&self.lab.operator);
        execute::plan(&otto, &self.request(book, params))
            .await
            .map(|(execution, _)| execution.id)
    }

    /// Applies as Otto.
    async fn apply(&self, id: Uuid) -> Result<Applied, ExecuteError> {
        self.apply_with(id, &Given::default()).await
    }

    async fn apply_with(&self, id: Uuid, given: &Given) -> Result<Applied, ExecuteError> {
        let otto = self.operator(&self.lab.operator);
        execute::apply(&otto, &id.to_string(), given, &|_, _| {}).await
    }

    async fn approve(&self, id: Uuid, key: &SigningKey) -> Result<(), Error> {
        let execution = self.engine.execution(&id.to_string()).await?;
        let decision = self
            .engine
            .decision_on_execution(&execution, "so be it")
            .await?;
        let envelope = redress::ledger::sign(&decision, key)?;
        self.engine
            .approve_execution(&execution, envelope)
            .await
            .map(|_| ())
    }

    async fn state(&self, id: Uuid) -> ExecutionState {
        self.engine.execution(&id.to_string()).await.unwrap().state
    }

    /// Event and step of each record of an execution, with who signed.
    async fn told(&self, id: Uuid) -> String {
        let execution = self.engine.execution(&id.to_string()).await.unwrap();
        let records = self.engine.execution_records(&execution).await.unwrap();
        let line = |record: &redress::ledger::Record| {
            let text = |name: &str| record.body[name].as_str().unwrap_or("-").to_owned();
            format!("{} {} {}", text("event"), text("step"), text("principal"))
        };
        records.iter().map(line).collect::<Vec<_>>().join(", ")
    }

    async fn row(&self) -> RunRow {
        let outcome = self.engine.show(self.run.id).await.unwrap();
        RunRow {
            state: outcome.state,
            ..self.run.clone()
        }
    }

    fn marks(&self) -> String {
        crate::common::rows(&self.lab, &self.run)
    }
}

#[track_caller]
pub(crate) fn book(yaml: &str) -> Runbook {
    match read_yaml(yaml.as_bytes(), "test.yaml") {
        Ok((book, _)) => book,
        Err(error) => panic!("{error}"),
    }
}

/// A runbook from its changing parts.
fn written(fields: &str) -> Runbook {
    book(&format!(
        "
runbook: take-back
version: 1
title: Take the marks back
owner: the shop
risk: reversible
match: {{saga: line, failed_phase: p3, states: [failed]}}
{fields}
tests:
  - {{name: it is taken back, fixture: nothing, expect: {{outcome: done, state: compensated}}}}
"
    ))
}

const LIVE: &str = "{id: live, why: both phases stand, sql: \"select count(*) from shop.mark where run = $1 and state = 'live'\", params: [/run/id], expect: 2, on_fail: {refuse: MARKS_MOVED, next: ask}}";
const UNDO: &str = "steps: [{id: undo, compensate: {}}]";

#[tokio::test(flavor = "multi_thread")]
async fn a_runbook_is_planned_approved_and_carried_out_with_every_step_signed() {
    let ground = Ground::new().await;
    let take_back = written(&format!(
        "
params: {{note: {{type: text, max: 100}}}}
approvals: {{reviewer: 1, distinct: true}}
scope: {{relations: [shop.audit], rows: \"select count(*) from shop.mark where run = $1\", params: [/run/id], max: 5}}
checks: [{LIVE}]
steps:
  - id: before
    snapshot: {{queries: [{{name: marks, sql: \"select phase, state from shop.mark where run = $1 order by phase\", params: [/run/id]}}]}}
  - id: note
    transaction:
      lock: [{{sql: \"select 1 from shop.mark where run = $1 for update\", params: [/run/id]}}]
      capture: [{{sql: select count(*) as n from shop.audit, as: earlier}}]
      do: [{{sql: insert into shop.audit (note) values ($1) returning note, params: [/params/note], rows: 1, as: noted}}]
      verify: [{{sql: \"select count(*) = 1 from shop.audit where note = $1\", params: [/steps/note/noted/0/note]}}]
  - {{id: undo, compensate: {{}}}}
  - id: look
    manual: {{instruction: Look at the shelf., evidence: {{photo: what you see}}}}
after:
  - {{id: none-live, why: nothing stands, sql: \"select count(*) from shop.mark where run = $1 and state = 'live'\", params: [/run/id], expect: 0}}"
    ));
    let id = ground
        .plan(&take_back, &[("note", "'; drop table shop.audit; --")])
        .await
        .unwrap();
    // Nobody has approved it: nothing is begun.
    let error = ground.apply(id).await.unwrap_err();
    assert_eq!(error.code(), "RD0560", "{error}");
    assert_eq!(
        (ground.state(id).await, ground.marks().as_str()),
        (ExecutionState::Planned, "p1 live, p2 live")
    );
    // Who asked does not approve.
    let own = ground.approve(id, &ground.lab.operator).await.unwrap_err();
    assert_eq!(own.code(), "RD0560", "{own}");
    ground.approve(id, &ground.lab.reviewer).await.unwrap();
    let waits = ground.apply(id).await.unwrap_err();
    assert_eq!(waits.code(), "RD0451", "{waits}");
    assert_eq!(ground.marks(), "p1 withdrawn, p2 withdrawn");
    let photo = Evidence {
        bytes: b"an empty shelf".to_vec(),
        file: None,
    };
    let given = Given {
        did: Some("look".to_owned()),
        evidence: BTreeMap::from([("photo".to_owned(), photo)]),
    };
    let done = ground.apply_with(id, &given).await.unwrap();
    assert_eq!(done.execution.state, ExecutionState::Done);
    assert_eq!(
        ground.told(id).await,
        "planned plan otto, approved approve rene, begun begin otto, step before otto, step note otto, step undo otto, step look otto, finished after otto"
    );
    assert_eq!(ground.row().await.state, State::Compensated);
    assert_eq!(
        ground.lab.sql("select note from shop.audit"),
        "'; drop table shop.audit; --"
    );
    let execution = ground.engine.execution(&id.to_string()).await.unwrap();
    let records = ground.engine.execution_records(&execution).await.unwrap();
    let of = |step: &str| {
        records
            .iter()
            .find(|r| r.body["step"] == step)
            .unwrap()
            .body
            .clone()
    };
    assert_eq!(of("note")["outputs"]["earlier"][0]["n"], json!("0"));
    assert_eq!(of("look")["evidence"]["photo"]["text"], "an empty shelf");
    assert!(
        records
            .iter()
            .all(|r| r.body["host"].is_string() || r.body["event"] == "approved")
    );
    // Again: there is nothing to do.
    assert!(ground.apply(id).await.unwrap().before);
    sound(&ground.engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_a_result_with_its_code_and_the_next_runbook() {
    let ground = Ground::new().await;
    ground
        .lab
        .sql("update shop.mark set state = 'withdrawn' where phase = 'p1'");
    let refused = written(&format!("checks: [{LIVE}]\n{UNDO}"));
    let error = ground.plan(&refused, &[]).await.unwrap_err();
    let ExecuteError::Refused {
        check,
        refusal,
        next,
        unknown: false,
        ..
    } = &error
    else {
        panic!("{error}")
    };
    assert_eq!(
        (check.as_str(), refusal.as_deref(), next.as_deref()),
        ("live", Some("MARKS_MOVED"), Some("ask"))
    );
    let executions = ground
        .engine
        .executions(Some(ground.run.id), false, 10)
        .await
        .unwrap();
    assert_eq!(executions[0].state, ExecutionState::Refused);
    assert_eq!(
        ground.told(executions[0].id).await,
        "planned plan otto, refused checks otto"
    );
    // Neither yes nor no is a no of its own: an error, a value of another kind, a wait that is too long.
    let check = async |sql: &str, says: &str| {
        let unknown = written(&format!(
            "checks: [{{id: c, why: it matters, sql: \"{sql}\"}}]\n{UNDO}"
        ));
        let error = ground.plan(&unknown, &[]).await.unwrap_err();
        assert_eq!(error.code(), "RD0445", "{sql}: {error}");
        assert!(error.to_string().contains(says), "{sql}: {error}");
    };
    check("select 1/0 = 1", "division by zero").await;
    check("select 1", "neither true nor false").await;
    check("select true from nowhere", "does not exist").await;
    ground.lab.sql("create function shop.sly() returns boolean language plpgsql volatile as $$ begin insert into shop.audit values ('sly'); return true; end $$");
    check("select shop.sly()", "read-only transaction").await;
    assert_eq!(ground.lab.sql("select count(*) from shop.audit"), "0");
    assert_eq!(ground.marks(), "p1 withdrawn, p2 live");
    sound(&ground.engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_writes_nothing_even_where_its_role_could() {
    let ground = Ground::new().await;
    ground.lab.sql(
        "create function shop.sly() returns boolean language plpgsql volatile security definer as
           $$ begin insert into shop.audit values ('sly'); return true; end $$",
    );
    let sly = written(&format!(
        "checks: [{{id: c, why: it matters, sql: select shop.sly()}}]\n{UNDO}"
    ));
    let error = ground.plan(&sly, &[]).await.unwrap_err();
    assert!(
        error.to_string().contains("read-only transaction"),
        "{error}"
    );
    assert_eq!(ground.lab.sql("select count(*) from shop.audit"), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runbook_for_something_else_is_refused_before_anything_is_recorded() {
    let ground = Ground::new().await;
    let records = || ground.lab.sql("select count(*) from redress.record");
    let before = records();
    let check = async |fields: &str, expected: &str| {
        let error = ground.plan(&written(fields), &[]).await.unwrap_err();
        assert_eq!(error.code(), expected, "{error}");
    };
    check(
        &format!("environments: [other.example/shop]\n{UNDO}"),
        "RD0447",
    )
    .await;
    check(
        &format!("params: {{n: {{type: integer}}}}\n{UNDO}"),
        "RD0448",
    )
    .await;
    let other = |matches: &str| {
        let text = format!(
            "runbook: other\nversion: 1\ntitle: t\nowner: o\nrisk: reversible\nmatch: {matches}\n{UNDO}\ntests: [{{name: t, fixture: nothing, expect: {{outcome: done, state: compensated}}}}]"
        );
        book(&text)
    };
    for matches in [
        "{saga: circle}",
        "{saga: line, versions: [2]}",
        "{failed_phase: p1}",
        "{states: [stuck]}",
        "{committed: [p1, p3]}",
        "{codes: [RD0424]}",
    ] {
        let error = ground.plan(&other(matches), &[]).await.unwrap_err();
        assert_eq!(error.code(), "RD0446", "{matches}: {error}");
    }
    assert_eq!(records(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_moved_grown_or_expired_since_the_plan_is_stale() {
    let ground = Ground::new().await;
    let scope = "scope: {relations: [shop.audit], rows: select count(*) from shop.audit, max: 2}";
    let grown = written(&format!("{scope}\n{UNDO}"));
    let id = ground.plan(&grown, &[]).await.unwrap();
    ground.lab.sql("insert into shop.audit values ('new')");
    let error = ground.apply(id).await.unwrap_err();
    assert_eq!(error.code(), "RD0450", "{error}");
    // More than its scope allows is refused at once.
    ground
        .lab
        .sql("insert into shop.audit values ('new'), ('new')");
    assert_eq!(ground.plan(&grown, &[]).await.unwrap_err().code(), "RD0449");
    let short = written(&format!("limits: {{plan_ttl: 1s}}\n{UNDO}"));
    let id = ground.plan(&short, &[]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let error = ground.apply(id).await.unwrap_err();
    assert!(
        error.code() == "RD0450" && error.to_string().contains("good until"),
        "{error}"
    );
    let id = ground.plan(&written(UNDO), &[]).await.unwrap();
    ground.engine.resume(ground.run.id).await.unwrap();
    ground.engine.drive(ground.run.id).await.unwrap();
    let error = ground.apply(id).await.unwrap_err();
    assert!(
        error.code() == "RD0450" && error.to_string().contains("moved on"),
        "{error}"
    );
    assert_eq!(ground.marks(), "p1 live, p2 live");
    sound(&ground.engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_are_made_again_under_lock_in_the_transaction_that_acts() {
    let ground = Ground::new().await;
    let take_back = written(&format!("checks: [{LIVE}]\n{UNDO}"));
    let id = ground.plan(&take_back, &[]).await.unwrap();
    // A third row comes after the plan; no basis moves.
    ground.lab.sql(&format!(
        "insert into shop.mark (run, phase) values ('{}', 'other')",
        ground.run.id
    ));
    let error = ground.apply(id).await.unwrap_err();
    assert_eq!(error.code(), "RD0442", "{error}");
    assert_eq!(ground.marks(), "other live, p1 live, p2 live");
    assert_eq!(ground.state(id).await, ExecutionState::Refused);
    assert_eq!(ground.row().await.state, State::Failed);
    // The same before statements of its own.
    let own = written(
        "checks: [{id: c, why: w, sql: select count(*) from shop.audit, expect: 0}]
scope: {relations: [shop.audit], rows: select 0, max: 1}
steps:
  - id: note
    transaction:
      lock: [{sql: \"insert into shop.audit values ('between')\"}]
      do: [{sql: \"insert into shop.audit values ('done')\"}]",
    );
    let id = ground.plan(&own, &[]).await.unwrap();
    assert_eq!(ground.apply(id).await.unwrap_err().code(), "RD0442");
    assert_eq!(ground.lab.sql("select count(*) from shop.audit"), "0");
    sound(&ground.engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_lock_found_is_counted_and_can_be_pointed_to() {
    let ground = Ground::new().await;
    let locking = |rows: &str| {
        written(&format!(
            "scope: {{relations: [shop.audit], rows: select 0, max: 1}}
steps:
  - id: note
    transaction:
      lock: [{{sql: \"select phase from shop.mark where run = $1 order by phase for update\", params: [/run/id], rows: {rows}, as: locked}}]
      do: [{{sql: insert into shop.audit (note) values ($1), params: [/steps/note/locked/1/phase], rows: 1}}]"
        ))
    };
    for (rows, refusal) in [("3", "3"), ("{min: 3, max: 9}", "3 to 9")] {
        let id = ground.plan(&locking(rows), &[]).await.unwrap();
        let error = ground.apply(id).await.unwrap_err();
        assert_eq!(error.code(), "RD0312", "{error}");
        assert!(error.to_string().contains("lock 1"), "{error}");
        assert!(error.to_string().contains(refusal), "{error}");
        assert_eq!(ground.lab.sql("select count(*) from shop.audit"), "0");
    }
    let id = ground.plan(&locking("2"), &[]).await.unwrap();
    ground.apply(id).await.unwrap();
    assert_eq!(ground.lab.sql("select note from shop.audit"), "p2");
    sound(&ground.engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_write_what_the_scope_names_and_commit_only_what_was_verified() {
    let ground = Ground::new().await;
    let check = async |transaction: &str, expected: &str| {
        let text = format!(
            "scope: {{relations: [shop.audit], rows: select 0, max: 1}}\nsteps:\n  - id: s\n    transaction: {transaction}"
        );
        let id = ground.plan(&written(&text), &[]).await.unwrap();
        let error = ground.apply(id).await.unwrap_err();
        assert_eq!(error.code(), expected, "{transaction}: {error}");
        assert_eq!(
            ground.state(id).await,
            ExecutionState::Refused,
            "{transaction}"
        );
    };
    check("{do: [{sql: \"insert into shop.audit values ('a')\"}, {sql: update shop.mark set note = 'x'}]}", "RD0302").await;
    check(
        "{do: [{sql: \"insert into shop.audit values ('a')\"}], verify: [{sql: select false}]}",
        "RD0311",
    )
    .await;
    check(
        "{do: [{sql: \"insert into shop.audit values ('a')\", rows: 2}]}",
        "RD0312",
    )
    .await;
    check(
        "{do: [{sql: \"insert into shop.audit values ($1)\", params: [/input/none]}]}",
        "RD0313",
    )
    .await;
    assert_eq!(ground.lab.sql("select count(*) from shop.audit"), "0");
    assert_eq!(ground.marks(), "p1 live, p2 live");
    sound(&ground.engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_operators_cannot_carry_out_runbooks_on_one_run_at_once() {
    let ground = Ground::new().await;
    let waiting = written(
        "steps:\n  - id: wait\n    wait: {until: {sql: select count(*) > 0 from shop.audit}, timeout: 20s}\n  - {id: undo, compensate: {}}",
    );
    let first = ground.plan(&waiting, &[]).await.unwrap();
    let second = ground.plan(&written(UNDO), &[]).await.unwrap();
    let sofia = ground.operator(&ground.lab.sovereign);
    let text = first.to_string();
    let (applied, ()) = tokio::join!(ground.apply(first), async {
        crate::common::until("it waits", async || {
            ground.state(first).await == ExecutionState::Begun
        })
        .await;
        // The same one, and another one on the same run.
        for id in [&text, &second.to_string()] {
            let error = execute::apply(&sofia, id, &Given::default(), &|_, _| {})
                .await
                .unwrap_err();
            assert_eq!(error.code(), "RD0441", "{error}");
            assert!(error.to_string().contains("otto on here"), "{error}");
        }
        assert_eq!(ground.marks(), "p1 live, p2 live");
        ground.lab.sql("insert into shop.audit values ('go')");
    });
    applied.unwrap();
    assert_eq!(ground.marks(), "p1 withdrawn, p2 withdrawn");
    sound(&ground.engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_lost_the_lease_records_nothing_more_and_another_goes_on() {
    let ground = Ground::new().await;
    let manual = written(
        "steps:\n  - {id: ask, manual: {instruction: Ask.}}\n  - {id: undo, compensate: {}}",
    );
    let id = ground.plan(&manual, &[]).await.unwrap();
    ground.apply(id).await.unwrap_err();
    let mut old = ground
        .engine
        .take_execution(id, "otto on a train")
        .await
        .unwrap();
    ground
        .lab
        .sql("update redress.execution set lease_until = '-infinity'");
    let given = Given {
        did: Some("ask".to_owned()),
        ..Given::default()
    };
    let sofia = ground.operator(&ground.lab.sovereign);
    let error = execute::apply(&sofia, &id.to_string(), &given, &|_, _| {}).await;
    // An operator must sign the run's plan, and Sofia is none.
    assert_eq!(error.unwrap_err().code(), "RD0560");
    let note = redress::step::Note {
        event: "step",
        step: "undo",
        advances: true,
        state: ExecutionState::Begun,
        reason: "late",
        body: Default::default(),
    };
    let late = ground
        .engine
        .record_step(&mut old, note, &ground.lab.operator, None)
        .await
        .unwrap_err();
    assert_eq!(late.code(), "RD0444", "{late}");
    assert_eq!(
        ground.apply(id).await.unwrap().execution.state,
        ExecutionState::Done
    );
    let told = ground.told(id).await;
    assert!(
        told.ends_with("step ask sofia, step undo otto, finished after otto"),
        "{told}"
    );
    sound(&ground.engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_counts_for_the_very_plan_and_by_others_only() {
    let ground = Ground::new().await;
    let needs = written(&format!(
        "approvals: {{sovereign: 1, distinct: true}}\n{UNDO}"
    ));
    let first = ground.plan(&needs, &[]).await.unwrap();
    let second = ground.plan(&needs, &[]).await.unwrap();
    let engine = &ground.engine;
    let one = engine.execution(&first.to_string()).await.unwrap();
    let two = engine.execution(&second.to_string()).await.unwrap();
    let decision = engine
        .decision_on_execution(&one, "so be it")
        .await
        .unwrap();
    let envelope = redress::ledger::sign(&decision, &ground.lab.sovereign).unwrap();
    let error = engine
        .approve_execution(&two, envelope.clone())
        .await
        .unwrap_err();
    assert_eq!(error.code(), "RD0554", "{error}");
    engine
        .approve_execution(&one, envelope.clone())
        .await
        .unwrap();
    assert_eq!(
        engine
            .approve_execution(&one, envelope)
            .await
            .unwrap_err()
            .code(),
        "RD0563"
    );
    assert_eq!(ground.apply(second).await.unwrap_err().code(), "RD0560");
    ground.apply(first).await.unwrap();
    let over = ground.approve(second, &ground.lab.sovereign).await;
    over.unwrap();
    assert_eq!(ground.apply(second).await.unwrap_err().code(), "RD0450");
    sound(&ground.engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_nasty_texts_are_refused_or_stored_as_they_are() {
    let ground = Ground::new().await;
    let many: Vec<String> = (0..20).map(|i| format!("t{i}")).collect();
    let params: Vec<String> = many
        .iter()
        .map(|name| format!("{name}: {{type: text}}"))
        .collect();
    let insert = |name: &String| {
        format!(
            "{{sql: insert into shop.audit (note) values ($1), params: [/params/{name}], rows: 1}}"
        )
    };
    let store = written(&format!(
        "params: {{{}}}
scope: {{relations: [shop.audit], rows: select 0, max: 1}}
steps: [{{id: s, transaction: {{do: [{}]}}}}]",
        params.join(", "),
        many.iter().map(insert).collect::<Vec<_>>().join(", ")
    ));
    let pieces = [
        "'",
        "\"",
        "\\",
        ";",
        "--",
        "/*",
        "*/",
        "$1",
        "$$",
        "%s",
        "{}",
        "\u{1b}[2J",
        "\u{202e}",
        "\r\n",
        "\t",
        "é",
        "日本",
        "\u{1f4a9}",
        "'; drop schema shop cascade; --",
        "' or '1'='1",
    ];
    let nasty: Vec<String> = (0..200)
        .map(|i| {
            format!(
                "{}{}{i}",
                pieces[i % pieces.len()],
                pieces[(i / pieces.len() + i) % pieces.len()]
            )
        })
        .collect();
    for texts in nasty.chunks(many.len()) {
        let params: Vec<(&str, &str)> = many
            .iter()
            .map(String::as_str)
            .zip(texts.iter().map(String::as_str))
            .collect();
        let id = ground.plan(&store, &params).await.unwrap();
        ground.apply(id).await.unwrap();
    }
    let stored = ground
        .lab
        .sql("select encode(convert_to(note, 'UTF8'), 'hex') from shop.audit");
    let mut stored: Vec<&str> = stored.lines().collect();
    let mut given: Vec<String> = nasty
        .iter()
        .map(|text| text.bytes().map(|b| format!("{b:02x}")).collect())
        .collect();
    stored.sort_unstable();
    given.sort_unstable();
    assert_eq!(stored, given);
    let params: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "a\0b")).collect();
    assert_eq!(
        ground.plan(&store, &params).await.unwrap_err().code(),
        "RD0448"
    );
    sound(&ground.engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_step_does_what_it_says() {
    let ground = Ground::new().await;
    let engine = &ground.engine;
    let sofia = ground.operator(&ground.lab.sovereign);
    let act = async |steps: &str| {
        let request = ground.request(&written_for_any(steps), &[]);
        let (execution, _) = execute::plan(&sofia, &request).await.unwrap();
        let applied = execute::apply(
            &sofia,
            &execution.id.to_string(),
            &Given::default(),
            &|_, _| {},
        )
        .await;
        applied.map(|applied| applied.execution.state)
    };
    let held = async || engine.show(ground.run.id).await.unwrap().held.len();
    assert_eq!(held().await, 1, "the failure's own");
    let done = "[{id: h, hold: {scope: saga}}, {id: r, release: {holds: own}}]";
    assert_eq!(act(done).await.unwrap(), ExecutionState::Done);
    assert_eq!(held().await, 1, "that on the saga");
    // What stops others as well is not released through a run.
    let narrow = "[{id: h, hold: {scope: run}}, {id: r, release: {holds: run}}]";
    assert_eq!(act(narrow).await.unwrap(), ExecutionState::Done);
    assert_eq!(held().await, 1, "that on the saga");
    let wide = engine.show(ground.run.id).await.unwrap().held[0].id;
    let released = engine
        .release_hold(wide, &ground.lab.sovereign, "done")
        .await;
    assert_eq!(released.unwrap(), redress::Released::Done);
    let named = "[{id: h, hold: {scope: saga}}, {id: r, release: {holds: /steps/h/0/hold}}]";
    assert_eq!(act(named).await.unwrap(), ExecutionState::Done);
    assert_eq!(held().await, 0);
    ground.lab.sql("delete from shop.broken");
    let resumed = "[{id: go, resume: {}}, {id: p, wait: {for: 10ms}}]";
    assert_eq!(act(resumed).await.unwrap(), ExecutionState::Done);
    assert_eq!(
        engine.show(ground.run.id).await.unwrap().state,
        State::Running
    );
    let Outcome::Completed(_) = engine.drive(ground.run.id).await.unwrap() else {
        panic!()
    };
    // A run that is completed is not resumed: the step cannot be done, and the execution ends.
    assert_eq!(
        act("[{id: go, resume: {}}]").await.unwrap_err().code(),
        "RD0453"
    );
    engine
        .kill("drill", Duration::from_secs(5), false)
        .await
        .unwrap();
    assert_eq!(
        act("[{id: k, release: {switch: true}}]").await.unwrap(),
        ExecutionState::Done
    );
    let otto = ground.operator(&ground.lab.operator);
    let request = ground.request(
        &written_for_any("[{id: b, rewind: {to: p2}}, {id: c, compensate: {}}]"),
        &[],
    );
    let planned = execute::plan(&otto, &request).await;
    // A rewind moves the run, so a plan made beside it is stale when its turn comes.
    let (execution, _) = planned.unwrap();
    let error = execute::apply(
        &otto,
        &execution.id.to_string(),
        &Given::default(),
        &|_, _| {},
    )
    .await
    .unwrap_err();
    assert_eq!(error.code(), "RD0420", "{error}");
    assert_eq!(ground.marks(), "p1 live, p2 withdrawn, p3 withdrawn");
    assert_eq!(
        act("[{id: x, resolve: {}}]").await.unwrap(),
        ExecutionState::Done
    );
    assert_eq!(
        engine.show(ground.run.id).await.unwrap().state,
        State::Resolved
    );
    let vain = act("[{id: w, wait: {until: {sql: select false}, timeout: 100ms}}]")
        .await
        .unwrap_err();
    assert_eq!(vain.code(), "RD0452", "{vain}");
    sound(&ground.engine).await;
}

pub(crate) fn written_for_any(steps: &str) -> Runbook {
    book(&format!(
        "runbook: any\nversion: 1\ntitle: t\nowner: o\nrisk: reversible\nsteps: {steps}\ntests: [{{name: t, fixture: nothing, expect: {{outcome: done, state: compensated}}}}]"
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_cannot_be_proven_is_said_to_be_unproven() {
    let ground = Ground::new().await;
    let hopeful = written(&format!(
        "{UNDO}\nafter: [{{id: more, why: w, sql: select count(*) from shop.audit, expect: 1}}]"
    ));
    let id = ground.plan(&hopeful, &[]).await.unwrap();
    let error = ground.apply(id).await.unwrap_err();
    assert_eq!(error.code(), "RD0454", "{error}");
    assert_eq!(ground.state(id).await, ExecutionState::Unproven);
    assert_eq!(ground.row().await.state, State::Compensated);
    let _ = (code(&ground.run), Value::Null);
    sound(&ground.engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_execution_that_was_changed_beside_its_records_is_found() {
    let ground = Ground::new().await;
    let id = ground.plan(&written(UNDO), &[]).await.unwrap();
    ground.apply(id).await.unwrap();
    sound(&ground.engine).await;
    let found = async |damage: &str| {
        ground.lab.sql(damage);
        let report = ground.engine.check().await.unwrap();
        let codes: Vec<&str> = report.findings.iter().map(|finding| finding.code).collect();
        assert_eq!(codes, ["RD0752"], "{damage}");
    };
    found("update redress.execution set done = 0").await;
    found("update redress.execution set done = 1, state = 'refused'").await;
    found("update redress.execution set state = 'done', log = gen_random_uuid()").await;
    found("delete from redress.execution").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_outside_is_made_once_whatever_is_known_of_it() {
    let mut ground = Ground::new().await;
    let folder = ground.lab.path("depot");
    let depot = || Depot::new(&folder);
    let builder = ground.lab.builder(ground.lab.url());
    ground.engine = builder.external(Arc::new(depot())).build().await.unwrap();
    let sofia = ground.operator(&ground.lab.sovereign);
    let calling = async |with: &str| {
        let steps = format!("[{{id: c, call: {{adapter: depot, with: {with}, timeout: 2s}}}}]");
        let request = ground.request(&written_for_any(&steps), &[]);
        execute::plan(&sofia, &request)
            .await
            .unwrap()
            .0
            .id
            .to_string()
    };
    let go = async |id: &str| execute::apply(&sofia, id, &Given::default(), &|_, _| {}).await;
    // The answer is lost and the probe sees it; nobody acts twice.
    let lost = calling("{act: lose}").await;
    go(&lost).await.unwrap();
    assert_eq!(depot().effects(), [format!("act {lost}.c")]);
    // Nobody can tell: it waits, and is asked again instead of done again.
    let blind = calling("{act: lose, probe: blind}").await;
    assert_eq!(go(&blind).await.unwrap_err().code(), "RD0317");
    assert_eq!(go(&blind).await.unwrap_err().code(), "RD0317");
    depot().sight(true);
    assert_eq!(
        go(&blind).await.unwrap().execution.state,
        ExecutionState::Done
    );
    let acts = depot()
        .effects()
        .into_iter()
        .filter(|line| line.contains(&blind));
    assert_eq!(acts.count(), 1);
    let refused = calling("{act: refuse}").await;
    assert_eq!(go(&refused).await.unwrap_err().code(), "RD0303");
    let told = ground.told(blind.parse().unwrap()).await;
    assert!(
        told.ends_with("intended c sofia, step c sofia, finished after sofia"),
        "{told}"
    );
    sound(&ground.engine).await;
}
