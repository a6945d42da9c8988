//! `runbook list`, `show`, `render`: what there is and what it says.

use redress_runbooks::library::Book;
use redress_runbooks::model::Risk;
use redress_runbooks::render::{Format, render as page};
use serde_json::{Value, json};

use super::{Where, shelf};
use crate::commands::execute;
use crate::commands::look::{quorum_text, to_value};
use crate::exit::Exit;
use crate::fail::Fail;
use crate::place::Place;

/// Which runbook to show.
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    /// The runbook: its name, or a file; or an execution: its id, or the beginning or end of it
    #[arg(value_name = "NAME|FILE|EXEC")]
    pub name: String,
    /// The file itself instead of its page
    #[arg(long)]
    pub yaml: bool,
    /// Where one's own stand.
    #[command(flatten)]
    pub at: Where,
}

/// Which runbook to render, and as what.
#[derive(Debug, clap::Args)]
pub struct RenderArgs {
    /// The runbook: its name, or a file
    pub name: String,
    /// As what
    #[arg(long, value_enum, default_value_t = As::Terminal, value_name = "FORMAT")]
    pub format: As,
    /// Where one's own stand.
    #[command(flatten)]
    pub at: Where,
}

/// As what a page is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum As {
    /// 80 columns of text.
    Terminal,
    /// CommonMark.
    Markdown,
    /// One file that loads nothing.
    Html,
}

/// Lists the runbooks.
///
/// # Errors
/// [`Fail`]: a folder cannot be read.
pub fn list(place: &Place, at: &Where) -> Result<Exit, Fail> {
    let found = shelf::read(place, at)?;
    found.tell_refused(place);
    let books = found.shelf.books();
    if place.say.is_jsonl() {
        for book in books {
            place.say.value(&line(book)?)?;
        }
    } else if place.say.is_json() {
        let list = books.iter().map(line).collect::<Result<Vec<_>, Fail>>()?;
        let errors: Vec<Value> = found
            .refused
            .iter()
            .map(|(file, error)| json!({"code": error.code(), "message": error.to_string(), "place": file}))
            .collect();
        place
            .say
            .value(&json!({"schema": 1, "runbooks": list, "errors": errors}))?;
    } else {
        let rows: Vec<Vec<String>> = books
            .iter()
            .map(|book| {
                let own = if book.is_shipped() { "" } else { " (own)" };
                vec![
                    format!("{}{own}", book.name()),
                    risk(book.runbook.risk).to_owned(),
                    book.runbook.title.clone(),
                ]
            })
            .collect();
        place
            .say
            .table(&["runbook", "risk", "what it does"], &[0, 1], &rows)?;
    }
    Ok(Exit::Done)
}

/// Shows a runbook, or an execution of one.
///
/// # Errors
/// RD0165; [`Fail::Runbook`]; [`Fail::Engine`] for an execution.
pub async fn show(place: &Place, args: &ShowArgs) -> Result<Exit, Fail> {
    let book = match shelf::find(place, &args.at, &args.name) {
        Ok(book) => book,
        Err(fail) if fail.code() == "RD0165" && may_be_an_id(&args.name) => {
            let engine = place.engine().await?;
            return execute::show(place, &engine, &args.name).await;
        }
        Err(fail) => return Err(fail),
    };
    if place.say.is_json() {
        let mut value = line(&book)?;
        value["schema"] = json!(1);
        value["content"] = to_value(&book.runbook)?;
        value["errors"] = json!([]);
        place.say.value(&value)?;
    } else if args.yaml {
        place.say.line(book.yaml.trim_end())?;
    } else {
        let text = page(&book.runbook, &book.digest, Format::Terminal);
        place.say.line(text.trim_end())?;
    }
    Ok(Exit::Done)
}

/// Digits of an id, enough of them to mean one.
fn may_be_an_id(text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_hexdigit).count();
    digits >= 4
        && text
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

/// Makes a runbook's page.
///
/// # Errors
/// RD0165; [`Fail::Runbook`].
pub fn render(place: &Place, args: &RenderArgs) -> Result<Exit, Fail> {
    let book = shelf::find(place, &args.at, &args.name)?;
    let format = match args.format {
        As::Terminal => Format::Terminal,
        As::Markdown => Format::Markdown,
        As::Html => Format::Html,
    };
    let text = page(&book.runbook, &book.digest, format);
    if place.say.is_json() {
        let mut value = line(&book)?;
        value["schema"] = json!(1);
        value["page"] = json!(text);
        value["errors"] = json!([]);
        place.say.value(&value)?;
    } else {
        place.say.data(text.trim_end())?;
    }
    Ok(Exit::Done)
}

/// A runbook in one line of JSON.
fn line(book: &Book) -> Result<Value, Fail> {
    let runbook = &book.runbook;
    Ok(json!({
        "runbook": book.name(),
        "version": runbook.version,
        "title": runbook.title,
        "owner": runbook.owner,
        "risk": runbook.risk,
        "match": to_value(&runbook.matches)?,
        "approvals": quorum_text(&runbook.approvals.quorum),
        "needs_a_run": runbook.needs_a_run(),
        "digest": book.digest,
        "shipped": book.is_shipped(),
        "file": book.file,
    }))
}

/// A risk in one word.
pub fn risk(risk: Risk) -> &'static str {
    match risk {
        Risk::ReadOnly => "read only",
        Risk::Reversible => "reversible",
        Risk::Irreversible => "IRREVERSIBLE",
    }
}
