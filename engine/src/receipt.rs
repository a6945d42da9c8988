//! Gives whoever embeds the engine a signed receipt for each record, the moment it is committed.
//!
//! **Invariant:** after success of COMMIT and never before. A receipt is a help, not a part of the commit: a sink that
//! fails changes nothing, and a commit whose answer was lost gets none; [`Engine::sign_receipts`] signs what the log has.

use std::sync::Arc;

use redress_ledger::note::Note;
use redress_ledger::receipt::Receipt;
use redress_ledger::{Hash, SigningKey, leaf_hash};
use redress_sql as sql;
use uuid::Uuid;

use crate::db::DbError;
use crate::engine::{Engine, Inner};
use crate::error::Error;

/// Who gets receipts. Called in the task that committed: it must not block.
pub trait ReceiptSink: Send + Sync {
    /// Takes one receipt and its signed note.
    fn receive(&self, receipt: &Receipt, note: &Note);
}

/// Who signs, and who gets.
pub(crate) struct Giver {
    pub key: SigningKey,
    pub sinks: Vec<Arc<dyn ReceiptSink>>,
}

impl Inner {
    /// Signs receipts for records behind `seq`, which are not committed yet: nobody gets them before.
    pub(crate) fn make_receipts(
        &self,
        run: Uuid,
        seq: i64,
        bytes: &[Vec<u8>],
    ) -> Vec<(Receipt, Note)> {
        let giver = self.receipts.as_ref();
        let Some(giver) = giver.filter(|giver| !giver.sinks.is_empty()) else {
            return Vec::new();
        };
        let mut receipts = Vec::with_capacity(bytes.len());
        for (seq, bytes) in (seq + 1..).zip(bytes) {
            let receipt = self.receipt_of(run, seq, leaf_hash(bytes));
            match receipt.sign(&giver.key) {
                Ok(note) => receipts.push((receipt, note)),
                Err(error) => tracing::error!(%error, %run, seq, "a receipt could not be signed"),
            }
        }
        receipts
    }

    /// Gives the receipts of what was just committed.
    pub(crate) fn give_receipts(&self, receipts: &[(Receipt, Note)]) {
        if let Some(giver) = &self.receipts {
            for (sink, (receipt, note)) in
                (giver.sinks.iter()).flat_map(|sink| receipts.iter().map(move |one| (sink, one)))
            {
                sink.receive(receipt, note);
            }
        }
    }

    fn receipt_of(&self, run: Uuid, seq: i64, hash: Hash) -> Receipt {
        Receipt {
            origin: self.installation.origin.clone(),
            generation: self.installation.generation,
            run,
            seq: u64::try_from(seq).unwrap_or_default(),
            hash,
        }
    }
}

impl Engine {
    /// Signs receipts for every committed record of a run: for what was committed while nobody could be told.
    ///
    /// # Errors
    /// [`Error::UnknownRun`]; [`Error::Inconsistent`] when this engine has no key to sign with.
    pub async fn sign_receipts(&self, run: Uuid) -> Result<Vec<(Receipt, Note)>, Error> {
        let inner = &self.inner;
        let giver = inner.receipts.as_ref();
        let giver = giver.ok_or_else(|| Error::Inconsistent("no key for receipts".to_owned()))?;
        let session = inner.session().await?;
        inner.run_row(&session, run).await?;
        let read = inner.prepare(&session, sql::RECORDS_OF_RUN).await?;
        let rows = session
            .query(&read, &[&run, &0_i64])
            .await
            .map_err(DbError::from)?;
        rows.iter()
            .map(|row| {
                let bytes: &[u8] = row.try_get("bytes").map_err(DbError::from)?;
                let receipt = inner.receipt_of(run, row.get(0), leaf_hash(bytes));
                let note = receipt.sign(&giver.key);
                let note = note.map_err(|error| Error::Inconsistent(error.to_string()))?;
                Ok((receipt, note))
            })
            .collect()
    }
}
