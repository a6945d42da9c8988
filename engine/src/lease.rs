//! A worker's lease: renewed, and given back.
//!
//! **Invariant:** what is given back was not tried: its claim is not counted.

use std::time::Duration;

use redress_sql as sql;
use uuid::Uuid;

use crate::crash;
use crate::db::DbError;
use crate::engine::Inner;
use crate::error::Error;
use crate::metric;
use crate::run::Live;
use crate::telemetry::Told;

/// A run that met a hold or a kill is looked at again after this long.
const HELD_PAUSE_MS: i64 = 1_000;

/// The least time that a heartbeat's answer is waited for.
const BEAT_ANSWER_MIN: Duration = Duration::from_secs(5);

impl Inner {
    /// Gives a run back because something wide is in the way; not counted as a try.
    pub(crate) async fn give_back(&self, live: &Live, worker: Uuid) -> Result<(), Error> {
        self.release(live.row.id, live.row.epoch, worker, HELD_PAUSE_MS)
            .await
    }

    /// Gives a claimed run back without counting the claim, to be looked at again after a while.
    pub(crate) async fn release(
        &self,
        run: Uuid,
        epoch: i64,
        worker: Uuid,
        wait_ms: i64,
    ) -> Result<(), Error> {
        let session = self.side().await?;
        let give = self.prepare(&session, sql::GIVE_BACK).await?;
        session
            .query_one(&give, &[&run, &epoch, &worker, &wait_ms])
            .await
            .map_err(DbError::from)?;
        Ok(())
    }

    /// Renews a worker's lease.
    pub(crate) async fn beat(&self, worker: Uuid) -> Result<(), Error> {
        let session = self.side().await?;
        let lease_ms = i64::try_from(self.lease.as_millis()).unwrap_or(i64::MAX);
        let beat = async {
            let beat = self.prepare(&session, sql::BEAT).await?;
            let params: [&(dyn tokio_postgres::types::ToSql + Sync); 3] =
                [&worker, &self.actor, &lease_ms];
            session
                .query_one(&beat, &params)
                .await
                .map_err(DbError::from)?;
            Ok::<(), Error>(())
        };
        match tokio::time::timeout(self.lease.max(BEAT_ANSWER_MIN), beat).await {
            Ok(result) => result?,
            Err(_) => {
                // A silent wire must not silence the heart on all others.
                session.abandon();
                return Err(DbError::Lost("no answer to a heartbeat".to_owned()).into());
            }
        }
        metric::heartbeat(true);
        crash::point("claim.beat");
        Ok(())
    }

    /// Renews a worker's lease three times in its length, for ever.
    pub(crate) async fn keep_beating(&self, worker: Uuid) {
        loop {
            tokio::time::sleep(self.lease / 3).await;
            if let Err(error) = self.beat(worker).await {
                metric::heartbeat(false);
                tracing::warn!(error = %Told(&error), code = error.code(), %worker, "heartbeat");
            }
        }
    }

    /// Gives back everything a worker holds.
    pub(crate) async fn leave(&self, worker: Uuid) -> Result<(), Error> {
        let session = self.side().await?;
        let leave = self.prepare(&session, sql::LEAVE).await?;
        session
            .query_one(&leave, &[&worker])
            .await
            .map_err(DbError::from)?;
        Ok(())
    }
}
