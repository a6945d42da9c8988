//! `approve RUN --phase PHASE`: somebody lets a phase go on that waits for signatures.
//!
//! **Invariant:** what the run has done so far is shown before anybody is asked to sign.

use redress::Engine;
use redress_ledger::quorum::Quorum;
use serde_json::json;

use crate::commands::apart;
use crate::commands::find_run;
use crate::commands::look::quorum_text;
use crate::commands::plan::ApproveArgs;
use crate::commands::show::print_run;
use crate::exit::Exit;
use crate::fail::Fail;
use crate::place::Place;
use crate::text::short_id;

/// Signs that a phase may run, or records what was signed elsewhere.
///
/// # Errors
/// [`Fail`]: the signature does not count.
pub async fn approve_phase(
    place: &Place,
    engine: &Engine,
    args: &ApproveArgs,
    (run, phase): (&str, &str),
) -> Result<Exit, Fail> {
    let run = find_run(engine, run).await?;
    if let Some(out) = &args.out {
        let decision = engine.decision_on_phase(run, phase, &args.reason).await?;
        let written = apart::write_out(&decision, out)?;
        apart::tell(place, &format!("{run} --phase {phase}"), &written)?;
        return Ok(Exit::Done);
    }
    let approval = match &args.signature {
        Some(file) => {
            let decision = args.decision.as_deref();
            let envelope = apart::read_signed(place, engine, file, decision).await?;
            engine.approve_phase_envelope(run, phase, envelope).await?
        }
        None => {
            // Refused before anybody is asked for a passphrase.
            place.expect_signer()?;
            let decision = engine.decision_on_phase(run, phase, &args.reason).await?;
            if !place.say.is_json() {
                print_run(place, &engine.show(run).await?).map_err(Fail::unread)?;
            }
            place.say.notice(&format!(
                "phase {phase} may run then; valid until {}. Reason: {}",
                decision.not_after, args.reason
            ));
            place.confirm("this phase", &short_id(run))?;
            let signer = place.signing_key()?;
            engine
                .approve_phase(run, phase, &signer.key, &args.reason)
                .await?
        }
    };
    let missing: Quorum = engine.phase_lacks(run, phase).await.unwrap_or_default();
    if place.say.is_json() {
        place.say.value(&json!({
            "schema": 1,
            "run": run,
            "phase": phase,
            "decision": approval.decision.id,
            "principal": approval.signer.principal,
            "role": approval.signer.role.as_str(),
            "missing": (!missing.is_empty()).then(|| quorum_text(&missing)),
            "errors": [],
        }))?;
        return Ok(Exit::Done);
    }
    place.say.line(&format!(
        "phase {phase} approved by {} ({})",
        approval.signer.principal, approval.signer.role
    ))?;
    match missing.is_empty() {
        false => place
            .say
            .notice(&format!("still missing: {}", quorum_text(&missing))),
        true => place
            .say
            .notice("the run goes on as soon as a worker takes it up: redress work"),
    }
    Ok(Exit::Done)
}
