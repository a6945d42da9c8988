//! A phase waits for people, for a time, or for the world, and the run is nobody's meanwhile.

use std::time::Duration;

use redress::ledger::bundle::Verdict;
use redress::ledger::key::SigningKey;
use redress::ledger::{Decision, sign};
use redress::{Engine, Error, Outcome};
use redress_tests::{Lab, Vault};
use serde_json::{Value, json};
use tokio::sync::watch;
use uuid::Uuid;

use crate::common::*;

/// Two phases, the second of which needs signatures and writes down who gave the first of them.
fn guarded(approvals: Value) -> Vec<Value> {
    let sql = "insert into shop.mark (run, phase, note) values ($1, 'p2', $2)";
    let apply = json!([{"sql": sql, "params": ["/run/id", "/approvals/0/principal"], "rows": 1}]);
    let mut second = mark("p2", json!({"approvals": approvals}));
    second["with"]["apply"] = apply;
    vec![mark("p1", json!({})), second]
}

async fn lab() -> (Lab, Engine) {
    let lab = Lab::new().await;
    lab.sql(MARKS);
    let engine = lab.engine().await;
    (lab, engine)
}

async fn waiting(engine: &Engine, approvals: Value) -> Uuid {
    let saga = saga("line", guarded(approvals), json!({}));
    let outcome = run(engine, &saga).await;
    assert!(matches!(outcome, Outcome::Held(_)), "{outcome:?}");
    outcome.run().id
}

/// Drives everything that can be driven, once.
async fn worked(engine: &Engine) {
    let (_stop, stopping) = watch::channel(false);
    engine
        .worker()
        .until_idle()
        .run(stopping)
        .await
        .expect("worked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phase_waits_until_everybody_has_signed_who_must() {
    let (lab, engine) = lab().await;
    let vault = Vault::open(&lab, &engine).await;
    let run = waiting(&engine, json!({"reviewer": 1, "sovereign": 1})).await;
    // Nobody has it, and no worker stays for it or takes it up.
    worked(&engine).await;
    let row = "select owner is null, claims, attempts, state from redress.run";
    assert_eq!(lab.sql(row), "t|0|0|running");
    let shown = engine.show(run).await.expect("shown");
    let next = shown.next.expect("somebody must act");
    assert!(
        next.command
            .starts_with(&format!("redress approve {run} --phase p2")),
        "{next:?}"
    );
    let status = engine.status().await.expect("status");
    assert_eq!(status.len(), 1);
    assert_eq!(status[0].run, Some(run));
    assert!(status[0].reason.contains("p2"), "{:?}", status[0]);
    engine
        .approve_phase(run, "p2", &lab.reviewer, "looked at it")
        .await
        .expect("approved");
    let lacks = engine.phase_lacks(run, "p2").await.expect("asked");
    assert_eq!(lacks.values().sum::<u32>(), 1);
    worked(&engine).await;
    assert_eq!(lab.sql("select count(*) from shop.mark"), "1");
    engine
        .approve_phase(run, "p2", &lab.sovereign, "go")
        .await
        .expect("approved");
    worked(&engine).await;
    assert_eq!(lab.sql("select state from redress.run"), "completed");
    // What let it go on stands in the phase's own record, and reached its statements.
    let record = lab.sql(&format!(
        "select convert_from(bytes, 'UTF8')::jsonb #> '{{body,approvals}}' from redress.record
         where run = '{run}' and kind = 'phase.committed' and phase = 'p2'"
    ));
    let ids: Vec<String> = serde_json::from_str(&record).expect("a list");
    assert_eq!(ids.len(), 2);
    let note = lab.sql("select note from shop.mark where phase = 'p2'");
    assert_eq!(note, lab.reviewer.name());
    assert!(engine.status().await.expect("status").is_empty());
    sound(&engine).await;
    vault.sealer(&engine).seal().await.expect("sealed");
    let report = vault.export(&engine, "all", None).await;
    assert_eq!(report.verdict, Verdict::Verified, "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_that_is_not_for_this_phase_of_this_run_is_refused_with_its_own_code() {
    let (lab, engine) = lab().await;
    let run = waiting(&engine, json!({"sovereign": 1})).await;
    let good = engine
        .decision_on_phase(run, "p2", "go")
        .await
        .expect("made");
    let check = async |code: &str, key: &SigningKey, change: &dyn Fn(&mut Decision)| {
        let mut decision = Decision {
            id: Uuid::now_v7(),
            ..good.clone()
        };
        change(&mut decision);
        let envelope = sign(&decision, key).expect("signed");
        let approved = engine.approve_phase_envelope(run, "p2", envelope).await;
        assert_eq!(refused(approved.map(drop)), code);
    };
    check("RD0559", &lab.sovereign, &|d| {
        d.not_after = "2020-01-01T00:00:00.000000Z".into();
    })
    .await;
    check("RD0553", &lab.sovereign, &|d| d.run = Some(Uuid::now_v7())).await;
    check("RD0555", &lab.sovereign, &|d| d.phase = Some("p1".into())).await;
    check("RD0551", &lab.sovereign, &|d| {
        d.origin = "other.example/lab".into();
    })
    .await;
    check("RD0550", &lab.sovereign, &|d| {
        d.purpose = redress::ledger::decision::Purpose::RunResolve;
        d.basis = Some(redress::ledger::decision::Basis {
            seq: 1,
            hash: nowhere(),
        });
    })
    .await;
    let stranger = SigningKey::generate("mallory").expect("randomness");
    check("RD0547", &stranger, &|_| {}).await;
    for phase in ["p1", "p3"] {
        let asked = engine.decision_on_phase(run, phase, "go").await;
        assert_eq!(refused(asked.map(drop)), "RD0425", "{phase}");
    }
    assert_eq!(lab.sql("select count(*) from redress.decision_used"), "0");
    // Once, and for what has not run.
    let envelope = sign(&good, &lab.sovereign).expect("signed");
    let approve = || engine.approve_phase_envelope(run, "p2", envelope.clone());
    approve().await.expect("approved");
    assert_eq!(refused(approve().await.map(drop)), "RD0563");
    worked(&engine).await;
    assert_eq!(lab.sql("select state from redress.run"), "completed");
    assert_eq!(refused(approve().await.map(drop)), "RD0425");
    sound(&engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asked_for_a_run_does_not_approve_its_phases() {
    let lab = Lab::new().await;
    lab.sql(MARKS);
    let engine = lab
        .builder(lab.url())
        .actor(lab.sovereign.name())
        .build()
        .await
        .expect("an engine");
    let run = waiting(&engine, json!({"sovereign": 1})).await;
    let own = engine.approve_phase(run, "p2", &lab.sovereign, "go").await;
    assert_eq!(refused(own.map(drop)), "RD0560");
    worked(&engine).await;
    assert_eq!(lab.sql("select count(*) from shop.mark"), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_signed_ahead_counts_and_fences_nobody_for_good() {
    let (lab, engine) = lab().await;
    let mut phases = guarded(json!({"sovereign": 1}));
    let slow = json!({"sql": "select pg_sleep(0.2)"});
    phases[0]["with"]["apply"]
        .as_array_mut()
        .expect("a list")
        .insert(0, slow);
    let line = saga("line", phases, json!({}));
    engine.register(&line).await.expect("registered");
    let run = open(&engine, &line).await;
    let (stop, stopping) = watch::channel(false);
    let worker = {
        let engine = engine.clone();
        tokio::spawn(async move { engine.worker().run(stopping).await })
    };
    until("the first phase has begun", async || {
        lab.sql("select owner is not null from redress.run") == "t"
    })
    .await;
    engine
        .approve_phase(run, "p2", &lab.sovereign, "go")
        .await
        .expect("approved while somebody drives");
    until("it ends", async || {
        lab.sql("select state from redress.run") == "completed"
    })
    .await;
    stop.send_replace(true);
    worker.await.unwrap().expect("worked");
    assert_eq!(lab.sql("select count(*) from shop.mark"), "2");
    sound(&engine).await;
}

fn gate(name: &str, with: Value) -> Value {
    json!({"name": name, "adapter": "gate", "with": with})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_opens_when_its_time_has_come_and_no_attempt_was_lost() {
    let (lab, engine) = lab().await;
    let when = lab.sql("select to_char((clock_timestamp() + interval '600 ms') at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')");
    let line = saga(
        "line",
        vec![
            gate("wait", json!({"until": "/input/when"})),
            mark("p1", json!({})),
            gate("rest", json!({"after": "300ms"})),
            mark("p2", json!({})),
        ],
        json!({"input": {"type": "object"}}),
    );
    engine.register(&line).await.expect("registered");
    let start = engine.start("line", json!({"when": when}));
    let (started, outcome) = engine.start_and_drive(start).await.expect("driven");
    assert!(matches!(outcome, Outcome::Completed(_)), "{outcome:?}");
    let kinds: Vec<String> = lab.kinds(outcome.run());
    assert!(
        !kinds.iter().any(|kind| kind == "phase.failed"),
        "{kinds:?}"
    );
    // By the database's own clock: not before, and the second one so long after the first.
    let times = format!(
        "select min((convert_from(bytes, 'UTF8')::jsonb ->> 'at')::timestamptz) filter (where phase = 'wait') >= '{when}',
                max((convert_from(bytes, 'UTF8')::jsonb ->> 'at')::timestamptz) filter (where phase = 'rest')
                - max((convert_from(bytes, 'UTF8')::jsonb ->> 'at')::timestamptz) filter (where phase = 'p1')
                >= interval '300 ms'
         from redress.record where run = '{}'",
        started.run
    );
    assert_eq!(lab.sql(&times), "t|t");
    sound(&engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_waits_for_the_world_across_restarts_and_keeps_nobody_busy() {
    let (lab, engine) = lab().await;
    let query = json!({"sql": "select note = 'open' from shop.audit where note = $1 or true", "params": ["/input/word"]});
    let line = saga(
        "line",
        vec![
            gate("wait", json!({"when": [query], "every": "100ms"})),
            mark("p1", json!({})),
        ],
        json!({}),
    );
    engine.register(&line).await.expect("registered");
    let start = engine.start("line", json!({"word": "open"}));
    let run = start.open().await.expect("opened").run;
    let looks = "select xact_commit + xact_rollback from pg_stat_database where datname = current_database()";
    let work = async |during: Duration| {
        let (stop, stopping) = watch::channel(false);
        let worker = {
            let engine = engine.clone();
            tokio::spawn(async move { engine.worker().run(stopping).await })
        };
        tokio::time::sleep(during).await;
        stop.send_replace(true);
        worker.await.unwrap().expect("worked");
    };
    work(Duration::from_millis(400)).await;
    let before: i64 = lab.sql(looks).parse().unwrap();
    work(Duration::from_millis(1_000)).await;
    let after: i64 = lab.sql(looks).parse().unwrap();
    // Ten looks of a few transactions each, the worker's own polling beside it; a busy loop would be thousands.
    assert!(after - before < 600, "{before} to {after}");
    assert_eq!(
        lab.sql("select state, attempts, owner is null from redress.run"),
        "running|0|t"
    );
    lab.sql("insert into shop.audit values ('shut')");
    work(Duration::from_millis(300)).await;
    assert_eq!(lab.sql("select count(*) from shop.mark"), "0");
    lab.sql("update shop.audit set note = 'open'");
    work(Duration::from_millis(600)).await;
    assert_eq!(lab.sql("select count(*) from shop.mark"), "1");
    let opened = engine.show(run).await.expect("shown");
    assert_eq!(opened.state.as_str(), "completed");
    sound(&engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_stays_shut_too_long_fails_and_what_was_done_is_undone() {
    let (lab, engine) = lab().await;
    let query = json!({"sql": "select false"});
    let line = saga(
        "line",
        vec![
            mark("p1", json!({})),
            gate(
                "wait",
                json!({"when": [query], "every": "50ms", "within": "300ms"}),
            ),
        ],
        json!({}),
    );
    let outcome = run(&engine, &line).await;
    let Outcome::Compensated(row) = &outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(code(row), "RD0303");
    assert_eq!(rows(&lab, row), "p1 withdrawn");
    sound(&engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_run_is_cancelled_like_any_other() {
    let (lab, engine) = lab().await;
    let run = waiting(&engine, json!({"sovereign": 1})).await;
    engine
        .cancel(run, "not wanted any more")
        .await
        .expect("cancelled");
    worked(&engine).await;
    assert_eq!(lab.sql("select state from redress.run"), "compensated");
    let late = engine.approve_phase(run, "p2", &lab.sovereign, "go").await;
    assert_eq!(refused(late.map(drop)), "RD0425");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_makes_no_sense_is_refused_with_its_place() {
    let (_lab, engine) = lab().await;
    let check = async |phase: Value, code: &str, path: &str| {
        let line: redress::definition::Definition =
            serde_json::from_value(json!({
                "saga": "line", "version": 1, "description": "", "input": {"type": "object"}, "phases": [phase],
            }))
            .expect("a saga");
        let Err(Error::Definition(findings)) = engine.register(&line).await else {
            panic!("{phase}")
        };
        let found: Vec<_> = findings
            .iter()
            .map(|finding| (finding.code, finding.path.as_str()))
            .collect();
        assert!(
            found.contains(&(code, format!("/phases/0/with{path}").as_str())),
            "{phase}: {found:?}"
        );
    };
    check(gate("wait", json!({})), "RD0110", "").await;
    check(gate("wait", json!({"until": "soon"})), "RD0110", "/until").await;
    check(
        gate("wait", json!({"until": "/plan/digest"})),
        "RD0123",
        "/until",
    )
    .await;
    check(gate("wait", json!({"after": "5"})), "RD0110", "/after").await;
    check(
        gate("wait", json!({"after": "5s", "every": "1s"})),
        "RD0110",
        "/every",
    )
    .await;
    let asks = |sql: &str| gate("wait", json!({"when": [{"sql": sql}]}));
    check(asks("commit"), "RD0307", "/when/0/sql").await;
    check(asks("selec true"), "RD0140", "/when/0/sql").await;
    check(asks("select 1"), "RD0144", "/when/0/sql").await;
    check(asks("select $1::bool"), "RD0141", "/when/0/sql").await;
    check(
        asks("with gone as (delete from shop.audit returning true as b) select b from gone"),
        "RD0145",
        "/when/0/sql",
    )
    .await;
    let mut writes = gate("wait", json!({"after": "5s"}));
    writes["writes"] = json!(["shop.mark"]);
    writes["residue"] = json!(["shop.mark"]);
    check(writes, "RD0145", "").await;
}
