//! Opening and claiming runs: one key, one run; one claim, one epoch; and what is refused before anything stands.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use redress::adapter::{AdapterError, Applied};
use redress::{Error, Outcome};
use redress_tests::Lab;
use redress_tests::lab::SHOP_SAGA;
use serde_json::{Value, json};
use tokio::sync::watch;
use uuid::Uuid;

use crate::common::*;

/// F46
#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_starts_of_one_key_at_once_open_one_run() {
    let lab = Lab::new().await;
    lab.sql(MARKS);
    let engine = lab.engine().await;
    let input = json!({"order": "A1", "sku": "tea", "qty": 3});
    // With a subject that is taken exclusively, and without one; eagerly, and left to workers.
    engine
        .register(&Lab::read(SHOP_SAGA))
        .await
        .expect("registered");
    engine
        .register(&saga("line", marks(2), json!({})))
        .await
        .expect("registered");
    for (name, input, eager) in [
        ("order", input.clone(), true),
        (
            "order",
            json!({"order": "A2", "sku": "tea", "qty": 3}),
            false,
        ),
        ("line", json!({}), true),
        ("line", json!({"n": 1}), false),
    ] {
        let key = format!("{name}-{eager}");
        let starts = (0..64).map(|_| {
            let (engine, input, key) = (engine.clone(), input.clone(), key.clone());
            tokio::spawn(async move {
                let start = engine.start(name, input).key(key);
                if eager {
                    engine
                        .start_and_drive(start)
                        .await
                        .map(|(started, _)| started)
                } else {
                    start.open().await
                }
            })
        });
        let answers = within(LIMIT * 2, "all are answered", join_all(starts)).await;
        let answers: Vec<_> = answers
            .into_iter()
            .map(|answer| {
                answer
                    .unwrap()
                    .unwrap_or_else(|error| panic!("{key}: {} {error}", error.code()))
            })
            .collect();
        let ids: BTreeSet<Uuid> = answers.iter().map(|started| started.run).collect();
        assert_eq!(ids.len(), 1, "{key}");
        assert_eq!(
            answers.iter().filter(|started| started.opened).count(),
            1,
            "{key}"
        );
    }
    assert_eq!(lab.sql("select count(*) from redress.run"), "4");
    assert_eq!(
        lab.sql("select left_over from shop.stock where sku = 'tea'"),
        "999997"
    );
    assert_eq!(lab.sql("select count(*) from shop.mark"), "2");
}

/// F46: the key and the subject are two unique rules; a start that waits for the second is still the same start.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_loses_its_subject_to_its_own_key_is_answered_with_that_run() {
    let lab = Lab::new().await;
    let engine = lab.engine().await;
    engine
        .register(&Lab::read(SHOP_SAGA))
        .await
        .expect("registered");
    for round in 0..20 {
        let order = format!("A{round}");
        let starts = (0..8).map(|_| {
            let (engine, order) = (engine.clone(), order.clone());
            tokio::spawn(async move {
                let input = json!({"order": order, "sku": "tea", "qty": 1});
                engine.start("order", input).key(order).open().await
            })
        });
        let ids: BTreeSet<Uuid> = join_all(starts)
            .await
            .into_iter()
            .map(|s| s.unwrap().expect("answered").run)
            .collect();
        assert_eq!(ids.len(), 1);
    }
}

/// F47
#[tokio::test(flavor = "multi_thread")]
async fn a_key_with_another_input_is_a_conflict_and_changes_nothing() {
    let lab = Lab::new().await;
    lab.sql(MARKS);
    let engine = lab.engine().await;
    let line = saga("line", marks(2), json!({}));
    engine.register(&line).await.expect("registered");
    let first = engine
        .start("line", json!({"b": 1, "a": 2}))
        .key("k")
        .open()
        .await
        .expect("opened");
    // Equal as values, though written in another order.
    let same = engine
        .start("line", json!({"a": 2, "b": 1}))
        .key("k")
        .open()
        .await
        .expect("found");
    assert_eq!((same.run, same.opened), (first.run, false));
    let before = lab.sql("select * from redress.run");
    for eager in [false, true] {
        let start = engine.start("line", json!({"a": 3})).key("k");
        let error = match eager {
            false => start.open().await.map(|_| ()).unwrap_err(),
            true => engine.start_and_drive(start).await.map(|_| ()).unwrap_err(),
        };
        let Error::Conflict { key, run } = &error else {
            panic!("{error}")
        };
        assert_eq!(
            (key.as_str(), *run, error.code()),
            ("k", first.run, "RD0211")
        );
    }
    assert_eq!(lab.sql("select * from redress.run"), before);
    assert_eq!(lab.sql("select count(*) from shop.mark"), "0");
}

/// F48
#[tokio::test(flavor = "multi_thread")]
async fn of_two_workers_that_claim_one_run_one_gets_it() {
    let lab = Lab::new().await;
    lab.sql(MARKS);
    let engine = lab.engine().await;
    let line = saga("line", marks(1), json!({}));
    let digest = engine.register(&line).await.expect("registered");
    for _ in 0..10 {
        engine
            .start("line", json!({}))
            .open()
            .await
            .expect("opened");
    }
    let url = lab.url().to_owned();
    let claims = (0..8).map(|_| {
        let (url, worker) = (url.clone(), Uuid::now_v7());
        tokio::task::spawn_blocking(move || {
            // A worker announces itself before it claims, in a transaction of its own.
            let beat = format!("select redress.beat('{worker}', 'w', 10000)");
            redress_tests::query_text(&url, &beat);
            let claim = format!(
                "select id from redress.claim('{worker}', 4, array['\\x{digest}'::bytea], '{{}}')"
            );
            redress_tests::query_text(&url, &claim)
        })
    });
    let mut all: Vec<String> = Vec::new();
    for claimed in join_all(claims).await {
        all.extend(
            claimed
                .unwrap()
                .lines()
                .filter(|line| line.len() == 36)
                .map(str::to_owned),
        );
    }
    let different: BTreeSet<&String> = all.iter().collect();
    assert_eq!(
        (all.len(), different.len()),
        (10, 10),
        "each run is claimed once"
    );
    assert_eq!(
        lab.sql("select distinct epoch, claims from redress.run"),
        "2|1"
    );
    // Nobody gets them again while the leases last; a fenced epoch is refused.
    let run = &all[0];
    let text =
        format!("select redress.enter_phase('{run}', 1, 'p1', 'line', null, 1000, 1000, 1000)");
    assert!(lab.try_sql(&text).unwrap_err().starts_with("RDR02"));
    let other = Uuid::now_v7();
    assert_eq!(
        lab.sql(&format!(
            "select epoch is null from redress.claim_run('{other}', '{run}')"
        )),
        "t"
    );
}

/// One run at a time on a subject, also while it is failed; others are not in its way.
#[tokio::test(flavor = "multi_thread")]
async fn a_subject_has_one_active_run() {
    let lab = Lab::new().await;
    let engine = lab.engine().await;
    engine
        .register(&Lab::read(SHOP_SAGA))
        .await
        .expect("registered");
    let start =
        |order: &str| engine.start("order", json!({"order": order, "sku": "tea", "qty": 1}));
    let first = start("A1").open().await.expect("opened");
    for eager in [false, true] {
        let busy = match eager {
            false => start("A1").open().await.map(|_| ()),
            true => engine.start_and_drive(start("A1")).await.map(|_| ()),
        };
        assert_eq!(refused(busy), "RD0212");
    }
    start("A2").open().await.expect("another subject is free");
    assert!(matches!(
        engine.drive(first.run).await,
        Ok(Outcome::Completed(_))
    ));
    start("A1").open().await.expect("free again");
    assert_eq!(lab.sql("select count(*) from redress.run"), "3");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_input_that_does_not_fit_opens_nothing() {
    let lab = Lab::new().await;
    let engine = lab.engine().await;
    engine
        .register(&Lab::read(SHOP_SAGA))
        .await
        .expect("registered");
    for input in [
        json!({}),
        json!({"order": "A1", "sku": "tea", "qty": 0}),
        json!({"order": "A1", "sku": "tea", "qty": 1.5}),
        json!({"order": "A1", "sku": "tea", "qty": 9_007_199_254_740_993_i64}),
        json!({"order": "", "sku": "tea", "qty": 1}),
        json!({"order": "A\u{0}1", "sku": "tea", "qty": 1}),
        json!({"order": "A1", "sku": "tea", "qty": 1, "more": 1}),
        json!([]),
        Value::Null,
    ] {
        assert_eq!(
            refused(engine.start("order", input.clone()).open().await),
            "RD0192",
            "{input}"
        );
        let driven = engine
            .start_and_drive(engine.start("order", input.clone()))
            .await;
        assert_eq!(refused(driven), "RD0192", "{input}");
    }
    let fine = || engine.start("order", json!({"order": "A1", "sku": "tea", "qty": 1}));
    assert_eq!(refused(fine().key("").open().await), "RD0192");
    assert_eq!(refused(fine().key("x".repeat(513)).open().await), "RD0192");
    assert_eq!(refused(fine().version(2).open().await), "RD0191");
    assert_eq!(
        refused(engine.start("nothing", json!({})).open().await),
        "RD0191"
    );
    let phases = fine().dry_run().await.expect("judged");
    assert_eq!(
        phases.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(),
        ["reserve", "book", "dispatch"]
    );
    assert_eq!(
        lab.sql("select (select count(*) from redress.run), (select count(*) from redress.record)"),
        "0|0"
    );
}

/// A snapshot that is not what the file expects: nothing is started.
#[tokio::test(flavor = "multi_thread")]
async fn an_expectation_that_does_not_hold_opens_nothing() {
    let lab = Lab::new().await;
    lab.sql(MARKS);
    let engine = lab.engine().await;
    let line = saga(
        "line",
        marks(1),
        json!({"snapshot": [{"name": "empty", "sql": "select count(*) from shop.audit", "expect": 0}]}),
    );
    assert!(matches!(run(&engine, &line).await, Outcome::Completed(_)));
    lab.sql("insert into shop.audit values ('x')");
    let Err(error) = engine
        .start_and_drive(engine.start("line", json!({})))
        .await
    else {
        panic!()
    };
    assert_eq!(error.code(), "RD0213");
    assert_eq!(
        refused(engine.start("line", json!({})).open().await),
        "RD0213"
    );
    assert_eq!(lab.sql("select count(*) from redress.run"), "1");
}

/// F96: what people write is a value everywhere, and comes back as it was.
#[tokio::test(flavor = "multi_thread")]
async fn names_with_quotes_and_statements_in_them_are_stored_as_they_are() {
    let lab = Lab::new().await;
    let engine = lab.engine().await;
    engine
        .register(&Lab::read(SHOP_SAGA))
        .await
        .expect("registered");
    for nasty in [
        "'; drop table redress.record; --",
        "\"x\" $1 $$ %s %I \\ \\x00 \u{1b}[31m",
        "Zoë\u{200f}\u{0301} 🦀 \n\t\r",
        "null",
        "{\"$blob\": {\"id\": 1}}",
        "/run/id",
    ] {
        let input = json!({"order": nasty, "sku": "tea", "qty": 1, "note": nasty});
        let start = engine.start("order", input.clone()).key(nasty);
        let (started, outcome) = engine.start_and_drive(start).await.expect("driven");
        let Outcome::Completed(row) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(
            (row.subject.as_deref(), row.key.as_str()),
            (Some(nasty), nasty)
        );
        let opened = body(&lab, started.run, "run.opened");
        assert_eq!(
            (&opened["input"], &opened["key"], &opened["subject"]),
            (&input, &json!(nasty), &json!(nasty))
        );
        engine
            .hold(
                redress::definition::HoldScope::Subject,
                Some(nasty),
                nasty,
                false,
            )
            .await
            .expect("held");
        let again = engine.start("order", input).open().await;
        assert_eq!(refused(again), "RD0204", "{nasty}");
    }
    assert_eq!(lab.sql("select count(*) from redress.run"), "6");
}

/// An input that only looks like the engine's own reference to a blob is data.
#[tokio::test(flavor = "multi_thread")]
async fn an_input_that_looks_like_a_blob_is_data() {
    let lab = Lab::new().await;
    lab.sql(MARKS);
    let engine = lab.engine().await;
    let line = saga("line", marks(2), json!({}));
    engine.register(&line).await.expect("registered");
    let sly = json!({"$blob": {"id": Uuid::now_v7().to_string(), "len": 3, "commitment": nowhere().to_string()}});
    let large = json!({"text": "x".repeat(100_000)});
    for input in [large, sly] {
        let opened = engine.start("line", input.clone()).open().await;
        let Ok(started) = opened else {
            // Refused is as good: it must not be opened and then be unreadable.
            assert_eq!(refused(opened), "RD0192");
            continue;
        };
        let outcome = engine.drive(started.run).await;
        assert!(
            matches!(outcome, Ok(Outcome::Completed(_))),
            "{input:.80}: {outcome:?}"
        );
    }
}

/// P12 and its neighbours: what could not be undone, or judged, is refused when it is registered.
#[tokio::test(flavor = "multi_thread")]
async fn a_saga_that_could_not_be_undone_is_refused_when_it_is_registered() {
    let lab = Lab::new().await;
    lab.sql(MARKS);
    let engine = lab.engine().await;
    let check = async |phase: Value, code: &str| {
        let findings = engine
            .check_definition(&saga("line", vec![phase.clone()], json!({})))
            .await
            .expect("asked");
        assert!(
            findings.iter().any(|f| f.code == code),
            "{code}: {findings:?}\n{phase}"
        );
        let refused = engine.register(&saga("line", vec![phase], json!({}))).await;
        assert!(matches!(refused, Err(Error::Definition(_))));
    };
    let with = |list: &str, sql: &str| {
        let mut phase = mark("p1", json!({}));
        phase["with"][list] = json!([{"sql": sql}]);
        phase
    };
    let codes = async |phase: Value| -> Vec<String> {
        let findings = engine
            .check_definition(&saga("line", vec![phase], json!({})))
            .await
            .expect("asked");
        findings.iter().map(|f| f.code.to_owned()).collect()
    };
    // P12.
    let bare = mark("p1", json!({"compensation": "none", "residue": []}));
    assert!(!codes(bare.clone()).await.is_empty());
    assert!(matches!(
        engine.register(&saga("line", vec![bare], json!({}))).await,
        Err(Error::Definition(_))
    ));
    // A way back without statements, a guard that locks nothing, a write that nobody declared, nonsense.
    for phase in [
        mark("p1", json!({"with": {"apply": [{"sql": "select 1"}]}})),
        with("guard", "select true from shop.mark"),
        with("guard", "select true from shop.mark for update skip locked"),
        with("apply", "insert into shop.audit values ('x')"),
        with("revert", "delete from shop.audit"),
        with("apply", "selec 1"),
        with("apply", "commit"),
        with("apply", "insert into shop.mark (run) values ($1)"),
        with("apply", "insert into shop.nothing values (1)"),
        mark("p1", json!({"role": "nobody_of_this_name"})),
        mark("p1", json!({"compensation": "hard_delete"})),
    ] {
        assert!(!codes(phase.clone()).await.is_empty(), "{phase}");
        assert!(matches!(
            engine.register(&saga("line", vec![phase], json!({}))).await,
            Err(Error::Definition(_))
        ));
    }
    check(
        mark("p1", json!({"on_failure": {"rewind_to": "p1"}})),
        "RD0115",
    )
    .await;
    assert_eq!(lab.sql("select count(*) from redress.definition"), "0");
    // The same name and version is the same saga for ever.
    engine
        .register(&saga("line", marks(1), json!({})))
        .await
        .expect("registered");
    engine
        .register(&saga("line", marks(1), json!({})))
        .await
        .expect("the same again");
    assert_eq!(
        refused(engine.register(&saga("line", marks(2), json!({}))).await),
        "RD0190"
    );
    assert_eq!(lab.sql("select count(*) from redress.definition"), "1");
}

/// F78: a run keeps the definition that it was opened with.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_finished_and_undone_by_the_version_it_was_opened_with() {
    let lab = Lab::new().await;
    lab.sql(MARKS);
    let engine = lab.engine().await;
    let old = open(&engine, &saga("line", marks(3), json!({}))).await;
    engine
        .register(&saga("line", marks(1), json!({"version": 2})))
        .await
        .expect("registered");
    let new = engine
        .start("line", json!({}))
        .open()
        .await
        .expect("opened")
        .run;
    lab.sql("alter table shop.mark add constraint no_p3 check (phase <> 'p3')");
    let outcome = engine.drive(old).await.expect("driven");
    assert_eq!(rows(&lab, outcome.run()), "p1 withdrawn, p2 withdrawn");
    let Ok(Outcome::Completed(row)) = engine.drive(new).await else {
        panic!()
    };
    assert_eq!((row.version, rows(&lab, &row).as_str()), (2, "p1 live"));
}

/// F79: who lacks an adapter leaves the run to others.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_without_the_adapter_leaves_the_run_alone() {
    let lab = Lab::new().await;
    lab.sql(MARKS);
    let able = lab.engine_with(Act::marking("act").done()).await;
    let line = saga("line", vec![act("p1", "act", json!({}))], json!({}));
    let id = open(&able, &line).await;
    let other = lab.engine().await;
    let (_stop, stop) = watch::channel(false);
    within(
        LIMIT,
        "nothing to do",
        other.worker().until_idle().run(stop.clone()),
    )
    .await
    .expect("idle");
    assert_eq!(lab.sql("select epoch, claims from redress.run"), "1|0");
    within(LIMIT, "it is done", able.worker().until_idle().run(stop))
        .await
        .expect("idle");
    assert_eq!(
        lab.sql(&format!("select state from redress.run where id = '{id}'")),
        "completed"
    );
    // Driven by name where the adapter is missing: held with its name, not undone.
    let id = able
        .start("line", json!({}))
        .open()
        .await
        .expect("opened")
        .run;
    let Outcome::Held(row) = other.drive(id).await.expect("driven") else {
        panic!()
    };
    assert_eq!(code(&row), "RD0304");
    assert!(row.error.unwrap().1.contains("act"));
}

/// F80: a run that ends its workers is held after so many claims, and the others go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_claimed_too_often_is_held_and_the_others_go_on() {
    let lab = Lab::new().await;
    lab.sql(MARKS);
    let engine = lab.engine().await;
    let line = saga("line", marks(1), json!({}));
    let poison = open(&engine, &line).await;
    let good = engine
        .start("line", json!({}))
        .open()
        .await
        .expect("opened")
        .run;
    // As many workers have died with it as are allowed.
    let text = format!(
        "update redress.run set claims = {} where id = '{poison}'",
        redress::CLAIMS_MAX
    );
    lab.sql(&text);
    let (_stop, stop) = watch::channel(false);
    within(LIMIT, "idle", engine.worker().until_idle().run(stop))
        .await
        .expect("idle");
    assert_eq!(
        lab.sql(&format!(
            "select state from redress.run where id = '{good}'"
        )),
        "completed"
    );
    assert_eq!(
        lab.sql(&format!(
            "select state, phase from redress.run where id = '{poison}'"
        )),
        "running|p1"
    );
    let holds = engine.holds().await.expect("holds");
    assert_eq!(
        (holds.len(), holds[0].run, holds[0].code.as_str()),
        (1, Some(poison), "RD0216")
    );
    assert!(
        lab.path("hold")
            .join(format!("{}.json", holds[0].id))
            .exists()
    );
    // Released by a signature, it gets its tries again.
    engine
        .release_hold(holds[0].id, &lab.sovereign, "looked at it")
        .await
        .expect("released");
    assert!(matches!(
        engine.drive(poison).await,
        Ok(Outcome::Completed(_))
    ));
}

/// A worker that stops gives back what it has, at once and without counting it as a try.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_stops_gives_its_runs_back() {
    let lab = Lab::new().await;
    lab.sql(MARKS);
    let (free, gate) = watch::channel(false);
    let adapter = Act::new("act", move |tx, call| {
        let mut gate = gate.clone();
        Box::pin(async move {
            gate.wait_for(|free| *free)
                .await
                .map_err(|e| AdapterError::Hold(e.to_string()))?;
            put_mark(tx, call).await?;
            Ok(Applied::default())
        })
    });
    let engine = lab.engine_with(adapter.done()).await;
    let line = saga(
        "line",
        vec![act("p1", "act", json!({})), mark("p2", json!({}))],
        json!({}),
    );
    let id = open(&engine, &line).await;
    let (stop, stopping) = watch::channel(false);
    let worker = {
        let engine = engine.clone();
        tokio::spawn(async move { engine.worker().run(stopping).await })
    };
    until("it is claimed", async || {
        lab.sql("select owner is not null from redress.run") == "t"
    })
    .await;
    stop.send_replace(true);
    free.send_replace(true);
    within(LIMIT, "the worker stops", worker)
        .await
        .unwrap()
        .expect("stopped");
    let row = lab.sql(&format!(
        "select owner is null, claims, phase from redress.run where id = '{id}'"
    ));
    assert!(["t|0|p1", "t|0|p2"].contains(&row.as_str()), "{row}");
    assert_eq!(lab.sql("select count(*) from redress.worker"), "0");
    let outcome = within(Duration::from_secs(5), "at once", engine.drive(id))
        .await
        .expect("driven");
    assert!(matches!(outcome, Outcome::Completed(_)));
}

/// A run whose worker lost the database for a while is taken up again, by that worker or another, while it lives.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_lost_its_database_takes_its_runs_up_again() {
    let cluster = redress_tests::TestCluster::own();
    let database = cluster.fresh_database();
    let lab = Lab::at(database.url()).await;
    lab.sql(MARKS);
    let (free, gate) = watch::channel(false);
    let adapter = Act::new("act", move |tx, call| {
        let mut gate = gate.clone();
        Box::pin(async move {
            gate.wait_for(|free| *free)
                .await
                .map_err(|e| AdapterError::Hold(e.to_string()))?;
            put_mark(tx, call).await?;
            Ok(Applied::default())
        })
    });
    let lease = Duration::from_secs(1);
    let engine = lab
        .builder(lab.url())
        .adapter(adapter.done())
        .lease(lease)
        .build()
        .await
        .expect("an engine");
    let id = open(
        &engine,
        &saga("line", vec![act("p1", "act", json!({}))], json!({})),
    )
    .await;
    let (_stop, stopping) = watch::channel(false);
    let worker = {
        let engine = engine.clone();
        tokio::spawn(async move { engine.worker().run(stopping).await })
    };
    until("it is inside its phase", async || {
        lab.sql("select count(*) from pg_stat_activity where state = 'idle in transaction'") != "0"
    })
    .await;
    cluster.stop(redress_cli::cluster::Stop::Immediate);
    free.send_replace(true);
    // Longer than a driver tries to reconnect.
    tokio::time::sleep(Duration::from_secs(4)).await;
    cluster.start();
    until("it is done", async || {
        lab.try_sql(&format!("select state from redress.run where id = '{id}'"))
            .is_ok_and(|state| state == "completed")
    })
    .await;
    worker.abort();
    assert_eq!(lab.sql("select count(*) from shop.mark"), "1");
}
