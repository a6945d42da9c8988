//! What became of a commit in doubt.
//!
//! **Invariant:** [`Inner::fate`] takes the run's row lock first and reads the log then; a plain read would show nothing
//! while the old backend still waits. Where the record is not there, the epoch is raised in the same transaction, so that
//! what may still be on its way cannot commit any more.

use std::time::Duration;

use redress_ledger::Hash;
use redress_sql as sql;
use uuid::Uuid;

use crate::db::{DbError, Session};
use crate::engine::Inner;
use crate::error::Error;
use crate::log::Pages;
use crate::metric;
use crate::telemetry::DbTold;
use crate::tx::{
    Commit, Entered, Moved, RECORD_IDLE_MS, RECORD_LOCK_MS, RECORD_STATEMENT_MS, finish, hash_at,
};

/// How long the fate of a commit may stay unknown before the caller is told so.
const FATE_WAIT_MS: i32 = 60_000;
/// How often a lost connection may stand between us and a fate: ten seconds, enough for a server that restarts.
const FATE_TRIES_MAX: u32 = 100;
/// Pause before it is asked for again.
const FATE_PAUSE: Duration = Duration::from_millis(100);

/// What became of a commit in doubt.
#[derive(Debug)]
pub(crate) enum Fate {
    Committed,
    /// It did not commit and cannot any more: the epoch was raised.
    Not {
        epoch: i64,
    },
}

impl Inner {
    /// Finds out what became of a commit in doubt that was made under an epoch.
    pub(crate) async fn fate(
        &self,
        run: Uuid,
        epoch: i64,
        seq: i64,
        hash: Hash,
    ) -> Result<Fate, Error> {
        let mut fate = self.fate_once(run, epoch, seq, hash).await;
        for _ in 1..FATE_TRIES_MAX {
            if !fate.as_ref().is_err_and(Error::is_lost) {
                break;
            }
            tokio::time::sleep(FATE_PAUSE).await;
            fate = self.fate_once(run, epoch, seq, hash).await;
        }
        metric::doubt_resolved(match &fate {
            Ok(Fate::Committed) => "committed",
            Ok(Fate::Not { .. }) => "not_committed",
            Err(_) => "unknown",
        });
        fate
    }

    /// The row lock first, then the log.
    async fn fate_once(&self, run: Uuid, epoch: i64, seq: i64, hash: Hash) -> Result<Fate, Error> {
        let session = self.apart().await?;
        let entered = self
            .enter_run_waiting(&session, run, None, false, FATE_WAIT_MS)
            .await;
        let entered = match entered {
            Err(error) if error.sqlstate() == Some("55P03") => return Err(Error::Unknown(error)),
            other => other?,
        };
        let fate = self
            .read_fate(&session, run, epoch, seq, hash, &entered)
            .await;
        if !matches!(fate, Ok(Fate::Not { .. })) {
            self.rollback(&session).await;
        }
        fate
    }

    async fn read_fate(
        &self,
        session: &Session,
        run: Uuid,
        epoch: i64,
        seq: i64,
        hash: Hash,
        entered: &Entered,
    ) -> Result<Fate, Error> {
        let at = session
            .query_opt(self.sql.text(sql::RECORD_HASH_AT), &[&run, &seq])
            .await
            .map_err(DbError::from)?;
        if let Some(row) = at
            && hash_at(&row, 0)? == hash
        {
            return Ok(Fate::Committed);
        }
        if entered.epoch > epoch {
            // Somebody else has the run by now: we are fenced already, and theirs is not ours to raise.
            self.rollback(session).await;
            return Ok(Fate::Not { epoch });
        }
        // It did not commit: fence whatever may still be on its way, in this same transaction.
        let raise = session
            .prepare_cached(self.sql.text(sql::ENTER_RUN))
            .await
            .map_err(DbError::from)?;
        let row = session
            .query_one(
                &raise,
                &[
                    &run,
                    &Some(entered.epoch),
                    &true,
                    &RECORD_STATEMENT_MS,
                    &RECORD_LOCK_MS,
                    &RECORD_IDLE_MS,
                ],
            )
            .await
            .map_err(DbError::from)?;
        let raised = Entered::from_row(&row)?;
        session
            .batch_execute("commit")
            .await
            .map_err(DbError::from)?;
        Ok(Fate::Not {
            epoch: raised.epoch,
        })
    }

    /// Ends a transaction that is no phase, and resolves doubt before it returns.
    pub(crate) async fn settle(
        &self,
        session: &Session,
        entered: &Entered,
        pages: &Pages<'_>,
        moved: &Moved<'_>,
    ) -> Result<(), Error> {
        match finish(self, session, entered, pages, moved).await {
            Commit::Done(()) => Ok(()),
            Commit::Aborted(error) => Err(error.into()),
            Commit::InDoubt(error) => {
                tracing::warn!(error = %DbTold(&error), code = error.code(), run = %pages.run(), "commit in doubt");
                let fate = self.fate(pages.run(), entered.epoch, pages.seq, pages.head);
                match fate.await? {
                    Fate::Committed => Ok(()),
                    Fate::Not { .. } => Err(error.into()),
                }
            }
        }
    }
}
