//! Blobs: each that a record names is there and fits, and each that is there is named.
//!
//! **Invariant:** only references are kept, and only until the next page is asked for. The content stays in the
//! database, which computes the commitment; an auditor who does not trust it reads the blobs and does so himself.

use std::collections::{HashMap, HashSet};

use redress_ledger::blob::BlobRef;
use redress_ledger::{Kind, Record};
use redress_sql as sql;
use serde_json::Value;
use tokio_postgres::Row;
use uuid::Uuid;

use super::model::{Fault, Findings};
use crate::error::Error;
use crate::view::Reading;

/// Blobs that are asked for at once.
const BLOBS_A_PAGE: usize = 500;
/// Blobs without a record that are named.
const ORPHANS_MAX: i64 = 100;

/// A blob that a record names.
struct BlobSaid {
    blob: BlobRef,
    run: Uuid,
    seq: i64,
}

/// Gathers what records say of blobs.
#[derive(Default)]
pub(super) struct Blobs {
    said: Vec<BlobSaid>,
    found: i64,
    missing: Vec<BlobSaid>,
    erased: HashSet<Uuid>,
}

impl Blobs {
    /// Takes what a record says: the values of its body that may live elsewhere.
    pub fn take(&mut self, record: &Record) {
        let fields = record.body.as_object().into_iter().flatten();
        for (_, value) in fields {
            if let Ok(Some(blob)) = BlobRef::from_value(value) {
                self.said.push(BlobSaid {
                    blob,
                    run: record.run,
                    seq: record.seq,
                });
            }
        }
        if record.kind == Kind::BlobErased {
            let id = record.body.get("blob").and_then(Value::as_str);
            self.erased
                .extend(id.and_then(|id| id.parse::<Uuid>().ok()));
        }
    }

    /// Asks for the blobs that were named since the last time.
    pub async fn find(
        &mut self,
        reading: &Reading<'_>,
        all: bool,
        findings: &mut Findings,
    ) -> Result<(), Error> {
        if self.said.is_empty() || (!all && self.said.len() < BLOBS_A_PAGE) {
            return Ok(());
        }
        let said = std::mem::take(&mut self.said);
        for page in said.chunks(BLOBS_A_PAGE) {
            let ids: Vec<Uuid> = page.iter().map(|said| said.blob.id).collect();
            let rows = reading.query(sql::CHECK_BLOBS, &[&ids]).await?;
            let mut found = HashMap::with_capacity(rows.len());
            for row in &rows {
                found.insert(row.try_get::<_, Uuid>(0)?, row);
            }
            for said in page {
                match found.get(&said.blob.id) {
                    Some(row) => {
                        self.found += 1;
                        judge_blob(said, row, findings)?;
                    }
                    None => self.missing.push(BlobSaid {
                        blob: said.blob.clone(),
                        ..*said
                    }),
                }
            }
        }
        Ok(())
    }

    /// Names what is missing, and what nobody names.
    pub async fn finish(
        mut self,
        reading: &Reading<'_>,
        findings: &mut Findings,
    ) -> Result<(), Error> {
        self.find(reading, true, findings).await?;
        for said in &self.missing {
            if !self.erased.contains(&said.blob.id) {
                let text = format!("blob {} is missing and was not erased", said.blob.id);
                findings.add(Fault::Blob, Some(said.run), Some(said.seq), text);
            }
        }
        let count = reading.query(sql::COUNT_BLOBS, &[]).await?;
        let count: i64 = count.first().map_or(Ok(0), |row| row.try_get(0))?;
        // Looking for them costs a search through each blob's run: only when the numbers say that there are any.
        if count == self.found {
            return Ok(());
        }
        let rows = reading
            .query(sql::UNREFERENCED_BLOBS, &[&ORPHANS_MAX])
            .await?;
        for row in &rows {
            let (id, run): (Uuid, Uuid) = (row.try_get(0)?, row.try_get(1)?);
            let text = format!("no record of its run names blob {id}");
            findings.add(Fault::BlobUnreferenced, Some(run), None, text);
        }
        Ok(())
    }
}

fn judge_blob(
    said: &BlobSaid,
    row: &Row,
    findings: &mut Findings,
) -> Result<(), tokio_postgres::Error> {
    let run: Uuid = row.try_get("run")?;
    let len: i64 = row.try_get("len")?;
    let commitment: &[u8] = row.try_get("commitment")?;
    let fits: bool = row.try_get("fits")?;
    let same = commitment == said.blob.commitment.as_bytes().as_slice();
    let how = if run != said.run {
        "belongs to another run"
    } else if !fits || !same {
        "does not fit its commitment"
    } else if len != said.blob.len {
        "has another length"
    } else {
        return Ok(());
    };
    let text = format!("blob {} {how}", said.blob.id);
    findings.add(Fault::Blob, Some(said.run), Some(said.seq), text);
    Ok(())
}
