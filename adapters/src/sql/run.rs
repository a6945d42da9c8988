//! Runs a sequence of statements inside a phase's transaction: flight by flight, answers judged in order.
//!
//! **Invariant:** the first thing that is wrong, in the order of the statements, is what is reported; what the server
//! says about later statements of the same flight is only its echo (25P02).
//!
//! **What can go wrong:** an error leaves the transaction as it is. The engine rolls it back; nothing here commits.

use std::ops::Range;

use futures_util::future::join_all;
use redress::adapter::{AdapterError, Call};
use redress::db::TextParam;
use redress::phase_tx::{PhaseTx, TxError};
use serde_json::{Map, Value};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::compile::{Compiled, List, Param, Place, Sequence, Source, Step};
use super::keep::keep;
use redress_ledger::Class;

/// Sets the longest wait for one lock, until the transaction ends: milliseconds.
const LOCK_BUDGET: &str = include_str!("../../statements/lock_budget.sql");
const LOCK_NOT_AVAILABLE: &str = "55P03";

/// What a sequence has read and touched.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// Rows kept with `as`.
    pub kept: Map<String, Value>,
    /// Rows kept by `capture`.
    pub captured: Map<String, Value>,
    /// Relation or statement to count.
    pub touched: Map<String, Value>,
}

/// A statement's answer, as far as somebody wants it.
enum Answer {
    Count(u64),
    /// To be judged.
    Rows(Vec<Row>),
    /// To be kept, and how many came.
    Kept(Vec<Value>, u64),
}

impl Answer {
    fn count(&self) -> u64 {
        match self {
            Self::Count(count) | Self::Kept(_, count) => *count,
            Self::Rows(rows) => rows.len() as u64,
        }
    }
}

/// Runs what `apply` does, within the phase's budget.
pub(super) async fn within(
    compiled: &Compiled,
    tx: &PhaseTx<'_>,
    call: &Call<'_>,
) -> Result<Done, AdapterError> {
    let Some(wait) = compiled.budget.lock else {
        return carry_out(&compiled.apply, tx, call, compiled.budget.rows).await;
    };
    let ms = wait.ms.to_string();
    tx.execute(LOCK_BUDGET, &[&ms])
        .await
        .map_err(|source| AdapterError::Statement {
            place: "budget".to_owned(),
            source,
        })?;
    match carry_out(&compiled.apply, tx, call, compiled.budget.rows).await {
        Err(error) if error.sqlstate() == Some(LOCK_NOT_AVAILABLE) => Err(AdapterError::Coded {
            code: "RD0346",
            class: error.class(),
            message: format!("{error}; the budget for one lock is {ms} ms"),
        }),
        other => other,
    }
}

/// Runs all statements of a sequence.
pub(super) async fn run(
    sequence: &Sequence,
    tx: &PhaseTx<'_>,
    call: &Call<'_>,
) -> Result<Done, AdapterError> {
    carry_out(sequence, tx, call, None).await
}

async fn carry_out(
    sequence: &Sequence,
    tx: &PhaseTx<'_>,
    call: &Call<'_>,
    rows_max: Option<u64>,
) -> Result<Done, AdapterError> {
    let mut done = Done::default();
    let mut spent = 0_u64;
    // Under a budget each statement is judged before the next one is sent: what is over it does no more.
    let flights: Vec<Range<usize>> = match rows_max {
        Some(_) => (0..sequence.steps.len()).map(|at| at..at + 1).collect(),
        None => sequence.flights.clone(),
    };
    for flight in flights {
        let steps = &sequence.steps[flight];
        let answers = fly(steps, tx, call, &done).await?;
        for (step, answer) in steps.iter().zip(answers) {
            let answer = answer.map_err(|source| statement(step.place, source))?;
            if step.place.list == List::Apply {
                spent = spent.saturating_add(answer.count());
            }
            examine(step, answer, &mut done)?;
            if let Some(max) = rows_max.filter(|max| spent > *max) {
                return Err(AdapterError::Coded {
                    code: "RD0345",
                    class: Class::Business,
                    message: format!(
                        "{}: the phase has touched {spent} rows by now, its budget is {max}",
                        step.place
                    ),
                });
            }
        }
    }
    Ok(done)
}

/// Sends one flight. Nothing of it is sent when a value is missing.
async fn fly(
    steps: &[Step],
    tx: &PhaseTx<'_>,
    call: &Call<'_>,
    done: &Done,
) -> Result<Vec<Result<Answer, TxError>>, AdapterError> {
    let values: Vec<Vec<TextParam<'_>>> = steps
        .iter()
        .map(|step| resolve_all(step, call, done))
        .collect::<Result<_, _>>()?;
    // All are prepared before the first is sent: one whose text is new to the session would be overtaken otherwise.
    for step in steps {
        let prepared = tx
            .prepare(&step.sql)
            .await
            .map_err(|source| statement(step.place, source))?;
        let (wanted, given) = (prepared.params().len(), step.params.len());
        if wanted != given {
            return Err(statement(step.place, TxError::Parameters { wanted, given }));
        }
    }
    Ok(join_all(
        steps
            .iter()
            .zip(&values)
            .map(|(step, values)| send(tx, step, values)),
    )
    .await)
}

/// Sends one statement; the driver puts it on the wire when this is polled for the first time.
async fn send(tx: &PhaseTx<'_>, step: &Step, values: &[TextParam<'_>]) -> Result<Answer, TxError> {
    let params: Vec<&(dyn ToSql + Sync)> = values
        .iter()
        .map(|value| value as &(dyn ToSql + Sync))
        .collect();
    if step.place.list.judges() {
        tx.query(&step.sql, &params).await.map(Answer::Rows)
    } else if step.keep_as.is_some() {
        let kept = keep(tx, &step.sql, &params, step.form).await?;
        Ok(Answer::Kept(kept.0, kept.1))
    } else {
        tx.execute(&step.sql, &params).await.map(Answer::Count)
    }
}

fn resolve_all<'v>(
    step: &Step,
    call: &Call<'v>,
    done: &'v Done,
) -> Result<Vec<TextParam<'v>>, AdapterError> {
    let value = |param: &Param| match resolve(&param.source, call, done) {
        Some(value) => Ok(TextParam(value)),
        None => Err(AdapterError::Pointer(format!(
            "{}: nothing stands at {}",
            step.place, param.pointer
        ))),
    };
    step.params.iter().map(value).collect()
}

fn resolve<'v>(source: &Source, call: &Call<'v>, done: &'v Done) -> Option<&'v Value> {
    match source {
        Source::Context(pointer) => pointer.resolve(call.context),
        Source::Kept { name, rest } => rest.resolve(done.kept.get(name)?),
        Source::Captured { name, rest } => rest.resolve(done.captured.get(name)?),
        Source::Undo(rest) => rest.resolve(call.undo),
    }
}

fn examine(step: &Step, answer: Answer, done: &mut Done) -> Result<(), AdapterError> {
    let place = step.place;
    let count = answer.count();
    if let Some(expected) = step.rows.filter(|rows| !rows.holds(count)) {
        if place.list.judges() {
            return Err(judgement(
                place,
                format!("{place} returned {count} rows, expected {expected}"),
            ));
        }
        return Err(AdapterError::Rows {
            place: place.to_string(),
            found: count,
            expected: expected.to_string(),
        });
    }
    match answer {
        Answer::Rows(rows) => return judge(place, &rows),
        Answer::Kept(rows, _) => {
            let kept = if place.list == List::Capture {
                &mut done.captured
            } else {
                &mut done.kept
            };
            if let Some(name) = &step.keep_as {
                kept.insert(name.clone(), Value::Array(rows));
            }
        }
        Answer::Count(_) => {}
    }
    if place.list != List::Capture {
        let before = done
            .touched
            .get(&step.touches)
            .and_then(Value::as_u64)
            .unwrap_or(0);
        done.touched.insert(
            step.touches.clone(),
            Value::from(before.saturating_add(count)),
        );
    }
    Ok(())
}

/// Every row must be true; no row at all passes.
fn judge(place: Place, rows: &[Row]) -> Result<(), AdapterError> {
    for (at, row) in rows.iter().enumerate() {
        let said = match row.try_get::<_, Option<bool>>(0) {
            Ok(Some(true)) => continue,
            Ok(Some(false)) => "false",
            Ok(None) => "null",
            Err(_) => "not a boolean",
        };
        return Err(judgement(
            place,
            format!("{place}, row {} is {said}", at + 1),
        ));
    }
    Ok(())
}

fn judgement(place: Place, said: String) -> AdapterError {
    match place.list {
        List::Guard => AdapterError::Guard(said),
        _ => AdapterError::Verify(said),
    }
}

fn statement(place: Place, source: TxError) -> AdapterError {
    AdapterError::Statement {
        place: place.to_string(),
        source,
    }
}
