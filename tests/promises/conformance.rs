//! The conformance kit finds what is broken, and nothing where nothing is: every shipped adapter passes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use redress::Engine;
use redress::adapter::{Adapter, AdapterError, Applied, Finding};
use redress::definition::{Definition, Phase};
use redress::external::{ActError, ExternalAdapter, ExternalCall, Probe, Undo, WayBack};
use redress_adapters::conformance::{Break, Lie, Looking, Walks, Way};
use redress_tests::{Depot, Lab};
use serde_json::{Map, Value, json};

use crate::common::*;

mod shipped;

/// How long a claim is good: a walk gives drivers up, and waits for their claims to end.
const LEASE: Duration = Duration::from_millis(500);

/// A laboratory whose claims end soon.
async fn lab(adapter: Option<Arc<dyn Adapter>>) -> (Lab, Engine) {
    let lab = Lab::new().await;
    lab.sql(MARKS);
    lab.sql("create table shop.lie (phase text not null, way text not null)");
    let mut builder = lab.builder(lab.url()).lease(LEASE);
    if let Some(adapter) = adapter {
        builder = builder.adapter(adapter);
    }
    let engine = builder.build().await.expect("an engine");
    (lab, engine)
}

/// The rows that are not withdrawn, and what nobody declared.
fn marked(lab: &Lab) -> Value {
    let live = lab.sql("select count(*) from shop.mark where state <> 'withdrawn'");
    json!({"live": live, "notes": lab.sql("select count(*) from shop.audit")})
}

/// Somebody ships what a run did, so that it may not be undone any more.
fn ship(lab: &Lab, run: uuid::Uuid) {
    lab.sql(&format!(
        "update shop.mark set state = 'shipped' where run = '{run}'"
    ));
}

/// Makes the statement of [`verifying`] of one phase say no on one way.
fn lie(lab: &Lab, lie: Option<Lie>) -> bool {
    lab.sql("delete from shop.lie");
    if let Some(Lie { phase, way }) = lie {
        let way = if way == Way::Forth { "forth" } else { "back" };
        lab.sql(&format!("insert into shop.lie values ('{phase}', '{way}')"));
    }
    true
}

/// A statement that is true unless somebody lies about the phase: forth while its row is live, back when it is not.
fn verifying(phase: &str) -> Value {
    let sql = format!(
        "select not exists (select from shop.lie where phase = '{phase}' and way = case when exists (
           select from shop.mark where run = $1 and phase = '{phase}' and state = 'live') then 'forth' else 'back' end)"
    );
    json!([{"sql": sql, "params": ["/run/id"], "rows": 1}])
}

/// A [`mark`] that is verified on both ways.
fn verified(name: &str) -> Value {
    let mut phase = mark(name, json!({}));
    phase["with"]["verify"] = verifying(name);
    phase
}

/// All walks over a saga of rows.
async fn walked(lab: &Lab, engine: &Engine, phases: Vec<Value>) -> Vec<Break> {
    let line = saga("line", phases, json!({}));
    let look = || -> Looking<'_> { Box::pin(async { marked(lab) }) };
    Walks::new(engine, line, |n| json!({"n": n}), look)
        .spoil(|run| Box::pin(async move { ship(lab, run) }))
        .falsify(|told| Box::pin(async move { lie(lab, told) }))
        .all()
        .await
        .expect("walked")
}

fn acts(n: usize) -> Vec<Value> {
    (1..=n)
        .map(|at| act(&format!("p{at}"), "act", json!({})))
        .collect()
}

/// The walks that found something.
fn found(breaks: &[Break]) -> Vec<&str> {
    let mut found: Vec<&str> = breaks.iter().map(|one| one.walk).collect();
    found.dedup();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_of_being_broken_is_found() {
    let check = async |how: &str, adapter: Act, walks: &[&str]| {
        let (lab, engine) = lab(Some(adapter.done())).await;
        let breaks = walked(&lab, &engine, acts(2)).await;
        let found = found(&breaks);
        for walk in walks {
            assert!(found.contains(walk), "{how}: {walk} of {breaks:#?}");
        }
    };
    check(
        "the way back does nothing",
        Act::marking("act").reverts(|_, _| Box::pin(async { Ok(()) })),
        &["undo twice", "fail", "kill", "verify back"],
    )
    .await;
    check(
        "it verifies nothing",
        Act::marking("act"),
        &["verify", "verify back"],
    )
    .await;
    check(
        "the way back does not look whether it may",
        Act::marking("act").reverts(|tx, call| {
            Box::pin(async move {
                let sql = "update shop.mark set state = 'withdrawn' where run = $1 and phase = $2";
                let values = [call.context["run"]["id"].clone(), json!(call.phase.name)];
                tx.query_values(sql, &values).await?;
                Ok(())
            })
        }),
        &["guard"],
    )
    .await;
    check(
        "the way back panics",
        Act::marking("act").reverts(|_, _| Box::pin(async { panic!("out of tea") })),
        &["undo twice", "fail", "kill"],
    )
    .await;
    check(
        "it writes what it does not declare",
        Act::new("act", |tx, call| {
            Box::pin(async move {
                tx.execute("insert into shop.audit values ('x')", &[])
                    .await?;
                put_mark(tx, call).await
            })
        }),
        &["repeat", "undo twice"],
    )
    .await;
    check(
        "the way back deletes what somebody else did",
        Act::marking("act").reverts(|tx, _| {
            Box::pin(async move {
                tx.execute("update shop.mark set state = 'withdrawn'", &[])
                    .await?;
                Ok(())
            })
        }),
        &["undo twice"],
    )
    .await;
}

/// Acts each time that it is called, whatever its key, and its probe sees nothing.
#[derive(Default)]
struct Forgetful {
    done: AtomicUsize,
    undone: AtomicUsize,
}

#[async_trait]
impl ExternalAdapter for Forgetful {
    fn name(&self) -> &str {
        "forgetful"
    }

    fn check(&self, _phase: &Phase) -> Vec<Finding> {
        Vec::new()
    }

    fn way_back(&self, _phase: &Phase) -> WayBack<'_> {
        WayBack::Undo(self)
    }

    async fn prepare(&self, _call: &ExternalCall<'_>) -> Result<Value, AdapterError> {
        Ok(json!({}))
    }

    async fn act(&self, _call: &ExternalCall<'_>) -> Result<Applied, ActError> {
        self.done.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(300)).await;
        Ok(Applied::default())
    }

    async fn probe(&self, _call: &ExternalCall<'_>) -> Probe<Applied> {
        Probe::NotDone
    }
}

#[async_trait]
impl Undo for Forgetful {
    async fn undo(&self, _call: &ExternalCall<'_>) -> Result<Map<String, Value>, ActError> {
        self.undone.fetch_add(1, Ordering::SeqCst);
        Ok(Map::new())
    }

    async fn probe_undo(&self, _call: &ExternalCall<'_>) -> Probe<Map<String, Value>> {
        Probe::NotDone
    }
}

/// What only a driver that is given up in the middle shows: an act that does not heed its key.
#[tokio::test(flavor = "multi_thread")]
async fn an_act_that_is_done_twice_is_found_by_the_walk_of_the_kills_alone() {
    let lab = Lab::new().await;
    let adapter = Arc::new(Forgetful::default());
    let builder = lab.builder(lab.url()).lease(LEASE);
    let builder = builder.external(adapter.clone());
    let engine = builder.build().await.expect("an engine");
    let line = saga("line", vec![outside("forgetful", json!({}))], json!({}));
    let look = || -> Looking<'_> {
        Box::pin(async {
            let count = |of: &AtomicUsize| of.load(Ordering::SeqCst);
            json!(count(&adapter.done) - count(&adapter.undone))
        })
    };
    let walks = Walks::new(&engine, line, |n| json!({"n": n}), look);
    let breaks = walks.all().await.expect("walked");
    assert_eq!(found(&breaks), ["kill"], "{breaks:#?}");
}

/// A phase of an adapter that acts outside.
fn outside(adapter: &str, with: Value) -> Value {
    json!({
        "name": "outside", "adapter": adapter, "compensation": "restore", "with": with,
        "retry": {"attempts": 3, "backoff": "10ms", "max": "20ms"}, "timeout": "5s",
    })
}

/// Behind a phase inside the database, the way back of which comes later.
fn behind(phase: Value) -> Definition {
    saga("line", vec![verified("p1"), phase], json!({}))
}

/// An act outside the database, between two phases inside of it: what was done and not undone is what the world looks like.
#[tokio::test(flavor = "multi_thread")]
async fn an_act_outside_the_database_walks_like_any_other() {
    let lab = Lab::new().await;
    lab.sql(MARKS);
    let folder = lab.path("depot");
    let engine = lab
        .builder(lab.url())
        .lease(Duration::from_millis(500))
        .external(Arc::new(Depot::new(&folder)))
        .build()
        .await
        .expect("an engine");
    let depot = Depot::new(&folder);
    let look = || -> Looking<'_> {
        Box::pin(async {
            let effects = depot.effects();
            let of = |kind: &str| effects.iter().filter(|one| one.starts_with(kind)).count();
            let live = lab.sql("select count(*) from shop.mark where state <> 'withdrawn'");
            json!({"stands": of("act ") - of("undo "), "live": live})
        })
    };
    let store = json!({
        "name": "store", "adapter": "depot", "compensation": "restore", "with": {},
        "retry": {"attempts": 3, "backoff": "10ms", "max": "20ms"}, "timeout": "5s",
    });
    let line = saga(
        "line",
        vec![mark("p1", json!({})), store, mark("p3", json!({}))],
        json!({}),
    );
    let breaks = Walks::new(&engine, line, |n| json!({"n": n}), look)
        .all()
        .await
        .expect("walked");
    assert!(breaks.is_empty(), "{breaks:#?}");
    sound(&engine).await;
}
