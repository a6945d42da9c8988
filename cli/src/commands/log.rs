//! `log`: the records of one run or of all, once or as they come.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::time::Duration;

use redress::Engine;
use redress::view::LogLine;
use serde_json::json;
use uuid::Uuid;

use crate::commands::find_run;
use crate::commands::look::to_value;
use crate::commands::work::Ends;
use crate::exit::Exit;
use crate::fail::Fail;
use crate::place::Place;
use crate::text::local;

/// Which records.
#[derive(Debug, clap::Args)]
pub struct LogArgs {
    /// The run: its id, or the beginning or end of it
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub run: Option<String>,
    /// The records of all runs, run by run
    #[arg(long)]
    pub all: bool,
    /// Wait for more
    #[arg(long, short)]
    pub follow: bool,
}

/// Prints records.
///
/// # Errors
/// [`Fail::Engine`].
pub async fn log(place: &Place, args: &LogArgs) -> Result<Exit, Fail> {
    let engine = place.engine().await?;
    let run = match &args.run {
        Some(run) => Some(find_run(&engine, run).await?),
        None => None,
    };
    if place.say.is_json() && !place.say.is_jsonl() && !args.follow {
        let mut lines = Vec::new();
        read_log(&engine, run, &mut BTreeMap::new(), &mut |line| {
            lines.push(to_value(line)?);
            Ok(())
        })
        .await?;
        place
            .say
            .value(&json!({"schema": 1, "records": lines, "errors": []}))?;
        return Ok(Exit::Done);
    }
    let mut seen = BTreeMap::new();
    let mut header = !place.say.is_json() && io::stdout().is_terminal();
    let mut sink = |line: &LogLine| {
        if std::mem::take(&mut header) {
            place.say.line(LOG_HEADER)?;
        }
        print_line(place, line, run.is_none())
    };
    if !args.follow {
        read_log(&engine, run, &mut seen, &mut sink).await?;
        return Ok(Exit::Done);
    }
    // Heard from before the first read: a signal that comes during one ends the command too.
    let mut ends = Ends::new()?;
    loop {
        let round = async {
            read_log(&engine, run, &mut seen, &mut sink).await?;
            tokio::time::sleep(FOLLOW).await;
            Ok::<_, Fail>(())
        };
        tokio::select! {
            _ = ends.next() => return Ok(Exit::Done),
            round = round => round?,
        }
    }
}

fn print_line(place: &Place, line: &LogLine, all: bool) -> Result<(), Fail> {
    if place.say.is_json() {
        return place.say.data(to_value(line)?);
    }
    let run = if all {
        format!("{}  ", line.run)
    } else {
        String::new()
    };
    let head = format!(
        "{run}{:>4}  {}  {:<18}",
        line.seq,
        local(&line.at),
        line.kind
    );
    if line.summary.is_empty() {
        return place.say.line(head.trim_end());
    }
    place.say.item(&format!("{head}  "), &line.summary)
}

type Sink<'s> = &'s mut (dyn FnMut(&LogLine) -> Result<(), Fail> + Send);

/// Hands every record that was not seen yet to `sink`, run by run.
async fn read_log(
    engine: &Engine,
    run: Option<Uuid>,
    seen: &mut BTreeMap<Uuid, i64>,
    sink: Sink<'_>,
) -> Result<(), Fail> {
    let runs = match run {
        Some(run) => vec![run],
        None => {
            let heads = engine.heads().await?;
            let grew = heads
                .into_iter()
                .filter(|(run, head)| seen.get(run).is_none_or(|seq| seq < head));
            grew.map(|(run, _)| run).collect()
        }
    };
    for run in runs {
        let after = seen.get(&run).copied().unwrap_or(0);
        for line in engine.log(run, after).await? {
            seen.insert(run, line.seq);
            sink(&line)?;
        }
    }
    Ok(())
}

const FOLLOW: Duration = Duration::from_millis(300);
const LOG_HEADER: &str = " seq  at                       kind                what";
