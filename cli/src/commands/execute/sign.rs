//! What a person confirms before a runbook is carried out, and who signs that it may be.

use redress::Engine;
use redress::step::Execution;
use redress_runbooks::execute::{Document, missing};
use serde_json::json;

use super::page::{print_plan, read};
use crate::commands::apart;
use crate::commands::plan::ApproveArgs;
use crate::exit::Exit;
use crate::fail::Fail;
use crate::place::Place;
use crate::text::short_id;

/// Signs that an execution may be carried out.
///
/// # Errors
/// [`Fail::Engine`]: the signature does not count, and why.
pub async fn approve(
    place: &Place,
    engine: &Engine,
    execution: &Execution,
    args: &ApproveArgs,
) -> Result<Exit, Fail> {
    let document = read(execution)?;
    if let Some(file) = &args.signature {
        let envelope = apart::read_signed(place, engine, file, args.decision.as_deref()).await?;
        let approval = engine.approve_execution(execution, envelope).await?;
        return approved(place, engine, execution, &approval).await;
    }
    let decision = engine
        .decision_on_execution(execution, &args.reason)
        .await?;
    if let Some(out) = &args.out {
        let written = apart::write_out(&decision, out)?;
        apart::tell(place, &execution.id.to_string(), &written)?;
        return Ok(Exit::Done);
    }
    place.expect_signer()?;
    if !place.say.is_json() {
        print_plan(place, execution, &document)?;
    }
    place.say.notice(&format!(
        "valid until {}. Reason: {}",
        decision.not_after, args.reason
    ));
    place.confirm("this runbook's plan", &word(&document))?;
    let key = place.signing_key()?;
    let envelope = redress_ledger::sign(&decision, &key.key).map_err(redress::Error::from)?;
    let approval = engine.approve_execution(execution, envelope).await?;
    approved(place, engine, execution, &approval).await
}

/// Tells whose signature counts now, and what comes next.
async fn approved(
    place: &Place,
    engine: &Engine,
    execution: &Execution,
    approval: &redress::Approval,
) -> Result<Exit, Fail> {
    let lacks = missing(engine, execution, &read(execution)?).await?;
    let lacks = lacks.map(|lacks| lacks.to_string());
    if place.say.is_json() {
        place.say.value(&json!({
            "schema": 1,
            "execution": execution.id,
            "plan": execution.plan,
            "decision": approval.decision.id,
            "principal": approval.signer.principal,
            "role": approval.signer.role.as_str(),
            "missing": lacks,
            "errors": [],
        }))?;
        return Ok(Exit::Done);
    }
    let role = approval.signer.role;
    place.say.line(&format!(
        "approved by {} ({role})",
        approval.signer.principal
    ))?;
    match lacks {
        Some(lacks) => place.say.notice(&format!(
            "{lacks}. Next: redress approve {} --as KEY",
            short_id(execution.id)
        )),
        None => place.say.notice(&format!(
            "next: redress runbook resume {} --as KEY",
            short_id(execution.id)
        )),
    }
    Ok(Exit::Done)
}

/// What a person types to confirm: the run's short id, or the runbook's name where it is about none.
fn word(document: &Document) -> String {
    match &document.run {
        Some(run) => short_id(run.id),
        None => document.runbook.runbook.to_string(),
    }
}

pub(super) fn confirm(place: &Place, document: &Document, given: Option<&str>) -> Result<(), Fail> {
    let word = word(document);
    match given {
        Some(text) if text == word => Ok(()),
        Some(_) => Err(Fail::own(
            "RD0916",
            format!("--confirm must be {word}: nothing was begun"),
        )),
        None => match place.confirm("and carry out this runbook", &word) {
            Err(fail) if fail.code() == "RD0913" => Err(Fail::own(
                "RD0913",
                format!(
                    "nobody can be asked here: give --confirm {word}; it is planned, `redress runbook resume {} --confirm {word} --as KEY` begins it",
                    document.execution
                ),
            )),
            other => other,
        },
    }
}
