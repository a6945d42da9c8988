//! `audit` and `check`: the ledger is read, verified, and replayed against the tables.

use std::collections::BTreeMap;
use std::path::PathBuf;

use redress::check::CheckFinding;
use redress_ledger::verify::Verdict;
use serde_json::json;

use crate::commands::archive;
use crate::commands::bundle;
use crate::commands::log::{self, LogArgs};
use crate::commands::look::to_value;
use crate::commands::postings;
use crate::commands::seal;
use crate::exit::Exit;
use crate::fail::Fail;
use crate::place::Place;

/// What to do with the ledger.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Every record of every run and of the system log
    Log {
        /// Wait for more
        #[arg(long, short)]
        follow: bool,
    },
    /// Verify bytes, chains, legality and decisions: of the database, or of an exported ledger
    Verify {
        /// Folder of an exported ledger; it is verified offline, with --trust alone
        #[arg(value_name = "BUNDLE")]
        bundle: Option<PathBuf>,
        /// A checkpoint that you kept from before; may be given several times
        #[arg(long = "checkpoint", value_name = "FILE", requires = "bundle")]
        checkpoints: Vec<PathBuf>,
    },
    /// Give committed records their place in the signed log, sign its head, and publish it
    Seal(seal::SealArgs),
    /// How many records wait to be sealed and for how long; for monitoring
    Window(seal::WindowArgs),
    /// Write a folder from which a stranger verifies the sealed ledger, or one run
    Export(seal::ExportArgs),
    /// Print the proof that a run's record is in the log
    Receipt(seal::ReceiptArgs),
    /// Print the proof that the log of one size begins with that of another
    Consistency(seal::ConsistencyArgs),
    /// Let runs that ended long ago leave the database, by a decision of the root, behind a verified archive
    Archive(archive::ArchiveArgs),
    /// Erase data beside the records, by a decision of the root
    Erase(seal::EraseArgs),
    /// Continue a ledger after a restore, a move or a fork, as a new generation
    Continue(seal::ContinueArgs),
}

/// Carries it out.
///
/// # Errors
/// [`Fail`]: what was asked was not done.
pub async fn run(place: &Place, command: &Command) -> Result<Exit, Fail> {
    match command {
        Command::Log { follow } => {
            let args = LogArgs {
                run: None,
                all: true,
                follow: *follow,
            };
            log::log(place, &args).await
        }
        Command::Verify {
            bundle: Some(folder),
            checkpoints,
        } => bundle::verify(place, folder, checkpoints).await,
        Command::Verify { bundle: None, .. } => verify(place).await,
        Command::Seal(args) => seal::seal(place, args).await,
        Command::Window(args) => seal::window(place, args).await,
        Command::Export(args) => seal::export(place, args).await,
        Command::Receipt(args) => seal::receipt(place, args).await,
        Command::Consistency(args) => seal::consistency(place, args).await,
        Command::Archive(args) => archive::archive(place, args).await,
        Command::Erase(args) => seal::erase(place, args).await,
        Command::Continue(args) => seal::proceed(place, args).await,
    }
}

async fn verify(place: &Place) -> Result<Exit, Fail> {
    let engine = place.engine().await?;
    let verifying = engine.audit_verify();
    let report = place.say.while_doing("verifying every record", verifying);
    let report = report.await?;
    let (exit, errors) = match &report.verdict {
        Verdict::Verified => (Exit::Done, Vec::new()),
        Verdict::Failed {
            run,
            seq,
            code,
            message,
        } => (
            Exit::Verification,
            vec![json!({"code": code, "message": message, "run": run, "seq": seq})],
        ),
        Verdict::Incomplete { .. } => (Exit::Incomplete, Vec::new()),
    };
    if place.say.is_json() {
        let mut value = to_value(&report)?;
        value["schema"] = json!(1);
        value["errors"] = json!(errors);
        place.say.value(&value)?;
        return Ok(exit);
    }
    match &report.verdict {
        Verdict::Verified => place.say.line(&format!(
            "verified: {} records of {} logs ({} sealed), {} decisions",
            report.records, report.runs, report.sealed, report.decisions
        ))?,
        Verdict::Failed {
            run,
            seq,
            code,
            message,
        } => {
            place
                .say
                .line(&format!("FAILED at record {seq} of run {run}"))?;
            place.say.error(code, message);
            if let Some(page) = redress_runbooks::page(code) {
                place.say.hint("next", page.next);
            }
        }
        Verdict::Incomplete { reason } => {
            place.say.line(&format!(
                "incomplete: {reason} ({} records of {} logs hold)",
                report.records, report.runs
            ))?;
            if place.trust()?.is_none() {
                place.say.hint("next", "give --trust FILE or REDRESS_TRUST");
            }
        }
    }
    Ok(exit)
}

/// Who owns so much of what was found that other names are meant, rather than that something was changed.
fn other_owner(findings: &[CheckFinding]) -> Option<&str> {
    let owners = findings
        .iter()
        .filter_map(|one| one.message.rsplit_once(" is owned by "))
        .map(|(_, owner)| owner);
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for owner in owners {
        *counts.entry(owner).or_default() += 1;
    }
    let most = counts.into_iter().max_by_key(|(_, count)| *count);
    most.filter(|(_, count)| *count >= OTHER_OWNER_MIN)
        .map(|(owner, _)| owner)
}

/// So many tables and functions do not change hands by accident.
const OTHER_OWNER_MIN: usize = 10;

/// Replays the ledger against the tables, both ways.
///
/// # Errors
/// [`Fail::Engine`] when it cannot be read.
pub async fn check(place: &Place) -> Result<Exit, Fail> {
    let engine = place.engine().await?;
    let checking = place
        .say
        .while_doing("replaying the ledger", engine.check());
    let mut report = checking.await?;
    let replayed = postings::replay_all(place, &engine).await?;
    for found in replayed.iter().flat_map(|report| &report.findings) {
        report.ok = false;
        report.findings.push(CheckFinding {
            code: found.code,
            what: found.what,
            run: None,
            seq: None,
            message: found.message.clone(),
        });
    }
    let exit = if report.ok {
        Exit::Done
    } else {
        Exit::Verification
    };
    if place.say.is_json() {
        let mut value = to_value(&report)?;
        value["errors"] = value["findings"].clone();
        place.say.value(&value)?;
        return Ok(exit);
    }
    for note in &report.notes {
        place.say.notice(note);
    }
    if report.ok {
        let archived = match report.archived {
            0 => String::new(),
            runs => format!("; {runs} runs more are archived"),
        };
        let text = format!(
            "ledger and tables agree: {} runs, {} records{archived}",
            report.runs, report.records
        );
        place.say.line(&text)?;
        for report in &replayed {
            postings::print(place, report)?;
        }
        return Ok(exit);
    }
    for finding in &report.findings {
        let run = finding
            .run
            .map(|run| format!(", run {run}"))
            .unwrap_or_default();
        let seq = finding
            .seq
            .map(|seq| format!(", record {seq}"))
            .unwrap_or_default();
        place.say.line(&format!(
            "{} {}: {}{run}{seq}",
            finding.code, finding.what, finding.message
        ))?;
    }
    if report.more > 0 {
        place.say.line(&format!("and {} more", report.more))?;
    }
    place
        .say
        .notice("`redress explain CODE` says what each of them means; nothing was repaired");
    if let Some(owner) = other_owner(&report.findings) {
        place.say.notice(&format!(
            "nearly all of it is owned by {owner}: where the roles of an installation have names of their own, [roles] in \
             redress.toml must say them (`redress config` shows those in force)"
        ));
    }
    Ok(exit)
}
