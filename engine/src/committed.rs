//! Gives what the ledger says of every committed phase of an adapter: its undo data, and whether it was taken back.
//!
//! An adapter's own checker compares this with its tables or files.
//!
//! **Invariant:** everything is read in one REPEATABLE READ READ ONLY transaction, run by run; nothing is written.
//!
//! **What can go wrong:** archived runs have left the tables: what they committed is not given, and `complete` says so. Undo
//! data that was erased is given as null.

use redress_ledger::{Kind, Record};
use redress_sql as sql;
use serde_json::Value;
use uuid::Uuid;

use crate::check::{Records, Stored};
use crate::engine::Engine;
use crate::error::Error;
use crate::view::Reading;

/// One committed phase.
#[derive(Clone, Debug, PartialEq)]
pub struct CommittedPhase {
    /// The run.
    pub run: Uuid,
    /// The phase.
    pub phase: String,
    /// The number of its record.
    pub seq: i64,
    /// What the adapter kept for the way back.
    pub undo: Value,
    /// The action that took it back, when one did.
    pub taken_back: Option<String>,
}

impl Engine {
    /// Hands over every committed phase of an adapter, run by run; true when no run is archived.
    ///
    /// # Errors
    /// [`Error::Db`] when the database cannot be read; a record or definition that cannot be read.
    pub async fn committed_by(
        &self,
        adapter: &str,
        mut each: impl FnMut(CommittedPhase),
    ) -> Result<bool, Error> {
        let mut reading = Reading::begin(&self.inner).await?;
        let mut records = Records::new();
        let mut of_run: Vec<CommittedPhase> = Vec::new();
        while let Some(stored) = records.next(&reading).await? {
            if of_run.first().is_some_and(|one| one.run != stored.run) {
                of_run.drain(..).for_each(&mut each);
            }
            take(&mut reading, adapter, &stored, &mut of_run).await?;
        }
        of_run.drain(..).for_each(&mut each);
        let archived = reading.query(sql::CHECK_ARCHIVED, &[]).await?;
        reading.end().await;
        Ok(archived.is_empty())
    }
}

/// Adds a record of a committed phase, or notes that one was taken back.
async fn take(
    reading: &mut Reading<'_>,
    adapter: &str,
    stored: &Stored,
    of_run: &mut Vec<CommittedPhase>,
) -> Result<(), Error> {
    let (committed, back) = (Kind::PhaseCommitted, Kind::CompensationCommitted);
    if stored.kind != committed.as_str() && stored.kind != back.as_str() {
        return Ok(());
    }
    let unreadable = |what: &str| {
        Error::Inconsistent(format!(
            "record {} of run {}: {what}",
            stored.seq, stored.run
        ))
    };
    let record = Record::decode(&stored.bytes).map_err(|error| unreadable(&error.to_string()))?;
    if record.kind == back {
        let reverses = record.body.pointer("/reverses/seq").and_then(Value::as_i64);
        let action = record.body.get("action").and_then(Value::as_str);
        let taken = of_run.iter_mut().find(|one| Some(one.seq) == reverses);
        if let (Some(one), Some(action)) = (taken, action) {
            one.taken_back = Some(action.to_owned());
        }
        return Ok(());
    }
    let policy = record
        .policy
        .ok_or_else(|| unreadable("it names no definition"))?;
    let phase = record.body.get("phase").and_then(Value::as_str);
    let phase = phase
        .ok_or_else(|| unreadable("it names no phase"))?
        .to_owned();
    let definition = reading.definition(policy).await?;
    let is_its = definition
        .phase(&phase)
        .is_some_and(|p| p.adapter.as_str() == adapter);
    if is_its {
        let mut undo = record.body.get("undo").cloned().unwrap_or(Value::Null);
        if reading.inner.fetch_blob(reading, &mut undo).await.is_err() {
            undo = Value::Null;
        }
        of_run.push(CommittedPhase {
            run: stored.run,
            phase,
            seq: stored.seq,
            undo,
            taken_back: None,
        });
    }
    Ok(())
}
