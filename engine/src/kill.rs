//! Kill and freeze: stops forward phases and automatic compensation everywhere.
//!
//! **Invariant:** kill publishes, then drains: from the commit of the switch on every entrant is refused; it returns
//! only when the earlier entrants have ended, or says who has not.
//!
//! **What can go wrong:** the database is down: a hold file is written, this machine stops, and the error says that
//! the database is not stopped.

use std::time::{Duration, Instant};

use redress_ledger::Kind;
use redress_sql as sql;
use serde_json::json;
use uuid::Uuid;

use crate::bound::check_text;
use crate::crash;
use crate::db::{DbError, Session};
use crate::engine::{Engine, Inner};
use crate::error::Error;
use crate::files::HoldFile;
use crate::release::stands_released;

/// How long one attempt to drain waits before it looks who is in the way.
const DRAIN_SLICE: Duration = Duration::from_millis(500);
/// How long the way to the database may take before this machine is stopped by a file.
const TELL_MAX: Duration = Duration::from_secs(12);

/// The switch as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Switch {
    /// `run`, `killed` or `frozen`; anything else counts as killed.
    pub state: String,
    /// Raised by each kill and each release.
    pub switch_no: i64,
    /// Why.
    pub reason: String,
    /// By whom.
    pub by: String,
    /// Since when.
    pub at: String,
}

/// A kill that was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Killed {
    /// The number of the switch.
    pub switch_no: i64,
    /// How long the drain took, in milliseconds.
    pub drained_ms: u64,
}

impl Engine {
    /// Stops forward phases and automatic compensation everywhere, and waits until earlier entrants have ended.
    ///
    /// After half of `deadline` whoever is still in the gate is terminated.
    ///
    /// # Errors
    /// [`Error::NotDrained`] when the deadline passes: published, nobody new gets in, but those named may still commit;
    /// [`Error::DrainFailed`] when it could not be found out who has not ended. Any other error: the database was not
    /// told, or whether it was is not known ([`Error::Unknown`]); the hold file is in force on this machine then.
    pub async fn kill(
        &self,
        reason: &str,
        deadline: Duration,
        freeze: bool,
    ) -> Result<Killed, Error> {
        check_text("the reason", reason)?;
        let inner = &self.inner;
        let started = Instant::now();
        let switch_no = inner.publish_kill(reason, freeze).await?;
        crash::point("switch.after_publish");
        let drained = inner.drain(deadline, started).await;
        // The switch stands, whatever became of the wait.
        drained.map_err(|error| match error {
            Error::Db(error) => Error::DrainFailed(error),
            other => other,
        })?;
        Ok(Killed {
            switch_no,
            drained_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        })
    }

    /// The switch; `None` when its row is missing, which counts as killed.
    ///
    /// # Errors
    /// [`Error::Db`].
    pub async fn switch(&self) -> Result<Option<Switch>, Error> {
        let session = self.inner.session().await?;
        self.inner.read_switch(&session).await
    }

    /// Whether the switch lets work go on, by a release that is verified here.
    ///
    /// # Errors
    /// [`Error::Db`].
    pub async fn is_released(&self, switch: &Switch) -> Result<bool, Error> {
        if switch.state != "run" {
            return Ok(false);
        }
        let session = self.inner.session().await?;
        stands_released(self.inner.prove_switch(&session, switch.switch_no).await)
    }
}

impl Inner {
    async fn publish_kill(&self, reason: &str, freeze: bool) -> Result<i64, Error> {
        let state = if freeze { "frozen" } else { "killed" };
        // A pooler takes us in although its server is gone, and lets us wait.
        let opened = tokio::time::timeout(TELL_MAX, self.apart()).await;
        let silent = || DbError::Lost(format!("no answer within {TELL_MAX:?}"));
        let session = match opened.unwrap_or_else(|_| Err(silent())) {
            Ok(session) => session,
            Err(error) => {
                self.write_kill_file(reason)?;
                return Err(error.into());
            }
        };
        let result = async {
            session
                .batch_execute("begin; set local synchronous_commit = on")
                .await
                .map_err(DbError::from)?;
            let switch_no = self.publish_switch(&session, state, reason).await?;
            let body = json!({"switch_no": switch_no, "state": state, "reason": reason});
            let records = vec![(Kind::SwitchKilled, body)];
            crash::point("switch.before_publish");
            self.with_system_log(&session, Some(switch_no), records, switch_no)
                .await
        }
        .await;
        if result.is_err() {
            self.rollback(&session).await;
            self.write_kill_file(reason)?;
        }
        result
    }

    /// Stops this machine while the database cannot be told.
    fn write_kill_file(&self, reason: &str) -> Result<(), Error> {
        if let Some(dir) = &self.state_dir {
            let hold = HoldFile {
                id: Uuid::nil(),
                scope: "all".to_owned(),
                target: None,
                run: None,
                reason: reason.to_owned(),
                code: "kill".to_owned(),
                at: jiff::Timestamp::now().to_string(),
                by: self.actor.clone(),
            };
            dir.write_hold(&hold)?;
        }
        Ok(())
    }

    pub(crate) fn remove_kill_files(&self) -> Result<(), Error> {
        if let Some(dir) = &self.state_dir {
            dir.remove_hold(&dir.hold_path(Uuid::nil()))?;
        }
        Ok(())
    }

    /// Waits until nobody is in the gate who entered before.
    pub(crate) async fn drain(&self, deadline: Duration, started: Instant) -> Result<(), Error> {
        loop {
            let session = self.apart().await?;
            let left = deadline.saturating_sub(started.elapsed());
            let slice = left.min(DRAIN_SLICE).max(Duration::from_millis(1));
            let wait_ms = i32::try_from(slice.as_millis()).unwrap_or(i32::MAX);
            session
                .batch_execute("begin")
                .await
                .map_err(DbError::from)?;
            let drain = self.prepare(&session, sql::DRAIN_GATE).await?;
            let drained = session.query_one(&drain, &[&wait_ms]).await;
            self.rollback(&session).await;
            match drained.map_err(DbError::from) {
                Ok(_) => return Ok(()),
                Err(error) if error.sqlstate() == Some("55P03") => {}
                Err(error) => return Err(error.into()),
            }
            if started.elapsed() >= deadline / 2 {
                self.terminate_holders(&session).await?;
            }
            if started.elapsed() >= deadline {
                let holders = self.holders(&session).await?;
                if !holders.is_empty() {
                    let names: Vec<String> = holders
                        .iter()
                        .map(|(pid, user, state)| format!("pid {pid} ({user}, {state})"))
                        .collect();
                    return Err(Error::NotDrained(names.join(", ")));
                }
            }
        }
    }

    async fn holders(&self, session: &Session) -> Result<Vec<(i32, String, String)>, Error> {
        let list = self.prepare(session, sql::GATE_HOLDERS).await?;
        let rows = session.query(&list, &[]).await.map_err(DbError::from)?;
        rows.iter()
            .map(|row| {
                let user: Option<String> = row.try_get(1)?;
                let state: Option<String> = row.try_get(2)?;
                Ok((
                    row.try_get(0)?,
                    user.unwrap_or_default(),
                    state.unwrap_or_default(),
                ))
            })
            .collect::<Result<_, DbError>>()
            .map_err(Error::from)
    }

    async fn terminate_holders(&self, session: &Session) -> Result<(), Error> {
        let terminate = self.prepare(session, sql::TERMINATE).await?;
        for (pid, user, _) in self.holders(session).await? {
            // Another role's backend may be beyond our right; it is named in the end if it stays.
            match session.query_one(&terminate, &[&pid]).await {
                Ok(_) => tracing::warn!(
                    pid,
                    user,
                    "terminated: it held the gate past half of the deadline"
                ),
                Err(error) => tracing::warn!(
                    pid,
                    user,
                    sqlstate = error.code().map(|code| code.code()),
                    "cannot terminate"
                ),
            }
        }
        Ok(())
    }

    pub(crate) async fn read_switch(&self, session: &Session) -> Result<Option<Switch>, Error> {
        let read = self.prepare(session, sql::READ_SWITCH).await?;
        let row = session.query_opt(&read, &[]).await.map_err(DbError::from)?;
        row.map(|row| {
            Ok(Switch {
                state: row.try_get(0)?,
                switch_no: row.try_get(1)?,
                reason: row.try_get(2)?,
                by: row.try_get(3)?,
                at: row.try_get(4)?,
            })
        })
        .transpose()
        .map_err(|error: tokio_postgres::Error| error.into())
    }
}
