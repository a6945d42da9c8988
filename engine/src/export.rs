//! Writes a bundle: a folder from which a stranger verifies the ledger, or one run of it, without us.
//!
//! **Invariant:** the folder appears as a whole or not at all; it is one moment of the database, up to a signed head.
//! What is written is compared with that head before anybody gets it.
//!
//! **Not here:** the format (`FORMAT.md`, in every bundle) and the verifier (`redress_ledger::bundle`).

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use base64ct::{Base64, Encoding};
use redress_ledger::blob::BlobRef;
use redress_ledger::bundle::{
    BundleKind, CHECKPOINT_NAME, FORMAT, FORMAT_NAME, ListedFile, MANIFEST_NAME, Manifest,
    blob_name, checkpoint_name, entry_name, proof_name,
};
use redress_ledger::note::Note;
use redress_ledger::tree::{Bundler, Node, TileBytes, Tiler, inclusion_nodes, inclusion_proof};
use redress_ledger::{
    Checkpoint, Frontier, Hash, Record, SigningKey, TlogProof, log_origin, to_canonical,
};
use redress_sql as sql;
use serde_json::json;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::archive::Archives;
use crate::engine::Engine;
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

/// What was exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// Where it is.
    pub folder: PathBuf,
    /// The signed head that it is up to.
    pub head: Checkpoint,
    /// How many records it holds.
    pub records: u64,
    /// How many files it has, the manifest not counted.
    pub files: usize,
}

/// A proof that one record is in the log, ready to be given away.
#[derive(Clone, Debug)]
pub struct Receipt {
    /// The run.
    pub run: Uuid,
    /// The record's number.
    pub seq: i64,
    /// The record's hash.
    pub hash: Hash,
    /// The record itself.
    pub record: Vec<u8>,
    /// A C2SP tlog-proof.
    pub proof: TlogProof,
}

impl Engine {
    /// Writes the whole sealed ledger, or one run of it with all that its decisions rest on, into a new folder.
    ///
    /// # Errors
    /// [`Error::Seal`] when nothing is sealed or the leaves are not those that were signed; [`Error::UnknownRun`] when
    /// the run has no sealed record; [`Error::Export`] when the folder stands already or cannot be written;
    /// [`Error::Archived`] when a record is in none of the `archives`, [`Error::Archive`] when one is not as it was.
    pub async fn export(
        &self,
        folder: &Path,
        run: Option<Uuid>,
        log_key: &SigningKey,
        archives: &mut Archives,
    ) -> Result<Exported, Error> {
        let mut files = Files::begin(folder)?;
        let reading = Reading::begin(&self.inner).await?;
        let head = reading.signed_head(None).await?;
        let records = match run {
            None => reading.write_ledger(&head, &mut files, archives).await?,
            Some(run) => reading.write_run(&head, run, &mut files, archives).await?,
        };
        files.write(CHECKPOINT_NAME, &head.note)?;
        files.write(FORMAT_NAME, FORMAT.as_bytes())?;
        let installation = &self.inner.installation;
        let manifest = Manifest {
            origin: installation.origin.clone(),
            generation: installation.generation,
            kind: run.map_or(BundleKind::Ledger, BundleKind::Run),
            size: head.checkpoint.size,
            root: head.checkpoint.root,
            made_at: self.inner.now(&reading).await?,
            files: std::mem::take(&mut files.listed),
        };
        reading.end().await;
        let count = manifest.files.len();
        let note = manifest.sign(log_key).map_err(SealError::from)?;
        files.write(MANIFEST_NAME, note.to_string().as_bytes())?;
        files.finish()?;
        Ok(Exported {
            folder: folder.to_owned(),
            head: head.checkpoint,
            records,
            files: count,
        })
    }

    /// The proof that a record of a run is in the log: its last one, or the last one of a phase.
    ///
    /// # Errors
    /// [`Error::UnknownRun`] when there is no such sealed record; [`Error::Seal`] when nothing is sealed;
    /// [`Error::Archived`] when the record is in none of the `archives`.
    pub async fn receipt(
        &self,
        run: Uuid,
        phase: Option<&str>,
        archives: &mut Archives,
    ) -> Result<Receipt, Error> {
        let reading = Reading::begin(&self.inner).await?;
        let head = reading.signed_head(None).await?;
        let entries = reading.entries_of(&head, &[run], archives).await?;
        let fits = |entry: &&Entry| {
            phase.is_none_or(|phase| {
                Record::decode(&entry.bytes).is_ok_and(|record| {
                    record.body.get("phase").and_then(|p| p.as_str()) == Some(phase)
                })
            })
        };
        let entry = entries.iter().rev().find(fits).ok_or_else(|| {
            let of = phase
                .map(|phase| format!(", phase {phase}"))
                .unwrap_or_default();
            Error::UnknownRun(format!("{run} with a sealed record{of}"))
        })?;
        let nodes = reading.nodes(&head, &[entry.position]).await?;
        let proof = proof_of(&head, &nodes, entry.position)?;
        reading.end().await;
        Ok(Receipt {
            run,
            seq: entry.seq,
            hash: entry.hash,
            record: entry.bytes.clone(),
            proof,
        })
    }

    /// How many records are sealed.
    pub(crate) async fn sealed_size(&self) -> Result<u64, Error> {
        let reading = Reading::begin(&self.inner).await?;
        let head = reading.signed_head(None).await?;
        reading.end().await;
        Ok(head.checkpoint.size)
    }

    /// The proof that the log of a later size begins with that of an earlier one (RFC 6962), and the roots of both.
    ///
    /// # Errors
    /// [`Error::Seal`] when the sizes are not ones of this log.
    pub async fn consistency(&self, old: u64, new: u64) -> Result<Consistency, Error> {
        let reading = Reading::begin(&self.inner).await?;
        let newest = reading.signed_head(None).await?;
        if old > new || new > newest.checkpoint.size {
            let size = newest.checkpoint.size;
            return Err(SealError::Sizes { old, new, size }.into());
        }
        let wanted = redress_ledger::tree::consistency_nodes(old, new).map_err(SealError::from)?;
        let mut found = BTreeMap::new();
        let mut old_root = Frontier::new().root();
        let frontier = reading
            .walk_leaves(new, |frontier, node, hash| {
                if wanted.contains(&node) {
                    found.insert(node, hash);
                }
                if frontier.size() == old {
                    old_root = frontier.root();
                }
            })
            .await?;
        let hashes = redress_ledger::tree::consistency_proof(&found, old, new);
        reading.end().await;
        Ok(Consistency {
            old: (old, old_root),
            new: (new, frontier.root()),
            hashes: hashes.map_err(SealError::from)?,
        })
    }
}

/// That one tree continues another.
#[derive(Clone, Debug)]
pub struct Consistency {
    /// Size and root before.
    pub old: (u64, Hash),
    /// Size and root after.
    pub new: (u64, Hash),
    /// The proof.
    pub hashes: Vec<Hash>,
}

/// A signed head with its exact bytes.
struct SignedHead {
    checkpoint: Checkpoint,
    note: Vec<u8>,
}

/// A sealed record.
struct Entry {
    position: u64,
    run: Uuid,
    seq: i64,
    hash: Hash,
    bytes: Vec<u8>,
}

fn number(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

fn other_root(head: &SignedHead) -> Error {
    let size = head.checkpoint.size;
    SealError::Fork(format!("the {size} leaves are not those that were signed")).into()
}

fn proof_of(
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
    async fn signed_head(&self, size: Option<i64>) -> Result<SignedHead, Error> {
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

    async fn write_ledger(
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
                let origin = log_origin(&installation.origin, installation.generation);
                let bytes = archives.record(&origin, position, hash)?;
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

    async fn write_run(
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

    async fn entries_of(
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
    async fn nodes(
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
    async fn walk_leaves(
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

/// A folder in the making; removed when it is dropped unfinished.
struct Files {
    target: PathBuf,
    making: PathBuf,
    listed: Vec<ListedFile>,
    /// Folders that were made.
    made: HashSet<PathBuf>,
    done: bool,
}

impl Files {
    fn begin(target: &Path) -> Result<Files, Error> {
        let failed = |why: &dyn ToString| Error::Export {
            why: why.to_string(),
            path: target.display().to_string(),
        };
        if fs::symlink_metadata(target).is_ok() {
            return Err(failed(&"it stands already, and nothing is overwritten"));
        }
        let name = target
            .file_name()
            .ok_or_else(|| failed(&"it names no folder"))?;
        let parent = target
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        let making = parent.join(format!(
            ".{}.{}.tmp",
            name.to_string_lossy(),
            Uuid::now_v7()
        ));
        fs::create_dir_all(&making).map_err(|error| failed(&error))?;
        Ok(Files {
            target: target.to_owned(),
            making,
            listed: Vec::new(),
            made: HashSet::new(),
            done: false,
        })
    }

    fn failed(&self, why: impl ToString) -> Error {
        Error::Export {
            why: why.to_string(),
            path: self.target.display().to_string(),
        }
    }

    fn write_tile(&mut self, tile: &TileBytes) -> Result<(), Error> {
        self.write(&tile.tile.path(), &tile.bytes)
    }

    fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let path = self.making.join(name);
        let folder = path.parent().unwrap_or(&self.making).to_owned();
        let write = || -> io::Result<()> {
            if !self.made.contains(&folder) {
                fs::create_dir_all(&folder)?;
            }
            File::create_new(&path)?.write_all(bytes)
        };
        write().map_err(|error| self.failed(format!("{error}, {name}")))?;
        self.made.insert(folder);
        self.listed.push(ListedFile::of(name, bytes));
        Ok(())
    }

    /// Everything to the disk, then the name.
    fn finish(mut self) -> Result<(), Error> {
        let sync = || -> io::Result<()> {
            rustix::fs::syncfs(File::open(&self.making)?)?;
            fs::rename(&self.making, &self.target)?;
            let parent = self.target.parent().filter(|p| !p.as_os_str().is_empty());
            File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
        };
        sync().map_err(|error| self.failed(error))?;
        self.done = true;
        Ok(())
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        if !self.done {
            // What cannot be removed is a folder with a dot, and no bundle.
            let _ = fs::remove_dir_all(&self.making);
        }
    }
}
