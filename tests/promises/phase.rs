//! One phase, one transaction: whatever its adapter does, effect and record commit together or not at all.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use redress::Outcome;
use redress::adapter::{AdapterError, Applied};
use redress_tests::{Lab, TestCluster};
use serde_json::{Value, json};

use crate::common::*;

/// A lab with the rows of [`MARKS`].
async fn lab() -> Lab {
    let lab = Lab::new().await;
    lab.sql(MARKS);
    lab
}

/// A saga of one ordinary phase and one of an adapter named `act`.
fn line(fields: Value) -> redress::definition::Definition {
    saga(
        "line",
        vec![mark("p1", json!({})), act("p2", "act", fields)],
        json!({}),
    )
}

/// F17
#[tokio::test(flavor = "multi_thread")]
async fn an_adapter_that_panics_costs_only_its_own_phase() {
    let lab = lab().await;
    let mut says = MockSays::new();
    says.expect_apply()
        .times(1)
        .returning(|_| panic!("out of tea"));
    says.expect_apply().times(1).returning(|_| Ok(()));
    let engine = lab.engine_with(Told::by("act", says)).await;
    let saga = line(json!({}));
    let Outcome::Compensated(row) = run(&engine, &saga).await else {
        panic!("a panic is a failure of the phase")
    };
    assert_eq!(
        (code(&row), row.failed_phase.as_deref()),
        ("RD0316", Some("p2"))
    );
    assert!(
        body(&lab, row.id, "phase.failed")["message"]
            .as_str()
            .unwrap()
            .contains("out of tea")
    );
    assert_eq!(rows(&lab, &row), "p1 withdrawn");
    // The engine and its sessions live on.
    assert!(matches!(again(&engine, &saga).await, Outcome::Completed(_)));
}

/// F43: the adapter hides a failed statement, so only the engine's own last statement can find it.
#[tokio::test(flavor = "multi_thread")]
async fn a_statement_error_that_the_adapter_swallows_fails_the_phase() {
    let lab = lab().await;
    let adapter = Act::new("act", |tx, call| {
        Box::pin(async move {
            put_mark(tx, call).await?;
            assert!(tx.execute("select 1 / 0", &[]).await.is_err());
            Ok(Applied::default())
        })
    });
    let engine = lab.engine_with(adapter.done()).await;
    let outcome = run(&engine, &line(json!({}))).await;
    let row = outcome.run();
    assert!(
        matches!(outcome, Outcome::Held(_) | Outcome::Compensated(_)),
        "{outcome:?}"
    );
    assert_eq!(phases(&lab, row, "phase.committed"), ["p1"]);
    assert_eq!(body(&lab, row.id, "phase.failed")["sqlstate"], "25P02");
    assert!(!rows(&lab, row).contains("p2"));
}

/// F44: whatever would end the transaction or leave the phase's role is refused, even when the adapter hides it.
#[tokio::test(flavor = "multi_thread")]
async fn an_adapter_cannot_end_its_transaction_in_any_words() {
    const TEXTS: [&str; 12] = [
        "commit",
        "COMMIT AND CHAIN",
        "/* x */ end",
        "-- x\nrollback",
        "savepoint s",
        "release s",
        "prepare transaction 'x'",
        "set role postgres",
        "reset role",
        "set local lock_timeout = 0",
        "discard all",
        "; ; abort",
    ];
    let lab = lab().await;
    let next = Arc::new(AtomicU32::new(0));
    let at = Arc::clone(&next);
    let adapter = Act::new("act", move |tx, call| {
        let at = Arc::clone(&at);
        Box::pin(async move {
            put_mark(tx, call).await?;
            let text = TEXTS[at.fetch_add(1, Ordering::SeqCst) as usize / 2 % TEXTS.len()];
            match tx.execute(text, &[]).await {
                // Every second time it is hidden.
                Err(_) if at.load(Ordering::SeqCst).is_multiple_of(2) => Ok(Applied::default()),
                Err(error) => Err(error.into()),
                Ok(_) => Ok(Applied::default()),
            }
        })
    });
    let engine = lab.engine_with(adapter.done()).await;
    let saga = line(json!({}));
    engine.register(&saga).await.expect("registered");
    for _ in 0..2 * TEXTS.len() {
        let outcome = again(&engine, &saga).await;
        let Outcome::Held(row) = outcome else {
            panic!("{outcome:?}")
        };
        assert!(
            ["RD0307", "RD0309"].contains(&code(&row)),
            "{:?}",
            row.error
        );
        assert_eq!(phases(&lab, &row, "phase.committed"), ["p1"]);
        assert_eq!(rows(&lab, &row), "p1 live");
    }
    assert_eq!(next.load(Ordering::SeqCst) as usize, 2 * TEXTS.len());
}

/// F44: procedures and DO blocks that commit are refused by the server, and found when that is hidden.
#[tokio::test(flavor = "multi_thread")]
async fn a_procedure_that_commits_is_found_even_when_its_error_is_hidden() {
    for (text, hidden) in [
        ("do $$ begin commit; end $$", false),
        ("do $$ begin commit; end $$", true),
        ("do $$ begin rollback; end $$", true),
        ("call shop.commits()", true),
    ] {
        let lab = lab().await;
        lab.sql("create procedure shop.commits() language plpgsql as $$ begin commit; end $$");
        let adapter = Act::new("act", move |tx, call| {
            Box::pin(async move {
                put_mark(tx, call).await?;
                match tx.execute(text, &[]).await {
                    Err(error) if !hidden => Err(error.into()),
                    _ => Ok(Applied::default()),
                }
            })
        });
        let engine = lab.engine_with(adapter.done()).await;
        let outcome = run(&engine, &line(json!({}))).await;
        let Outcome::Held(row) = outcome else {
            panic!("{text}: {outcome:?}")
        };
        assert_eq!(phases(&lab, &row, "phase.committed"), ["p1"], "{text}");
        assert_eq!(rows(&lab, &row), "p1 live", "{text}");
    }
}

/// F44: an adapter that drops its role by a function call is still held to what it declared.
#[tokio::test(flavor = "multi_thread")]
async fn an_adapter_that_leaves_its_role_is_still_held_to_its_writes() {
    let lab = lab().await;
    let role = clerk(&lab);
    let adapter = Act::new("act", |tx, call| {
        Box::pin(async move {
            put_mark(tx, call).await?;
            tx.query("select set_config('role', 'none', true)", &[])
                .await?;
            tx.execute("insert into shop.audit (note) values ('escaped')", &[])
                .await?;
            Ok(Applied::default())
        })
    });
    let engine = lab.engine_with(adapter.done()).await;
    let outcome = run(&engine, &line(json!({"role": role.as_str()}))).await;
    let Outcome::Compensated(row) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(code(&row), "RD0302");
    assert_eq!(lab.sql("select count(*) from shop.audit"), "0");
    drop_role(&lab, &role);
}

/// Coverage by privilege: what the phase's role may not write is not written.
#[tokio::test(flavor = "multi_thread")]
async fn a_phase_under_a_role_can_do_no_more_than_the_role() {
    let lab = lab().await;
    let role = clerk(&lab);
    let seen = Arc::new(std::sync::Mutex::new(String::new()));
    let note = Arc::clone(&seen);
    let adapter = Act::new("act", move |tx, call| {
        let note = Arc::clone(&note);
        Box::pin(async move {
            let row = tx.query("select current_user::text", &[]).await?;
            *note.lock().unwrap() = row[0].get(0);
            put_mark(tx, call).await?;
            tx.execute("insert into shop.audit (note) values ('x')", &[])
                .await?;
            Ok(Applied::default())
        })
    });
    let engine = lab.engine_with(adapter.done()).await;
    let fields = json!({"role": role.as_str(), "writes": ["shop.mark", "shop.audit"], "residue": ["shop.mark", "shop.audit"]});
    let outcome = run(&engine, &line(fields)).await;
    assert_eq!(*seen.lock().unwrap(), role);
    let row = outcome.run();
    assert_eq!(body(&lab, row.id, "phase.failed")["sqlstate"], "42501");
    assert_eq!(lab.sql("select count(*) from shop.audit"), "0");
    // The record is written under the engine's own role again.
    let good = saga(
        "good",
        vec![mark("p1", json!({"role": role.as_str()}))],
        json!({}),
    );
    assert!(matches!(run(&engine, &good).await, Outcome::Completed(_)));
    drop_role(&lab, &role);
}

/// A role that may write marks and nothing else.
fn clerk(lab: &Lab) -> String {
    let role = format!("clerk_{}", uuid::Uuid::now_v7().simple());
    lab.sql(&format!(
        "create role {role}; grant usage on schema shop to {role}; grant select, insert, update on shop.mark to {role}"
    ));
    role
}

fn drop_role(lab: &Lab, role: &str) {
    lab.sql(&format!("drop owned by {role}; drop role {role}"));
}

/// An adapter that does not end: its own waiting is cut by the engine, its statement by the server.
#[tokio::test(flavor = "multi_thread")]
async fn a_phase_ends_at_its_time_limit_and_leaves_nothing() {
    let sleeps: [Act; 2] = [
        Act::new("act", |tx, call| {
            Box::pin(async move {
                put_mark(tx, call).await?;
                std::future::pending().await
            })
        }),
        Act::new("act", |tx, call| {
            Box::pin(async move {
                put_mark(tx, call).await?;
                tx.execute("select pg_sleep(60)", &[]).await?;
                Ok(Applied::default())
            })
        }),
    ];
    for adapter in sleeps {
        let lab = lab().await;
        let engine = lab.engine_with(adapter.done()).await;
        let begun = Instant::now();
        let outcome = run(&engine, &line(json!({"timeout": "200ms"}))).await;
        let Outcome::Compensated(row) = outcome else {
            panic!("{outcome:?}")
        };
        assert!(
            begun.elapsed() < Duration::from_secs(6),
            "{:?}",
            begun.elapsed()
        );
        assert_eq!(
            (code(&row), rows(&lab, &row).as_str()),
            ("RD0305", "p1 withdrawn")
        );
        // No lock of it is left behind.
        lab.sql("set lock_timeout = '2s'; lock table shop.mark in access exclusive mode");
    }
}

/// F31, F71: what is passing is tried again as often as the file says, each attempt counted and recorded.
#[tokio::test(flavor = "multi_thread")]
async fn a_passing_error_is_tried_again_and_every_attempt_is_a_record() {
    let lab = lab().await;
    let mut says = MockSays::new();
    let mut order = mockall::Sequence::new();
    says.expect_apply()
        .times(2)
        .in_sequence(&mut order)
        .returning(|_| Err(AdapterError::Transient("busy".into())));
    says.expect_apply()
        .times(1)
        .in_sequence(&mut order)
        .returning(|_| Ok(()));
    says.expect_apply()
        .times(3)
        .in_sequence(&mut order)
        .returning(|_| Err(AdapterError::Transient("down".into())));
    let engine = lab.engine_with(Told::by("act", says)).await;
    let saga = line(json!({"retry": {"attempts": 3, "backoff": "5ms", "max": "10ms"}}));
    let outcome = run(&engine, &saga).await;
    let Outcome::Completed(row) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(phases(&lab, &row, "phase.failed"), ["p2", "p2"]);
    assert_eq!(
        (row.attempts, rows(&lab, &row).as_str()),
        (0, "p1 live, p2 live")
    );
    let outcome = again(&engine, &saga).await;
    let Outcome::Compensated(row) = outcome else {
        panic!("{outcome:?}")
    };
    let text = format!(
        "select convert_from(bytes, 'UTF8')::json #>> '{{body,attempt}}', convert_from(bytes, 'UTF8')::json #>> '{{body,final}}' \
         from redress.record where run = '{}' and kind = 'phase.failed' order by seq",
        row.id
    );
    assert_eq!(lab.sql(&text), "1|false\n2|false\n3|true");
}

/// F32: a lock that somebody else holds is waited for within limits, then the attempt is repeated.
#[tokio::test(flavor = "multi_thread")]
async fn a_phase_that_meets_a_lock_is_repeated_when_the_lock_is_gone() {
    let lab = lab().await;
    let engine = lab.engine().await;
    let fields =
        json!({"timeout": "300ms", "retry": {"attempts": 50, "backoff": "10ms", "max": "20ms"}});
    let saga = saga(
        "line",
        vec![mark("p1", json!({})), mark("p2", fields)],
        json!({}),
    );
    engine.register(&saga).await.expect("registered");
    let config = lab.url().parse().unwrap();
    let other = redress::db::connect(&config).await.unwrap();
    let id = open(&engine, &saga).await;
    let p1 = format!("begin; insert into shop.mark (run, phase) values ('{id}', 'p2')");
    other.batch_execute(&p1).await.unwrap();
    let driven = {
        let engine = engine.clone();
        tokio::spawn(async move { engine.drive(id).await })
    };
    until("an attempt meets the lock", async || {
        lab.sql(&format!(
            "select count(*) from redress.record where run = '{id}' and kind = 'phase.failed'"
        )) != "0"
    })
    .await;
    // The lock's limit or the statement's, whichever the server heeds first.
    assert!(
        ["RD0805", "RD0305"].contains(&body(&lab, id, "phase.failed")["code"].as_str().unwrap())
    );
    other.batch_execute("rollback").await.unwrap();
    let outcome = within(LIMIT, "the run ends", driven)
        .await
        .unwrap()
        .unwrap();
    let Outcome::Completed(row) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(rows(&lab, &row), "p1 live, p2 live");
}

/// A definition's `writes` is the whole truth: whatever an adapter writes beside it rolls the phase back.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_adapter_writes_without_declaring_it_is_rolled_back() {
    // In words of a Rust adapter, which nobody can look into.
    let check = async |prepare: &str, text: &'static str, named: &str| {
        let lab = lab().await;
        lab.sql(prepare);
        let adapter = Act::new("act", move |tx, call| {
            Box::pin(async move {
                put_mark(tx, call).await?;
                tx.execute(text, &[]).await?;
                Ok(Applied::default())
            })
        });
        let engine = lab.engine_with(adapter.done()).await;
        let outcome = run(&engine, &line(json!({}))).await;
        let Outcome::Compensated(row) = outcome else {
            panic!("{text}: {outcome:?}")
        };
        let (code, message) = row.error.clone().unwrap();
        assert_eq!(code, "RD0302", "{text}: {message}");
        assert!(message.contains(named), "{text}: {message}");
        assert_eq!(rows(&lab, &row), "p1 withdrawn", "{text}");
        assert_eq!(lab.sql("select count(*) from shop.stock"), "2", "{text}");
    };
    check(
        "",
        "insert into shop.audit (note) values ('x')",
        "shop.audit",
    )
    .await;
    check(
        "",
        "update shop.stock set left_over = left_over - 1 where sku = 'tea'",
        "shop.stock",
    )
    .await;
    check(
        "",
        "update shop.stock set left_over = 0 where false",
        "shop.stock",
    )
    .await;
    check("", "truncate shop.stock", "shop.stock").await;
    check("", "create table shop.more (n int)", "shop.more").await;
    let part = "create table shop.part (n int) partition by list (n); create table shop.part1 partition of shop.part for values in (1)";
    check(part, "insert into shop.part1 values (1)", "shop.part").await;
    let cascade = "create table shop.shelf (sku text references shop.stock on delete cascade); insert into shop.shelf values ('tea')";
    check(
        cascade,
        "delete from shop.stock where sku = 'tea'",
        "shop.shelf",
    )
    .await;
}

/// The same for statements of a file: what their plans prove at first does not hold for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_trigger_that_writes_elsewhere_is_found_whenever_it_was_made() {
    const TRIGGER: &str = "
        create function shop.tell() returns trigger language plpgsql as
          $$ begin insert into shop.audit (note) values (new.phase); return new; end $$;
        create trigger tell after insert on shop.mark for each row when (new.phase = 'p2') execute function shop.tell()";
    for (deferred, before) in [(false, true), (false, false), (true, false)] {
        let lab = lab().await;
        let trigger = match deferred {
            false => TRIGGER.to_owned(),
            true => TRIGGER
                .replace("create trigger", "create constraint trigger")
                .replace(
                    "on shop.mark for each row",
                    "on shop.mark deferrable initially deferred for each row",
                ),
        };
        let engine = lab.engine().await;
        let saga = saga("line", marks(3), json!({}));
        if before {
            lab.sql(&trigger);
            engine.register(&saga).await.expect("registered");
        } else {
            assert!(matches!(run(&engine, &saga).await, Outcome::Completed(_)));
            lab.sql(&trigger);
        }
        let outcome = again(&engine, &saga).await;
        let Outcome::Compensated(row) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(code(&row), "RD0302", "{:?}", row.error);
        assert!(
            row.error.as_ref().unwrap().1.contains("shop.audit"),
            "{:?}",
            row.error
        );
        assert_eq!(rows(&lab, &row), "p1 withdrawn");
        assert_eq!(lab.sql("select count(*) from shop.audit"), "0");
    }
}

/// A trigger that does no harm costs the proof, not the runs.
#[tokio::test(flavor = "multi_thread")]
async fn a_harmless_trigger_made_later_does_not_fail_the_runs() {
    let lab = lab().await;
    let engine = lab.engine().await;
    let saga = saga("line", marks(2), json!({}));
    assert!(matches!(run(&engine, &saga).await, Outcome::Completed(_)));
    lab.sql(
        "create function shop.note() returns trigger language plpgsql as $$ begin new.note := 'seen'; return new; end $$;
         create trigger note before insert on shop.mark for each row execute function shop.note()",
    );
    for _ in 0..2 {
        let outcome = again(&engine, &saga).await;
        assert!(matches!(outcome, Outcome::Completed(_)), "{outcome:?}");
    }
    assert_eq!(
        lab.sql("select count(*) from shop.mark where note = 'seen'"),
        "4"
    );
}

/// A constraint that is judged only at COMMIT fails the phase like any other.
#[tokio::test(flavor = "multi_thread")]
async fn a_constraint_that_fails_at_commit_fails_the_phase() {
    let lab = lab().await;
    lab.sql(
        "alter table shop.mark add column twin uuid;
         alter table shop.mark add constraint one_each foreign key (twin, note)
           references shop.mark (run, phase) deferrable initially deferred",
    );
    let engine = lab.engine().await;
    let bad = json!({"with": {
        "apply": [{"sql": "insert into shop.mark (run, phase, twin, note) values ($1, 'p2', $1, 'p9')", "params": ["/run/id"], "rows": 1}],
        "revert": [{"sql": "update shop.mark set state = 'withdrawn' where run = $1 and phase = 'p2'", "params": ["/run/id"]}],
    }});
    let saga = saga(
        "line",
        vec![mark("p1", json!({})), mark("p2", bad)],
        json!({}),
    );
    let outcome = run(&engine, &saga).await;
    let Outcome::Compensated(row) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(
        (code(&row), rows(&lab, &row).as_str()),
        ("RD0303", "p1 withdrawn")
    );
}

/// F67: the gate's order of locking and reading is sound at READ COMMITTED alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_phase_at_a_stronger_isolation_level_is_refused() {
    let lab = lab().await;
    let engine = lab.engine().await;
    let saga = saga("line", marks(1), json!({}));
    let id = open(&engine, &saga).await;
    for level in ["repeatable read", "serializable"] {
        let text = format!(
            "begin isolation level {level}; select redress.enter_phase('{id}', 1, 'p1', 'line', null, 1000, 1000, 1000)"
        );
        let error = lab.try_sql(&text).unwrap_err();
        assert!(error.starts_with("RDG01"), "{error}");
    }
    let text = format!(
        "begin; select redress.enter_phase('{id}', 1, 'p1', 'line', null, 1000, 1000, 1000)"
    );
    lab.sql(&text);
    // A pooler passes no startup options on, so none are sent to one.
    if redress_tests::pooler::is_between() {
        return;
    }
    // A connection whose default is stronger is refused as well, and the run is neither failed nor lost.
    let url = format!(
        "{}{}options=-c%20default_transaction_isolation%3Dserializable",
        lab.url(),
        if lab.url().contains('?') { "&" } else { "?" }
    );
    let strong = lab.builder(&url).build().await.expect("an engine");
    let outcome = strong.drive(id).await;
    assert!(!matches!(outcome, Ok(Outcome::Completed(_))), "{outcome:?}");
    assert_eq!(lab.sql("select count(*) from shop.mark"), "0");
}

/// F45: what an adapter leaves in the session does not reach the next phase.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_adapter_leaves_in_its_session_does_not_reach_the_next_phase() {
    let lab = lab().await;
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let note = Arc::clone(&seen);
    let adapter = Act::new("act", move |tx, _| {
        let note = Arc::clone(&note);
        Box::pin(async move {
            let sql = "select current_setting('search_path') || ' ' || coalesce(to_regclass('pg_temp.leftover')::text, '-') || ' ' \
                       || (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid())";
            let text: String = tx.query(sql, &[]).await?[0].get(0);
            note.lock().unwrap().push(text);
            tx.query("select set_config('search_path', 'evil', false)", &[])
                .await?;
            tx.query("select pg_advisory_lock(7)", &[]).await?;
            tx.execute("create temporary table leftover (n int)", &[])
                .await?;
            Ok(Applied::default())
        })
    });
    // One session for phases and one beside it: what is left must meet the next phase if it can.
    let pool = redress::db::pool(lab.url(), 2).unwrap();
    let engine = redress::Engine::builder(pool)
        .adapter(adapter.done())
        .actor("test")
        .build()
        .await
        .unwrap();
    let saga = saga(
        "line",
        vec![act(
            "p1",
            "act",
            json!({"writes": [], "compensation": "none", "residue": []}),
        )],
        json!({}),
    );
    engine.register(&saga).await.expect("registered");
    for _ in 0..4 {
        let outcome = again(&engine, &saga).await;
        assert!(matches!(outcome, Outcome::Completed(_)), "{outcome:?}");
    }
    let seen = seen.lock().unwrap().clone();
    assert_eq!(seen, vec![seen[0].clone(); 4]);
    assert!(seen[0].ends_with("- 0"), "{seen:?}");
}

/// F27, F28: COMMIT waits for a standby that is not there. Nothing is seen of it meanwhile, and nobody repeats it.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_in_doubt_is_resolved_under_the_row_lock_and_not_repeated() {
    for end in ["pg_terminate_backend", "pg_cancel_backend"] {
        let cluster = TestCluster::own();
        let database = cluster.fresh_database();
        let lab = Lab::at(database.url()).await;
        lab.sql(MARKS);
        let engine = lab.engine().await;
        let saga = saga("line", marks(2), json!({}));
        let id = open(&engine, &saga).await;
        lab.sql("alter system set synchronous_standby_names = 'nobody'");
        lab.sql("select pg_reload_conf()");
        let driven = {
            let engine = engine.clone();
            tokio::spawn(async move { engine.drive(id).await })
        };
        // Beat and claim wait as well; they are let through one by one until the phase's COMMIT is the one that waits.
        // Each once only: a second signal would reach the COMMIT that follows.
        let waiting = "select pid from pg_stat_activity where wait_event = 'SyncRep' and query ilike 'commit%' limit 1";
        let others = "select pid, query_start from pg_stat_activity where wait_event = 'SyncRep' and query not ilike 'commit%'";
        let (mut pid, mut let_through) = (String::new(), HashSet::new());
        until("a COMMIT waits for the standby", async || {
            for line in lab.sql(others).lines() {
                if let_through.insert(line.to_owned()) {
                    let (pid, _) = line.split_once('|').expect("two columns");
                    lab.sql(&format!("select pg_cancel_backend({pid})"));
                }
            }
            pid = lab.sql(waiting);
            !pid.is_empty()
        })
        .await;
        // The naive look: nothing there.
        assert_eq!(lab.sql("select count(*) from shop.mark"), "0");
        assert_eq!(
            lab.sql("select count(*) from redress.record where kind = 'phase.committed'"),
            "0"
        );
        lab.sql(&format!("select {end}({pid})"));
        until("the phase's commit is visible", async || {
            lab.sql("select count(*) from shop.mark") != "0"
        })
        .await;
        lab.sql("alter system reset synchronous_standby_names");
        lab.sql("select pg_reload_conf()");
        let outcome = within(LIMIT, "the run ends", driven)
            .await
            .unwrap()
            .unwrap();
        let Outcome::Completed(row) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(phases(&lab, &row, "phase.committed"), ["p1", "p2"]);
        assert_eq!(rows(&lab, &row), "p1 live, p2 live");
    }
}

/// `continue` and `hold` in the file: the next phase runs, or nobody goes on without a person.
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_phase_is_passed_over_or_held_as_the_file_says() {
    let lab = lab().await;
    lab.sql("alter table shop.mark add constraint no_p2 check (phase <> 'p2')");
    let engine = lab.engine().await;
    let of = |name: &str, on_failure: &str| {
        let all = vec![
            mark("p1", json!({})),
            mark("p2", json!({"on_failure": on_failure})),
            mark("p3", json!({})),
        ];
        saga(name, all, json!({}))
    };
    let outcome = run(&engine, &of("goes-on", "continue")).await;
    let Outcome::Completed(row) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(rows(&lab, &row), "p1 live, p3 live");
    assert_eq!(
        body(&lab, row.id, "phase.failed")["continue"],
        Value::Bool(true)
    );
    let outcome = run(&engine, &of("stops", "hold")).await;
    let Outcome::Held(row) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(
        (row.state.as_str(), rows(&lab, &row).as_str()),
        ("failed", "p1 live")
    );
    let holds = engine.holds().await.unwrap();
    assert_eq!(
        (holds.len(), holds[0].run, holds[0].scope.as_str()),
        (1, Some(row.id), "run")
    );
}

/// Several runs on fewer sessions than runs: they wait for each other and end.
#[tokio::test(flavor = "multi_thread")]
async fn more_runs_than_sessions_wait_for_each_other_and_end() {
    let lab = lab().await;
    let pool = redress::db::pool(lab.url(), 2).unwrap();
    let engine = redress::Engine::builder(pool)
        .adapters(redress_adapters::standard())
        .trust(lab.trust())
        .state_dir(lab.state_dir())
        .actor("test")
        .build()
        .await
        .unwrap();
    let snapshot = json!([{"name": "n", "sql": "select count(*) from shop.mark where run = $1", "params": ["/run/id"]}]);
    let saga = saga("line", marks(3), json!({"snapshot": snapshot}));
    engine.register(&saga).await.expect("registered");
    let all = (0..6).map(|_| again(&engine, &saga));
    let ended = within(
        LIMIT,
        "six runs on two sessions end",
        futures_util::future::join_all(all),
    )
    .await;
    assert!(
        ended
            .iter()
            .all(|outcome| matches!(outcome, Outcome::Completed(_)))
    );
}
