//! One file for each family of commands; each parses, calls the engine, prints, and gives the exit status.

mod apart;
pub mod archive;
pub mod artefacts;
pub mod audit;
pub mod bulk;
pub mod bundle;
pub mod config;
pub mod consent;
pub mod db;
pub mod demo;
pub mod doctor;
pub mod drill;
pub mod execute;
pub mod explain;
pub mod fileset;
pub mod grants;
pub mod guide;
pub mod hold;
pub mod key;
pub mod log;
pub mod look;
pub mod man;
pub mod page;
pub mod plan;
pub mod postings;
pub mod query;
pub mod rehearse;
pub mod rewind;
pub mod roles;
pub mod run;
pub mod runbook;
pub mod saga;
pub mod seal;
pub mod set;
pub mod show;
pub mod start;
pub mod status;
pub mod work;

use std::str::FromStr;
use std::time::Duration;

use redress::Engine;
use uuid::Uuid;

use crate::args::Command;
use crate::exit::Exit;
use crate::fail::Fail;
use crate::place::Place;
use crate::settings::list::length;

/// Carries out a command.
///
/// # Errors
/// [`Fail`]: what was asked was not done.
pub async fn run(place: &Place, command: Command) -> Result<Exit, Fail> {
    match command {
        Command::Demo(args) => demo::demo(place, &args).await,
        Command::Db { command } => db::run(place, &command).await,
        Command::Saga { command } => saga::run(place, &command).await,
        Command::Start(args) => start::start(place, &args).await,
        Command::Work(args) => work::work(place, &args).await,
        Command::Rehearse(args) => rehearse::rehearse(place, &args).await,
        Command::Status => status::status(place).await,
        Command::Runs(args) => look::runs(place, &args).await,
        Command::Show(args) => show::show(place, &args).await,
        Command::Log(args) => log::log(place, &args).await,
        Command::Cancel(args) => run::cancel(place, &args).await,
        Command::Plan(args) => plan::plan(place, &args).await,
        Command::Approve(args) => plan::approve(place, &args).await,
        Command::Apply(args) => plan::apply(place, &args).await,
        Command::Rewind(args) => rewind::rewind(place, &args).await,
        Command::Rewinds(args) => rewind::rewinds(place, &args).await,
        Command::Resume(args) => run::resume(place, &args).await,
        Command::Resolve(args) => run::resolve(place, &args).await,
        Command::Hold(args) => hold::hold(place, &args).await,
        Command::Holds => hold::holds(place).await,
        Command::Release(args) => hold::release(place, &args).await,
        Command::Kill(args) => hold::kill(place, &args).await,
        Command::Key { command } => key::run(place, &command).await,
        Command::Audit { command } => audit::run(place, &command).await,
        Command::Check => audit::check(place).await,
        Command::Artefacts(args) => artefacts::artefacts(place, &args).await,
        Command::Postings { command } => postings::run(place, &command).await,
        Command::Fileset { command } => fileset::run(place, &command).await,
        Command::Runbook { command } => runbook::run(place, &command).await,
        Command::Drill { command } => drill::run(place, &command).await,
        Command::Doctor(args) => doctor::doctor(place, &args).await,
        Command::Config(args) => config::config(place, &args),
        Command::Explain(args) => explain::explain(place, &args),
        Command::Completions(args) => man::completions(place, &args),
        Command::Man(args) => man::man(place, &args),
    }
}

/// The run that is meant: its full id, or a prefix that only it has.
async fn find_run(engine: &Engine, text: &str) -> Result<Uuid, Fail> {
    Ok(engine.find_run(text).await?)
}

/// A length of time as saga files write it: `500ms`, `10s`, `2m`.
#[derive(Clone, Copy, Debug)]
pub struct Length(pub Duration);

impl FromStr for Length {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::at_least(text, 0)
    }
}

impl Length {
    /// A length that is not below a floor, in milliseconds.
    ///
    /// # Errors
    /// What it should have been.
    pub fn at_least(text: &str, least: u64) -> Result<Self, String> {
        length(text, least).map(|ms| Self(Duration::from_millis(ms)))
    }
}
