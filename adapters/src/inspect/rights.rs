//! Says what a phase's role needs for its statements, and nothing else: for `redress saga grants`.
//!
//! **Invariant:** it is read from what the server itself planned: relations by the locks of the texts, what is modified by
//! the plans. Partitions and what stands behind a view need no right of their own.
//!
//! **Not here:** what functions and triggers do inside with the caller's rights; such functions are named as unseen.

use std::collections::BTreeSet;

use redress::adapter::{Right, Rights};
use redress::phase_tx::{PhaseTx, TxError};

use super::lexer::Tokens;
use super::plan::Plan;
use super::proof::Modified;

const RIGHTS: &str = include_str!("../../statements/rights.sql");

/// The statements of one phase, as far as they were planned in one transaction.
#[derive(Debug, Default)]
pub(crate) struct Needs {
    words: BTreeSet<String>,
    called: BTreeSet<String>,
    inserted: BTreeSet<u32>,
    updated: BTreeSet<u32>,
    deleted: BTreeSet<u32>,
    read: BTreeSet<u32>,
}

impl Needs {
    /// Adds one statement.
    pub(crate) fn add(&mut self, sql: &str, plan: &Plan, modified: &[Modified]) {
        let tokens = Tokens::read(sql);
        tokens.words_into(&mut self.words, &mut self.called);
        let says = |word: &str| tokens.has_words(&[word]);
        for relation in modified {
            let Some(oid) = relation.oid else { continue };
            let of = |operation: &str| {
                plan.operations.iter().any(|(name, how)| {
                    how == operation && relation.name == format!("{}.{}", name.0, name.1)
                })
            };
            let merges = of("Merge");
            let changes = |operation: &str, word: &str| of(operation) || merges && says(word);
            if changes("Insert", "insert") {
                self.inserted.insert(oid);
            }
            if changes("Update", "update") || of("Insert") && tokens.has_words(&["do", "update"]) {
                self.updated.insert(oid);
            }
            if changes("Delete", "delete") {
                self.deleted.insert(oid);
            }
            // A plain insert reads nothing of its target.
            if !of("Insert") || says("returning") || tokens.has_words(&["on", "conflict"]) {
                self.read.insert(oid);
            }
        }
    }

    /// What a role needs for all of them.
    pub(crate) async fn rights(&self, tx: &PhaseTx<'_>) -> Result<Rights, TxError> {
        let list = |words: &BTreeSet<String>| words.iter().cloned().collect::<Vec<String>>();
        let oids = |oids: &BTreeSet<u32>| oids.iter().copied().collect::<Vec<u32>>();
        let texts = (list(&self.words), list(&self.called));
        let (inserted, updated) = (oids(&self.inserted), oids(&self.updated));
        let (deleted, read) = (oids(&self.deleted), oids(&self.read));
        let rows = tx
            .query(
                RIGHTS,
                &[&texts.0, &texts.1, &inserted, &updated, &deleted, &read],
            )
            .await?;
        let mut rights = Rights::default();
        for row in &rows {
            let right = Right {
                kind: row.try_get(0)?,
                name: row.try_get(1)?,
                needed: row.try_get(2)?,
            };
            if row.try_get(3)? {
                rights.unseen.insert(right.name.clone());
            }
            rights.needed.insert(right);
        }
        Ok(rights)
    }
}
