//! `after` decides the order, the way back reverses it, and `on_failure` says what a failure does.

use redress::Outcome;
use serde_json::{Value, json};

use crate::common::*;
use crate::rewind::{lab, step};

/// Phases as `name:after,after`.
fn graph(text: &str) -> Vec<Value> {
    text.split_whitespace()
        .map(|item| {
            let (name, after) = item.split_once(':').expect("name:after");
            let after: Vec<&str> = after.split(',').filter(|a| !a.is_empty()).collect();
            step(name, json!({"after": after}))
        })
        .collect()
}

/// Each phase commits after those that it waits for, and is undone before them.
#[tokio::test(flavor = "multi_thread")]
async fn the_way_back_reverses_the_graph() {
    let lab = lab().await;
    let engine = lab.engine().await;
    lab.sql("insert into shop.failing values ('bad')");
    for (at, (text, forward)) in [
        ("a: b:a c:a d:b,c bad:d", "a b c d"),
        ("bad:d d:b,c c:a b:a a:", "a c b d"),
        ("a: b: c:b bad:a,c d:bad", "a b c"),
        ("d:c c:b b:a a: bad:d", "a b c d"),
    ]
    .into_iter()
    .enumerate()
    {
        let line = saga(&format!("graph-{at}"), graph(text), json!({}));
        let outcome = run(&engine, &line).await;
        let Outcome::Compensated(row) = outcome else {
            panic!("{text}: {outcome:?}")
        };
        assert_eq!(
            phases(&lab, &row, "phase.committed").join(" "),
            forward,
            "{text}"
        );
        let mut back = phases(&lab, &row, "compensation.committed");
        back.reverse();
        assert_eq!(back.join(" "), forward, "{text}");
    }
    sound(&engine).await;
}

/// The four ways of `on_failure`, in a graph: a phase that waits for one that was allowed to fail runs all the same.
#[tokio::test(flavor = "multi_thread")]
async fn on_failure_compensates_holds_continues_or_goes_back() {
    let lab = lab().await;
    let engine = lab.engine().await;
    lab.sql("insert into shop.failing values ('bad')");
    let back = json!({"rewind_to": "b", "then": "stop"});
    let cases = [
        (json!("compensate"), "compensated", "", 0),
        (json!("hold"), "failed", "a,b", 1),
        (json!("continue"), "completed", "a,b,waits", 0),
        (back, "failed", "a", 0),
    ];
    for (at, (on_failure, state, standing, holds)) in cases.into_iter().enumerate() {
        let mut all = graph("a: b:a bad:b waits:bad");
        merge(&mut all[2], json!({"on_failure": on_failure}));
        let outcome = run(&engine, &saga(&format!("fails-{at}"), all, json!({}))).await;
        let row = outcome.run();
        assert_eq!(row.state.as_str(), state, "{on_failure}");
        let found = lab.sql(&format!(
            "select string_agg(phase, ',' order by phase) from shop.round where run = '{}' and state = 'live'",
            row.id
        ));
        assert_eq!(found.trim(), standing, "{on_failure}");
        let own = engine.holds().await.expect("listed");
        let own = own.iter().filter(|hold| hold.run == Some(row.id)).count();
        assert_eq!(own, holds, "{on_failure}");
    }
    sound(&engine).await;
}
