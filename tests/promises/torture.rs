//! Workers die at random moments under load; in the end nothing is lost and nothing doubled.

use std::time::{Duration, SystemTime};

use redress_tests::bank::Bank;
use redress_tests::{Running, eventually, worker};

use crate::crash::{LIMIT, call};
use crate::wire::rounds;

/// How many workers there are at any time.
const WORKERS: usize = 3;

/// Numbers that look random, from a seed that is printed (xorshift).
pub(crate) struct Dice(u64);

impl Dice {
    /// By `REDRESS_SEED`, else by the clock. The same seed gives the same plan of faults, not the same interleaving.
    pub(crate) fn seeded() -> Self {
        let seed = std::env::var("REDRESS_SEED").ok();
        let seed = seed.and_then(|text| text.parse().ok()).unwrap_or_else(|| {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            now.map_or(1, |now| {
                u64::try_from(now.as_nanos() & 0xffff_ffff).unwrap_or(1) | 1
            })
        });
        println!("REDRESS_SEED={seed}");
        Self(seed)
    }

    pub(crate) fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

/// A–D of the catalogue at once: SIGKILL at random times, F3–F7, F10.
#[tokio::test(flavor = "multi_thread")]
async fn workers_are_killed_at_random_and_the_books_are_right() {
    let bank = Bank::new().await;
    let kills = rounds(20, 200);
    let mut dice = Dice::seeded();
    let start = || {
        let mut command = call(&bank, &["work"]);
        command
            .env(worker::LEASE_MS, "500")
            .env(worker::CONCURRENCY, "4");
        Running::start(&mut command)
    };
    let mut workers: Vec<Running> = (0..WORKERS).map(|_| start()).collect();
    let mut opened = 0;
    let claims = "select coalesce(sum(epoch - 1), 0) from redress.run";
    for kill in 0..kills * 10 {
        // Not vacuous: some runs were taken over from the dead. Mostly the first kills see to that.
        if kill >= kills && bank.number(claims) > opened {
            break;
        }
        // Work for the next moments, so that every kill meets some.
        for saga in ["transfer", "steps"] {
            bank.open(saga, opened..opened + 5, true).await;
            opened += 5;
        }
        tokio::time::sleep(Duration::from_millis(40 + dice.roll(260))).await;
        let index = usize::try_from(dice.roll(WORKERS as u64)).expect("small");
        workers[index].kill();
        workers[index] = start();
    }
    eventually(LIMIT * 2, "every run ends", || bank.unfinished() == 0);
    for worker in &mut workers {
        // The last ones may have begun only now: a signal before its handler stands would end them unheard.
        eventually(LIMIT, "a worker hears signals", || {
            worker.stdout().contains("ready")
        });
        worker.terminate();
        let status = worker.wait(LIMIT);
        assert!(status.success(), "{status}\n{}", worker.stderr());
    }
    let tally = bank.audit_twice().await;
    let taken = bank.number(claims);
    println!("{kills} kills, {opened} runs, {taken} claims, {tally:?}");
    assert_eq!(
        (
            tally.completed + tally.compensated,
            tally.held,
            tally.attempts
        ),
        (opened, 0, 0),
        "{}",
        bank.story()
    );
    assert_eq!(bank.sql("select sum(balance) from bank.account"), "32000");
    assert!(taken > opened, "{taken} claims of {opened} runs");
    assert_eq!(bank.sql("select count(*) from pg_prepared_xacts"), "0");
}
