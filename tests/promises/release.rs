//! A release counts when those whom this machine trusts have signed it, and not because the database says so.

use std::time::Duration;

use redress::definition::HoldScope;
use redress::ledger::key::{Role, SigningKey};
use redress::ledger::trust::Trust;
use redress::{Engine, Outcome, Released};
use redress_tests::Lab;
use serde_json::{Value, json};
use tokio::sync::watch;
use uuid::Uuid;

use crate::common::*;
use crate::gate::login;

const KILL_LIMIT: Duration = Duration::from_secs(10);
/// Long enough for a worker to look at a run that it gave back more than once.
const A_WHILE: Duration = Duration::from_millis(2_500);

/// A worker in the background, as it runs in production: it never ends by itself.
struct Working {
    stop: watch::Sender<bool>,
    worker: tokio::task::JoinHandle<Result<(), redress::Error>>,
}

impl Working {
    fn start(engine: &Engine) -> Self {
        let (stop, stopping) = watch::channel(false);
        let engine = engine.clone();
        let worker = tokio::spawn(async move { engine.worker().run(stopping).await });
        Self { stop, worker }
    }

    async fn end(self) {
        self.stop.send_replace(true);
        within(LIMIT, "the worker stops", self.worker)
            .await
            .unwrap()
            .expect("stopped");
    }
}

/// Runs one statement as a session that may release by SQL.
fn by_sql(lab: &Lab, text: &str) {
    let (role, url) = login(lab, "redress_operator");
    redress_tests::query_text(&url, text);
    lab.sql(&format!("drop role {role}"));
}

fn marked(lab: &Lab) -> String {
    lab.sql("select count(*) from shop.mark")
}

/// Nothing is committed for a while: no effect, no record.
async fn nothing_moves(lab: &Lab, what: &str) {
    let count = "select (select count(*) from shop.mark), (select count(*) from redress.record)";
    let before = lab.sql(count);
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(lab.sql(count), before, "{what}");
}

async fn completed(engine: &Engine, run: Uuid) {
    until("it completes", async || {
        let row = engine.drive(run).await.expect("driven");
        matches!(row, Outcome::Completed(_))
    })
    .await;
}

fn outcome_is_held(outcome: Result<Outcome, redress::Error>) {
    assert!(matches!(outcome, Ok(Outcome::Held(_))), "{outcome:?}");
}

/// An engine of another machine, with roots of its own.
async fn elsewhere(lab: &Lab, trust: Option<Trust>) -> Engine {
    let pool = redress::db::pool(lab.url(), 8).expect("a URL");
    let mut builder = Engine::builder(pool)
        .adapters(redress_adapters::standard())
        .actor("elsewhere");
    if let Some(trust) = trust {
        builder = builder.trust(trust);
    }
    builder.build().await.expect("an engine")
}

fn other_roots() -> Trust {
    let mut trust = Trust::new();
    let key = SigningKey::generate("sofia").expect("randomness");
    trust.add(Role::Sovereign, key.vkey().clone()).unwrap();
    trust
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_that_was_set_to_run_by_sql_lets_nobody_work() {
    let lab = Lab::new().await;
    lab.sql(MARKS);
    let engine = lab.engine().await;
    let id = open(&engine, &saga("line", marks(2), json!({}))).await;
    engine
        .kill("stop", KILL_LIMIT, false)
        .await
        .expect("killed");
    let working = Working::start(&engine);
    by_sql(&lab, "select redress.publish_switch('run', 'x', 'otto')");
    assert_eq!(engine.switch().await.unwrap().unwrap().state, "run");
    nothing_moves(&lab, "a worker under a switch that nobody released").await;
    outcome_is_held(engine.drive(id).await);
    for refusal in [
        refused(engine.start("line", json!({})).open().await),
        refused(
            engine
                .start_and_drive(engine.start("line", json!({})))
                .await,
        ),
    ] {
        assert_eq!(refusal, "RD0218");
    }
    assert_eq!(marked(&lab), "0");
    assert_eq!(lab.sql("select count(*) from redress.run"), "1");
    // The number alone is not it: once more by SQL is as little.
    by_sql(&lab, "select redress.publish_switch('run', 'x', 'otto')");
    outcome_is_held(engine.drive(id).await);
    // A real release needs no kill before it; the worker that was there all the time goes on.
    assert!(matches!(
        engine.release_kill(&lab.reviewer, "x").await,
        Ok(Released::Missing(_))
    ));
    outcome_is_held(engine.drive(id).await);
    assert_eq!(
        engine.release_kill(&lab.sovereign, "over").await.unwrap(),
        Released::Done
    );
    until("the worker goes on", async || {
        lab.sql("select state from redress.run") == "completed"
    })
    .await;
    // Released is released: a second signature changes nothing.
    let number = engine.switch().await.unwrap().unwrap().switch_no;
    engine
        .release_kill(&lab.sovereign, "over")
        .await
        .expect("released already");
    assert_eq!(engine.switch().await.unwrap().unwrap().switch_no, number);
    let start = engine.start("line", json!({}));
    assert!(matches!(
        engine.start_and_drive(start).await.expect("driven").1,
        Outcome::Completed(_)
    ));
    working.end().await;
}

/// The number changes while a phase is on its way to its COMMIT, after the claim was heeded.
#[tokio::test(flavor = "multi_thread")]
async fn a_phase_that_entered_under_an_unproven_switch_does_not_commit() {
    let lab = Lab::new().await;
    lab.sql(MARKS);
    let (entered, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let (go, going) = watch::channel(0);
    let adapter = Act::new("act", move |tx, call| {
        let (entered, mut going) = (entered.clone(), going.clone());
        let n: i32 = call.phase.name.as_str()[1..].parse().unwrap();
        Box::pin(async move {
            entered.send(()).unwrap();
            going.wait_for(|go| *go >= n).await.unwrap();
            put_mark(tx, call).await
        })
    });
    let engine = lab.engine_with(adapter.done()).await;
    let line = saga(
        "line",
        vec![act("p1", "act", json!({})), act("p2", "act", json!({}))],
        json!({}),
    );
    let id = open(&engine, &line).await;
    let driven = {
        let engine = engine.clone();
        tokio::spawn(async move { engine.drive(id).await })
    };
    seen.recv().await.expect("p1 is inside");
    // Published beside the phase that is inside; the next one enters under the new number.
    by_sql(&lab, "select redress.publish_switch('run', 'x', 'otto')");
    go.send_replace(2);
    outcome_is_held(within(LIMIT, "it is held", driven).await.unwrap());
    assert_eq!(
        lab.sql("select phase from shop.mark"),
        "p1",
        "p2 was rolled back"
    );
    assert_eq!(
        lab.sql("select state, phase, attempts from redress.run"),
        "running|p2|0"
    );
    engine
        .release_kill(&lab.sovereign, "looked at")
        .await
        .expect("released");
    completed(&engine, id).await;
    sound_but_for_the_switch(&lab);
}

/// What was done by SQL stays visible; nothing else is wrong.
fn sound_but_for_the_switch(lab: &Lab) {
    assert_eq!(
        lab.sql("select count(*) from redress.run where state <> 'completed'"),
        "0"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_automatic_compensation_waits_for_a_proven_release_too() {
    let lab = Lab::new().await;
    lab.sql(MARKS);
    lab.sql("alter table shop.mark add constraint bad_fails check (phase <> 'bad')");
    let (entered, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let (go, going) = watch::channel(false);
    let adapter = Act::new("act", move |tx, call| {
        let (entered, mut going) = (entered.clone(), going.clone());
        Box::pin(async move {
            entered.send(()).unwrap();
            going.wait_for(|go| *go).await.unwrap();
            put_mark(tx, call).await
        })
    });
    let engine = lab.engine_with(adapter.done()).await;
    let line = saga(
        "line",
        vec![
            mark("p1", json!({})),
            act("bad", "act", json!({"on_failure": "compensate"})),
        ],
        json!({}),
    );
    let id = open(&engine, &line).await;
    let driven = {
        let engine = engine.clone();
        tokio::spawn(async move { engine.drive(id).await })
    };
    seen.recv().await.expect("inside");
    by_sql(&lab, "select redress.publish_switch('run', 'x', 'otto')");
    go.send_replace(true);
    outcome_is_held(within(LIMIT, "it is held", driven).await.unwrap());
    outcome_is_held(engine.drive(id).await);
    assert_eq!(
        lab.sql("select r.state, m.state from redress.run r, shop.mark m"),
        "compensating|live"
    );
    engine
        .release_kill(&lab.sovereign, "looked at")
        .await
        .expect("released");
    assert!(matches!(
        engine.drive(id).await,
        Ok(Outcome::Compensated(_))
    ));
    assert_eq!(lab.sql("select state from shop.mark"), "withdrawn");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_was_lifted_by_sql_still_holds() {
    let lab = Lab::new().await;
    lab.sql(MARKS);
    let engine = lab.engine().await;
    let line = saga("line", marks(1), json!({"subject": "/input/who"}));
    engine.register(&line).await.expect("registered");
    for (scope, target) in [
        (HoldScope::Run, None),
        (HoldScope::Subject, Some("ann")),
        (HoldScope::Saga, Some("line")),
        (HoldScope::All, None),
    ] {
        let start = engine.start("line", json!({"who": "ann"}));
        let id = start.open().await.expect("opened").run;
        let run = id.to_string();
        let target = match scope {
            HoldScope::Run => Some(run.as_str()),
            _ => target,
        };
        let hold = engine
            .hold(scope, target, "look", false)
            .await
            .expect("held");
        by_sql(
            &lab,
            &format!("select redress.lift_hold('{}', 'otto')", hold.id),
        );
        assert!(engine.holds().await.unwrap().is_empty());
        // The file alone does not hold it: another machine has none.
        let other = elsewhere(&lab, Some(lab.trust())).await;
        let before = marked(&lab);
        outcome_is_held(engine.drive(id).await);
        outcome_is_held(other.drive(id).await);
        assert_eq!(marked(&lab), before, "{scope:?}");
        let start = other.start("line", json!({"who": "ann"})).open().await;
        match scope {
            HoldScope::Run => drop(start.expect("it names another run")),
            _ => assert_eq!(refused(start), "RD0218", "{scope:?}"),
        }
        assert!(lab.path("hold").join(format!("{}.json", hold.id)).exists());
        // The real release, after the fact; then there is nothing more to release.
        assert_eq!(
            engine
                .release_hold(hold.id, &lab.sovereign, "over")
                .await
                .unwrap(),
            Released::Done
        );
        completed(&other, id).await;
        assert_eq!(
            refused(engine.release_hold(hold.id, &lab.sovereign, "x").await),
            "RD0215"
        );
    }
}

/// A worker in the background gives the run back again and again, and others beside it go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_leaves_a_run_whose_hold_nobody_signed_away() {
    let lab = Lab::new().await;
    lab.sql(MARKS);
    let engine = lab.engine().await;
    let id = open(&engine, &saga("line", marks(1), json!({}))).await;
    let hold = engine
        .hold(HoldScope::Run, Some(&id.to_string()), "look", false)
        .await
        .expect("held");
    let machine = elsewhere(&lab, Some(lab.trust())).await;
    let working = Working::start(&machine);
    by_sql(
        &lab,
        &format!("select redress.lift_hold('{}', 'otto')", hold.id),
    );
    nothing_moves(&lab, "the run").await;
    assert_eq!(
        lab.sql("select r.state, r.claims <= 1 from redress.run r"),
        "running|t",
        "a claim that was given back is no try"
    );
    let other = engine
        .start("line", json!({}))
        .open()
        .await
        .expect("opened")
        .run;
    let state =
        async |id: Uuid| lab.sql(&format!("select state from redress.run where id = '{id}'"));
    until("another run", async || state(other).await == "completed").await;
    engine
        .release_hold(hold.id, &lab.sovereign, "over")
        .await
        .expect("released");
    until("the run", async || state(id).await == "completed").await;
    working.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_with_other_roots_or_none_does_not_believe_a_release() {
    let lab = Lab::new().await;
    lab.sql(MARKS);
    let engine = lab.engine().await;
    let stranger = elsewhere(&lab, Some(other_roots())).await;
    let blind = elsewhere(&lab, None).await;
    let line = saga("line", marks(1), json!({}));
    // As installed, nobody has to prove anything.
    completed(&blind, open(&engine, &line).await).await;
    let id = open(&engine, &line).await;
    engine
        .kill("stop", KILL_LIMIT, false)
        .await
        .expect("killed");
    engine
        .release_kill(&lab.sovereign, "over")
        .await
        .expect("released");
    for machine in [&stranger, &blind] {
        outcome_is_held(machine.drive(id).await);
        let error = machine.start("line", json!({})).open().await.unwrap_err();
        assert_eq!(
            (error.code(), error.class()),
            ("RD0218", redress::ledger::Class::Hold)
        );
    }
    let error = blind.start("line", json!({})).open().await.unwrap_err();
    assert!(error.to_string().contains("--trust"), "{error}");
    completed(&engine, id).await;
    // The same for a hold.
    let id = open(&engine, &line).await;
    let hold = engine
        .hold(HoldScope::Run, Some(&id.to_string()), "look", false)
        .await
        .expect("held");
    engine
        .release_hold(hold.id, &lab.sovereign, "over")
        .await
        .expect("released");
    outcome_is_held(stranger.drive(id).await);
    completed(&engine, id).await;
}

/// What an operator's session can write into the log by itself is not believed either.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_decision_in_a_new_record_releases_nothing() {
    let lab = Lab::new().await;
    lab.sql(MARKS);
    let engine = lab.engine().await;
    let line = saga("line", marks(1), json!({}));
    let id = open(&engine, &line).await;
    engine
        .kill("stop", KILL_LIMIT, false)
        .await
        .expect("killed");
    engine
        .release_kill(&lab.sovereign, "over")
        .await
        .expect("released");
    let system = lab
        .sql("select run from redress.system_log where name = 'system'")
        .parse()
        .unwrap();
    let genuine = body(&lab, system, "switch.released");
    assert_eq!(
        (&genuine["released"], &genuine["released_as"]),
        (&json!(2), &json!(3))
    );
    engine
        .kill("again", KILL_LIMIT, false)
        .await
        .expect("killed");
    by_sql(&lab, "select redress.publish_switch('run', 'x', 'otto')");
    // A fresh engine has verified nothing yet: it reads the log.
    for (released, decision) in [
        (json!(2), genuine["decision_id"].clone()),
        (json!(2), json!(Uuid::now_v7().to_string())),
        (json!(2), Value::Null),
        (json!(4), json!(Uuid::now_v7().to_string())),
        (json!(0), json!(Uuid::now_v7().to_string())),
    ] {
        let mut forged = genuine.clone();
        forged["released"] = released.clone();
        forged["released_as"] = json!(5);
        forged["decision_id"] = decision.clone();
        // The record of the first one is refused by the table: its decision was used.
        let written = forge(&lab, &forged);
        assert_eq!(written, decision != genuine["decision_id"]);
        outcome_is_held(lab.engine().await.drive(id).await);
        outcome_is_held(engine.drive(id).await);
    }
    engine
        .release_kill(&lab.sovereign, "over")
        .await
        .expect("released");
    completed(&lab.engine().await, id).await;
}

/// The number after a switch whose row was missing is bound to nothing before it: there the decision's id must not repeat.
#[tokio::test(flavor = "multi_thread")]
async fn the_decision_that_repaired_a_missing_switch_counts_once() {
    let lab = Lab::new().await;
    lab.sql(MARKS);
    let engine = lab.engine().await;
    let line = saga("line", marks(1), json!({}));
    let id = open(&engine, &line).await;
    lab.sql("delete from redress.switch");
    engine
        .release_kill(&lab.sovereign, "repaired")
        .await
        .expect("released");
    completed(&engine, id).await;
    let system = lab
        .sql("select run from redress.system_log where name = 'system'")
        .parse()
        .unwrap();
    let mut forged = body(&lab, system, "switch.released");
    assert_eq!(forged["released"], json!(0));
    let id = open(&engine, &line).await;
    by_sql(&lab, "select redress.publish_switch('run', 'x', 'otto')");
    forged["released_as"] = json!(engine.switch().await.unwrap().unwrap().switch_no);
    assert!(!forge(&lab, &forged), "its decision was used");
    forged["decision_id"] = json!(Uuid::now_v7().to_string());
    assert!(forge(&lab, &forged));
    outcome_is_held(engine.drive(id).await);
    assert_eq!(marked(&lab), "1");
}

/// Appends a `switch.released` to the system log, rightly chained.
fn forge(lab: &Lab, body: &Value) -> bool {
    let last = lab.sql(
        "select convert_from(bytes, 'UTF8') from redress.record r join redress.system_log l on l.name = 'system' and r.run = l.run and r.seq = l.seq",
    );
    let head =
        lab.sql("select seq, encode(head, 'hex') from redress.system_log where name = 'system'");
    let (seq, head) = head.split_once('|').expect("two columns");
    let seq: i64 = seq.parse().unwrap();
    let mut record: Value = serde_json::from_str(&last).expect("a record");
    record["kind"] = json!("switch.released");
    record["seq"] = json!(seq + 1);
    record["prev"] = json!(head);
    record["body"] = body.clone();
    let bytes = redress::ledger::canonical::to_canonical(&record).expect("canonical");
    let text = String::from_utf8(bytes).unwrap().replace('\'', "''");
    let (role, url) = login(lab, "redress_operator");
    let appended = redress_tests::try_query_text(
        &url,
        &format!(
            "select redress.append_system('system', {seq}, array[convert_to('{text}', 'UTF8')])"
        ),
    );
    lab.sql(&format!("drop role {role}"));
    appended.is_ok()
}
