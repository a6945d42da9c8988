//! The conformance kit finds what is broken, and nothing where nothing is.

use std::sync::Arc;
use std::time::Duration;

use redress::Engine;
use redress::adapter::Adapter;
use redress_adapters::conformance::{Break, Looking, Walks};
use redress_tests::{Depot, Lab};
use serde_json::{Value, json};

use crate::common::*;

/// A laboratory whose claims end soon, since a walk gives drivers up.
async fn lab(adapter: Option<Arc<dyn Adapter>>) -> (Lab, Engine) {
    let lab = Lab::new().await;
    lab.sql(MARKS);
    let mut builder = lab.builder(lab.url()).lease(Duration::from_millis(500));
    if let Some(adapter) = adapter {
        builder = builder.adapter(adapter);
    }
    let engine = builder.build().await.expect("an engine");
    (lab, engine)
}

/// Walks over a saga, looking at the rows that are not withdrawn; a run is spoiled by shipping what it did.
async fn walked(lab: &Lab, engine: &Engine, phases: Vec<Value>) -> Vec<Break> {
    let look = || -> Looking<'_> {
        Box::pin(async {
            let live = lab.sql("select count(*) from shop.mark where state <> 'withdrawn'");
            json!({"live": live, "notes": lab.sql("select count(*) from shop.audit")})
        })
    };
    let line = saga("line", phases, json!({}));
    Walks::new(engine, line, |n| json!({"n": n}), look)
        .spoil(|run| {
            Box::pin(async move {
                lab.sql(&format!(
                    "update shop.mark set state = 'shipped' where run = '{run}'"
                ));
            })
        })
        .all()
        .await
        .expect("walked")
}

fn acts(n: usize) -> Vec<Value> {
    (1..=n)
        .map(|at| act(&format!("p{at}"), "act", json!({})))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sound_passes_every_walk() {
    let (lab, engine) = lab(None).await;
    let backup = json!({
        "name": "keep", "adapter": "backup",
        "with": {"rows": [{"name": "marks", "sql": "select phase from shop.mark order by run, phase"}]},
    });
    let gate = json!({"name": "wait", "adapter": "gate", "with": {"after": "5ms"}});
    let mut phases = vec![backup, gate];
    phases.extend(marks(3));
    let breaks = walked(&lab, &engine, phases).await;
    assert!(breaks.is_empty(), "{breaks:#?}");
    sound(&engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_of_being_broken_is_found() {
    let check = async |how: &str, adapter: Act, walks: &[&str]| {
        let (lab, engine) = lab(Some(adapter.done())).await;
        let breaks = walked(&lab, &engine, acts(2)).await;
        let mut found: Vec<&str> = breaks.iter().map(|one| one.walk).collect();
        found.dedup();
        for walk in walks {
            assert!(found.contains(walk), "{how}: {walk} of {breaks:#?}");
        }
    };
    check(
        "the way back does nothing",
        Act::marking("act").reverts(|_, _| Box::pin(async { Ok(()) })),
        &["undo twice", "fail", "kill"],
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
