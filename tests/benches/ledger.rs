//! What the ledger costs a phase: hashing on both sides, and a signed receipt for each record.
//!
//! Receipts: sagas of engines with and without a signer, in turns, in one run. Hashing: there is no engine without it, so
//! what it costs is measured alone, here and in the server, and compared with what a transaction takes: at 1 in flight its
//! time, at 16 the time of all cores. (Both are upper bounds: what is measured alone could overlap.)
//!
//! `cargo bench -p redress-tests --bench ledger [-- SECONDS]`

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use redress::Engine;
use redress::ledger::note::Note;
use redress::ledger::{Receipt, SigningKey, leaf_hash};
use redress::receipt::ReceiptSink;
use redress_tests::{Lab, Setup};
use serde_json::json;

const SECONDS_DEFAULT: u64 = 4;
const ROUNDS: usize = 5;
const IN_FLIGHT: [usize; 2] = [1, 16];
const PHASES: u64 = 5;
/// A usual length.
const RECORD_BYTES: usize = 550;

/// Counts receipts, so that none is optimised away.
#[derive(Default)]
struct Count(AtomicU64);

impl ReceiptSink for Count {
    fn receive(&self, _: &Receipt, note: &Note) {
        self.0
            .fetch_add(note.signatures().len() as u64, Ordering::Relaxed);
    }
}

fn main() {
    let seconds = std::env::args().filter_map(|a| a.parse().ok()).next();
    let time = Duration::from_secs(seconds.unwrap_or(SECONDS_DEFAULT));
    let cluster = Setup::new().durable().set("max_connections", "200").start();
    let database = cluster.fresh_database();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        let lab = Lab::at(database.url()).await;
        lab.sql("create table shop.audit (note text not null)");
        let key = SigningKey::generate("engine-1").expect("randomness");
        let receipts = Arc::new(Count::default());
        let signing = lab.builder(lab.url()).signer(key).receipts(receipts.clone());
        let signing = ready(signing.build().await.expect("an engine")).await;
        let silent = ready(lab.engine().await).await;
        let (here, server) = (hashing(), hashing_in_server(&lab));
        let records = (PHASES + 2) as f64 / PHASES as f64;
        println!(
            "hashing a record of {RECORD_BYTES} bytes: {:.1} us here, {:.1} us in the server; {records:.1} records a transaction",
            here * 1e6,
            server * 1e6
        );
        println!("{:>9} {:>14} {:>15} {:>9} {:>9} {:>9}", "in flight", "receipts tx/s", "no receipt tx/s", "receipts", "hashing", "ledger");
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        for in_flight in IN_FLIGHT {
            let mut rounds = Vec::new();
            for _ in 0..ROUNDS {
                let with = load(&signing, in_flight, time).await;
                let without = load(&silent, in_flight, time).await;
                rounds.push((without / with - 1.0, with, without));
            }
            rounds.sort_by(|a, b| a.0.total_cmp(&b.0));
            let (receipt, with, without) = rounds[ROUNDS / 2];
            let transaction = in_flight.min(cores) as f64 / without;
            let hashing = (here + server) * records;
            let hashing = hashing / (transaction - hashing);
            println!(
                "{in_flight:>9} {with:>14.0} {without:>15.0} {:>8.1}% {:>8.1}% {:>8.1}%",
                receipt * 100.0,
                hashing * 100.0,
                ((1.0 + receipt) * (1.0 + hashing) - 1.0) * 100.0
            );
        }
        println!("{} receipts were signed", receipts.0.load(Ordering::Relaxed));
    });
}

async fn ready(engine: Engine) -> Engine {
    let phase = |n: u64| {
        format!(
            "
  - name: p{n}
    adapter: sql
    writes: [shop.audit]
    compensation: soft_revert
    residue: [shop.audit]
    with:
      apply: [{{sql: insert into shop.audit (note) values ($1), params: [/run/id], rows: 1}}]
      revert: [{{sql: select 1}}]"
        )
    };
    let phases: String = (0..PHASES).map(phase).collect();
    let yaml = format!(
        "saga: bench\nversion: 1\ninput: {{type: object}}\nauthority: {{soft_revert: auto}}\nphases:{phases}"
    );
    engine
        .register(&Lab::read(&yaml))
        .await
        .expect("registered");
    load(&engine, 16, Duration::from_secs(1)).await;
    engine
}

/// Transactions per second of sagas, so many at once.
async fn load(engine: &Engine, in_flight: usize, time: Duration) -> f64 {
    let done = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let tasks: Vec<_> = (0..in_flight)
        .map(|_| {
            let (engine, done) = (engine.clone(), Arc::clone(&done));
            tokio::spawn(async move {
                let driver = engine.driver().await.expect("a driver");
                while started.elapsed() < time {
                    let outcome = driver.start(engine.start("bench", json!({}))).await;
                    assert!(
                        matches!(outcome, Ok((_, redress::Outcome::Completed(_)))),
                        "{outcome:?}"
                    );
                    done.fetch_add(PHASES, Ordering::Relaxed);
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

/// Seconds to hash a record in this process.
fn hashing() -> f64 {
    const TIMES: u32 = 100_000;
    let record = vec![b'x'; RECORD_BYTES];
    let started = Instant::now();
    for _ in 0..TIMES {
        black_box(leaf_hash(black_box(&record)));
    }
    started.elapsed().as_secs_f64() / f64::from(TIMES)
}

/// Seconds that `append` pays in the server for a record's hash and for comparing `prev`.
fn hashing_in_server(lab: &Lab) -> f64 {
    const TIMES: u32 = 100_000;
    let time = |what: &str| {
        let sql = format!(
            "select count({what}) from (select convert_to(repeat('x', {RECORD_BYTES} - 6) || (100000 + i), 'UTF8') as b \
             from generate_series(1, {TIMES}) i offset 0) r"
        );
        lab.sql(&sql);
        let started = Instant::now();
        lab.sql(&sql);
        started.elapsed().as_secs_f64()
    };
    let hashed = time("encode(sha256('\\x00'::bytea || b), 'hex') is distinct from 'x'");
    (hashed - time("b is distinct from 'x'")).max(0.0) / f64::from(TIMES)
}
