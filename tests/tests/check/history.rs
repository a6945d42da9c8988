//! One history with everything in it, made once, and a copy of its database for whoever wants to break it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use redress::definition::HoldScope;
use redress::{Engine, Outcome, Released};
use redress_tests::lab::SHOP_SAGA;
use redress_tests::{Lab, TestCluster, query_text};
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::OnceCell;
use uuid::Uuid;

/// Longer than what fits into a record.
const LONG: usize = 20_000;

/// A history with everything in it, and the runs that are asked for by name.
pub struct Ground {
    pub lab: Lab,
    pub runs: BTreeMap<&'static str, Uuid>,
    pub hold: Uuid,
}

/// The history, made once; nobody is connected to it afterwards.
pub async fn ground() -> &'static Ground {
    static GROUND: OnceCell<Ground> = OnceCell::const_new();
    GROUND.get_or_init(make).await
}

/// The shop's saga where a person must sign before anything is undone.
fn asking() -> String {
    SHOP_SAGA
        .replace("saga: order", "saga: asking")
        .replace("soft_revert: auto", "soft_revert: {sovereign: 1}")
}

pub fn input(order: &str) -> serde_json::Value {
    json!({"order": order, "sku": "tea", "qty": 1})
}

pub async fn drive(engine: &Engine, saga: &str, input: serde_json::Value) -> Outcome {
    let start = engine.start(saga, input);
    let (_, outcome) = engine.start_and_drive(start).await.expect("driven");
    outcome
}

async fn make() -> Ground {
    let lab = Lab::new().await;
    let engine = lab.engine().await;
    for saga in [SHOP_SAGA, &asking()] {
        engine.register(&Lab::read(saga)).await.expect("registered");
    }
    let mut runs = BTreeMap::new();
    let long = json!({"order": "A1", "sku": "tea", "qty": 1, "note": "x".repeat(LONG)});
    runs.insert("completed", drive(&engine, "order", long).await.run().id);
    let opened = engine.start("order", input("A2")).open().await;
    runs.insert("running", opened.expect("opened").run);
    let switch = engine.kill("drill", Duration::from_secs(5), false).await;
    switch.expect("killed");
    let released = engine.release_kill(&lab.sovereign, "drill over").await;
    assert_eq!(released.expect("released"), Released::Done);
    let hold = engine.hold(HoldScope::Saga, Some("elsewhere"), "look first", false);
    let hold = hold.await.expect("held").id;
    let lifted = engine.hold(HoldScope::Subject, Some("B9"), "a mistake", false);
    let lifted = lifted.await.expect("held").id;
    let released = engine
        .release_hold(lifted, &lab.sovereign, "was a mistake")
        .await;
    assert_eq!(released.expect("released"), Released::Done);

    lab.sql("alter table shop.dispatch add constraint never check (note <> 'sent') not valid");
    runs.insert(
        "compensated",
        drive(&engine, "order", input("A3")).await.run().id,
    );
    for (name, order) in [("failed", "A4"), ("applied", "A5"), ("resolved", "A6")] {
        let outcome = drive(&engine, "asking", input(order)).await;
        assert!(matches!(outcome, Outcome::Held(_)), "{name}: {outcome:?}");
        runs.insert(name, outcome.run().id);
    }
    let plan = engine
        .find_plan(&runs["applied"].to_string())
        .await
        .expect("a plan");
    engine.apply(&plan).await.expect_err("nobody signed");
    engine
        .approve(&plan, &lab.sovereign, "undo it")
        .await
        .expect("approved");
    let outcome = engine.apply(&plan).await.expect("applied");
    assert!(matches!(outcome, Outcome::Compensated(_)), "{outcome:?}");
    engine
        .resolve(runs["resolved"], &lab.sovereign, "settled by hand")
        .await
        .expect("resolved");
    let plan = engine
        .find_plan(&runs["failed"].to_string())
        .await
        .expect("a plan");
    engine
        .approve(&plan, &lab.reviewer, "half of it")
        .await
        .expect("approved");
    Ground { lab, runs, hold }
}

/// A copy of the history's database; dropped with the value.
pub struct Copy {
    pub name: String,
    pub ground: &'static Ground,
    /// A hold file of one copy must not stop the others.
    state: TempDir,
}

impl Copy {
    pub async fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let ground = ground().await;
        let name = format!(
            "copy_{}_{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let template = ground
            .lab
            .database
            .as_ref()
            .expect("the lab has a database")
            .name();
        let cluster = TestCluster::shared();
        // Sessions of the history's own engine may still be closing.
        let others = format!(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = '{template}'"
        );
        cluster.query_text("postgres", &others);
        cluster.query_text(
            "postgres",
            &format!("create database {name} template {template}"),
        );
        Self {
            name,
            ground,
            state: TempDir::new().expect("a temporary folder"),
        }
    }

    pub fn url(&self) -> String {
        TestCluster::shared().url(&self.name)
    }

    pub fn sql(&self, sql: &str) -> String {
        query_text(&self.url(), sql)
    }

    /// Changes what triggers forbid, and leaves them as they were.
    pub fn damage(&self, sql: &str) {
        const KEPT: [&str; 4] = ["record", "plan", "definition", "decision_used"];
        let all = |act: &dyn Fn(&str) -> String| KEPT.map(act).join(" ");
        let off = all(&|table| format!("alter table redress.{table} disable trigger user;"));
        let on = all(&|table| {
            format!(
                "alter table redress.{table} enable always trigger {table}_is_append_only;
                 alter table redress.{table} enable always trigger {table}_is_not_truncated;"
            )
        });
        self.sql(&format!("{off} {sql}; {on}"));
    }

    pub async fn engine(&self) -> Engine {
        self.ground
            .lab
            .builder(&self.url())
            .state_dir(self.state.path())
            .build()
            .await
            .expect("an engine")
    }

    pub fn run(&self, name: &str) -> Uuid {
        self.ground.runs[name]
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let sql = format!("drop database if exists {} with (force)", self.name);
        TestCluster::shared().query_text("postgres", &sql);
    }
}
