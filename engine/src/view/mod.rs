//! What people and programs see of runs: one run, lists, what waits for a person, and the log as lines.
//!
//! **Invariant:** whatever needs several statements is read in one REPEATABLE READ READ ONLY transaction, so that it
//! shows one moment. A run whose row and log disagree is not shown but refused.
//!
//! **Not here:** an order over all runs (only the sealer gives positions): [`Engine::log_all`] goes run by run.

mod fingerprint;
mod groups;
mod log;
mod model;
mod next;
mod page;
mod reading;
mod recovery;
mod rewinds;
mod show;
mod signed;
mod status;

pub use fingerprint::{FINGERPRINT_DIGITS_MIN, Fingerprint};
pub use groups::{Group, Waiting};
pub use model::*;
pub use page::{ActionPage, PlanPage, Validity};
pub use rewinds::{REWINDS_LIMIT_DEFAULT, RewindFilter, RewindLine, RewindStatus};

use redress_ledger::Hash;
use redress_sql as sql;
use uuid::Uuid;

use crate::db::DbError;
use crate::definition::Definition;
use crate::engine::Engine;
use crate::error::Error;
use crate::run::RunRow;
use crate::tx::hash_at;

pub(crate) use reading::Reading;
pub(crate) use signed::still_missing;

/// How many records one page of [`Engine::log_all`] has at most.
pub const PAGE_MAX: u32 = 1_000;

impl Engine {
    /// Shows a run: phases, holds, plan, last record, and the next safe act.
    ///
    /// # Errors
    /// [`Error::UnknownRun`]; [`Error::Log`] when row and log disagree.
    pub async fn show(&self, run: Uuid) -> Result<RunView, Error> {
        let mut reading = Reading::begin(&self.inner).await?;
        let row = self.inner.hot_row(&reading, run).await?;
        let holds = reading.holds().await?;
        let story = reading.story_of(&row).await?;
        let view = reading.view(&row, &story, &holds).await?;
        reading.end().await;
        Ok(view)
    }

    /// Finds a run by its id, or by the beginning or the end of one.
    ///
    /// # Errors
    /// [`Error::UnknownRun`] when no run is so, or more than one.
    pub async fn find_run(&self, prefix: &str) -> Result<Uuid, Error> {
        let inner = &self.inner;
        let session = inner.session().await?;
        if let Ok(run) = prefix.parse::<Uuid>() {
            return Ok(inner.run_row(&session, run).await?.id);
        }
        let unknown = || Error::UnknownRun(prefix.to_owned());
        let plain = |b: u8| b.is_ascii_hexdigit() || b == b'-';
        if prefix.is_empty() || !prefix.bytes().all(plain) {
            return Err(unknown());
        }
        let list = inner.prepare(&session, sql::RUNS_BY_PREFIX).await?;
        let rows = session
            .query(&list, &[&prefix.to_ascii_lowercase()])
            .await
            .map_err(DbError::from)?;
        match rows.as_slice() {
            [row] => Ok(row.try_get(0).map_err(DbError::from)?),
            [] => Err(unknown()),
            _ => Err(Error::UnknownRun(format!("{prefix} (several are so)"))),
        }
    }

    /// Lists runs, youngest first.
    ///
    /// # Errors
    /// [`Error::Db`].
    pub async fn runs(&self, filter: &RunFilter) -> Result<Vec<RunLine>, Error> {
        let reading = Reading::begin(&self.inner).await?;
        let holds = reading.holds().await?;
        let state = filter.state.map(redress_ledger::State::as_str);
        let limit = i64::from(filter.limit.unwrap_or(RUNS_LIMIT_DEFAULT));
        let rows = reading
            .query(
                sql::LIST_RUNS,
                &[&filter.saga, &state, &filter.subject, &filter.alike, &limit],
            )
            .await?;
        reading.end().await;
        rows.iter()
            .map(|row| {
                let row = RunRow::read(row)?;
                let held = holds.iter().any(|hold| show::bears(hold, &row));
                Ok(RunLine {
                    run: row.id,
                    saga: row.saga,
                    version: row.version,
                    subject: row.subject,
                    state: row.state,
                    phase: row.phase,
                    held,
                    opened_at: row.opened_at,
                    ended_at: row.ended_at,
                    key: row.key,
                    seq: row.seq,
                })
            })
            .collect()
    }

    /// What waits for a person, oldest first: failed, stuck and poisoned runs, the kill switch, and holds that none of
    /// these runs explains. Runs that merely wait behind a hold are not repeated: the hold is listed.
    ///
    /// # Errors
    /// [`Error::Db`]; [`Error::Log`] when a run's row and log disagree.
    pub async fn status(&self) -> Result<Vec<Attention>, Error> {
        Ok(self.waiting().await?.waiting)
    }

    /// As [`Engine::status`], and the failed runs once more by what they have in common.
    ///
    /// # Errors
    /// As [`Engine::status`].
    pub async fn waiting(&self) -> Result<Waiting, Error> {
        let mut reading = Reading::begin(&self.inner).await?;
        let waiting = reading.attention().await?;
        reading.end().await;
        Ok(Waiting::of(waiting))
    }

    /// The failed runs that share a fingerprint, of which somebody wrote the first digits.
    ///
    /// # Errors
    /// [`Error::UnknownFingerprint`] when no failed run has one that begins so, or several differ behind it.
    pub async fn alike(&self, digits: &str) -> Result<Group, Error> {
        let found = self.waiting().await?.groups;
        let mut meant = found
            .into_iter()
            .filter(|group| group.fingerprint.begins_with(digits));
        let unknown = |text: String| Error::UnknownFingerprint(text);
        let group = meant.next().ok_or_else(|| unknown(digits.to_owned()))?;
        match meant.next() {
            None => Ok(group),
            Some(_) => Err(unknown(format!("{digits} (several are so)"))),
        }
    }

    /// A run's records after `after_seq`, as lines; the logs of no run have the installation's `system_run` and `keys_run`.
    ///
    /// # Errors
    /// [`Error::UnknownRun`]; [`Error::Log`] when a record cannot be read.
    pub async fn log(&self, run: Uuid, after_seq: i64) -> Result<Vec<LogLine>, Error> {
        let inner = &self.inner;
        let session = inner.session().await?;
        if !inner.installation.is_system(run) {
            inner.hot_row(&session, run).await?;
        }
        let read = inner.prepare(&session, sql::RECORDS_OF_RUN).await?;
        let rows = session
            .query(&read, &[&run, &after_seq])
            .await
            .map_err(DbError::from)?;
        rows.iter()
            .map(|row| {
                let bytes: &[u8] = row.try_get("bytes").map_err(DbError::from)?;
                Ok(log::line(
                    run,
                    row.try_get(0).map_err(DbError::from)?,
                    bytes,
                )?)
            })
            .collect()
    }

    /// Records of all runs after a place, run by run in the order of their ids (which is that of their opening), at
    /// most `limit` and [`PAGE_MAX`] of them.
    ///
    /// # Errors
    /// [`Error::Log`] when a record cannot be read.
    pub async fn log_all(&self, after: (Uuid, i64), limit: u32) -> Result<Vec<LogLine>, Error> {
        let inner = &self.inner;
        let session = inner.session().await?;
        let read = inner.prepare(&session, sql::ALL_RECORDS).await?;
        let limit = i64::from(limit.min(PAGE_MAX));
        let rows = session
            .query(&read, &[&after.0, &after.1, &limit])
            .await
            .map_err(DbError::from)?;
        rows.iter()
            .map(|row| {
                let run = row.try_get(0).map_err(DbError::from)?;
                let bytes: &[u8] = row.try_get("bytes").map_err(DbError::from)?;
                Ok(log::line(
                    run,
                    row.try_get(1).map_err(DbError::from)?,
                    bytes,
                )?)
            })
            .collect()
    }

    /// Where each log ends, those of no run first: whoever follows all logs asks again and reads what grew.
    ///
    /// # Errors
    /// [`Error::Db`].
    pub async fn heads(&self) -> Result<Vec<(Uuid, i64)>, Error> {
        let reading = Reading::begin(&self.inner).await?;
        let system = reading.query(sql::SYSTEM_HEADS, &[]).await?;
        let mut heads = Vec::new();
        for row in &system {
            heads.push((row.try_get(0)?, row.try_get(1)?));
        }
        let mut after = Uuid::nil();
        loop {
            let limit = i64::from(PAGE_MAX);
            let rows = reading.query(sql::RUN_HEADS, &[&after, &limit]).await?;
            let Some(last) = rows.last() else { break };
            after = last.try_get(0)?;
            for row in &rows {
                heads.push((row.try_get(0)?, row.try_get(3)?));
            }
        }
        reading.end().await;
        Ok(heads)
    }

    /// Registered sagas, each version with how many unfinished runs it has.
    ///
    /// # Errors
    /// [`Error::Db`].
    pub async fn sagas(&self) -> Result<Vec<SagaLine>, Error> {
        let session = self.inner.session().await?;
        let list = self.inner.prepare(&session, sql::LIST_DEFINITIONS).await?;
        let rows = session.query(&list, &[]).await.map_err(DbError::from)?;
        rows.iter()
            .map(|row| {
                Ok(SagaLine {
                    saga: row.try_get(0)?,
                    version: row.try_get(1)?,
                    digest: hash_at(row, 2)?,
                    registered_at: row.try_get(3)?,
                    active: row.try_get(4)?,
                })
            })
            .collect()
    }

    /// A registered definition and its digest: the newest version, or the one named.
    ///
    /// # Errors
    /// [`Error::UnknownSaga`].
    pub async fn definition(
        &self,
        name: &str,
        version: Option<i32>,
    ) -> Result<(Definition, Hash), Error> {
        let session = self.inner.session().await?;
        let loaded = self.inner.load_by_name(&session, name, version).await?;
        Ok((loaded.definition.clone(), loaded.digest))
    }
}
