//! Carries the log of the generation before into the new one: whole, in its order, behind the first leaf.
//!
//! **Invariant:** what is carried was ended when the generation was opened: every record of the database has its place in
//! the old log, those that it had signed and, behind them, those that waited. The root signs the root over all of them,
//! so nothing can come in or get lost on the way; FORMAT.md, section 10a.
//!
//! **What can go wrong:** a record that was archived is in the old log and not in the database: its archive must be named.

use redress_ledger::Hash;
use redress_sql as sql;
use tokio_postgres::Row;
use uuid::Uuid;

use super::batch::{Candidate, Visible, batch};
use super::error::SealError;
use super::read::candidates;
use crate::archive::Archives;
use crate::db::{DbError, Session};
use crate::engine::Inner;
use crate::error::Error;
use crate::tx::hash_at;

/// Leaves that are read and placed at once.
const LEAVES_A_PAGE: usize = 5_000;

/// A place of an older log.
struct Leaf {
    run: Uuid,
    seq: i64,
    hash: Hash,
    /// Nothing when the record has left the database.
    bytes: Option<Vec<u8>>,
}

impl Inner {
    /// How many places the log of a generation has.
    pub(crate) async fn count_leaves(
        &self,
        session: &Session,
        generation: i64,
    ) -> Result<u64, Error> {
        let count = self.prepare(session, sql::COUNT_LEAVES).await?;
        let row = session
            .query_one(&count, &[&generation])
            .await
            .map_err(DbError::from)?;
        Ok(u64::try_from(row.get::<_, i64>(0)).unwrap_or_default())
    }

    /// The next records that a generation carries: those of the one before it from a position on.
    pub(super) async fn carried(
        &self,
        session: &Session,
        generation: i64,
        from: u64,
        limit: usize,
        archives: &mut Archives,
    ) -> Result<Vec<Candidate>, Error> {
        let older = generation - 1;
        let leaves = self.leaves(session, older, from, limit).await?;
        let mut records = Vec::with_capacity(leaves.len());
        for (position, leaf) in (from..).zip(leaves) {
            let Leaf { run, seq, hash, .. } = leaf;
            let bytes = match leaf.bytes {
                Some(bytes) => bytes,
                None => archives
                    .record_of(&self.installation.origin, older, position, hash)?
                    .ok_or(Error::Archived(run))?,
            };
            records.push(Candidate {
                xid: 0,
                run,
                seq,
                hash,
                bytes,
            });
        }
        Ok(records)
    }

    /// Gives every record that the log of a generation has not sealed its place behind those that it has, as its sealer
    /// would have; returns how many places there are then.
    pub(crate) async fn end_log(
        &self,
        session: &Session,
        generation: i64,
        keys_run: Uuid,
    ) -> Result<u64, Error> {
        let mut size = self.count_leaves(session, generation).await?;
        let keys = self.keys_of(session, keys_run).await?;
        if generation > 1 {
            size = self.end_carrying(session, generation, size, &keys).await?;
        }
        let rows = self.read_unsealed(session, generation).await?;
        let mut records = candidates(&rows)?;
        records.retain(|record| record.run != keys_run);
        let mut runs: Vec<Uuid> = records.iter().map(|record| record.run).collect();
        runs.push(keys_run);
        runs.dedup();
        let heads = self.sealed_heads(session, generation, &runs).await?;
        let keys_sealed = heads.get(&keys_run).map_or(0, |(seq, _)| *seq);
        let opening = opening_of(&keys);
        let keys = keys.into_iter().filter(|key| key.seq > keys_sealed);
        let visible = Visible {
            records,
            keys: keys.collect(),
            generation,
            keys_sealed,
            opening,
            cut_off: false,
        };
        let rest = batch(visible, &heads)?.leaves;
        let leaves = rest.iter().map(|one| (one.run, one.seq, one.hash));
        self.place_at_end(session, generation, size, leaves).await
    }

    /// What an older log carries itself, where its sealer never came so far.
    async fn end_carrying(
        &self,
        session: &Session,
        generation: i64,
        mut size: u64,
        keys: &[Candidate],
    ) -> Result<u64, Error> {
        let older = self.count_leaves(session, generation - 1).await?;
        if size == 0 {
            let opening = keys.first().ok_or(SealError::NotOpened)?;
            let opening = [(opening.run, opening.seq, opening.hash)];
            size = self
                .place_at_end(session, generation, size, opening.into_iter())
                .await?;
        }
        while size <= older {
            let page = self.leaves(session, generation - 1, size - 1, LEAVES_A_PAGE);
            let page = page.await?;
            let places = page.iter().map(|leaf| (leaf.run, leaf.seq, leaf.hash));
            size = self.place_at_end(session, generation, size, places).await?;
        }
        Ok(size)
    }

    async fn leaves(
        &self,
        session: &Session,
        generation: i64,
        from: u64,
        limit: usize,
    ) -> Result<Vec<Leaf>, Error> {
        let read = self.prepare(session, sql::ENTRIES_FROM).await?;
        let first = i64::try_from(from).unwrap_or(i64::MAX);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = session
            .query(&read, &[&generation, &first, &i64::MAX, &limit])
            .await
            .map_err(DbError::from)?;
        if rows.is_empty() {
            return Err(missing(generation, first).into());
        }
        let mut leaves = Vec::with_capacity(rows.len());
        for (position, row) in (first..).zip(&rows) {
            let (run, seq): (Uuid, i64) = (row.get(1), row.get(2));
            let bytes: Option<Vec<u8>> = row.get(4);
            if row.get::<_, i64>(0) != position {
                return Err(missing(generation, position).into());
            }
            if bytes.is_none() && !row.get::<_, bool>(5) {
                return Err(SealError::Gap { run, seq }.into());
            }
            let hash = hash_at(row, 3)?;
            leaves.push(Leaf {
                run,
                seq,
                hash,
                bytes,
            });
        }
        Ok(leaves)
    }

    async fn place_at_end(
        &self,
        session: &Session,
        generation: i64,
        size: u64,
        leaves: impl Iterator<Item = (Uuid, i64, Hash)>,
    ) -> Result<u64, Error> {
        let (mut runs, mut seqs, mut hashes) = (Vec::new(), Vec::new(), Vec::new());
        for (run, seq, hash) in leaves {
            runs.push(run);
            seqs.push(seq);
            hashes.push(hash.as_bytes().to_vec());
        }
        let end = self.prepare(session, sql::END_LOG).await?;
        let at = i64::try_from(size).unwrap_or(i64::MAX);
        session
            .query_one(&end, &[&generation, &at, &runs, &seqs, &hashes])
            .await
            .map_err(DbError::from)?;
        Ok(size + runs.len() as u64)
    }

    async fn read_unsealed(&self, session: &Session, generation: i64) -> Result<Vec<Row>, Error> {
        let read = self.prepare(session, sql::UNSEALED_RECORDS).await?;
        let rows = session.query(&read, &[&generation]).await;
        Ok(rows.map_err(DbError::from)?)
    }

    async fn keys_of(&self, session: &Session, keys_run: Uuid) -> Result<Vec<Candidate>, Error> {
        let read = self.prepare(session, sql::KEYRING_RECORDS).await?;
        let rows = session.query(&read, &[&keys_run, &0_i64]).await;
        candidates(&rows.map_err(DbError::from)?)
    }
}

/// How many records opened a keyring, in one transaction.
pub(super) fn opening_of(keys: &[Candidate]) -> i64 {
    let opened_in = keys.first().map(|key| key.xid);
    let opening = keys.iter().take_while(|key| Some(key.xid) == opened_in);
    i64::try_from(opening.count()).unwrap_or(i64::MAX)
}

fn missing(generation: i64, position: i64) -> SealError {
    SealError::Fork(format!(
        "leaf {position} of generation {generation} is missing"
    ))
}
