//! `audit archive`: runs that ended long ago leave the hot tables, behind an archive that was verified.
//!
//! **Invariant:** nothing leaves before the archive verifies here with the reader's own trust file, and before the root
//! has signed what leaves.

use std::path::PathBuf;

use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use redress::archive::{Archives, Archiving};
use redress_ledger::bundle::{Report, Verdict};
use serde_json::json;

use crate::commands::bundle;
use crate::commands::key::ActFlags;
use crate::commands::key::act;
use crate::commands::seal::log_key;
use crate::exit::Exit;
use crate::fail::Fail;
use crate::place::Place;

/// What to archive, and where.
#[derive(Debug, clap::Args)]
pub struct ArchiveArgs {
    /// The folder to make: an export of the whole sealed ledger
    pub folder: PathBuf,
    /// Runs that ended before: an age (90d, 12h) or a time (2026-08-01, 2026-08-01T00:00:00Z)
    #[arg(long, value_name = "WHEN")]
    pub before: String,
    /// An earlier archive, for what has left before; may be given several times [env: REDRESS_SEAL_ARCHIVES]
    #[arg(long = "archive", value_name = "DIR")]
    pub archives: Vec<PathBuf>,
    /// File of the log's key [env: REDRESS_SEAL_LOG_KEY] [default: the one in STATE/keys]
    #[arg(long, value_name = "FILE")]
    pub log_key: Option<PathBuf>,
    /// Who signs, and why.
    #[command(flatten)]
    pub flags: ActFlags,
}

/// Writes an archive, verifies it, and lets the runs go by a decision of the root.
///
/// # Errors
/// RD0751 when the archive does not verify, [`Fail::Engine`]: nothing has left the database.
pub async fn archive(place: &Place, args: &ArchiveArgs) -> Result<Exit, Fail> {
    let engine = place.engine().await?;
    let before = instant(&args.before, Timestamp::now())?;
    let ready = engine.archivable(&before).await?;
    if ready == 0 {
        return nothing(place, &before);
    }
    let what = format!(
        "let {ready} runs that ended before {before} leave the database: their records stay in {} and have to be kept there",
        args.folder.display()
    );
    place
        .say
        .notice(&format!("{what}. Reason: {}", args.flags.reason));
    let keys = act::signers(place, &args.flags, &what)?;
    let key = log_key(place, &engine, args.log_key.as_deref()).await?;
    let mut archives = Archives::open(&args.archives)?;
    let archiving = engine.archive(&args.folder, &before, &key, &mut archives);
    let archiving = place.say.while_doing("writing the archive", archiving);
    let archiving = archiving.await?;
    verified(place, &archiving)?;
    let Some(change) = archiving.change() else {
        return nothing(place, &before);
    };
    let done = act::carry_signed(place, &engine, change, &args.flags, &keys).await;
    if let Err(fail) = &done
        && matches!(fail.exit(), Exit::Approvals | Exit::Refused)
    {
        // Nothing left the database, and nobody signed for this folder: the right repeat makes it anew.
        take_back(place, &archiving);
    }
    done
}

fn take_back(place: &Place, archiving: &Archiving) {
    let folder = &archiving.exported.folder;
    match std::fs::remove_dir_all(folder) {
        Ok(()) => place
            .say
            .notice(&format!("removed again: {}", folder.display())),
        Err(error) => place.say.notice(&format!(
            "remove it before you repeat this: {error}, {}",
            folder.display()
        )),
    }
}

fn nothing(place: &Place, before: &str) -> Result<Exit, Fail> {
    if place.say.is_json() {
        place
            .say
            .value(&json!({"schema": 1, "before": before, "runs": 0, "errors": []}))?;
    } else {
        place.say.line(&format!(
            "nothing to archive: no run that ended before {before} is sealed and free of holds"
        ))?;
    }
    Ok(Exit::Done)
}

/// What is not good in the archive stays in the database.
fn verified(place: &Place, archiving: &Archiving) -> Result<(), Fail> {
    let folder = &archiving.exported.folder;
    let report: Report = bundle::report(place, folder, &[])?;
    let why = match (&report.verdict, &report.first_failure) {
        (Verdict::Verified, _) => return Ok(()),
        (_, Some(failure)) => format!("{}: {}", failure.code, failure.message),
        (verdict, None) => {
            let words: Vec<&str> = report.warnings.iter().map(|one| one.words()).collect();
            format!("{verdict}: {}", words.join("; "))
        }
    };
    let text = format!(
        "the archive does not verify, so nothing left the database: {why}, {}",
        folder.display()
    );
    Err(Fail::own("RD0751", text))
}

/// The instant that a person means, as the ledger writes times.
fn instant(text: &str, now: Timestamp) -> Result<String, Fail> {
    let wrong = || {
        let text = format!(
            "--before is an age such as 90d or 12h, or a time such as 2026-08-01 or 2026-08-01T00:00:00Z, not {text:?}"
        );
        Fail::own("RD0924", text)
    };
    let at = if let Ok(at) = text.parse::<Timestamp>() {
        at
    } else if let Ok(day) = text.parse::<jiff::civil::Date>() {
        let start = day.to_zoned(TimeZone::UTC).map_err(|_| wrong())?;
        start.timestamp()
    } else {
        let age: Span = text.parse().map_err(|_| wrong())?;
        let then = now.to_zoned(TimeZone::UTC).checked_sub(age.abs());
        then.map_err(|_| wrong())?.timestamp()
    };
    Ok(redress_ledger::time::format_utc(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_an_age_a_day_or_a_time() {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        let check = |text: &str, expected: &str| {
            assert_eq!(instant(text, now).unwrap(), expected, "{text}");
        };
        check("90d", "2026-08-23T12:00:00.000000Z");
        check("12h", "2026-11-21T00:00:00.000000Z");
        check("0s", "2026-11-21T12:00:00.000000Z");
        check("2026-08-01", "2026-08-01T00:00:00.000000Z");
        check("2026-08-01T02:00:00+02:00", "2026-08-01T00:00:00.000000Z");
        for text in ["", "soon", "90", "2026-13-01", "9999999y"] {
            assert!(instant(text, now).is_err(), "{text:?}");
        }
    }
}
