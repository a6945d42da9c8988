//! The gauges: one bounded statement, asked when somebody reads the figures and they are not young any more.
//!
//! **Invariant:** a sample has a session of its own and a time limit of its own; no run waits for it, and it waits for no run.
//!
//! **What can go wrong:** the database does not answer: the gauges keep what was last known, [`super::UP`] is 0, and
//! [`super::SAMPLE_AGE`] says how old they are.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use redress_sql as sql;

use super::note::gauge;
use super::{self as list, Metric};
use crate::db::{DbError, Pool, Session};
use crate::engine::{Engine, Inner};
use crate::error::Error;

/// Rows that are counted of one kind.
const ROWS_MAX: i64 = 10_000;
/// Records that are counted of one kind.
const RECORDS_MAX: i64 = 10_000;
/// The most that the statement may take.
const STATEMENT_LIMIT: &str =
    "begin read only; set local statement_timeout = '4s'; set local lock_timeout = '1s'";
/// How long its answer is waited for.
const ANSWER_MAX: Duration = Duration::from_secs(6);

/// What the rows of the statement are called, and which gauge shows them.
const GAUGES: [(&str, &Metric); 11] = [
    ("runs", &list::RUNS),
    ("overdue", &list::RUNS_OVERDUE),
    ("unsigned", &list::RUNS_UNSIGNED),
    ("holds", &list::HOLDS),
    ("switch", &list::KILL_SWITCH),
    ("workers", &list::WORKERS),
    ("executions", &list::EXECUTIONS),
    ("pending", &list::NOTIFICATIONS_PENDING),
    ("unsealed_records", &list::UNSEALED_RECORDS),
    ("unsealed_seconds", &list::UNSEALED_SECONDS),
    ("checkpoint", &list::CHECKPOINT_RECORDS),
];

/// One figure from the database: the metric, what its label says (empty where it has none), and the value.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Which metric.
    pub metric: &'static str,
    /// What its label says.
    pub label: String,
    /// The value.
    pub value: f64,
}

/// Asks the database for the gauges and shows them to the recorder.
pub struct Sampler {
    inner: Arc<Inner>,
    session: tokio::sync::Mutex<Option<Session>>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    at: Option<Instant>,
    up: bool,
    /// 0 unless work is stopped.
    switch: f64,
}

impl Known {
    fn is_young(&self, age: Duration) -> bool {
        self.up && self.at.is_some_and(|at| at.elapsed() <= age)
    }
}

impl Engine {
    /// A sampler of this engine's database, for whoever serves the figures.
    pub fn sampler(&self) -> Sampler {
        Sampler {
            inner: Arc::clone(&self.inner),
            session: tokio::sync::Mutex::new(None),
            known: Mutex::default(),
        }
    }
}

impl Sampler {
    /// Shows figures that are at most so old, where the database gives them in so long; else what was last known. For right
    /// before the figures are read: nobody reads, nothing is asked.
    pub async fn fresh(&self, age: Duration, wait: Duration) {
        if !self.known().is_young(age) {
            match tokio::time::timeout(wait, self.sample()).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => tracing::debug!(code = error.code(), "no sample of the database"),
                Err(_) => self.known().up = false,
            }
        }
        self.refresh();
    }

    /// Asks once, and shows what was answered.
    ///
    /// # Errors
    /// [`Error::Db`]: then the gauges keep what was last known, and `redress_up` is 0.
    pub async fn sample(&self) -> Result<Vec<Sample>, Error> {
        let asked = self.ask().await;
        let mut known = self.known();
        known.up = asked.is_ok();
        if let Ok(samples) = &asked {
            known.at = Some(Instant::now());
            for sample in samples {
                if sample.metric == list::KILL_SWITCH.name {
                    known.switch = sample.value;
                }
                show(sample);
            }
        }
        asked
    }

    /// Shows what needs no database: its age, the pools, the heart. For right before the figures are read.
    pub fn refresh(&self) {
        let known = self.known();
        gauge(&list::UP, &[], f64::from(u8::from(known.up)));
        if let Some(at) = known.at {
            gauge(&list::SAMPLE_AGE, &[], at.elapsed().as_secs_f64());
        }
        drop(known);
        gauge(&list::BUILD, &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
        show_pool("work", &self.inner.pool);
        show_pool("side", self.inner.side_pool());
        if let Some(age) = beat_age() {
            gauge(&list::HEARTBEAT_AGE, &[], age.as_secs_f64());
        }
    }

    /// Whether work could be done now: the database answered lately, and no kill is in force. Otherwise why not.
    ///
    /// # Errors
    /// A word for people: `no database` or `killed`.
    pub fn ready(&self) -> Result<(), &'static str> {
        let known = self.known();
        if !known.up || known.at.is_none() {
            return Err("no database");
        }
        if known.switch != 0.0 {
            return Err("killed");
        }
        Ok(())
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(&self) -> Result<Vec<Sample>, Error> {
        let mut kept = self.session.lock().await;
        // Taken out: whatever is left open in a session that nobody awaits any more ends with it.
        let session = match kept.take().filter(|session| !session.is_closed()) {
            Some(session) => session,
            None => self.inner.apart().await?,
        };
        match tokio::time::timeout(ANSWER_MAX, asked(&self.inner, &session)).await {
            Ok(Ok(samples)) => {
                *kept = Some(session);
                Ok(samples)
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Err(DbError::Lost(format!("no answer within {ANSWER_MAX:?}")).into()),
        }
    }
}

async fn asked(inner: &Inner, session: &Session) -> Result<Vec<Sample>, Error> {
    let sample = inner.prepare(session, sql::SAMPLE_METRICS).await?;
    session
        .batch_execute(STATEMENT_LIMIT)
        .await
        .map_err(DbError::from)?;
    let rows = session.query(&sample, &[&ROWS_MAX, &RECORDS_MAX]).await;
    session
        .batch_execute("rollback")
        .await
        .map_err(DbError::from)?;
    let mut samples = Vec::new();
    for row in &rows.map_err(DbError::from)? {
        let what: String = row.try_get(0).map_err(DbError::from)?;
        let Some((_, metric)) = GAUGES.iter().find(|(name, _)| *name == what) else {
            return Err(Error::Inconsistent(format!("nothing shows {what}")));
        };
        samples.push(Sample {
            metric: metric.name,
            label: row.try_get(1).map_err(DbError::from)?,
            value: row.try_get(2).map_err(DbError::from)?,
        });
    }
    Ok(samples)
}

fn show(sample: &Sample) {
    let metric = list::ALL.iter().find(|metric| metric.name == sample.metric);
    let Some(metric) = metric else { return };
    match metric.labels.first() {
        Some((name, _)) => gauge(metric, &[(name, &sample.label)], sample.value),
        None => gauge(metric, &[], sample.value),
    }
}

fn show_pool(name: &str, pool: &Pool) {
    let status = pool.status();
    let idle = status.available.min(status.size);
    let sessions = [("busy", status.size - idle), ("idle", idle)];
    for (word, count) in sessions {
        let labels = [("pool", name), ("use", word)];
        gauge(&list::POOL_SESSIONS, &labels, count as f64);
    }
    let labels = [("pool", name)];
    gauge(&list::POOL_WAITERS, &labels, status.waiting as f64);
}

/// When this process began to count, and the milliseconds until its last heartbeat; 0 is none.
static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
static BEAT_MS: AtomicU64 = AtomicU64::new(0);

/// A heartbeat has succeeded just now.
pub(super) fn beat_now() {
    let ms = u64::try_from(BEGAN.elapsed().as_millis()).unwrap_or(u64::MAX);
    BEAT_MS.store(ms.max(1), Ordering::Relaxed);
}

fn beat_age() -> Option<Duration> {
    let at = BEAT_MS.load(Ordering::Relaxed);
    (at > 0).then(|| BEGAN.elapsed().saturating_sub(Duration::from_millis(at)))
}
