//! `start`: opens a run, and with `--wait` drives it here.

use std::path::Path;

use serde_json::{Value, json};

use crate::commands::saga::SagaFile;
use crate::commands::show::print_run;
use crate::exit::Exit;
use crate::fail::Fail;
use crate::place::Place;
use crate::read::input;
use crate::say::spread;

/// What to start.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A registered saga, or a saga file, which is registered first
    #[arg(value_name = "SAGA|FILE")]
    pub saga: String,
    /// The input: JSON, @FILE, or @- for standard input
    #[arg(long, value_name = "JSON|@FILE", default_value = "{}")]
    pub input: String,
    /// Same key and same input: the same run; other input: a conflict
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// A version of a registered saga [default: the newest]
    #[arg(long, value_name = "N")]
    pub version: Option<i32>,
    /// Drive it here and wait for its end
    #[arg(long)]
    pub wait: bool,
    /// Only judge the input and show the phases in their order
    #[arg(long, conflicts_with = "wait")]
    pub dry_run: bool,
}

/// Starts a run.
///
/// # Errors
/// [`Fail`]: nothing was started.
pub async fn start(place: &Place, args: &Args) -> Result<Exit, Fail> {
    let input = input(&args.input)?;
    let file = if is_file(&args.saga) {
        Some(SagaFile::read(Path::new(&args.saga))?)
    } else {
        None
    };
    let engine = place.engine_asked().await?;
    let mut version = args.version;
    let saga = match &file {
        None => args.saga.clone(),
        Some(file) => {
            if let Some(asked) =
                version.filter(|asked| i64::from(*asked) != i64::from(file.definition.version))
            {
                let text = format!(
                    "--version {asked} is not the file's version {}",
                    file.definition.version
                );
                return Err(Fail::own("RD0924", text));
            }
            file.register(&engine).await?;
            version = i32::try_from(file.definition.version).ok();
            file.definition.saga.to_string()
        }
    };
    let mut start = engine.start(&saga, input);
    if let Some(key) = &args.key {
        start = start.key(key);
    }
    if let Some(version) = version {
        start = start.version(version);
    }
    if args.dry_run {
        let phases = start.dry_run().await?;
        return dry_run(place, &saga, &phases);
    }
    if args.wait {
        let (started, outcome) = engine.start_and_drive(start).await?;
        if !started.opened {
            place.say.notice(&format!(
                "the key is known, this is its run {}",
                started.run
            ));
        }
        let view = engine.show(started.run).await?;
        print_run(place, &view)?;
        return Ok(Exit::of_outcome(&outcome));
    }
    let started = start.open().await?;
    if place.say.is_json() {
        place.say.value(&json!({
            "schema": 1,
            "run": started.run,
            "saga": saga,
            "opened": started.opened,
            "errors": [],
        }))?;
    } else {
        place.say.data(started.run)?;
        let text = if started.opened {
            "opened; a worker (`redress work`) drives it"
        } else {
            "the key is known, this is its run"
        };
        place.say.notice(text);
    }
    Ok(Exit::Done)
}

/// A name has neither a dot nor a slash, so the two cannot be confused.
pub(super) fn is_file(text: &str) -> bool {
    text.contains(['/', '.'])
}

fn dry_run(place: &Place, saga: &str, phases: &[redress::definition::Phase]) -> Result<Exit, Fail> {
    if place.say.is_json() {
        let list: Vec<Value> = phases
            .iter()
            .map(|phase| {
                json!({
                    "name": phase.name,
                    "adapter": phase.adapter,
                    "writes": phase.writes,
                    "compensation": phase.compensation.as_str(),
                })
            })
            .collect();
        place
            .say
            .value(&json!({"schema": 1, "saga": saga, "phases": list, "errors": []}))?;
    } else {
        let rows: Vec<Vec<String>> = phases
            .iter()
            .flat_map(|phase| {
                spread(
                    &[
                        phase.name.as_str(),
                        phase.adapter.as_str(),
                        phase.compensation.as_str(),
                    ],
                    &phase.writes,
                )
            })
            .collect();
        place
            .say
            .table(&["phase", "adapter", "way back", "writes"], &[0], &rows)?;
        place
            .say
            .notice("the input is accepted; nothing was started");
    }
    Ok(Exit::Done)
}
