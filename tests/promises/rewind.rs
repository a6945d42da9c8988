//! Back to a phase: it and all after it are undone as one, and it runs next; by hand, or as the file says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use redress::adapter::AdapterError;
use redress::definition::Then;
use redress::view::{RewindFilter, RewindStatus};
use redress::{Engine, Error, Outcome, Rewind, Rewound, RunRow};
use redress_tests::Lab;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::common::*;

/// A lab whose phases keep one row for each time that they ran; `bad` fails while the table says so.
pub(crate) async fn lab() -> Lab {
    let lab = Lab::new().await;
    lab.sql(
        "create table shop.round (run uuid not null, phase text not null, id bigint generated always as identity primary key,
           state text not null default 'live', fails boolean not null default false,
           constraint the_phase_fails check (not fails));
         create table shop.failing (phase text primary key)",
    );
    lab
}

/// A phase that adds a row each time it runs, and withdraws the live one on the way back.
pub(crate) fn step(name: &str, fields: Value) -> Value {
    let mut phase = json!({
        "name": name, "adapter": "sql", "writes": ["shop.round"], "compensation": "soft_revert",
        "residue": ["shop.round"], "retry": {"attempts": 1, "backoff": "10ms", "max": "20ms"}, "timeout": "10s",
        "with": {
            "apply": [{"sql": format!("insert into shop.round (run, phase, fails) values ($1, '{name}', exists (select from shop.failing where phase = '{name}'))"),
                       "params": ["/run/id"], "rows": 1}],
            "guard": [{"sql": format!("select state = 'live' from shop.round where run = $1 and phase = '{name}' and state <> 'withdrawn' for update"),
                       "params": ["/run/id"], "rows": 1}],
            "revert": [{"sql": format!("update shop.round set state = 'withdrawn' where run = $1 and phase = '{name}' and state = 'live'"),
                        "params": ["/run/id"], "rows": 1}],
        },
    });
    merge(&mut phase, fields);
    phase
}

fn steps(n: usize) -> Vec<Value> {
    (1..=n).map(|i| step(&format!("p{i}"), json!({}))).collect()
}

fn to(phase: &str) -> Rewind {
    Rewind {
        to: phase.parse().expect("a name"),
        from: None,
        then: Then::Stop,
        reason: "the test says so".to_owned(),
    }
}

/// How often each phase stands, and how often it was withdrawn.
fn rounds(lab: &Lab, run: Uuid) -> String {
    let sql = format!(
        "select phase || ' ' || count(*) filter (where state = 'live') || '/' || count(*) filter (where state = 'withdrawn')
         from shop.round where run = '{run}' group by phase order by phase"
    );
    lab.sql(&sql).replace('\n', ", ")
}

#[track_caller]
fn rewound(result: Result<Rewound, Error>) -> RunRow {
    match result {
        Ok(Rewound::Done { row, .. }) => row,
        other => panic!("{other:?}"),
    }
}

async fn completed(engine: &Engine, name: &str, n: usize, fields: Value) -> RunRow {
    let outcome = run(engine, &saga(name, steps(n), fields)).await;
    let Outcome::Completed(row) = outcome else {
        panic!("{outcome:?}")
    };
    row
}

/// systems.md 2.6: a completed run goes back and becomes active; it ends again after a second round.
#[tokio::test(flavor = "multi_thread")]
async fn a_rewind_undoes_its_target_and_all_after_it_and_the_run_goes_forward_from_there() {
    let lab = lab().await;
    let engine = lab.engine().await;
    let row = completed(&engine, "line", 4, json!({})).await;
    let before = lab.sql("select count(*) from redress.record");
    let planned = engine
        .plan_rewind(row.id, &to("p2"))
        .await
        .expect("planned");
    let planned = planned.expect("something to do");
    let names: Vec<&str> = planned
        .plan
        .actions
        .iter()
        .map(|a| a.phase.as_str())
        .collect();
    assert_eq!(names, ["p4", "p3", "p2"], "the list is never short");
    assert_eq!(
        lab.sql("select count(*) from redress.record"),
        before,
        "a plan that is only shown changes nothing"
    );

    let row = rewound(engine.rewind(row.id, &to("p2")).await);
    assert_eq!(
        (
            row.state.as_str(),
            row.phase.as_deref(),
            row.ended_at.as_deref()
        ),
        ("failed", None, None)
    );
    assert_eq!(rounds(&lab, row.id), "p1 1/0, p2 0/1, p3 0/1, p4 0/1");
    let transactions = format!(
        "select count(distinct xid) from redress.record where run = '{}' and kind in ('plan.started', 'compensation.committed', 'plan.finished')",
        row.id
    );
    assert_eq!(lab.sql(&transactions), "1");
    let finished = body(&lab, row.id, "plan.finished");
    assert_eq!(finished["rewind"]["trigger"], "manual");
    assert_eq!(finished["rewind"]["from"], "p4");
    let view = engine.show(row.id).await.expect("shown");
    let next = view.next.expect("a person resumes it");
    assert!(next.command.starts_with("redress resume"), "{next:?}");
    assert!(
        engine
            .status()
            .await
            .unwrap()
            .iter()
            .any(|one| one.run == Some(row.id))
    );
    sound(&engine).await;

    engine.resume(row.id).await.expect("resumed");
    let outcome = engine.drive(row.id).await.expect("driven");
    assert!(matches!(outcome, Outcome::Completed(_)), "{outcome:?}");
    assert_eq!(rounds(&lab, row.id), "p1 1/0, p2 1/1, p3 1/1, p4 1/1");
    assert_eq!(
        phases(&lab, &row, "phase.committed"),
        ["p1", "p2", "p3", "p4", "p2", "p3", "p4"]
    );
    sound(&engine).await;

    // The second round is reverted as the first would have been.
    let plan = engine
        .plan(row.id, BTreeMap::new(), "undo")
        .await
        .expect("planned");
    let outcome = engine.apply(&plan).await.expect("applied");
    assert!(matches!(outcome, Outcome::Compensated(_)), "{outcome:?}");
    assert_eq!(rounds(&lab, row.id), "p1 0/1, p2 0/2, p3 0/2, p4 0/2");
    sound(&engine).await;
}

/// A completed run is reverted while its guards allow it, and not when one says no.
#[tokio::test(flavor = "multi_thread")]
async fn a_completed_run_is_reverted_while_every_guard_allows_it() {
    let lab = lab().await;
    let engine = lab.engine().await;
    let snapshot = json!([{"name": "live", "sql": "select count(*) from shop.round where state = 'live' and run = $1", "params": ["/run/id"], "baseline": true}]);
    let fields = json!({"snapshot": snapshot, "exclusive": true});
    let free = completed(&engine, "free", 3, fields.clone()).await;
    let bound = completed(&engine, "bound", 3, fields).await;
    lab.sql(&format!(
        "update shop.round set state = 'shipped' where run = '{}' and phase = 'p1'",
        bound.id
    ));
    for (row, code) in [(&free, ""), (&bound, "RD0421")] {
        let plan = engine
            .plan(row.id, BTreeMap::new(), "undo")
            .await
            .expect("planned");
        assert!(plan.plan.quorum.is_empty() && !plan.plan.automatic);
        match engine.apply(&plan).await {
            Ok(outcome) => assert!(matches!(outcome, Outcome::Compensated(_)) && code.is_empty()),
            Err(error) => assert_eq!(error.code(), code),
        }
    }
    assert_eq!(rounds(&lab, free.id), "p1 0/1, p2 0/1, p3 0/1");
    assert_eq!(rounds(&lab, bound.id), "p1 0/0, p2 1/0, p3 1/0");
    let state = engine.show(bound.id).await.unwrap().state;
    assert_eq!(state.as_str(), "completed");
    sound(&engine).await;
}

/// A run that goes forward is stopped and rewound in one transaction; its worker's epoch is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_goes_forward_is_stopped_and_rewound_in_one_transaction() {
    let lab = lab().await;
    let gone = Arc::new(AtomicU32::new(0));
    let calls = Arc::clone(&gone);
    let adapter = Act::new("act", move |_, _| {
        let calls = Arc::clone(&calls);
        Box::pin(async move {
            calls.fetch_add(1, Ordering::SeqCst);
            Err(AdapterError::Transient("not yet".into()))
        })
    });
    let engine = lab.engine_with(adapter.done()).await;
    let mut all = steps(3);
    all.push(act(
        "wait",
        "act",
        json!({"retry": {"attempts": 1000, "backoff": "50ms", "max": "50ms"}}),
    ));
    let line = saga("line", all, json!({}));
    for (then, state) in [(Then::Stop, "failed"), (Then::Resume, "running")] {
        let id = open(&engine, &line).await;
        let driven = {
            let engine = engine.clone();
            tokio::spawn(async move { engine.drive(id).await })
        };
        until("the last phase is reached", async || {
            rounds(&lab, id) == "p1 1/0, p2 1/0, p3 1/0"
        })
        .await;
        let stale = Rewind {
            from: Some("p3".parse().unwrap()),
            ..to("p2")
        };
        assert_eq!(refused(engine.rewind(id, &stale).await), "RD0420");
        driven.abort();
        let _ = driven.await;
        let asked = Rewind {
            from: Some("wait".parse().unwrap()),
            then,
            ..to("p2")
        };
        let row = rewound(engine.rewind(id, &asked).await);
        assert_eq!(row.state.as_str(), state);
        assert_eq!(rounds(&lab, id), "p1 1/0, p2 0/1, p3 0/1");
        let transactions = format!(
            "select count(distinct xid) from redress.record where run = '{id}' and kind in
             ('run.cancelled', 'plan.made', 'plan.started', 'compensation.committed', 'plan.finished')"
        );
        assert_eq!(lab.sql(&transactions), "1");
        let check = engine.check().await.expect("checked");
        assert!(check.ok, "{:?}", check.findings);
        // Twice changes nothing.
        let before = lab.sql("select count(*) from redress.record");
        let again = engine.rewind(id, &asked).await.expect("nothing to do");
        assert!(matches!(again, Rewound::Nothing(_)), "{again:?}");
        assert_eq!(lab.sql("select count(*) from redress.record"), before);
    }
    assert!(gone.load(Ordering::SeqCst) > 0);
    sound(&engine).await;
}

/// systems.md 2.2, 2.6, 4.4: what cannot be rewound is refused with phase and count, and nothing moves.
#[tokio::test(flavor = "multi_thread")]
async fn a_rewind_goes_strictly_behind_and_only_as_often_as_the_saga_allows() {
    let lab = lab().await;
    let engine = lab.engine().await;
    let row = completed(&engine, "line", 3, json!({"max_rewinds": 1})).await;
    let check = async |asked: &Rewind, code: &str, part: &str| {
        let before = lab.sql("select state, phase, basis from redress.run");
        let error = engine.rewind(row.id, asked).await.expect_err(part);
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().contains(part), "{error}");
        assert_eq!(
            lab.sql("select state, phase, basis from redress.run"),
            before
        );
    };
    check(&to("nobody"), "RD0423", "no such phase").await;
    let stale = Rewind {
        from: Some("p1".parse().unwrap()),
        ..to("p2")
    };
    check(&stale, "RD0420", "stale").await;
    rewound(engine.rewind(row.id, &to("p2")).await);
    check(
        &to("p3"),
        "RD0423",
        "strictly behind the current phase, which is p2",
    )
    .await;
    engine.resume(row.id).await.expect("resumed");
    assert!(matches!(
        engine.drive(row.id).await,
        Ok(Outcome::Completed(_))
    ));
    check(
        &to("p2"),
        "RD0423",
        "rewound to p2 1 times; the saga allows 1",
    )
    .await;
    // What was refused is a record, once.
    let refusals = lab.sql("select count(*) from redress.record where kind = 'plan.refused'");
    let again = engine.rewind(row.id, &to("p2")).await.expect_err("used up");
    assert_eq!(again.code(), "RD0423");
    assert_eq!(
        lab.sql("select count(*) from redress.record where kind = 'plan.refused'"),
        refusals
    );

    // A run that has ended as compensated or resolved does not go back.
    let plan = engine
        .plan(row.id, BTreeMap::new(), "undo")
        .await
        .expect("planned");
    engine.apply(&plan).await.expect("applied");
    check(&to("p1"), "RD0425", "compensated").await;
    lab.sql("insert into shop.failing values ('p3')");
    let mut held = saga("held", steps(3), json!({}));
    held.phases[2].on_failure = redress::definition::OnFailure::Hold;
    let Outcome::Held(row) = run(&engine, &held).await else {
        panic!()
    };
    engine
        .resolve(row.id, &lab.sovereign, "enough")
        .await
        .expect("resolved");
    assert_eq!(refused(engine.rewind(row.id, &to("p1")).await), "RD0425");
    sound(&engine).await;
}

/// A rewind whose actions need signatures waits for them, and then is carried out as it was signed.
#[tokio::test(flavor = "multi_thread")]
async fn a_rewind_that_must_be_signed_waits_for_the_signatures() {
    let lab = lab().await;
    let engine = lab.engine().await;
    let fields = json!({"authority": {"soft_revert": {"sovereign": 1}, "rewind": {"reviewer": 1}}});
    let row = completed(&engine, "line", 3, fields).await;
    let error = engine
        .rewind(row.id, &to("p2"))
        .await
        .expect_err("unsigned");
    assert_eq!(error.code(), "RD0560", "{error}");
    let plan = engine.find_plan(&row.id.to_string()).await.expect("stored");
    assert_eq!(plan.plan.quorum.len(), 2);
    engine
        .approve(&plan, &lab.sovereign, "so be it")
        .await
        .expect("signed");
    assert_eq!(
        engine
            .rewind(row.id, &to("p2"))
            .await
            .expect_err("one is missing")
            .code(),
        "RD0560"
    );
    engine
        .approve(&plan, &lab.reviewer, "so be it")
        .await
        .expect("signed");
    let listed = engine
        .rewinds(&RewindFilter::default())
        .await
        .expect("listed");
    assert_eq!((listed.len(), listed[0].status), (1, RewindStatus::Pending));
    rewound(engine.rewind(row.id, &to("p2")).await);
    assert_eq!(rounds(&lab, row.id), "p1 1/0, p2 0/1, p3 0/1");
    sound(&engine).await;
}

/// systems.md 4.1, 4.3, 4.4, 4.5: the file's own rewind, once and no more; each is listed with what became of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_declared_rewind_runs_by_itself_stops_or_goes_on_and_is_used_up() {
    let lab = lab().await;
    let engine = lab.engine().await;
    let of = |name: &str, then: &str| {
        let mut all = steps(3);
        all.push(step(
            "bad",
            json!({"on_failure": {"rewind_to": "p2", "then": then}}),
        ));
        saga(
            name,
            all,
            json!({"max_rewinds": 2, "on_unrecovered": {"hold": "run"}}),
        )
    };
    lab.sql("insert into shop.failing values ('bad')");

    let outcome = run(&engine, &of("stops", "stop")).await;
    let Outcome::Held(row) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(row.state.as_str(), "failed");
    assert_eq!(rounds(&lab, row.id), "p1 1/0, p2 0/1, p3 0/1");
    assert!(
        engine.holds().await.unwrap().is_empty(),
        "the failure is recovered"
    );
    let finished = body(&lab, row.id, "plan.finished");
    assert_eq!(finished["rewind"]["trigger"], "automatic");
    lab.sql("delete from shop.failing");
    engine.resume(row.id).await.expect("resumed");
    assert!(matches!(
        engine.drive(row.id).await,
        Ok(Outcome::Completed(_))
    ));

    lab.sql("insert into shop.failing values ('bad')");
    let outcome = run(&engine, &of("loops", "resume")).await;
    let Outcome::Held(row) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(rounds(&lab, row.id), "p1 1/0, p2 1/2, p3 1/2");
    let holds = engine.holds().await.unwrap();
    let reason = &holds[0].reason;
    assert!(
        reason.contains("rewound to p2 2 times; the saga allows 2"),
        "{reason}"
    );
    // What a person is offered is the whole way back.
    let view = engine.show(row.id).await.unwrap();
    let plan = view.plan.expect("a plan");
    let names: Vec<&str> = plan.actions.iter().map(|a| a.phase.as_str()).collect();
    assert_eq!(names, ["p3", "p2", "p1"]);
    sound(&engine).await;

    let list = async |filter: RewindFilter| engine.rewinds(&filter).await.expect("listed");
    let all = list(RewindFilter {
        run: Some(row.id),
        ..Default::default()
    })
    .await;
    let states: Vec<&str> = all.iter().map(|one| one.status.as_str()).collect();
    assert_eq!(states, ["failed", "succeeded", "succeeded"]);
    assert_eq!(all[0].error.as_ref().expect("why").code, "RD0405");
    assert!(all[1].started_at.is_some() && all[1].ended_at.is_some() && all[1].error.is_none());
    let failed = list(RewindFilter {
        status: Some(RewindStatus::Failed),
        ..Default::default()
    })
    .await;
    assert_eq!(failed.len(), 1);
    let target = list(RewindFilter {
        to: Some("p1".parse().unwrap()),
        ..Default::default()
    })
    .await;
    assert!(target.is_empty());
    let later = list(RewindFilter {
        since: Some("2999-01-01".into()),
        ..Default::default()
    })
    .await;
    assert!(later.is_empty());
    assert_eq!(list(RewindFilter::default()).await.len(), 4);
}

/// A phase that was allowed to fail runs again when the run goes back behind it, and stays passed over when not.
#[tokio::test(flavor = "multi_thread")]
async fn a_phase_that_was_passed_over_runs_again_when_the_run_goes_back_behind_it() {
    let lab = lab().await;
    let engine = lab.engine().await;
    let all = vec![
        step("p1", json!({})),
        step("may", json!({"on_failure": "continue"})),
        step("p2", json!({})),
        step("p3", json!({})),
    ];
    lab.sql("insert into shop.failing values ('may')");
    let line = saga("line", all, json!({"max_rewinds": 3}));
    for (target, expected) in [
        ("p3", "p1 1/0, p2 1/0, p3 1/1"),
        ("p1", "may 1/0, p1 1/1, p2 1/1, p3 1/1"),
    ] {
        lab.sql("insert into shop.failing values ('may') on conflict do nothing");
        let Outcome::Completed(row) = run(&engine, &line).await else {
            panic!()
        };
        assert_eq!(rounds(&lab, row.id), "p1 1/0, p2 1/0, p3 1/0");
        lab.sql("delete from shop.failing");
        rewound(engine.rewind(row.id, &to(target)).await);
        engine.resume(row.id).await.expect("resumed");
        assert!(matches!(
            engine.drive(row.id).await,
            Ok(Outcome::Completed(_))
        ));
        assert_eq!(rounds(&lab, row.id), expected);
    }
    sound(&engine).await;
}

/// A completed run that would become active again finds its subject taken: nothing moves.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_not_reopened_beside_another_active_one_on_its_subject() {
    let lab = lab().await;
    let engine = lab
        .engine_with(
            Act::new("act", |_, _| Box::pin(async { Ok(Default::default()) }))
                .outside()
                .done(),
        )
        .await;
    for outside in [false, true] {
        let mut all = steps(3);
        if outside {
            all.push(act("far", "act", json!({})));
        }
        let line = saga(
            &format!("line-{outside}"),
            all,
            json!({"exclusive": true, "subject": "/input/on",
            "input": {"type": "object", "required": ["on"], "properties": {"on": {"type": "string"}}}}),
        );
        engine.register(&line).await.expect("registered");
        let start = || engine.start(line.saga.as_str(), json!({"on": format!("desk-{outside}")}));
        let (first, outcome) = engine.start_and_drive(start()).await.expect("driven");
        assert!(matches!(outcome, Outcome::Completed(_)), "{outcome:?}");
        let second = start().open().await.expect("opened").run;
        assert_eq!(refused(engine.rewind(first.run, &to("p2")).await), "RD0212");
        assert_eq!(
            engine.show(first.run).await.unwrap().state.as_str(),
            "completed"
        );
        assert_eq!(rounds(&lab, first.run), "p1 1/0, p2 1/0, p3 1/0");
        assert!(matches!(
            engine.drive(second).await,
            Ok(Outcome::Completed(_))
        ));
        rewound(engine.rewind(first.run, &to("p2")).await);
    }
    sound(&engine).await;
}

/// systems.md 2.4: a stepwise rewind that was left half done is finished, without moving the phase again; twice
/// changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_rewind_that_was_left_half_done_is_finished_by_repair() {
    let lab = lab().await;
    let broken = Arc::new(AtomicU32::new(0));
    let times = Arc::clone(&broken);
    let adapter = Act::new("act", |_, _| Box::pin(async { Ok(Default::default()) }))
        .outside()
        .reverts(move |_, call| {
            let times = Arc::clone(&times);
            Box::pin(async move {
                if call.phase.name.as_str() == "a2" {
                    match times.fetch_add(1, Ordering::SeqCst) {
                        0 => std::future::pending::<()>().await,
                        1 => return Err(AdapterError::Business("the carrier has it".into())),
                        _ => {}
                    }
                }
                Ok(())
            })
        });
    let engine = lab.engine_with(adapter.done()).await;
    let all = vec![
        step("p1", json!({})),
        act("a1", "act", json!({})),
        act("a2", "act", json!({})),
        step("p2", json!({})),
    ];
    let line = saga("line", all, json!({}));
    let Outcome::Completed(row) = run(&engine, &line).await else {
        panic!()
    };
    let nothing = engine
        .repair_rewind(row.id, "nothing is half done")
        .await
        .expect("told");
    assert!(matches!(nothing, Rewound::Nothing(_)), "{nothing:?}");
    let begun = {
        let engine = engine.clone();
        tokio::spawn(async move { engine.rewind(row.id, &to("a1")).await })
    };
    until("one of three is undone", async || {
        broken.load(Ordering::SeqCst) > 0
    })
    .await;
    begun.abort();
    let _ = begun.await;
    lab.sql("select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and state = 'idle in transaction'");
    assert_eq!(rounds(&lab, row.id), "p1 1/0, p2 0/1");
    assert_eq!(
        engine.show(row.id).await.unwrap().state.as_str(),
        "compensating"
    );
    assert_eq!(refused(engine.rewind(row.id, &to("a1")).await), "RD0425");
    // It goes on, and gets stuck this time; then it is finished.
    assert_eq!(
        refused(engine.repair_rewind(row.id, "on with it").await),
        "RD0424"
    );
    let row = rewound(engine.repair_rewind(row.id, "on with it").await);
    assert_eq!(row.state.as_str(), "failed");
    assert_eq!(
        phases(&lab, &row, "compensation.committed"),
        ["p2", "a2", "a1"]
    );
    let before = lab.sql("select count(*) from redress.record");
    let again = engine
        .repair_rewind(row.id, "on with it")
        .await
        .expect("told");
    assert!(matches!(again, Rewound::Nothing(_)), "{again:?}");
    assert_eq!(lab.sql("select count(*) from redress.record"), before);
    let listed = engine.rewinds(&RewindFilter::default()).await.unwrap();
    let states: Vec<&str> = listed.iter().map(|one| one.status.as_str()).collect();
    assert_eq!(states, ["succeeded", "failed"]);
    sound(&engine).await;
}

/// A run that cannot be rewound while it goes forward: a guard leaves it going, a broken way back leaves it stuck.
#[tokio::test(flavor = "multi_thread")]
async fn a_rewind_of_a_running_run_that_fails_leaves_nothing_half_done() {
    let lab = lab().await;
    let engine = lab.engine().await;
    let mut all = steps(3);
    all[1]["with"]["revert"] = json!([{"sql": "update shop.round set state = 'withdrawn' where run = $1 and phase = 'nobody'", "params": ["/run/id"], "rows": 1}]);
    let line = saga("line", all, json!({}));
    engine.register(&line).await.expect("registered");
    // p1 and p2 stand, p3 runs next: a hold stops the driver there.
    lab.sql("insert into shop.failing values ('p3')");
    let mut wait = line.clone();
    wait.version = 2;
    wait.phases[2].on_failure = redress::definition::OnFailure::Hold;
    let Outcome::Held(row) = run(&engine, &wait).await else {
        panic!()
    };
    engine.resume(row.id).await.expect("resumed");
    lab.sql(&format!(
        "update redress.hold set released_at = now(), released_by = 'test' where run = '{}'",
        row.id
    ));
    lab.sql(&format!(
        "update shop.round set state = 'shipped' where run = '{}' and phase = 'p2'",
        row.id
    ));
    assert_eq!(refused(engine.rewind(row.id, &to("p1")).await), "RD0421");
    assert_eq!(engine.show(row.id).await.unwrap().state.as_str(), "running");
    lab.sql(&format!(
        "update shop.round set state = 'live' where run = '{}' and phase = 'p2'",
        row.id
    ));
    assert_eq!(refused(engine.rewind(row.id, &to("p1")).await), "RD0424");
    assert_eq!(engine.show(row.id).await.unwrap().state.as_str(), "stuck");
    assert_eq!(rounds(&lab, row.id), "p1 1/0, p2 1/0");
}
