//! `plan`, `approve`, `apply`: what was approved is exactly what runs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use redress::name::Name;
use redress::plan::{Action, Plan};
use redress::{Engine, Error, StoredPlan};
use redress_ledger::Hash;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::commands::find_run;
use crate::commands::page::{self, Page, prefix};
use crate::commands::set::{self, SetArgs};
use crate::commands::show::print_run;
use crate::commands::{apart, bulk, consent, execute};
use crate::exit::Exit;
use crate::fail::Fail;
use crate::place::Place;
use crate::read::{read_file, strict_json};

/// What to plan.
#[derive(Debug, clap::Args)]
pub struct PlanArgs {
    /// The run: its id, or the beginning or end of it
    #[arg(
        required_unless_present = "fingerprint",
        conflicts_with_all = ["fingerprint", "limit", "set"]
    )]
    pub run: Option<String>,
    /// Another action than the definition declares, such as cut_leg_a=hard_delete
    #[arg(long, value_name = "PHASE=ACTION", conflicts_with = "fingerprint")]
    pub action: Vec<String>,
    /// Why; a new plan is made for a new reason
    #[arg(long, value_name = "TEXT", conflicts_with = "fingerprint")]
    pub reason: Option<String>,
    /// Write the plan into a file, for somebody to sign elsewhere
    #[arg(long, value_name = "FILE", conflicts_with = "fingerprint")]
    pub out: Option<PathBuf>,
    /// The plans of runs that fail alike, as one set.
    #[command(flatten)]
    pub set: SetArgs,
}

/// What to approve.
#[derive(Debug, clap::Args)]
pub struct ApproveArgs {
    /// The plan: its digest or 8 characters of its beginning, its run, a file of `plan --out`, or an execution of a runbook; with --phase, the run
    #[arg(
        value_name = "PLAN|FILE|RUN",
        required_unless_present = "fingerprint",
        conflicts_with_all = ["fingerprint", "limit", "set", "confirm"]
    )]
    pub plan: Option<String>,
    /// Let this phase of the run go on, which waits for signatures
    #[arg(long, value_name = "PHASE", conflicts_with = "fingerprint")]
    pub phase: Option<String>,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "approved")]
    pub reason: String,
    /// What was signed elsewhere: a signature of `ssh-keygen -Y sign`, or a DSSE envelope
    #[arg(long, value_name = "FILE", conflicts_with_all = ["signer", "fingerprint"])]
    pub signature: Option<PathBuf>,
    /// The decision that a signature of `ssh-keygen` is about [default: FILE of --signature FILE.tbs.sig]
    #[arg(long, value_name = "FILE", requires = "signature")]
    pub decision: Option<PathBuf>,
    /// Sign nothing; write the decision for somebody to sign elsewhere
    #[arg(long, value_name = "FILE", conflicts_with_all = ["signer", "signature", "fingerprint"])]
    pub out: Option<PathBuf>,
    /// The plans of runs that fail alike, as one set.
    #[command(flatten)]
    pub set: SetArgs,
    /// The set's code, where nobody can be asked for it
    #[arg(long, value_name = "CODE", requires = "fingerprint")]
    pub confirm: Option<String>,
}

/// What to apply.
#[derive(Debug, clap::Args)]
pub struct ApplyArgs {
    /// The plan: its digest or 8 characters of its beginning, its run, or a file of `plan --out`
    #[arg(
        value_name = "PLAN|FILE",
        required_unless_present = "fingerprint",
        conflicts_with_all = ["fingerprint", "limit", "set", "confirm", "release"]
    )]
    pub plan: Option<String>,
    /// Why, in each decision that is signed for --match
    #[arg(long, value_name = "TEXT", conflicts_with = "plan")]
    pub reason: Option<String>,
    /// All runs that fail alike, as one set.
    #[command(flatten)]
    pub set: SetArgs,
    /// The set's code, where nobody can be asked for it
    #[arg(long, value_name = "CODE", requires = "fingerprint")]
    pub confirm: Option<String>,
    /// Then release the holds that are about a recovered run: on itself, or on its subject by its own failure
    #[arg(long, requires = "fingerprint")]
    pub release: bool,
}

/// Makes the plan of a run, or shows the one that stands.
///
/// # Errors
/// [`Fail`]: no plan.
pub async fn plan(place: &Place, args: &PlanArgs) -> Result<Exit, Fail> {
    let Some(run) = &args.run else {
        return set::show(place, &args.set).await;
    };
    let overrides = overrides_of(&args.action)?;
    let engine = place.engine_asked().await?;
    let run = find_run(&engine, run).await?;
    let stored = match standing_plan(&engine, run, args).await? {
        Some(stored) => stored,
        None => {
            engine
                .plan(run, overrides, args.reason.as_deref().unwrap_or(REASON))
                .await?
        }
    };
    if let Some(out) = &args.out {
        let file = json!({"schema": 1, "digest": stored.digest, "plan": plan_value(&stored.plan)?});
        fs::write(out, format!("{file:#}\n")).map_err(|error| {
            Fail::own(
                "RD0921",
                format!(
                    "the plan is stored, the file could not be written: {error}, {}",
                    out.display()
                ),
            )
        })?;
        place.say.notice(&format!("written to {}", out.display()));
    }
    let page = Page::read(&engine, &stored).await?;
    if place.say.is_json() {
        let mut value = json!({
            "schema": 1,
            "digest": stored.digest,
            "plan": plan_value(&stored.plan)?,
            "errors": [],
        });
        page.add_to(&mut value)?;
        place.say.value(&value)?;
    } else {
        page.print(place)?;
        if stored.plan.refused {
            place.say.notice(
                "an action is refused, so nothing can start: choose another with --action PHASE=ACTION",
            );
        }
    }
    Ok(if stored.plan.refused {
        Exit::Refused
    } else {
        Exit::Done
    })
}

/// The plan that was made when the run failed, unless something else is asked for or the run has moved on.
async fn standing_plan(
    engine: &Engine,
    run: Uuid,
    args: &PlanArgs,
) -> Result<Option<StoredPlan>, Fail> {
    if !args.action.is_empty() || args.reason.is_some() {
        return Ok(None);
    }
    let found = match engine.find_plan(&run.to_string()).await {
        Err(Error::UnknownPlan(_)) => return Ok(None),
        other => other?,
    };
    match engine.decision_on(&found, REASON).await {
        Ok(_) => Ok(Some(found)),
        Err(Error::PlanRefused { .. }) => Ok(Some(found)),
        Err(_) => Ok(None),
    }
}

/// Signs a plan.
///
/// # Errors
/// [`Fail`]: the approval does not count.
pub async fn approve(place: &Place, args: &ApproveArgs) -> Result<Exit, Fail> {
    let Some(plan) = &args.plan else {
        let confirm = args.confirm.as_deref();
        return bulk::approve(place, &args.set, confirm, Some(&args.reason)).await;
    };
    let engine = place.engine().await?;
    if let Some(phase) = &args.phase {
        return consent::approve_phase(place, &engine, args, (plan, phase)).await;
    }
    let stored = match find_plan(&engine, plan).await {
        // No plan of a run: one of a runbook, then.
        Err(Fail::Engine(Error::UnknownPlan(text))) => match engine.execution(&text).await {
            Ok(execution) => return execute::approve(place, &engine, &execution, args).await,
            Err(_) => return Err(Error::UnknownPlan(text).into()),
        },
        other => other?,
    };
    if let Some(out) = &args.out {
        let decision = engine.decision_on(&stored, &args.reason).await?;
        let written = apart::write_out(&decision, out)?;
        apart::tell(place, &stored.digest.to_string(), &written)?;
        return Ok(Exit::Done);
    }
    let approval = match &args.signature {
        Some(file) => {
            let decision = args.decision.as_deref();
            let envelope = apart::read_signed(place, &engine, file, decision).await?;
            engine.approve_envelope(&stored, envelope).await?
        }
        None => {
            // Refused before anybody is asked for a passphrase.
            place.expect_signer()?;
            let decision = engine.decision_on(&stored, &args.reason).await?;
            if !place.say.is_json() {
                let page = Page::read(&engine, &stored).await?;
                page.print(place).map_err(Fail::unread)?;
            }
            place.say.notice(&format!(
                "valid until {}. Reason: {}",
                decision.not_after, args.reason
            ));
            place.confirm("this plan", &page::word(&stored))?;
            let signer = place.signing_key()?;
            engine.approve(&stored, &signer.key, &args.reason).await?
        }
    };
    let missing = missing_of(&engine, &stored).await?;
    if place.say.is_json() {
        place.say.value(&json!({
            "schema": 1,
            "plan": stored.digest,
            "run": stored.plan.run,
            "decision": approval.decision.id,
            "principal": approval.signer.principal,
            "role": approval.signer.role.as_str(),
            "missing": missing,
            "errors": [],
        }))?;
    } else {
        place.say.line(&format!(
            "approved by {} ({})",
            approval.signer.principal, approval.signer.role
        ))?;
        match &missing {
            Some(missing) => place.say.notice(&format!("still missing: {missing}")),
            None => place
                .say
                .notice(&format!("next: redress apply {}", prefix(stored.digest))),
        }
    }
    Ok(Exit::Done)
}

async fn missing_of(engine: &Engine, stored: &StoredPlan) -> Result<Option<String>, Fail> {
    let approvals = engine.approvals(stored).await?;
    let signers: Vec<_> = approvals
        .into_iter()
        .map(|approval| approval.signer)
        .collect();
    let missing =
        redress_ledger::quorum_missing(&stored.plan.quorum, &signers, &stored.plan.cause.requester);
    Ok(missing.err().map(|missing| missing.to_string()))
}

/// Carries out an approved plan.
///
/// # Errors
/// [`Fail`]: nothing was changed, or the run is stuck and the error says what stands.
pub async fn apply(place: &Place, args: &ApplyArgs) -> Result<Exit, Fail> {
    let Some(plan) = &args.plan else {
        let confirm = args.confirm.as_deref();
        let reason = args.reason.as_deref();
        return bulk::apply(place, &args.set, confirm, reason, args.release).await;
    };
    let engine = place.engine().await?;
    let stored = find_plan(&engine, plan).await?;
    let outcome = engine.apply(&stored).await?;
    let run = outcome.run().id;
    print_run(place, &engine.show(run).await?)?;
    Ok(match outcome {
        // It did what was asked.
        redress::Outcome::Compensated(_) => Exit::Done,
        _ if stored.plan.stops_at.is_some() => Exit::Done,
        other => Exit::of_outcome(&other),
    })
}

/// The plan that is meant: a digest, the beginning of one, a run, or a file.
async fn find_plan(engine: &Engine, text: &str) -> Result<StoredPlan, Fail> {
    if text.contains(['/', '.']) {
        let digest = digest_of_file(Path::new(text))?;
        return Ok(engine.find_plan(&digest.to_string()).await?);
    }
    match engine.find_plan(text).await {
        Err(Error::UnknownPlan(_)) => {}
        other => return Ok(other?),
    }
    // The beginning of a run's id, then: its own plan is meant.
    match engine.find_run(text).await {
        Ok(run) => Ok(engine.find_plan(&run.to_string()).await?),
        Err(_) => Err(Error::UnknownPlan(text.to_owned()).into()),
    }
}

/// Reads a file of `plan --out` and computes its digest anew: what is signed is what was read.
fn digest_of_file(path: &Path) -> Result<Hash, Fail> {
    let value = strict_json(
        &read_file(path, PLAN_BYTES_MAX)?,
        &path.display().to_string(),
    )?;
    let broken = |why: &str| Fail::own("RD0917", format!("{why}, plan file {}", path.display()));
    let stated = value
        .get("digest")
        .and_then(Value::as_str)
        .ok_or_else(|| broken("it names no digest"))?;
    let plan = value
        .get("plan")
        .ok_or_else(|| broken("it holds no plan"))?;
    let plan: Plan = serde_json::from_value(plan.clone())
        .map_err(|error| broken(&format!("it holds no plan ({error})")))?;
    let digest = plan.digest().map_err(Error::from)?;
    if digest.to_string() == stated {
        Ok(digest)
    } else {
        Err(broken("the plan in it is not the one of its digest"))
    }
}

fn overrides_of(texts: &[String]) -> Result<BTreeMap<Name, Action>, Fail> {
    let mut overrides = BTreeMap::new();
    for text in texts {
        let usage = |why: String| Fail::own("RD0924", format!("--action {text}: {why}"));
        let (phase, action) = text
            .split_once('=')
            .ok_or_else(|| usage("write PHASE=ACTION".to_owned()))?;
        let phase: Name = phase.parse().map_err(|error| usage(format!("{error}")))?;
        let action = CHOICES
            .into_iter()
            .find(|known| known.as_str() == action)
            .ok_or_else(|| {
                usage(format!(
                    "an action is one of {}",
                    CHOICES.map(Action::as_str).join(", ")
                ))
            })?;
        if overrides.insert(phase, action).is_some() {
            return Err(usage("the phase has an action already".to_owned()));
        }
    }
    Ok(overrides)
}

pub(super) fn plan_value(plan: &Plan) -> Result<Value, Fail> {
    serde_json::to_value(plan).map_err(|error| Fail::own("RD0917", error.to_string()))
}

/// What a person may ask for.
const CHOICES: [Action; 5] = [
    Action::Discard,
    Action::SoftRevert,
    Action::Restore,
    Action::Decide,
    Action::HardDelete,
];
const REASON: &str = "asked for by an operator";
const PLAN_BYTES_MAX: usize = 16 << 20;
