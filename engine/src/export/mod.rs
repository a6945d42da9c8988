//! Writes a bundle: a folder from which a stranger verifies the ledger, or one run of it, without us.
//!
//! **Invariant:** the folder appears as a whole or not at all; it is one moment of the database, up to a signed head.
//! What is written is compared with that head before anybody gets it.
//!
//! **Not here:** the format (`FORMAT.md`, in every bundle) and the verifier (`redress_ledger::bundle`).

mod files;
mod read;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use redress_ledger::bundle::{
    BundleKind, CHECKPOINT_NAME, FORMAT, FORMAT_NAME, MANIFEST_NAME, Manifest,
};
use redress_ledger::{Checkpoint, Frontier, Hash, Record, SigningKey, TlogProof};
use redress_sql as sql;
use uuid::Uuid;

use crate::archive::Archives;
use crate::engine::Engine;
use crate::error::Error;
use crate::seal::SealError;
use crate::view::Reading;
use files::Files;
use read::{Entry, proof_of};

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
        let fits =
            |entry: &&Entry| phase.is_none_or(|phase| phase_of(entry).as_deref() == Some(phase));
        let entry = entries.iter().rev().find(fits);
        let entry = entry.ok_or_else(|| unknown(run, phase, &entries))?;
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

    /// How long records have waited for the signed log: what somebody could still change without being found.
    ///
    /// # Errors
    /// [`Error::Db`].
    pub async fn open_window(&self) -> Result<OpenWindow, Error> {
        let reading = Reading::begin(&self.inner).await?;
        let rows = reading.query(sql::OPEN_WINDOW, &[]).await?;
        reading.end().await;
        let row = rows.first().ok_or(SealError::NotOpened)?;
        let number = |column: usize| -> Result<u64, Error> {
            let number: Option<i64> = row.try_get(column)?;
            Ok(u64::try_from(number.unwrap_or_default()).unwrap_or_default())
        };
        Ok(OpenWindow {
            records: number(0)?,
            age: Duration::try_from_secs_f64(row.try_get(1)?).unwrap_or_default(),
            sealed: number(2)?,
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

fn phase_of(entry: &Entry) -> Option<String> {
    let record = Record::decode(&entry.bytes).ok()?;
    record.body.get("phase")?.as_str().map(str::to_owned)
}

/// Nothing is there to be proven: of the whole run, or of a phase that it does not have.
fn unknown(run: Uuid, phase: Option<&str>, entries: &[Entry]) -> Error {
    let Some(phase) = phase.filter(|_| !entries.is_empty()) else {
        return Error::UnknownRun(format!("{run} with a sealed record"));
    };
    let mut known: Vec<String> = Vec::new();
    for phase in entries.iter().filter_map(phase_of) {
        if !known.contains(&phase) {
            known.push(phase);
        }
    }
    let known = match known.is_empty() {
        true => "none yet".to_owned(),
        false => known.join(", "),
    };
    Error::UnknownPhase {
        run,
        phase: phase.to_owned(),
        known,
    }
}

/// What the signed log does not hold yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenWindow {
    /// How many committed records have no position.
    pub records: u64,
    /// Since when the oldest of them has waited.
    pub age: Duration,
    /// How many records the signed head has.
    pub sealed: u64,
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
