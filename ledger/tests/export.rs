//! Makes exports with the writers of this crate and reads them back: whole, as one run, and damaged.
//!
//! The corpus compares two verifiers and needs Python; all promises but one hold here without it.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{interpreter, run};
use redress_ledger::blob::BlobRef;
use redress_ledger::bundle::{
    BundleKind, CHECKPOINT_NAME, FORMAT_NAME, ListedFile, MANIFEST_NAME, Manifest, Remembered,
    Report, Verdict, blob_name, checkpoint_name, entry_name, proof_name, verify,
};
use redress_ledger::chain::transition_value;
use redress_ledger::keyring::{KeyRole, Keyring, Root, Terms, body};
use redress_ledger::tree::{Bundler, Frontier, Node, Tiler, inclusion_proof};
use redress_ledger::{
    Checkpoint, Event, Hash, Kind, Record, Role, SigningKey, State, TlogProof, Trust, log_origin,
};
use serde_json::{Value, json};
use uuid::Uuid;

const ORIGIN: &str = "test.redress.example/ledger";
const AT: &str = "2026-05-01T12:00:00.000000Z";
const LATER: &str = "2027-05-01T12:00:00.000000Z";
const SYSTEM: Uuid = Uuid::from_u128(0xffff);
const RUN: Uuid = Uuid::from_u128(1);
const BLOB: Uuid = Uuid::from_u128(0xb);

type Files = BTreeMap<String, Vec<u8>>;

fn key(name: &str, seed: u8) -> SigningKey {
    SigningKey::from_seed(name, &[seed; 32]).unwrap()
}

fn log_key() -> SigningKey {
    key(&log_origin(ORIGIN, 1), 7)
}

fn trust() -> Trust {
    let alice = key("alice", 8);
    let log = log_key();
    Trust::parse(&format!(
        "key {} {}\nlog {}\nroot 1\n",
        KeyRole::SOVEREIGN,
        alice.vkey(),
        log.vkey()
    ))
    .unwrap()
}

/// A ledger that is told record by record.
struct Told {
    records: Vec<Record>,
    ring: Keyring,
}

impl Told {
    fn add(&mut self, run: Uuid, kind: Kind, body: Value) {
        let mut before = self.records.iter().filter(|one| one.run == run);
        let (seq, prev) = before.next_back().map_or((1, Hash::ZERO), |last| {
            (last.seq + 1, last.encode().unwrap().hash)
        });
        let record = Record {
            v: 1,
            origin: ORIGIN.to_owned(),
            generation: 1,
            run,
            epoch: 1,
            switch_no: 0,
            seq,
            prev,
            kind,
            at: AT.to_owned(),
            actor: "worker".to_owned(),
            engine: "redress/0.1.0".to_owned(),
            policy: None,
            idem: None,
            body,
        };
        let hash = record.encode().unwrap().hash;
        let position = u64::try_from(self.records.len()).unwrap();
        self.ring.push(&record, hash, position).unwrap();
        self.records.push(record);
    }

    fn act(&mut self, kind: Kind, body: Value) {
        let terms = Terms {
            id: Uuid::from_u128(0xa000 + self.records.len() as u128),
            origin: ORIGIN.to_owned(),
            not_after: LATER.to_owned(),
            reason: "as agreed".to_owned(),
        };
        let act = self.ring.act(kind, body, terms).unwrap();
        let signed = act.sign(&[&key("alice", 8)]).unwrap();
        self.add(SYSTEM, kind, act.record_body(&signed));
    }
}

/// A ledger with keys, a blob, a run that is sealed and as many open runs as asked for.
fn told(open: u128) -> Vec<Record> {
    let mut told = Told {
        records: Vec::new(),
        ring: Keyring::new(1),
    };
    let root = Root::new(&[key("alice", 8).vkey().clone()], 1).unwrap();
    told.act(Kind::KeyRegistered, body::opening(&root, log_key().vkey()));
    let bob = key("bob", 9);
    let bob = body::register(bob.vkey(), KeyRole::Person(Role::Reviewer));
    told.act(Kind::KeyRegistered, bob);
    let blob = BlobRef::new(BLOB, &[1; 32], b"large").unwrap();
    told.add(RUN, Kind::RunOpened, json!({"input": blob.to_value()}));
    told.add(RUN, Kind::PhaseCommitted, json!({"phase": "leg_a"}));
    let done = transition_value(State::Running, &Event::RunCompleted, State::Completed);
    let last = json!({"phase": "leg_b", "transition": done});
    told.add(RUN, Kind::PhaseCommitted, last);
    told.add(RUN, Kind::RunSealed, json!({"count": 4}));
    for number in 0..open {
        told.add(Uuid::from_u128(0x100 + number), Kind::RunOpened, json!({}));
    }
    told.records
}

fn head(size: u64, root: Hash) -> Vec<u8> {
    let origin = log_origin(ORIGIN, 1);
    let head = Checkpoint { origin, size, root };
    head.sign(&log_key()).unwrap().to_bytes()
}

/// Lists and signs what is there.
fn sign(files: &mut Files, kind: BundleKind, size: u64, root: Hash) {
    files.remove(MANIFEST_NAME);
    let listed = files
        .iter()
        .map(|(path, bytes)| ListedFile::of(path, bytes));
    let manifest = Manifest {
        origin: ORIGIN.to_owned(),
        generation: 1,
        kind,
        size,
        root,
        made_at: AT.to_owned(),
        files: listed.collect(),
    };
    let note = manifest.sign(&log_key()).unwrap();
    files.insert(MANIFEST_NAME.to_owned(), note.to_bytes());
}

fn common(files: &mut Files, size: u64, root: Hash) {
    files.insert(FORMAT_NAME.to_owned(), b"a text".to_vec());
    files.insert(CHECKPOINT_NAME.to_owned(), head(size, root));
    files.insert(checkpoint_name(size), head(size, root));
    let content = r#"{"content":"bGFyZ2U=","salt":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="}"#;
    files.insert(blob_name(BLOB), content.as_bytes().to_vec());
}

fn whole(records: &[Record]) -> Files {
    let (mut files, mut tiler, mut bundler) = (Files::new(), Tiler::new(), Bundler::new());
    let mut tiles = Vec::new();
    for record in records {
        let encoded = record.encode().unwrap();
        tiles.extend(tiler.push(encoded.hash).unwrap());
        tiles.extend(bundler.push(&encoded.bytes).unwrap());
        if tiler.size() == 2 {
            files.insert(checkpoint_name(2), head(2, tiler.root()));
        }
    }
    tiles.extend(tiler.cut());
    tiles.extend(bundler.cut());
    files.extend(tiles.into_iter().map(|one| (one.tile.path(), one.bytes)));
    common(&mut files, tiler.size(), tiler.root());
    sign(&mut files, BundleKind::Ledger, tiler.size(), tiler.root());
    files
}

fn one_run(records: &[Record]) -> Files {
    let (mut tree, mut nodes) = (Frontier::new(), BTreeMap::<Node, Hash>::new());
    for record in records {
        let hash = record.encode().unwrap().hash;
        tree.push_with(hash, |node, hash| _ = nodes.insert(node, hash))
            .unwrap();
    }
    let (size, root) = (tree.size(), tree.root());
    let (checkpoint, note) = Checkpoint::parse(&head(size, root)).unwrap();
    assert_eq!(checkpoint.size, size);
    let mut files = Files::new();
    for (index, record) in (0..).zip(records) {
        if record.run != RUN && record.run != SYSTEM {
            continue;
        }
        let proof = TlogProof {
            extra: None,
            index,
            hashes: inclusion_proof(&nodes, index, size).unwrap(),
            checkpoint: note.clone(),
        };
        files.insert(entry_name(index), record.encode().unwrap().bytes);
        files.insert(proof_name(index), proof.to_bytes().unwrap());
    }
    common(&mut files, size, root);
    sign(&mut files, BundleKind::Run(RUN), size, root);
    files
}

fn write(folder: &Path, files: &Files) -> PathBuf {
    let folder = folder.join("bundle");
    let _ = fs::remove_dir_all(&folder);
    for (path, bytes) in files {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    folder
}

fn read(files: &Files, remembered: &[Vec<u8>]) -> Report {
    let folder = tempfile::tempdir().unwrap();
    let trust = trust();
    let remembered = remembered
        .iter()
        .map(|one| Remembered::read(one, &trust).unwrap());
    let remembered: Vec<Remembered> = remembered.collect();
    verify(&write(folder.path(), files), &trust, &remembered).unwrap()
}

fn code(report: &Report) -> Option<(&'static str, Option<u64>)> {
    let failure = report.first_failure.as_ref();
    failure.map(|one| (one.code, one.position))
}

#[test]
fn what_the_writers_make_is_verified() {
    let files = whole(&told(0));
    let report = read(&files, &[files[&checkpoint_name(2)].clone()]);
    assert_eq!(report.verdict, Verdict::Verified, "{report:?}");
    assert_eq!((report.records, report.runs), (6, 2));
    assert!(report.complete && report.warnings.is_empty(), "{report:?}");
    assert_eq!(report.consistent_with, [2]);
    // Several bundles of entries, and tiles of a second level.
    let large = read(&whole(&told(600)), &[]);
    assert_eq!(large.verdict, Verdict::Verified, "{large:?}");
    assert_eq!((large.size, large.open_at), (Some(606), Some(606)));
    let run = read(&one_run(&told(3)), &[]);
    assert_eq!(run.verdict, Verdict::Verified, "{run:?}");
    assert_eq!((run.records, run.runs, run.complete), (6, 2, true));
}

/// Our writers, read by the verifier that knows none of our code.
#[test]
fn the_other_verifier_reads_what_the_writers_make() {
    let Some(python) = interpreter(Path::new(env!("CARGO_TARGET_TMPDIR"))) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let trust = folder.path().join("trust");
    let (alice, log) = (key("alice", 8), log_key());
    let lines = format!(
        "key sovereign {}\nlog {}\nroot 1\n",
        alice.vkey(),
        log.vkey()
    );
    fs::write(&trust, lines).unwrap();
    for files in [whole(&told(600)), one_run(&told(3))] {
        let bundle = write(folder.path(), &files);
        let verifier = Path::new(env!("CARGO_MANIFEST_DIR")).join("verify.py");
        let mut command = Command::new(&python);
        let command = command.arg(verifier).arg(&bundle).arg("--json");
        let theirs = run(command.arg("--trust").arg(&trust));
        let theirs: Value = serde_json::from_slice(&theirs).unwrap();
        assert_eq!(serde_json::to_value(read(&files, &[])).unwrap(), theirs);
    }
}

/// F81. Nothing in an export can change without being found, and what is found has a place.
#[test]
fn a_changed_byte_anywhere_is_found() {
    for files in [whole(&told(1)), one_run(&told(1))] {
        for (path, bytes) in &files {
            // Each byte of what is short, a sample of what is long.
            for at in (0..bytes.len()).step_by(bytes.len().div_ceil(60)) {
                let mut changed = files.clone();
                changed.get_mut(path).unwrap()[at] ^= 1;
                let report = read(&changed, &[]);
                assert_eq!(report.verdict, Verdict::Failed, "{path} byte {at}");
            }
        }
    }
}

/// F82, F86. A file that is missing, added, cut off or a link.
#[test]
fn a_folder_that_is_not_exactly_the_bundle_is_refused() {
    let files = whole(&told(0));
    for path in files.keys() {
        let mut changed = files.clone();
        changed.remove(path);
        assert_eq!(read(&changed, &[]).verdict, Verdict::Failed, "{path}");
        let mut changed = files.clone();
        changed.get_mut(path).unwrap().pop();
        assert_eq!(read(&changed, &[]).verdict, Verdict::Failed, "{path}");
    }
    let mut added = files.clone();
    added.insert("notes".to_owned(), b"x".to_vec());
    assert_eq!(code(&read(&added, &[])), Some(("RD0714", None)));
    let folder = tempfile::tempdir().unwrap();
    let bundle = write(folder.path(), &files);
    let moved = folder.path().join("elsewhere");
    fs::rename(bundle.join(CHECKPOINT_NAME), &moved).unwrap();
    symlink(&moved, bundle.join(CHECKPOINT_NAME)).unwrap();
    let report = verify(&bundle, &trust(), &[]).unwrap();
    assert_eq!(code(&report), Some(("RD0712", None)));
}

/// F83, F85. The whole export made anew by somebody who has the log's key.
#[test]
fn a_ledger_that_was_rewritten_is_found_by_whoever_remembers() {
    let long = told(3);
    let remembered = whole(&long)[CHECKPOINT_NAME].clone();
    let cut = read(&whole(&long[..7]), std::slice::from_ref(&remembered));
    assert_eq!(code(&cut), Some(("RD0657", Some(7))));
    let mut other = long.clone();
    other[8].actor = "mallory".to_owned();
    let fork = read(&whole(&other), std::slice::from_ref(&remembered));
    assert_eq!(code(&fork), Some(("RD0656", Some(0))));
    let alone = read(&whole(&other), &[]);
    assert_eq!(alone.verdict, Verdict::Verified);
    let words: Vec<&str> = alone.warnings.iter().map(|one| one.as_str()).collect();
    assert_eq!(words, ["no-remembered-checkpoint", "open-runs"]);
}

/// F88. Trust comes from the reader's file and never from the bundle.
#[test]
fn without_the_reader_s_own_keys_nothing_is_verified() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = write(folder.path(), &whole(&told(0)));
    let check = |lines: String, verdict: Verdict, code: Option<&str>| {
        let report = verify(&bundle, &Trust::parse(&lines).unwrap(), &[]).unwrap();
        let found = report.first_failure.as_ref().map(|one| one.code);
        assert_eq!((report.verdict, found), (verdict, code), "{lines}");
    };
    let (alice, log) = (key("alice", 8), log_key());
    let root = format!("key sovereign {}\n", alice.vkey());
    let log = format!("log {}\n", log.vkey());
    check(String::new(), Verdict::Incomplete, None);
    check(root.clone(), Verdict::Incomplete, None);
    check(log.clone(), Verdict::Incomplete, None);
    check(root.clone() + &log, Verdict::Verified, None);
    let other = format!("key sovereign {}\n", key("eve", 1).vkey());
    check(other + &log, Verdict::Failed, Some("RD0578"));
    let other = key(&log_origin(ORIGIN, 1), 1);
    let other = format!("log {}\n", other.vkey());
    check(root + &other, Verdict::Failed, Some("RD0643"));
}

#[test]
fn an_empty_folder_is_incomplete() {
    let folder = tempfile::tempdir().unwrap();
    let report = verify(folder.path(), &trust(), &[]).unwrap();
    assert_eq!(report.verdict, Verdict::Incomplete);
    assert!(verify(&folder.path().join("nowhere"), &trust(), &[]).is_err());
}
