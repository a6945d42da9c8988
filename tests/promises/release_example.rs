//! The example `release`, point by point: a chain of phases with artefacts, dispatches and agents that goes back as one.

use std::collections::BTreeMap;

use redress::ledger::state::State;
use redress::view::RewindFilter;
use redress::{Engine, Outcome, Rewind, Rewound, RunRow};
use redress_examples::release::{DOWN, INPUT, STAGES, UP, saga};
use redress_tests::bank::Bank;
use redress_tests::{Lab, Running, redress_bin};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::common::{refused, sound};
use crate::crash::{call, died};

async fn lab() -> Lab {
    let lab = Lab::new().await;
    for (_, step) in UP {
        lab.sql(step);
    }
    lab
}

fn input(project: &str) -> Value {
    let mut input: Value = serde_json::from_str(INPUT).expect("an input is JSON");
    input["project"] = json!(project);
    input
}

async fn shipped(engine: &Engine, project: &str) -> RunRow {
    engine.register(&saga()).await.expect("registered");
    let start = engine.start("release", input(project));
    let (_, outcome) = engine.start_and_drive(start).await.expect("driven");
    let Outcome::Completed(row) = outcome else {
        panic!("{outcome:?}")
    };
    row
}

fn to(phase: &str) -> Rewind {
    Rewind {
        to: phase.parse().expect("a name"),
        from: None,
        then: redress::definition::Then::Stop,
        reason: "the build was wrong".to_owned(),
    }
}

async fn back(engine: &Engine, run: Uuid, phase: &str) -> RunRow {
    match engine.rewind(run, &to(phase)).await {
        Ok(Rewound::Done { row, .. }) => row,
        other => panic!("{other:?}"),
    }
}

/// The four tables and both rows of the run, in one line.
const STANDS: &str = "select r.state || ' ' || coalesce(r.phase, '-') || ' ' || (r.completed_at is not null) || ' ' || e.state
    || ' live ' || (select count(*) from release.artefact a where a.run = r.run and a.status = 'live')
    || ' open ' || (select count(*) from release.dispatch d where d.run = r.run and d.status <> 'cancelled')
    || ' working ' || (select count(*) from release.agent g where g.run = r.run and g.status = 'working')
  from release.run r join redress.run e on e.id = r.run order by r.run desc limit 1";
const SHIPPED: &str = "completed ship true completed live 6 open 6 working 6";
const PLANNED: &str = "active plan false failed live 3 open 3 working 3";

/// systems.md 2.1
#[tokio::test(flavor = "multi_thread")]
async fn release_1_four_tables_go_back_in_one_transaction_whatever_is_killed() {
    let bank = Bank::new().await;
    for (_, step) in UP {
        bank.sql(step);
    }
    let engine = bank.engine().await;
    let run = shipped(&engine, "lantern").await.id;
    assert_eq!(bank.sql(STANDS), SHIPPED);
    let mut deaths = 0;
    // Each statement of the way back: a guard, four of the revert and the verification, for three phases.
    for n in 1..=40 {
        let text = run.to_string();
        let act = ["rewind", &text, "execute", "stop"];
        let mut child =
            Running::start(call(&bank, &act).env("REDRESS_CRASH", format!("statement:{n}")));
        let dead = died(&mut child, "rewind");
        let found = bank.sql(STANDS);
        if !dead {
            assert_eq!(found, PLANNED);
            break;
        }
        assert_eq!(found, SHIPPED, "statement {n}");
        deaths += 1;
    }
    assert!(deaths >= 18, "{deaths} deaths");
    sound(&engine).await;
}

/// systems.md 2.2
#[tokio::test(flavor = "multi_thread")]
async fn release_2_the_phase_that_was_read_is_compared_and_the_list_is_never_short() {
    let lab = lab().await;
    let engine = lab.engine().await;
    let run = shipped(&engine, "lantern").await.id;
    for believed in ["execute", "review"] {
        let asked = Rewind {
            from: Some(believed.parse().unwrap()),
            ..to("plan")
        };
        assert_eq!(refused(engine.rewind(run, &asked).await), "RD0420");
    }
    assert_eq!(lab.sql(STANDS), SHIPPED);
    // Of two at once one goes back, and the other has nothing to do or is stale.
    let asked = to("plan");
    let (one, two) = futures_util::join!(engine.rewind(run, &asked), engine.rewind(run, &asked));
    let done = [&one, &two]
        .into_iter()
        .filter(|r| matches!(r, Ok(Rewound::Done { .. })));
    assert_eq!(done.count(), 1, "{one:?} {two:?}");
    let undone = lab.sql("select string_agg(phase, ',' order by seq) from redress.record where kind = 'compensation.committed'");
    assert_eq!(undone, "ship,review,execute,plan");
    let listed = engine
        .rewinds(&RewindFilter::default())
        .await
        .expect("listed");
    let names: Vec<&str> = listed[0].phases.iter().map(|p| p.as_str()).collect();
    assert_eq!(names, ["ship", "review", "execute", "plan"]);
}

/// systems.md 2.3
#[tokio::test(flavor = "multi_thread")]
async fn release_3_nothing_to_do_is_said_and_a_failure_never_exits_0() {
    let lab = lab().await;
    let engine = lab.engine().await;
    let run = shipped(&engine, "lantern").await.id.to_string();
    let rewind = |phase: &str| {
        let output = std::process::Command::new(redress_bin())
            .args([
                "--database",
                lab.url(),
                "--json",
                "rewind",
                &run,
                "--to",
                phase,
                "--reason",
                "x",
            ])
            .arg("--state-dir")
            .arg(lab.state_dir())
            .output()
            .expect("it runs");
        let value: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        (output.status.code(), value)
    };
    let (exit, value) = rewind("execute");
    assert_eq!(
        (exit, &value["errors"], &value["rewind"]["changed"]),
        (Some(0), &json!([]), &json!(true)),
        "{value}"
    );
    assert_eq!(
        value["rewind"]["phases"],
        json!(["ship", "review", "execute"])
    );
    let (exit, value) = rewind("execute");
    assert_eq!(
        (exit, &value["errors"], &value["rewind"]["changed"]),
        (Some(0), &json!([]), &json!(false))
    );
    // The way back fails: a row that its statements need is gone.
    lab.sql("update release.agent set status = 'released' where phase = 'strategy'");
    let (exit, value) = rewind("strategy");
    assert_eq!(
        (exit, &value["error"]["code"]),
        (Some(3), &json!("RD0424")),
        "{value}"
    );
    assert!(value["error"]["message"].is_string(), "{value}");
    assert_eq!(
        lab.sql(STANDS),
        PLANNED
            .replace("failed", "stuck")
            .replace("working 3", "working 2")
    );
}

/// systems.md 2.4
#[tokio::test(flavor = "multi_thread")]
async fn release_4_repair_finishes_what_was_left_half_done_and_twice_changes_nothing() {
    let bank = Bank::new().await;
    for (_, step) in UP {
        bank.sql(step);
    }
    bank.sql("alter table release.artefact add constraint not_this check (name <> 'rejected')");
    let engine = bank.engine().await;
    engine.register(&saga()).await.expect("registered");
    let mut rejected = input("lantern");
    rejected["work"]["review"] = json!("rejected");
    let text = rejected.to_string();
    let act = ["drive", "release", "k1", text.as_str()];
    // The review fails and the rewind is begun; its worker dies at its entry.
    let mut child = Running::start(call(&bank, &act).env("REDRESS_CRASH", "compensate.entered:1"));
    assert!(died(&mut child, "drive"));
    assert_eq!(
        bank.sql(STANDS),
        "active execute false compensating live 4 open 4 working 4"
    );
    let run: Uuid = bank.sql("select id from redress.run").parse().unwrap();
    let Ok(Rewound::Done { row, .. }) = engine.repair_rewind(run, "on with it").await else {
        panic!("not repaired")
    };
    assert_eq!(row.state, State::Failed);
    assert_eq!(bank.sql(STANDS), PLANNED);
    let before = bank.sql("select count(*) from redress.record");
    let again = engine.repair_rewind(run, "on with it").await.expect("told");
    assert!(matches!(again, Rewound::Nothing(_)));
    assert_eq!(
        (
            bank.sql(STANDS).as_str(),
            bank.sql("select count(*) from redress.record")
        ),
        (PLANNED, before)
    );
    sound(&engine).await;
}

/// systems.md 2.5
#[tokio::test(flavor = "multi_thread")]
async fn release_5_what_must_hold_is_held_by_constraints_and_gates() {
    let lab = lab().await;
    let engine = lab.engine().await;
    let run = shipped(&engine, "lantern").await.id;
    for (sql, constraint) in [
        (
            "update release.run set completed_at = null",
            "run_completed_is_whole",
        ),
        (
            "update release.run set state = 'active'",
            "run_completed_is_whole",
        ),
        (
            "update release.run set phase = 'review'",
            "run_completes_at_the_end",
        ),
    ] {
        let error = lab.try_sql(sql).expect_err(sql);
        assert!(error.contains(constraint), "{error}");
    }
    // An agent that is still at work when the run goes back.
    lab.sql(&format!("insert into release.dispatch (run, phase, agent) select run, phase, id from release.agent where run = '{run}' and phase = 'execute'"));
    let late = lab.sql("select id from release.dispatch where status = 'running'");
    back(&engine, run, "execute").await;
    assert_eq!(lab.sql(STANDS), PLANNED);
    let error = lab
        .try_sql(&format!(
            "update release.dispatch set status = 'done', result = '{{}}' where id = '{late}'"
        ))
        .expect_err("cancelled");
    assert!(error.contains("RL010"), "{error}");
    // A rewound artefact counts for no gate.
    lab.sql(&format!(
        "update release.artefact set status = 'rewound' where run = '{run}' and phase = 'plan'"
    ));
    let error = lab
        .try_sql(&format!("select release.advance('{run}', 'execute')"))
        .expect_err("shut");
    assert!(error.contains("RL011"), "{error}");
    // Each move has its record, forward and back.
    let moves = lab.sql(&format!(
        "select count(*) from release.transition where run = '{run}'"
    ));
    assert_eq!(moves, "10", "opened, six forward, three back");
}

/// systems.md 2.6
#[tokio::test(flavor = "multi_thread")]
async fn release_6_only_behind_only_while_it_may_and_a_dry_run_changes_nothing() {
    let lab = lab().await;
    let engine = lab.engine().await;
    let run = shipped(&engine, "lantern").await.id;
    let records = "select count(*) from redress.record";
    let before = lab.sql(records);
    let plan = engine
        .plan_rewind(run, &to("plan"))
        .await
        .expect("planned")
        .expect("something");
    assert_eq!(plan.plan.actions.len(), 4);
    assert_eq!(
        (lab.sql(records), lab.sql(STANDS)),
        (before, SHIPPED.to_owned())
    );
    back(&engine, run, "plan").await;
    for later in ["execute", "ship"] {
        assert_eq!(
            refused(engine.rewind(run, &to(later)).await),
            "RD0423",
            "{later}"
        );
    }
    // It goes forward again and ends.
    engine.resume(run).await.expect("resumed");
    assert!(matches!(engine.drive(run).await, Ok(Outcome::Completed(_))));
    assert_eq!(lab.sql(STANDS), SHIPPED);
    let undo = engine
        .plan(run, BTreeMap::new(), "withdrawn")
        .await
        .expect("planned");
    engine.apply(&undo).await.expect("applied");
    assert_eq!(refused(engine.rewind(run, &to("plan")).await), "RD0425");
    let other = shipped(&engine, "torch").await.id;
    back(&engine, other, "ship").await;
    engine
        .resolve(other, &lab.sovereign, "given up")
        .await
        .expect("resolved");
    assert_eq!(refused(engine.rewind(other, &to("plan")).await), "RD0425");
    sound(&engine).await;
}

/// systems.md 2.7
#[tokio::test(flavor = "multi_thread")]
async fn release_7_rows_come_back_whole_and_no_empty_text_stands_for_nothing() {
    let lab = lab().await;
    let engine = lab.engine().await;
    let run = shipped(&engine, "lantern").await.id;
    let context = crate::common::body(&lab, run, "phase.committed");
    let output = &context["output"];
    for (kept, columns) in [
        (
            "run",
            &["run", "project", "phase", "state", "completed_at"][..],
        ),
        ("agent", &["id", "run", "phase", "status"][..]),
        (
            "dispatch",
            &["id", "run", "phase", "agent", "status", "result"][..],
        ),
        (
            "artefact",
            &["id", "run", "phase", "name", "status", "created_at"][..],
        ),
    ] {
        let row = output[kept][0].as_object().expect(kept);
        for column in columns {
            assert!(row.contains_key(*column), "{kept}.{column}");
        }
    }
    assert_eq!(output["dispatch"][0]["status"], "running");
    let mut empty = input("torch");
    empty["work"]["plan"] = json!("");
    let start = engine.start("release", empty);
    assert_eq!(refused(start.open().await), "RD0192");
    for sql in [
        "insert into release.run (run, project) values (gen_random_uuid(), '')",
        "update release.artefact set name = ''",
        "update release.dispatch set agent = null where status = 'done'",
    ] {
        assert!(lab.try_sql(sql).is_err(), "{sql}");
    }
    let plan = lab.sql(
        "set enable_seqscan = off; explain select * from release.dispatch where status = 'running'",
    );
    assert!(plan.contains("dispatch_is_found_by_status"), "{plan}");
}

/// systems.md 2.8
#[tokio::test(flavor = "multi_thread")]
async fn release_8_each_step_of_the_schema_says_its_versions_and_may_be_run_again() {
    let lab = Lab::new().await;
    let version = "select version from release.schema_version";
    let (first, second) = (UP[0].1, UP[1].1);
    assert!(
        lab.try_sql(second)
            .expect_err("nothing there")
            .contains("RL001")
    );
    for (step, stands) in [(first, "1"), (first, "1"), (second, "2"), (second, "2")] {
        lab.sql(step);
        assert_eq!(lab.sql(version), stands);
    }
    assert!(lab.try_sql(first).expect_err("later").contains("RL002"));
    lab.sql("update release.schema_version set version = 3");
    for step in [first, second, DOWN[0].1, DOWN[1].1] {
        assert!(lab.try_sql(step).expect_err("unknown").contains("RL002"));
    }
    lab.sql("update release.schema_version set version = 2");
    // Killed before it commits, nothing of a step stands.
    lab.sql(&format!("begin; {} ; rollback", DOWN[0].1));
    assert_eq!(lab.sql(version), "2");
    for (_, step) in DOWN {
        lab.sql(step);
        lab.sql(step);
    }
    assert_eq!(lab.sql("select to_regnamespace('release') is null"), "t");
    assert!(!STAGES.is_empty());
}

/// systems.md 2.9
#[tokio::test(flavor = "multi_thread")]
async fn release_9_each_cancelled_dispatch_has_one_record_with_its_id() {
    let lab = lab().await;
    let engine = lab.engine().await;
    let run = shipped(&engine, "lantern").await.id;
    back(&engine, run, "execute").await;
    let sql = "select count(*) || ' ' || count(distinct c.dispatch) || ' ' || bool_and(c.from_status = 'done')
       from release.dispatch_change c join release.dispatch d on d.id = c.dispatch and d.status = 'cancelled' where c.to_status = 'cancelled'";
    assert_eq!(lab.sql(sql), "3 3 true");
    assert_eq!(
        lab.sql("select count(*) from release.dispatch where status = 'cancelled'"),
        "3"
    );
}
