//! Plans a runbook: looks, asks its checks, and stores what will be done, signed.
//!
//! **Invariant:** planning changes nothing but the log. A refusal is a result: it is recorded with its code and the next
//! runbook.

use std::collections::BTreeMap;
use std::time::Duration;

use redress::ask::{Answer, Asking, Question, Wanted, answer_value};
use redress::name::Name;
use redress::step::{Execution, ExecutionState, Note, Opening};
use redress::view::RunView;
use redress::{Rewind, StoredPlan};
use redress_ledger::Hash;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::document::{Document, PlannedRun};
use super::{DOCUMENT_BYTES_MAX, ExecuteError, Operator, context, params};
use crate::facts::{Facts, why_not};
use crate::model::{Back, Check, Compensate, Query, Runbook, Then};

/// What an operator asks for.
#[derive(Clone, Debug)]
pub struct Request {
    /// The runbook, which was found sound by `lint`.
    pub runbook: Runbook,
    /// The run that it is about.
    pub run: Option<Uuid>,
    /// Parameters, as text.
    pub params: BTreeMap<String, String>,
    /// Why.
    pub reason: String,
}

/// Makes and stores the plan of a runbook.
///
/// # Errors
/// [`ExecuteError::NotForRun`], [`ExecuteError::Environment`], [`ExecuteError::Param`]: nothing was recorded.
/// [`ExecuteError::Refused`], [`ExecuteError::Scope`]: recorded, nothing else was changed.
pub async fn plan(
    operator: &Operator<'_>,
    request: &Request,
) -> Result<(Execution, Document), ExecuteError> {
    let runbook = &request.runbook;
    fits_here(operator, runbook)?;
    let view = match request.run {
        Some(run) => Some(operator.engine.show(run).await?),
        None => None,
    };
    fits_run(runbook, view.as_ref())?;
    let phases: Vec<String> = view
        .iter()
        .flat_map(|v| &v.phases)
        .map(|p| p.name.to_string())
        .collect();
    let params = params::values(&runbook.params, &request.params, &phases)?;
    let installation = operator.engine.installation();
    let asking = asking(operator, runbook, runbook.role.as_deref()).await?;
    let ttl = Duration::from_millis(runbook.limits.plan_ttl);
    let (made_at, not_after) = operator.engine.clock(ttl).await?;
    let mut document = Document {
        schema: 1,
        execution: Uuid::now_v7(),
        origin: installation.origin.clone(),
        generation: installation.generation,
        runbook: runbook.clone(),
        run: None,
        params,
        reason: request.reason.clone(),
        role: asking.role.clone(),
        plans: BTreeMap::new(),
        checks: Vec::new(),
        baseline: Map::new(),
        rows: None,
        made_at,
        not_after,
    };
    let mut base = Value::Null;
    if let Some(view) = &view {
        base = operator.engine.context(view.run).await?;
        document.run = Some(PlannedRun {
            id: view.run,
            saga: view.saga.clone(),
            version: view.version,
            state: view.state,
            basis: operator.engine.basis(view.run).await?,
        });
    }
    let context = context::of(base, &document, &operator.person);
    let refused = look(operator, &asking, &mut document, &context).await?;
    if refused.is_none()
        && let Some(view) = &view
    {
        document.plans = plans(operator, view, &document, &context).await?;
    }
    let execution = store(operator, request, &document).await?;
    match refused {
        None => Ok((execution, document)),
        Some(error) => {
            note_refusal(operator, &execution, &document, &error).await?;
            Err(error)
        }
    }
}

fn fits_here(operator: &Operator<'_>, runbook: &Runbook) -> Result<(), ExecuteError> {
    let here = &operator.engine.installation().origin;
    if runbook.environments.is_empty() || runbook.environments.contains(here) {
        return Ok(());
    }
    Err(ExecuteError::Environment {
        runbook: runbook.runbook.to_string(),
        meant: runbook.environments.join(", "),
        here: here.clone(),
    })
}

fn fits_run(runbook: &Runbook, view: Option<&RunView>) -> Result<(), ExecuteError> {
    let why = match view {
        Some(view) => why_not(&runbook.matches, &Facts::of(view)),
        None if runbook.needs_a_run() => Some("it needs one: give --run RUN".to_owned()),
        None => None,
    };
    why.map_or(Ok(()), |why| {
        Err(ExecuteError::NotForRun {
            runbook: runbook.runbook.to_string(),
            why,
        })
    })
}

/// How a runbook's questions are asked.
pub(super) async fn asking(
    operator: &Operator<'_>,
    runbook: &Runbook,
    role: Option<&str>,
) -> Result<Asking, ExecuteError> {
    Ok(Asking {
        role: operator.engine.reader_role(role).await?,
        lock: Duration::from_millis(runbook.limits.lock),
        statement: Duration::from_millis(runbook.limits.statement),
    })
}

/// Asks the checks, reads the baseline and counts the rows. Comes back with the first thing that refuses.
async fn look(
    operator: &Operator<'_>,
    asking: &Asking,
    document: &mut Document,
    context: &Value,
) -> Result<Option<ExecuteError>, ExecuteError> {
    let runbook = document.runbook.clone();
    let mut questions = questions(&runbook.checks, context)?;
    let checks = questions.len();
    questions.extend(readings(&runbook.baseline, context)?);
    if let Some(scope) = &runbook.scope {
        questions.push(Question {
            name: "scope".to_owned(),
            sql: scope.rows.clone(),
            params: context::resolve(&scope.params, context, "scope")?,
            wanted: Wanted::Anything,
        });
    }
    let answers = operator.engine.ask(asking, &questions).await?;
    let judged = questions.iter().zip(&answers);
    document.checks = judged
        .clone()
        .take(checks)
        .map(|(q, a)| answer_value(q, a))
        .collect();
    let mut refused = None;
    for (at, (question, answer)) in judged.enumerate() {
        let check = runbook.checks.get(at).filter(|_| at < checks);
        match answer {
            Answer::Yes(rows) if at >= checks && at < checks + runbook.baseline.len() => {
                document.baseline.insert(question.name.clone(), json!(rows));
            }
            Answer::Yes(rows) if question.name == "scope" && at >= checks => {
                let scope = runbook.scope.as_ref();
                let found = count(rows);
                document.rows = found;
                let max = scope.map_or(0, |scope| scope.max);
                match found {
                    Some(found) if found <= max => {}
                    Some(found) => refused = refused.or(Some(ExecuteError::Scope { found, max })),
                    None => {
                        let text = "its query gives no whole number".to_owned();
                        refused = refused.or(Some(no("scope", &Answer::Unknown(text), None)));
                    }
                }
            }
            Answer::Yes(_) => {}
            other => refused = refused.or(Some(no(&question.name, other, check))),
        }
    }
    Ok(refused)
}

/// The whole number that a query gave.
pub(super) fn counted(answer: &Answer) -> Option<u64> {
    match answer {
        Answer::Yes(rows) => count(rows),
        Answer::No(_) | Answer::Unknown(_) => None,
    }
}

fn count(rows: &[Value]) -> Option<u64> {
    let values: Vec<&Value> = rows
        .iter()
        .filter_map(Value::as_object)
        .flat_map(Map::values)
        .collect();
    match values.as_slice() {
        [Value::Number(number)] => number.as_u64(),
        [Value::String(text)] => text.parse().ok(),
        _ => None,
    }
}

/// Questions of checks.
pub(super) fn questions(checks: &[Check], context: &Value) -> Result<Vec<Question>, ExecuteError> {
    checks
        .iter()
        .map(|check| {
            Ok(Question {
                name: check.id.to_string(),
                sql: check.sql.clone(),
                params: context::resolve(&check.params, context, check.id.as_str())?,
                wanted: check.expect.clone().map_or(Wanted::AllTrue, Wanted::Value),
            })
        })
        .collect()
}

/// Questions that only read.
pub(super) fn readings(queries: &[Query], context: &Value) -> Result<Vec<Question>, ExecuteError> {
    queries
        .iter()
        .map(|query| {
            Ok(Question {
                name: query.name.to_string(),
                sql: query.sql.clone(),
                params: context::resolve(&query.params, context, query.name.as_str())?,
                wanted: Wanted::Anything,
            })
        })
        .collect()
}

/// The refusal that an answer is.
pub(super) fn no(name: &str, answer: &Answer, check: Option<&Check>) -> ExecuteError {
    let on_fail = check.and_then(|check| check.on_fail.as_ref());
    ExecuteError::Refused {
        check: name.to_owned(),
        unknown: matches!(answer, Answer::Unknown(_)),
        found: answer.found(),
        why: check.map_or_else(|| "it is needed".to_owned(), |check| check.why.clone()),
        refusal: on_fail.map(|on_fail| on_fail.refuse.clone()),
        next: on_fail.and_then(|on_fail| on_fail.next.as_ref().map(Name::to_string)),
    }
}

/// The plans of the run that the steps will carry out, as they are now.
async fn plans(
    operator: &Operator<'_>,
    view: &RunView,
    document: &Document,
    context: &Value,
) -> Result<BTreeMap<Name, Hash>, ExecuteError> {
    let mut plans = BTreeMap::new();
    for step in &document.runbook.steps {
        let stored = if let Some(compensate) = &step.compensate {
            Some(compensation(operator, view.run, compensate, &document.reason).await?)
        } else if let Some(back) = &step.rewind {
            let asked = rewind(back, &document.reason, context, step.id.as_str())?;
            operator.engine.plan_rewind(view.run, &asked).await?
        } else {
            None
        };
        if let Some(stored) = stored {
            plans.insert(step.id.clone(), stored.digest);
        }
    }
    Ok(plans)
}

/// The plan that stands, unless another one is asked for or the run has moved on since.
async fn compensation(
    operator: &Operator<'_>,
    run: Uuid,
    compensate: &Compensate,
    reason: &str,
) -> Result<StoredPlan, ExecuteError> {
    let engine = operator.engine;
    if compensate.actions.is_empty()
        && let Ok(found) = engine.find_plan(&run.to_string()).await
        && found.plan.stops_at.is_none()
        && engine.decision_on(&found, reason).await.is_ok()
    {
        return Ok(found);
    }
    let actions = compensate.actions.clone();
    Ok(engine.plan(run, actions, reason).await?)
}

/// A rewind as the engine takes it.
pub(super) fn rewind(
    back: &Back,
    reason: &str,
    context: &Value,
    step: &str,
) -> Result<Rewind, ExecuteError> {
    let phase = match back.to.starts_with('/') {
        true => {
            let found = context.pointer(&back.to).and_then(Value::as_str);
            found.ok_or_else(|| ExecuteError::Pointer {
                place: step.to_owned(),
                pointer: back.to.clone(),
            })?
        }
        false => back.to.as_str(),
    };
    Ok(Rewind {
        to: phase.parse().map_err(|_| ExecuteError::Step {
            step: step.to_owned(),
            why: "it does not lead to the name of a phase".to_owned(),
        })?,
        from: None,
        then: match back.then {
            Then::Stop => redress::definition::Then::Stop,
            Then::Resume => redress::definition::Then::Resume,
        },
        reason: reason.to_owned(),
    })
}

async fn store(
    operator: &Operator<'_>,
    request: &Request,
    document: &Document,
) -> Result<Execution, ExecuteError> {
    let value =
        serde_json::to_value(document).map_err(|e| ExecuteError::Document(e.to_string()))?;
    let bytes = value.to_string().len();
    if bytes > DOCUMENT_BYTES_MAX {
        return Err(ExecuteError::TooLong(bytes));
    }
    let opening = Opening {
        id: document.execution,
        run: request.run,
        runbook: document.runbook.runbook.as_str(),
        version: document.runbook.version,
        document: &value,
        reason: &request.reason,
    };
    Ok(operator
        .engine
        .open_execution(&opening, operator.key)
        .await?)
}

/// Records that a runbook says no, and ends its execution.
async fn note_refusal(
    operator: &Operator<'_>,
    execution: &Execution,
    document: &Document,
    error: &ExecuteError,
) -> Result<(), ExecuteError> {
    let engine = operator.engine;
    let mut hand = engine
        .take_execution(execution.id, &operator.name())
        .await?;
    let note = Note {
        event: "refused",
        step: "checks",
        advances: false,
        state: ExecutionState::Refused,
        reason: &document.reason,
        body: refusal_body(error),
    };
    engine
        .record_step(&mut hand, note, operator.key, None)
        .await?;
    engine.leave_execution(&hand).await?;
    Ok(())
}

/// What the record of a refusal says.
pub(super) fn refusal_body(error: &ExecuteError) -> Map<String, Value> {
    let mut body = Map::new();
    body.insert("code".to_owned(), json!(error.code()));
    body.insert("message".to_owned(), json!(error.to_string()));
    if let ExecuteError::Refused {
        check,
        refusal,
        next,
        ..
    } = error
    {
        body.insert("check".to_owned(), json!(check));
        body.insert("refusal".to_owned(), json!(refusal));
        body.insert("next".to_owned(), json!(next));
    }
    body
}
