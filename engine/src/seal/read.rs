//! Reads what became visible: records without a place, the keyring's, and where each run was sealed last.
//!
//! **Invariant:** nothing is passed over because of its number: a record is told by its transaction, and that by a
//! snapshot. What is read twice is known by its leaf.

use std::collections::{BTreeSet, HashMap};

use redress_ledger::Hash;
use redress_sql as sql;
use tokio_postgres::Row;
use uuid::Uuid;

use super::Sealer;
use super::batch::Candidate;
use super::step::Head;
use crate::db::{DbError, Session};
use crate::engine::Inner;
use crate::error::Error;
use crate::tx::hash_at;

impl Sealer {
    /// Records of transactions that were not seen yet, and the first transaction that was left out.
    pub(super) async fn new_records(
        &self,
        session: &Session,
        head: &Head,
        limit: usize,
    ) -> Result<(Vec<Candidate>, Option<u64>), Error> {
        let read = self.engine.inner.prepare(session, sql::NEW_RECORDS).await?;
        let mut limit = limit;
        loop {
            let rows_max = i64::try_from(limit).unwrap_or(i64::MAX);
            let from = head.sealed.below.to_string();
            let rows = session
                .query(&read, &[&from, &rows_max, &head.generation])
                .await
                .map_err(DbError::from)?;
            let whole = rows.len() < limit;
            let mut records = candidates(&rows)?;
            let Some(last) = records.last().map(|record| record.xid) else {
                return Ok((records, None));
            };
            if whole {
                return Ok((records, None));
            }
            // The last transaction may have more records than were read.
            records.retain(|record| record.xid < last);
            if !records.is_empty() {
                return Ok((records, Some(last)));
            }
            limit = limit.saturating_mul(2);
        }
    }

    /// Records of transactions that were in flight when the log was extended last.
    pub(super) async fn late_records(
        &self,
        session: &Session,
        head: &Head,
    ) -> Result<Vec<Candidate>, Error> {
        if head.sealed.in_flight.is_empty() {
            return Ok(Vec::new());
        }
        let read = self
            .engine
            .inner
            .prepare(session, sql::LATE_RECORDS)
            .await?;
        let xids = texts(&head.sealed.in_flight);
        let rows = session
            .query(&read, &[&xids])
            .await
            .map_err(DbError::from)?;
        candidates(&rows)
    }

    pub(super) async fn keys_after(
        &self,
        session: &Session,
        seq: i64,
    ) -> Result<Vec<Candidate>, Error> {
        let inner = &self.engine.inner;
        let read = inner.prepare(session, sql::KEYRING_RECORDS).await?;
        let rows = session
            .query(&read, &[&inner.installation.keys_run, &seq])
            .await
            .map_err(DbError::from)?;
        candidates(&rows)
    }
}

impl Inner {
    /// The last sealed record of each of these runs.
    pub(super) async fn sealed_heads(
        &self,
        session: &Session,
        generation: i64,
        runs: &[Uuid],
    ) -> Result<HashMap<Uuid, (i64, Hash)>, Error> {
        let mut runs = runs.to_vec();
        runs.sort_unstable();
        runs.dedup();
        let read = self.prepare(session, sql::SEALED_HEADS).await?;
        let rows = session
            .query(&read, &[&runs, &generation])
            .await
            .map_err(DbError::from)?;
        rows.iter()
            .map(|row| Ok((row.get(0), (row.get(1), hash_at(row, 2)?))))
            .collect()
    }
}

pub(super) fn candidates(rows: &[Row]) -> Result<Vec<Candidate>, Error> {
    rows.iter()
        .map(|row| {
            let xid: &str = row.get(0);
            let xid = xid.parse();
            Ok(Candidate {
                xid: xid.map_err(|_| Error::Inconsistent("a transaction id".to_owned()))?,
                run: row.get(1),
                seq: row.get(2),
                hash: hash_at(row, 3)?,
                bytes: row.get(4),
            })
        })
        .collect()
}

pub(super) fn texts(xids: &BTreeSet<u64>) -> Vec<String> {
    xids.iter().map(u64::to_string).collect()
}
