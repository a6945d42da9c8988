//! Holds this verifier against FORMAT.md and against the other verifier, on every bundle of the corpus.
//!
//! `python/make_bundle.py` makes the bundles, good and damaged, and says what is expected of each;
//! it knows neither verifier. `verify.py` was written from the text alone. The example `mutations`
//! prints the same as a table.
//!
//! Where no interpreter can be had, the test says so on standard error and passes: nothing was compared.

use std::path::Path;

#[path = "common/cases.rs"]
mod cases;
mod common;

use cases::Expected;
use common::interpreter;
use serde_json::Value;

/// F81 to F94: what is said of a bundle is what the specification says, twice.
#[test]
fn two_verifiers_say_the_same_of_every_bundle() {
    let Some(python) = interpreter(Path::new(env!("CARGO_TARGET_TMPDIR"))) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("cases");
    cases::make(&python, &place);
    let theirs = cases::theirs(&python, &place, &folder.path().join("reports.json"));
    assert!(theirs.len() >= 370, "the corpus has {} cases", theirs.len());
    let mut wrong = Vec::new();
    for (name, their) in &theirs {
        let case = place.join(name);
        let expected = Expected::read(&case);
        if let Err(difference) = compare(&case, &expected, their) {
            wrong.push(format!("{}: {difference}", expected.done(name)));
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
fn compare(case: &Path, expected: &Expected, theirs: &Value) -> Result<(), String> {
    let (ours, message) = cases::ours(case, expected);
    let (found, wanted) = (cases::outcome(&ours), expected.said());
    if found != wanted {
        return Err(format!("found {found}, expected {wanted}: {message}"));
    }
    let (ours, theirs) = (
        cases::without_message(&ours),
        cases::without_message(theirs),
    );
    if ours == theirs {
        Ok(())
    } else {
        Err(format!("{ours}\n   the other says {theirs}: {message}"))
    }
}
