//! `audit verify BUNDLE`: an exported ledger is verified offline, from its folder and the reader's own files.
//!
//! **Invariant:** no database, no network and no state folder is needed, and nothing in the bundle is believed
//! because it is in the bundle. A file of the reader's own that cannot be used ends the command before anything is
//! judged, with exit status 2.

use std::path::{Path, PathBuf};

use redress_ledger::Trust;
use redress_ledger::bundle::{
    self, FirstFailure, FromBundle, Remembered, Report, Verdict, Warning, lies_within,
};
use redress_ledger::checkpoint::CHECKPOINT_BYTES_MAX;
use serde_json::json;

use crate::commands::look::to_value;
use crate::exit::Exit;
use crate::fail::Fail;
use crate::place::{Place, read_trust};
use crate::read::read_file;

/// Verifies the bundle in a folder.
///
/// # Errors
/// [`Fail::Unasked`] when the folder or a file of the reader's own cannot be used.
pub async fn verify(place: &Place, folder: &Path, checkpoints: &[PathBuf]) -> Result<Exit, Fail> {
    let (own, here, given) = (place.clone(), folder.to_owned(), checkpoints.to_vec());
    let reading = tokio::task::spawn_blocking(move || report(&own, &here, &given));
    let report = place.say.while_doing("verifying every record", reading);
    let report = report
        .await
        .map_err(|error| Fail::own("RD0921", error.to_string()))??;
    tell(place, &report, checkpoints.len())?;
    Ok(exit(report.verdict))
}

/// What is to be said of the bundle in a folder.
///
/// # Errors
/// As [`verify`].
pub fn report(place: &Place, folder: &Path, checkpoints: &[PathBuf]) -> Result<Report, Fail> {
    let mut not_read = FromBundle::default();
    let trust = match trust_path(place) {
        Some(path) if lies_within(folder, &path) => {
            not_read.trust = true;
            Trust::new()
        }
        Some(path) => read_trust(&path).map_err(Fail::unasked)?,
        None => Trust::new(),
    };
    let mut remembered = Vec::with_capacity(checkpoints.len());
    for path in checkpoints {
        if lies_within(folder, path) {
            not_read.remembered = true;
        } else {
            remembered.push(remember(path, &trust).map_err(Fail::unasked)?);
        }
    }
    let report = bundle::verify(folder, &trust, &remembered)
        .map_err(|error| Fail::unasked(Fail::own(error.code(), error.to_string())))?;
    Ok(report.not_read(not_read))
}

fn exit(verdict: Verdict) -> Exit {
    match verdict {
        Verdict::Verified => Exit::Done,
        Verdict::Failed => Exit::Verification,
        Verdict::Incomplete => Exit::Incomplete,
    }
}

/// The file that was named, else `STATE/trust` if there is a state folder that has one.
fn trust_path(place: &Place) -> Option<PathBuf> {
    let kept = || Some(place.state().ok()?.join("trust")).filter(|path| path.exists());
    place.globals.trust.clone().or_else(kept)
}

fn remember(path: &Path, trust: &Trust) -> Result<Remembered, Fail> {
    let bytes = read_file(path, CHECKPOINT_BYTES_MAX)?;
    Remembered::read(&bytes, trust).map_err(|error| {
        let words = format!("{error}, remembered checkpoint {}", path.display());
        Fail::own(error.code(), words)
    })
}

fn tell(place: &Place, report: &Report, compared: usize) -> Result<(), Fail> {
    if place.say.is_json() {
        let mut value = to_value(report)?;
        value["schema"] = json!(1);
        value["errors"] = json!(report.first_failure.as_slice());
        return place.say.value(&value);
    }
    for line in lines(report, compared) {
        place.say.line(&line)?;
    }
    if let Some(failure) = &report.first_failure {
        place.say.error(failure.code, &failure.message);
        if let Some(page) = redress_runbooks::page(failure.code) {
            place.say.hint("next", page.next);
        }
    } else if report.verdict == Verdict::Incomplete
        && (place.globals.trust.is_none() || report.warnings.contains(&Warning::TrustFromBundle))
    {
        let hint = "give your own file with --trust FILE or REDRESS_TRUST";
        place.say.hint("next", hint);
    }
    Ok(())
}

/// The report on a short screen.
fn lines(report: &Report, compared: usize) -> Vec<String> {
    let mut lines = vec![report.verdict.to_string()];
    let mut add = |word: &str, text: String| lines.push(format!("{word:<10}{text}"));
    if let (Some(origin), Some(generation)) = (&report.origin, report.generation) {
        add("ledger", format!("{origin}, generation {generation}"));
    }
    if let (Some(size), Some(root)) = (report.size, &report.root) {
        add("size", format!("{size}, root {root}"));
    }
    let (records, runs) = (report.records, report.runs);
    add("records", format!("{records} of {runs} runs are good"));
    let fitted: Vec<String> = report.consistent_with.iter().map(u64::to_string).collect();
    match (compared, fitted.len()) {
        (0, _) => {}
        (_, 0) => add(
            "compared",
            "none of the remembered checkpoints fitted".into(),
        ),
        _ => add(
            "compared",
            format!(
                "with the remembered checkpoints of size {}",
                fitted.join(", ")
            ),
        ),
    }
    if let Some(failure) = &report.first_failure {
        add("first", place_of(failure));
    } else if let Some(size) = report.open_at {
        add("open", format!("at size {size}"));
    }
    if !report.doubtful.is_empty() {
        let positions: Vec<String> = report.doubtful.iter().map(u64::to_string).collect();
        add("doubtful", format!("at position {}", positions.join(", ")));
    }
    for warning in &report.warnings {
        add("note", format!("{} ({warning})", warning.words()));
    }
    lines
}

/// The place of the first thing that does not hold.
fn place_of(failure: &FirstFailure) -> String {
    let mut words = vec![failure.code.to_owned()];
    if let Some(position) = failure.position {
        words.push(format!("at position {position}"));
    }
    if let Some(seq) = failure.seq {
        words.push(format!("record {seq}"));
    }
    if let Some(run) = failure.run {
        words.push(format!("of run {run}"));
    }
    if let Some(file) = &failure.file {
        words.push(format!("in {file}"));
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser;

    use super::*;
    use crate::args::Cli;

    fn place(dir: &Path, trust: Option<&str>) -> Place {
        let mut words = vec!["redress".to_owned(), "--state-dir".to_owned()];
        words.push(dir.join("state").display().to_string());
        if let Some(text) = trust {
            let path = dir.join("trust");
            fs::write(&path, text).unwrap();
            words.extend(["--trust".to_owned(), path.display().to_string()]);
        }
        words.extend(["audit".to_owned(), "verify".to_owned()]);
        Place::new(
            Cli::try_parse_from(words).unwrap().globals,
            crate::settings::Settings::default(),
        )
    }

    /// Nothing was judged, so there is no verdict.
    #[test]
    fn a_question_that_cannot_be_asked_is_a_wrong_command_line() {
        let dir = tempfile::tempdir().unwrap();
        let (empty, kept) = (dir.path().join("empty"), dir.path().join("kept"));
        fs::create_dir(&empty).unwrap();
        fs::write(&kept, "no checkpoint").unwrap();
        let check = |trust: Option<&str>, folder: &Path, kept: &[PathBuf], code: &str| {
            let place = place(dir.path(), trust);
            let fail = report(&place, folder, kept).unwrap_err();
            assert_eq!((fail.code(), fail.exit()), (code, Exit::Usage), "{fail}");
        };
        check(Some("trust everybody\n"), &empty, &[], "RD0530");
        check(None, &dir.path().join("nowhere"), &[], "RD0721");
        check(None, &kept, &[], "RD0721");
        check(None, &empty, std::slice::from_ref(&kept), "RD0639");
        check(None, &empty, &[dir.path().join("nowhere")], "RD0910");
    }

    #[test]
    fn nothing_is_incomplete_and_something_else_has_failed() {
        let dir = tempfile::tempdir().unwrap();
        let (empty, other) = (dir.path().join("empty"), dir.path().join("other"));
        fs::create_dir(&empty).unwrap();
        fs::create_dir(&other).unwrap();
        fs::write(other.join("photo"), "x").unwrap();
        let place = place(dir.path(), None);
        assert_eq!(
            exit(report(&place, &empty, &[]).unwrap().verdict),
            Exit::Incomplete
        );
        assert_eq!(
            exit(report(&place, &other, &[]).unwrap().verdict),
            Exit::Verification
        );
    }

    #[test]
    fn the_first_fault_has_its_place_on_the_screen() {
        let dir = tempfile::tempdir().unwrap();
        let mut report = bundle::verify(dir.path(), &Trust::new(), &[]).unwrap();
        assert_eq!(lines(&report, 0)[0], "INCOMPLETE");
        assert!(
            lines(&report, 0)
                .iter()
                .any(|line| line.contains("(nothing)"))
        );
        report.verdict = Verdict::Failed;
        report.first_failure = Some(FirstFailure {
            code: "RD0650",
            position: Some(7),
            run: None,
            seq: Some(3),
            file: Some("tile/entries/000.p/9".to_owned()),
            message: "the stored hash is not that of the bytes".to_owned(),
        });
        let said = lines(&report, 1).join("\n");
        let place = "first     RD0650 at position 7 record 3 in tile/entries/000.p/9";
        assert!(said.contains(place), "{said}");
        assert!(said.contains("none of the remembered"), "{said}");
    }
}
