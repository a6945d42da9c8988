//! One enum, one function, one CHECK: the moves of a run are the same everywhere, and records stay as they are.

use std::collections::BTreeSet;

use redress::ledger::state;
use redress::{Engine, Outcome};
use redress_tests::{Lab, try_query_text};
use serde_json::json;
use tokio::sync::watch;

use crate::common::*;
use crate::gate::login;

/// The schema's CHECK and `transition` allow the same moves, of all that could be written.
#[tokio::test(flavor = "multi_thread")]
async fn the_moves_that_the_schema_allows_are_those_of_the_function() {
    let lab = Lab::new().await;
    let ours: BTreeSet<String> = state::triples()
        .into_iter()
        .map(|(a, b, c)| format!("{a}|{b}|{c}"))
        .collect();
    assert_eq!(ours.len(), 17);
    let names = |part: fn(&(&'static str, &'static str, &'static str)) -> &'static str| {
        let all: BTreeSet<&str> = state::triples().iter().map(part).collect();
        let mut all: Vec<String> = all.into_iter().map(|name| format!("'{name}'")).collect();
        // Words that nobody knows, and words that run together.
        all.extend(["''", "' '", "'unknown'", "'running phase_committed'"].map(str::to_owned));
        all.join(", ")
    };
    let rule = |name: &str| {
        lab.sql(&format!(
            "select pg_get_constraintdef(oid) from pg_constraint where conname = '{name}'"
        ))
    };
    let legal = rule("transition_is_legal");
    let legal = legal
        .strip_prefix("CHECK ")
        .expect("a check")
        .replace("VALUE", "concat_ws(' ', f, e, t)");
    let states = format!("{}, {}", names(|t| t.0), names(|t| t.2));
    let events = names(|t| t.1);
    let text = format!(
        "select distinct f, e, t from unnest(array[{states}]) f, unnest(array[{events}]) e, \
         unnest(array[{states}]) t where {legal}"
    );
    let theirs: BTreeSet<String> = lab.sql(&text).lines().map(str::to_owned).collect();
    assert_eq!(theirs, ours);
    let known = rule("run_state_is_known");
    for (from, _, to) in state::triples() {
        assert!(known.contains(from) && known.contains(to), "{known}");
    }
}

/// F101: the engine's own role changes nothing but through the functions.
#[tokio::test(flavor = "multi_thread")]
async fn a_role_of_ours_changes_nothing_directly() {
    let lab = Lab::new().await;
    lab.sql(MARKS);
    let engine = lab.engine().await;
    let Outcome::Completed(_) = run(&engine, &saga("line", marks(1), json!({}))).await else {
        panic!()
    };
    let tables = [
        "run",
        "record",
        "hold",
        "switch",
        "plan",
        "definition",
        "decision_used",
        "refusal",
        "blob",
        "worker",
        "gate",
        "installation",
        "system_log",
        "leaf",
        "checkpoint",
        "sealer",
        "migration",
    ];
    for group in [
        "redress_engine",
        "redress_operator",
        "redress_sealer",
        "redress_auditor",
    ] {
        let (role, url) = login(&lab, group);
        let refused = |text: &str| {
            let error = try_query_text(&url, text)
                .err()
                .unwrap_or_else(|| panic!("{group}: {text}"));
            assert!(
                error.starts_with("42501") || error.starts_with("0LP01"),
                "{group}: {text}: {error}"
            );
        };
        for table in tables {
            let table = format!("redress.{table}");
            refused(&format!("delete from {table}"));
            refused(&format!("truncate {table}"));
            refused(&format!("insert into {table} select * from {table}"));
            refused(&format!("alter table {table} disable trigger all"));
            refused(&format!("drop table {table}"));
            refused(&format!("begin; lock table {table} in exclusive mode"));
        }
        refused("update redress.run set epoch = 9");
        refused("update redress.record set bytes = ''");
        refused("update redress.switch set state = 'run'");
        refused("create table redress.mine (n int)");
        refused(
            "create or replace function redress.now_text() returns text language sql as 'select null'",
        );
        refused("set session_replication_role = replica");
        refused("set role redress_owner");
        refused("set session authorization postgres");
        refused(
            "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'postgres' limit 1",
        );
        refused("select pg_read_file('/etc/passwd')");
        // Reading is for everybody.
        assert_eq!(
            try_query_text(&url, "select count(*) from redress.run"),
            Ok("1".into())
        );
        if group == "redress_auditor" {
            refused("select redress.publish_switch('killed', 'x', 'x')");
            refused("select redress.leave(gen_random_uuid())");
        }
        // A function of the owner is not fooled by the caller's search_path.
        if group == "redress_engine" {
            let fooled = try_query_text(
                &url,
                "create temporary table switch as select 'run'::text as state, 1::bigint as switch_no, ''::text as reason; \
                 set search_path = pg_temp, redress; select redress.publish_switch('killed', 'x', 'x')",
            );
            assert_eq!(
                fooled.as_deref().map(|no| no.parse::<i64>().is_ok()),
                Ok(true),
                "{fooled:?}"
            );
            assert_eq!(lab.sql("select state from redress.switch"), "killed");
            engine
                .release_kill(&lab.sovereign, "x")
                .await
                .expect("released");
        }
        lab.sql(&format!("drop owned by {role}; drop role {role}"));
    }
}

/// Records stay even for their owner and for a superuser who does not take the triggers away.
#[tokio::test(flavor = "multi_thread")]
async fn records_are_append_only_for_everybody() {
    let lab = Lab::new().await;
    lab.sql(MARKS);
    let engine = lab.engine().await;
    let line = saga("line", marks(1), json!({}));
    let Outcome::Completed(row) = run(&engine, &line).await else {
        panic!()
    };
    engine
        .plan(row.id, Default::default(), "x")
        .await
        .expect("planned");
    let before = lab.sql(
        "select md5(string_agg(bytes::text, '' order by run, seq)), count(*) from redress.record",
    );
    for prelude in [
        "",
        "set role redress_owner;",
        "set session_replication_role = replica;",
    ] {
        for table in ["record", "plan", "definition", "decision_used"] {
            for text in [
                "update redress.T set T = T",
                "delete from redress.T",
                "truncate redress.T",
                "truncate redress.T cascade",
            ] {
                let mut text = text.replace('T', table);
                if text.starts_with("update") {
                    let column = match table {
                        "record" => "kind",
                        "definition" | "plan" => "canonical",
                        _ => "seq",
                    };
                    text = format!("update redress.{table} set {column} = {column}");
                }
                // A row is needed for a row's trigger.
                if table == "decision_used" && !text.starts_with("truncate") {
                    continue;
                }
                let error = lab.try_sql(&format!("{prelude} {text}")).unwrap_err();
                assert!(error.starts_with("RDA01"), "{prelude} {text}: {error}");
            }
        }
    }
    let after = lab.sql(
        "select md5(string_agg(bytes::text, '' order by run, seq)), count(*) from redress.record",
    );
    assert_eq!(before, after);
    // F102: one who takes the triggers away is found.
    lab.sql("alter table redress.record disable trigger record_is_append_only");
    let report = engine.check().await.expect("checked");
    assert!(!report.ok);
    lab.sql("update redress.record set kind = 'phase.failed' where kind = 'phase.committed'");
    let report = engine.audit_verify().await.expect("audited");
    assert!(
        !matches!(report.verdict, redress::ledger::verify::Verdict::Verified),
        "{:?}",
        report.verdict
    );
}

/// A worker whose role is a member of the engine's role only does everything a worker does.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_of_the_restricted_role_completes_compensates_and_holds() {
    let lab = Lab::new().await;
    lab.sql(MARKS);
    lab.sql("alter table shop.mark add constraint bad_fails check (phase <> 'bad')");
    let admin = lab.engine().await;
    let snapshot = json!([{"name": "n", "sql": "select count(*) from shop.mark where run = $1", "params": ["/run/id"]}]);
    let good = saga("good", marks(3), json!({"snapshot": snapshot}));
    let bad = saga(
        "undone",
        vec![mark("p1", json!({})), mark("bad", json!({}))],
        json!({"snapshot": snapshot}),
    );
    let held = saga(
        "held",
        vec![
            mark("p1", json!({})),
            mark("bad", json!({"on_failure": "hold"})),
        ],
        json!({"on_unrecovered": {"hold": "run", "kill": true}}),
    );
    let runs = [
        open(&admin, &good).await,
        open(&admin, &bad).await,
        open(&admin, &held).await,
    ];
    let (role, url) = login(&lab, "redress_engine");
    lab.sql(&format!("grant usage on schema shop to {role}; grant select, insert, update on all tables in schema shop to {role}"));
    let pool = redress::db::pool(&url, 8).unwrap();
    let engine = Engine::builder(pool)
        .adapters(redress_adapters::standard())
        .trust(lab.trust())
        .state_dir(lab.state_dir())
        .actor("worker")
        .build()
        .await
        .expect("an engine under the restricted role");
    for (run, state) in runs.iter().zip(["completed", "compensated", "failed"]) {
        let outcome = engine.drive(*run).await.expect("driven");
        assert_eq!(outcome.run().state.as_str(), state);
    }
    let (_stop, stop) = watch::channel(false);
    within(LIMIT, "idle", engine.worker().until_idle().run(stop))
        .await
        .expect("idle");
    assert_eq!(admin.switch().await.unwrap().unwrap().state, "killed");
    // Who works may not let go: that is the operator's.
    assert!(engine.release_kill(&lab.sovereign, "x").await.is_err());
    let (operator, url) = login(&lab, "redress_operator");
    let pool = redress::db::pool(&url, 8).unwrap();
    let person = Engine::builder(pool)
        .adapters(redress_adapters::standard())
        .trust(lab.trust())
        .actor("person")
        .build()
        .await
        .unwrap();
    person
        .release_kill(&lab.sovereign, "x")
        .await
        .expect("released by an operator");
    person
        .kill("x", std::time::Duration::from_secs(5), false)
        .await
        .expect("killed by an operator");
    person
        .release_kill(&lab.sovereign, "x")
        .await
        .expect("released by an operator");
    let hold = person.holds().await.unwrap()[0].id;
    person
        .release_hold(hold, &lab.sovereign, "x")
        .await
        .expect("released by an operator");
    person
        .cancel(runs[0], "x")
        .await
        .expect_err("it is completed");
    lab.sql(&format!("grant usage on schema shop to {operator}; grant select, insert, update on all tables in schema shop to {operator}"));
    let plan = person
        .plan(runs[2], Default::default(), "x")
        .await
        .expect("planned by an operator");
    assert!(matches!(
        person.apply(&plan).await,
        Ok(Outcome::Compensated(_))
    ));
    sound(&admin).await;
    for role in [role, operator] {
        lab.sql(&format!("drop owned by {role}; drop role {role}"));
    }
}
