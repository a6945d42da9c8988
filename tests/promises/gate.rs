//! Kill, freeze, hold and release: what stops, what goes on, and who may let it go on.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use redress::definition::HoldScope;
use redress::ledger::key::SigningKey;
use redress::{Engine, Outcome};
use redress_cli::cluster::Stop;
use redress_tests::{Lab, TestCluster};
use serde_json::{Value, json};
use tokio::sync::watch;
use uuid::Uuid;

use crate::common::*;

const KILL_LIMIT: Duration = Duration::from_secs(10);

async fn lab() -> Lab {
    let lab = Lab::new().await;
    lab.sql(MARKS);
    lab
}

/// Records that move something, and effects.
fn stands(lab: &Lab) -> String {
    lab.sql(
        "select (select count(*) from redress.record where kind like 'phase.%' or kind like 'compensation.%' or kind = 'run.opened'), \
                (select count(*) from shop.mark), (select coalesce(sum(seq), 0) from redress.run)",
    )
}

/// F56, F57
#[tokio::test(flavor = "multi_thread")]
async fn kill_returns_under_a_flood_of_phases_and_nothing_commits_after_it() {
    let lab = lab().await;
    let engine = lab.builder(lab.url()).build().await.expect("an engine");
    let slow = |name: &str| {
        let mut phase = mark(name, json!({}));
        phase["with"]["apply"][0]["sql"] = json!(format!(
            "insert into shop.mark (run, phase) select $1, '{name}' from pg_sleep(0.05)"
        ));
        phase
    };
    let line = saga(
        "flood",
        (1..=40).map(|i| slow(&format!("p{i}"))).collect(),
        json!({}),
    );
    engine.register(&line).await.expect("registered");
    for _ in 0..32 {
        engine
            .start("flood", json!({}))
            .open()
            .await
            .expect("opened");
    }
    let (stop, stopping) = watch::channel(false);
    let workers = {
        let engine = engine.clone();
        tokio::spawn(async move { engine.worker().concurrency(32).run(stopping).await })
    };
    until("the flood", async || {
        lab.sql("select count(*) from redress.gate_holders()")
            .parse::<u32>()
            .unwrap()
            >= 16
    })
    .await;
    let begun = Instant::now();
    let killed = engine
        .kill("flood", KILL_LIMIT, false)
        .await
        .expect("killed");
    let took = begun.elapsed();
    let after = stands(&lab);
    println!("kill under 32 runs of 50 ms phases: {took:?}");
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert_eq!(killed.switch_no, 2);
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(stands(&lab), after);
    }
    assert_eq!(
        refused(engine.start("flood", json!({})).open().await),
        "RD0203"
    );
    stop.send_replace(true);
    within(LIMIT, "the worker stops", workers)
        .await
        .unwrap()
        .expect("stopped");
    assert_eq!(stands(&lab), after);
    // Every run is where it was, and goes on after the release.
    assert_eq!(
        lab.sql("select count(*) from redress.run where state = 'running'"),
        "32"
    );
    engine
        .release_kill(&lab.sovereign, "over")
        .await
        .expect("released");
    let run: Uuid = lab
        .sql("select id from redress.run limit 1")
        .parse()
        .unwrap();
    assert!(matches!(
        within(LIMIT, "it ends", engine.drive(run)).await,
        Ok(Outcome::Completed(_))
    ));
}

/// F58: a phase that does not end is ended; the kill says how long it took.
#[tokio::test(flavor = "multi_thread")]
async fn kill_ends_a_phase_that_does_not_end_by_itself() {
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
    let driven = {
        let engine = engine.clone();
        tokio::spawn(async move { engine.drive(id).await })
    };
    until("it is in the gate", async || {
        lab.sql("select count(*) from redress.gate_holders()") == "1"
    })
    .await;
    let begun = Instant::now();
    engine
        .kill("stop", Duration::from_secs(2), false)
        .await
        .expect("killed");
    assert!(begun.elapsed() < Duration::from_secs(4));
    assert_eq!(stands(&lab).split('|').nth(1), Some("0"));
    driven.abort();
}

/// Two kills at once are both in force, and the number rises with each.
#[tokio::test(flavor = "multi_thread")]
async fn kills_at_once_are_all_in_force() {
    let lab = lab().await;
    let engine = lab.engine().await;
    let kills = (0..8).map(|_| engine.kill("all at once", KILL_LIMIT, false));
    let mut numbers: Vec<i64> = join_all(kills)
        .await
        .into_iter()
        .map(|k| k.expect("killed").switch_no)
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (2..10).collect::<Vec<_>>());
    assert_eq!(
        lab.sql("select state, switch_no from redress.switch"),
        "killed|9"
    );
    assert_eq!(
        lab.sql("select count(*) from redress.record where kind = 'switch.killed'"),
        "8"
    );
}

/// F59
#[tokio::test(flavor = "multi_thread")]
async fn kill_without_a_database_holds_this_machine_and_says_so() {
    let cluster = TestCluster::own();
    let database = cluster.fresh_database();
    let lab = Lab::at(database.url()).await;
    lab.sql(MARKS);
    let engine = lab.engine().await;
    let line = saga("line", marks(1), json!({}));
    let id = open(&engine, &line).await;
    cluster.stop(Stop::Fast);
    let error = within(LIMIT, "an answer", engine.kill("fire", KILL_LIMIT, false))
        .await
        .unwrap_err();
    assert_eq!(error.class(), redress::ledger::Class::Retry, "{error}");
    assert!(["RD0801", "RD0802"].contains(&error.code()), "{error}");
    let file = fs::read_to_string(lab.path("hold").join(format!("{}.json", Uuid::nil())))
        .expect("a hold file");
    let file: Value = serde_json::from_str(&file).unwrap();
    assert_eq!(
        (&file["scope"], &file["reason"], &file["by"]),
        (&json!("all"), &json!("fire"), &json!("test"))
    );
    cluster.start();
    // A pooler between needs a moment to believe that the server is back.
    let back = async {
        while engine.switch().await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    within(LIMIT, "the server is back", back).await;
    // The database was never told: this machine is held by its file alone.
    assert_eq!(engine.switch().await.unwrap().unwrap().state, "run");
    assert_eq!(
        refused(engine.start("line", json!({})).open().await),
        "RD0204"
    );
    let Ok(Outcome::Held(_)) = engine.drive(id).await else {
        panic!("held by its file")
    };
    let (_stop, stop) = watch::channel(false);
    let idle = tokio::time::timeout(
        Duration::from_secs(1),
        engine.worker().until_idle().run(stop),
    )
    .await;
    drop(idle);
    assert_eq!(lab.sql("select count(*) from shop.mark"), "0");
    engine
        .release_kill(&lab.sovereign, "out")
        .await
        .expect("released");
    assert!(matches!(engine.drive(id).await, Ok(Outcome::Completed(_))));
}

/// F60: the database holds without the file, and a file that cannot be read holds without the database.
#[tokio::test(flavor = "multi_thread")]
async fn a_hold_file_that_is_gone_or_spoilt_never_lets_anything_go_on() {
    let lab = lab().await;
    let engine = lab.engine().await;
    let line = saga("line", marks(1), json!({}));
    let id = open(&engine, &line).await;
    let run = id.to_string();
    let hold = engine
        .hold(HoldScope::Run, Some(&run), "look", false)
        .await
        .expect("held");
    let file = lab.path("hold").join(format!("{}.json", hold.id));
    assert!(file.exists());
    let held = async |what: &str| {
        let outcome = engine.drive(id).await.expect("driven");
        assert!(matches!(outcome, Outcome::Held(_)), "{what}: {outcome:?}");
        assert_eq!(lab.sql("select count(*) from shop.mark"), "0", "{what}");
    };
    held("the file is there").await;
    fs::remove_file(&file).unwrap();
    held("the file is removed").await;
    // Released in the database, but the file is not what it was: held, and everything with it.
    engine
        .release_hold(hold.id, &lab.sovereign, "over")
        .await
        .expect("released");
    fs::write(&file, "").unwrap();
    let spoilt = async |what: &str| {
        held(what).await;
        assert_eq!(
            refused(engine.start("line", json!({})).open().await),
            "RD0204",
            "{what}"
        );
    };
    spoilt("emptied").await;
    fs::write(&file, "{\"scope\": \"run\"}").unwrap();
    spoilt("half of it").await;
    fs::write(&file, vec![b' '; 70_000]).unwrap();
    spoilt("too large").await;
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    spoilt("a folder").await;
    fs::remove_dir(&file).unwrap();
    symlink("/dev/null", &file).unwrap();
    spoilt("a link").await;
    fs::remove_file(&file).unwrap();
    symlink(lab.path("hold/nothing"), &file).unwrap();
    spoilt("a link to nothing").await;
    fs::remove_file(&file).unwrap();
    fs::write(lab.path("hold/note.txt"), "hm").unwrap();
    spoilt("something else lies there").await;
    fs::remove_dir_all(lab.path("hold")).unwrap();
    fs::write(lab.path("hold"), "").unwrap();
    assert_eq!(
        refused(engine.start("line", json!({})).open().await),
        "RD0901"
    );
    fs::remove_file(lab.path("hold")).unwrap();
    assert!(matches!(engine.drive(id).await, Ok(Outcome::Completed(_))));
}

/// F61, F62
#[tokio::test(flavor = "multi_thread")]
async fn a_switch_that_is_missing_doubled_or_unknown_is_a_kill() {
    for (damage, named) in [
        ("delete from redress.switch", "RD0202"),
        ("update redress.switch set state = 'paused'", "RD0203"),
        ("update redress.switch set state = ''", "RD0203"),
        ("update redress.switch set state = 'RUN'", "RD0203"),
        (
            "alter table redress.switch drop constraint switch_pkey, drop constraint switch_is_one_row; \
             insert into redress.switch (one, state, switch_no, reason, by, at) select false, 'killed', 2, 'x', 'x', now()",
            "RD0202",
        ),
    ] {
        let lab = lab().await;
        let engine = lab.engine().await;
        let line = saga("line", marks(1), json!({}));
        let id = open(&engine, &line).await;
        lab.sql(damage);
        assert_eq!(
            refused(engine.start("line", json!({})).open().await),
            named,
            "{damage}"
        );
        let outcome = engine.drive(id).await;
        assert!(
            !matches!(outcome, Ok(Outcome::Completed(_))),
            "{damage}: {outcome:?}"
        );
        let (_stop, stop) = watch::channel(false);
        let working = tokio::time::timeout(
            Duration::from_millis(500),
            engine.worker().until_idle().run(stop),
        )
        .await;
        drop(working);
        assert_eq!(lab.sql("select count(*) from shop.mark"), "0", "{damage}");
        assert_eq!(
            lab.sql("select state from redress.run"),
            "running",
            "{damage}"
        );
        if damage.starts_with("alter") {
            continue;
        }
        // A sovereign can repair it by the ordinary release.
        engine
            .release_kill(&lab.sovereign, "repaired")
            .await
            .expect("released");
        assert_eq!(
            engine.switch().await.unwrap().unwrap().state,
            "run",
            "{damage}"
        );
        assert!(
            matches!(engine.drive(id).await, Ok(Outcome::Completed(_))),
            "{damage}"
        );
    }
}

/// F62: a state of a run that nobody knows is an error, not a guess.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_in_an_unknown_state_is_not_touched() {
    let lab = lab().await;
    let engine = lab.engine().await;
    let line = saga("line", marks(1), json!({}));
    let id = open(&engine, &line).await;
    lab.sql("alter domain redress.run_state drop constraint run_state_is_known; alter table redress.run drop constraint run_has_a_phase_while_running");
    lab.sql("update redress.run set state = 'strange'");
    assert!(engine.drive(id).await.is_err());
    assert!(engine.cancel(id, "x").await.is_err());
    let (_stop, stop) = watch::channel(false);
    within(LIMIT, "idle", engine.worker().until_idle().run(stop))
        .await
        .expect("idle");
    assert_eq!(stands(&lab), "1|0|1");
    // A known state that the log does not tell is refused too.
    lab.sql("update redress.run set state = 'failed', phase = null");
    assert_eq!(refused(engine.resume(id).await), "RD0670");
}

/// F63
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_outlives_the_server() {
    let cluster = TestCluster::own();
    let database = cluster.fresh_database();
    let lab = Lab::at(database.url()).await;
    lab.sql(MARKS);
    let engine = lab.engine().await;
    let line = saga("line", marks(1), json!({}));
    let id = open(&engine, &line).await;
    engine
        .kill("stop", KILL_LIMIT, false)
        .await
        .expect("killed");
    for stop in [
        TestCluster::stop_immediate as fn(&TestCluster),
        TestCluster::kill_postmaster,
    ] {
        stop(&cluster);
        cluster.start();
        let outcome = lab.engine().await.drive(id).await;
        assert!(matches!(outcome, Ok(Outcome::Held(_))), "{outcome:?}");
        assert_eq!(lab.sql("select count(*) from shop.mark"), "0");
    }
}

/// F64
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_released_without_the_right_signature() {
    let lab = lab().await;
    let engine = lab.engine().await;
    let line = saga("line", marks(1), json!({}));
    let id = open(&engine, &line).await;
    let hold = engine
        .hold(HoldScope::Saga, Some("line"), "look", false)
        .await
        .expect("held");
    engine
        .kill("stop", KILL_LIMIT, false)
        .await
        .expect("killed");
    let stranger = SigningKey::generate("sofia").unwrap();
    let still = async || {
        assert_eq!(engine.switch().await.unwrap().unwrap().state, "killed");
        assert_eq!(engine.holds().await.unwrap().len(), 1);
        assert!(matches!(engine.drive(id).await, Ok(Outcome::Held(_))));
    };
    // A key of the right name that nobody trusts, and trusted keys of roles that are not enough.
    assert_eq!(refused(engine.release_kill(&stranger, "x").await), "RD0547");
    assert_eq!(
        refused(engine.release_hold(hold.id, &stranger, "x").await),
        "RD0547"
    );
    still().await;
    for key in [&lab.reviewer, &lab.operator] {
        assert!(matches!(
            engine.release_kill(key, "x").await,
            Ok(redress::Released::Missing(_))
        ));
        assert!(matches!(
            engine.release_hold(hold.id, key, "x").await,
            Ok(redress::Released::Missing(_))
        ));
    }
    still().await;
    // Who asked for the hold does not let it go.
    let own = lab
        .builder(lab.url())
        .actor("sofia")
        .build()
        .await
        .expect("an engine");
    let mine = own
        .hold(HoldScope::All, None, "mine", false)
        .await
        .expect("held");
    assert!(matches!(
        own.release_hold(mine.id, &lab.sovereign, "x").await,
        Ok(redress::Released::Missing(_))
    ));
    // No trust roots, no release.
    let pool = redress::db::pool(lab.url(), 4).unwrap();
    let blind = Engine::builder(pool)
        .actor("test")
        .build()
        .await
        .expect("an engine");
    assert_eq!(
        refused(blind.release_kill(&lab.sovereign, "x").await),
        "RD0562"
    );
    assert_eq!(
        refused(
            engine
                .release_hold(Uuid::now_v7(), &lab.sovereign, "x")
                .await
        ),
        "RD0215"
    );
    // Signatures collected for one kill do not count for the next.
    engine
        .kill("again", KILL_LIMIT, false)
        .await
        .expect("killed");
    assert!(matches!(
        engine.release_kill(&lab.reviewer, "x").await,
        Ok(redress::Released::Missing(_))
    ));
    engine
        .release_kill(&lab.sovereign, "over")
        .await
        .expect("released");
    assert!(
        matches!(engine.drive(id).await, Ok(Outcome::Held(_))),
        "the holds are still there"
    );
}

/// F64: a release that was written around the engine's own check is not believed.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_the_engines_role_cannot_release() {
    let lab = lab().await;
    let engine = lab.engine().await;
    let id = open(&engine, &saga("line", marks(1), json!({}))).await;
    let hold = engine
        .hold(HoldScope::Run, Some(&id.to_string()), "look", false)
        .await
        .expect("held");
    engine
        .kill("stop", KILL_LIMIT, false)
        .await
        .expect("killed");
    let (role, url) = login(&lab, "redress_engine");
    for text in [
        "select redress.publish_switch('run', 'x', 'x')".to_owned(),
        format!("select redress.lift_hold('{}', 'x')", hold.id),
        "update redress.switch set state = 'run'".to_owned(),
        "delete from redress.hold".to_owned(),
        "select redress.drain_gate(1)".to_owned(),
        "begin; lock table redress.gate in exclusive mode".to_owned(),
    ] {
        let error = redress_tests::try_query_text(&url, &text).map_err(|e| e[..5].to_owned());
        assert_eq!(error, Err("42501".to_owned()), "{text}");
    }
    // It may stop everything, as a failed phase does.
    redress_tests::query_text(&url, "select redress.publish_switch('killed', 'x', 'x')");
    lab.sql(&format!("drop role {role}"));
}

/// F65
#[tokio::test(flavor = "multi_thread")]
async fn a_hold_stops_what_it_names_and_nothing_else() {
    let lab = lab().await;
    let engine = lab.engine().await;
    let with = |name: &str| saga(name, marks(1), json!({"subject": "/input/who"}));
    for name in ["one", "two"] {
        engine.register(&with(name)).await.expect("registered");
    }
    let opened = async |name: &str, who: &str| {
        engine
            .start(name, json!({"who": who}))
            .open()
            .await
            .expect("opened")
            .run
    };
    let runs = [
        opened("one", "a").await,
        opened("one", "b").await,
        opened("two", "a").await,
        opened("two", "b").await,
    ];
    let first = runs[0].to_string();
    for (scope, target, held) in [
        (
            HoldScope::Run,
            Some(first.as_str()),
            [true, false, false, false],
        ),
        (HoldScope::Saga, Some("one"), [true, true, false, false]),
        (HoldScope::Subject, Some("a"), [true, false, true, false]),
        (HoldScope::All, None, [true, true, true, true]),
    ] {
        let hold = engine
            .hold(scope, target, "look", true)
            .await
            .expect("held");
        for (run, held) in runs.iter().zip(held) {
            let number = "select state, switch_no from redress.switch limit 1";
            let text = format!(
                "begin; select redress.enter_phase('{run}', epoch, 'p1', saga, subject, 1000, 1000, 1000) from redress.run where id = '{run}'; {number}"
            );
            let entered = lab.try_sql(&text);
            assert_eq!(entered.is_err(), held, "{scope:?} {entered:?}");
            if let Err(error) = entered {
                assert!(error.starts_with("RDG04"), "{error}");
            }
        }
        let released = engine
            .release_hold(hold.id, &lab.sovereign, "over")
            .await
            .expect("released");
        assert_eq!(released, redress::Released::Done);
        assert!(!lab.path("hold").join(format!("{}.json", hold.id)).exists());
    }
    let hold = engine
        .hold(HoldScope::Run, Some(&first), "look", false)
        .await
        .expect("held");
    let (_stop, stop) = watch::channel(false);
    within(LIMIT, "idle", engine.worker().until_idle().run(stop))
        .await
        .expect("idle");
    assert_eq!(
        lab.sql("select count(*) from redress.run where state = 'completed'"),
        "3"
    );
    engine
        .release_hold(hold.id, &lab.sovereign, "over")
        .await
        .expect("released");
    assert!(matches!(
        engine.drive(runs[0]).await,
        Ok(Outcome::Completed(_))
    ));
    assert_eq!(
        refused(
            engine
                .hold(HoldScope::Run, Some("nonsense"), "x", false)
                .await
        ),
        "RD0206"
    );
    assert_eq!(
        refused(
            engine
                .hold(
                    HoldScope::Run,
                    Some(&Uuid::now_v7().to_string()),
                    "x",
                    false
                )
                .await
        ),
        "RD0206"
    );
}

/// A hold on a run is in force when it returns: whoever was inside has ended.
#[tokio::test(flavor = "multi_thread")]
async fn a_hold_on_a_run_waits_for_the_phase_inside() {
    let lab = lab().await;
    let engine = lab.engine().await;
    let slow = |i: usize| {
        let mut phase = mark(&format!("p{i}"), json!({}));
        phase["with"]["apply"][0]["sql"] = json!(format!(
            "insert into shop.mark (run, phase) select $1, 'p{i}' from pg_sleep(0.2)"
        ));
        phase
    };
    let id = open(
        &engine,
        &saga("line", (1..=20).map(slow).collect(), json!({})),
    )
    .await;
    let driven = {
        let engine = engine.clone();
        tokio::spawn(async move { engine.drive(id).await })
    };
    until("it is inside", async || {
        lab.sql("select count(*) from redress.gate_holders()") == "1"
    })
    .await;
    engine
        .hold(HoldScope::Run, Some(&id.to_string()), "look", false)
        .await
        .expect("held");
    let after = stands(&lab);
    let outcome = within(LIMIT, "it is held", driven).await.unwrap().unwrap();
    assert!(matches!(outcome, Outcome::Held(_)), "{outcome:?}");
    assert_eq!(stands(&lab), after);
}

/// F66: an automatic compensation waits for the release; an approved one that names the kill goes on; a freeze stops both.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_stops_automatic_compensation_and_lets_an_approved_one_pass() {
    let lab = lab().await;
    let engine = lab.engine().await;
    // Automatic: cancelled while nobody drives it, so the plan is begun and not yet carried out.
    let line = saga("line", marks(3), json!({}));
    engine.register(&line).await.expect("registered");
    let half = half_done(&lab, &engine, "line").await;
    engine.cancel(half, "not wanted").await.expect("cancelled");
    engine
        .kill("stop", KILL_LIMIT, false)
        .await
        .expect("killed");
    let outcome = engine.drive(half).await.expect("driven");
    let Outcome::Held(row) = &outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(
        (row.state.as_str(), rows(&lab, row).as_str()),
        ("compensating", "p1 live")
    );
    engine
        .release_kill(&lab.sovereign, "over")
        .await
        .expect("released");
    let outcome = engine.drive(half).await.expect("driven");
    assert_eq!(rows(&lab, outcome.run()), "p1 withdrawn");

    // Approved: names the kill in force.
    let signed = saga(
        "signed",
        marks(2),
        json!({"authority": {"soft_revert": {"sovereign": 1}}}),
    );
    let Outcome::Completed(row) = run(&engine, &signed).await else {
        panic!()
    };
    engine
        .kill("stop", KILL_LIMIT, false)
        .await
        .expect("killed");
    let plan = engine
        .plan(row.id, Default::default(), "undo")
        .await
        .expect("planned");
    engine
        .approve(&plan, &lab.sovereign, "yes")
        .await
        .expect("approved");
    // Another kill: the approval does not name it.
    engine
        .kill("again", KILL_LIMIT, false)
        .await
        .expect("killed");
    assert_eq!(refused(engine.apply(&plan).await), "RD0203");
    engine
        .approve(&plan, &lab.sovereign, "yes")
        .await
        .expect("approved");
    // The approval that names the kill is enough; the older one beside it does no harm.
    engine.apply(&plan).await.expect("applied");
    assert_eq!(rows(&lab, &row), "p1 withdrawn, p2 withdrawn");
    engine
        .release_kill(&lab.sovereign, "over")
        .await
        .expect("released");

    // Frozen: nothing at all.
    let Outcome::Completed(row) = again(&engine, &signed).await else {
        panic!()
    };
    engine
        .kill("freeze", KILL_LIMIT, true)
        .await
        .expect("frozen");
    let plan = engine
        .plan(row.id, Default::default(), "undo")
        .await
        .expect("planned");
    engine
        .approve(&plan, &lab.sovereign, "yes")
        .await
        .expect("approved");
    assert_eq!(refused(engine.apply(&plan).await), "RD0205");
    assert_eq!(rows(&lab, &row), "p1 live, p2 live");
}

/// A run of three phases of which the first is committed.
async fn half_done(lab: &Lab, engine: &Engine, name: &str) -> Uuid {
    lab.sql("create table if not exists shop.stop (n int)");
    let id = engine
        .start(name, json!({}))
        .open()
        .await
        .expect("opened")
        .run;
    // The second phase meets a row that is locked from outside; then the driver is gone.
    let config = lab.url().parse().unwrap();
    let other = redress::db::connect(&config).await.unwrap();
    other
        .batch_execute(&format!(
            "begin; insert into shop.mark (run, phase) values ('{id}', 'p2')"
        ))
        .await
        .unwrap();
    let driven = {
        let engine = engine.clone();
        tokio::spawn(async move { engine.drive(id).await })
    };
    until("the first phase", async || {
        lab.sql(&format!("select phase from redress.run where id = '{id}'")) == "p2"
    })
    .await;
    driven.abort();
    let _ = driven.await;
    other.batch_execute("rollback").await.unwrap();
    until("nobody is inside", async || {
        lab.sql("select count(*) from redress.gate_holders()") == "0"
    })
    .await;
    lab.sql(&format!(
        "update redress.run set owner = null where id = '{id}'"
    ));
    id
}

/// A failure whose definition wants it throws the switch in the same transaction as its record.
#[tokio::test(flavor = "multi_thread")]
async fn an_unrecovered_failure_holds_and_kills_as_the_file_says() {
    let lab = lab().await;
    lab.sql("alter table shop.mark add constraint no_p2 check (phase <> 'p2')");
    let mut sink = MockSink::new();
    sink.expect_deliver()
        .times(1)
        .withf(|alert| {
            alert["code"] == "RD0303"
                && alert["hold"]["scope"] == "saga"
                && alert["reason"].as_str().unwrap().contains("p2")
        })
        .returning(|_| Err("nobody listens".into()));
    let engine = lab
        .builder(lab.url())
        .alert(std::sync::Arc::new(sink))
        .build()
        .await
        .expect("an engine");
    let line = saga(
        "line",
        vec![
            mark("p1", json!({})),
            mark("p2", json!({"on_failure": "hold"})),
        ],
        json!({"on_unrecovered": {"hold": "saga", "kill": true}}),
    );
    let Outcome::Held(row) = run(&engine, &line).await else {
        panic!()
    };
    let switch = engine.switch().await.unwrap().unwrap();
    assert_eq!((switch.state.as_str(), switch.switch_no), ("killed", 2));
    let text = format!(
        "select count(distinct xid), count(*) from redress.record where (run = '{}' and kind in ('hold.set', 'plan.made') ) or kind = 'switch.killed' \
         or (run = '{}' and kind = 'phase.failed')",
        row.id, row.id
    );
    assert_eq!(lab.sql(&text), "1|4");
    let holds = engine.holds().await.unwrap();
    assert_eq!(
        (
            holds.len(),
            holds[0].scope.as_str(),
            holds[0].target.as_deref()
        ),
        (1, "saga", Some("line"))
    );
    let alerts = fs::read_to_string(lab.path("alerts.jsonl")).expect("alerts");
    assert!(alerts.contains(&row.id.to_string()));
    // The run is repaired by an approved plan that names the kill and its own hold.
    let plan = engine
        .find_plan(&row.id.to_string())
        .await
        .expect("planned with the failure");
    let applied = engine.apply(&plan).await;
    println!("an automatic authority under a kill: {applied:?}");
    engine
        .release_kill(&lab.sovereign, "over")
        .await
        .expect("released");
    if applied.is_err() {
        engine.apply(&plan).await.expect("applied");
    }
    assert_eq!(rows(&lab, &row), "p1 withdrawn");
}

/// Makes a login role that is a member of one of ours only.
pub fn login(lab: &Lab, group: &str) -> (String, String) {
    let role = format!("login_{}", Uuid::now_v7().simple());
    lab.sql(&format!("create role {role} login in role {group}"));
    let database = lab.sql("select current_database()");
    let url = TestCluster::shared().url_as(&role, &database);
    (role, url)
}
