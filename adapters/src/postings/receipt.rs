//! A signed receipt as the source of a reversal: the record that it is for holds the captured postings.
//!
//! **Invariant:** a receipt counts only when a key signed it that this process was given; none is taken from the receipt.

use redress_ledger::{Hash, Kind, Receipt, Record, Vkey, leaf_hash};
use uuid::Uuid;

use super::error::PostingsError;
use super::format::{Captured, Undo};

/// What is kept of a receipt that was used.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Proof {
    /// The record's hash.
    pub record: Hash,
    /// The signed note.
    pub note: String,
}

/// The transaction that a receipt and its record prove; `wanted` says which of several.
pub(super) fn captured(
    engines: &[Vkey],
    note: &str,
    record: &str,
    wanted: Option<Uuid>,
) -> Result<(Captured, Proof), PostingsError> {
    let refused = |why: &str| PostingsError::Receipt(why.to_owned());
    if engines.is_empty() {
        return Err(refused(
            "this process was given no engine's key to verify it by",
        ));
    }
    let receipt = engines
        .iter()
        .find_map(|engine| Receipt::verify(note.as_bytes(), engine).ok())
        .ok_or_else(|| refused("no engine that is trusted here signed it"))?;
    if leaf_hash(record.as_bytes()) != receipt.hash {
        return Err(refused("it is for another record than the one beside it"));
    }
    let record = Record::decode(record.as_bytes())
        .map_err(|error| PostingsError::Receipt(format!("the record cannot be read: {error}")))?;
    if record.run != receipt.run || u64::try_from(record.seq) != Ok(receipt.seq) {
        return Err(refused("it names another place than the record has"));
    }
    if record.kind != Kind::PhaseCommitted {
        return Err(refused("its record is not that of a phase that committed"));
    }
    let undo = record.body.get("undo").unwrap_or(&serde_json::Value::Null);
    if undo.get("$blob").is_some() {
        return Err(refused(
            "its record keeps the postings in a blob: name the transaction instead",
        ));
    }
    let undo = Undo::read(
        undo,
        &format!("record {} of run {}", record.seq, record.run),
    )?;
    let mut transactions = undo.transactions;
    let at = match wanted {
        Some(id) => transactions.iter().position(|t| t.id == id),
        None if transactions.len() > 1 => {
            return Err(refused(
                "its record has several transactions: say which with `transaction`",
            ));
        }
        None => (!transactions.is_empty()).then_some(0),
    };
    let at = at.ok_or_else(|| refused("its record has no such transaction"))?;
    let proof = Proof {
        record: receipt.hash,
        note: note.to_owned(),
    };
    Ok((transactions.swap_remove(at), proof))
}
