//! One batch: a transaction that reads what became visible, extends the tree, and commits the signed head.

use std::collections::BTreeSet;

use redress_ledger::keyring::Keyring;
use redress_ledger::{Checkpoint, Frontier, Hash, Record};
use redress_sql as sql;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::batch::{Batch, Candidate, Visible, batch};
use super::carry::opening_of;
use super::error::SealError;
use super::publish::Publisher;
use super::read::texts;
use super::{Known, Sealer};
use crate::crash;
use crate::db::{DbError, Session};
use crate::engine::Inner;
use crate::error::Error;
use crate::seen::Seen;
use crate::tx::{Commit, end, hash_at};

/// Time limits of a batch, in milliseconds.
const STATEMENT_MS: i32 = 60_000;
const LOCK_MS: i32 = 5_000;
/// Records that are read at once for publishing.
const ENTRIES_A_PAGE: i64 = 2_000;

/// What one batch did.
pub(super) struct Step {
    pub records: u64,
    pub head: Checkpoint,
    /// Whether more became visible than this batch took.
    pub more: bool,
}

/// The head as the database has it, its row locked.
pub(super) struct Head {
    pub generation: i64,
    size: u64,
    root: Hash,
    edge: Vec<u8>,
    pub sealed: Seen,
    now: Seen,
}

/// What a batch adds to the log.
struct Extension {
    batch: Batch,
    frontier: Frontier,
    seen: Seen,
    more: bool,
    keyring: Keyring,
    keys_sealed: i64,
}

impl Sealer {
    /// Seals and publishes one batch.
    pub(super) async fn step(&mut self, limit: usize) -> Result<Step, Error> {
        let inner = std::sync::Arc::clone(&self.engine.inner);
        let session = inner.session().await?;
        let fence = self.hold_lease(&session).await?;
        session
            .batch_execute(
                "begin isolation level repeatable read; set local synchronous_commit = on",
            )
            .await
            .map_err(DbError::from)?;
        let result = self.in_transaction(&session, fence, limit).await;
        if result.is_err() {
            // What was known may be about a head that does not stand.
            self.known = None;
            inner.rollback(&session).await;
        }
        result
    }

    async fn in_transaction(
        &mut self,
        session: &Session,
        fence: i64,
        limit: usize,
    ) -> Result<Step, Error> {
        let inner = std::sync::Arc::clone(&self.engine.inner);
        let head = self.read_head(session, fence).await?;
        let known = match self.known.take() {
            Some(known) if known.publisher.size() == head.size => known,
            _ => self.recover(session, &head).await?,
        };
        self.check_anchor(session, &head).await?;
        let extension = self.extension(session, &head, &known, limit).await?;
        let log = extension.keyring.log_key();
        if log.is_none_or(|log| log.id() != self.key.id()) {
            let expected = log.ok_or(SealError::NotOpened)?.id().clone();
            let found = self.key.id().clone();
            return Err(SealError::OtherKey { expected, found }.into());
        }
        let checkpoint = Checkpoint {
            origin: self.origin(),
            size: extension.frontier.size(),
            root: extension.frontier.root(),
        };
        let records = checkpoint.size - head.size;
        if records == 0 {
            inner.rollback(session).await;
            self.known = Some(known);
            return Ok(Step {
                records,
                head: checkpoint,
                more: extension.more,
            });
        }
        let note = checkpoint
            .sign(&self.key)
            .map_err(SealError::from)?
            .to_bytes();
        if head.size == 0 && self.anchor.read()?.is_none() {
            self.anchor_the_beginning()?;
        }
        self.commit(session, fence, &head, &extension, &note)
            .await?;
        crash::point("seal.after_commit");
        self.anchor.write(&note)?;
        crash::point("seal.after_anchor");
        let mut publisher = known.publisher;
        for leaf in &extension.batch.leaves {
            publisher.push(leaf.hash, &leaf.bytes)?;
        }
        publisher.publish(&note)?;
        crash::point("seal.after_publish");
        self.known = Some(Known {
            publisher,
            keyring: extension.keyring,
            keys_sealed: extension.keys_sealed,
            opening: known.opening,
        });
        Ok(Step {
            records,
            head: checkpoint,
            more: extension.more,
        })
    }

    /// Remembers the log without a leaf before its first COMMIT: a death behind that COMMIT could not be told from a lost
    /// anchor otherwise.
    fn anchor_the_beginning(&self) -> Result<(), SealError> {
        let beginning = Checkpoint {
            origin: self.origin(),
            size: 0,
            root: Frontier::new().root(),
        };
        self.anchor.write(&beginning.sign(&self.key)?.to_bytes())
    }

    async fn read_head(&self, session: &Session, fence: i64) -> Result<Head, Error> {
        let inner = &self.engine.inner;
        let enter = inner.prepare(session, sql::ENTER_SEAL).await?;
        let half = i32::try_from(inner.lease.as_millis() / 2).unwrap_or(i32::MAX);
        let params: [&(dyn ToSql + Sync); 4] = [&fence, &STATEMENT_MS, &LOCK_MS, &half.max(1)];
        let row = session
            .query_one(&enter, &params)
            .await
            .map_err(DbError::from)?;
        let strange = || Error::Inconsistent("the sealer's row cannot be read".to_owned());
        let below: String = row.get(4);
        let in_flight: Vec<String> = row.get(5);
        let in_flight = in_flight.iter().map(|xid| xid.parse());
        let head = Head {
            generation: row.get(0),
            size: u64::try_from(row.get::<_, i64>(1)).map_err(|_| strange())?,
            root: hash_at(&row, 2)?,
            edge: row.get(3),
            sealed: Seen {
                below: below.parse().map_err(|_| strange())?,
                in_flight: in_flight
                    .collect::<Result<BTreeSet<u64>, _>>()
                    .map_err(|_| strange())?,
            },
            now: Seen::parse(row.get(6)).ok_or_else(strange)?,
        };
        if head.generation != inner.installation.generation {
            return Err(SealError::Fork(format!(
                "the log is of generation {}, the installation of {}",
                head.generation, inner.installation.generation
            ))
            .into());
        }
        Ok(head)
    }

    /// Compares the head with what was remembered outside the database.
    async fn check_anchor(&self, session: &Session, head: &Head) -> Result<(), Error> {
        let Some(bytes) = self.anchor.read()? else {
            if head.size == 0 || self.first_anchor {
                return Ok(());
            }
            let (size, path) = (head.size, self.anchor.place());
            return Err(SealError::NoAnchor { size, path }.into());
        };
        let unusable = |why: String| SealError::Anchor {
            why,
            path: self.anchor.place(),
        };
        let anchored = Checkpoint::peek(&bytes).map_err(|error| unusable(error.to_string()))?;
        if anchored.origin != self.origin() {
            return Err(unusable(format!("it is of another log: {}", anchored.origin)).into());
        }
        if anchored.size > head.size {
            return Err(SealError::Fork(format!(
                "{} leaves were signed and the database remembers {}",
                anchored.size, head.size
            ))
            .into());
        }
        let root = if anchored.size == head.size {
            head.root
        } else {
            let inner = &self.engine.inner;
            inner
                .root_of_leaves(session, head.generation, anchored.size)
                .await?
        };
        if root != anchored.root {
            return Err(SealError::Fork(format!(
                "the first {} leaves are others than those that were signed",
                anchored.size
            ))
            .into());
        }
        Ok(())
    }

    /// Reads and orders what became visible, and extends the tree with it.
    async fn extension(
        &mut self,
        session: &Session,
        head: &Head,
        known: &Known,
        limit: usize,
    ) -> Result<Extension, Error> {
        let inner = std::sync::Arc::clone(&self.engine.inner);
        let keys_run = inner.installation.keys_run;
        if head.generation > 1 {
            let older = inner.count_leaves(session, head.generation - 1).await?;
            if head.size <= older {
                let batch = self.carry(session, head, limit).await?;
                return extended(&inner, head, known, batch, head.sealed.clone(), true);
            }
        }
        let (mut records, cap) = self.new_records(session, head, limit).await?;
        records.extend(self.late_records(session, head).await?);
        records.retain(|record| record.run != keys_run);
        let keys = self.keys_after(session, known.keys_sealed).await?;
        if head.size == 0 && keys.is_empty() {
            return Err(SealError::NotOpened.into());
        }
        let mut runs: Vec<Uuid> = records.iter().map(|record| record.run).collect();
        runs.push(keys_run);
        let heads = inner.sealed_heads(session, head.generation, &runs).await?;
        let visible = Visible {
            records,
            keys,
            generation: head.generation,
            keys_sealed: known.keys_sealed,
            opening: known.opening,
            cut_off: cap.is_some(),
        };
        let batch = batch(visible, &heads)?;
        let seen = head.now.up_to(cap, &batch.waiting);
        extended(&inner, head, known, batch, seen, cap.is_some())
    }

    /// The next records of the log of the generation before, behind this one's first leaf.
    async fn carry(
        &mut self,
        session: &Session,
        head: &Head,
        limit: usize,
    ) -> Result<Batch, Error> {
        let inner = std::sync::Arc::clone(&self.engine.inner);
        let mut leaves = Vec::new();
        if head.size == 0 {
            let mut keys = self.keys_after(session, 0).await?;
            if keys.is_empty() {
                return Err(SealError::NotOpened.into());
            }
            leaves.push(keys.swap_remove(0));
        }
        let from = head.size.saturating_sub(1);
        let archives = &mut self.archives;
        let carried = inner.carried(session, head.generation, from, limit, archives);
        leaves.extend(carried.await?);
        let waiting = BTreeSet::new();
        Ok(Batch { leaves, waiting })
    }

    async fn commit(
        &self,
        session: &Session,
        fence: i64,
        head: &Head,
        extension: &Extension,
        note: &[u8],
    ) -> Result<(), Error> {
        let extend = self.engine.inner.prepare(session, sql::EXTEND_LOG).await?;
        let leaves = &extension.batch.leaves;
        let runs: Vec<Uuid> = leaves.iter().map(|leaf| leaf.run).collect();
        let seqs: Vec<i64> = leaves.iter().map(|leaf| leaf.seq).collect();
        let hashes: Vec<&[u8]> = leaves
            .iter()
            .map(|leaf| &leaf.hash.as_bytes()[..])
            .collect();
        let size = i64::try_from(head.size).unwrap_or(i64::MAX);
        let (root, new_root) = (head.root, extension.frontier.root());
        let edge = extension.frontier.to_bytes();
        let below = extension.seen.below.to_string();
        let in_flight = texts(&extension.seen.in_flight);
        let params: [&(dyn ToSql + Sync); 12] = [
            &fence,
            &head.generation,
            &size,
            &root.as_bytes().as_slice(),
            &runs,
            &seqs,
            &hashes,
            &new_root.as_bytes().as_slice(),
            &edge,
            &note,
            &below,
            &in_flight,
        ];
        crash::point("seal.before_commit");
        let last = async { session.query_one(&extend, &params).await.map(|_| ()) };
        match end(session, last).await {
            Commit::Done(()) => Ok(()),
            Commit::Aborted(error) => Err(error.into()),
            Commit::InDoubt(error) => Err(Error::Unknown(error)),
        }
    }

    /// Finds out what a sealer before this one sealed, anchors and publishes it.
    async fn recover(&mut self, session: &Session, head: &Head) -> Result<Known, Error> {
        let inner = std::sync::Arc::clone(&self.engine.inner);
        self.check_anchor(session, head).await?;
        let found = published_size(&self.folder).filter(|size| *size <= head.size);
        let root = match found {
            Some(size) if size == head.size => Some(head.root),
            Some(size) => Some(inner.root_of_leaves(session, head.generation, size).await?),
            None => None,
        };
        let root_at = |size| root.filter(|_| Some(size) == found);
        let mut publisher = Publisher::open(&self.folder, &self.origin(), root_at);
        if let Some(note) = self.newest(session, head).await? {
            self.anchor.write(&note)?;
            self.publish_until(session, head, &mut publisher).await?;
            publisher.publish(&note)?;
        }
        let file = inner.trust.clone().unwrap_or_default();
        let mut keyring = Keyring::with_trust(head.generation, file);
        let keys_run = inner.installation.keys_run;
        let heads = inner
            .sealed_heads(session, head.generation, &[keys_run])
            .await?;
        let keys_sealed = heads.get(&keys_run).map_or(0, |(seq, _)| *seq);
        let keys = self.keys_after(session, 0).await?;
        let opening = opening_of(&keys);
        for key in keys.iter().filter(|key| key.seq <= keys_sealed) {
            push_key(&mut keyring, key)?;
        }
        Ok(Known {
            publisher,
            keyring,
            keys_sealed,
            opening,
        })
    }

    /// The newest signed head; it must be that of the log.
    async fn newest(&self, session: &Session, head: &Head) -> Result<Option<Vec<u8>>, Error> {
        if head.size == 0 {
            return Ok(None);
        }
        let inner = &self.engine.inner;
        let read = inner.prepare(session, sql::NEWEST_CHECKPOINT).await?;
        let row = session
            .query_opt(&read, &[&head.generation])
            .await
            .map_err(DbError::from)?;
        let note: Option<Vec<u8>> = row.map(|row| row.get(2));
        let signed = note.as_deref().map(Checkpoint::peek);
        match (note, signed) {
            (Some(note), Some(Ok(signed)))
                if (signed.size, signed.root) == (head.size, head.root) =>
            {
                Ok(Some(note))
            }
            _ => {
                let text = format!("the newest signed head is not that of {} leaves", head.size);
                Err(SealError::Fork(text).into())
            }
        }
    }

    async fn publish_until(
        &mut self,
        session: &Session,
        head: &Head,
        publisher: &mut Publisher,
    ) -> Result<(), Error> {
        let inner = std::sync::Arc::clone(&self.engine.inner);
        let read = inner.prepare(session, sql::ENTRIES_FROM).await?;
        let until = i64::try_from(head.size).unwrap_or(i64::MAX);
        while publisher.size() < head.size {
            let from = i64::try_from(publisher.size()).unwrap_or(i64::MAX);
            let rows = session
                .query(&read, &[&head.generation, &from, &until, &ENTRIES_A_PAGE])
                .await
                .map_err(DbError::from)?;
            if rows.is_empty() {
                return Err(SealError::Fork(format!("leaf {from} is missing")).into());
            }
            for row in &rows {
                let (run, seq): (Uuid, i64) = (row.get(1), row.get(2));
                let (hash, bytes): (Hash, Option<Vec<u8>>) = (hash_at(row, 3)?, row.get(4));
                let bytes = match bytes {
                    Some(bytes) => bytes,
                    None if row.get(5) => {
                        let origin = &inner.installation.origin;
                        let (generation, position) = (head.generation, publisher.size());
                        let bytes = (self.archives).record_of(origin, generation, position, hash);
                        bytes?.ok_or(Error::Archived(run))?
                    }
                    None => return Err(SealError::Gap { run, seq }.into()),
                };
                publisher.push(hash, &bytes)?;
            }
        }
        Ok(())
    }
}

/// The log with a batch behind it, and the keys as they are then.
fn extended(
    inner: &Inner,
    head: &Head,
    known: &Known,
    batch: Batch,
    seen: Seen,
    more: bool,
) -> Result<Extension, Error> {
    let mut frontier = Frontier::from_bytes(head.size, &head.edge).map_err(SealError::from)?;
    if frontier.root() != head.root {
        let text = "the head's root is not that of its edge".to_owned();
        return Err(SealError::Fork(text).into());
    }
    let mut keyring = known.keyring.clone();
    let mut keys_sealed = known.keys_sealed;
    for leaf in &batch.leaves {
        frontier.push(leaf.hash).map_err(SealError::from)?;
        if leaf.run == inner.installation.keys_run {
            push_key(&mut keyring, leaf)?;
            keys_sealed = leaf.seq;
        }
    }
    if let Some(file) = &inner.trust {
        keyring.check_roots(file).map_err(SealError::from)?;
    }
    Ok(Extension {
        batch,
        frontier,
        seen,
        more,
        keyring,
        keys_sealed,
    })
}

fn published_size(folder: &std::path::Path) -> Option<u64> {
    let bytes = std::fs::read(folder.join("checkpoint")).ok()?;
    Some(Checkpoint::peek(&bytes).ok()?.size)
}

fn push_key(keyring: &mut Keyring, key: &Candidate) -> Result<(), SealError> {
    let record = Record::decode(&key.bytes).map_err(|error| SealError::Chain {
        run: key.run,
        seq: key.seq,
        why: error.to_string(),
    })?;
    Ok(keyring.push_unplaced(&record, key.hash)?)
}
