//! Replays the ledger against the tables, both ways, and compares the schema with the files that make it.
//!
//! **Invariant:** everything is read in one REPEATABLE READ READ ONLY transaction: workers go on, and what they commit
//! meanwhile is not seen at all, so that load makes no false findings.
//!
//! **What can go wrong:** a long check holds back the vacuum; it takes no lock that anybody waits for.
//!
//! **Not here:** signatures and decisions ([`Engine::audit_verify`]), leases and claims.

mod beside;
mod blobs;
mod drift;
mod executions;
mod expected;
mod model;
mod of_runs;
mod replay;
mod rights;
mod sealed;
mod shape;
mod stream;
mod tale;

pub(crate) use model::Findings;
pub use model::{CheckFinding, CheckReport, FINDINGS_MAX, Fault, SCHEMA};
pub(crate) use sealed::sealed;
pub(crate) use stream::{Records, Stored};

use crate::engine::Engine;
use crate::error::Error;
use crate::view::Reading;

impl Engine {
    /// Compares ledger, tables and schema. Findings are the result, not an error.
    ///
    /// # Errors
    /// [`Error::Db`] when the database cannot be read.
    pub async fn check(&self) -> Result<CheckReport, Error> {
        let reading = Reading::begin(&self.inner).await?;
        let mut findings = Findings::default();
        let (mut runs, mut records) = (0, 0);
        if drift::drift(&reading, &mut findings).await? {
            (runs, records) = replay::replay(&reading, &mut findings).await?;
            sealed(&reading, &mut findings).await?;
        }
        reading.end().await;
        Ok(report(findings, runs, records))
    }

    /// Compares the schema alone with the files that make it; no record is read.
    ///
    /// # Errors
    /// [`Error::Db`] when the database cannot be read.
    pub async fn drift(&self) -> Result<CheckReport, Error> {
        let reading = Reading::begin(&self.inner).await?;
        let mut findings = Findings::default();
        drift::drift(&reading, &mut findings).await?;
        reading.end().await;
        Ok(report(findings, 0, 0))
    }
}

fn report(findings: Findings, runs: u64, records: u64) -> CheckReport {
    CheckReport {
        schema: SCHEMA,
        ok: findings.named.is_empty(),
        runs,
        records,
        findings: findings.named,
        more: findings.more,
        archived: findings.archived,
        notes: findings.notes,
    }
}
