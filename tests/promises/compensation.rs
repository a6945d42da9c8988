//! The way back: in reverse order, all of it or what the report says, and never over what has changed since.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use redress::adapter::{AdapterError, Applied};
use redress::definition::Definition;
use redress::plan::Action;
use redress::{Engine, Error, Outcome, StoredPlan};
use redress_tests::Lab;
use serde_json::{Value, json};
use tokio::sync::watch;
use uuid::Uuid;

use crate::common::*;

/// A lab where a phase named `bad` fails by a constraint.
async fn lab() -> Lab {
    let lab = Lab::new().await;
    lab.sql(MARKS);
    lab.sql("alter table shop.mark add constraint bad_fails check (phase <> 'bad')");
    lab
}

/// Phases `p1` … with the one at `at` (from 1) named `bad`.
fn failing(n: usize, at: usize) -> Vec<Value> {
    let name = |i: usize| {
        if i == at {
            "bad".to_owned()
        } else {
            format!("p{i}")
        }
    };
    (1..=n).map(|i| mark(&name(i), json!({}))).collect()
}

async fn planned(engine: &Engine, run: Uuid) -> StoredPlan {
    engine
        .plan(run, BTreeMap::new(), "undo")
        .await
        .expect("planned")
}

fn name(text: &str) -> redress::name::Name {
    text.parse().expect("a name")
}

/// F68: fail at each phase in turn, all inside the database and one of them not.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_phase_fails_those_before_it_are_undone_in_reverse_and_nothing_else() {
    let lab = lab().await;
    let engine = lab.engine_with(Act::marking("act").outside().done()).await;
    let Outcome::Completed(bystander) = run(&engine, &saga("other", marks(5), json!({}))).await
    else {
        panic!()
    };
    for stepwise in [false, true] {
        for at in 1..=5 {
            let mut all = failing(5, at);
            if stepwise {
                for phase in &mut all {
                    merge(phase, json!({"adapter": "act", "with": {}}));
                }
            }
            let line = saga(&format!("line-{stepwise}-{at}"), all, json!({}));
            let outcome = run(&engine, &line).await;
            let Outcome::Compensated(row) = outcome else {
                panic!("{stepwise} {at}: {outcome:?}")
            };
            let forward: Vec<String> = (1..at).map(|i| format!("p{i}")).collect();
            let backward: Vec<String> = forward.iter().rev().cloned().collect();
            assert_eq!(phases(&lab, &row, "phase.committed"), forward);
            assert_eq!(phases(&lab, &row, "compensation.committed"), backward);
            let expected: Vec<String> = forward.iter().map(|p| format!("{p} withdrawn")).collect();
            assert_eq!(rows(&lab, &row), expected.join(", "));
            let text = format!(
                "select count(distinct xid) from redress.record where run = '{}' and kind = 'compensation.committed'",
                row.id
            );
            let transactions = match (stepwise, at) {
                (_, 1) => 0,
                (true, at) => at - 1,
                (false, _) => 1,
            };
            assert_eq!(lab.sql(&text), transactions.to_string());
            // Nobody needs to act: no hold stands.
            assert!(engine.holds().await.unwrap().is_empty());
        }
    }
    assert_eq!(
        rows(&lab, &bystander),
        "p1 live, p2 live, p3 live, p4 live, p5 live"
    );
    sound(&engine).await;
}

/// F69: the way back is interrupted at each of its steps, and goes on where it was.
#[tokio::test(flavor = "multi_thread")]
async fn a_stepwise_way_back_goes_on_where_it_was_interrupted() {
    let lab = lab().await;
    for at in 1..=4 {
        // The revert of this phase is where the driver is lost.
        let gone = Arc::new(AtomicU32::new(0));
        let counts = Arc::new(AtomicU32::new(0));
        let (lost, count) = (Arc::clone(&gone), Arc::clone(&counts));
        let adapter = Act::marking("act").outside().reverts(move |tx, call| {
            let (lost, count) = (Arc::clone(&lost), Arc::clone(&count));
            Box::pin(async move {
                if call.phase.name.as_str() == format!("p{at}")
                    && lost.fetch_add(1, Ordering::SeqCst) == 0
                {
                    withdraw_mark(tx, call).await?;
                    std::future::pending::<()>().await;
                }
                count.fetch_add(1, Ordering::SeqCst);
                withdraw_mark(tx, call).await
            })
        });
        let engine = lab.engine_with(adapter.done()).await;
        let mut all: Vec<Value> = (1..=4)
            .map(|i| act(&format!("p{i}"), "act", json!({})))
            .collect();
        all.push(mark("bad", json!({})));
        let line = saga(&format!("line-{at}"), all, json!({}));
        let id = open(&engine, &line).await;
        let driven = {
            let engine = engine.clone();
            tokio::spawn(async move { engine.drive(id).await })
        };
        until("the revert is reached", async || {
            gone.load(Ordering::SeqCst) > 0
        })
        .await;
        let standing = lab.sql(&format!(
            "select count(*) from shop.mark where run = '{id}' and state = 'live'"
        ));
        assert_eq!(standing, at.to_string());
        driven.abort();
        let _ = driven.await;
        // Its session ends as that of a killed worker does.
        lab.sql("select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and state = 'idle in transaction'");
        lab.sql(&format!(
            "update redress.run set owner = null where id = '{id}'"
        ));
        let outcome = within(LIMIT, "the way back ends", engine.drive(id))
            .await
            .expect("driven");
        let Outcome::Compensated(row) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(
            phases(&lab, &row, "compensation.committed"),
            ["p4", "p3", "p2", "p1"]
        );
        assert_eq!(
            rows(&lab, &row),
            "p1 withdrawn, p2 withdrawn, p3 withdrawn, p4 withdrawn"
        );
        assert_eq!(
            counts.load(Ordering::SeqCst),
            4,
            "each revert has counted once"
        );
        sound(&engine).await;
    }
}

/// F70, F74: what is undone is undone once, and is the end of the run.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_undone_is_not_undone_again() {
    let lab = lab().await;
    let engine = lab.engine().await;
    let line = saga("line", marks(3), json!({}));
    let Outcome::Completed(row) = run(&engine, &line).await else {
        panic!()
    };
    let plan = planned(&engine, row.id).await;
    assert!(matches!(
        engine.apply(&plan).await,
        Ok(Outcome::Compensated(_))
    ));
    let marks = "select string_agg(state, ',') from shop.mark";
    let kinds =
        "select count(*) filter (where kind = 'plan.refused'), count(*) from redress.record";
    let before = lab.sql(marks);
    let first = lab
        .sql("select count(*) from redress.record")
        .parse::<u32>()
        .expect("a number");
    for _ in 0..2 {
        assert_eq!(refused(engine.apply(&plan).await), "RD0420");
        assert_eq!(
            refused(engine.plan(row.id, BTreeMap::new(), "again").await),
            "RD0425"
        );
        assert_eq!(refused(engine.cancel(row.id, "x").await), "RD0425");
        assert_eq!(refused(engine.resume(row.id).await), "RD0425");
        assert_eq!(
            refused(engine.resolve(row.id, &lab.sovereign, "x").await),
            "RD0425"
        );
        assert!(matches!(
            engine.drive(row.id).await,
            Ok(Outcome::Compensated(_))
        ));
    }
    assert_eq!(lab.sql(marks), before);
    // The refusal is a record, once, and the closed run is sealed again behind it.
    assert_eq!(lab.sql(kinds), format!("1|{}", first + 2));
    sound(&engine).await;
}

/// F71
#[tokio::test(flavor = "multi_thread")]
async fn a_compensation_that_meets_something_passing_is_tried_again() {
    let lab = lab().await;
    for attempts in [1, 2] {
        let mut says = MockSays::new();
        let mut order = mockall::Sequence::new();
        says.expect_apply().returning(|_| Ok(()));
        says.expect_guard().returning(|_| Ok(()));
        says.expect_revert()
            .times(attempts)
            .in_sequence(&mut order)
            .returning(|_| Err(AdapterError::Transient("busy".into())));
        says.expect_revert()
            .times(1)
            .in_sequence(&mut order)
            .returning(|_| Ok(()));
        let engine = lab.engine_with(Told::by("act", says)).await;
        let line = saga(
            &format!("line-{attempts}"),
            vec![
                mark("p1", json!({})),
                act("p2", "act", json!({})),
                mark("bad", json!({})),
            ],
            json!({}),
        );
        let outcome = run(&engine, &line).await;
        let Outcome::Compensated(row) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(rows(&lab, &row), "p1 withdrawn, p2 withdrawn");
    }
}

/// F72, F73: what cannot be undone is stuck and held, somebody hears of it, and it is never called compensated.
#[tokio::test(flavor = "multi_thread")]
async fn a_compensation_that_cannot_finish_is_stuck_and_says_what_stands() {
    for (outside, standing, left) in [
        (false, "p1, p2, p3", "p1 live, p2 live, p3 live"),
        (true, "p1, p2", "p1 live, p2 live, p3 withdrawn"),
    ] {
        let lab = lab().await;
        let broken = Arc::new(AtomicU32::new(1));
        let broke = Arc::clone(&broken);
        let mut adapter = Act::marking("act").reverts(move |tx, call| {
            let broke = Arc::clone(&broke);
            Box::pin(async move {
                withdraw_mark(tx, call).await?;
                match broke.load(Ordering::SeqCst) {
                    0 => Ok(()),
                    _ => Err(AdapterError::Business("the carrier has it".into())),
                }
            })
        });
        if outside {
            adapter = adapter.outside();
        }
        let mut sink = MockSink::new();
        sink.expect_deliver()
            .times(1)
            .withf(|alert| {
                alert["reason"]
                    .as_str()
                    .unwrap()
                    .contains("the carrier has it")
                    && alert["run"].is_string()
            })
            .returning(|_| Ok(()));
        let engine = lab
            .builder(lab.url())
            .adapter(adapter.done())
            .alert(Arc::new(sink))
            .build()
            .await
            .expect("an engine");
        let line = saga(
            "line",
            vec![
                mark("p1", json!({})),
                act("p2", "act", json!({})),
                mark("p3", json!({})),
                mark("bad", json!({})),
            ],
            json!({}),
        );
        let outcome = run(&engine, &line).await;
        let Outcome::Stuck(row) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(rows(&lab, &row), left);
        assert!(row.ended_at.is_none());
        let failed = body(&lab, row.id, "compensation.failed");
        let said: Vec<&str> = failed["standing"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_str)
            .collect();
        assert_eq!(said.join(", "), standing, "{failed}");
        assert_eq!(failed["code"], "RD0303");
        let holds = engine.holds().await.unwrap();
        assert_eq!((holds.len(), holds[0].run), (1, Some(row.id)));
        assert!(
            lab.path("hold")
                .join(format!("{}.json", holds[0].id))
                .exists()
        );
        assert!(lab.path("alerts.jsonl").exists());
        // Nothing happens by itself.
        let (_stop, stop) = watch::channel(false);
        within(LIMIT, "idle", engine.worker().until_idle().run(stop))
            .await
            .expect("idle");
        assert!(matches!(engine.drive(row.id).await, Ok(Outcome::Stuck(_))));
        // Tried again by hand while it is still broken: stuck again, with its name and the rest.
        let plan = planned(&engine, row.id).await;
        let left: Vec<&str> = plan.plan.actions.iter().map(|a| a.phase.as_str()).collect();
        assert_eq!(
            left.iter().rev().copied().collect::<Vec<_>>().join(", "),
            standing
        );
        // (the alert of this second failure is not awaited by the mock)
        broken.store(0, Ordering::SeqCst);
        let applied = engine.apply(&plan).await.expect("applied");
        assert!(matches!(applied, Outcome::Compensated(_)), "{applied:?}");
        assert_eq!(rows(&lab, &row), "p1 withdrawn, p2 withdrawn, p3 withdrawn");
        let undone = phases(&lab, &row, "compensation.committed");
        assert_eq!(undone, ["p3", "p2", "p1"], "each once");
        sound(&engine).await;
    }
}

/// F72: stuck again is said again.
#[tokio::test(flavor = "multi_thread")]
async fn an_approved_plan_that_cannot_finish_says_stuck_with_its_code() {
    let lab = lab().await;
    let mut says = MockSays::new();
    says.expect_apply().returning(|_| Ok(()));
    says.expect_guard().returning(|_| Ok(()));
    says.expect_revert()
        .returning(|_| Err(AdapterError::Hold("look".into())));
    let engine = lab.engine_with(Told::by("act", says)).await;
    let line = saga(
        "line",
        vec![mark("p1", json!({})), act("p2", "act", json!({}))],
        json!({}),
    );
    let Outcome::Completed(row) = run(&engine, &line).await else {
        panic!()
    };
    let plan = planned(&engine, row.id).await;
    let Err(error) = engine.apply(&plan).await else {
        panic!()
    };
    assert_eq!(error.code(), "RD0424");
    let Error::Stuck { standing, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(standing, "p1, p2");
    let row = engine.drive(row.id).await.expect("looked at").run().clone();
    assert_eq!(
        (row.state.as_str(), rows(&lab, &row).as_str()),
        ("stuck", "p1 live, p2 live")
    );
    // The plan that failed is stale; a new one is another plan.
    assert_eq!(refused(engine.apply(&plan).await), "RD0420");
    assert_ne!(planned(&engine, row.id).await.digest, plan.digest);
    sound(&engine).await;
}

/// F17 on the way back; and a revert that does not end, or writes what it may not.
#[tokio::test(flavor = "multi_thread")]
async fn a_revert_that_misbehaves_is_stuck_and_leaves_nothing() {
    // In one transaction, and step by step: where one lies outside the database, each step is judged for itself.
    let hows = [
        ("panic", "RD0316"),
        ("sleep", "RD0305"),
        ("write", "RD0302"),
        ("commit", "RD0307"),
        ("hide", "RD0309"),
    ];
    let both = hows.iter().flat_map(|how| [(how, false), (how, true)]);
    for ((how, named), outside) in both {
        let (how, named) = (*how, *named);
        let lab = lab().await;
        let adapter = Act::marking("act").reverts(move |tx, call| {
            Box::pin(async move {
                withdraw_mark(tx, call).await?;
                match how {
                    "panic" => panic!("out of tea"),
                    "sleep" => std::future::pending().await,
                    "write" => {
                        tx.execute("insert into shop.audit (note) values ('x')", &[])
                            .await?;
                        Ok(())
                    }
                    "commit" => {
                        tx.execute("commit", &[]).await?;
                        Ok(())
                    }
                    _ => {
                        let _ = tx.execute("commit", &[]).await;
                        Ok(())
                    }
                }
            })
        });
        let adapter = match outside {
            true => adapter.outside(),
            false => adapter,
        };
        let engine = lab.engine_with(adapter.done()).await;
        let line = saga(
            "line",
            vec![
                mark("p1", json!({})),
                act("p2", "act", json!({"timeout": "300ms"})),
                mark("bad", json!({})),
            ],
            json!({}),
        );
        let outcome = within(LIMIT, how, run(&engine, &line)).await;
        let Outcome::Stuck(row) = outcome else {
            panic!("{how}: {outcome:?}")
        };
        assert_eq!(code(&row), named, "{how}: {:?}", row.error);
        assert_eq!(rows(&lab, &row), "p1 live, p2 live", "{how}");
        assert_eq!(lab.sql("select count(*) from shop.audit"), "0");
        sound(&engine).await;
    }
}

/// F77: rows that have changed since are not overwritten; the refusal is a record, once.
#[tokio::test(flavor = "multi_thread")]
async fn a_guard_that_refuses_changes_nothing_and_is_recorded_once() {
    let lab = lab().await;
    let engine = lab.engine().await;
    let line = saga("line", marks(3), json!({}));
    let Outcome::Completed(row) = run(&engine, &line).await else {
        panic!()
    };
    lab.sql("update shop.mark set state = 'shipped' where phase = 'p1'");
    let plan = planned(&engine, row.id).await;
    for _ in 0..3 {
        let Err(error) = engine.apply(&plan).await else {
            panic!()
        };
        assert_eq!(error.code(), "RD0421");
        assert!(
            matches!(&error, Error::GuardRefused { phase, .. } if phase == "p1"),
            "{error}"
        );
    }
    let now = engine.drive(row.id).await.expect("looked at");
    assert!(matches!(now, Outcome::Completed(_)), "{now:?}");
    assert_eq!(rows(&lab, &row), "p1 shipped, p2 live, p3 live");
    let kinds = lab.kinds(&row);
    assert_eq!(
        kinds.iter().filter(|kind| *kind == "plan.refused").count(),
        1,
        "{kinds:?}"
    );
    assert!(engine.holds().await.unwrap().is_empty());
    // Once it is a draft again, the same plan goes: nothing of what was refused has moved its basis.
    lab.sql("update shop.mark set state = 'live' where phase = 'p1'");
    assert!(matches!(
        engine.apply(&plan).await,
        Ok(Outcome::Compensated(_))
    ));
    sound(&engine).await;
}

/// F77: the plan that runs by itself meets a row that was shipped meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_guard_that_refuses_the_automatic_way_back_makes_it_stuck() {
    let lab = lab().await;
    let ships = Act::new("ships", |tx, call| {
        Box::pin(async move {
            tx.query_values(
                "update shop.mark set state = 'shipped' where run = $1 and phase = 'p1'",
                &[call.context["run"]["id"].clone()],
            )
            .await?;
            Ok(Applied::default())
        })
    });
    let engine = lab.engine_with(ships.done()).await;
    let line = saga(
        "line",
        vec![
            mark("p1", json!({})),
            act("ship", "ships", json!({})),
            mark("bad", json!({})),
        ],
        json!({}),
    );
    let outcome = run(&engine, &line).await;
    let Outcome::Stuck(row) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(
        (code(&row), rows(&lab, &row).as_str()),
        ("RD0421", "p1 shipped")
    );
    assert_eq!(engine.holds().await.unwrap().len(), 1);
    sound(&engine).await;
}

/// P6: a baseline that does not hold again rolls everything back.
#[tokio::test(flavor = "multi_thread")]
async fn a_baseline_that_does_not_hold_rolls_the_compensation_back() {
    let lab = lab().await;
    let engine = lab.engine().await;
    let line = saga(
        "line",
        marks(2),
        json!({"exclusive": true, "snapshot": [{"name": "notes", "sql": "select count(*) from shop.audit", "baseline": true}]}),
    );
    let Outcome::Completed(row) = run(&engine, &line).await else {
        panic!()
    };
    lab.sql("insert into shop.audit values ('somebody else')");
    let plan = planned(&engine, row.id).await;
    assert_eq!(refused(engine.apply(&plan).await), "RD0424");
    let row = engine.drive(row.id).await.expect("looked at").run().clone();
    assert_eq!((row.state.as_str(), code(&row)), ("stuck", "RD0422"));
    assert_eq!(rows(&lab, &row), "p1 live, p2 live");
    assert!(lab.path(&format!("runs/{}/pre.json", row.id)).exists());
    assert!(lab.path(&format!("runs/{}/post.json", row.id)).exists());
    lab.sql("truncate shop.audit");
    let plan = planned(&engine, row.id).await;
    assert!(matches!(
        engine.apply(&plan).await,
        Ok(Outcome::Compensated(_))
    ));
    sound(&engine).await;
}

/// A saga whose first phase may be deleted by a sovereign and a reviewer, while its row is a draft.
fn deletable() -> Definition {
    let mut first = mark("p1", json!({}));
    first["with"]["hard_delete"] = json!([{"sql": "delete from shop.mark where run = $1 and phase = 'p1'", "params": ["/run/id"], "rows": 1}]);
    first["with"]["decide"] = json!([{
        "sql": "insert into shop.verdict (run, phase, decision, signature) values ($1, 'p1', $2, $3)",
        "params": ["/run/id", "/decision/id", "/decision/signature"], "rows": 1,
    }]);
    merge(
        &mut first,
        json!({"writes": ["shop.mark", "shop.verdict"], "residue": ["shop.mark", "shop.verdict"]}),
    );
    saga(
        "line",
        vec![first, mark("p2", json!({}))],
        json!({"authority": {"soft_revert": "auto", "hard_delete": {"sovereign": 1, "reviewer": 1}}}),
    )
}

/// P5: a hard delete needs a sovereign quorum and a guard that holds under lock.
#[tokio::test(flavor = "multi_thread")]
async fn a_hard_delete_needs_its_quorum_and_a_draft() {
    let lab = lab().await;
    let engine = lab.engine().await;
    let line = deletable();
    let Outcome::Completed(row) = run(&engine, &line).await else {
        panic!()
    };
    let overrides = BTreeMap::from([(name("p1"), Action::HardDelete)]);
    let plan = engine
        .plan(row.id, overrides.clone(), "gdpr")
        .await
        .expect("planned");
    assert!(!plan.plan.automatic);
    let all = "p1 live, p2 live";
    assert_eq!(refused(engine.apply(&plan).await), "RD0560");
    engine
        .approve(&plan, &lab.reviewer, "fine")
        .await
        .expect("approved");
    assert_eq!(refused(engine.apply(&plan).await), "RD0560");
    engine
        .approve(&plan, &lab.operator, "fine")
        .await
        .expect("approved");
    assert_eq!(refused(engine.apply(&plan).await), "RD0560");
    assert_eq!(rows(&lab, &row), all);
    engine
        .approve(&plan, &lab.sovereign, "fine")
        .await
        .expect("approved");
    lab.sql("update shop.mark set state = 'shipped' where phase = 'p1'");
    assert_eq!(refused(engine.apply(&plan).await), "RD0421");
    assert_eq!(rows(&lab, &row), "p1 shipped, p2 live");
    lab.sql("update shop.mark set state = 'live' where phase = 'p1'");
    assert!(matches!(
        engine.apply(&plan).await,
        Ok(Outcome::Compensated(_))
    ));
    assert_eq!(rows(&lab, &row), "p2 withdrawn");
    // What was not asked for is not deleted: the plan without overrides is a soft revert.
    let Outcome::Completed(row) = again(&engine, &line).await else {
        panic!()
    };
    let plan = planned(&engine, row.id).await;
    assert!(
        plan.plan
            .actions
            .iter()
            .all(|a| a.action == Action::SoftRevert)
    );
    // An override for what does not stand is refused, and nothing starts.
    let stray = BTreeMap::from([(name("p9"), Action::HardDelete)]);
    let stray = engine.plan(row.id, stray, "oops").await.expect("planned");
    assert_eq!(refused(engine.apply(&stray).await), "RD0423");
    assert_eq!(rows(&lab, &row), all);
    sound(&engine).await;
}

/// The way out when a guard says no: a signed decision is appended, and no row changes.
#[tokio::test(flavor = "multi_thread")]
async fn a_decision_is_appended_where_rows_must_not_change() {
    let lab = lab().await;
    let engine = lab.engine().await;
    let Outcome::Completed(row) = run(&engine, &deletable()).await else {
        panic!()
    };
    lab.sql("update shop.mark set state = 'shipped' where phase = 'p1'");
    let overrides = BTreeMap::from([(name("p1"), Action::Decide)]);
    let plan = engine
        .plan(row.id, overrides, "the parcel is gone")
        .await
        .expect("planned");
    assert_eq!(refused(engine.apply(&plan).await), "RD0560");
    let approval = engine
        .approve(&plan, &lab.sovereign, "write it off")
        .await
        .expect("approved");
    assert!(matches!(
        engine.apply(&plan).await,
        Ok(Outcome::Compensated(_))
    ));
    assert_eq!(rows(&lab, &row), "p1 shipped, p2 withdrawn");
    let verdict = lab.sql("select decision, signature from shop.verdict");
    assert_eq!(
        verdict,
        format!(
            "{}|{}",
            approval.decision.id, approval.envelope.signatures[0].sig
        )
    );
    sound(&engine).await;
}

/// F51, and two people at once: one plan is carried out once.
#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_apply_one_plan_at_once_one_does() {
    let lab = lab().await;
    let engine = lab.engine_with(Act::marking("act").outside().done()).await;
    for stepwise in [false, true] {
        let mut all = marks(3);
        if stepwise {
            merge(&mut all[1], json!({"adapter": "act", "with": {}}));
        }
        let line = saga(&format!("line-{stepwise}"), all, json!({}));
        let Outcome::Completed(row) = run(&engine, &line).await else {
            panic!()
        };
        // Planned by many at once it is one plan.
        let plans = join_all((0..4).map(|_| planned(&engine, row.id))).await;
        assert!(plans.iter().all(|plan| plan.digest == plans[0].digest));
        let plan = &plans[0];
        let all = join_all((0..6).map(|_| {
            let (engine, plan) = (engine.clone(), plan.clone());
            tokio::spawn(async move { engine.apply(&plan).await })
        }))
        .await;
        let mut done = 0;
        for applied in all {
            match applied.unwrap() {
                Ok(outcome) => {
                    assert!(matches!(outcome, Outcome::Compensated(_)), "{outcome:?}");
                    done += 1;
                }
                Err(error) => assert_eq!(error.code(), "RD0420", "{stepwise}: {error}"),
            }
        }
        assert_eq!(done, 1, "{stepwise}");
        assert_eq!(
            phases(&lab, &row, "compensation.committed"),
            ["p3", "p2", "p1"]
        );
        assert_eq!(rows(&lab, &row), "p1 withdrawn, p2 withdrawn, p3 withdrawn");
        sound(&engine).await;
    }
}

/// A person applies a stepwise plan while workers run: it is finished once, and the person hears so.
#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_is_applied_beside_workers_is_finished_once() {
    let lab = lab().await;
    let slow = Act::marking("act").outside().reverts(|tx, call| {
        Box::pin(async move {
            tx.execute("select pg_sleep(0.3)", &[]).await?;
            withdraw_mark(tx, call).await
        })
    });
    let engine = lab.engine_with(slow.done()).await;
    let line = saga(
        "line",
        vec![
            act("p1", "act", json!({})),
            act("p2", "act", json!({})),
            act("p3", "act", json!({})),
        ],
        json!({}),
    );
    let Outcome::Completed(row) = run(&engine, &line).await else {
        panic!()
    };
    let (stop, stopping) = watch::channel(false);
    let worker = {
        let engine = engine.clone();
        tokio::spawn(async move { engine.worker().run(stopping).await })
    };
    let plan = planned(&engine, row.id).await;
    let applied = engine.apply(&plan).await;
    until("it is undone", async || {
        rows(&lab, &row) == "p1 withdrawn, p2 withdrawn, p3 withdrawn"
    })
    .await;
    assert!(
        matches!(applied, Ok(Outcome::Compensated(_))),
        "{applied:?}"
    );
    assert_eq!(
        phases(&lab, &row, "compensation.committed"),
        ["p3", "p2", "p1"]
    );
    stop.send_replace(true);
    worker.await.unwrap().expect("stopped");
}

/// Forward again after what stopped it is repaired; the plan that was made before is stale.
#[tokio::test(flavor = "multi_thread")]
async fn a_resumed_run_goes_on_and_its_old_plan_is_stale() {
    let lab = lab().await;
    lab.sql("alter table shop.mark add constraint not_yet check (phase <> 'p2')");
    let engine = lab.engine().await;
    let line = saga(
        "line",
        vec![
            mark("p1", json!({})),
            mark("p2", json!({"on_failure": "hold"})),
            mark("p3", json!({})),
        ],
        json!({"authority": {"soft_revert": {"sovereign": 1}}}),
    );
    let Outcome::Held(row) = run(&engine, &line).await else {
        panic!()
    };
    let plan = engine
        .find_plan(&row.id.to_string())
        .await
        .expect("planned with the failure");
    let again = planned(&engine, row.id).await;
    engine
        .approve(&plan, &lab.sovereign, "yes")
        .await
        .expect("approved");
    engine
        .approve(&again, &lab.sovereign, "yes")
        .await
        .expect("approved");
    lab.sql("alter table shop.mark drop constraint not_yet");
    let resumed = engine.resume(row.id).await.expect("resumed");
    assert_eq!(
        (resumed.state.as_str(), resumed.phase.as_deref()),
        ("running", Some("p2"))
    );
    assert_eq!(refused(engine.resume(row.id).await), "RD0425");
    for plan in [&plan, &again] {
        assert_eq!(refused(engine.apply(plan).await), "RD0420");
        assert_eq!(
            refused(engine.approve(plan, &lab.sovereign, "yes").await),
            "RD0420"
        );
    }
    // Its own hold is still there: a signature lets it go.
    assert!(matches!(engine.drive(row.id).await, Ok(Outcome::Held(_))));
    let hold = engine.holds().await.unwrap()[0].id;
    engine
        .release_hold(hold, &lab.sovereign, "repaired")
        .await
        .expect("released");
    let Ok(Outcome::Completed(row)) = engine.drive(row.id).await else {
        panic!()
    };
    assert_eq!(rows(&lab, &row), "p1 live, p2 live, p3 live");
    assert_eq!(refused(engine.apply(&plan).await), "RD0420");
    sound(&engine).await;
}

/// F54: a cancellation ends the phase inside or comes after it, and the way back is taken by whoever works.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_cancelled_under_its_worker_is_undone_while_that_worker_lives() {
    let lab = lab().await;
    let mut slow = mark("p2", json!({}));
    slow["with"]["apply"][0]["sql"] =
        json!("insert into shop.mark (run, phase) select $1, 'p2' from pg_sleep(0.3)");
    let engine = lab.engine().await;
    let line = saga(
        "line",
        vec![mark("p1", json!({})), slow, mark("p3", json!({}))],
        json!({}),
    );
    let id = open(&engine, &line).await;
    let (stop, stopping) = watch::channel(false);
    let worker = {
        let engine = engine.clone();
        tokio::spawn(async move { engine.worker().run(stopping).await })
    };
    until("it is inside", async || {
        lab.sql("select count(*) from shop.mark") == "1"
    })
    .await;
    // Whatever it commits meanwhile, the cancellation comes after it.
    engine.cancel(id, "not wanted").await.expect("cancelled");
    until("it is undone", async || {
        lab.sql("select state from redress.run") == "compensated"
    })
    .await;
    assert_eq!(
        lab.sql("select count(*) from shop.mark where state = 'live'"),
        "0"
    );
    assert_eq!(refused(engine.cancel(id, "again").await), "RD0425");
    stop.send_replace(true);
    within(LIMIT, "it stops", worker)
        .await
        .unwrap()
        .expect("stopped");
    sound(&engine).await;
}

/// A run that may not be undone is held when it is cancelled; a sovereign closes it as it stands.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_cannot_be_undone_is_held_and_closed_by_a_signature() {
    let lab = lab().await;
    let engine = lab.engine().await;
    let all = vec![
        mark("p1", json!({})),
        mark("p2", json!({"compensation": "irreversible"})),
        mark("bad", json!({})),
    ];
    let outcome = run(&engine, &saga("line", all, json!({}))).await;
    let Outcome::Held(row) = outcome else {
        panic!("{outcome:?}")
    };
    let plan = planned(&engine, row.id).await;
    assert!(plan.plan.refused);
    assert_eq!(refused(engine.apply(&plan).await), "RD0423");
    assert_eq!(
        refused(engine.approve(&plan, &lab.sovereign, "x").await),
        "RD0423"
    );
    assert_eq!(rows(&lab, &row), "p1 live, p2 live");
    let stranger = redress::ledger::key::SigningKey::generate("sofia").unwrap();
    assert_eq!(
        refused(engine.resolve(row.id, &stranger, "x").await),
        "RD0547"
    );
    assert_eq!(
        refused(engine.resolve(row.id, &lab.operator, "x").await),
        "RD0560"
    );
    let resolved = engine
        .resolve(row.id, &lab.sovereign, "it stays")
        .await
        .expect("resolved");
    assert_eq!(resolved.state.as_str(), "resolved");
    assert!(resolved.ended_at.is_some());
    assert_eq!(body(&lab, row.id, "resolved")["standing"], "p1, p2");
    assert_eq!(
        refused(engine.resolve(row.id, &lab.sovereign, "again").await),
        "RD0425"
    );
    assert_eq!(
        refused(engine.plan(row.id, BTreeMap::new(), "x").await),
        "RD0425"
    );
    sound(&engine).await;
}

/// F76
#[tokio::test(flavor = "multi_thread")]
async fn past_the_pivot_nothing_is_undone_without_a_decision() {
    let lab = lab().await;
    let engine = lab.engine().await;
    let all = vec![
        mark("p1", json!({})),
        mark("p2", json!({"pivot": true})),
        mark("bad", json!({"compensation": "irreversible"})),
    ];
    let outcome = run(&engine, &saga("line", all, json!({}))).await;
    let Outcome::Held(row) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(rows(&lab, &row), "p1 live, p2 live");
    let plan = planned(&engine, row.id).await;
    assert!(
        plan.plan.actions.iter().all(|a| a.action == Action::Refuse),
        "{:?}",
        plan.plan.actions
    );
    assert_eq!(refused(engine.apply(&plan).await), "RD0423");
}

/// A subject stays taken while what failed on it stands, and is free again when it is undone.
#[tokio::test(flavor = "multi_thread")]
async fn a_subject_is_free_when_its_run_is_undone() {
    let lab = lab().await;
    let engine = lab.engine().await;
    let line = saga(
        "line",
        vec![
            mark("p1", json!({})),
            mark("bad", json!({"on_failure": "hold"})),
        ],
        json!({"subject": "/input/who", "exclusive": true, "on_unrecovered": {"hold": "subject"}}),
    );
    engine.register(&line).await.expect("registered");
    let start = |who: &str| engine.start("line", json!({"who": who}));
    let (started, outcome) = engine.start_and_drive(start("a")).await.expect("driven");
    assert!(matches!(outcome, Outcome::Held(_)));
    // The hold is on the subject, whoever comes.
    assert_eq!(refused(start("a").open().await), "RD0204");
    let hold = engine.holds().await.unwrap()[0].clone();
    assert_eq!(
        (hold.scope.as_str(), hold.target.as_deref()),
        ("subject", Some("a"))
    );
    engine
        .release_hold(hold.id, &lab.sovereign, "x")
        .await
        .expect("released");
    assert_eq!(refused(start("a").open().await), "RD0212");
    let plan = planned(&engine, started.run).await;
    assert!(matches!(
        engine.apply(&plan).await,
        Ok(Outcome::Compensated(_))
    ));
    start("a").open().await.expect("free again");
}

/// A driver that is dropped in the middle of a phase leaves no transaction behind.
#[tokio::test(flavor = "multi_thread")]
async fn a_driver_that_is_dropped_leaves_no_open_transaction() {
    let lab = lab().await;
    let adapter = Act::new("act", |tx, call| {
        Box::pin(async move {
            put_mark(tx, call).await?;
            std::future::pending().await
        })
    });
    let engine = lab.engine_with(adapter.done()).await;
    let id = open(
        &engine,
        &saga(
            "line",
            vec![act("p1", "act", json!({"timeout": "60s"}))],
            json!({}),
        ),
    )
    .await;
    let inside = "select count(*) from pg_stat_activity where datname = current_database() and state = 'idle in transaction'";
    let driving = engine.drive(id);
    let _ = tokio::time::timeout(Duration::from_secs(20), async {
        tokio::select! {
            _ = driving => {}
            () = until("it is inside", async || lab.sql(inside) != "0") => {}
        }
    })
    .await;
    let begun = std::time::Instant::now();
    until("nothing is open", async || lab.sql(inside) == "0").await;
    println!(
        "open for {:?} after the driver was dropped",
        begun.elapsed()
    );
    assert_eq!(lab.sql("select count(*) from shop.mark"), "0");
}

/// Found out halfway it would leave the run stuck, and the approvals used up.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_not_take_a_phase_s_role_is_refused_before_anything_is_tried() {
    let lab = lab().await;
    let role = format!("clerk_{}", Uuid::now_v7().simple());
    lab.sql(&format!(
        "create role {role} nologin; grant usage on schema shop to {role}; grant all on shop.mark to {role}"
    ));
    let engine = lab.engine().await;
    let phases = vec![
        mark("p1", json!({"role": role.as_str()})),
        mark("bad", json!({})),
    ];
    let authority = json!({"authority": {"soft_revert": {"operator": 1}}});
    let Outcome::Held(row) = run(&engine, &saga("roles", phases, authority)).await else {
        panic!("held")
    };
    let plan = planned(&engine, row.id).await;
    engine
        .approve(&plan, &lab.operator, "agreed")
        .await
        .expect("approved");
    let (mender, url) = crate::gate::login(&lab, "redress_engine, redress_operator");
    let records = lab.sql("select count(*) from redress.record");
    let other = lab.builder(&url).build().await.expect("an engine");
    let error = other.apply(&plan).await.expect_err("no such right");
    assert_eq!(error.code(), "RD0433", "{error}");
    assert!(error.to_string().contains(&role), "{error}");
    assert_eq!(lab.sql("select count(*) from redress.record"), records);
    lab.sql(&format!("grant {role} to {mender}"));
    let applied = other.apply(&plan).await.expect("applied");
    assert!(matches!(applied, Outcome::Compensated(_)), "{applied:?}");
    lab.sql(&format!(
        "drop owned by {role}; drop role {role}; drop owned by {mender}; drop role {mender}"
    ));
}
