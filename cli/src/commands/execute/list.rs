//! Which executions there are, and one of them: its plan, and what was done by whom.

use redress::Engine;
use serde_json::{Value, json};

use super::ExecutionsArgs;
use super::page::{brief, print_plan, read, whole};
use crate::commands::find_run;
use crate::exit::Exit;
use crate::fail::Fail;
use crate::place::Place;
use crate::text::{age, local, short_id};

/// Lists executions, youngest first.
///
/// # Errors
/// [`Fail::Engine`].
pub async fn executions(place: &Place, args: &ExecutionsArgs) -> Result<Exit, Fail> {
    let engine = place.engine().await?;
    let run = match &args.run {
        Some(text) => Some(find_run(&engine, text).await?),
        None => None,
    };
    let list = engine.executions(run, args.open, LIST_MAX).await?;
    if place.say.is_json() {
        let list: Vec<Value> = list.iter().map(brief).collect();
        place
            .say
            .value(&json!({"schema": 1, "executions": list, "errors": []}))?;
        return Ok(Exit::Done);
    }
    let rows: Vec<Vec<String>> = list
        .iter()
        .map(|one| {
            vec![
                short_id(one.id),
                one.state.as_str().to_owned(),
                one.runbook.clone(),
                one.run.map(short_id).unwrap_or_default(),
                one.made_by.clone(),
                age(&one.made_at).unwrap_or_default(),
            ]
        })
        .collect();
    place.say.table(
        &["execution", "state", "runbook", "run", "by", "age"],
        &[0, 1],
        &rows,
    )?;
    Ok(Exit::Done)
}

/// Shows one execution: its plan, and what was done by whom.
///
/// # Errors
/// [`Fail::Engine`].
pub async fn show(place: &Place, engine: &Engine, id: &str) -> Result<Exit, Fail> {
    let execution = engine.execution(id).await?;
    let document = read(&execution)?;
    if place.say.is_json() {
        let mut value = whole(&execution, &document);
        let records = engine.execution_records(&execution).await?;
        value["records"] = records
            .iter()
            .map(|record| json!({"at": record.at, "body": record.body}))
            .collect();
        value["errors"] = json!([]);
        place.say.value(&value)?;
        return Ok(Exit::Done);
    }
    print_plan(place, &execution, &document)?;
    let rows: Vec<Vec<String>> = engine
        .execution_records(&execution)
        .await?
        .iter()
        .map(|record| {
            let text = |name: &str| {
                record
                    .body
                    .get(name)
                    .and_then(Value::as_str)
                    .unwrap_or_default()
            };
            vec![
                local(&record.at),
                text("event").to_owned(),
                text("step").to_owned(),
                text("principal").to_owned(),
                text("message").to_owned(),
            ]
        })
        .collect();
    place
        .say
        .table(&["at", "what", "step", "by", "why"], &[1], &rows)?;
    if let Some(owner) = &execution.owner {
        place.say.item("in hands  ", owner)?;
    }
    if execution.state.is_open() {
        let command = format!("redress runbook resume {} --as KEY", short_id(execution.id));
        place.say.command("next      ", &command)?;
    }
    Ok(Exit::Done)
}

const LIST_MAX: u32 = 1_000;
