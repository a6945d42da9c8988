//! Tells a sink what people want to hear of: a hold, a run that is stuck, one that was compensated; at least once.
//!
//! **Invariant:** a sink that fails is told again until it has taken it, in order, and blocks nothing but itself: runs go on,
//! other sinks too. How far it has come is kept in the database under its name, so a restart loses nothing, and of several
//! processes with one name one delivers.
//!
//! **What can go wrong:** death between delivery and remembering: it is told again. Each notification has an id (the
//! record's hash) by which a receiver knows it.
//!
//! **Not here:** programs and web hooks themselves (`alert::CommandSink`; `redress_adapters::http`).

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use redress_ledger::Kind;
use redress_sql as sql;
use serde_json::{Value, json};
use tokio::sync::watch;
use uuid::Uuid;

use crate::alert::AlertSink;
use crate::db::DbError;
use crate::engine::Engine;
use crate::error::Error;
use crate::metric;
use crate::subscribe::{Event, Position, Subscription};
use crate::telemetry::Told;

/// How long a place is kept without being renewed.
const LEASE: Duration = Duration::from_secs(15);
/// Pause of one that waits for the place, or for something new.
const PAUSE: Duration = Duration::from_millis(500);
/// The first and the longest pause before a sink is told again.
const AGAIN: Duration = Duration::from_millis(500);
const AGAIN_MAX: Duration = Duration::from_secs(60);

/// What people hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// Something was held: a run, a subject, a saga, or all.
    Hold,
    /// A compensation could not finish.
    Stuck,
    /// A run failed and everything was compensated.
    Compensated,
    /// A run failed for good.
    Failed,
    /// A run completed.
    Completed,
    /// The kill switch was thrown.
    Killed,
}

impl Topic {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Hold,
        Self::Stuck,
        Self::Compensated,
        Self::Failed,
        Self::Completed,
        Self::Killed,
    ];

    /// The word in configuration and notification.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Stuck => "stuck",
            Self::Compensated => "compensated",
            Self::Failed => "failed",
            Self::Completed => "completed",
            Self::Killed => "killed",
        }
    }

    /// What a record tells, if it is something that people hear of.
    pub fn of(event: &Event) -> Option<Self> {
        let body = &event.record.body;
        let moved = body.pointer("/transition/to").and_then(Value::as_str);
        let came = body.pointer("/transition/from").and_then(Value::as_str) != moved;
        match (event.record.kind, moved.filter(|_| came)) {
            (Kind::HoldSet, _) => Some(Self::Hold),
            (Kind::SwitchKilled, _) => Some(Self::Killed),
            (_, Some("stuck")) => Some(Self::Stuck),
            (_, Some("compensated")) => Some(Self::Compensated),
            (Kind::PhaseFailed, Some("failed")) => Some(Self::Failed),
            (_, Some("completed")) => Some(Self::Completed),
            _ => None,
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Topic {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|topic| topic.as_str() == text);
        found.ok_or_else(|| {
            let known: Vec<&str> = Self::ALL.iter().map(|topic| topic.as_str()).collect();
            format!(
                "nobody is told of {text:?}: it is one of {}",
                known.join(", ")
            )
        })
    }
}

/// Tells one sink.
pub struct Notifier {
    engine: Engine,
    name: String,
    topics: BTreeSet<Topic>,
    sink: Arc<dyn AlertSink>,
    owner: Uuid,
}

impl Engine {
    /// Tells a sink of holds, stuck and compensated runs, under a name that remembers how far it has come.
    pub fn notifier(&self, name: impl Into<String>, sink: Arc<dyn AlertSink>) -> Notifier {
        Notifier {
            engine: self.clone(),
            name: name.into(),
            topics: BTreeSet::from([Topic::Hold, Topic::Stuck, Topic::Compensated]),
            sink,
            owner: Uuid::now_v7(),
        }
    }
}

impl Notifier {
    /// Chooses what the sink hears of.
    #[must_use]
    pub fn topics(mut self, topics: impl IntoIterator<Item = Topic>) -> Self {
        self.topics = topics.into_iter().collect();
        self
    }

    /// Delivers until `stop` becomes true (or its sender is gone). Errors of the database are waited out.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let work = async {
            loop {
                match self.take().await {
                    Ok(Some(position)) => {
                        if let Err(error) = self.deliver_from(position, false).await {
                            tracing::warn!(error = %Told(&error), code = error.code(), notifier = self.name, "telling");
                        }
                    }
                    Ok(None) => {}
                    Err(error) => {
                        tracing::warn!(error = %Told(&error), code = error.code(), notifier = self.name, "taking the place")
                    }
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        tokio::select! {
            () = work => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
        if let Err(error) = self.leave().await {
            tracing::debug!(error = %Told(&error), notifier = self.name, "leaving; the lease will run out");
        }
    }

    /// Delivers what is there now, if nobody else does, and gives the place back.
    ///
    /// # Errors
    /// [`Error::Db`]; what was not delivered is by whoever takes the place next.
    pub async fn run_once(self) -> Result<(), Error> {
        let result = self.deliver_once().await;
        self.leave().await?;
        result
    }

    /// As [`Notifier::run_once`], for no longer than this; false when time was up before everything was told. The place is
    /// given back then too, so that whoever comes next need not wait for it.
    ///
    /// # Errors
    /// As [`Notifier::run_once`].
    pub async fn run_once_within(self, limit: Duration) -> Result<bool, Error> {
        let told = tokio::time::timeout(limit, self.deliver_once()).await;
        self.leave().await?;
        match told {
            Ok(result) => result.map(|()| true),
            Err(_) => Ok(false),
        }
    }

    async fn deliver_once(&self) -> Result<(), Error> {
        match self.take().await? {
            Some(position) => self.deliver_from(position, true).await,
            None => Ok(()),
        }
    }

    /// Delivers everything behind a position, and goes on until the place is lost or something fails.
    async fn deliver_from(&self, position: Position, once: bool) -> Result<(), Error> {
        let mut subscription = self.engine.subscribe(position);
        loop {
            let Some(event) = subscription.try_next().await? else {
                if once {
                    return self.keep(&subscription).await.map(drop);
                }
                if !self.keep(&subscription).await? || self.take().await?.is_none() {
                    return Ok(());
                }
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let topic = Topic::of(&event).filter(|topic| self.topics.contains(topic));
            let Some(topic) = topic else { continue };
            let notification = self.notification(topic, &event).await?;
            if !self.told(&notification).await? || !self.keep(&subscription).await? {
                return Ok(());
            }
        }
    }

    /// Tells the sink until it has taken it; false when the place was lost meanwhile.
    async fn told(&self, notification: &Value) -> Result<bool, Error> {
        let mut pause = AGAIN;
        loop {
            if self.sink.deliver(notification).await.is_ok() {
                return Ok(true);
            }
            // What a sink says may quote what it was told.
            metric::notification_failed(&self.name);
            tracing::warn!(notifier = self.name, "the sink did not take it");
            let mut left = pause;
            while !left.is_zero() {
                let part = left.min(LEASE / 3);
                tokio::time::sleep(part).await;
                left -= part;
                if self.take().await?.is_none() {
                    return Ok(false);
                }
            }
            pause = (pause * 2).min(AGAIN_MAX);
        }
    }

    async fn notification(&self, topic: Topic, event: &Event) -> Result<Value, Error> {
        let body = &event.record.body;
        // The hold of a run's own failure names it; what people set may be of no run at all.
        let run = match self.engine.installation().is_system(event.run) {
            true => body
                .get("run")
                .and_then(Value::as_str)
                .and_then(|run| run.parse().ok()),
            false => Some(event.run),
        };
        let row = match run {
            Some(run) => {
                let inner = &self.engine.inner;
                let session = inner.session().await?;
                inner.run_row(&session, run).await.ok()
            }
            None => None,
        };
        let said = |names: &[&str]| names.iter().find_map(|name| body.get(*name).cloned());
        Ok(json!({
            "schema": 1,
            "id": event.hash,
            "what": topic.as_str(),
            "at": event.record.at,
            "run": run,
            "saga": row.as_ref().map(|row| row.saga.clone()),
            "subject": row.as_ref().and_then(|row| row.subject.clone()),
            "state": row.as_ref().map(|row| row.state.as_str()),
            "phase": said(&["phase"]),
            "scope": said(&["scope"]),
            "code": said(&["code"]),
            "reason": said(&["reason", "message", "error"]),
            "record": {"run": event.run, "seq": event.seq, "kind": event.record.kind.as_str()},
        }))
    }

    /// Takes or renews the place; the position to go on from, unless somebody else has it.
    async fn take(&self) -> Result<Option<Position>, Error> {
        let inner = &self.engine.inner;
        let session = inner.session().await?;
        let take = inner.prepare(&session, sql::TAKE_SUBSCRIBER).await?;
        let lease_ms = i64::try_from(LEASE.as_millis()).unwrap_or(i64::MAX);
        let row = session
            .query_one(&take, &[&self.name, &self.owner, &lease_ms])
            .await
            .map_err(DbError::from)?;
        let taken: bool = row.try_get(0).map_err(DbError::from)?;
        let text: Option<&str> = row.try_get(1).map_err(DbError::from)?;
        match text.filter(|_| taken) {
            None => Ok(None),
            Some(text) => {
                let position = text.parse::<Position>();
                Ok(Some(position.map_err(|error| {
                    Error::Inconsistent(format!("notifier {}: {error}", self.name))
                })?))
            }
        }
    }

    async fn keep(&self, subscription: &Subscription) -> Result<bool, Error> {
        let inner = &self.engine.inner;
        let session = inner.session().await?;
        let keep = inner.prepare(&session, sql::KEEP_POSITION).await?;
        let position = subscription.position().to_string();
        let row = session
            .query_one(&keep, &[&self.name, &self.owner, &position])
            .await
            .map_err(DbError::from)?;
        Ok(row.try_get(0).map_err(DbError::from)?)
    }

    async fn leave(&self) -> Result<(), Error> {
        let inner = &self.engine.inner;
        let session = inner.session().await?;
        let leave = inner.prepare(&session, sql::LEAVE_SUBSCRIBER).await?;
        session
            .query_one(&leave, &[&self.name, &self.owner])
            .await
            .map_err(DbError::from)?;
        Ok(())
    }
}
