//! Idle workers that listen: woken when there is work, and none the worse when they are not.

use std::time::Duration;

use redress::db::Target;
use redress::{Engine, Error};
use redress_tests::{Lab, Pooler, eventually, pooler};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::common::*;

/// Longer than any of these tests takes: who waits for a poll is seen.
const NEVER: Duration = Duration::from_secs(600);
/// Who listens.
const EARS: &str = "select count(*) from pg_stat_activity where datname = current_database() and query like '%listen redress%' and pid <> pg_backend_pid()";

fn straight(lab: &Lab) -> Target {
    lab.url().parse().expect("a URL")
}

/// An engine on a way of its own to the lab, a registered line of two phases, and a worker of it that found nothing to do.
async fn idle(lab: &Lab, url: &str) -> (Engine, watch::Sender<bool>, JoinHandle<()>) {
    lab.sql(MARKS);
    let engine = lab.builder(url).direct(straight(lab)).build().await;
    let engine = engine.expect("an engine");
    engine
        .register(&saga("line", marks(2), json!({})))
        .await
        .expect("registered");
    let (stop, stopping) = watch::channel(false);
    let working = engine.clone();
    let worker = tokio::spawn(async move {
        let worker = working.worker().poll(NEVER);
        worker.run(stopping).await.expect("it worked");
    });
    eventually(LIMIT, "it listens", || lab.sql(EARS) == "1");
    // What wakes it when it begins to listen is behind it.
    tokio::time::sleep(Duration::from_millis(100)).await;
    (engine, stop, worker)
}

async fn opened(engine: &Engine) {
    let start = engine.start("line", json!({}));
    start.open().await.expect("opened");
}

#[track_caller]
fn completes(lab: &Lab, runs: &str) {
    let completed = "select count(*) from redress.run where state = 'completed'";
    eventually(LIMIT, "it is done", || lab.sql(completed) == runs);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_listens_finds_work_without_polling() {
    let lab = Lab::new().await;
    let (engine, stop, worker) = idle(&lab, lab.url()).await;
    for expected in ["1", "2"] {
        opened(&engine).await;
        completes(&lab, expected);
    }
    // One that was opened in somebody's own transaction is told of by hand; to another process's worker it is the same.
    let other = lab.builder(lab.url()).build().await.expect("an engine");
    opened(&other).await;
    engine.wake_workers().await;
    completes(&lab, "3");
    stop.send_replace(true);
    worker.await.expect("ended");
    eventually(LIMIT, "nobody listens", || lab.sql(EARS) == "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listening_session_that_is_cut_is_made_anew() {
    let lab = Lab::new().await;
    let (engine, stop, worker) = idle(&lab, lab.url()).await;
    let cut = "select count(pg_terminate_backend(pid)) from pg_stat_activity
        where datname = current_database() and query like '%listen redress%' and pid <> pg_backend_pid()";
    assert_eq!(lab.sql(cut), "1");
    // Opened while nobody listens: it is looked for when somebody does again.
    opened(&engine).await;
    completes(&lab, "1");
    opened(&engine).await;
    completes(&lab, "2");
    stop.send_replace(true);
    worker.await.expect("ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_pooler_a_worker_listens_on_the_direct_way() {
    let Some(program) = pooler::find() else {
        return;
    };
    let lab = Lab::new().await;
    let pooler = Pooler::before(&program, lab.url(), "default_pool_size = 24");
    let (engine, stop, worker) = idle(&lab, &pooler.url(lab.url())).await;
    opened(&engine).await;
    completes(&lab, "1");
    stop.send_replace(true);
    worker.await.expect("ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_direct_way_that_leads_through_a_pooler_is_refused() {
    let lab = Lab::new().await;
    let mark = if lab.url().contains('?') { '&' } else { '?' };
    let through = format!("{}{mark}pooler=transaction", lab.url());
    let direct = through.parse().expect("a URL");
    let built = lab.builder(lab.url()).direct(direct).build().await;
    let error = built.err().expect("refused");
    assert!(matches!(error, Error::Db(_)), "{error:?}");
    assert!(error.to_string().contains("no pooler"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_way_to_listen_polling_finds_the_work() {
    let lab = Lab::new().await;
    lab.sql(MARKS);
    // A server that nobody reaches: who cannot listen polls.
    let nowhere = "postgres://nobody@127.0.0.1:1/none?connect_timeout=1";
    let direct = nowhere.parse().expect("a URL");
    let engine = lab.builder(lab.url()).direct(direct).build().await;
    let engine = engine.expect("an engine");
    engine
        .register(&saga("line", marks(2), json!({})))
        .await
        .expect("registered");
    let (stop, stopping) = watch::channel(false);
    let working = engine.clone();
    let worker = tokio::spawn(async move { working.worker().run(stopping).await });
    opened(&engine).await;
    completes(&lab, "1");
    stop.send_replace(true);
    worker.await.expect("ended").expect("it worked");
}
