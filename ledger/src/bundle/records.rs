//! Judges the records of a bundle one by one, with the code that judges them everywhere.
//!
//! **Invariant:** there is no second opinion here on bytes, chains, moves, keys or decisions; what
//! is added is only what a bundle is about: one installation, its generations, perhaps one run.

use crate::hash::Hash;
use crate::record::Record;
use crate::runs::Runs;
use crate::trust::Trust;

use super::blobs::Blobs;
use super::fault::{Stop, fault};
use super::folder::Folder;
use super::logs::Logs;
use super::manifest::{BundleKind, Manifest};

/// What is known of a bundle's records, up to the last that was taken.
pub(super) struct Records {
    pub(super) logs: Logs,
    pub(super) runs: Runs,
    pub(super) blobs: Blobs,
    /// How many records hold.
    pub(super) count: u64,
    /// How many runs they are of.
    pub(super) run_count: u64,
}

impl Records {
    /// `older` are the heads of older generations that the reader remembers.
    pub(super) fn new(
        manifest: &Manifest,
        trust: &Trust,
        older: impl Iterator<Item = (i64, u64)>,
    ) -> Records {
        let whole = manifest.kind == BundleKind::Ledger;
        Records {
            logs: Logs::new(manifest.generation, trust, whole, older),
            runs: Runs::new(),
            blobs: Blobs::default(),
            count: 0,
            run_count: 0,
        }
    }

    /// Takes the record at a position; `path` is the file that it stands in.
    pub(super) fn push(
        &mut self,
        folder: &Folder,
        manifest: &Manifest,
        entry: &Entry<'_>,
    ) -> Result<(), Stop> {
        let place = |stop: Stop| stop.at(entry.position).file(entry.path);
        let record = Record::decode(entry.bytes).map_err(|error| place(error.into()))?;
        let mut run = self.runs.take(&record);
        let seq = run.next_seq();
        let judged = self.judge(folder, manifest, entry, &record, &mut run);
        judged.map_err(|stop| place(stop).record(record.run, seq))?;
        self.run_count += u64::from(seq == 1);
        self.count += 1;
        self.runs.put(record.run, run);
        Ok(())
    }

    fn judge(
        &mut self,
        folder: &Folder,
        manifest: &Manifest,
        entry: &Entry<'_>,
        record: &Record,
        run: &mut crate::runs::Run,
    ) -> Result<(), Stop> {
        let (hash, position) = (entry.hash, entry.position);
        if record.origin != manifest.origin {
            let words = format!(
                "the record belongs to another environment: {}",
                record.origin
            );
            return Err(fault("RD0651", words));
        }
        let at = self.logs.place(record, position)?;
        run.follow(record, hash)?;
        if let BundleKind::Run(about) = manifest.kind
            && !run.is_system()
            && record.run != about
        {
            let words = "the record is of a run that the bundle is not about";
            return Err(fault("RD0719", words));
        }
        self.logs.judge(run, record, hash, at)?;
        self.blobs.push(folder, record, position)?;
        self.logs.grow(hash, at)
    }
}

/// One record of a bundle, as bytes.
pub(super) struct Entry<'e> {
    pub(super) position: u64,
    pub(super) bytes: &'e [u8],
    pub(super) hash: Hash,
    /// The file that it stands in.
    pub(super) path: &'e str,
}
