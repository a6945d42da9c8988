//! Python: packages that know nothing of us, and the second verifier, about the exported ledger.

use std::path::{Path, PathBuf};
use std::process::Command;

use redress::ledger::{Checkpoint, Hash};
use serde_json::{Value, json};

use crate::find::{python, run_with, skipped};
use crate::ground::ground;

const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/strangers");

/// The interpreter, or one loud line.
fn interpreter(stranger: &str) -> Option<PathBuf> {
    let found = python();
    if found.is_none() {
        skipped(stranger, "no Python with this package could be had");
    }
    found
}

/// Asks `stranger.py` one question.
#[track_caller]
fn ask(python: &Path, what: &str, question: &Value) -> Value {
    let mut command = Command::new(python);
    command.arg(format!("{HERE}/stranger.py")).arg(what);
    let done = run_with(&mut command, question.to_string().as_bytes());
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}");
    serde_json::from_slice(&done.stdout).expect("an answer")
}

fn hexes(hashes: &[Hash]) -> Vec<String> {
    hashes.iter().map(Hash::to_string).collect()
}

#[test]
fn pymerkle_finds_the_same_roots_and_the_same_proofs() {
    let Some(python) = interpreter("pymerkle") else {
        return;
    };
    let ground = ground();
    let head = |note: &[u8]| {
        let head = Checkpoint::peek(note).expect("a head");
        json!({"size": head.size, "root": head.root.to_string()})
    };
    let records: Vec<Value> = ground
        .kept
        .iter()
        .map(|kept| json!({"index": kept.proof.index, "proof": hexes(&kept.proof.hashes)}))
        .collect();
    let question = json!({
        "folder": ground.export, "old": head(&ground.old), "new": head(&ground.new),
        "records": records,
    });
    let answer = ask(&python, "merkle", &question);
    assert_eq!(answer["roots"], json!([true, true]), "{answer}");
    assert_eq!(answer["inclusion"], json!(records.len()), "{answer}");
    // The same with a byte of leaf, root or proof flipped.
    assert_eq!(answer["refused"], json!(2 * records.len() + 3), "{answer}");
}

#[test]
fn securesystemslib_verifies_the_envelope_of_a_decision() {
    let Some(python) = interpreter("securesystemslib") else {
        return;
    };
    let ground = ground();
    let envelope = &ground.envelope;
    let ours = envelope.to_be_signed().expect("bytes");
    envelope.verify(&ground.trust).expect("ours, too");
    let question = json!({
        "envelope": envelope.to_value(),
        "keyid": ground.signer.id().to_string(),
        "public": hex(ground.signer.key().as_bytes()),
        "other": hex(ground.log.key().as_bytes()),
    });
    let answer = ask(&python, "dsse", &question);
    assert_eq!(answer["pae"].as_str(), Some(hex(&ours).as_str()));
    assert_eq!(answer["verified"], json!(true), "{answer}");
    assert_eq!(
        answer["refused"],
        json!(["another key", "payload", "payload type", "signature"])
    );
}

#[test]
fn rfc8785_writes_every_record_as_it_is() {
    let Some(python) = interpreter("rfc8785") else {
        return;
    };
    let ground = ground();
    let size = Checkpoint::peek(&ground.new).expect("a head").size;
    let question = json!({"folder": ground.export, "size": size});
    let answer = ask(&python, "canonical", &question);
    assert_eq!(answer, json!({"records": size, "different": []}));
}

#[test]
fn the_second_verifier_verifies_the_export_of_a_real_database() {
    let Some(python) = interpreter("verify.py") else {
        return;
    };
    let ground = ground();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).expect("written");
        path
    };
    let lines: Vec<String> = ground.trust.keys().map(|key| key.line()).collect();
    let lines = format!("{}\nlog {}\nroot 1\n", lines.join("\n"), ground.log);
    let mut command = Command::new(python);
    command
        .arg(format!("{HERE}/../../../ledger/verify.py"))
        .arg(&ground.export)
        .arg("--trust")
        .arg(file("trust", lines.as_bytes()))
        .arg("--checkpoint")
        .arg(file("remembered", &ground.old))
        .arg("--json");
    let done = run_with(&mut command, b"");
    let report: Value = serde_json::from_slice(&done.stdout).expect("a report");
    assert_eq!(report["verdict"], "VERIFIED", "{report}");
    let old = Checkpoint::peek(&ground.old).expect("a head").size;
    assert_eq!(report["consistent_with"], json!([old]), "{report}");
    assert_eq!(report["warnings"], json!([]), "{report}");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
