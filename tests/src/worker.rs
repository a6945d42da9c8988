//! Adapters for tests of processes, and how the test worker is called.
//!
//! The worker is the program `redress-test-worker` of this crate: a process with crash points that can be killed,
//! stopped and continued where the shipped command would do the same work.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use redress::adapter::{Adapter, AdapterError, Applied, Call, Finding};
use redress::definition::Phase;
use redress::phase_tx::PhaseTx;
use redress::plan::Action;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::bank::Bank;

/// Where the database is.
pub const URL: &str = "DATABASE_URL";
/// The state folder.
pub const STATE: &str = "REDRESS_TEST_STATE";
/// The lease in milliseconds.
pub const LEASE_MS: &str = "REDRESS_TEST_LEASE_MS";
/// How many runs at once.
pub const CONCURRENCY: &str = "REDRESS_TEST_CONCURRENCY";
/// The lease that the tests of crashes use.
pub const LEASE: Duration = Duration::from_millis(700);

/// A call of the test worker at a bank.
pub fn call(program: impl AsRef<Path>, bank: &Bank, args: &[&str]) -> Command {
    let mut command = Command::new(program.as_ref());
    command
        .args(args)
        .env(URL, bank.url())
        .env(STATE, bank.state_dir())
        .env(LEASE_MS, LEASE.as_millis().to_string())
        .env(CONCURRENCY, "4")
        .env_remove("REDRESS_CRASH")
        .env_remove("REDRESS_CRASH_STOP");
    command
}

/// The adapters that only tests use.
pub fn adapters() -> Vec<Arc<dyn Adapter>> {
    [Kind::Local, Kind::Remote, Kind::Slow, Kind::Poison]
        .into_iter()
        .map(|kind| Arc::new(Booking(kind)) as Arc<dyn Adapter>)
        .collect()
}

/// How long a slow phase takes.
pub const SLOW: Duration = Duration::from_millis(600);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Local,
    /// As if its compensation worked outside the database: plans with it go step by step.
    Remote,
    Slow,
    /// Ends its own process when the input says `refused`.
    Poison,
}

/// Books one row of `bank.effect` for its phase.
struct Booking(Kind);

fn run_of(call: &Call<'_>) -> Result<Uuid, AdapterError> {
    call.context
        .pointer("/run/id")
        .and_then(Value::as_str)
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| AdapterError::Pointer("/run/id".to_owned()))
}

async fn book(tx: &PhaseTx<'_>, call: &Call<'_>, way: &str) -> Result<(), AdapterError> {
    let run = run_of(call)?;
    tx.execute(
        "insert into bank.effect (run, phase, way) values ($1, $2, $3)",
        &[&run, &call.phase.name.as_str(), &way],
    )
    .await?;
    Ok(())
}

#[async_trait]
impl Adapter for Booking {
    fn name(&self) -> &str {
        match self.0 {
            Kind::Local => "local",
            Kind::Remote => "remote",
            Kind::Slow => "slow",
            Kind::Poison => "poison",
        }
    }

    fn in_database(&self) -> bool {
        self.0 != Kind::Remote
    }

    fn check(&self, _phase: &Phase) -> Vec<Finding> {
        Vec::new()
    }

    async fn apply(&self, tx: &PhaseTx<'_>, call: &Call<'_>) -> Result<Applied, AdapterError> {
        book(tx, call, "do").await?;
        match self.0 {
            Kind::Slow => {
                let seconds = SLOW.as_secs_f64();
                tx.query("select 1 from pg_sleep($1)", &[&seconds]).await?;
            }
            Kind::Poison if call.context.pointer("/input/refused") == Some(&Value::Bool(true)) => {
                std::process::abort();
            }
            _ => {}
        }
        Ok(Applied::default())
    }

    async fn guard(
        &self,
        tx: &PhaseTx<'_>,
        call: &Call<'_>,
        _action: Action,
    ) -> Result<(), AdapterError> {
        let run = run_of(call)?;
        let phase = call.phase.name.as_str();
        let rows = tx
            .query(
                "select way from bank.effect where run = $1 and phase = $2 for update",
                &[&run, &phase],
            )
            .await?;
        if rows.len() == 1 {
            Ok(())
        } else {
            Err(AdapterError::Guard(format!("{} effects", rows.len())))
        }
    }

    async fn revert(
        &self,
        tx: &PhaseTx<'_>,
        call: &Call<'_>,
        _action: Action,
    ) -> Result<Map<String, Value>, AdapterError> {
        book(tx, call, "undo").await?;
        Ok(Map::new())
    }
}
