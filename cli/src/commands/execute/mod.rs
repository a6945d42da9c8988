//! `runbook run`, `resume`, `abandon`, `executions`: carrying out a runbook, from its plan to its end.
//!
//! ```text
//! given (what was typed) -> mod (plan, resume, abandon) -> sign (confirm, approve) -> carry (step by step) -> page, list
//! ```

mod carry;
mod given;
mod list;
mod page;
mod sign;

use std::collections::BTreeMap;

use redress::step::{ExecutionState, Note};
use redress_runbooks::execute::{Given, Request, missing, plan};
use redress_runbooks::model::Runbook;
use serde_json::Map;

use self::carry::{carry_out, operator};
use self::given::{evidence, pairs, pairs_of};
pub use self::list::{executions, show};
pub use self::page::who_signs;
use self::page::{print_json, print_plan, read};
pub use self::sign::approve;
use self::sign::confirm;
use crate::commands::find_run;
use crate::exit::Exit;
use crate::fail::Fail;
use crate::place::Place;
use crate::text::short_id;

/// What to carry out.
#[derive(Debug, clap::Args)]
pub struct CarryArgs {
    /// The runbook: its name, or a file
    #[arg(value_name = "NAME|FILE")]
    pub name: String,
    /// The run that it is about: its id, or the beginning or end of it
    #[arg(long, value_name = "RUN")]
    pub run: Option<String>,
    /// A parameter; a value that begins with @ is read from a file
    #[arg(long = "set", value_name = "NAME=VALUE")]
    pub set: Vec<String>,
    /// Why
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "carried out by an operator"
    )]
    pub reason: String,
    /// Only plan: look, ask the checks, store what would be done
    #[arg(long)]
    pub plan: bool,
    /// The short code of what is confirmed, where nobody can be asked: the run's short id, or the runbook's name
    #[arg(long, value_name = "CODE")]
    pub confirm: Option<String>,
}

/// What to go on with.
#[derive(Debug, clap::Args)]
pub struct ResumeArgs {
    /// The execution: its id, or the beginning or end of it
    #[arg(value_name = "EXEC")]
    pub execution: String,
    /// The step by hand that was done
    #[arg(long, value_name = "STEP")]
    pub did: Option<String>,
    /// What the step asks for; a value that begins with @ is a file
    #[arg(long, value_name = "NAME=VALUE", requires = "did")]
    pub evidence: Vec<String>,
    /// The short code of what is confirmed, where nobody can be asked
    #[arg(long, value_name = "CODE")]
    pub confirm: Option<String>,
}

/// What to give up.
#[derive(Debug, clap::Args)]
pub struct AbandonArgs {
    /// The execution: its id, or the beginning or end of it
    #[arg(value_name = "EXEC")]
    pub execution: String,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}

/// Which executions.
#[derive(Debug, clap::Args)]
pub struct ExecutionsArgs {
    /// Of this run
    #[arg(long, value_name = "RUN")]
    pub run: Option<String>,
    /// Only those that are under way
    #[arg(long)]
    pub open: bool,
}

/// Plans a runbook, and carries it out once the person has confirmed it and everybody has signed.
///
/// # Errors
/// [`Fail::Execute`]: a refusal is recorded; what was done is in the log.
pub async fn run(place: &Place, args: &CarryArgs, runbook: Runbook) -> Result<Exit, Fail> {
    let engine = place.engine().await?;
    let run = match &args.run {
        Some(text) => Some(find_run(&engine, text).await?),
        None => None,
    };
    let request = Request {
        runbook,
        run,
        params: pairs(&args.set, "--set")?,
        reason: args.reason.clone(),
    };
    let key = place.signing_key()?;
    let operator = operator(&engine, &key.key);
    let (execution, document) = plan(&operator, &request).await?;
    let lacks = missing(&engine, &execution, &document).await?;
    if !place.say.is_json() {
        print_plan(place, &execution, &document)?;
    }
    let short = short_id(execution.id);
    if let Some(lacks) = lacks {
        if place.say.is_json() {
            print_json(place, &execution, &document, Some(lacks.to_string()))?;
        } else {
            let whose = match document.runbook.approvals.distinct {
                true => format!(" ({}, who asks for it, does not count)", execution.made_by),
                false => String::new(),
            };
            place.say.notice(&format!(
                "{lacks}{whose}. Next: redress approve {short} --as KEY, then redress runbook resume {short} --as KEY"
            ));
        }
        return Ok(if args.plan {
            Exit::Done
        } else {
            Exit::Approvals
        });
    }
    if args.plan {
        if place.say.is_json() {
            print_json(place, &execution, &document, None)?;
        } else {
            place
                .say
                .notice(&format!("next: redress runbook resume {short} --as KEY"));
        }
        return Ok(Exit::Done);
    }
    confirm(place, &document, args.confirm.as_deref())?;
    carry_out(place, &operator, &execution, &document, &Given::default()).await
}

/// Goes on with an execution: begins one that was planned, or carries on behind its last step.
///
/// # Errors
/// [`Fail::Execute`].
pub async fn resume(place: &Place, args: &ResumeArgs) -> Result<Exit, Fail> {
    let engine = place.engine().await?;
    let execution = engine.execution(&args.execution).await?;
    let document = read(&execution)?;
    let mut given = Given {
        did: args.did.clone(),
        evidence: BTreeMap::new(),
    };
    for (name, value) in pairs_of(&args.evidence, "--evidence")? {
        given.evidence.insert(name, evidence(&value)?);
    }
    let key = place.signing_key()?;
    let operator = operator(&engine, &key.key);
    if execution.state == ExecutionState::Planned {
        if !place.say.is_json() {
            print_plan(place, &execution, &document)?;
        }
        confirm(place, &document, args.confirm.as_deref())?;
    }
    carry_out(place, &operator, &execution, &document, &given).await
}

/// Gives an execution up; what its steps have done stands.
///
/// # Errors
/// [`Fail::Engine`].
pub async fn abandon(place: &Place, args: &AbandonArgs) -> Result<Exit, Fail> {
    let engine = place.engine().await?;
    let execution = engine.execution(&args.execution).await?;
    if !execution.state.is_open() {
        return Err(redress::Error::ExecutionState {
            execution: execution.id,
            state: execution.state.as_str(),
            needed: "only one that is not over is given up",
        }
        .into());
    }
    let key = place.signing_key()?;
    let who = operator(&engine, &key.key);
    let mut hand = engine
        .take_execution(execution.id, &format!("{} on {}", who.person, who.host))
        .await?;
    let note = Note {
        event: "abandoned",
        step: "abandon",
        advances: false,
        state: ExecutionState::Abandoned,
        reason: &args.reason,
        body: Map::new(),
    };
    let recorded = engine.record_step(&mut hand, note, &key.key, None).await;
    engine.leave_execution(&hand).await?;
    recorded?;
    show(place, &engine, &execution.id.to_string()).await
}
