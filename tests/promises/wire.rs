//! Cut, swallowed, stalled and dribbled wires, commits that wait, servers that die: a run ends as it would have.

use std::time::{Duration, Instant};

use redress::Engine;
use redress_tests::bank::{self, Bank, Tally};
use redress_tests::children::signal_process;
use redress_tests::{Fault, Relay, Running, TestCluster, Trigger, eventually, worker};
use rustix::process::Signal;
use tokio::sync::watch;

use crate::crash::{LIMIT, call};

/// How many rounds a loop makes: few in the ordinary run, many with `REDRESS_LONG`.
pub(crate) fn rounds(ordinary: usize, long: usize) -> usize {
    if std::env::var_os("REDRESS_LONG").is_some() {
        long
    } else {
        ordinary
    }
}

/// A bank in the shared server and a relay before it.
async fn behind_a_relay() -> (Bank, Relay, Engine) {
    let bank = Bank::new().await;
    let relay = Relay::before(TestCluster::shared());
    let name = bank
        .database
        .as_ref()
        .expect("a database of its own")
        .name();
    let engine = bank
        .builder(&relay.url(name))
        .build()
        .await
        .expect("an engine");
    (bank, relay, engine)
}

/// Drives one run after the other while a fault meets the 1st, 2nd, … COMMIT of each: the eager start, phases, the
/// failure's record and the unwind.
async fn every_commit_meets(fault: Fault, saga: &str, count: usize) -> (Tally, u64) {
    let (bank, relay, engine) = behind_a_relay().await;
    for n in 0..count {
        let refused = n % 2 == 1;
        relay.arm_commit(fault, n as u64 / 2 % 9 + 1);
        let start = engine
            .start(saga, bank::input(n, refused))
            .key(format!("k{n}"));
        let driven = tokio::time::timeout(LIMIT, engine.start_and_drive(start)).await;
        let (_, outcome) = driven
            .unwrap_or_else(|_| panic!("{fault:?} in round {n}: no end\n{}", bank.story()))
            .unwrap_or_else(|error| panic!("{fault:?} in round {n}: {error}\n{}", bank.story()));
        let expected = if refused { "compensated" } else { "completed" };
        assert_eq!(
            outcome.run().state.as_str(),
            expected,
            "{fault:?} in round {n}\n{}",
            bank.story()
        );
        relay.disarm();
    }
    let tally = bank.audit_final();
    assert_eq!(tally.completed + tally.compensated, count);
    assert_eq!(
        tally.attempts,
        0,
        "{fault:?}: a lost connection is no attempt\n{}",
        bank.story()
    );
    println!(
        "{fault:?} on {saga}: {count} runs, {} faults, {tally:?}",
        relay.fired()
    );
    (tally, relay.fired())
}

/// F24
#[tokio::test(flavor = "multi_thread")]
async fn a_cut_before_commit_leaves_nothing_and_is_tried_again() {
    let (_, fired) = every_commit_meets(Fault::Cut, "transfer", rounds(100, 1_000)).await;
    assert!(fired as usize >= rounds(100, 1_000) / 3);
}

/// F25: in doubt, resolved as aborted.
#[tokio::test(flavor = "multi_thread")]
async fn a_swallowed_commit_is_resolved_as_aborted_and_done_again() {
    let (_, fired) = every_commit_meets(Fault::Swallow, "transfer", rounds(100, 1_000)).await;
    assert!(fired as usize >= rounds(100, 1_000) / 3);
}

/// F26: in doubt, resolved as committed.
#[tokio::test(flavor = "multi_thread")]
async fn a_swallowed_commit_answer_does_not_repeat_the_phase() {
    let (_, fired) = every_commit_meets(Fault::SwallowAnswer, "transfer", rounds(100, 1_000)).await;
    assert!(fired as usize >= rounds(100, 1_000) / 3);
}

/// F24–F26 for compensations that go step by step.
#[tokio::test(flavor = "multi_thread")]
async fn a_step_in_doubt_is_neither_lost_nor_repeated() {
    for fault in [Fault::Cut, Fault::Swallow, Fault::SwallowAnswer] {
        every_commit_meets(fault, "steps", rounds(20, 200)).await;
    }
}

/// F25, F26 with many runs at once, so that others' statements stand between.
#[tokio::test(flavor = "multi_thread")]
async fn commits_in_doubt_under_load_are_resolved_both_ways() {
    let (bank, relay, engine) = behind_a_relay().await;
    let count = rounds(60, 600);
    bank.open("transfer", 0..count, true).await;
    relay.arm(Trigger::Commit, Fault::Swallow, 7, true);
    relay.arm(Trigger::Commit, Fault::SwallowAnswer, 11, true);
    let (_stop, stopping) = watch::channel(false);
    let work = engine.worker().concurrency(8).until_idle().run(stopping);
    tokio::time::timeout(LIMIT * 4, work)
        .await
        .unwrap_or_else(|_| panic!("{} left\n{}", bank.unfinished(), bank.story()))
        .expect("worked");
    let fired = relay.fired();
    let tally = bank.audit_twice().await;
    println!("under load: {fired} faults, {tally:?}");
    assert_eq!(
        (tally.completed + tally.compensated, tally.attempts),
        (count, 0)
    );
    assert!(fired as usize > count / 3, "{fired}");
}

/// F29: the silent worker's lock is released by the server, another one takes over, the first is fenced.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_behind_a_silent_wire_is_taken_over() {
    for fault in [Fault::Stall, Fault::StallAnswer] {
        let (bank, relay, _) = behind_a_relay().await;
        bank.open("transfer", 0..3, true).await;
        let name = bank.database.as_ref().expect("its own").name();
        let engine = bank
            .builder(&relay.url(name))
            .lease(worker::LEASE)
            .build()
            .await
            .expect("an engine");
        relay.arm(Trigger::Commit, fault, 2, false);
        let (stop, stopping) = watch::channel(false);
        let silent =
            tokio::spawn(async move { engine.worker().concurrency(1).run(stopping).await });
        assert!(relay.wait_fired(1, LIMIT));
        relay.stall();
        let begun = Instant::now();
        let other = bank
            .builder(bank.url())
            .lease(worker::LEASE)
            .build()
            .await
            .expect("an engine");
        let (_stop, going) = watch::channel(false);
        let work = other.worker().until_idle().run(going);
        tokio::time::timeout(LIMIT, work)
            .await
            .expect("it takes over")
            .expect("worked");
        assert!(
            begun.elapsed() < worker::LEASE * 2 + Duration::from_secs(6),
            "{:?}",
            begun.elapsed()
        );
        let before = bank.audit_final();
        relay.resume();
        stop.send_replace(true);
        let ended = tokio::time::timeout(LIMIT, silent).await.expect("it ends");
        ended.expect("no panic").expect("worked");
        assert_eq!(bank.audit_final(), before, "{fault:?}");
        assert_eq!(
            (before.completed, before.compensated, before.attempts),
            (2, 1, 0),
            "{fault:?}"
        );
    }
}

/// F29: bounded by our own limits, not by the wire's patience: a phase, the failure's record, the unwind.
#[tokio::test(flavor = "multi_thread")]
async fn a_driver_behind_a_silent_wire_gives_the_wire_up() {
    let mut drives = Vec::new();
    for nth in [2, 4, 5] {
        drives.push(tokio::spawn(async move {
            let (bank, relay, engine) = behind_a_relay().await;
            bank.open("transfer", 2..3, true).await;
            let run = bank.sql("select id from redress.run");
            relay.arm(Trigger::Commit, Fault::StallAnswer, nth, false);
            let run = run.parse().expect("a run");
            let driven = tokio::time::timeout(LIMIT, engine.drive(run)).await;
            let outcome = driven.expect("its limits end by themselves");
            let state = outcome.expect("driven").run().state;
            assert_eq!(state.as_str(), "compensated", "{nth}");
            assert_eq!(relay.fired(), 1);
            assert_eq!(bank.audit_final().attempts, 0, "{nth}");
        }));
    }
    for drive in drives {
        drive.await.expect("no panic");
    }
}

/// F30
#[tokio::test(flavor = "multi_thread")]
async fn a_dribbling_wire_changes_nothing() {
    let (bank, relay, engine) = behind_a_relay().await;
    for (n, size) in [1, 2, 5, 64].into_iter().enumerate() {
        relay.dribble(size, Duration::ZERO);
        let start = engine
            .start("transfer", bank::input(n, n % 2 == 1))
            .key(format!("k{n}"));
        engine.start_and_drive(start).await.expect("driven");
    }
    let tally = bank.audit_final();
    assert_eq!(
        (tally.completed, tally.compensated, tally.attempts),
        (2, 2, 0)
    );
}

/// A server whose commits can be made to wait for a standby that does not exist.
struct Waiting {
    cluster: TestCluster,
    bank: Bank,
}

impl Waiting {
    async fn new() -> (Self, redress_tests::TestDatabase) {
        let cluster = TestCluster::own();
        let database = cluster.fresh_database();
        let bank = Bank::at(database.url()).await;
        (Self { cluster, bank }, database)
    }

    fn standby(&self, name: &str) {
        let sql = format!("alter system set synchronous_standby_names = '{name}'");
        self.cluster.query_text("postgres", &sql);
        self.cluster
            .query_text("postgres", "select pg_reload_conf()");
        let waits = "show synchronous_standby_names";
        eventually(LIMIT, "the setting is read", || {
            self.cluster.query_text("postgres", waits) == name
        });
    }

    /// A process that drives a slow run until its commit waits; gives the backend that waits.
    fn waiting(&self, n: usize) -> (Running, i32) {
        let input = bank::input(n, false).to_string();
        let key = format!("k{n}");
        let mut command = call(&self.bank, &["drive", "slow", &key, &input]);
        command.env(worker::LEASE_MS, "60000");
        let child = Running::start(&mut command);
        let sleeps = "select count(*) from pg_stat_activity where query like '%pg_sleep%' and state = 'active' and pid <> pg_backend_pid()";
        eventually(LIMIT, "the slow phase runs", || {
            self.bank.sql(sleeps) == "1"
        });
        self.standby("missing");
        let waits = "select coalesce(max(pid), 0) from pg_stat_activity where wait_event = 'SyncRep' and query ilike 'commit%'";
        eventually(LIMIT, "its commit waits", || self.bank.sql(waits) != "0");
        (
            child,
            self.bank.sql(waits).parse().expect("a process number"),
        )
    }
}

#[track_caller]
fn ended_in_doubt(child: &mut Running, word: &str) {
    let status = child.wait(LIMIT);
    let said = child.stderr();
    assert!(status.success(), "{status}\n{said}");
    assert!(
        said.contains("commit in doubt") && said.contains(word),
        "{word}: {said}"
    );
}

/// F27: the answer is a closed connection, and it is committed.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_wait_was_terminated_is_in_doubt() {
    let (server, _database) = Waiting::new().await;
    let (mut child, pid) = server.waiting(1);
    let effects = "select count(*) from bank.effect where phase = 'between'";
    assert_eq!(server.bank.sql(effects), "0", "not visible while it waits");
    server
        .bank
        .sql(&format!("select pg_terminate_backend({pid})"));
    eventually(LIMIT, "it is committed", || server.bank.sql(effects) == "1");
    server.standby("");
    ended_in_doubt(&mut child, "lost");
    let tally = server.bank.audit_final();
    assert_eq!((tally.completed, tally.attempts), (1, 0));
}

/// F27: the answer is success with warning 01000, and that is no success.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_wait_was_cancelled_is_in_doubt() {
    let (server, _database) = Waiting::new().await;
    let (mut child, pid) = server.waiting(1);
    server.bank.sql(&format!("select pg_cancel_backend({pid})"));
    let effects = "select count(*) from bank.effect where phase = 'between'";
    eventually(LIMIT, "it is committed", || server.bank.sql(effects) == "1");
    server.standby("");
    ended_in_doubt(&mut child, "01000");
    let tally = server.bank.audit_final();
    assert_eq!((tally.completed, tally.attempts), (1, 0));
}

/// F28: whoever resolves waits for the row lock while the old backend still waits; a plain read would repeat the phase.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_resolves_doubt_waits_for_the_backend_that_still_commits() {
    let (server, database) = Waiting::new().await;
    let relay = Relay::before(&server.cluster);
    let engine = server
        .bank
        .builder(&relay.url(database.name()))
        .build()
        .await
        .expect("an engine");
    server.bank.open("slow", 1..2, false).await;
    let run = server
        .bank
        .sql("select id from redress.run")
        .parse()
        .expect("a run");
    let drive = tokio::spawn(async move { engine.drive(run).await });
    let sleeps = "select count(*) from pg_stat_activity where query like '%pg_sleep%' and state = 'active' and pid <> pg_backend_pid()";
    eventually(LIMIT, "the slow phase runs", || {
        server.bank.sql(sleeps) == "1"
    });
    server.standby("missing");
    let waits = "select count(*) from pg_stat_activity where wait_event = 'SyncRep'";
    eventually(LIMIT, "its commit waits", || server.bank.sql(waits) == "1");
    relay.cut_all();
    let blocked = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query like '%enter_run%'";
    eventually(LIMIT, "the resolver waits for the row", || {
        server.bank.sql(blocked) == "1"
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(server.bank.sql(blocked), "1");
    assert!(!drive.is_finished());
    let effects = "select count(*) from bank.effect where phase = 'between'";
    assert_eq!(
        server.bank.sql(effects),
        "0",
        "a plain read would see nothing"
    );
    server.standby("");
    let outcome = drive.await.expect("no panic").expect("driven");
    assert_eq!(outcome.run().state.as_str(), "completed");
    let tally = server.bank.audit_final();
    assert_eq!((tally.completed, tally.attempts), (1, 0));
}

/// A pid of a backend that works for a bank's runs.
fn a_backend(bank: &Bank) -> Option<i32> {
    let sql = "select pid from pg_stat_activity where datname = current_database() and application_name = 'redress' and state <> 'idle' and pid <> pg_backend_pid() order by random() limit 1";
    bank.sql(sql).parse().ok()
}

/// F20–F23: sessions, backends, the postmaster and the whole server die under load; the workers stay.
#[tokio::test(flavor = "multi_thread")]
async fn servers_die_under_load_and_every_run_ends() {
    let cluster = TestCluster::own();
    let database = cluster.fresh_database();
    let bank = Bank::at(database.url()).await;
    let count = rounds(120, 600);
    bank.open("transfer", 0..count, true).await;
    bank.open("slow", count..count + 12, true).await;
    let mut workers: Vec<Running> = (0..2)
        .map(|_| Running::start(&mut call(&bank, &["work"])))
        .collect();
    // A worker that cannot even announce itself ends, and rightly: these have.
    eventually(LIMIT, "both are at work", || {
        bank.sql("select count(*) from redress.worker") == "2"
    });
    let terminate = |times: usize| {
        for _ in 0..times {
            eventually(LIMIT, "a backend is at work", || {
                let Some(pid) = a_backend(&bank) else {
                    return bank.unfinished() == 0;
                };
                bank.sql(&format!("select pg_terminate_backend({pid})"));
                true
            });
        }
    };
    let mut deaths = Vec::new();
    terminate(8);
    deaths.push("8 sessions terminated");
    cluster.stop_immediate();
    cluster.start();
    deaths.push("stopped at once");
    terminate(4);
    if let Some(pid) = a_backend(&bank) {
        signal_process(pid, Signal::KILL);
        deaths.push("a backend killed");
        let answers = || redress_tests::try_query_text(bank.url(), "select 1").is_ok();
        eventually(LIMIT, "the server recovers", answers);
    }
    cluster.kill_postmaster();
    cluster.start();
    deaths.push("the postmaster killed");
    eventually(LIMIT, "every run ends", || bank.unfinished() == 0);
    for worker in &mut workers {
        worker.terminate();
        let status = worker.wait(LIMIT);
        assert!(status.success(), "{status}\n{}", worker.stderr());
    }
    let tally = bank.audit_twice().await;
    println!("{deaths:?}: {tally:?}");
    assert_eq!(
        (tally.completed + tally.compensated, tally.held),
        (count + 12, 0),
        "{}",
        bank.story()
    );
}
