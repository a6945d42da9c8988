//! A worker: claims runs and drives up to n of them at once, until it is told to stop.
//!
//! **Invariant:** one heartbeat a worker. Lease time decides when somebody else may try; the epoch decides who commits.
//!
//! **What can go wrong:** SIGKILL: the lease runs out and others claim the runs. A stop: phases in flight end, the
//! rest is given back at once without being counted as a try.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redress_sql as sql;
use tokio::sync::watch;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::crash;
use crate::db::DbError;
use crate::drive::Left;
use crate::engine::{Engine, Inner};
use crate::error::Error;
use crate::metric;
use crate::telemetry::Told;

/// Pause when nothing is runnable.
const IDLE: Duration = Duration::from_millis(200);
/// Longest pause after errors of the database.
const ERROR_PAUSE_MAX: Duration = Duration::from_secs(5);
/// Claims without progress after which a run is driven with no other beside it.
const SUSPECT: i32 = 3;
/// How often hold files are compared with the database.
const SWEEP: Duration = Duration::from_secs(5);

/// A worker that is being described.
pub struct Worker<'e> {
    engine: &'e Engine,
    concurrency: usize,
    until_idle: bool,
    poll: Duration,
}

impl Engine {
    /// Describes a worker of this engine.
    pub fn worker(&self) -> Worker<'_> {
        Worker {
            engine: self,
            concurrency: 4,
            until_idle: false,
            poll: IDLE,
        }
    }
}

impl Worker<'_> {
    /// Sets how many runs are driven at once.
    #[must_use]
    pub fn concurrency(mut self, concurrency: usize) -> Self {
        self.concurrency = concurrency.max(1);
        self
    }

    /// Sets how long an idle worker waits before it looks for work again; 200 ms by default. With a way to listen
    /// ([`Builder::direct`](crate::Builder::direct)) most work is found before.
    #[must_use]
    pub fn poll(mut self, poll: Duration) -> Self {
        self.poll = poll.max(Duration::from_millis(1));
        self
    }

    /// Ends when nothing is left that this worker could do now.
    #[must_use]
    pub fn until_idle(mut self) -> Self {
        self.until_idle = true;
        self
    }

    /// Works until `shutdown` becomes true (or its sender is gone), then gives back what it holds.
    ///
    /// # Errors
    /// [`Error::Db`] when the worker cannot even announce itself; later errors are retried.
    pub async fn run(self, mut shutdown: watch::Receiver<bool>) -> Result<(), Error> {
        let inner = Arc::clone(&self.engine.inner);
        let worker = Uuid::now_v7();
        inner.beat(worker).await?;
        let beating = Arc::clone(&inner);
        let heart = tokio::spawn(async move { beating.keep_beating(worker).await });
        let (stop, stopping) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let work = self.work(&inner, worker, &mut tasks, &stopping);
        tokio::select! {
            () = work => {}
            _ = shutdown.wait_for(|stop| *stop) => {}
        }
        stop.send_replace(true);
        while tasks.join_next().await.is_some() {}
        heart.abort();
        if let Err(error) = inner.leave(worker).await {
            tracing::warn!(error = %Told(&error), %worker, "leaving; the lease will run out");
        }
        Ok(())
    }

    async fn work(
        &self,
        inner: &Arc<Inner>,
        worker: Uuid,
        tasks: &mut JoinSet<()>,
        stopping: &watch::Receiver<bool>,
    ) {
        let active = Active::default();
        let ear = inner.listen();
        metric::worker_slots(self.concurrency);
        metric::worker_busy(0);
        let mut pause = IDLE;
        let mut swept = None;
        loop {
            while tasks.try_join_next().is_some() {}
            if swept.is_none_or(|at: std::time::Instant| at.elapsed() > SWEEP) {
                if let Err(error) = inner.sweep_hold_files().await {
                    tracing::debug!(error = %Told(&error), "sweeping hold files");
                }
                swept = Some(std::time::Instant::now());
            }
            let free = self.concurrency.saturating_sub(tasks.len());
            let claimed = if free == 0 {
                Ok(Vec::new())
            } else {
                inner.claim(worker, free, &active.runs()).await
            };
            match claimed {
                Err(error) => {
                    tracing::warn!(error = %Told(&error), code = error.code(), %worker, "claim");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(ERROR_PAUSE_MAX);
                    continue;
                }
                Ok(claims) => {
                    pause = IDLE;
                    let none = claims.is_empty();
                    let (known, suspects): (Vec<_>, Vec<_>) =
                        claims.into_iter().partition(|claim| claim.tries <= SUSPECT);
                    self.drive_alone(inner, worker, tasks, suspects, &active, stopping)
                        .await;
                    for Claim { run, .. } in known {
                        spawn(tasks, inner, worker, run, &active, stopping);
                    }
                    if none && tasks.is_empty() && self.until_idle && !self.waits(inner).await {
                        return;
                    }
                    if !none {
                        continue;
                    }
                }
            }
            // Full or nothing to claim: go on when a run ends, when work is heard of, or after a while.
            tokio::select! {
                Some(_) = tasks.join_next() => {}
                () = ear.work() => {}
                () = tokio::time::sleep(self.poll) => {}
            }
        }
    }

    /// Drives the first of the runs that may be what killed their workers, with no other beside it, so that it takes
    /// nobody along; gives the others back uncounted, since they were not tried.
    async fn drive_alone(
        &self,
        inner: &Arc<Inner>,
        worker: Uuid,
        tasks: &mut JoinSet<()>,
        suspects: Vec<Claim>,
        active: &Active,
        stopping: &watch::Receiver<bool>,
    ) {
        let mut suspects = suspects.into_iter();
        let Some(first) = suspects.next() else { return };
        for other in suspects {
            if let Err(error) = inner.release(other.run, other.epoch, worker, 0).await {
                tracing::warn!(run = %other.run, error = %Told(&error), "giving back");
            }
        }
        while tasks.join_next().await.is_some() {}
        // As a task too: a worker that is told to stop waits for it.
        spawn(tasks, inner, worker, first.run, active, stopping);
        while tasks.join_next().await.is_some() {}
    }

    /// Whether runs wait only for their time (a retry), so that an idle worker should stay.
    async fn waits(&self, inner: &Inner) -> bool {
        let look = async {
            let session = inner.session().await?;
            let digests = inner.executable(&session).await?;
            let digests: Vec<&[u8]> = digests.iter().map(|d| d.as_bytes().as_slice()).collect();
            let row = session
                .query_one(inner.sql.text(sql::RUNS_WAITING), &[&digests])
                .await
                .map_err(DbError::from)?;
            Ok::<bool, Error>(row.try_get(0).map_err(DbError::from)?)
        };
        look.await.unwrap_or(true)
    }
}

/// Drives one claimed run in a task of its own.
fn spawn(
    tasks: &mut JoinSet<()>,
    inner: &Arc<Inner>,
    worker: Uuid,
    run: Uuid,
    active: &Active,
    stopping: &watch::Receiver<bool>,
) {
    let (inner, stopping) = (Arc::clone(inner), stopping.clone());
    let driving = active.enter(run);
    tasks.spawn(async move {
        inner.drive_for(worker, run, &stopping).await;
        drop(driving);
    });
}

/// A run that was claimed.
struct Claim {
    run: Uuid,
    epoch: i64,
    /// Claims since the run last moved, with this one.
    tries: i32,
}

/// The runs that a worker is driving now; what else it owns in the database it has lost and may claim again.
#[derive(Clone, Default)]
struct Active(Arc<Mutex<HashSet<Uuid>>>);

/// One run among them, until it is dropped (also by a panic).
struct Driving {
    active: Active,
    run: Uuid,
}

impl Active {
    fn enter(&self, run: Uuid) -> Driving {
        let mut set = self.set();
        set.insert(run);
        metric::worker_busy(set.len());
        drop(set);
        Driving {
            active: self.clone(),
            run,
        }
    }

    fn runs(&self) -> Vec<Uuid> {
        self.set().iter().copied().collect()
    }

    fn set(&self) -> std::sync::MutexGuard<'_, HashSet<Uuid>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Driving {
    fn drop(&mut self) {
        let mut set = self.active.set();
        set.remove(&self.run);
        metric::worker_busy(set.len());
    }
}

impl Inner {
    /// Claims the oldest runnable runs that this process can execute.
    async fn claim(
        &self,
        worker: Uuid,
        limit: usize,
        active: &[Uuid],
    ) -> Result<Vec<Claim>, Error> {
        if let Err(held) = self.heed_files(None, None) {
            tracing::info!(code = held.code(), %worker, "held by a file: nothing is claimed");
            return Ok(Vec::new());
        }
        let session = self.session().await?;
        let digests = self.executable(&session).await?;
        let digests: Vec<&[u8]> = digests.iter().map(|d| d.as_bytes().as_slice()).collect();
        let claim = self.prepare(&session, sql::CLAIM).await?;
        let limit = i32::try_from(limit).unwrap_or(i32::MAX);
        crash::point("claim.before_commit");
        let rows = session
            .query(&claim, &[&worker, &limit, &digests, &active])
            .await
            .map_err(DbError::from)?;
        if !rows.is_empty() {
            crash::point("claim.after_commit");
        }
        rows.iter()
            .map(|row| {
                let tries = row.try_get(2)?;
                metric::claimed(tries);
                Ok(Claim {
                    run: row.try_get(0)?,
                    epoch: row.try_get(1)?,
                    tries,
                })
            })
            .collect::<Result<_, DbError>>()
            .map_err(Error::from)
    }

    /// Drives one claimed run and gives it back when it could not be moved.
    async fn drive_for(&self, worker: Uuid, run: Uuid, stopping: &watch::Receiver<bool>) {
        let driven = async {
            let mut session = self.session_soon().await?;
            let mut live = self.live(&session, run).await?;
            let left = self
                .drive_claimed(&mut session, &mut live, stopping)
                .await?;
            match left {
                Left::Held | Left::Stopped => self.give_back(&live, worker).await?,
                Left::Waiting(ms) => {
                    let wait_ms = i64::try_from(ms).unwrap_or(i64::MAX);
                    self.release(run, live.row.epoch, worker, wait_ms).await?;
                }
                Left::Settled | Left::Fenced | Left::Lost => {}
            }
            Ok::<Left, Error>(left)
        };
        match driven.await {
            Ok(left) => tracing::debug!(%run, outcome = left.word(), "let go"),
            // The claim stays as long as a lease, then it may be claimed again by anybody: never a busy loop.
            Err(error) => {
                metric::let_go("error");
                tracing::error!(%run, code = error.code(), error = %Told(&error), "a run could not be driven");
                let mut stopping = stopping.clone();
                tokio::select! {
                    () = tokio::time::sleep(self.lease) => {}
                    _ = stopping.wait_for(|stop| *stop) => {}
                }
            }
        }
    }
}
