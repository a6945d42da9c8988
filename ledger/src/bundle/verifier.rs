//! Goes through one bundle in the order of FORMAT.md, section 16, up to the first fault.

use crate::checkpoint::{CHECKPOINT_BYTES_MAX, Checkpoint, split_log_origin};
use crate::key::KeyId;
use crate::trust::Trust;

use super::fault::{Stop, fault};
use super::folder::Folder;
use super::heads::{Head as Signed, Remembered};
use super::list::{CHECKPOINT_NAME, check_list, checkpoint_name, is_hashed_only};
use super::logs::Head;
use super::manifest::{self, BundleKind, MANIFEST_BYTES_MAX, MANIFEST_NAME, Manifest};
use super::records::{Entry, Records};
use super::report::{Report, Warning};
use super::{FolderError, ledger, single};

/// What is known while a bundle is read.
pub(super) struct Verifier<'a> {
    pub(super) folder: Folder,
    pub(super) trust: &'a Trust,
    /// The heads of this log that the reader remembers, by size.
    pub(super) remembered: Vec<&'a Checkpoint>,
    /// Those of other logs, in the order in which they were given.
    remembered_elsewhere: Vec<&'a Checkpoint>,
    pub(super) manifest: Manifest,
    manifest_signers: Vec<KeyId>,
    /// The bytes of the newest head.
    pub(super) newest: Vec<u8>,
    pub(super) records: Records,
    pub(super) report: Report,
    /// Up to here the entries lead to a published head.
    pub(super) confirmed: u64,
}

/// Verifies the bundle in a folder.
pub(super) fn verify(
    folder: Folder,
    trust: &Trust,
    remembered: &[Remembered],
) -> Result<Report, FolderError> {
    let mut report = Report::new();
    let found = folder.walk()?;
    if found.is_empty() {
        report.warn(Warning::Nothing);
        return Ok(report.finish(None));
    }
    let head = match read_manifest(&folder, trust) {
        Ok(head) => head,
        Err(stop) => return ended(report, Err(stop.file(MANIFEST_NAME))),
    };
    let manifest::Head {
        manifest, signers, ..
    } = &head;
    let log = manifest.log();
    let all = remembered.iter().map(Remembered::checkpoint);
    let (mut remembered, remembered_elsewhere): (Vec<_>, Vec<_>) =
        all.partition(|one| one.origin == log);
    remembered.sort_by_key(|one| one.size);
    let older = remembered_elsewhere.iter().filter_map(|one| {
        let (_, generation) = split_log_origin(&one.origin)?;
        Some((generation, one.size))
    });
    let records = Records::new(manifest, trust, older);
    report.origin = Some(manifest.origin.clone());
    report.generation = Some(manifest.generation);
    report.size = Some(manifest.size);
    report.root = Some(manifest.root);
    let mut verifier = Verifier {
        folder,
        trust,
        remembered,
        remembered_elsewhere,
        manifest: manifest.clone(),
        manifest_signers: signers.clone(),
        newest: Vec::new(),
        records,
        report,
        confirmed: 0,
    };
    let result = verifier.list(head).and_then(|()| {
        verifier.folder.check_walk(&found)?;
        drop(found);
        verifier.all()
    });
    verifier.report.records = verifier.records.count;
    verifier.report.runs = verifier.records.run_count;
    ended(verifier.report, result)
}

fn ended(report: Report, result: Result<(), Stop>) -> Result<Report, FolderError> {
    match result {
        Ok(()) => Ok(report.finish(None)),
        Err(Stop::Fault(fault)) => Ok(report.finish(Some((*fault).into()))),
        Err(Stop::Folder(error)) => Err(error),
    }
}

fn read_manifest(folder: &Folder, trust: &Trust) -> Result<manifest::Head, Stop> {
    let mut bytes = Vec::new();
    folder.read_into(MANIFEST_NAME, MANIFEST_BYTES_MAX, &mut bytes)?;
    manifest::Head::read(&bytes, trust)
}

impl Verifier<'_> {
    fn list(&mut self, mut head: manifest::Head) -> Result<(), Stop> {
        let listed = head.take_files();
        let listed = listed.map_err(|stop| stop.file(MANIFEST_NAME))?;
        self.folder.set_listed(listed);
        check_list(&self.folder, &self.manifest).map_err(|stop| stop.file(MANIFEST_NAME))
    }

    fn all(&mut self) -> Result<(), Stop> {
        self.checkpoint()
            .map_err(|stop| stop.file(CHECKPOINT_NAME))?;
        let hashed = self.folder.listed().iter();
        for one in hashed.filter(|one| is_hashed_only(&one.path)) {
            self.folder.check_hash(one)?;
        }
        match self.manifest.kind {
            BundleKind::Ledger => ledger::verify(self)?,
            BundleKind::Run(run) => single::verify(self, run)?,
        }
        self.end()
    }

    fn checkpoint(&mut self) -> Result<(), Stop> {
        let bytes = self
            .folder
            .read_same(CHECKPOINT_NAME, CHECKPOINT_BYTES_MAX)?;
        let head = Signed::read(&bytes, self.trust, &self.manifest.log())?;
        let Checkpoint { size, root, .. } = &head.checkpoint;
        if (*size, root) != (self.manifest.size, &self.manifest.root) {
            let words = "the checkpoint is not the one that the manifest names";
            return Err(fault("RD0717", words));
        }
        if !self.trust.is_witnessed(&head.note)? {
            self.report.warn(Warning::WitnessQuorumNotMet);
        }
        self.newest = bytes;
        Ok(())
    }

    /// One of the published heads, judged by itself.
    pub(super) fn published(&self, path: &str, bytes_max: usize) -> Result<Signed, Stop> {
        let place = |stop: Stop| stop.at(self.confirmed).file(path);
        let bytes = self.folder.read_same(path, bytes_max).map_err(place)?;
        let head = Signed::read(&bytes, self.trust, &self.manifest.log());
        let head = head.map_err(|error| place(error.into()))?;
        let size = head.checkpoint.size;
        let newest = size == self.manifest.size;
        if checkpoint_name(size) != path || (newest && bytes != self.newest) {
            let words = "the checkpoint is another one than its name says";
            return Err(place(fault("RD0717", words)));
        }
        Ok(head)
    }

    /// Takes the next record.
    pub(super) fn record(&mut self, entry: &Entry<'_>) -> Result<(), Stop> {
        self.records.push(&self.folder, &self.manifest, entry)
    }

    /// Checks that the log's key that the records have in force is among these.
    pub(super) fn check_in_force(&self, signers: &[KeyId]) -> Result<(), Stop> {
        let Some(key) = self.records.logs.ring().log_key() else {
            return Ok(());
        };
        if self.trust.logs().is_empty() || signers.contains(key.id()) {
            return Ok(());
        }
        let words = format!("the log key in force did not sign this: {}", key.id());
        Err(fault("RD0647", words))
    }

    fn end(&mut self) -> Result<(), Stop> {
        self.records.blobs.finish(&self.folder)?;
        let something = self.manifest.size > 0;
        if something {
            self.check_manifest_key()?;
            let size = self.manifest.size;
            self.records.logs.check_continues(size)?;
            if self.trust.sovereigns().next().is_some() {
                self.records.logs.check_roots(size, self.trust)?;
            }
        }
        let report = &mut self.report;
        report.doubtful = self.records.logs.doubtful();
        report.complete = match self.manifest.kind {
            BundleKind::Ledger => something && self.records.runs.open() == 0,
            BundleKind::Run(run) => self.records.runs.is_open(run) == Some(false),
        };
        report.open_at = (!report.complete).then_some(self.manifest.size);
        self.warn();
        let compared = self.remembered_elsewhere();
        if self.report.consistent_with.is_empty() {
            self.report.warn(Warning::NoRememberedCheckpoint);
        }
        compared
    }

    fn check_manifest_key(&self) -> Result<(), Stop> {
        if self.records.logs.ring().log_key().is_none() && !self.trust.logs().is_empty() {
            return Err(fault("RD0647", "the ledger has no log key").file(MANIFEST_NAME));
        }
        self.check_in_force(&self.manifest_signers)
            .map_err(|stop| stop.file(MANIFEST_NAME))
    }

    fn warn(&mut self) {
        let sovereigns = self.trust.sovereigns().next().is_some();
        let (logs, size) = (&self.records.logs, self.manifest.size);
        let said = [
            (self.manifest.size == 0, Warning::Nothing),
            (self.trust.logs().is_empty(), Warning::NoTrustedLogKey),
            (!sovereigns, Warning::NoTrustedRoot),
            (
                sovereigns && self.trust.root().is_none(),
                Warning::RootThresholdNotStated,
            ),
            (size > 0 && !logs.is_whole(size), Warning::CarriedRecords),
            (logs.is_cut_off(), Warning::OlderLogCutOff),
            (!self.report.complete, Warning::OpenRuns),
            (!self.report.doubtful.is_empty(), Warning::DoubtfulDecisions),
        ];
        for (_, warning) in said.into_iter().filter(|(said, _)| *said) {
            self.report.warn(warning);
        }
    }

    /// A head of an older generation is good if the carried records give it, or the one after it pinned it.
    fn remembered_elsewhere(&mut self) -> Result<(), Stop> {
        for remembered in &self.remembered_elsewhere {
            let generation = split_log_origin(&remembered.origin)
                .filter(|(origin, number)| {
                    *origin == self.manifest.origin && *number <= self.manifest.generation
                })
                .map(|(_, number)| number);
            let Some(generation) = generation else {
                let words = format!(
                    "the remembered checkpoint is of another log: {}",
                    remembered.origin
                );
                return Err(fault("RD0646", words));
            };
            match self.records.logs.head(generation, remembered.size) {
                Head::Unknown => self.report.warn(Warning::RememberedNotComparable),
                Head::Root(root) if root != remembered.root => {
                    let words = "a fork: the older log has another root at this size";
                    return Err(fault("RD0656", words).at(0));
                }
                Head::Root(_) => self.report.consistent_with.push(remembered.size),
            }
        }
        Ok(())
    }
}
