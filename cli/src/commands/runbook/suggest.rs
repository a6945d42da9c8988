//! `runbook suggest`: which runbook is right for a run.

use redress_runbooks::facts::Facts;
use redress_runbooks::suggest::suggest as rank;
use serde_json::json;

use super::show::risk;
use super::{Where, shelf};
use crate::commands::execute::who_signs;
use crate::commands::find_run;
use crate::exit::Exit;
use crate::fail::Fail;
use crate::place::Place;

/// For which run.
#[derive(Debug, clap::Args)]
pub struct SuggestArgs {
    /// The run: its id, or the beginning or end of it
    pub run: String,
    /// A code that a command told about it, beside those that the run itself has
    #[arg(long, value_name = "CODE")]
    pub code: Vec<String>,
    /// Say of each other runbook why it is not right
    #[arg(long)]
    pub all: bool,
    /// Where one's own stand.
    #[command(flatten)]
    pub at: Where,
}

/// Ranks the runbooks for a run.
///
/// # Errors
/// [`Fail::Engine`].
pub async fn suggest(place: &Place, args: &SuggestArgs) -> Result<Exit, Fail> {
    let found = shelf::read(place, &args.at)?;
    found.tell_refused(place);
    let engine = place.engine().await?;
    let view = engine.show(find_run(&engine, &args.run).await?).await?;
    let mut facts = Facts::of(&view);
    facts
        .codes
        .extend(args.code.iter().map(|code| code.to_ascii_uppercase()));
    let ranked = rank(found.shelf.books().iter().map(|book| &book.runbook), &facts);
    if place.say.is_json() {
        place.say.value(&json!({
            "schema": 1,
            "run": view.run,
            "codes": facts.codes,
            "fitting": ranked.fitting,
            "others": ranked.others,
            "errors": [],
        }))?;
        return Ok(Exit::Done);
    }
    let say = &place.say;
    say.item(
        "run    ",
        &format!("{} of {}, {}", view.run, view.saga, view.state),
    )?;
    if ranked.fitting.is_empty() {
        say.line("no runbook is for it")?;
    }
    for (at, one) in ranked.fitting.iter().enumerate() {
        let head = if at == 0 { "right  " } else { "or     " };
        say.item(
            head,
            &format!("{} ({}): {}", one.name, risk(one.risk), one.title),
        )?;
        say.item("       ", &format!("because {}", one.why.join("; ")))?;
    }
    if let Some(best) = ranked.fitting.first() {
        let mut books = found.shelf.books().iter();
        if let Some(book) = books.find(|book| book.name() == best.name) {
            say.item("sign   ", &who_signs(&book.runbook))?;
        }
        say.command("next   ", &format!("redress runbook show {}", best.name))?;
        let carry_out = format!(
            "redress runbook run {} --run {} --as KEY",
            best.name, view.run
        );
        say.command("       ", &carry_out)?;
    }
    if args.all {
        let rows: Vec<Vec<String>> = ranked
            .others
            .iter()
            .map(|other| vec![other.name.clone(), other.why_not.clone()])
            .collect();
        say.table(&["not right", "why not"], &[0], &rows)?;
    } else if !ranked.others.is_empty() {
        say.notice(&format!(
            "{} others are not right for it; --all says why",
            ranked.others.len()
        ));
    }
    Ok(Exit::Done)
}
