//! Death at every durable step: each point is passed once alive and once by a process that dies there.

use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use redress_tests::bank::{self, Bank};
use redress_tests::children::{is_stopped, signal_process};
use redress_tests::worker::{self, LEASE, LEASE_MS};
use redress_tests::{Running, TestCluster, eventually, fresh_database};
use rustix::process::Signal;
use std::os::unix::process::ExitStatusExt;

/// Enough for whatever a worker has to do here, on a machine that does other things too.
pub(crate) const LIMIT: Duration = Duration::from_secs(40);
/// Passages of one point that are tried; a run has fewer.
const PASSAGES_MAX: u64 = 12;

pub(crate) fn call(bank: &Bank, args: &[&str]) -> Command {
    worker::call(env!("CARGO_BIN_EXE_redress-test-worker"), bank, args)
}

pub(crate) fn armed(bank: &Bank, args: &[&str], variable: &str, point: &str, n: u64) -> Running {
    Running::start(call(bank, args).env(variable, format!("{point}:{n}")))
}

/// Runs an act to its end and gives what it printed; it must succeed.
#[track_caller]
pub(crate) fn done(bank: &Bank, args: &[&str]) -> String {
    let mut child = Running::start(&mut call(bank, args));
    let status = child.wait(LIMIT);
    assert!(
        status.success(),
        "{args:?}: {status}\n{}{}",
        child.stdout(),
        child.stderr()
    );
    child.stdout().trim().to_owned()
}

/// Whether a process died at its point; it must have succeeded otherwise.
#[track_caller]
pub(crate) fn died(child: &mut Running, what: &str) -> bool {
    let status: ExitStatus = child.wait(LIMIT);
    match status.signal() {
        Some(9) => true,
        _ => {
            assert!(
                status.success(),
                "{what}: {status}\n{}{}",
                child.stdout(),
                child.stderr()
            );
            false
        }
    }
}

/// A worker dies at the 1st, 2nd, … passage of a point, each time with a fresh run; another one ends the run.
async fn a_worker_dies(point: &str, saga: &str, least: u64, most: u64) {
    let bank = Bank::new().await;
    let mut deaths = 0;
    for n in 1..=most {
        let index = usize::try_from(n).unwrap() * 3 - 1;
        bank.open(saga, index..index + 1, true).await;
        let mut worker = armed(&bank, &["work", "until-idle"], "REDRESS_CRASH", point, n);
        if !died(&mut worker, point) {
            break;
        }
        deaths += 1;
        done(&bank, &["work", "until-idle"]);
        let tally = bank.audit_final();
        let runs = usize::try_from(n).unwrap();
        assert_eq!(
            (tally.compensated, tally.held),
            (runs, 0),
            "{point}:{n}\n{}",
            bank.story()
        );
        assert_eq!(tally.attempts, 0, "{point}:{n}: a death is no attempt");
    }
    println!("{point}: {deaths} deaths");
    assert!(
        deaths >= least,
        "{point}: {deaths} deaths\n{}",
        bank.story()
    );
}

macro_rules! deaths {
    ($($(#[$doc:meta])* $name:ident: $point:literal $saga:literal $least:literal $most:expr;)*) => {
        $($(#[$doc])* #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            a_worker_dies($point, $saga, $least, $most).await;
        })*
    };
}

deaths! {
    /// F1
    death_before_a_claim_leaves_the_run_claimable: "claim.before_commit" "transfer" 1 2;
    /// F2
    death_after_a_claim_is_taken_over: "claim.after_commit" "transfer" 1 PASSAGES_MAX;
    /// F3
    death_at_the_entry_of_a_phase_leaves_no_effect: "phase.entered" "transfer" 4 PASSAGES_MAX;
    /// F4
    death_after_the_effect_takes_it_back: "phase.after_effect" "transfer" 3 PASSAGES_MAX;
    /// F5: after the log record of phases, of the failure and of the compensation.
    death_before_commit_takes_effect_and_record_back: "phase.after_log" "transfer" 5 PASSAGES_MAX;
    /// F6: the COMMIT of phases, of the failure and of the compensation.
    death_after_commit_was_sent_repeats_nothing: "phase.commit_sent" "transfer" 5 PASSAGES_MAX;
    /// F7
    death_after_the_answer_of_commit_repeats_nothing: "phase.after_commit" "transfer" 3 PASSAGES_MAX;
    /// F8
    death_before_the_plan_is_recorded_plans_again: "plan.before_commit" "transfer" 1 PASSAGES_MAX;
    /// F10
    death_at_the_entry_of_an_unwind_leaves_nothing_of_it: "compensate.entered" "transfer" 1 PASSAGES_MAX;
    /// F10, P7
    death_between_two_compensations_leaves_nothing_of_an_atomic_unwind: "compensate.between" "transfer" 3 PASSAGES_MAX;
    /// F10, P7
    death_before_the_commit_of_an_unwind_leaves_nothing_of_it: "compensate.after_effect" "transfer" 1 PASSAGES_MAX;
    /// F10: a stepwise one goes on at the next, in reverse order.
    death_between_two_steps_goes_on_at_the_next: "compensate.after_commit" "steps" 3 PASSAGES_MAX;
    /// F6, F10
    death_after_the_commit_of_a_step_was_sent_repeats_no_step: "phase.commit_sent" "steps" 8 PASSAGES_MAX;
}

/// F7: a start that died after its commit is found by its key.
#[tokio::test(flavor = "multi_thread")]
async fn death_after_a_start_loses_nothing_and_opens_nothing_twice() {
    let bank = Bank::new().await;
    let input = bank::input(1, false).to_string();
    let args = ["start", "transfer", "k1", &input];
    let mut first = armed(&bank, &args, "REDRESS_CRASH", "start.after_commit", 1);
    assert!(died(&mut first, "start"));
    let run = done(&bank, &args);
    assert_eq!(bank.sql("select id from redress.run"), run);
    assert_eq!(done(&bank, &args), run);
    done(&bank, &["work", "until-idle"]);
    assert_eq!(bank.audit_final().completed, 1);
}

/// F3–F7: the first phase shares its transaction with the start; the caller dies and calls again with the same key.
#[tokio::test(flavor = "multi_thread")]
async fn death_in_an_eager_start_is_resolved_by_the_same_key() {
    let bank = Bank::new().await;
    let mut runs = 0;
    for point in [
        "phase.after_effect",
        "phase.after_log",
        "phase.commit_sent",
        "phase.after_commit",
    ] {
        for n in 1..=2 {
            runs += 1;
            let input = bank::input(runs, false).to_string();
            let key = format!("k{runs}");
            let args = ["drive", "transfer", &key, &input];
            let mut first = armed(&bank, &args, "REDRESS_CRASH", point, n);
            assert!(died(&mut first, point), "{point}:{n}");
            let said = done(&bank, &args);
            assert!(said.ends_with("completed"), "{said}");
            let tally = bank.audit_final();
            assert_eq!((tally.completed, tally.attempts), (runs, 0), "{point}:{n}");
        }
    }
}

/// F8, F9, F10: a person's way: plan, approve, apply, each of them cut short at each of its points.
#[tokio::test(flavor = "multi_thread")]
async fn death_in_a_persons_act_leaves_the_old_or_the_new() {
    let bank = Bank::new().await;
    for (index, saga) in ["careful", "signed"].into_iter().enumerate() {
        let n = index * 3 + 2;
        bank.open(saga, n..n + 1, true).await;
        done(&bank, &["work", "until-idle"]);
        let run = bank.sql(&format!("select id from redress.run where saga = '{saga}'"));
        let records = || bank.sql(&format!("select seq from redress.run where id = '{run}'"));
        assert_eq!(
            bank.sql(&format!("select state from redress.run where id = '{run}'")),
            "failed"
        );
        let dies = |act: &str, point: &str, n: u64| {
            died(
                &mut armed(&bank, &[act, &run], "REDRESS_CRASH", point, n),
                point,
            )
        };
        let before = records();
        assert!(dies("plan", "plan.before_commit", 1));
        assert_eq!(records(), before, "no plan stands");
        let digest = done(&bank, &["plan", &run]);
        assert_eq!(done(&bank, &["plan", &run]), digest, "the planner is pure");
        let before = records();
        assert!(dies("approve", "decision.signed", 1));
        assert_eq!(records(), before, "no decision stands");
        done(&bank, &["approve", &run]);
        let mut deaths = 0;
        // The stepwise plan stands as begun after its first commit; the next call goes on with it.
        let points = if saga == "careful" {
            [
                "compensate.entered",
                "compensate.between",
                "compensate.after_effect",
                "phase.after_log",
            ]
        } else {
            [
                "phase.after_log",
                "compensate.after_commit",
                "compensate.after_commit",
                "compensate.after_effect",
            ]
        };
        for point in points {
            deaths += u64::from(dies("apply", point, 1));
            bank.audit();
        }
        assert!(deaths == 4, "{saga}: {deaths}");
        assert_eq!(
            done(&bank, &["apply", &run]),
            "compensated",
            "{}",
            bank.story()
        );
        bank.audit_final();
    }
    let tally = bank.audit_twice().await;
    assert_eq!((tally.compensated, tally.held), (2, 0));
}

/// F14: never "returned but not in force", and the same call again is enough.
#[tokio::test(flavor = "multi_thread")]
async fn death_in_kill_and_release_leaves_the_old_or_the_new() {
    let bank = Bank::new().await;
    bank.open("transfer", 1..4, false).await;
    let switch = || bank.sql("select state from redress.switch");
    let dies = |args: &[&str], point: &str| {
        died(&mut armed(&bank, args, "REDRESS_CRASH", point, 1), point)
    };
    assert!(dies(&["kill", "2000"], "switch.before_publish"));
    assert_eq!(switch(), "run");
    assert!(dies(&["kill", "2000"], "switch.after_publish"));
    assert_eq!(switch(), "killed");
    done(&bank, &["kill", "2000"]);
    done(&bank, &["work", "until-idle"]);
    assert_eq!(
        bank.number("select count(*) from bank.effect"),
        0,
        "killed is killed"
    );
    assert!(dies(&["release-kill"], "release.before_commit"));
    assert_eq!(switch(), "killed");
    done(&bank, &["release-kill"]);
    done(&bank, &["release-kill"]);
    assert_eq!(switch(), "run");
    done(&bank, &["work", "until-idle"]);
    assert_eq!(bank.audit_twice().await.completed, 3);
}

/// F14
#[tokio::test(flavor = "multi_thread")]
async fn death_in_hold_and_release_leaves_the_old_or_the_new() {
    let bank = Bank::new().await;
    bank.open("transfer", 1..2, false).await;
    let run = bank.sql("select id from redress.run");
    let dies = |args: &[&str], point: &str| {
        died(&mut armed(&bank, args, "REDRESS_CRASH", point, 1), point)
    };
    assert!(dies(&["hold", &run], "hold.before_commit"));
    assert_eq!(bank.sql("select count(*) from redress.hold"), "0");
    let hold = done(&bank, &["hold", &run]);
    done(&bank, &["work", "until-idle"]);
    assert_eq!(bank.sql("select count(*) from bank.effect"), "0");
    assert!(dies(&["release-hold", &hold], "release.before_commit"));
    assert_eq!(
        bank.sql("select count(*) from redress.hold where released_at is null"),
        "1"
    );
    done(&bank, &["release-hold", &hold]);
    done(&bank, &["work", "until-idle"]);
    assert_eq!(bank.audit_twice().await.completed, 1);
}

/// F13: fully old or fully new, and the next call goes on.
#[tokio::test(flavor = "multi_thread")]
async fn death_in_a_migration_leaves_the_old_or_the_new() {
    for (point, offset) in [("migrate.before_commit", 1), ("migrate.after_commit", 0)] {
        let mut deaths = 0;
        for n in 1..=PASSAGES_MAX {
            let database = fresh_database();
            let migrate = |crash: Option<String>| {
                let mut command = Command::new(env!("CARGO_BIN_EXE_redress-test-worker"));
                command.arg("migrate").env(worker::URL, database.url());
                if let Some(crash) = crash {
                    command.env("REDRESS_CRASH", crash);
                }
                Running::start(&mut command)
            };
            if !died(&mut migrate(Some(format!("{point}:{n}"))), point) {
                break;
            }
            deaths += 1;
            let migrations = usize::try_from(redress::schema::SCHEMA_VERSION).unwrap();
            let stand = usize::try_from(n - offset).unwrap().min(migrations);
            assert_eq!(
                database.query_text("select count(*) from redress.migration"),
                stand.to_string(),
                "{point}:{n}"
            );
            assert!(!died(&mut migrate(None), "again"));
            assert!(!died(&mut migrate(None), "and again"));
            let pool = redress::db::pool(database.url(), 2).unwrap();
            redress::Engine::builder(pool)
                .build()
                .await
                .expect("an engine");
        }
        assert!(deaths >= 2, "{point}: {deaths}");
    }
}

/// A worker stops at a point, another one takes its run over and ends it, and the first one goes on.
async fn a_zombie(point: &str, n: u64, saga: &str) {
    let bank = Bank::new().await;
    bank.open(saga, 2..3, true).await;
    let mut zombie = armed(
        &bank,
        &["work", "until-idle"],
        "REDRESS_CRASH_STOP",
        point,
        n,
    );
    eventually(LIMIT, "the worker stops", || is_stopped(zombie.pid()));
    let stopped = Instant::now();
    done(&bank, &["work", "until-idle"]);
    let taken = stopped.elapsed();
    assert_eq!(bank.audit_final().compensated, 1, "{point}:{n}");
    let records = bank.number("select count(*) from redress.record");
    // Lease, idle limit below it, a poll, and a slow machine.
    assert!(
        taken < LEASE * 2 + Duration::from_secs(6),
        "{point}:{n}: {taken:?}"
    );
    zombie.thaw();
    let status = zombie.wait(LIMIT);
    assert!(
        status.success(),
        "{point}:{n}: {status}\n{}",
        zombie.stderr()
    );
    let tally = bank.audit_final();
    assert_eq!((tally.compensated, tally.attempts), (1, 0), "{point}:{n}");
    assert_eq!(
        tally.records,
        records,
        "{point}:{n}: the zombie wrote nothing\n{}",
        bank.story()
    );
    let said = zombie.stderr();
    let heard = ["fenced", "settled", "lost", "25P03"];
    assert!(
        heard.iter().any(|word| said.contains(word)),
        "{point}:{n}:\n{said}"
    );
    println!("zombie at {point}:{n}: taken over after {taken:?}");
}

/// F49: between transactions the epoch refuses it.
#[tokio::test(flavor = "multi_thread")]
async fn a_zombie_between_transactions_is_fenced() {
    for (point, n) in [
        ("claim.after_commit", 1),
        ("phase.after_commit", 2),
        ("plan.before_commit", 1),
    ] {
        a_zombie(point, n, "transfer").await;
    }
}

/// F49: inside one the server has ended its session.
#[tokio::test(flavor = "multi_thread")]
async fn a_zombie_inside_a_transaction_has_lost_its_session() {
    for (point, n) in [
        ("phase.entered", 2),
        ("phase.after_effect", 2),
        ("phase.after_log", 3),
    ] {
        a_zombie(point, n, "transfer").await;
    }
}

/// F49: while it compensates.
#[tokio::test(flavor = "multi_thread")]
async fn a_zombie_inside_a_compensation_compensates_nothing_twice() {
    a_zombie("compensate.between", 2, "transfer").await;
    a_zombie("compensate.after_commit", 1, "steps").await;
    a_zombie("compensate.after_effect", 1, "steps").await;
}

/// F49: COMMIT has left, its answer waits in the zombie's socket: what it committed stands, and it repeats nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_zombie_whose_commit_was_sent_repeats_nothing() {
    a_zombie("phase.commit_sent", 2, "transfer").await;
}

/// A worker that stands still inside a phase, far from losing its lease or its session by itself.
async fn frozen_inside(bank: &Bank) -> (Running, i32) {
    bank.open("transfer", 1..3, false).await;
    let mut command = call(bank, &["work"]);
    command
        .env(LEASE_MS, "60000")
        .env(worker::CONCURRENCY, "1")
        .env("REDRESS_CRASH_STOP", "phase.after_effect:2");
    let worker = Running::start(&mut command);
    eventually(LIMIT, "the worker stops", || is_stopped(worker.pid()));
    let backend = bank.number(
        "select pid from pg_stat_activity where state = 'idle in transaction' and datname = current_database()",
    );
    (worker, i32::try_from(backend).unwrap())
}

/// F58, P3
#[tokio::test(flavor = "multi_thread")]
async fn kill_ends_a_phase_that_hangs() {
    let bank = Bank::new().await;
    let (mut worker, backend) = frozen_inside(&bank).await;
    let engine = bank.engine().await;
    let begun = Instant::now();
    let killed = engine
        .kill("it hangs", Duration::from_secs(2), false)
        .await
        .expect("drained");
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "{:?}",
        begun.elapsed()
    );
    assert!(
        killed.drained_ms >= 1_000,
        "not before half of the deadline: {killed:?}"
    );
    let alive = format!("select count(*) from pg_stat_activity where pid = {backend}");
    eventually(LIMIT, "its session has ended", || bank.sql(&alive) == "0");
    let committed =
        || bank.number("select count(*) from redress.record where kind = 'phase.committed'");
    assert_eq!(committed(), 1);
    worker.thaw();
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!(committed(), 1, "nothing commits after kill has returned");
    done(&bank, &["release-kill"]);
    eventually(LIMIT, "the worker goes on by itself", || {
        bank.unfinished() == 0
    });
    worker.terminate();
    assert!(worker.wait(LIMIT).success(), "{}", worker.stderr());
    let tally = bank.audit_final();
    assert_eq!(
        (tally.completed, tally.attempts),
        (2, 0),
        "{}",
        bank.story()
    );
}

/// F58b, P3
#[tokio::test(flavor = "multi_thread")]
async fn kill_names_a_backend_that_it_cannot_end() {
    let cluster = TestCluster::own();
    let database = cluster.fresh_database();
    let bank = Bank::at(database.url()).await;
    let (mut worker, backend) = frozen_inside(&bank).await;
    signal_process(backend, Signal::STOP);
    eventually(LIMIT, "the backend stops", || is_stopped(backend));
    let mut kill = Running::start(&mut call(&bank, &["kill", "1500"]));
    // Published at once: whoever comes now is refused, while the kill still waits.
    eventually(LIMIT, "it is published", || {
        bank.sql("select state from redress.switch") == "killed"
    });
    let engine = bank.engine().await;
    let start = engine.start("transfer", bank::input(9, false)).key("k9");
    let refused = tokio::time::timeout(Duration::from_secs(10), start.open())
        .await
        .expect("it is answered");
    assert_eq!(refused.expect_err("nobody new gets in").code(), "RD0203");
    let status = kill.wait(LIMIT);
    assert_eq!(status.code(), Some(3), "{}{}", kill.stdout(), kill.stderr());
    assert!(
        kill.stdout().contains(&format!("pid {backend} ")),
        "{}",
        kill.stdout()
    );
    signal_process(backend, Signal::CONT);
    done(&bank, &["kill", "2000"]);
    assert_eq!(
        bank.number("select count(*) from redress.record where kind = 'phase.committed'"),
        1
    );
    worker.thaw();
    done(&bank, &["release-kill"]);
    eventually(LIMIT, "the worker goes on by itself", || {
        bank.unfinished() == 0
    });
    worker.terminate();
    assert!(worker.wait(LIMIT).success(), "{}", worker.stderr());
    assert_eq!(bank.audit_final().completed, 2);
}

/// F16
#[tokio::test(flavor = "multi_thread")]
async fn a_terminated_worker_ends_its_phases_and_gives_the_rest_back() {
    let bank = Bank::new().await;
    bank.open("slow", 0..8, false).await;
    let mut command = call(&bank, &["work"]);
    command.env(LEASE_MS, "60000");
    let mut first = Running::start(&mut command);
    let inside = "select count(*) from pg_stat_activity where query like '%pg_sleep%' and datname = current_database() and pid <> pg_backend_pid()";
    eventually(LIMIT, "phases are in flight", || bank.number(inside) >= 2);
    let begun = Instant::now();
    first.terminate();
    let status = first.wait(LIMIT);
    assert!(status.success(), "{status}\n{}", first.stderr());
    assert!(
        begun.elapsed() < worker::SLOW + Duration::from_secs(4),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(
        bank.sql("select count(*) from redress.run where owner is not null"),
        "0"
    );
    assert_eq!(bank.sql("select count(*) from redress.worker"), "0");
    assert_eq!(
        bank.sql("select max(claims) from redress.run"),
        "0",
        "being told to stop is no try"
    );
    assert!(bank.unfinished() > 0);
    bank.audit();
    // No lease has to run out: the next worker has them at once.
    done(&bank, &["work", "until-idle"]);
    let tally = bank.audit_final();
    assert_eq!((tally.completed, tally.attempts), (8, 0));
}

/// F80
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_kills_its_workers_is_held_and_the_others_go_on() {
    let bank = Bank::new().await;
    bank.open("poison", 0..6, true).await;
    let mut deaths = 0;
    loop {
        let mut command = call(&bank, &["work", "until-idle"]);
        command.env(LEASE_MS, "200").env(worker::CONCURRENCY, "2");
        let mut worker = Running::start(&mut command);
        let status = worker.wait(LIMIT);
        if status.success() {
            break;
        }
        deaths += 1;
        assert!(deaths < 40, "{}", worker.stderr());
    }
    println!("poison: {deaths} deaths");
    let held =
        bank.sql("select code, count(*) from redress.hold where released_at is null group by 1");
    assert_eq!(held, "RD0216|2", "{}", bank.story());
    let tally = bank.audit();
    assert_eq!(
        (tally.completed, bank.unfinished()),
        (4, 2),
        "{}",
        bank.story()
    );
}
