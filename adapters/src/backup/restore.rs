//! Puts the rows of an artefact back, and proves that they are: the queries of the backup give the same content again.
//!
//! **Invariant:** the artefact's hash is verified before the first statement, and the database's content is compared with
//! it after the last one, in the same transaction. Anything else rolls back.
//!
//! **What can go wrong:** rows that came since and that no statement removes: the content differs, and nothing is restored.

use std::path::{Path, PathBuf};

use redress::adapter::{AdapterError, Call};
use redress::phase_tx::PhaseTx;
use redress::pointer::Pointer;
use redress_ledger::{Class, Hash};
use serde_json::{Map, Value, json};

use super::artefact::{self, ArtefactError, Line, Lines};
use super::{Query, Restoring, With, fetch};

/// Rows that are given to a statement at a time.
const ROWS_AT_ONCE: usize = 5_000;
/// Where a restoring statement finds the rows.
pub(super) const ROWS: [&str; 2] = ["artefact", "rows"];

/// The artefact that a phase wrote, by its record.
pub(super) fn written(call: &Call<'_>) -> Result<(PathBuf, Hash), AdapterError> {
    let folder = call.artefacts.ok_or_else(|| {
        AdapterError::Hold("there is no folder for artefacts: start with a state folder".to_owned())
    })?;
    let hash = call.undo.pointer("/artefact/0").and_then(Value::as_str);
    let hash = hash.and_then(|hash| hash.parse::<Hash>().ok());
    let hash = hash.ok_or_else(|| {
        AdapterError::Hold("the record of the backup names no artefact".to_owned())
    })?;
    Ok((folder.join(artefact::file_name(&hash)), hash))
}

/// Refuses an artefact that is gone or changed, before anything is begun.
pub(super) async fn guard(call: &Call<'_>) -> Result<(), AdapterError> {
    let (path, hash) = written(call)?;
    apart(move || artefact::verify(&path, &hash))
        .await?
        .map_err(refused)
}

/// Puts every row back and compares; the number of rows.
pub(super) async fn restore(
    tx: &PhaseTx<'_>,
    call: &Call<'_>,
    with: &With,
) -> Result<Map<String, Value>, AdapterError> {
    let (path, hash) = written(call)?;
    let verified = path.clone();
    apart(move || artefact::verify(&verified, &hash))
        .await?
        .map_err(refused)?;
    let mut rows = 0;
    for query in &with.rows {
        rows += put_back(tx, call, query, &path).await?;
    }
    let (content, _) = fetch(tx, with, call.context).await?;
    let found = Hash::of(&content);
    if found != hash {
        return Err(AdapterError::Verify(format!(
            "after the restore the rows have hash {found}, the artefact has {hash}"
        )));
    }
    let name = artefact::file_name(&hash);
    Ok(Map::from_iter([(name, json!(rows))]))
}

async fn put_back(
    tx: &PhaseTx<'_>,
    call: &Call<'_>,
    query: &Query,
    path: &Path,
) -> Result<usize, AdapterError> {
    let mut rows = 0;
    for (at, step) in query.restore.iter().enumerate() {
        let place = || format!("restore {} {}", query.name, at + 1);
        if !step.params.iter().any(is_rows) {
            carry_out(tx, call, step, &Value::Null, place).await?;
            continue;
        }
        let mut lines = Lines::open(path).map_err(refused)?;
        loop {
            let (back, chunk) = next(lines).await?;
            lines = back;
            if chunk.is_empty() {
                break;
            }
            let own: Vec<Value> = chunk
                .into_iter()
                .filter(|line| line.name == query.name.as_str())
                .map(|line| line.row)
                .collect();
            if own.is_empty() {
                continue;
            }
            rows += own.len();
            carry_out(tx, call, step, &Value::Array(own), place).await?;
        }
    }
    Ok(rows)
}

async fn next(mut lines: Lines) -> Result<(Lines, Vec<Line>), AdapterError> {
    let read = move || lines.next(ROWS_AT_ONCE).map(|chunk| (lines, chunk));
    apart(read).await?.map_err(refused)
}

async fn carry_out(
    tx: &PhaseTx<'_>,
    call: &Call<'_>,
    step: &Restoring,
    rows: &Value,
    place: impl Fn() -> String,
) -> Result<(), AdapterError> {
    let mut params = Vec::with_capacity(step.params.len());
    for pointer in &step.params {
        let value = if is_rows(pointer) {
            Some(rows)
        } else {
            pointer.resolve(call.context)
        };
        let nothing = || AdapterError::Pointer(format!("{}: nothing stands at {pointer}", place()));
        params.push(value.ok_or_else(nothing)?.clone());
    }
    tx.query_values(&step.sql, &params)
        .await
        .map(|_| ())
        .map_err(|source| AdapterError::Statement {
            place: place(),
            source,
        })
}

pub(super) fn is_rows(pointer: &Pointer) -> bool {
    pointer.tokens().iter().map(String::as_str).eq(ROWS)
}

/// Reads on a thread of its own: a large file would hold up every other run of this process.
async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, AdapterError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| AdapterError::Hold(format!("the artefact was not read: {error}")))
}

fn refused(error: ArtefactError) -> AdapterError {
    AdapterError::Coded {
        code: error.code(),
        class: Class::Business,
        message: error.to_string(),
    }
}
