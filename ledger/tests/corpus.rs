//! Holds this verifier against FORMAT.md and against the other verifier, on every bundle of the corpus.
//!
//! `python/make_bundle.py` makes the bundles, good and damaged, and says what is expected of each;
//! it knows neither verifier. `verify.py` was written from the text alone.
//!
//! Where no interpreter can be had, the test says so on standard error and passes: nothing was compared.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

mod common;

use common::{interpreter, run};
use redress_ledger::Trust;
use redress_ledger::bundle::{Remembered, Report, verify};
use serde::Deserialize;
use serde_json::{Value, json};

/// Verifies every case with `verify.py` in one process and writes its reports.
const DRIVER: &str = r#"
import json, os, sys
sys.path.insert(0, sys.argv[1])
import verify
reports = {}
for name in sorted(os.listdir(sys.argv[2])):
    case = os.path.join(sys.argv[2], name)
    if not os.path.isdir(case):
        continue
    with open(os.path.join(case, "expected.json")) as file:
        expected = json.load(file)
    known = [os.path.join(case, one) for one in expected["checkpoints"]]
    try:
        report = verify.verify(os.path.join(case, "bundle"), os.path.join(case, "trust"), known)
        reports[name] = report.to_json()
    except verify.Usage:
        reports[name] = None
with open(sys.argv[3], "w") as file:
    json.dump(reports, file)
"#;

#[derive(Deserialize)]
struct Expected {
    verdict: Option<String>,
    code: Option<String>,
    position: Option<u64>,
    exit: u8,
    checkpoints: Vec<String>,
}

/// F81 to F94: what is said of a bundle is what the specification says, twice.
#[test]
fn two_verifiers_say_the_same_of_every_bundle() {
    let Some(python) = interpreter() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let cases = folder.path().join("cases");
    let ledger = Path::new(env!("CARGO_MANIFEST_DIR"));
    let maker = ledger.join("python/make_bundle.py");
    run(Command::new(&python).arg(maker).arg(&cases).arg("--all"));
    let theirs = folder.path().join("reports.json");
    let mut driver = Command::new(&python);
    run(driver.args(["-c", DRIVER]).args([ledger, &cases, &theirs]));
    let theirs = std::fs::read(theirs).unwrap();
    let theirs: BTreeMap<String, Value> = serde_json::from_slice(&theirs).unwrap();
    assert!(theirs.len() >= 370, "the corpus has {} cases", theirs.len());
    let mut wrong = Vec::new();
    for (name, their) in &theirs {
        if let Err(difference) = compare(&cases.join(name), their) {
            wrong.push(format!("{name}: {difference}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {} cases differ:\n{}",
        wrong.len(),
        theirs.len(),
        wrong.join("\n")
    );
}

/// What is said of one case: expected, by this verifier and by the other one.
fn compare(case: &Path, theirs: &Value) -> Result<(), String> {
    let expected = std::fs::read(case.join("expected.json")).unwrap();
    let expected: Expected = serde_json::from_slice(&expected).unwrap();
    let report = judge(case, &expected.checkpoints);
    let (exit, ours) = match &report {
        Some(report) => (report.verdict.exit_status(), said(report)),
        None => (2, Value::Null),
    };
    let failure = report.as_ref().and_then(|one| one.first_failure.as_ref());
    let message = failure.map(|one| one.message.as_str()).unwrap_or_default();
    let found = json!({
        "verdict": ours.get("verdict"),
        "code": failure.map(|one| one.code),
        "position": failure.and_then(|one| one.position),
        "exit": exit,
    });
    // What cannot be asked has no verdict and no code in a report.
    let asked = expected.exit != 2;
    let wanted = json!({
        "verdict": expected.verdict.filter(|_| asked),
        "code": expected.code.filter(|_| asked),
        "position": expected.position.filter(|_| asked),
        "exit": expected.exit,
    });
    if found != wanted {
        return Err(format!("found {found}, expected {wanted}: {message}"));
    }
    let mut theirs = theirs.clone();
    if let Some(failure) = theirs
        .get_mut("first_failure")
        .and_then(Value::as_object_mut)
    {
        failure.remove("message");
    }
    if ours == theirs {
        Ok(())
    } else {
        Err(format!("{ours}\n   the other says {theirs}: {message}"))
    }
}

/// The report without its message, which is for people and not part of the format.
fn said(report: &Report) -> Value {
    let mut value = serde_json::to_value(report).unwrap();
    if let Some(failure) = value["first_failure"].as_object_mut() {
        failure.remove("message");
    }
    value
}

/// The report of this verifier, `None` if the question cannot be asked.
fn judge(case: &Path, checkpoints: &[String]) -> Option<Report> {
    let trust = std::fs::read(case.join("trust")).unwrap();
    let trust = Trust::parse(std::str::from_utf8(&trust).ok()?).ok()?;
    let remembered: Option<Vec<Remembered>> = checkpoints
        .iter()
        .map(|name| {
            let bytes = std::fs::read(case.join(name)).unwrap();
            Remembered::read(&bytes, &trust).ok()
        })
        .collect();
    verify(&case.join("bundle"), &trust, &remembered?).ok()
}
