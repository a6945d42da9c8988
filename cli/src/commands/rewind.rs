//! `rewind`, `rewinds`: back to a phase, and what became of it.

use redress::definition::Then;
use redress::name::Name;
use redress::view::{RewindFilter, RewindLine, RewindStatus};
use redress::{Engine, Error, Rewind, RunRow, StoredPlan};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::commands::find_run;
use crate::commands::page::Page;
use crate::commands::plan::plan_value;
use crate::commands::show::print_run;
use crate::exit::Exit;
use crate::fail::Fail;
use crate::place::Place;
use crate::text::local;

/// Where to go back to.
#[derive(Debug, clap::Args)]
pub struct RewindArgs {
    /// The run: its id, or the beginning or end of it
    pub run: String,
    /// The phase at which you believe the run to be; refused as stale (exit 6) when it is another
    #[arg(long, value_name = "PHASE")]
    pub from: Option<String>,
    /// The phase to go back to: it is undone last and runs next
    #[arg(long, value_name = "PHASE", required_unless_present = "repair")]
    pub to: Option<String>,
    /// Why
    #[arg(long, value_name = "TEXT", required_unless_present_any = ["repair", "dry_run"])]
    pub reason: Option<String>,
    /// What follows: `stop` leaves the run failed until `redress resume`, `resume` lets it go on at once
    #[arg(long, value_name = "stop|resume", default_value = "stop", value_parser = ["stop", "resume"])]
    pub then: String,
    /// Only show the plan; nothing is changed
    #[arg(long, conflicts_with = "repair")]
    pub dry_run: bool,
    /// Finish a rewind that was left half done; where none is, nothing is changed
    #[arg(long)]
    pub repair: bool,
}

/// Which rewinds.
#[derive(Debug, clap::Args)]
pub struct RewindsArgs {
    /// Of this run
    #[arg(long, value_name = "RUN")]
    pub run: Option<String>,
    /// pending, running, succeeded or failed
    #[arg(long, value_name = "STATUS")]
    pub status: Option<String>,
    /// Back to this phase
    #[arg(long, value_name = "PHASE")]
    pub to: Option<String>,
    /// Planned at this time or later, such as 2026-03-01 or 2026-03-01T12:00Z
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Planned before this time
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// At most so many, the youngest
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub limit: u32,
}

/// Goes back to a phase.
///
/// # Errors
/// [`Fail`]: nothing was changed, or the error says what stands.
pub async fn rewind(place: &Place, args: &RewindArgs) -> Result<Exit, Fail> {
    let then = match args.then.as_str() {
        "resume" => Then::Resume,
        _ => Then::Stop,
    };
    let from = args.from.as_deref().map(|text| name("--from", text));
    let from = from.transpose()?;
    let to = args.to.as_deref().map(|text| name("--to", text));
    let to = to.transpose()?;
    let reason = args.reason.clone().unwrap_or_default();
    let engine = place.engine_asked().await?;
    let run = find_run(&engine, &args.run).await?;
    let rewound = if args.repair {
        engine
            .repair_rewind(run, args.reason.as_deref().unwrap_or(REPAIR))
            .await?
    } else {
        let Some(to) = to else {
            return Err(Fail::own("RD0924", "--to PHASE is missing".to_owned()));
        };
        let asked = Rewind {
            to,
            from,
            then,
            reason,
        };
        if args.dry_run {
            return dry_run(place, &engine, run, &asked).await;
        }
        engine.rewind(run, &asked).await?
    };
    let (row, plan) = match &rewound {
        redress::Rewound::Done { row, plan } => (row, Some(plan.as_ref())),
        redress::Rewound::Nothing(row) => (row, None),
    };
    tell(place, &engine, row, plan, args.repair).await?;
    Ok(Exit::Done)
}

async fn tell(
    place: &Place,
    engine: &Engine,
    row: &RunRow,
    plan: Option<&StoredPlan>,
    repair: bool,
) -> Result<(), Fail> {
    let view = engine.show(row.id).await?;
    if place.say.is_json() {
        let mut value =
            serde_json::to_value(&view).map_err(|error| Fail::own("RD0921", error.to_string()))?;
        value["rewind"] = rewind_value(plan);
        return place.say.value(&value);
    }
    print_run(place, &view)?;
    match plan {
        None if repair => place
            .say
            .notice("nothing to do: no rewind of this run was left half done"),
        None => place
            .say
            .notice("nothing to do: the run stands there already, and nothing of it is half done"),
        Some(stored) => {
            let phases: Vec<&str> = stored
                .plan
                .actions
                .iter()
                .map(|a| a.phase.as_str())
                .collect();
            place.say.notice(&format!("undone: {}", phases.join(", ")));
            if view.phase.is_none() {
                place.say.notice(&format!(
                    "it stopped there; `redress resume {}` lets it go on, its holds stay until they are released",
                    row.id
                ));
            }
        }
    }
    Ok(())
}

/// What was done, or that nothing was: `phases` is every phase that was undone, in order.
fn rewind_value(plan: Option<&StoredPlan>) -> Value {
    let Some(stored) = plan else {
        return json!({"changed": false, "phases": [], "plan": null});
    };
    let phases: Vec<&str> = stored
        .plan
        .actions
        .iter()
        .map(|a| a.phase.as_str())
        .collect();
    let cause = serde_json::to_value(&stored.plan.cause.kind).unwrap_or_default();
    json!({
        "changed": true,
        "phases": phases,
        "plan": stored.digest,
        "from": cause["from"],
        "to": cause["phase"],
        "then": cause["then"],
        "trigger": cause["trigger"],
        "reason": stored.plan.cause.reason,
    })
}

async fn dry_run(place: &Place, engine: &Engine, run: Uuid, asked: &Rewind) -> Result<Exit, Fail> {
    let Some(stored) = engine.plan_rewind(run, asked).await? else {
        if place.say.is_json() {
            place.say.value(
                &json!({"schema": 1, "run": run, "dry_run": true, "digest": null, "plan": null,
                "rewind": rewind_value(None), "errors": []}),
            )?;
        } else {
            place
                .say
                .notice("nothing to do: the run stands there already");
        }
        return Ok(Exit::Done);
    };
    if place.say.is_json() {
        place.say.value(&json!({
            "schema": 1,
            "run": run,
            "dry_run": true,
            "digest": stored.digest,
            "plan": plan_value(&stored.plan)?,
            "errors": [],
        }))?;
    } else {
        Page::read(engine, &stored).await?.print(place)?;
        place
            .say
            .notice("nothing was changed; without --dry-run this is what is done");
    }
    Ok(if stored.plan.refused {
        Exit::Refused
    } else {
        Exit::Done
    })
}

/// Lists rewinds.
///
/// # Errors
/// [`Fail`]: a filter that means nothing; [`Fail::Engine`].
pub async fn rewinds(place: &Place, args: &RewindsArgs) -> Result<Exit, Fail> {
    let status = args.status.as_deref().map(status_of).transpose()?;
    let to = args.to.as_deref().map(|text| name("--to", text));
    let to = to.transpose()?;
    let engine = place.engine().await?;
    let run = match &args.run {
        Some(text) => Some(find_run(&engine, text).await?),
        None => None,
    };
    let filter = RewindFilter {
        run,
        status,
        to,
        since: args.since.clone(),
        until: args.until.clone(),
        limit: Some(args.limit),
    };
    let lines = match engine.rewinds(&filter).await {
        // Class 22: a time that PostgreSQL cannot read.
        Err(Error::Db(error)) if error.sqlstate().is_some_and(|code| code.starts_with("22")) => {
            return Err(Fail::own("RD0924", format!("--since or --until: {error}")));
        }
        other => other?,
    };
    if place.say.is_jsonl() {
        for line in &lines {
            let value = serde_json::to_value(line)
                .map_err(|error| Fail::own("RD0921", error.to_string()))?;
            place.say.value(&value)?;
        }
    } else if place.say.is_json() {
        let value = json!({"schema": 1, "rewinds": lines, "errors": []});
        place.say.value(&value)?;
    } else {
        print_rewinds(place, &lines)?;
    }
    Ok(Exit::Done)
}

/// One rewind as a few lines: a reason is a sentence, which a last column of a table would break into syllables.
fn print_rewinds(place: &Place, lines: &[RewindLine]) -> Result<(), Fail> {
    if lines.is_empty() {
        return place.say.line("no rewinds");
    }
    for line in lines {
        let from = match &line.from {
            Some(from) => format!("from {from} "),
            None => String::new(),
        };
        place.say.item(
            &format!("run {}: ", line.run),
            &format!("{}, {from}to {}", line.status.as_str(), line.to),
        )?;
        let (when, trigger) = (local(&line.made_at), line.trigger.as_str());
        place.say.item("    when ", &format!("{when}, {trigger}"))?;
        let why = match &line.error {
            Some(error) => format!("[{}] {}", error.code, error.message),
            None => line.reason.clone(),
        };
        place.say.item("    why  ", &why)?;
    }
    Ok(())
}

fn status_of(text: &str) -> Result<RewindStatus, Fail> {
    RewindStatus::ALL
        .into_iter()
        .find(|status| status.as_str() == text)
        .ok_or_else(|| {
            let known = RewindStatus::ALL.map(RewindStatus::as_str).join(", ");
            Fail::own("RD0924", format!("a status is one of {known}, not {text}"))
        })
}

fn name(flag: &str, text: &str) -> Result<Name, Fail> {
    text.parse()
        .map_err(|error| Fail::own("RD0924", format!("{flag} {text}: {error}")))
}

const REPAIR: &str = "finishing a rewind that was left half done";
