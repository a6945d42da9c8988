//! The corpus: makes it, asks both verifiers about every case, and says what was expected of each.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use redress_ledger::Trust;
use redress_ledger::bundle::{Remembered, Report, verify};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::common::run;

/// The folder of this crate.
const LEDGER: &str = env!("CARGO_MANIFEST_DIR");

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

/// What the first words of names stand for.
const ABOUT: [(&str, &str); 16] = [
    ("act", "act of the root"),
    ("bytes", "bytes of a record"),
    ("file", "files of the bundle"),
    ("flip", "changed in place"),
    ("good", "nothing damaged"),
    ("incomplete", "nothing damaged, something lacks"),
    ("key", "key in an act or a signature"),
    ("openssh", "signature by OpenSSH"),
    ("payload", "payload of a decision"),
    ("rehash", "hashes made anew"),
    ("root", "root of the keys"),
    ("run", "bundle of one run"),
    ("second", "later generation"),
    ("signature", "signatures of a decision"),
    ("story", "plan and its decisions"),
    ("tale", "moves of a run"),
];

/// What a case is about and what must be said of it.
#[derive(Deserialize)]
pub struct Expected {
    verdict: Option<String>,
    code: Option<String>,
    position: Option<u64>,
    exit: u8,
    checkpoints: Vec<String>,
    why: String,
}

impl Expected {
    /// Reads what is expected of the case in a folder.
    pub fn read(case: &Path) -> Expected {
        let bytes = std::fs::read(case.join("expected.json")).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }

    /// What was done to the bundle: what the case is about, the rest of its name, and its own words.
    pub fn done(&self, name: &str) -> String {
        let words = name.replace('-', " ");
        let about = ABOUT.iter().find_map(|(first, about)| {
            let rest = words.strip_prefix(first)?.strip_prefix(' ')?;
            Some(format!("{about}: {rest}"))
        });
        let done = about.unwrap_or(words);
        match self.why.as_str() {
            "" => done,
            why => format!("{done} ({why})"),
        }
    }

    /// Verdict, code, position and exit status as a report gives them.
    pub fn said(&self) -> Value {
        // What cannot be asked has no verdict and no code in a report.
        let asked = self.exit != 2;
        json!({
            "verdict": self.verdict.as_ref().filter(|_| asked),
            "code": self.code.as_ref().filter(|_| asked),
            "position": self.position.filter(|_| asked),
            "exit": self.exit,
        })
    }
}

/// Makes every case of the corpus in a folder.
pub fn make(python: &Path, cases: &Path) {
    let maker = Path::new(LEDGER).join("python/make_bundle.py");
    run(Command::new(python).arg(maker).arg(cases).arg("--all"));
}

/// The reports of `verify.py` on every case; null where it could not be asked.
pub fn theirs(python: &Path, cases: &Path, report: &Path) -> BTreeMap<String, Value> {
    let mut driver = Command::new(python);
    run(driver.args(["-c", DRIVER, LEDGER]).args([cases, report]));
    serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap()
}

/// The report of this verifier and its message for people; null if the question cannot be asked.
pub fn ours(case: &Path, expected: &Expected) -> (Value, String) {
    let Some(report) = judge(case, &expected.checkpoints) else {
        return (Value::Null, String::new());
    };
    let failure = report.first_failure.as_ref();
    let message = failure.map(|one| one.message.clone()).unwrap_or_default();
    (serde_json::to_value(&report).unwrap(), message)
}

/// A report without its message, which is no part of the format.
pub fn without_message(report: &Value) -> Value {
    let mut report = report.clone();
    if let Some(failure) = report
        .get_mut("first_failure")
        .and_then(Value::as_object_mut)
    {
        failure.remove("message");
    }
    report
}

/// Verdict, code, position and exit status of a report.
pub fn outcome(report: &Value) -> Value {
    let verdict = report.get("verdict").and_then(Value::as_str);
    let exit = match verdict {
        Some("VERIFIED") => 0,
        Some("FAILED") => 7,
        Some("INCOMPLETE") => 8,
        _ => 2,
    };
    json!({
        "verdict": verdict,
        "code": report.pointer("/first_failure/code"),
        "position": report.pointer("/first_failure/position"),
        "exit": exit,
    })
}

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
    let report = verify(&case.join("bundle"), &trust, &remembered?).ok()?;
    // The exit status is said again by `outcome`, from the verdict's text.
    let said = outcome(&serde_json::to_value(&report).unwrap());
    assert_eq!(said["exit"], report.verdict.exit_status());
    Some(report)
}
