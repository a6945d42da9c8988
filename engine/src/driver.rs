//! Drives runs inside the caller's process: one lease and one heartbeat for all of them.
//!
//! **Invariant:** a run is driven only under a claim; one that somebody else has is waited for.

use std::sync::Arc;
use std::time::Duration;

use redress_ledger::state::State;
use redress_sql as sql;
use tokio::sync::watch;
use uuid::Uuid;

use crate::consent::FOR_PEOPLE_MS;
use crate::db::DbError;
use crate::drive::{Left, Outcome, RECONNECT_PAUSE, RECONNECTS_MAX};
use crate::engine::Engine;
use crate::error::Error;
use crate::start::{Start, Started};
use crate::telemetry::Told;

/// How often a caller that waits for somebody else's claim looks again.
const POLL: Duration = Duration::from_millis(50);
/// Longest pause of a caller before a gate is looked at again.
const LOOK_MAX: Duration = Duration::from_secs(60);

impl Engine {
    /// Drives a run until it needs no driver, here and now. Waits while another worker has it.
    ///
    /// # Errors
    /// [`Error::UnknownRun`], [`Error::Db`]; what goes wrong inside a phase is no error here but the run's outcome.
    pub async fn drive(&self, run: Uuid) -> Result<Outcome, Error> {
        let driver = self.driver().await?;
        let result = self.drive_as(run, driver.worker).await;
        driver.leave().await;
        result
    }

    /// Announces a driver inside the caller's process: one lease and one heartbeat for all the runs it drives.
    ///
    /// # Errors
    /// [`Error::Db`].
    pub async fn driver(&self) -> Result<Driver, Error> {
        let worker = Uuid::now_v7();
        self.inner.beat(worker).await?;
        let inner = Arc::clone(&self.inner);
        let heart = tokio::spawn(async move { inner.keep_beating(worker).await });
        Ok(Driver {
            engine: self.clone(),
            worker,
            heart,
        })
    }

    /// Opens a run with its first phase in one transaction and drives it until it needs no driver.
    ///
    /// # Errors
    /// As [`Start::open`].
    pub async fn start_and_drive(&self, start: Start<'_>) -> Result<(Started, Outcome), Error> {
        let driver = self.driver().await?;
        let result = driver.start(start).await;
        driver.leave().await;
        result
    }

    async fn drive_as(&self, run: Uuid, worker: Uuid) -> Result<Outcome, Error> {
        let mut lost = 0;
        loop {
            match self.drive_once(run, worker).await {
                Ok(Some(outcome)) => return Ok(outcome),
                Ok(None) => lost = 0,
                Err(error) if error.is_lost() && lost < RECONNECTS_MAX => {
                    tracing::warn!(%run, error = %Told(&error), code = error.code(), "driving");
                    lost += 1;
                    tokio::time::sleep(RECONNECT_PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Claims the run and drives it, or waits a little; nothing when it has to be looked at again.
    async fn drive_once(&self, run: Uuid, worker: Uuid) -> Result<Option<Outcome>, Error> {
        let inner = &self.inner;
        let (_stop, stopping) = watch::channel(false);
        let mut session = inner.session_soon().await?;
        let row = inner.run_row(&session, run).await?;
        if !matches!(row.state, State::Running | State::Compensating) {
            return Ok(Some(Outcome::of(row)));
        }
        let claim = inner.prepare(&session, sql::CLAIM_RUN).await?;
        let claimed = session
            .query_one(&claim, &[&worker, &run])
            .await
            .map_err(DbError::from)?;
        let epoch: Option<i64> = claimed.try_get(0).map_err(DbError::from)?;
        let Some(epoch) = epoch else {
            drop(session);
            tokio::time::sleep(POLL).await;
            return Ok(None);
        };
        let mut live = inner.live(&session, run).await?;
        if live.row.epoch != epoch {
            return Ok(None);
        }
        let left = inner
            .drive_claimed(&mut session, &mut live, &stopping)
            .await?;
        if let Left::Waiting(ms) = left {
            let wait_ms = i64::try_from(ms).unwrap_or(i64::MAX);
            inner.release(run, live.row.epoch, worker, wait_ms).await?;
            if ms < FOR_PEOPLE_MS {
                drop(session);
                tokio::time::sleep(Duration::from_millis(ms).clamp(POLL, LOOK_MAX)).await;
                return Ok(None);
            }
            return Ok(Some(Outcome::of(inner.run_row(&session, run).await?)));
        }
        if left == Left::Held {
            inner.give_back(&live, worker).await?;
            if session.is_closed() {
                inner.reopen(&mut session).await?;
            }
            return Ok(Some(Outcome::of(inner.run_row(&session, run).await?)));
        }
        Ok(None)
    }
}

/// A driver inside the caller's process; made by [`Engine::driver`]. Dropping it leaves its lease to run out.
pub struct Driver {
    engine: Engine,
    worker: Uuid,
    heart: tokio::task::JoinHandle<()>,
}

impl Driver {
    /// Opens a run with its first phase in one transaction and drives it until it needs no driver.
    ///
    /// # Errors
    /// As [`Start::open`].
    pub async fn start(&self, start: Start<'_>) -> Result<(Started, Outcome), Error> {
        let inner = &self.engine.inner;
        let mut session = inner.session().await?;
        let (started, live) = start.open_owned(&mut session, self.worker).await?;
        if let Some(mut live) = live {
            let (_stop, stopping) = watch::channel(false);
            // The start has heeded the releases.
            let left = inner
                .drive_opened(&mut session, &mut live, &stopping)
                .await?;
            if left == Left::Settled && live.row.state.is_terminal() {
                return Ok((started, Outcome::of(live.row)));
            }
        }
        drop(session);
        let outcome = self.engine.drive_as(started.run, self.worker).await?;
        Ok((started, outcome))
    }

    /// Drives a run until it needs no driver. Waits while another worker has it.
    ///
    /// # Errors
    /// As [`Engine::drive`].
    pub async fn drive(&self, run: Uuid) -> Result<Outcome, Error> {
        self.engine.drive_as(run, self.worker).await
    }

    /// The worker that this driver claims as.
    pub(crate) fn worker(&self) -> Uuid {
        self.worker
    }

    /// Gives back whatever is held and ends the heartbeat.
    pub async fn leave(self) {
        self.heart.abort();
        if let Err(error) = self.engine.inner.leave(self.worker).await {
            tracing::debug!(error = %Told(&error), "leaving; the lease will run out");
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.heart.abort();
    }
}
