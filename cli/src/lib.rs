//! The redress command: parse, call, print, exit code.
//!
//! ```text
//! args -> place (state, trust, database, engine) -> commands -> say (data, talk) -> exit
//! ```
//!
//! As a library it is what the command and the tests share; the program itself is `main`:
//!
//! ```no_run
//! fn main() -> std::process::ExitCode {
//!     redress_cli::main(std::env::args_os())
//! }
//! ```
//!
//! [`cluster`] gives a private PostgreSQL server to whoever has none. Features: `crash` (tests only) kills the own process at
//! named points.
//!
//! **Invariant:** what the command knows of sagas it asks the engine; nothing is decided here.
//!
//! **Invariant:** the exit status comes from one table, [`exit`], and every code has a page in `redress_runbooks`.

pub mod args;
pub mod cluster;
pub mod commands;
pub mod complete;
pub mod drill;
pub mod examples;
pub mod exit;
pub mod fail;
pub mod files;
pub mod place;
pub mod read;
pub mod say;
pub mod secret;
pub mod settings;
pub mod telemetry;
pub mod text;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use crate::args::{Cli, Globals};
use crate::exit::Exit;
use crate::fail::Fail;
use crate::place::Place;
use crate::say::Say;
use crate::settings::Settings;

/// Runs one command line.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = without_cargos_dashes(arguments);
    if complete::answer(&arguments) {
        return Exit::Done.into();
    }
    let (cli, settings) = match understood(&arguments) {
        Ok(understood) => understood,
        Err(exit) => return exit.into(),
    };
    let listening = telemetry::listen(&cli.globals);
    let place = Place::new(cli.globals, settings);
    for warning in place.settings.warnings() {
        place.say.notice(&warning);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let result = match runtime {
        Ok(runtime) => {
            let result = runtime.block_on(commands::run(&place, cli.command));
            // What still runs is a connection's task; nobody waits for it.
            runtime.shutdown_background();
            result
        }
        Err(error) => Err(Fail::own(
            "RD0918",
            format!("no runtime could be made: {error}"),
        )),
    };
    let exit = match result {
        Ok(exit) => exit,
        Err(fail) => {
            fail.tell(&place.say);
            fail.exit()
        }
    };
    listening.end();
    exit.into()
}

/// The command line, with what is in force where it says nothing; the exit status where there is nothing to do.
fn understood(arguments: &[OsString]) -> Result<(Cli, Settings), Exit> {
    let told = |error: clap::Error| {
        // Help and version go to standard output, where a closed pipe is no error.
        let _ = error.print();
        if !error.use_stderr() {
            return Exit::Done;
        }
        if words(arguments).any(|word| word == "--json") {
            // Standard output may be closed; there is nobody left to tell.
            let _ = writeln!(std::io::stdout(), "{:#}", misread(&error).json());
        }
        Exit::Usage
    };
    let colour = colour(arguments, std::env::var("REDRESS_COLOR").ok());
    let read = |command: clap::Command| {
        let matches = command.color(colour).try_get_matches_from(arguments)?;
        Ok((Cli::from_arg_matches(&matches)?, matches))
    };
    let (cli, matches) = read(command_line()).map_err(told)?;
    let settings = Settings::gather(&matches, &cli.globals, &settings::environment());
    let settings = match settings {
        Ok(settings) => settings,
        // What explains a configuration is not stopped by it.
        Err(_) if cli.command.needs_no_settings() => Settings::default(),
        Err(fail) => {
            if matches!(cli.command, args::Command::Kill(_)) {
                let text =
                    "NOTHING IS STOPPED: repeat `redress kill` with settings that are understood";
                Say::new(&cli.globals).notice(text);
            }
            return Err(refused(&cli.globals, &fail));
        }
    };
    let (mut cli, _) = read(settings.onto(command_line())).map_err(told)?;
    let named = settings.named(cli.globals.schema.clone());
    cli.globals.schema = named.map_err(|fail| refused(&cli.globals, &fail))?;
    Ok((cli, settings))
}

/// The words of a command line before those that are no flags.
fn words(arguments: &[OsString]) -> impl Iterator<Item = &str> {
    let words = arguments.iter().skip(1).filter_map(|word| word.to_str());
    words.take_while(|word| *word != "--")
}

/// A command line that is not understood, in its first words: how to use it stands on standard error.
fn misread(error: &clap::Error) -> Fail {
    let text = error.render().to_string();
    let first = text.split("\n\n").next().unwrap_or_default();
    let first = first.strip_prefix("error: ").unwrap_or(first);
    let lines: Vec<&str> = first.split_whitespace().collect();
    Fail::own("RD0928", lines.join(" "))
}

/// The colour of help and of what is not understood, which are told before the flags are known.
fn colour(arguments: &[OsString], variable: Option<String>) -> clap::ColorChoice {
    let mut named = None;
    let mut words = words(arguments);
    while let Some(word) = words.next() {
        match word.strip_prefix("--color") {
            Some("") => named = words.next(),
            Some(rest) => named = rest.strip_prefix('=').or(named),
            None => {}
        }
    }
    match named.or(variable.as_deref()) {
        Some("always") => clap::ColorChoice::Always,
        Some("never") => clap::ColorChoice::Never,
        _ => clap::ColorChoice::Auto,
    }
}

/// Tells what is wrong with the configuration.
fn refused(globals: &Globals, fail: &Fail) -> Exit {
    fail.tell(&Say::new(globals));
    fail.exit()
}

/// The whole command line, with the examples of its help.
pub(crate) fn command_line() -> clap::Command {
    examples::onto(Cli::command())
}

/// `cargo demo -- --file DOC.md` runs an alias that has its own `--`, so that a second one stands behind `demo`.
fn without_cargos_dashes(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    if arguments.get(1).is_some_and(|word| word == "demo")
        && arguments.get(2).is_some_and(|word| word == "--")
    {
        arguments.remove(2);
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed_in_all_its_parts() {
        command_line().debug_assert();
    }

    #[test]
    fn colour_is_known_before_the_flags_are() {
        use clap::ColorChoice::{Always, Auto, Never};
        let check = |given: &str, variable: Option<&str>, found| {
            let words: Vec<OsString> = given.split(' ').map(OsString::from).collect();
            assert_eq!(
                colour(&words, variable.map(str::to_owned)),
                found,
                "{given}"
            );
        };
        check("redress nosuch", None, Auto);
        check("redress nosuch --color never", Some("always"), Never);
        check("redress --color=always --help", None, Always);
        check("redress nosuch", Some("never"), Never);
        check("redress show -- --color never", None, Auto);
    }

    #[test]
    fn the_dashes_of_an_alias_are_not_an_argument() {
        let words = |text: &str| -> Vec<OsString> { text.split(' ').map(OsString::from).collect() };
        let check = |given: &str, taken: &str| {
            assert_eq!(without_cargos_dashes(words(given)), words(taken));
        };
        check("redress demo -- --file a.md", "redress demo --file a.md");
        check("redress demo --file a.md", "redress demo --file a.md");
        check("redress show -- x", "redress show -- x");
    }
}
