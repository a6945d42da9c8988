//! A rewind that is killed between any two of its statements: all of it stands, or nothing.

use std::time::Duration;

use redress::Outcome;
use redress_tests::Running;
use redress_tests::bank::Bank;
use serde_json::json;

use crate::common::saga;
use crate::crash::{LIMIT, call, died};
use crate::rewind::step;

/// Kills at random moments.
fn rounds() -> u32 {
    match std::env::var_os("REDRESS_LONG") {
        Some(_) => 200,
        None => 12,
    }
}

/// The places of a rewind between whose passages a process dies.
const POINTS: [&str; 8] = [
    "rewind.entered",
    "plan.before_commit",
    "compensate.entered",
    "statement",
    "compensate.between",
    "compensate.after_effect",
    "phase.after_log",
    "phase.commit_sent",
];
/// Passages of one point that are tried; a rewind of three phases has fewer.
const PASSAGES_MAX: u64 = 16;

async fn bank() -> Bank {
    let bank = Bank::new().await;
    bank.sql(
        "create schema shop;
         create table shop.round (run uuid not null, phase text not null, id bigint generated always as identity primary key,
           state text not null default 'live', fails boolean not null default false);
         create table shop.failing (phase text primary key)",
    );
    let engine = bank.engine().await;
    let all = (1..=4).map(|i| step(&format!("p{i}"), json!({}))).collect();
    let line = saga("line", all, json!({"max_rewinds": 1000}));
    engine.register(&line).await.expect("registered");
    // Its last phase waits for a signature: the run is running, and nobody's.
    let mut waits: Vec<_> = (1..=3).map(|i| step(&format!("p{i}"), json!({}))).collect();
    waits.push(step("p4", json!({"approvals": {"operator": 1}})));
    let waits = saga("waits", waits, json!({"max_rewinds": 1000}));
    engine.register(&waits).await.expect("registered");
    bank
}

/// State, next phase and end of the run, and the phases that stand: what a rewind moves as one.
fn stands(bank: &Bank, run: &str) -> String {
    bank.sql(&format!(
        "select r.state || ' ' || coalesce(r.phase, '-') || ' ' || (r.ended_at is null) || ' ' ||
           (select string_agg(phase, ',' order by phase) from shop.round where run = r.id and state = 'live')
         from redress.run r where r.id = '{run}'"
    ))
}

/// What may be seen from outside, before and after; nothing else ever.
const WHOLE: &str = "completed - false p1,p2,p3,p4";
const WAITS: &str = "running p4 true p1,p2,p3";
const BACK: &str = "running p2 true p1";

/// Drives a run of one of the sagas as far as it goes, to what stands then.
async fn ready(bank: &Bank, run: &str) -> &'static str {
    let engine = bank.engine().await;
    let outcome = engine.drive(run.parse().unwrap()).await.expect("driven");
    let expected = match outcome {
        Outcome::Completed(_) => WHOLE,
        Outcome::Held(row) if row.state == redress::ledger::State::Running => WAITS,
        other => panic!("{other:?}"),
    };
    assert_eq!(stands(bank, run), expected);
    expected
}

async fn opened(bank: &Bank, saga: &str) -> String {
    let engine = bank.engine().await;
    let started = engine.start(saga, json!({})).open().await.unwrap();
    started.run.to_string()
}

/// systems.md 2.1, P7: at every named place of the rewind, and at each passage of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_rewind_that_dies_at_any_statement_stands_whole_or_not_at_all() {
    let bank = bank().await;
    for saga in ["line", "waits"] {
        die_everywhere(&bank, saga).await;
    }
    let check = bank.engine().await.check().await.expect("checked");
    assert!(check.ok, "{:?}", check.findings);
}

async fn die_everywhere(bank: &Bank, saga: &str) {
    let run = opened(bank, saga).await;
    let whole = ready(bank, &run).await;
    for point in POINTS {
        let mut deaths = 0;
        for n in 1..=PASSAGES_MAX {
            let act = ["rewind", &run, "p2", "resume"];
            let mut child =
                Running::start(call(bank, &act).env("REDRESS_CRASH", format!("{point}:{n}")));
            let dead = died(&mut child, point);
            let found = stands(bank, &run);
            assert!(
                [whole, BACK].contains(&found.as_str()),
                "{saga} {point}:{n}: {found}"
            );
            if found == BACK {
                ready(bank, &run).await;
            }
            if !dead {
                assert_eq!(found, BACK, "{saga} {point}:{n}");
                break;
            }
            deaths += 1;
        }
        // Only a run that is running is entered to be stopped; the others are entered to be compensated.
        let other = if whole == WAITS {
            "compensate.entered"
        } else {
            "rewind.entered"
        };
        assert!(deaths > 0 || point == other, "{saga} {point}");
        assert!(deaths < PASSAGES_MAX, "{saga} {point}");
    }
}

/// A rewind in a process of its own, which has connected and begins now.
async fn begun(bank: &Bank, run: &str) -> Running {
    let mut child = Running::start(&mut call(bank, &["rewind", run, "p2", "resume"]));
    while !child.stdout().contains("ready") && child.poll().is_none() {
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
    child
}

/// How long a whole rewind takes on this machine now.
async fn measured(bank: &Bank, run: &str) -> Duration {
    let mut child = begun(bank, run).await;
    let start = std::time::Instant::now();
    child.wait(LIMIT);
    start.elapsed()
}

/// The same by SIGKILL at random moments.
#[tokio::test(flavor = "multi_thread")]
async fn a_rewind_that_is_killed_at_any_moment_stands_whole_or_not_at_all() {
    let bank = bank().await;
    let engine = bank.engine().await;
    let runs = [opened(&bank, "line").await, opened(&bank, "waits").await];
    let stood = [ready(&bank, &runs[0]).await, ready(&bank, &runs[1]).await];
    let act_takes = measured(&bank, &runs[0]).await;
    ready(&bank, &runs[0]).await;
    let (mut whole, mut back) = (0, 0);
    for round in 0..rounds() {
        let at = round as usize % 2;
        let (run, before) = (&runs[at], stood[at]);
        let mut child = begun(&bank, run).await;
        // Anywhere in it, and a little behind it.
        tokio::time::sleep(act_takes * (round * 7_919 % 251) / 200).await;
        child.kill();
        let mut found = stands(&bank, run);
        let busy = "select count(*) from pg_stat_activity where datname = current_database() and state <> 'idle' and pid <> pg_backend_pid() and backend_type = 'client backend'";
        crate::common::until("the server has noticed", async || bank.sql(busy) == "0").await;
        let later = stands(&bank, run);
        if later != found {
            // COMMIT was on its way when the process died.
            assert_eq!(
                (found.as_str(), later.as_str()),
                (before, BACK),
                "round {round}"
            );
            found = later;
        }
        match found.as_str() {
            same if same == before => whole += 1,
            BACK => {
                back += 1;
                ready(&bank, run).await;
            }
            other => panic!("round {round}: {other}"),
        }
    }
    println!("killed {} times: {whole} nothing, {back} all", rounds());
    assert!(whole > 0, "no kill came in time");
    let check = engine.check().await.expect("checked");
    assert!(check.ok, "{:?}", check.findings);
}
