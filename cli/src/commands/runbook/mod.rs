//! `runbook`: which there are, what they say, whether they are sound and still hold, which one is right for a run, and
//! carrying them out.

mod check;
mod lint;
mod prepare;
mod shelf;
mod show;
mod suggest;

use std::path::PathBuf;

use redress_runbooks::library::Shelf;

use crate::commands::execute;
use crate::exit::Exit;
use crate::fail::Fail;
use crate::place::Place;

/// What to do with runbooks.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List the runbooks: the shipped ones and one's own
    List(Where),
    /// Show a runbook, its page or with --json what it says as data; or an execution of one
    Show(show::ShowArgs),
    /// Make the page that people read: for a terminal, as Markdown, or as HTML
    Render(show::RenderArgs),
    /// Judge runbooks: what could not work, could not be checked, or could mislead (exit 4)
    Lint(lint::LintArgs),
    /// Say which runbooks still hold against today's database and keys (exit 7 when one of one's own does not)
    Check(check::CheckArgs),
    /// Say which runbook is right for a run, the most specific first, and why the others are not
    Suggest(suggest::SuggestArgs),
    /// Print the JSON Schema of a runbook's file
    Schema,
    /// Plan a runbook and carry it out, once it is confirmed and signed
    Run(RunArgs),
    /// Go on with an execution, behind its last step that has a record
    Resume(execute::ResumeArgs),
    /// Give an execution up; what its steps have done stands
    Abandon(execute::AbandonArgs),
    /// List executions, the youngest first
    Executions(execute::ExecutionsArgs),
}

/// What to carry out, and where one's own stand.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// What.
    #[command(flatten)]
    pub run: execute::CarryArgs,
    /// Where one's own stand.
    #[command(flatten)]
    pub at: Where,
}

/// Where one's own runbooks stand.
#[derive(Clone, Debug, clap::Args)]
pub struct Where {
    /// Folder with runbooks of one's own [env: REDRESS_RUNBOOKS_DIR] [default: STATE/runbooks when it exists]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// The runbooks that can be used here; files that are refused are left out.
///
/// # Errors
/// As [`Command::List`]: the folder cannot be read.
pub fn usable(place: &Place) -> Result<Shelf, Fail> {
    Ok(shelf::read(place, &Where { dir: None })?.shelf)
}

/// Carries it out.
///
/// # Errors
/// [`Fail`]: what was asked was not done.
pub async fn run(place: &Place, command: &Command) -> Result<Exit, Fail> {
    match command {
        Command::List(at) => show::list(place, at),
        Command::Show(args) => show::show(place, args).await,
        Command::Render(args) => show::render(place, args),
        Command::Lint(args) => lint::lint(place, args),
        Command::Check(args) => check::check(place, args).await,
        Command::Suggest(args) => suggest::suggest(place, args).await,
        Command::Schema => {
            place
                .say
                .data(redress_runbooks::schema::PUBLISHED.trim_end())?;
            Ok(Exit::Done)
        }
        Command::Run(args) => {
            let book = shelf::find(place, &args.at, &args.run.name)?;
            execute::run(place, &args.run, book.runbook).await
        }
        Command::Resume(args) => execute::resume(place, args).await,
        Command::Abandon(args) => execute::abandon(place, args).await,
        Command::Executions(args) => execute::executions(place, args).await,
    }
}
