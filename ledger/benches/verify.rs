//! How fast an exported ledger is verified on one core, and in how much memory.
//!
//! `cargo bench -p redress-ledger --bench verify [-- RECORDS]` makes a bundle with the writers of this
//! crate (default 100,000 records: runs of five phases, 64 at a time, one in a hundred undone by a
//! signed plan), then verifies it in a process of its own, five times, so that what the maker used
//! does not count. Printed are records a second, the best and the median, and the largest resident
//! size. The machine is rarely idle: the best of several is what the code can do.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use redress_ledger::bundle::{
    self, BundleKind, CHECKPOINT_NAME, FORMAT, FORMAT_NAME, ListedFile, MANIFEST_NAME, Manifest,
    Verdict, checkpoint_name,
};
use redress_ledger::chain::transition_value;
use redress_ledger::envelope::sign;
use redress_ledger::keyring::{KeyRole, Keyring, Root, Terms, body};
use redress_ledger::tree::{Bundler, TileBytes, Tiler};
use redress_ledger::{
    Basis, Checkpoint, Decision, Event, Hash, Kind, Purpose, Record, SigningKey, State, Trust,
    log_origin,
};
use serde_json::{Value, json};
use uuid::Uuid;

const ORIGIN: &str = "bench.redress.example/ledger";
const RECORDS_DEFAULT: u64 = 100_000;
const ROUNDS: usize = 5;
/// How many runs are interleaved.
const IN_FLIGHT: usize = 64;
/// One run of so many is undone by a plan that somebody signed.
const UNDONE_EVERY: u64 = 100;
const AT: &str = "2026-05-01T12:00:00.000000Z";
const LATER: &str = "2027-05-01T12:00:00.000000Z";
const RECORDS_PER_SECOND_MIN: f64 = 100_000.0;
const RESIDENT_KIB_MAX: u64 = 64 * 1024;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [word, folder] = arguments.as_slice()
        && word == "--verify"
    {
        verify(Path::new(folder));
        return;
    }
    let records = arguments.iter().find_map(|word| word.parse().ok());
    let records = records.unwrap_or(RECORDS_DEFAULT).max(16);
    let folder = tempfile::tempdir().expect("a folder for the bundle");
    let started = Instant::now();
    let bytes = Maker::new(folder.path()).make(records);
    println!(
        "made {records} records, {} bytes each on average, in {:.1} s",
        bytes / records,
        started.elapsed().as_secs_f64()
    );
    let mut rates = Vec::new();
    let mut resident = 0;
    for _ in 0..ROUNDS {
        let me = std::env::current_exe().expect("this program has a path");
        let mut child = Command::new(me);
        let done = child.arg("--verify").arg(folder.path()).output();
        let done = done.expect("this program can be run again");
        let said = String::from_utf8_lossy(&done.stdout);
        assert!(done.status.success(), "{said}{:?}", done.stderr);
        let mut words = said.split_whitespace();
        let seconds: f64 = words.next().and_then(|w| w.parse().ok()).expect("seconds");
        let kib: u64 = words.next().and_then(|w| w.parse().ok()).expect("KiB");
        rates.push(records as f64 / seconds);
        resident = resident.max(kib);
    }
    rates.sort_by(f64::total_cmp);
    let (median, best) = (rates[ROUNDS / 2], rates[ROUNDS - 1]);
    println!("verified {median:.0} records/s (median of {ROUNDS}), {best:.0} (best), one core");
    println!("resident at most {resident} KiB");
    let good = |is: bool| if is { "reached" } else { "NOT REACHED" };
    println!(
        "100,000 records/s: {}; 64 MiB: {}",
        good(median >= RECORDS_PER_SECOND_MIN),
        good(resident <= RESIDENT_KIB_MAX)
    );
}

/// Verifies in this process and prints seconds and the largest resident size in KiB.
fn verify(folder: &Path) {
    let trust = fs::read_to_string(folder.join("trust")).expect("the trust file");
    let trust = Trust::parse(&trust).expect("a good trust file");
    let started = Instant::now();
    let report = bundle::verify(&folder.join("bundle"), &trust, &[]).expect("a readable folder");
    let seconds = started.elapsed().as_secs_f64();
    assert_eq!(report.verdict, Verdict::Verified, "{report:?}");
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.and_then(|line| line.split_whitespace().next());
    println!("{seconds} {}", peak.unwrap_or("0"));
}

/// One run that is being told.
struct Tale {
    run: Uuid,
    undone: bool,
    step: usize,
    seq: i64,
    prev: Hash,
    basis: Basis,
}

/// Writes a bundle, record by record.
struct Maker<'f> {
    folder: &'f Path,
    tiler: Tiler,
    bundler: Bundler,
    files: Vec<ListedFile>,
    bytes: u64,
    log: SigningKey,
    alice: SigningKey,
}

impl<'f> Maker<'f> {
    fn new(folder: &'f Path) -> Maker<'f> {
        let key = |name: &str, seed| SigningKey::from_seed(name, &[seed; 32]).expect("a good name");
        Maker {
            folder,
            tiler: Tiler::new(),
            bundler: Bundler::new(),
            files: Vec::new(),
            bytes: 0,
            log: key(&log_origin(ORIGIN, 1), 7),
            alice: key("alice", 8),
        }
    }

    /// Makes a ledger of exactly so many records; gives how many bytes they have.
    fn make(mut self, records: u64) -> u64 {
        self.open();
        let mut told = 0;
        let mut tales: Vec<Tale> = (0..IN_FLIGHT).map(|_| begin(&mut told)).collect();
        while self.tiler.size() < records {
            for tale in &mut tales {
                if self.tiler.size() == records {
                    break;
                }
                if !self.tell(tale) {
                    *tale = begin(&mut told);
                }
            }
        }
        self.finish();
        self.bytes
    }

    /// The first leaf: Alice is the root.
    fn open(&mut self) {
        let root = Root::new(&[self.alice.vkey().clone()], 1).expect("a root of one");
        let opening = body::opening(&root, self.log.vkey());
        let terms = Terms {
            id: Uuid::from_u128(1),
            origin: ORIGIN.to_owned(),
            not_after: LATER.to_owned(),
            reason: "bench".to_owned(),
        };
        let act = Keyring::new(1).act(Kind::KeyRegistered, opening, terms);
        let act = act.expect("an act");
        let signed = act.sign(&[&self.alice]).expect("a signature");
        let system = Uuid::from_u128(2);
        let record = record(
            system,
            1,
            Hash::ZERO,
            Kind::KeyRegistered,
            act.record_body(&signed),
        );
        self.add(&record);
        let lines = [
            format!("key {} {}", KeyRole::SOVEREIGN, self.alice.vkey()),
            format!("log {}", self.log.vkey()),
            "root 1".to_owned(),
        ];
        fs::write(self.folder.join("trust"), lines.join("\n")).expect("the trust file");
    }

    /// Tells the next record of a run; false once it is sealed.
    fn tell(&mut self, tale: &mut Tale) -> bool {
        let Some((kind, body)) = self.next(tale) else {
            return false;
        };
        tale.seq += 1;
        let record = record(tale.run, tale.seq, tale.prev, kind, body);
        tale.prev = self.add(&record);
        if kind.moves_basis() {
            tale.basis = Basis {
                seq: tale.seq,
                hash: tale.prev,
            };
        }
        tale.step += 1;
        true
    }

    fn next(&self, tale: &Tale) -> Option<(Kind, Value)> {
        let phase = |n: usize| {
            json!({
                "phase": format!("step_{n}"), "attempt": 1, "workflow": "transfer_between_accounts",
                "effects": [{"table": "shop.entry", "rows": 3, "key": tale.run.to_string()}],
                "result": {"account": "A-104-233", "amount": "129.90", "currency": "EUR"},
            })
        };
        let moves = |mut body: Value, from: State, event: Event, to: State| {
            body["transition"] = transition_value(from, &event, to);
            body
        };
        let plan = Hash::of(tale.run.as_bytes());
        let (step, done) = (tale.step, tale.seq + 1);
        Some(match (step, tale.undone) {
            (0, _) => (
                Kind::RunOpened,
                json!({"saga": "transfer", "input": {"order": "A-1"}}),
            ),
            (1..=4, _) => (Kind::PhaseCommitted, phase(step)),
            (5, false) => {
                let (event, to) = (Event::RunCompleted, State::Completed);
                (
                    Kind::PhaseCommitted,
                    moves(phase(5), State::Running, event, to),
                )
            }
            (6, false) => (Kind::RunSealed, json!({"count": done})),
            (5, true) => {
                let (event, to) = (Event::PhaseFailed, State::Failed);
                (
                    Kind::PhaseFailed,
                    moves(phase(5), State::Running, event, to),
                )
            }
            (6, true) => (
                Kind::PlanMade,
                json!({"plan": plan, "basis": tale.basis, "quorum": {"sovereign": 1}}),
            ),
            (7, true) => (
                Kind::PlanApproved,
                json!({"envelope": self.approval(tale, plan)}),
            ),
            (8, true) => {
                let (event, to) = (Event::PlanStarted, State::Compensating);
                (
                    Kind::PlanStarted,
                    moves(json!({"plan": plan}), State::Failed, event, to),
                )
            }
            (9, true) => (
                Kind::CompensationCommitted,
                json!({"plan": plan, "action": "hard_delete", "phase": "step_4"}),
            ),
            (10, true) => {
                let event = Event::PlanFinished(redress_ledger::After::Compensated);
                let from = State::Compensating;
                (
                    Kind::PlanFinished,
                    moves(json!({}), from, event, State::Compensated),
                )
            }
            (11, true) => (Kind::RunSealed, json!({"count": done})),
            _ => return None,
        })
    }

    fn approval(&self, tale: &Tale, plan: Hash) -> Value {
        let decision = Decision {
            id: Uuid::from_u128(tale.run.as_u128() | 1 << 80),
            purpose: Purpose::PlanApprove,
            origin: ORIGIN.to_owned(),
            generation: 1,
            run: Some(tale.run),
            basis: Some(tale.basis),
            switch_no: None,
            holds: Vec::new(),
            hold: None,
            plan: Some(plan),
            phase: None,
            reason_code: "repair".to_owned(),
            reason: "the fifth step failed".to_owned(),
            policy: None,
            not_after: LATER.to_owned(),
            requester: "carol".to_owned(),
        };
        let envelope = sign(&decision, &self.alice).expect("a good decision");
        envelope.to_value()
    }

    fn add(&mut self, record: &Record) -> Hash {
        let encoded = record.encode().expect("a good record");
        self.bytes += encoded.bytes.len() as u64;
        let tiles = self.tiler.push(encoded.hash).expect("a small tree");
        let entries = self.bundler.push(&encoded.bytes).expect("a small tree");
        tiles
            .into_iter()
            .chain(entries)
            .for_each(|tile| self.write_tile(&tile));
        encoded.hash
    }

    fn finish(&mut self) {
        let entries = self.bundler.cut();
        let tiles: Vec<TileBytes> = self.tiler.cut().into_iter().chain(entries).collect();
        tiles.iter().for_each(|tile| self.write_tile(tile));
        let (size, root) = (self.tiler.size(), self.tiler.root());
        let origin = log_origin(ORIGIN, 1);
        let head = Checkpoint { origin, size, root };
        let head = head.sign(&self.log).expect("the log's key").to_bytes();
        self.write(CHECKPOINT_NAME, &head);
        self.write(&checkpoint_name(size), &head);
        self.write(FORMAT_NAME, FORMAT.as_bytes());
        let manifest = Manifest {
            origin: ORIGIN.to_owned(),
            generation: 1,
            kind: BundleKind::Ledger,
            size,
            root,
            made_at: AT.to_owned(),
            files: std::mem::take(&mut self.files),
        };
        let note = manifest.sign(&self.log).expect("a good manifest");
        self.write(MANIFEST_NAME, &note.to_bytes());
    }

    fn write_tile(&mut self, tile: &TileBytes) {
        self.write(&tile.tile.path(), &tile.bytes);
    }

    fn write(&mut self, path: &str, bytes: &[u8]) {
        let target = self.folder.join("bundle").join(path);
        fs::create_dir_all(target.parent().expect("a folder")).expect("a folder");
        fs::write(target, bytes).expect("room on the disk");
        self.files.push(ListedFile::of(path, bytes));
    }
}

fn begin(told: &mut u64) -> Tale {
    *told += 1;
    Tale {
        // Spread as random ids are, and the same every time.
        run: Uuid::from_slice(&Hash::of(&told.to_be_bytes()).as_bytes()[..16]).unwrap_or_default(),
        undone: told.is_multiple_of(UNDONE_EVERY),
        step: 0,
        seq: 0,
        prev: Hash::ZERO,
        basis: Basis {
            seq: 0,
            hash: Hash::ZERO,
        },
    }
}

fn record(run: Uuid, seq: i64, prev: Hash, kind: Kind, body: Value) -> Record {
    Record {
        v: 1,
        origin: ORIGIN.to_owned(),
        generation: 1,
        run,
        epoch: 1,
        switch_no: 4,
        seq,
        prev,
        kind,
        at: AT.to_owned(),
        actor: "worker-17@host-3".to_owned(),
        engine: "redress/0.1.0".to_owned(),
        policy: None,
        idem: None,
        body,
    }
}
