//! Finds which relations the statements of a phase lock rows of, before any run: `for update`, `for share`, LOCK.
//!
//! **Invariant:** it reads this backend's own ROW SHARE locks after a statement was prepared and planned and before
//! anything was carried out: exactly what the text names, views and partitions followed to their tables.
//!
//! **Not here:** what functions and triggers lock; each transaction that is not proven is judged by its own locks.

use std::collections::BTreeSet;

use redress::adapter::Finding;
use redress::definition::Phase;
use redress::phase_tx::{PhaseTx, TxError};

use crate::finding::{COVERAGE, finding};

const LOCKED_RELATIONS: &str = include_str!("../../statements/locked_relations.sql");

/// What was found to be locked so far, in one transaction.
#[derive(Debug, Default)]
pub(crate) struct Locks(BTreeSet<String>);

impl Locks {
    /// What the statement that was just planned locks beyond the phase's declaration.
    pub(crate) async fn look(
        &mut self,
        tx: &PhaseTx<'_>,
        phase: &Phase,
        path: &str,
    ) -> Result<Vec<Finding>, TxError> {
        let mut findings = Vec::new();
        for row in tx.query(LOCKED_RELATIONS, &[]).await? {
            let relation: String = row.try_get(0)?;
            let declared = phase.writes.contains(&relation) || phase.locks.contains(&relation);
            if self.0.insert(relation.clone()) && !declared {
                let message = format!(
                    "the statement reads rows for update of what neither `locks` nor `writes` lists: {relation}"
                );
                findings.push(finding(path, COVERAGE, message));
            }
        }
        Ok(findings)
    }
}
