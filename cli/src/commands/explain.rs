//! `explain`: what an error code means, what stands, and what to do.

use redress_runbooks::text::nearest;
use serde_json::json;

use crate::exit::Exit;
use crate::fail::Fail;
use crate::place::Place;
use crate::text::plain;

/// Which code.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The code, such as RD0421, or a duty, such as ledger-fork; without one, all codes are listed
    pub code: Option<String>,
    /// List all codes
    #[arg(long, conflicts_with = "code")]
    pub list: bool,
}

/// Explains a code, or lists them.
///
/// # Errors
/// RD0925 for a code that does not exist.
pub fn explain(place: &Place, args: &Args) -> Result<Exit, Fail> {
    let Some(code) = &args.code else {
        return list(place);
    };
    let page = found(code).ok_or_else(|| {
        let known = redress_runbooks::pages().map(|page| page.code);
        let near = nearest(&full(code), known.chain(["ledger-fork"]));
        let meant = near.map_or_else(String::new, |near| format!("; did you mean {near}?"));
        Fail::own("RD0925", format!("no such code: {}{meant}", plain(code)))
    })?;
    let runbooks = redress_runbooks::library::about(page.code);
    if place.say.is_json() {
        place.say.value(&json!({
            "schema": 1,
            "code": page.code,
            "title": page.title,
            "happened": page.happened,
            "stands": page.stands,
            "next": page.next,
            "runbooks": runbooks,
            "exit": Exit::of_code(page.code).map(|exit| exit as u8),
            "errors": [],
        }))?;
    } else {
        place
            .say
            .line(&format!("{}: {}\n", page.code, page.title))?;
        place
            .say
            .line(&format!("What happened  {}", page.happened))?;
        place.say.line(&format!("What stands    {}", page.stands))?;
        place.say.line(&format!("What to do     {}", page.next))?;
        for (at, name) in runbooks.iter().enumerate() {
            let label = if at == 0 { "Runbook" } else { "" };
            place
                .say
                .line(&format!("{label:<14} redress runbook show {name}"))?;
        }
        if let Some(exit) = Exit::of_code(page.code) {
            place.say.line(&format!("Exit status    {}", exit as u8))?;
        }
    }
    Ok(Exit::Done)
}

/// The page of a code, as it is written or as its number alone: `RD0421`, `rd421`, `421`.
fn found(code: &str) -> Option<&'static redress_runbooks::Page> {
    redress_runbooks::page(code).or_else(|| redress_runbooks::page(&full(code)))
}

/// A code in its whole form.
fn full(code: &str) -> String {
    let upper = code.to_ascii_uppercase();
    let digits = upper.strip_prefix("RD").unwrap_or(&upper);
    match digits.parse::<u16>() {
        Ok(number) => format!("RD{number:04}"),
        Err(_) => code.to_owned(),
    }
}

fn list(place: &Place) -> Result<Exit, Fail> {
    let pages = redress_runbooks::pages();
    if place.say.is_json() {
        let all: Vec<_> = pages
            .map(|page| json!({"code": page.code, "title": page.title}))
            .collect();
        place
            .say
            .value(&json!({"schema": 1, "codes": all, "errors": []}))?;
    } else {
        for page in pages {
            place.say.line(&format!("{}  {}", page.code, page.title))?;
        }
    }
    Ok(Exit::Done)
}
