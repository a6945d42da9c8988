//! `runs`, `show`: looking, from one moment each.

use redress::view::{RunFilter, RunView};
use redress_ledger::quorum::Quorum;
use redress_ledger::state::State;
use serde_json::{Value, json};

use crate::commands::find_run;
use crate::exit::Exit;
use crate::fail::Fail;
use crate::place::Place;
use crate::text::{local, plain, short};

/// Which runs.
#[derive(Debug, clap::Args)]
pub struct RunsArgs {
    /// Of this saga
    #[arg(long, value_name = "NAME")]
    pub saga: Option<String>,
    /// In this state
    #[arg(long, value_name = "STATE")]
    pub state: Option<String>,
    /// On this subject
    #[arg(long, value_name = "TEXT")]
    pub subject: Option<String>,
    /// That fail alike: a fingerprint of `redress status`, or its first 8 digits
    #[arg(long = "match", value_name = "FINGERPRINT")]
    pub fingerprint: Option<String>,
    /// At most so many, the youngest
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub limit: u32,
}

/// Which run.
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    /// The run: its id, or the beginning of it
    pub run: String,
}

/// Lists runs.
///
/// # Errors
/// RD0924 for a state that is none; [`Fail::Engine`].
pub async fn runs(place: &Place, args: &RunsArgs) -> Result<Exit, Fail> {
    let state = match &args.state {
        None => None,
        Some(text) => Some(text.parse::<State>().map_err(|_| {
            let known: Vec<&str> = State::ALL.iter().map(|state| state.as_str()).collect();
            Fail::own(
                "RD0924",
                format!("a state is one of {}, not {text}", known.join(", ")),
            )
        })?),
    };
    let engine = place.engine().await?;
    let filter = RunFilter {
        saga: args.saga.clone(),
        state,
        subject: args.subject.clone(),
        alike: None,
        limit: Some(args.limit),
    };
    let filter = match &args.fingerprint {
        Some(digits) => RunFilter {
            alike: Some(engine.alike(digits).await?.runs),
            ..filter
        },
        None => filter,
    };
    let runs = engine.runs(&filter).await?;
    if place.say.is_jsonl() {
        for run in &runs {
            place.say.value(&to_value(run)?)?;
        }
    } else if place.say.is_json() {
        place
            .say
            .value(&json!({"schema": 1, "runs": runs, "errors": []}))?;
    } else {
        let rows: Vec<Vec<String>> = runs
            .iter()
            .map(|run| {
                let held = if run.held { " (held)" } else { "" };
                vec![
                    run.run.to_string(),
                    format!("{}{held}", run.state),
                    format!("{} {}", run.saga, run.version),
                    run.subject
                        .as_deref()
                        .map(|text| short(text, SUBJECT_CHARS))
                        .unwrap_or_default(),
                ]
            })
            .collect();
        place
            .say
            .table(&["run", "state", "saga", "subject"], &[0], &rows)?;
        if runs.len() >= usize::try_from(args.limit).unwrap_or(usize::MAX) {
            place.say.notice(&format!(
                "only the youngest {}; --limit N shows more",
                args.limit
            ));
        }
    }
    Ok(Exit::Done)
}

/// Shows a run.
///
/// # Errors
/// [`Fail::Engine`].
pub async fn show(place: &Place, args: &ShowArgs) -> Result<Exit, Fail> {
    let engine = place.engine().await?;
    let run = find_run(&engine, &args.run).await?;
    print_run(place, &engine.show(run).await?)?;
    Ok(Exit::Done)
}

/// Prints a run as JSON or for people.
///
/// # Errors
/// [`Fail`] when standard output cannot be written.
pub fn print_run(place: &Place, view: &RunView) -> Result<(), Fail> {
    if place.say.is_json() {
        return place.say.value(&to_value(view)?);
    }
    let say = &place.say;
    say.line(&format!("run      {}", view.run))?;
    say.line(&format!(
        "saga     {} version {}",
        plain(&view.saga),
        view.version
    ))?;
    if let Some(subject) = &view.subject {
        say.line(&format!("subject  {}", plain(subject)))?;
    }
    say.line(&format!("state    {}", view.state))?;
    say.line(&format!(
        "opened   {} by {}",
        local(&view.opened_at),
        plain(&view.requester)
    ))?;
    if let Some(ended) = &view.ended_at {
        say.line(&format!("ended    {}", local(ended)))?;
    }
    if let Some(error) = &view.error {
        say.line(&format!(
            "error    [{}] {}",
            error.code,
            plain(&error.message)
        ))?;
    }
    for hold in &view.held {
        say.line(&format!(
            "held     {} ({}): {}",
            hold.id,
            hold.scope,
            plain(&hold.reason)
        ))?;
    }
    if view.switch != "run" {
        say.line(&format!("switch   {}", view.switch))?;
    }
    say.line(&format!(
        "head     record {}, {}",
        view.head.seq, view.head.hash
    ))?;
    print_phases(place, view)?;
    print_plan(place, view)?;
    if let Some(next) = &view.next {
        let who: Vec<String> = next.who.iter().map(ToString::to_string).collect();
        let who = if who.is_empty() {
            String::new()
        } else {
            format!(" ({})", who.join(", "))
        };
        say.line(&format!("next     {}{who}", plain(&next.what)))?;
        say.line(&format!("         {}", plain(&next.command)))?;
    }
    Ok(())
}

fn print_phases(place: &Place, view: &RunView) -> Result<(), Fail> {
    let rows: Vec<Vec<String>> = view
        .phases
        .iter()
        .map(|phase| {
            let record = phase
                .record
                .map(|record| record.seq.to_string())
                .unwrap_or_default();
            let error = phase
                .error
                .as_ref()
                .map(|error| format!("[{}] {}", error.code, error.message));
            vec![
                phase.name.to_string(),
                match phase.in_doubt {
                    true => format!("{}, in doubt", phase.state),
                    false => phase.state.to_owned(),
                },
                phase.attempts.to_string(),
                record,
                error.unwrap_or_default(),
            ]
        })
        .collect();
    place.say.table(
        &["phase", "state", "tries", "record", "error"],
        &[0, 1],
        &rows,
    )
}

fn print_plan(place: &Place, view: &RunView) -> Result<(), Fail> {
    let Some(plan) = &view.plan else {
        return Ok(());
    };
    let state = to_value(&plan.state)?;
    let state = state.as_str().unwrap_or_default().to_owned();
    place.say.line(&format!("plan     {}", plan.digest))?;
    place.say.line(&format!(
        "         {state}, made on record {}, to sign: {}",
        plan.basis.seq,
        quorum_text(&plan.quorum)
    ))?;
    for approval in &plan.approvals {
        let counts = if approval.counts {
            ""
        } else {
            ", does not count"
        };
        place.say.line(&format!(
            "         signed by {} ({}){counts}",
            plain(&approval.principal),
            approval.role
        ))?;
    }
    let rows: Vec<Vec<String>> = plan
        .actions
        .iter()
        .map(|action| {
            vec![
                action.phase.to_string(),
                action.action.as_str().to_owned(),
                action.why.clone(),
            ]
        })
        .collect();
    place.say.table(&["phase", "action", "why"], &[0, 1], &rows)
}

/// Who must sign, in words.
pub fn quorum_text(quorum: &Quorum) -> String {
    let needed: Vec<String> = quorum
        .iter()
        .filter(|(_, n)| **n > 0)
        .map(|(role, n)| format!("{n} {role}"))
        .collect();
    if needed.is_empty() {
        "nobody".to_owned()
    } else {
        needed.join(", ")
    }
}

/// Plain data as JSON.
///
/// # Errors
/// RD0921, which no type of the engine gives.
pub fn to_value(data: &impl serde::Serialize) -> Result<Value, Fail> {
    serde_json::to_value(data).map_err(|error| Fail::own("RD0921", error.to_string()))
}

const SUBJECT_CHARS: usize = 40;
