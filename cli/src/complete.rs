//! What a shell offers behind TAB that only this installation knows: runs, sagas, holds, keys, runbooks, codes.
//!
//! The shell calls the command with `REDRESS_COMPLETE` set and the words of the line behind `--` (crate `clap_complete`).
//!
//! **Invariant:** it never asks, brings nothing up, writes nothing, and says nothing when something is wrong: whoever
//! presses TAB is offered less.
//!
//! **Invariant:** a database that hangs does not hang the shell: the answer is given up after `ANSWER_MAX`.

use std::ffi::{OsStr, OsString};
use std::time::Duration;

use clap::FromArgMatches;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use clap_complete::env::CompleteEnv;
use redress::db::Session;
use redress::tokio_postgres::SimpleQueryMessage;
use redress_ledger::key::Vkey;
use redress_ledger::keyfile::list_public;
use redress_ledger::keyring::KeyRole;
use redress_ledger::state::State;
use redress_runbooks::fixture::Fixture;
use redress_sql::{self as sql, Statement};

use crate::args::Globals;
use crate::commands::{doctor, runbook};
use crate::place::{Place, open, redress_sql};
use crate::settings::{Settings, environment};
use crate::text::short;

/// What is offered for a word.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Offer {
    Runs,
    Plans,
    Sagas,
    Holds,
    Executions,
    Keys,
    Runbooks,
    Codes,
    Drills,
    States,
}

/// The words of a command, the id of its argument, and what is offered there.
const OFFERS: &[(&str, &str, Offer)] = &[
    ("", "signer", Offer::Keys),
    ("show", "run", Offer::Runs),
    ("log", "run", Offer::Runs),
    ("cancel", "run", Offer::Runs),
    ("resume", "run", Offer::Runs),
    ("resolve", "run", Offer::Runs),
    ("rewind", "run", Offer::Runs),
    ("rewinds", "run", Offer::Runs),
    ("plan", "run", Offer::Plans),
    ("approve", "plan", Offer::Plans),
    ("apply", "plan", Offer::Plans),
    ("audit receipt", "run", Offer::Runs),
    ("audit export", "run", Offer::Runs),
    ("runbook suggest", "run", Offer::Runs),
    ("runbook run", "run", Offer::Runs),
    ("runbook executions", "run", Offer::Runs),
    ("runbook resume", "execution", Offer::Executions),
    ("runbook abandon", "execution", Offer::Executions),
    ("runbook run", "name", Offer::Runbooks),
    ("runbook show", "name", Offer::Runbooks),
    ("runbook render", "name", Offer::Runbooks),
    ("runbook check", "names", Offer::Runbooks),
    ("start", "saga", Offer::Sagas),
    ("rehearse", "saga", Offer::Sagas),
    ("saga show", "name", Offer::Sagas),
    ("saga grants", "name", Offer::Sagas),
    ("runs", "saga", Offer::Sagas),
    ("runs", "state", Offer::States),
    ("release", "what", Offer::Holds),
    ("key revoke", "key", Offer::Keys),
    ("key compromised", "key", Offer::Keys),
    ("key rotate", "old", Offer::Keys),
    ("explain", "code", Offer::Codes),
    ("drill start", "scene", Offer::Drills),
];

/// Answers a shell that asks what to offer; false when this is no such call.
pub fn answer(arguments: &[OsString]) -> bool {
    if std::env::var_os(VARIABLE).is_none_or(|shell| shell.is_empty() || shell == "0") {
        return false;
    }
    let here = std::env::current_dir().ok();
    let answer = CompleteEnv::with_factory(|| onto(crate::command_line()))
        .var(VARIABLE)
        .bin("redress")
        .completer("redress")
        .try_complete(arguments.iter().cloned(), here.as_deref());
    // A shell has no use for an error; it offers nothing.
    answer.unwrap_or(true)
}

/// The variable that says which shell asks.
pub const VARIABLE: &str = "REDRESS_COMPLETE";

/// The command line with what is offered for its words.
fn onto(mut command: clap::Command) -> clap::Command {
    for (words, id, offer) in OFFERS {
        let words: Vec<&str> = words.split_whitespace().collect();
        command = with(command, &words, id, *offer);
    }
    command
}

fn with(command: clap::Command, words: &[&str], id: &'static str, offer: Offer) -> clap::Command {
    if let Some((first, rest)) = words.split_first() {
        let first = (*first).to_owned();
        return command.mut_subcommand(first, |inner| with(inner, rest, id, offer));
    }
    let completer = ArgValueCompleter::new(move |typed: &OsStr| offered(offer, typed));
    command.mut_arg(id, |arg| arg.add(completer))
}

fn offered(offer: Offer, typed: &OsStr) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy().into_owned();
    let words = found(offer).unwrap_or_default().into_iter();
    let fits = words.filter(|(word, _)| {
        let begins = word.get(..typed.len());
        begins.is_some_and(|begins| begins.eq_ignore_ascii_case(&typed))
    });
    fits.map(|(word, help)| {
        let help = (!help.is_empty()).then(|| short(&help, HELP_CHARS).into());
        CompletionCandidate::new(word).help(help)
    })
    .collect()
}

/// Words and what each of them is.
fn found(offer: Offer) -> Option<Vec<(String, String)>> {
    let own = |words: &[&str]| {
        words
            .iter()
            .map(|word| ((*word).to_owned(), String::new()))
            .collect()
    };
    Some(match offer {
        Offer::Codes => redress_runbooks::pages()
            .map(|page| (page.code.to_owned(), page.title.to_owned()))
            .collect(),
        Offer::Drills => own(&Fixture::ALL.map(Fixture::as_str)),
        Offer::States => own(&State::ALL.map(State::as_str)),
        Offer::Keys => {
            let keys = list_public(&place()?.keys().ok()?).ok()?;
            let word = |(role, vkey): &(KeyRole, Vkey)| (vkey.name().to_string(), role.to_string());
            keys.iter().map(word).collect()
        }
        Offer::Runbooks => runbook::usable(&place()?)
            .ok()?
            .books()
            .iter()
            .map(|book| {
                (
                    book.runbook.runbook.to_string(),
                    book.runbook.title.to_string(),
                )
            })
            .collect(),
        Offer::Runs => asked(sql::OFFERED_RUNS)?,
        Offer::Plans => {
            let mut words = asked(sql::OFFERED_FAILED_RUNS)?;
            words.extend(asked(sql::OFFERED_EXECUTIONS).unwrap_or_default());
            words
        }
        Offer::Sagas => asked(sql::OFFERED_SAGAS)?,
        Offer::Holds => {
            let mut words = asked(sql::OFFERED_HOLDS).unwrap_or_default();
            words.push(("kill".to_owned(), "the kill switch".to_owned()));
            words
        }
        Offer::Executions => asked(sql::OFFERED_EXECUTIONS)?,
    })
}

/// Where the line that is being typed would work: its flags count as far as they are there.
fn place() -> Option<Place> {
    let words: Vec<OsString> = std::env::args_os()
        .skip_while(|word| word != "--")
        .skip(1)
        .collect();
    let parse = |command: clap::Command| {
        command
            .ignore_errors(true)
            .try_get_matches_from(&words)
            .ok()
    };
    let matches = parse(crate::command_line())?;
    let globals = Globals::from_arg_matches(&matches).ok()?;
    let settings = Settings::gather(&matches, &globals, &environment()).ok()?;
    let matches = parse(settings.onto(crate::command_line()))?;
    let globals = Globals::from_arg_matches(&matches).ok()?;
    Some(Place::new(globals, settings))
}

/// Asks the database, within its time; the first column is the word, the others say what it is.
fn asked(statement: Statement) -> Option<Vec<(String, String)>> {
    let place = place()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .ok()?;
    let answer = runtime.block_on(async {
        tokio::time::timeout(ANSWER_MAX, async {
            let target = doctor::at_hand(&place).ok()??;
            let session = open(&target).await.ok()?;
            let statements = redress_sql(&place.globals.schema);
            rows(&session, statements.text(statement)).await
        })
        .await
        .ok()?
    });
    // A name that is being looked up is not waited for.
    runtime.shutdown_background();
    answer
}

async fn rows(session: &Session, text: &str) -> Option<Vec<(String, String)>> {
    let messages = session.simple_query(text).await.ok()?;
    let row = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => {
            let cells = (1..row.len())
                .filter_map(|at| row.get(at))
                .filter(|text| !text.is_empty());
            let help: Vec<&str> = cells.collect();
            Some((row.get(0)?.to_owned(), help.join(" ")))
        }
        _ => None,
    };
    Some(messages.iter().filter_map(row).collect())
}

/// So long a shell waits for an answer.
const ANSWER_MAX: Duration = Duration::from_millis(1_500);
const HELP_CHARS: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_that_is_offered_for_exists() {
        // `mut_arg` makes an argument that is not there: the command line would have one more, which is not well formed.
        for (words, id, _) in OFFERS {
            let mut command = crate::command_line();
            for word in words.split_whitespace() {
                command = command.find_subcommand(word).expect(word).clone();
            }
            assert!(
                command.get_arguments().any(|arg| arg.get_id() == *id),
                "{words} {id}"
            );
        }
        onto(crate::command_line()).debug_assert();
    }

    #[test]
    fn codes_and_drills_are_offered_by_what_was_typed() {
        let words = |offer, typed: &str| -> Vec<String> {
            let found = offered(offer, OsStr::new(typed)).into_iter();
            found
                .map(|one| one.get_value().to_string_lossy().into_owned())
                .collect()
        };
        assert_eq!(words(Offer::Codes, "rd0420"), ["RD0420"]);
        assert!(words(Offer::Codes, "RD07").len() > 20);
        assert_eq!(words(Offer::Codes, "é"), Vec::<String>::new());
        assert!(words(Offer::Drills, "stale").contains(&"stale-plan".to_owned()));
        assert_eq!(words(Offer::States, "fail"), ["failed"]);
    }
}
