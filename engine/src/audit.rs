//! Verifies the whole ledger in the database with the verifier that an auditor runs offline, and with local roots.
//!
//! **Invariant:** the verdict is the ledger crate's own; the first fault is the verdict. Added here is what only the
//! database can show: the columns beside the bytes, that runs and records belong together, and that what was sealed is
//! still there.
//!
//! **Not here:** that nothing was cut off together with its head: only a signed checkpoint that somebody remembers
//! shows that.

use std::collections::VecDeque;

use redress_ledger::bundle::Warning;
use redress_ledger::keyring::KeyringError;
use redress_ledger::verify::{Head, LogVerifier, Report, Verdict};
use redress_ledger::{Hash, Record};
use redress_sql as sql;
use uuid::Uuid;

use crate::check::{Fault, Findings, Records, Stored, sealed};
use crate::engine::Engine;
use crate::error::Error;
use crate::view::Reading;

/// Heads that are in memory at once.
const HEADS_A_PAGE: i64 = 1_000;

impl Engine {
    /// Verifies every record of the installation: bytes, chains, legality, decisions, heads and columns.
    ///
    /// # Errors
    /// [`Error::Db`] when the database cannot be read. What does not hold is the verdict, not an error.
    pub async fn audit_verify(&self) -> Result<Report, Error> {
        let reading = Reading::begin(&self.inner).await?;
        // What was decided by a key that counts no more was decided rightly; by position it is judged from a bundle.
        let (trusted, no_root) = match self.inner.trusted_if_any(&reading).await {
            // A file without a sovereign names no root at all: nothing differs, and the root named itself.
            Err(Error::Keyring(KeyringError::OtherRoots)) if !self.names_a_root() => (None, true),
            other => (other?, false),
        };
        let trust = trusted.map(|trusted| trusted.ever());
        let origin = &self.inner.installation.origin;
        let verifier = LogVerifier::new(Some(origin), trust.as_ref());
        let mut audit = Audit {
            reading: &reading,
            verifier,
            heads: VecDeque::new(),
            after: Some(Uuid::nil()),
            own: None,
        };
        audit.walk().await?;
        if audit.own.is_none() {
            audit.leaves().await?;
        }
        let mut report = audit.verifier.finish();
        // The verifier saw everything up to our own finding: its fault, if it has one, comes first.
        if let Some(own) = audit.own
            && !matches!(report.verdict, Verdict::Failed { .. })
        {
            report.verdict = own;
        }
        if no_root && !matches!(report.verdict, Verdict::Failed { .. }) {
            let words = Warning::NoTrustedRoot.words();
            report.verdict = Verdict::Incomplete {
                reason: format!("{words} ({})", Warning::NoTrustedRoot),
            };
        }
        reading.end().await;
        Ok(report)
    }

    fn names_a_root(&self) -> bool {
        let file = self.inner.trust.as_ref();
        file.is_some_and(|file| file.sovereigns().next().is_some())
    }
}

struct Audit<'a, 'i> {
    reading: &'a Reading<'i>,
    verifier: LogVerifier<'a>,
    heads: VecDeque<(Uuid, Head)>,
    /// Where the next page of heads begins; `None` after the last one.
    after: Option<Uuid>,
    own: Option<Verdict>,
}

impl Audit<'_, '_> {
    async fn walk(&mut self) -> Result<(), Error> {
        let installation = &self.reading.inner.installation;
        let mut records = Records::new();
        let mut open: Option<(Uuid, Option<Head>)> = None;
        let mut seen = Vec::new();
        while let Some(stored) = records.next(self.reading).await? {
            if open.as_ref().is_none_or(|(run, _)| *run != stored.run) {
                if let Some((_, head)) = open.take() {
                    self.verifier.end_run(head.as_ref());
                }
                let head = if installation.is_system(stored.run) {
                    seen.push(stored.run);
                    self.system_head(stored.run).await?
                } else {
                    self.head_of(stored.run).await?
                };
                if self.own.is_some() {
                    return Ok(());
                }
                if head.is_none() {
                    let text = "records belong to no run";
                    self.fail(stored.run, stored.seq, Fault::RecordsWithoutRun, text);
                    return Ok(());
                }
                self.verifier.start_run(stored.run);
                open = Some((stored.run, head));
            }
            self.take(&stored, installation.is_system(stored.run));
            if self.own.is_some() {
                return Ok(());
            }
        }
        if let Some((_, head)) = open {
            self.verifier.end_run(head.as_ref());
        }
        if let Some((run, _)) = self.next_head().await? {
            let text = "the run has no record";
            self.fail(run, 1, Fault::RunWithoutRecords, text);
        }
        for run in installation.system_runs() {
            if !seen.contains(&run) && self.system_head(run).await?.is_none_or(|head| head.seq > 0)
            {
                let text = "a log of no run has another head than records";
                self.fail(run, 1, Fault::SystemHead, text);
            }
        }
        Ok(())
    }

    /// What was sealed is there: every leaf, the record that it names, and the head that was signed.
    async fn leaves(&mut self) -> Result<(), Error> {
        let mut findings = Findings::default();
        sealed(self.reading, &mut findings).await?;
        if let Some(first) = findings.named.into_iter().next() {
            let run = first
                .run
                .unwrap_or(self.reading.inner.installation.keys_run);
            self.own = Some(Verdict::Failed {
                run,
                seq: first.seq.unwrap_or_default(),
                code: first.code,
                message: first.message,
            });
        }
        Ok(())
    }

    fn take(&mut self, stored: &Stored, system: bool) {
        let hash = Hash::try_from(stored.hash.as_slice()).unwrap_or(Hash::ZERO);
        self.verifier.record(&stored.bytes, &hash);
        // Bytes that are no record are the verifier's to refuse.
        let Ok(record) = Record::decode(&stored.bytes) else {
            return;
        };
        let differing = stored.differing(&record, system);
        if !differing.is_empty() {
            let text = format!(
                "columns are not what the bytes say: {}",
                differing.join(", ")
            );
            self.fail(stored.run, stored.seq, Fault::Projection, &text);
        }
    }

    fn fail(&mut self, run: Uuid, seq: i64, fault: Fault, message: &str) {
        self.own.get_or_insert(Verdict::Failed {
            run,
            seq,
            code: fault.code(),
            message: message.to_owned(),
        });
    }

    /// The head that the run's row remembers; a run before it that has no records is a fault.
    async fn head_of(&mut self, run: Uuid) -> Result<Option<Head>, Error> {
        let Some((id, head)) = self.next_head().await? else {
            return Ok(None);
        };
        if id == run {
            return Ok(Some(head));
        }
        if id < run {
            let text = "the run has no record";
            self.fail(id, 1, Fault::RunWithoutRecords, text);
        }
        Ok(None)
    }

    async fn next_head(&mut self) -> Result<Option<(Uuid, Head)>, Error> {
        if self.heads.is_empty()
            && let Some(after) = self.after
        {
            let rows = self
                .reading
                .query(sql::RUN_HEADS, &[&after, &HEADS_A_PAGE])
                .await?;
            for row in &rows {
                let head: &[u8] = row.try_get(4)?;
                let head = Head {
                    seq: row.try_get(3)?,
                    hash: Hash::try_from(head).unwrap_or(Hash::ZERO),
                };
                self.heads.push_back((row.try_get(0)?, head));
            }
            self.after = self.heads.back().map(|(id, _)| *id);
        }
        Ok(self.heads.pop_front())
    }

    async fn system_head(&self, run: Uuid) -> Result<Option<Head>, Error> {
        let rows = self.reading.query(sql::SYSTEM_HEADS, &[]).await?;
        let Some(row) = rows.iter().find(|row| row.get::<_, Uuid>(0) == run) else {
            return Ok(None);
        };
        let head: &[u8] = row.try_get(2)?;
        Ok(Some(Head {
            seq: row.try_get(1)?,
            hash: Hash::try_from(head).unwrap_or(Hash::ZERO),
        }))
    }
}
