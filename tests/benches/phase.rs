//! The five-phase SQL saga beside the plain loop a programmer would write by hand (begin, business insert, log insert,
//! commit: four round trips), same driver, same server, in one run, in turns.
//!
//! Between the two stands the floor: what any saga that can be recovered must do in a phase's transaction (pass the
//! gate, lock the run's row and read it, the effect, a record of the same size, the run's row moved), as bare prepared
//! statements in two flights, without a function, a check, a chain or a role. It tells how much of the distance to the
//! plain loop is the work itself and how much is ours.
//!
//! `cargo bench -p redress-tests --bench phase [-- SECONDS]` prints transactions per second and their ratio at 1, 16
//! and 64 in flight. A ratio is what counts: these machines are noisy.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use redress::Engine;
use redress_tests::lab::migrate;
use redress_tests::{Setup, TestCluster, query_text};
use serde_json::json;
use tokio_postgres::{Client, NoTls};

const PHASES: usize = 5;
const IN_FLIGHT: [usize; 3] = [1, 16, 64];
const SECONDS_DEFAULT: u64 = 4;
const ROUNDS: usize = 3;
const WARM_UP: Duration = Duration::from_secs(2);

const SCHEMA: &str = "
create schema shop;
create table shop.entry (id uuid primary key default gen_random_uuid(), run text not null, phase int not null, note text not null);
create table shop.log (id uuid primary key default gen_random_uuid(), run text not null, phase int not null, body text not null);
create table shop.gate (one boolean primary key);
create table shop.run (id uuid primary key, state text not null, seq bigint not null, head bytea not null) with (fillfactor = 50);
create table shop.record (run uuid, seq bigint, hash bytea not null, kind text not null, bytes bytea not null, primary key (run, seq));";

fn main() {
    let seconds = std::env::args()
        .filter_map(|a| a.parse().ok())
        .next()
        .unwrap_or(SECONDS_DEFAULT);
    let cluster = Setup::new().durable().set("max_connections", "300").start();
    let database = cluster.fresh_database();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        migrate(database.url()).await;
        query_text(database.url(), SCHEMA);
        if std::env::var_os("REDRESS_BENCH_CPU").is_some() {
            cpu(&cluster, database.url(), seconds).await;
            return;
        }
        println!("five-phase SQL saga against the plain loop, {ROUNDS} rounds of {seconds} s each, median ratio");
        println!(
            "{:>9} {:>12} {:>12} {:>12} {:>11} {:>11} {:>12}",
            "in flight", "saga tx/s", "floor tx/s", "plain tx/s", "saga/plain", "saga/floor", "floor/plain"
        );
        for in_flight in IN_FLIGHT {
            // Both have their sessions and have used them before anything is counted.
            let (engine, clients) = (engine(database.url(), in_flight + 4).await, clients(database.url(), in_flight).await);
            saga(&engine, in_flight, WARM_UP).await;
            plain(&clients, WARM_UP).await;
            floor(&clients, WARM_UP).await;
            let time = Duration::from_secs(seconds);
            let mut rounds = Vec::new();
            for _ in 0..ROUNDS {
                let saga = saga(&engine, in_flight, time).await;
                let floor = floor(&clients, time).await;
                let plain = plain(&clients, time).await;
                rounds.push((saga / plain, saga, floor, plain));
            }
            rounds.sort_by(|a, b| a.0.total_cmp(&b.0));
            let (ratio, saga, floor, plain) = rounds[ROUNDS / 2];
            let (of_floor, floor_ratio) = (saga / floor, floor / plain);
            println!(
                "{in_flight:>9} {saga:>12.0} {floor:>12.0} {plain:>12.0} {ratio:>11.2} {of_floor:>11.2} {floor_ratio:>12.2}"
            );
        }
        commits_per_saga(database.url()).await;
    });
}

/// Server and client CPU per transaction: moved less by what else the machine does.
async fn cpu(cluster: &TestCluster, url: &str, seconds: u64) {
    for in_flight in IN_FLIGHT {
        let time = Duration::from_secs(seconds);
        let (engine, clients) = (
            engine(url, in_flight + 4).await,
            clients(url, in_flight).await,
        );
        saga(&engine, in_flight, WARM_UP).await;
        plain(&clients, WARM_UP).await;
        floor(&clients, WARM_UP).await;
        for name in ["saga", "floor", "plain"] {
            let server = children_ticks(cluster.postmaster());
            let client = ticks(std::process::id());
            let rate = match name {
                "saga" => saga(&engine, in_flight, time).await,
                "floor" => floor(&clients, time).await,
                _ => plain(&clients, time).await,
            };
            // Sessions of the pools have ended or not; what they used is counted in their parent when they have.
            let us = |ticks: u64| ticks as f64 * 10_000.0 / (rate * seconds as f64);
            println!(
                "{in_flight:>2} in flight, {name}: {rate:.0} tx/s, server {:.0} us/tx, client {:.0} us/tx",
                us(children_ticks(cluster.postmaster()) - server),
                us(ticks(std::process::id()) - client)
            );
        }
    }
}

fn stat(pid: u32) -> Vec<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = text.rsplit(')').next().unwrap_or_default();
    fields
        .split_whitespace()
        .map(|f| f.parse().unwrap_or(0))
        .collect()
}

/// User and system time of a process, in clock ticks (10 ms).
fn ticks(pid: u32) -> u64 {
    stat(pid).get(11..13).map_or(0, |t| t.iter().sum())
}

/// The same for the children of a process, the ones that have ended included.
fn children_ticks(parent: i32) -> u64 {
    let ended: u64 = stat(u32::try_from(parent).unwrap_or(0))
        .get(13..15)
        .map_or(0, |t| t.iter().sum());
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return 0;
    };
    let pids = entries.filter_map(|e| e.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let living: u64 = pids
        .filter(|pid| stat(*pid).get(1) == Some(&(parent as u64)))
        .map(ticks)
        .sum();
    ended + living
}

fn definition() -> redress::definition::Definition {
    let phases: Vec<String> = (0..PHASES)
        .map(|n| {
            format!(
                "
  - name: p{n}
    adapter: sql
    writes: [shop.entry]
    compensation: soft_revert
    residue: [shop.entry]
    with:
      apply:
        - sql: insert into shop.entry (run, phase, note) values ($1, {n}, $2)
          params: [/run/id, /input/note]
          rows: 1
      revert:
        - sql: update shop.entry set note = 'withdrawn' where run = $1 and phase = {n}
          params: [/run/id]"
            )
        })
        .collect();
    let yaml = format!(
        "saga: bench\nversion: 1\ninput: {{type: object}}\nauthority: {{soft_revert: auto}}\nphases:{}",
        phases.join("")
    );
    redress_tests::Lab::read(&yaml)
}

async fn engine(url: &str, size: usize) -> Engine {
    Engine::builder(redress::db::pool(url, size).expect("a pool"))
        .adapters(redress_adapters::standard())
        .register(definition())
        .expect("a sound definition")
        .build()
        .await
        .expect("an engine")
}

/// Transactions per second of sagas, `in_flight` at once.
async fn saga(engine: &Engine, in_flight: usize, time: Duration) -> f64 {
    let done = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let tasks: Vec<_> = (0..in_flight)
        .map(|_| {
            let (engine, done) = (engine.clone(), Arc::clone(&done));
            tokio::spawn(async move {
                let driver = engine.driver().await.expect("a driver");
                while started.elapsed() < time {
                    let outcome = driver
                        .start(engine.start("bench", json!({"note": "a line of business"})))
                        .await;
                    assert!(
                        matches!(outcome, Ok((_, redress::Outcome::Completed(_)))),
                        "{outcome:?}"
                    );
                    done.fetch_add(PHASES as u64, Ordering::Relaxed);
                }
                driver.leave().await;
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic");
    }
    done.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64()
}

/// Connections of the plain loop.
async fn clients(url: &str, in_flight: usize) -> Vec<Arc<Client>> {
    let mut clients = Vec::new();
    for _ in 0..in_flight {
        let (client, connection) = tokio_postgres::connect(url, NoTls)
            .await
            .expect("a connection");
        tokio::spawn(connection);
        clients.push(Arc::new(client));
    }
    clients
}

/// Transactions per second of the plain loop.
async fn plain(clients: &[Arc<Client>], time: Duration) -> f64 {
    let done = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let tasks: Vec<_> = clients
        .iter()
        .map(|client| {
            let (client, done) = (Arc::clone(client), Arc::clone(&done));
            tokio::spawn(async move {
                let entry = "insert into shop.entry (run, phase, note) values ($1, $2, $3)";
                let log = "insert into shop.log (run, phase, body) values ($1, $2, $3)";
                let entry = client.prepare(entry).await.expect("prepared");
                let log = client.prepare(log).await.expect("prepared");
                let run = "0190f5a0-0000-7000-8000-000000000000";
                while started.elapsed() < time {
                    client.batch_execute("begin").await.expect("begun");
                    client
                        .execute(&entry, &[&run, &1, &"a line of business"])
                        .await
                        .expect("inserted");
                    client
                        .execute(&log, &[&run, &1, &"phase committed"])
                        .await
                        .expect("logged");
                    client.batch_execute("commit").await.expect("committed");
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic");
    }
    done.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64()
}

/// Transactions per second of the floor; each client has a run of its own.
async fn floor(clients: &[Arc<Client>], time: Duration) -> f64 {
    let done = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let tasks: Vec<_> = clients
        .iter()
        .map(|client| {
            let (client, done) = (Arc::clone(client), Arc::clone(&done));
            tokio::spawn(async move {
                let statements =
                    futures_util::future::try_join_all(FLOOR.map(|text| client.prepare(text)));
                let statements = statements.await.expect("prepared");
                while started.elapsed() < time {
                    floor_run(&client, &statements).await;
                    done.fetch_add(PHASES as u64, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic");
    }
    done.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64()
}

/// Gate, run, effect, record, run moved, run opened.
const FLOOR: [&str; 6] = [
    "lock table shop.gate in row share mode",
    "select seq, head from shop.run where id = $1 and state = 'running' for no key update",
    "insert into shop.entry (run, phase, note) values ($1, $2, $3)",
    "insert into shop.record (run, seq, hash, kind, bytes) values ($1, $2, sha256($3), 'phase.committed', $3)",
    "update shop.run set seq = $2::bigint, head = sha256($3) where id = $1 and state = 'running' and seq = $2::bigint - 1",
    "insert into shop.run values ($1, 'running', 0, '')",
];

/// A run and its phases, as bare statements.
async fn floor_run(client: &Client, statements: &[tokio_postgres::Statement]) {
    let [gate, enter, entry, record, moved, open] = statements else {
        panic!("six statements");
    };
    let (run, bytes) = (uuid::Uuid::now_v7(), vec![b'x'; 550]);
    let name = run.to_string();
    for seq in 1..=PHASES as i64 {
        let opening = async {
            match seq {
                1 => client.execute(open, &[&run]).await.map(|_| ()),
                _ => client.query_one(enter, &[&run]).await.map(|_| ()),
            }
        };
        let phase = i32::try_from(seq).expect("few phases");
        futures_util::try_join!(
            client.batch_execute("begin"),
            async { client.execute(gate, &[]).await.map(|_| ()) },
            opening,
            async {
                client
                    .execute(entry, &[&name, &phase, &"a line of business"])
                    .await
                    .map(|_| ())
            },
        )
        .expect("entered");
        futures_util::try_join!(
            async {
                client
                    .execute(record, &[&run, &seq, &bytes])
                    .await
                    .map(|_| ())
            },
            async {
                client
                    .execute(moved, &[&run, &seq, &bytes])
                    .await
                    .map(|_| ())
            },
            client.batch_execute("commit"),
        )
        .expect("committed");
    }
}

/// Counts the commits of one saga by the transactions its records name.
async fn commits_per_saga(url: &str) {
    let sql = "select count(distinct xid) from redress.record
               where run = (select id from redress.run order by opened_at desc limit 1)";
    println!(
        "commits of one saga of {PHASES} phases: {}",
        query_text(url, sql)
    );
}
