//! Reads what a bundle holds: from the database, and from archives what has left it.
//!
//! **Invariant:** what is read is compared with the leaves, and the leaves with the head that was signed.

use std::collections::{BTreeMap, BTreeSet};

use base64ct::{Base64, Encoding};
use redress_ledger::blob::BlobRef;
use redress_ledger::bundle::{blob_name, checkpoint_name, entry_name, proof_name};
use redress_ledger::note::Note;
use redress_ledger::tree::{Bundler, Node, Tiler, inclusion_nodes, inclusion_proof};
use redress_ledger::{Checkpoint, Frontier, Hash, Record, TlogProof, to_canonical};
use redress_sql as sql;
use serde_json::json;
use tokio_postgres::Row;
use uuid::Uuid;

use super::files::Files;
use crate::archive::Archives;
use crate::error::Error;
use crate::seal::SealError;
use crate::tx::hash_at;
use crate::view::Reading;

/// Records that are read at once.
const ENTRIES_A_PAGE: i64 = 1_000;
/// Signed heads that are read at once.
const HEADS_A_PAGE: i64 = 1_000;
/// Leaves that are read at once.
const LEAVES_A_PAGE: i64 = 10_000;

/// A signed head with its exact bytes.
pub(super) struct SignedHead {
    pub checkpoint: Checkpoint,
    pub note: Vec<u8>,
}

/// A sealed record.
pub(super) struct Entry {
    pub position: u64,
    pub run: Uuid,
    pub seq: i64,
    pub hash: Hash,
    pub bytes: Vec<u8>,
}

fn number(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

fn other_root(head: &SignedHead) -> Error {
    let size = head.checkpoint.size;
    SealError::Fork(format!("the {size} leaves are not those that were signed")).into()
}

pub(super) fn proof_of(
    head: &SignedHead,
    nodes: &BTreeMap<Node, Hash>,
    position: u64,
) -> Result<TlogProof, Error> {
    let size = head.checkpoint.size;
    let hashes = inclusion_proof(nodes, position, size).map_err(SealError::from)?;
    Ok(TlogProof {
        extra: None,
        index: position,
        hashes,
        checkpoint: Note::parse(&head.note).map_err(|error| SealError::Checkpoint(error.into()))?,
    })
}

impl Reading<'_> {
    /// The newest signed head, or the one of a size.
    pub(super) async fn signed_head(&self, size: Option<i64>) -> Result<SignedHead, Error> {
        let generation = self.inner.installation.generation;
        let rows = match size {
            None => self.query(sql::NEWEST_CHECKPOINT, &[&generation]).await?,
            Some(size) => {
                self.query(sql::CHECKPOINT_AT, &[&generation, &size])
                    .await?
            }
        };
        let row = rows.first().ok_or(SealError::Nothing)?;
        let note: Vec<u8> = row.try_get(2)?;
        let checkpoint = Checkpoint::peek(&note).map_err(SealError::from)?;
        Ok(SignedHead { checkpoint, note })
    }

    pub(super) async fn write_ledger(
        &self,
        head: &SignedHead,
        files: &mut Files,
        archives: &mut Archives,
    ) -> Result<u64, Error> {
        let generation = self.inner.installation.generation;
        let size = head.checkpoint.size;
        let (mut tiler, mut bundler) = (Tiler::new(), Bundler::new());
        let mut blobs = BTreeSet::new();
        while tiler.size() < size {
            let from = number(tiler.size());
            let params: [&(dyn tokio_postgres::types::ToSql + Sync); 4] =
                [&generation, &from, &number(size), &ENTRIES_A_PAGE];
            let rows = self.query(sql::ENTRIES_FROM, &params).await?;
            if rows.is_empty() {
                return Err(other_root(head));
            }
            for row in &rows {
                let entry = self.entry(row, archives)?;
                if entry.position != tiler.size() {
                    return Err(other_root(head));
                }
                let filled = bundler.push(&entry.bytes).map_err(|e| files.failed(e))?;
                for tile in filled
                    .iter()
                    .chain(&tiler.push(entry.hash).map_err(SealError::from)?)
                {
                    files.write_tile(tile)?;
                }
                self.write_blobs(&entry.bytes, &mut blobs, files, archives)
                    .await?;
            }
        }
        for tile in bundler.cut().iter().chain(&tiler.cut()) {
            files.write_tile(tile)?;
        }
        if tiler.root() != head.checkpoint.root {
            return Err(other_root(head));
        }
        self.write_heads(size, files).await?;
        Ok(size)
    }

    /// A sealed record, from an archive when it has left.
    fn entry(&self, row: &Row, archives: &mut Archives) -> Result<Entry, Error> {
        let (run, seq): (Uuid, i64) = (row.try_get(1)?, row.try_get(2)?);
        let position: i64 = row.try_get(0)?;
        let position = u64::try_from(position).unwrap_or_default();
        let (hash, bytes): (Hash, Option<Vec<u8>>) = (hash_at(row, 3)?, row.try_get(4)?);
        let bytes = match bytes {
            Some(bytes) => bytes,
            None if row.try_get(5)? => {
                let installation = &self.inner.installation;
                let (origin, generation) = (&installation.origin, installation.generation);
                let bytes = archives.record_of(origin, generation, position, hash)?;
                bytes.ok_or(Error::Archived(run))?
            }
            None => return Err(SealError::Gap { run, seq }.into()),
        };
        Ok(Entry {
            position,
            run,
            seq,
            hash,
            bytes,
        })
    }

    async fn write_heads(&self, size: u64, files: &mut Files) -> Result<(), Error> {
        let generation = self.inner.installation.generation;
        let mut after = -1_i64;
        loop {
            let rows = self
                .query(
                    sql::CHECKPOINTS_AFTER,
                    &[&generation, &after, &HEADS_A_PAGE],
                )
                .await?;
            let Some(last) = rows.last() else {
                return Ok(());
            };
            after = last.try_get(0)?;
            for row in &rows {
                let at = u64::try_from(row.try_get::<_, i64>(0)?).unwrap_or_default();
                if at <= size {
                    files.write(&checkpoint_name(at), row.try_get(1)?)?;
                }
            }
        }
    }

    pub(super) async fn write_run(
        &self,
        head: &SignedHead,
        run: Uuid,
        files: &mut Files,
        archives: &mut Archives,
    ) -> Result<u64, Error> {
        let installation = &self.inner.installation;
        let runs: Vec<Uuid> = [run]
            .into_iter()
            .chain(installation.system_runs())
            .collect();
        let entries = self.entries_of(head, &runs, archives).await?;
        if !entries.iter().any(|entry| entry.run == run) {
            return Err(Error::UnknownRun(format!("{run} with a sealed record")));
        }
        let positions: Vec<u64> = entries.iter().map(|entry| entry.position).collect();
        let nodes = self.nodes(head, &positions).await?;
        let mut blobs = BTreeSet::new();
        for entry in &entries {
            files.write(&entry_name(entry.position), &entry.bytes)?;
            let proof = proof_of(head, &nodes, entry.position)?;
            let proof = proof.to_bytes().map_err(|error| files.failed(error))?;
            files.write(&proof_name(entry.position), &proof)?;
            self.write_blobs(&entry.bytes, &mut blobs, files, archives)
                .await?;
        }
        files.write(&checkpoint_name(head.checkpoint.size), &head.note)?;
        Ok(entries.len() as u64)
    }

    pub(super) async fn entries_of(
        &self,
        head: &SignedHead,
        runs: &[Uuid],
        archives: &mut Archives,
    ) -> Result<Vec<Entry>, Error> {
        let generation = self.inner.installation.generation;
        let until = number(head.checkpoint.size);
        let rows = self
            .query(sql::ENTRIES_OF_RUNS, &[&generation, &runs, &until])
            .await?;
        rows.iter().map(|row| self.entry(row, archives)).collect()
    }

    /// The hashes that the proofs of these positions need; the whole tree is walked and must be the signed one.
    pub(super) async fn nodes(
        &self,
        head: &SignedHead,
        positions: &[u64],
    ) -> Result<BTreeMap<Node, Hash>, Error> {
        let size = head.checkpoint.size;
        let mut wanted = BTreeSet::new();
        for position in positions {
            wanted.extend(inclusion_nodes(*position, size).map_err(SealError::from)?);
        }
        let mut found = BTreeMap::new();
        let frontier = self
            .walk_leaves(size, |_, node, hash| {
                if wanted.contains(&node) {
                    found.insert(node, hash);
                }
            })
            .await?;
        if frontier.root() != head.checkpoint.root {
            return Err(other_root(head));
        }
        Ok(found)
    }

    /// Walks the first leaves; `filled` hears of each node that becomes full, with the tree before the next leaf.
    pub(super) async fn walk_leaves(
        &self,
        size: u64,
        mut filled: impl FnMut(&Frontier, Node, Hash),
    ) -> Result<Frontier, Error> {
        let generation = self.inner.installation.generation;
        let mut frontier = Frontier::new();
        while frontier.size() < size {
            let from = number(frontier.size());
            let limit = LEAVES_A_PAGE.min(number(size - frontier.size()));
            let rows = self
                .query(sql::LEAVES_FROM, &[&generation, &from, &limit])
                .await?;
            if rows.is_empty() {
                let text = format!("leaf {from} is missing and the head says {size}");
                return Err(SealError::Fork(text).into());
            }
            for row in &rows {
                let mut nodes = Vec::new();
                frontier
                    .push_with(hash_at(row, 1)?, |node, hash| nodes.push((node, hash)))
                    .map_err(SealError::from)?;
                for (node, hash) in nodes {
                    filled(&frontier, node, hash);
                }
            }
        }
        Ok(frontier)
    }

    /// Writes the blobs that a record names, those that were erased left out.
    async fn write_blobs(
        &self,
        bytes: &[u8],
        written: &mut BTreeSet<Uuid>,
        files: &mut Files,
        archives: &Archives,
    ) -> Result<(), Error> {
        // Most records name none and are not even read.
        if !bytes.windows(7).any(|part| part == b"\"$blob\"") {
            return Ok(());
        }
        let Ok(record) = Record::decode(bytes) else {
            return Ok(());
        };
        for value in record
            .body
            .as_object()
            .into_iter()
            .flat_map(|body| body.values())
        {
            let Ok(Some(blob)) = BlobRef::from_value(value) else {
                continue;
            };
            if !written.insert(blob.id) {
                continue;
            }
            let rows = self.query(sql::BLOB_BY_ID, &[&blob.id]).await?;
            let Some(row) = rows.first() else {
                if let Some(file) = self.archived_blob(&blob, archives).await? {
                    files.write(&blob_name(blob.id), &file)?;
                }
                continue;
            };
            let (salt, content): (&[u8], &[u8]) = (row.try_get(1)?, row.try_get(2)?);
            let file = json!({"content": Base64::encode_string(content), "salt": Base64::encode_string(salt)});
            let file = to_canonical(&file).map_err(|error| files.failed(error))?;
            files.write(&blob_name(blob.id), &file)?;
        }
        Ok(())
    }

    /// The file of a blob that only an archive has; none when it was erased.
    async fn archived_blob(
        &self,
        blob: &BlobRef,
        archives: &Archives,
    ) -> Result<Option<Vec<u8>>, Error> {
        let rows = self.query(sql::IS_ARCHIVED_BLOB, &[&blob.id]).await?;
        if !rows.first().is_some_and(|row| row.get(0)) {
            return Ok(None);
        }
        let file = archives.blob(blob)?;
        let missing = || Error::Archive {
            why: format!("blob {} is in none of the archives", blob.id),
            path: "--archive".to_owned(),
        };
        Ok(Some(file.ok_or_else(missing)?))
    }
}
