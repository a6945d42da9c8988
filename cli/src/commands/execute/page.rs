//! An execution and its plan, as a page and as JSON.

use redress::step::Execution;
use redress_runbooks::execute::{Document, ExecuteError};
use redress_runbooks::model::Runbook;
use serde_json::{Value, json};

use crate::commands::look::quorum_text;
use crate::fail::Fail;
use crate::place::Place;
use crate::text::local;

pub(super) fn read(execution: &Execution) -> Result<Document, Fail> {
    serde_json::from_value(execution.document.clone())
        .map_err(|error| ExecuteError::Document(error.to_string()).into())
}

pub(super) fn print_plan(
    place: &Place,
    execution: &Execution,
    document: &Document,
) -> Result<(), Fail> {
    let (say, runbook) = (&place.say, &document.runbook);
    say.item("execution  ", &execution.id.to_string())?;
    say.item(
        "runbook    ",
        &format!(
            "{} version {}: {}",
            runbook.runbook, runbook.version, runbook.title
        ),
    )?;
    if let Some(run) = &document.run {
        let text = format!(
            "{} of {} version {}, {} at record {}",
            run.id, run.saga, run.version, run.state, run.basis.seq
        );
        say.item("run        ", &text)?;
    }
    say.item("risk       ", risk(runbook))?;
    say.item(
        "state      ",
        &format!(
            "{}, {} of {} steps done",
            execution.state.as_str(),
            execution.done,
            runbook.steps.len()
        ),
    )?;
    for (name, value) in &document.params {
        say.item("parameter  ", &format!("{name} = {value}"))?;
    }
    if let (Some(scope), Some(rows)) = (&runbook.scope, document.rows) {
        say.item(
            "scope      ",
            &format!(
                "{rows} rows of at most {}, in {}",
                scope.max,
                scope.relations.join(", ")
            ),
        )?;
    }
    say.item("to sign    ", &who_signs(runbook))?;
    say.item("good until ", &local(&document.not_after))?;
    say.item("digest     ", &execution.plan.to_string()[..DIGEST_CHARS])?;
    let checks: Vec<Vec<String>> = document
        .checks
        .iter()
        .map(|check| {
            let text = |name: &str| {
                check
                    .get(name)
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned()
            };
            vec![text("check"), text("outcome"), text("found")]
        })
        .collect();
    if !checks.is_empty() {
        say.table(&["check", "answer", "found"], &[1], &checks)?;
    }
    let steps: Vec<Vec<String>> = (0_u32..)
        .zip(&runbook.steps)
        .map(|(at, step)| {
            let done = if at < execution.done { "done" } else { "" };
            vec![
                step.id.to_string(),
                step.kind().to_owned(),
                step.why.clone(),
                done.to_owned(),
            ]
        })
        .collect();
    say.table(&["step", "does", "why", ""], &[1, 3], &steps)
}

/// Who must sign a runbook, in words.
pub fn who_signs(runbook: &Runbook) -> String {
    let needs = quorum_text(&runbook.approvals.quorum);
    match runbook.approvals.distinct {
        true => format!("{needs}, nobody who runs it"),
        false => needs,
    }
}

fn risk(runbook: &Runbook) -> &'static str {
    use redress_runbooks::model::Risk;
    match runbook.risk {
        Risk::ReadOnly => "it only looks",
        Risk::Reversible => "what it does can be undone",
        Risk::Irreversible => "what it does stays",
    }
}

pub(super) fn print_json(
    place: &Place,
    execution: &Execution,
    document: &Document,
    lacks: Option<String>,
) -> Result<(), Fail> {
    let mut value = whole(execution, document);
    value["missing"] = json!(lacks);
    value["errors"] = json!([]);
    place.say.value(&value)
}

pub(super) fn brief(execution: &Execution) -> Value {
    json!({
        "execution": execution.id,
        "runbook": execution.runbook,
        "version": execution.version,
        "run": execution.run,
        "state": execution.state.as_str(),
        "done": execution.done,
        "plan": execution.plan,
        "made_by": execution.made_by,
        "made_at": execution.made_at,
        "owner": execution.owner,
    })
}

pub(super) fn whole(execution: &Execution, document: &Document) -> Value {
    let mut value = brief(execution);
    value["schema"] = json!(1);
    value["checks"] = json!(document.checks);
    value["params"] = json!(document.params);
    value["rows"] = json!(document.rows);
    value["not_after"] = json!(document.not_after);
    value["approvals"] = json!(document.runbook.approvals);
    value["steps"] = (0_u32..)
        .zip(&document.runbook.steps)
        .map(|(at, step)| json!({"id": step.id, "kind": step.kind(), "why": step.why, "done": at < execution.done}))
        .collect();
    value
}

const DIGEST_CHARS: usize = 12;
