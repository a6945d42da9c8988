//! `explain`: what an error code means, what stands, and what to do.

use serde_json::json;

use crate::exit::Exit;
use crate::fail::Fail;
use crate::place::Place;

/// Which code.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The code, such as RD0421, or a duty, such as ledger-fork; without one, all codes are listed
    pub code: Option<String>,
}

/// Explains a code, or lists them.
///
/// # Errors
/// RD0925 for a code that does not exist.
pub fn explain(place: &Place, args: &Args) -> Result<Exit, Fail> {
    let Some(code) = &args.code else {
        return list(place);
    };
    let page = redress_runbooks::page(code)
        .or_else(|| redress_runbooks::page(&code.to_ascii_uppercase()))
        .ok_or_else(|| Fail::own("RD0925", format!("no such code: {code}")))?;
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
