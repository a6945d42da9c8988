//! Carries out what was planned and signed, and says what is to be done by hand where it waits.

use redress::Engine;
use redress::step::Execution;
use redress_runbooks::execute::{Applied, Document, ExecuteError, Given, Operator, apply};
use redress_runbooks::instruction::{Part, parts};
use redress_runbooks::model::Step;
use serde_json::json;

use super::page::whole;
use crate::exit::Exit;
use crate::fail::Fail;
use crate::place::Place;
use crate::text::{plain, short_id};

pub(super) fn operator<'a>(
    engine: &'a Engine,
    key: &'a redress_ledger::key::SigningKey,
) -> Operator<'a> {
    let host = rustix::system::uname();
    Operator {
        engine,
        key,
        person: key.vkey().name().to_string(),
        host: host.nodename().to_string_lossy().into_owned(),
    }
}

pub(super) async fn carry_out(
    place: &Place,
    operator: &Operator<'_>,
    execution: &Execution,
    document: &Document,
    given: &Given,
) -> Result<Exit, Fail> {
    let steps = document.runbook.steps.len();
    let told = |step: &Step, done: u32| {
        let n = done.saturating_add(1);
        let why = if step.why.is_empty() {
            step.kind()
        } else {
            &step.why
        };
        place
            .say
            .notice(&format!("step {n} of {steps}, {}: {why}", step.id));
    };
    let id = execution.id.to_string();
    match apply(operator, &id, given, &told).await {
        Ok(applied) => end(place, operator, &applied, document).await,
        Err(error @ ExecuteError::Waits { .. }) => {
            tell_waiting(place, &error, execution, document, given);
            Err(error.into())
        }
        Err(error) => Err(error.into()),
    }
}

async fn end(
    place: &Place,
    operator: &Operator<'_>,
    applied: &Applied,
    document: &Document,
) -> Result<Exit, Fail> {
    if place.say.is_json() {
        let mut value = whole(&applied.execution, document);
        value["errors"] = json!([]);
        place.say.value(&value)?;
        return Ok(Exit::Done);
    }
    let done = if applied.before {
        "was done before"
    } else {
        "done"
    };
    place.say.line(&format!(
        "runbook {} {done}, execution {}",
        document.runbook.runbook, applied.execution.id
    ))?;
    if let Some(run) = applied.execution.run {
        let view = operator.engine.show(run).await?;
        place.say.line(&format!("run {run} is {}", view.state))?;
        if let Some(next) = &view.next {
            place.say.item("next  ", &next.what)?;
            place.say.command("      ", &next.command)?;
        } else {
            place.say.command("next  ", "redress status")?;
        }
    }
    Ok(Exit::Done)
}

/// Says what is to be done by hand, what the words in it stand for, and the whole command that comes next.
fn tell_waiting(
    place: &Place,
    error: &ExecuteError,
    execution: &Execution,
    document: &Document,
    given: &Given,
) {
    let ExecuteError::Waits {
        step,
        instruction,
        evidence,
    } = error
    else {
        return;
    };
    let (say, short) = (&place.say, short_id(execution.id));
    if let Some(did) = given.did.as_deref().filter(|did| *did != step.as_str()) {
        say.notice(&format!("--did {} is not the step that waits", plain(did)));
    }
    say.notice(&format!("to do by hand, step {step}:"));
    for part in parts(instruction) {
        match part {
            Part::Prose(text) => say.notice(&format!("  {text}")),
            Part::Typed(line) => say.notice(&format!("     {line}")),
        }
    }
    if let Some(run) = &document.run {
        say.notice(&format!("  (RUN is {}, EXEC is {short})", run.id));
    }
    let steps = &document.runbook.steps;
    let manual = steps
        .iter()
        .find(|one| one.id.as_str() == step)
        .and_then(|one| one.manual.as_ref());
    let asked = manual.into_iter().flat_map(|manual| &manual.evidence);
    for (name, what) in asked {
        let lacks = given.did.is_some()
            && given
                .evidence
                .get(name.as_str())
                .is_none_or(|one| one.bytes.trim_ascii().is_empty());
        let lacks = if lacks { " (missing)" } else { "" };
        say.notice(&format!("  evidence {name}{lacks}: {what}"));
    }
    let attach: String = evidence
        .iter()
        .map(|name| format!(" --evidence {name}='TEXT'"))
        .collect();
    say.notice(&format!(
        "then: redress runbook resume {short} --did {step}{attach} --as KEY"
    ));
    say.notice("TEXT may be @FILE; KEY is one of `redress key list`");
}
