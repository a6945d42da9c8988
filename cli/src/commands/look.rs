//! `runs`: which there are; and words that several screens share.

use redress::view::RunFilter;
use redress_ledger::quorum::Quorum;
use redress_ledger::state::State;
use serde_json::{Value, json};

use crate::exit::Exit;
use crate::fail::Fail;
use crate::place::Place;
use crate::text::short;

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
