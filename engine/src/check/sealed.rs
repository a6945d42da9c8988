//! Compares the log of leaves with the records, with its head, and with what was signed last.
//!
//! **Not here:** the anchor and the published files (`seal`), and whether the log's key signed (`audit verify BUNDLE`).

use redress_ledger::{Frontier, Hash};
use redress_sql as sql;
use uuid::Uuid;

use super::model::{Fault, Findings};
use crate::error::Error;
use crate::tx::hash_at;
use crate::view::Reading;

/// Leaves that are read at once.
const LEAVES_A_PAGE: i64 = 5_000;

/// Walks every leaf of the present generation.
pub(crate) async fn sealed(reading: &Reading<'_>, findings: &mut Findings) -> Result<(), Error> {
    let rows = reading.query(sql::SEALER_HEAD, &[]).await?;
    let Some(head) = rows.first() else {
        findings.add(Fault::Leaf, None, None, "the sealer's row is missing");
        return Ok(());
    };
    let (generation, size): (i64, i64) = (head.try_get(0)?, head.try_get(1)?);
    let root = hash_at(head, 2)?;
    let signed: Option<i64> = head.try_get(3)?;
    if signed.unwrap_or(0) != size || (signed.is_some() && hash_at(head, 4)? != root) {
        let text = format!("the head of {size} leaves is not the one that was signed last");
        findings.add(Fault::Leaf, None, None, text);
    }
    let mut frontier = Frontier::new();
    loop {
        let from = i64::try_from(frontier.size()).unwrap_or(i64::MAX);
        let rows = reading
            .query(sql::CHECK_LEAVES, &[&generation, &from, &LEAVES_A_PAGE])
            .await?;
        if rows.is_empty() {
            break;
        }
        for (expected, row) in (from..).zip(&rows) {
            let (run, seq): (Uuid, i64) = (row.try_get(1)?, row.try_get(2)?);
            let mut add = |text: String| findings.add(Fault::Leaf, Some(run), Some(seq), text);
            let position: i64 = row.try_get(0)?;
            if position != expected {
                add(format!(
                    "leaf {expected} is missing: what follows has no place"
                ));
                return Ok(());
            }
            let (leaf, record): (&[u8], Option<&[u8]>) = (row.try_get(3)?, row.try_get(4)?);
            // The records of an archived run are elsewhere; its leaves stand for them.
            let gone: bool = row.try_get(5)?;
            if record != Some(leaf) && !(gone && record.is_none()) {
                add(format!("leaf {position} is not the record that it names"));
            }
            let leaf = Hash::try_from(leaf).unwrap_or(Hash::ZERO);
            if let Err(error) = frontier.push(leaf) {
                add(error.to_string());
                return Ok(());
            }
        }
    }
    if frontier.root() != root || i64::try_from(frontier.size()) != Ok(size) {
        let text = format!("{} leaves do not make the head of {size}", frontier.size());
        findings.add(Fault::Leaf, None, None, text);
    }
    Ok(())
}
