//! The logs that belong to no run, written: what people did (`system`), and who may (`keys`).
//!
//! **Invariant:** such a log is locked before its head is read, and stays locked until COMMIT; records are chained as in a run's log.

use redress_ledger::{Encoded, Hash, Kind, Record};
use redress_sql as sql;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::db::{DbError, Session};
use crate::engine::Inner;
use crate::error::Error;
use crate::log::LogError;
use crate::metric;
use crate::tx::{Commit, RECORD_IDLE_MS, RECORD_LOCK_MS, RECORD_STATEMENT_MS, end, hash_at};

/// The log of what people did that belongs to no run.
const SYSTEM_LOG: &str = "system";

/// Where a log that belongs to no run ends, its row locked.
#[derive(Clone, Debug)]
pub(crate) struct LogHead {
    pub generation: i64,
    pub run: Uuid,
    pub seq: i64,
    pub head: Hash,
    pub at: String,
    pub switch_no: i64,
}

impl Inner {
    /// Locks the system log, lets `build` add records to it and to the tables, and commits.
    pub(crate) async fn with_system_log<T>(
        &self,
        session: &Session,
        at_switch: Option<i64>,
        records: Vec<(Kind, serde_json::Value)>,
        value: T,
    ) -> Result<T, Error> {
        self.append_system(session, at_switch, records).await?;
        match end(session, async { Ok(()) }).await {
            Commit::Done(()) => Ok(value),
            Commit::Aborted(error) => Err(Error::Unknown(error)),
            Commit::InDoubt(error) => {
                metric::doubt_resolved("unknown");
                Err(Error::Unknown(error))
            }
        }
    }

    /// Adds records to the system log inside the transaction that is open on the session.
    pub(crate) async fn append_system(
        &self,
        session: &Session,
        at_switch: Option<i64>,
        records: Vec<(Kind, serde_json::Value)>,
    ) -> Result<(), Error> {
        let mut head = self.enter_log(session, SYSTEM_LOG).await?;
        head.switch_no = at_switch.unwrap_or(head.switch_no);
        self.append_log(session, SYSTEM_LOG, &head, records).await
    }

    /// Locks a log that belongs to no run, inside the transaction that is open on the session.
    pub(crate) async fn enter_log(
        &self,
        session: &Session,
        log: &'static str,
    ) -> Result<LogHead, Error> {
        let enter = self.prepare(session, sql::ENTER_SYSTEM).await?;
        let limits: [&(dyn ToSql + Sync); 4] =
            [&log, &RECORD_STATEMENT_MS, &RECORD_LOCK_MS, &RECORD_IDLE_MS];
        let row = session
            .query_one(&enter, &limits)
            .await
            .map_err(DbError::from)?;
        Ok(LogHead {
            generation: self.installation.generation,
            run: row.try_get(0).map_err(DbError::from)?,
            seq: row.try_get(1).map_err(DbError::from)?,
            head: hash_at(&row, 2)?,
            at: row.try_get(3).map_err(DbError::from)?,
            switch_no: row.try_get(4).map_err(DbError::from)?,
        })
    }

    /// Adds records behind the head of a log that was entered.
    pub(crate) async fn append_log(
        &self,
        session: &Session,
        log: &'static str,
        entered: &LogHead,
        records: Vec<(Kind, serde_json::Value)>,
    ) -> Result<(), Error> {
        let mut next = entered.clone();
        let mut bytes = Vec::new();
        for (kind, body) in records {
            bytes.push(self.next_of(&mut next, kind, body)?.1.bytes);
        }
        self.append_bytes(session, log, entered.seq, &bytes).await
    }

    /// The next record of a log that was entered; its head moves on.
    pub(crate) fn next_of(
        &self,
        head: &mut LogHead,
        kind: Kind,
        body: serde_json::Value,
    ) -> Result<(Record, Encoded), Error> {
        let record = Record {
            v: redress_ledger::record::VERSION,
            origin: self.installation.origin.clone(),
            generation: head.generation,
            run: head.run,
            epoch: 0,
            switch_no: head.switch_no,
            seq: head.seq + 1,
            prev: head.head,
            kind,
            at: head.at.clone(),
            actor: self.actor.clone(),
            engine: crate::log::ENGINE.to_owned(),
            policy: None,
            idem: None,
            body,
        };
        let encoded = record.encode();
        let encoded = encoded.map_err(|source| LogError::unwritten(&record, source))?;
        head.seq += 1;
        head.head = encoded.hash;
        Ok((record, encoded))
    }

    /// Adds encoded records behind the head of a log that was entered.
    pub(crate) async fn append_bytes(
        &self,
        session: &Session,
        log: &'static str,
        seq: i64,
        bytes: &[Vec<u8>],
    ) -> Result<(), Error> {
        let append = self.prepare(session, sql::APPEND_SYSTEM).await?;
        let slices: Vec<&[u8]> = bytes.iter().map(Vec::as_slice).collect();
        session
            .query_one(&append, &[&log, &seq, &slices])
            .await
            .map_err(DbError::from)?;
        Ok(())
    }
}
