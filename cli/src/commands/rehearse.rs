//! `rehearse`: every failure point, forward and back, in a transaction that is rolled back.

use std::path::Path;

use redress::rehearse::{Difference, Options, Point, Rehearsal, Verdict};
use serde_json::json;

use crate::commands::saga::SagaFile;
use crate::commands::start::is_file;
use crate::exit::Exit;
use crate::fail::Fail;
use crate::place::Place;
use crate::read::input;
use crate::text::plain;

/// What to rehearse.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A registered saga, or a saga file, which is not registered
    #[arg(value_name = "SAGA|FILE")]
    pub saga: String,
    /// The input: JSON, @FILE, or @- for standard input
    #[arg(long, value_name = "JSON|@FILE", default_value = "{}")]
    pub input: String,
    /// A version of a registered saga [default: the newest]
    #[arg(long, value_name = "N")]
    pub version: Option<i32>,
    /// The most rows of one relation that are compared; a larger one is refused [env:
    /// REDRESS_REHEARSE_ROWS_MAX]
    #[arg(long, value_name = "N", default_value_t = redress::rehearse::ROWS_MAX_DEFAULT)]
    pub rows_max: u64,
    /// How long a lock is waited for, in milliseconds [env: REDRESS_REHEARSE_LOCK_MS]
    #[arg(long, value_name = "MS", default_value_t = redress::rehearse::LOCK_MS_DEFAULT, value_parser = clap::value_parser!(u32).range(1..=600_000))]
    pub lock_ms: u32,
}

/// Rehearses a saga.
///
/// # Errors
/// [`Fail`]: the file or the input is refused, or the rehearsal could not be held.
pub async fn rehearse(place: &Place, args: &Args) -> Result<Exit, Fail> {
    let input = input(&args.input)?;
    let engine = place.engine().await?;
    let options = Options {
        rows_max: args.rows_max,
        lock_ms: args.lock_ms,
    };
    let rehearsal = if is_file(&args.saga) {
        let file = SagaFile::read(Path::new(&args.saga))?;
        let rehearsal = file.rehearse(&engine, &input, options);
        place.say.while_doing(REHEARSING, rehearsal).await?
    } else {
        let (definition, _) = engine.definition(&args.saga, args.version).await?;
        let rehearsal = engine.rehearse(&definition, &input, options);
        place.say.while_doing(REHEARSING, rehearsal).await?
    };
    if place.say.is_json() {
        let mut value = json!({"schema": 1});
        let found = serde_json::to_value(&rehearsal)
            .map_err(|error| Fail::own("RD0921", error.to_string()))?;
        if let (Some(value), serde_json::Value::Object(found)) = (value.as_object_mut(), found) {
            value.extend(found);
            value.insert("errors".to_owned(), json!([]));
        }
        place.say.value(&value)?;
    } else {
        print(place, &rehearsal)?;
    }
    Ok(match (rehearsal.holds, rehearsal.is_broken()) {
        (true, _) => Exit::Done,
        (false, true) => Exit::Verification,
        // What could be proven holds, and some of it could not be reached.
        (false, false) => Exit::Incomplete,
    })
}

fn print(place: &Place, rehearsal: &Rehearsal) -> Result<(), Fail> {
    place.say.line(&format!(
        "{} version {}, {} failure points",
        rehearsal.saga,
        rehearsal.version,
        rehearsal.points.len()
    ))?;
    let rows: Vec<Vec<String>> = rehearsal.points.iter().map(row_of).collect();
    place.say.table(
        &["fails at", "the way back", "residue", "verdict"],
        &[0, 3],
        &rows,
    )?;
    for point in &rehearsal.points {
        for note in &point.notes {
            place.say.line(&format!("{}: {}", at(point), plain(note)))?;
        }
    }
    for line in told(rehearsal) {
        place.say.line(&line)?;
    }
    let fullest = rehearsal
        .points
        .iter()
        .rev()
        .find(|point| point.verdict == Verdict::Holds);
    if let Some(point) = fullest.filter(|point| !point.residue.is_empty()) {
        let residue: Vec<String> = point
            .residue
            .iter()
            .map(|one| format!("{} {}", one.rows, one.relation))
            .collect();
        place.say.line(&format!(
            "rows that rightly stay ({}): {}",
            at(point),
            residue.join(", ")
        ))?;
    }
    let locks: Vec<String> = rehearsal
        .locks
        .iter()
        .map(|lock| format!("{} ({})", lock.relation, lock.modes.join(", ")))
        .collect();
    place
        .say
        .line(&format!("locked meanwhile: {}", none_or(&locks)))?;
    place.say.line(&format!(
        "compared row by row: {}",
        none_or(&rehearsal.compared)
    ))?;
    place.say.line(&format!(
        "the database is unchanged: transaction {} is {}; except {}",
        rehearsal.unchanged.transaction, rehearsal.unchanged.status, rehearsal.unchanged.except
    ))
}

fn row_of(point: &Point) -> Vec<String> {
    let actions: Vec<String> = point
        .actions
        .iter()
        .map(|action| format!("{} {}", action.action.as_str(), action.phase))
        .collect();
    let residue: usize = point.residue.iter().map(|one| one.rows).sum();
    let residue = match residue {
        0 => String::new(),
        1 => "1 row".to_owned(),
        rows => format!("{rows} rows"),
    };
    let verdict = match point.verdict {
        Verdict::Broken => format!("{} ({})", point.verdict.as_str(), point.findings.len()),
        verdict => verdict.as_str().to_owned(),
    };
    vec![at(point), actions.join(", "), residue, verdict]
}

fn at(point: &Point) -> String {
    match &point.fails_at {
        Some(phase) => phase.to_string(),
        None => "(completed)".to_owned(),
    }
}

/// The findings in words, each told once: where it was seen, and some of the rows.
fn told(rehearsal: &Rehearsal) -> Vec<String> {
    let mut groups: Vec<(&Difference, Vec<String>, Vec<String>)> = Vec::new();
    for point in &rehearsal.points {
        for finding in &point.findings {
            let same = |group: &&mut (&Difference, Vec<String>, Vec<String>)| {
                let (a, b) = (group.0, finding);
                (a.what, &a.phase, &a.relation, &a.difference)
                    == (b.what, &b.phase, &b.relation, &b.difference)
            };
            let row = finding.row.as_ref().map(|row| plain(&row.to_string()));
            let point = at(point);
            match groups.iter_mut().find(same) {
                None => groups.push((finding, vec![point], row.into_iter().collect())),
                Some((_, points, rows)) => {
                    if !points.contains(&point) {
                        points.push(point);
                    }
                    rows.extend(row.filter(|row| !rows.contains(row)));
                }
            }
        }
    }
    groups
        .into_iter()
        .map(|(finding, points, rows)| line(finding, &points, &rows))
        .collect()
}

fn line(finding: &Difference, points: &[String], rows: &[String]) -> String {
    let mut text = String::new();
    if let Some(phase) = &finding.phase {
        text.push_str(&format!("phase {phase}: "));
    }
    if let Some(relation) = &finding.relation {
        text.push_str(&format!("{relation}: "));
    }
    text.push_str(&plain(&finding.difference));
    if !rows.is_empty() {
        let shown: Vec<&str> = rows.iter().take(ROWS_SHOWN).map(String::as_str).collect();
        let more = match rows.len() - shown.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        text.push_str(&format!(" ({}{more})", shown.join(" ")));
    }
    if let Some(code) = &finding.code {
        text.push_str(&format!(" [{code}]"));
    }
    format!("{text}; seen when it fails at {}", points.join(", "))
}

fn none_or(names: &[String]) -> String {
    if names.is_empty() {
        "nothing".to_owned()
    } else {
        names.join(", ")
    }
}

/// Rows of one finding that are shown; the JSON has them all.
const ROWS_SHOWN: usize = 3;

const REHEARSING: &str = "rehearsing every failure point";
