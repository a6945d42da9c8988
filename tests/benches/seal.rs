//! Sealing: how fast a backlog is sealed, and how long a committed record waits for a signed, anchored and published head.
//!
//! `cargo bench -p redress-tests --bench seal [-- RECORDS]` makes a ledger of about so many records by running sagas
//! (default 100,000), seals it, verifies it, and then lets sagas run for ten seconds under a following sealer while
//! another database of the cluster holds a write transaction open the whole time. A record's wait is the time from its
//! commit (`track_commit_timestamp`) to the moment its head was published.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use redress::Engine;
use redress_tests::{Lab, Setup, Vault, query_text};
use serde_json::json;
use tokio::sync::watch;

const RECORDS_DEFAULT: u64 = 100_000;
const IN_FLIGHT: usize = 16;
const LOAD: Duration = Duration::from_secs(10);

const SAGA: &str = "
saga: bench
version: 1
input: {type: object}
authority: {soft_revert: auto}
phases:
  - name: only
    adapter: sql
    writes: [shop.audit]
    compensation: soft_revert
    residue: [shop.audit]
    with:
      apply:
        - sql: insert into shop.audit (note) values ($1)
          params: [/run/id]
          rows: 1
      revert:
        - sql: insert into shop.audit (note) values ($1)
          params: [/run/id]";

fn main() {
    let records = std::env::args().filter_map(|a| a.parse().ok()).next();
    let records = records.unwrap_or(RECORDS_DEFAULT);
    let cluster = Setup::new()
        .durable()
        .set("max_connections", "100")
        .set("track_commit_timestamp", "on")
        .start();
    let (database, other) = (cluster.fresh_database(), cluster.fresh_database());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let lab = Lab::at(database.url()).await;
        lab.sql("create table shop.audit (note text not null)");
        let engine = lab.engine().await;
        engine.register(&Lab::read(SAGA)).await.expect("registered");
        let vault = Vault::open(&lab, &engine).await;
        let count = |lab: &Lab| -> u64 {
            lab.sql("select count(*) from redress.record")
                .parse()
                .expect("a number")
        };
        while count(&lab) < records {
            load(&engine, Duration::from_secs(2)).await;
        }
        backlog(&vault, &engine).await;
        // A write transaction of another database holds pg_snapshot_xmin back in the whole cluster.
        let (mut client, connection) = tokio_postgres::connect(other.url(), tokio_postgres::NoTls)
            .await
            .expect("connected");
        tokio::spawn(connection);
        let open = client.transaction().await.expect("begun");
        open.query_one("select pg_current_xact_id()::text", &[])
            .await
            .expect("an id");
        latency(&lab, &vault, &engine).await;
        drop(open);
    });
}

/// Sagas, so many at once, for a while.
async fn load(engine: &Engine, time: Duration) {
    let started = Instant::now();
    let tasks: Vec<_> = (0..IN_FLIGHT)
        .map(|_| {
            let engine = engine.clone();
            tokio::spawn(async move {
                let driver = engine.driver().await.expect("a driver");
                while started.elapsed() < time {
                    driver
                        .start(engine.start("bench", json!({})))
                        .await
                        .expect("driven");
                }
                driver.leave().await;
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic");
    }
}

async fn backlog(vault: &Vault, engine: &Engine) {
    let mut sealer = vault.sealer(engine);
    let started = Instant::now();
    let sealed = sealer.seal().await.expect("sealed");
    let time = started.elapsed().as_secs_f64();
    let rate = sealed.records as f64 / time;
    println!(
        "sealed and published {} records in {time:.2} s: {rate:.0} records/s",
        sealed.records
    );
    sealer.leave().await.expect("left");
    let started = Instant::now();
    let report = vault.export(engine, "bundle", None).await;
    let time = started.elapsed().as_secs_f64();
    println!("exported and verified in {time:.2} s: {}", report.verdict);
}

async fn latency(lab: &Lab, vault: &Vault, engine: &Engine) {
    let heads: Arc<Mutex<Vec<(u64, SystemTime)>>> = Arc::default();
    let (stop, stopping) = watch::channel(false);
    let mut sealer = vault.sealer(engine);
    let heard = Arc::clone(&heads);
    let following = tokio::spawn(async move {
        let note = |sealed: &redress::seal::Sealed| {
            let mut heads = heard.lock().expect("no panic");
            heads.push((sealed.head.size, SystemTime::now()));
        };
        sealer.follow(stopping, note).await
    });
    let first: u64 = lab
        .sql("select size from redress.sealer")
        .parse()
        .expect("a number");
    load(engine, LOAD).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    stop.send_replace(true);
    following.await.expect("no panic").expect("stopped");
    let sql = format!(
        "select l.position || ' ' || extract(epoch from pg_xact_commit_timestamp(r.xid::xid)) * 1000000
         from redress.leaf l join redress.record r using (run, seq) where l.position >= {first} order by l.position"
    );
    let heads = heads.lock().expect("no panic");
    let mut waits: Vec<f64> = query_text(lab.url(), &sql)
        .lines()
        .map(|line| {
            let (position, at) = line.split_once(' ').expect("two numbers");
            let position: u64 = position.parse().expect("a position");
            let committed: f64 = at.parse().expect("microseconds");
            let head = heads
                .iter()
                .find(|(size, _)| *size > position)
                .expect("a head");
            let since = head
                .1
                .duration_since(SystemTime::UNIX_EPOCH)
                .expect("after 1970");
            (since.as_micros() as f64 - committed) / 1_000.0
        })
        .collect();
    waits.sort_by(f64::total_cmp);
    let at = |share: f64| waits[((waits.len() - 1) as f64 * share) as usize];
    println!(
        "commit to published head, {} records in {} s, another database's write transaction open: \
         median {:.0} ms, p99 {:.0} ms, longest {:.0} ms, {} heads",
        waits.len(),
        LOAD.as_secs(),
        at(0.5),
        at(0.99),
        at(1.0),
        heads.len()
    );
}
