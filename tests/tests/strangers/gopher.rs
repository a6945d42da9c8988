//! Go: `sumdb/note` opens our heads, `sumdb/tlog` checks our proofs.

use std::process::Command;

use redress::ledger::Hash;
use serde_json::{Value, json};

use crate::find::{GOPATH, go, run_with, skipped};
use crate::ground::{Ground, ground};

const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/strangers/stranger.go");

/// One question and whether the answer must be yes.
struct Question {
    what: String,
    asked: Value,
    good: bool,
}

/// Go's JSON has bytes in base64.
fn bytes(bytes: &[u8]) -> Value {
    use base64ct::{Base64, Encoding};
    Value::String(Base64::encode_string(bytes))
}

fn hashes(hashes: &[Hash]) -> Value {
    hashes.iter().map(|hash| bytes(hash.as_bytes())).collect()
}

fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut changed = bytes.to_vec();
    changed[at] ^= 1;
    changed
}

fn flipped_hash(hashes: &[Hash], at: usize) -> Vec<Hash> {
    let mut changed = hashes.to_vec();
    let hash = flipped(changed[at].as_bytes(), 7);
    changed[at] = Hash::try_from(hash.as_slice()).expect("32 bytes");
    changed
}

/// What Go is asked about the heads alone: as they are, and with each of a few bytes flipped.
fn about_heads(ground: &Ground) -> Vec<Question> {
    let head = |what: String, note: &[u8], good: bool| Question {
        what,
        asked: json!({"kind": "open", "head": bytes(note)}),
        good,
    };
    let mut questions = vec![
        head("the older head".to_owned(), &ground.old, true),
        head("the newest head".to_owned(), &ground.new, true),
    ];
    let end = ground.new.len();
    for at in [0, 5, end / 2, end - 20, end - 60] {
        let changed = flipped(&ground.new, at);
        questions.push(head(format!("a head, byte {at} flipped"), &changed, false));
    }
    questions
}

fn about_records(ground: &Ground) -> Vec<Question> {
    let mut questions = Vec::new();
    for kept in &ground.kept {
        let proof = &kept.proof;
        let index = proof.index;
        let note = proof.checkpoint.to_bytes();
        let mut ask = |what: &str, record: &[u8], index: u64, path: &[Hash], good: bool| {
            questions.push(Question {
                what: format!("record {}, {what}", proof.index),
                asked: json!({
                    "kind": "record", "head": bytes(&note), "record": bytes(record),
                    "index": index, "proof": hashes(path),
                }),
                good,
            });
        };
        let (record, path) = (kept.record.as_slice(), proof.hashes.as_slice());
        ask("as it is", record, index, path, true);
        let middle = record.len() / 2;
        ask("flipped", &flipped(record, middle), index, path, false);
        ask("elsewhere", record, index ^ 1, path, false);
        ask("cut short", record, index, &path[1..], false);
        for at in [0, path.len() - 1] {
            ask(
                "its proof flipped",
                record,
                index,
                &flipped_hash(path, at),
                false,
            );
        }
    }
    questions
}

fn about_the_tree(ground: &Ground) -> Vec<Question> {
    let tree = |what: &str, old: &[u8], new: &[u8], path: &[Hash], good: bool| Question {
        what: format!("the newest head continues the older one, {what}"),
        asked: json!({
            "kind": "tree", "old": bytes(old), "head": bytes(new), "proof": hashes(path),
        }),
        good,
    };
    let (old, new, path) = (&ground.old, &ground.new, &ground.consistency);
    assert!(path.len() > 1, "more than one hash to flip");
    let last = flipped_hash(path, path.len() - 1);
    vec![
        tree("as it is", old, new, path, true),
        tree("the other way round", new, old, path, false),
        tree("cut short", old, new, &path[1..], false),
        tree(
            "first hash flipped",
            old,
            new,
            &flipped_hash(path, 0),
            false,
        ),
        tree("last hash flipped", old, new, &last, false),
    ]
}

#[test]
fn go_opens_our_heads_and_believes_our_proofs() {
    if !go() {
        return skipped("Go (sumdb/note, sumdb/tlog)", "it is not there");
    }
    let ground = ground();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = folder.path().join("stranger");
    let mut build = Command::new("go");
    build
        .args(["build", "-o"])
        .arg(&program)
        .arg(PROGRAM)
        .env("GO111MODULE", "off")
        .env("GOPATH", GOPATH)
        .env("GOFLAGS", "")
        .env("GOCACHE", folder.path().join("cache"));
    let built = build.output().expect("go runs");
    let said = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "{said}");

    let mut questions = about_heads(ground);
    questions.extend(about_records(ground));
    questions.extend(about_the_tree(ground));
    let asked: Vec<&Value> = questions.iter().map(|one| &one.asked).collect();
    let asked = json!({"vkey": ground.log.to_string(), "questions": asked});
    let done = run_with(&mut Command::new(&program), asked.to_string().as_bytes());
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}");
    let answers: Vec<String> = serde_json::from_slice(&done.stdout).expect("a list of answers");
    assert_eq!(answers.len(), questions.len());
    let (mut good, mut refused) = (0, 0);
    for (question, answer) in questions.iter().zip(&answers) {
        assert_eq!(
            answer.is_empty(),
            question.good,
            "{}: {answer:?}",
            question.what
        );
        good += usize::from(question.good);
        refused += usize::from(!question.good);
    }
    println!("Go agrees {good} times and refuses {refused} times");
    assert!(good > 10 && refused > 40, "{good} {refused}");
}
