//! Whoever wants to hear of what is recorded hears of all of it, at least once, and blocks nobody.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use redress::alert::AlertSink;
use redress::notify::Topic;
use redress::subscribe::{Event, Position};
use redress::tokio_postgres::NoTls;
use redress::{Engine, Outcome};
use redress_tests::Lab;
use redress_tests::server::{Reply, Server};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::common::*;

async fn lab() -> (Lab, Engine) {
    let lab = Lab::new().await;
    lab.sql(MARKS);
    let engine = lab.engine().await;
    (lab, engine)
}

fn hashes(lab: &Lab) -> BTreeSet<String> {
    let all = lab.sql("select encode(hash, 'hex') from redress.record");
    all.lines().map(str::to_owned).collect()
}

async fn drained(engine: &Engine, from: Position) -> (Vec<Event>, Position) {
    let mut subscription = engine.subscribe(from);
    let mut events = Vec::new();
    while let Some(event) = subscription.try_next().await.expect("read") {
        events.push(event);
    }
    (events, subscription.position())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_record_comes_in_the_order_of_its_run_and_a_position_goes_on_where_it_was() {
    let (lab, engine) = lab().await;
    let line = saga("line", marks(3), json!({}));
    engine.register(&line).await.expect("registered");
    for _ in 0..40 {
        open(&engine, &line).await;
    }
    let (stop, stopping) = watch::channel(false);
    let worker = {
        let engine = engine.clone();
        tokio::spawn(async move { engine.worker().concurrency(8).run(stopping).await })
    };
    // Read while they run, and taken up anew from a text again and again.
    let mut position = Position::beginning();
    let mut heard: Vec<Event> = Vec::new();
    until("all is done and heard", async || {
        let (events, next) = drained(&engine, position.clone()).await;
        heard.extend(events);
        position = next.to_string().parse().expect("a position");
        lab.sql("select count(*) from redress.run where state <> 'completed'") == "0"
    })
    .await;
    stop.send_replace(true);
    worker.await.unwrap().expect("worked");
    let (events, end) = drained(&engine, position).await;
    heard.extend(events);
    let all: BTreeSet<String> = heard.iter().map(|event| event.hash.to_string()).collect();
    assert_eq!(all, hashes(&lab));
    for event in &heard {
        let before = heard
            .iter()
            .take_while(|other| other.hash != event.hash)
            .any(|other| other.run == event.run && other.seq + 1 == event.seq);
        assert!(event.seq == 1 || before, "{event:?}");
    }
    let (nothing, _) = drained(&engine, end).await;
    assert!(nothing.is_empty());
    for text in ["", "1", "a:b:c", "1:2:3", "1:2"] {
        assert!(text.parse::<Position>().is_err(), "{text:?}");
    }
}

/// A transaction that began before and commits after is no late number, but a late commit.
#[tokio::test(flavor = "multi_thread")]
async fn who_commits_late_is_heard_late_and_not_never() {
    let (lab, engine) = lab().await;
    let line = saga("line", marks(1), json!({}));
    engine.register(&line).await.expect("registered");
    let (mut client, wire) = redress::tokio_postgres::connect(lab.url(), NoTls)
        .await
        .expect("a connection");
    tokio::spawn(wire);
    let slow = client.transaction().await.expect("begun");
    let late = engine
        .start_in(&slow, "line", json!({}))
        .await
        .expect("opened");
    let from = engine.position().await.expect("a position");
    for _ in 0..3 {
        again(&engine, &line).await;
    }
    let (events, position) = drained(&engine, from).await;
    assert_eq!(events.len(), 9, "three runs of three records");
    let (none, position) = drained(&engine, position).await;
    assert!(none.is_empty());
    slow.commit().await.expect("committed");
    let (events, _) = drained(&engine, position.to_string().parse().unwrap()).await;
    let runs: Vec<_> = events.iter().map(|event| event.run).collect();
    assert_eq!(runs, [late]);
}

/// Takes what it is told, but for the first few times.
#[derive(Default)]
struct Sink {
    refuses: Mutex<u32>,
    told: Mutex<Vec<Value>>,
}

impl Sink {
    fn whats(&self) -> Vec<String> {
        let told = self.told.lock().unwrap();
        let what = |one: &Value| one["what"].as_str().unwrap_or_default().to_owned();
        told.iter().map(what).collect()
    }
}

#[async_trait]
impl AlertSink for Sink {
    async fn deliver(&self, alert: &Value) -> Result<(), String> {
        let mut refuses = self.refuses.lock().unwrap();
        if *refuses > 0 {
            *refuses -= 1;
            return Err("not now".to_owned());
        }
        self.told.lock().unwrap().push(alert.clone());
        Ok(())
    }
}

struct Telling {
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Telling {
    fn begin(engine: &Engine, name: &str, sink: &Arc<Sink>) -> Self {
        let (stop, stopping) = watch::channel(false);
        let notifier = engine.notifier(name, sink.clone());
        let task = tokio::spawn(notifier.run(stopping));
        Self { stop, task }
    }

    async fn end(self) {
        self.stop.send_replace(true);
        self.task.await.expect("ended");
    }
}

fn failing() -> Vec<Value> {
    let with = json!({"apply": [{"sql": "select 1 / 0"}], "revert": [{"sql": "select 1"}]});
    vec![mark("p1", json!({})), mark("p2", json!({"with": with}))]
}

/// A run that is compensated, and one that is held.
async fn two_runs(engine: &Engine) {
    let bad = saga("bad", failing(), json!({}));
    engine.register(&bad).await.expect("registered");
    let outcome = again(engine, &bad).await;
    assert!(matches!(outcome, Outcome::Compensated(_)), "{outcome:?}");
    let asks = json!({"authority": {"soft_revert": {"sovereign": 1}}});
    let held = saga("held", failing(), asks);
    engine.register(&held).await.expect("registered");
    let outcome = again(engine, &held).await;
    assert!(matches!(outcome, Outcome::Held(_)), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_sink_blocks_no_run_and_is_told_until_it_has_taken_it() {
    let (lab, engine) = lab().await;
    let (slow, quick) = (Arc::new(Sink::default()), Arc::new(Sink::default()));
    *slow.refuses.lock().unwrap() = 3;
    let tellings = [
        Telling::begin(&engine, "slow", &slow),
        Telling::begin(&engine, "quick", &quick),
    ];
    until("both have their places", async || {
        lab.sql("select count(*) from redress.subscriber where owner is not null") == "2"
    })
    .await;
    two_runs(&engine).await;
    for sink in [&slow, &quick] {
        until("it was told", async || sink.whats().len() >= 2).await;
        assert_eq!(sink.whats(), ["compensated", "hold"]);
    }
    {
        let told = quick.told.lock().unwrap();
        assert_eq!(told[0]["saga"], "bad");
        assert_eq!(told[1]["saga"], "held");
        assert_eq!(told[1]["scope"], "run");
        let ids: BTreeSet<_> = told.iter().map(|one| one["id"].to_string()).collect();
        assert_eq!(ids.len(), 2);
        let known = hashes(&lab);
        assert!(
            told.iter()
                .all(|one| known.contains(one["id"].as_str().unwrap()))
        );
    }
    for telling in tellings {
        telling.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happened_while_nobody_listened_is_told_later_and_by_one_of_many() {
    let (lab, engine) = lab().await;
    let sink = Arc::new(Sink::default());
    Telling::begin(&engine, "ops", &sink).end().await;
    // A first look takes the place, so that what comes is behind it.
    let first = Telling::begin(&engine, "ops", &sink);
    until("it has its place", async || {
        lab.sql("select count(*) from redress.subscriber where owner is not null") == "1"
    })
    .await;
    first.end().await;
    two_runs(&engine).await;
    assert!(sink.whats().is_empty());
    let many = [0, 1, 2].map(|_| Telling::begin(&engine, "ops", &sink));
    until("it was told", async || sink.whats().len() >= 2).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(sink.whats(), ["compensated", "hold"]);
    for telling in many {
        telling.end().await;
    }
    // Taken up again, nothing is told twice.
    let again = Telling::begin(&engine, "ops", &sink);
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    again.end().await;
    assert_eq!(sink.whats().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_topic_is_what_its_record_says() {
    let (_lab, engine) = lab().await;
    let from = engine.position().await.expect("a position");
    again(&engine, &{
        let good = saga("good", marks(1), json!({}));
        engine.register(&good).await.expect("registered");
        good
    })
    .await;
    two_runs(&engine).await;
    engine
        .kill("stop", Duration::from_secs(5), false)
        .await
        .expect("killed");
    let (events, _) = drained(&engine, from).await;
    let topics: Vec<Topic> = events.iter().filter_map(Topic::of).collect();
    use Topic::{Compensated, Completed, Failed, Hold, Killed};
    assert_eq!(
        topics,
        [Completed, Failed, Compensated, Failed, Hold, Killed]
    );
    for topic in Topic::ALL {
        assert_eq!(topic.as_str().parse(), Ok(topic));
    }
    assert!("everything".parse::<Topic>().is_err());
}

/// A web hook counts as told when the server says so; its key is the notification's id.
#[tokio::test(flavor = "multi_thread")]
async fn a_web_hook_is_called_until_the_server_has_taken_it() {
    let (_lab, engine) = lab().await;
    let calls = Arc::new(Mutex::new(0));
    let count = calls.clone();
    let server = Server::start(move |_| {
        let mut calls = count.lock().unwrap();
        *calls += 1;
        match *calls {
            1 => Reply::Say(500, String::new()),
            _ => Reply::Say(204, String::new()),
        }
    })
    .await;
    let config = redress_adapters::HttpConfig {
        hosts: vec![server.host.clone()],
        ..Default::default()
    };
    let url = format!("http://{}/hook", server.host.clone());
    let sink = redress_adapters::http::WebhookSink::new(&url, None, &config).expect("a hook");
    let (stop, stopping) = watch::channel(false);
    let notifier = engine.notifier("hook", Arc::new(sink));
    let task = tokio::spawn(notifier.run(stopping));
    until("it has its place", async || engine.position().await.is_ok()).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    two_runs(&engine).await;
    until("both were taken", async || *calls.lock().unwrap() >= 3).await;
    stop.send_replace(true);
    task.await.expect("ended");
    let heard = server.heard();
    let ids: Vec<_> = heard
        .iter()
        .map(|one| one.headers.get("idempotency-key").cloned())
        .collect();
    assert_eq!(
        ids[0], ids[1],
        "the first one is told again under its own key"
    );
    assert_ne!(ids[1], ids[2]);
    let elsewhere =
        redress_adapters::http::WebhookSink::new("https://elsewhere.example", None, &config);
    assert!(elsewhere.is_err());
}
