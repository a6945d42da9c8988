//! The sealed ledger as its people meet it: sealed, given away, verified by somebody else, proven, erased, continued.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use redress_tests::{Running, eventually};

use crate::kit::{Kit, SAGA, ended};

const LIMIT: Duration = Duration::from_secs(30);

/// A run of the shop that completes.
fn a_run(kit: &Kit, order: &str) -> String {
    let input = format!(r#"{{"order": "{order}", "qty": 1}}"#);
    let view = kit.json(&["start", "shop", "--input", &input, "--wait"], 0);
    view["run"].as_str().expect("a run").to_owned()
}

fn sealed(kit: &Kit) -> u64 {
    kit.json(&["audit", "seal"], 0)["size"]
        .as_u64()
        .expect("a size")
}

/// Verifies a folder as somebody who has nothing but it and a trust file.
fn stranger(kit: &Kit, folder: &str, more: &[&str], exit: i32) -> serde_json::Value {
    let trust = kit.state().join("trust").display().to_string();
    let elsewhere = kit.path("elsewhere").display().to_string();
    let words = [
        "audit",
        "verify",
        folder,
        "--trust",
        &trust,
        "--state-dir",
        &elsewhere,
    ];
    kit.json(&[&words[..], more].concat(), exit)
}

#[test]
fn a_ledger_is_sealed_given_away_and_verified_by_a_stranger() {
    let kit = Kit::opened();
    let run = a_run(&kit, "a");
    let waits = kit.json(&["audit", "window", "--max", "0"], 3);
    assert_eq!(waits["unsealed"].to_string(), kit.records());
    assert!(waits["unanchored_age_seconds"].as_f64().unwrap() > 0.0);
    let size = sealed(&kit);
    let waits = kit.json(&["audit", "window", "--max", "0"], 0);
    assert_eq!(
        (waits["unsealed"].as_u64(), waits["sealed"].as_u64()),
        (Some(0), Some(size))
    );
    assert_eq!(size.to_string(), kit.records());
    let folder = kit.path("bundle").display().to_string();
    let exported = kit.json(&["audit", "export", &folder], 0);
    assert_eq!(
        (exported["size"].as_u64(), exported["records"].as_u64()),
        (Some(size), Some(size))
    );
    let report = stranger(&kit, &folder, &[], 0);
    assert_eq!(
        (report["verdict"].as_str(), report["complete"].as_bool()),
        (Some("VERIFIED"), Some(true))
    );
    kit.refused(&["audit", "export", &folder], 4, "RD0741");
    // Whoever trusts nobody, or not this root, is told nothing good.
    let nobody = kit.write("nobody", b"# nobody yet\n");
    let report = kit.json(&["audit", "verify", &folder, "--trust", &nobody], 8);
    assert_eq!(report["verdict"], "INCOMPLETE");
    // What was remembered fits, and a later head does not fit an older folder.
    let head = format!("{folder}/checkpoint");
    let kept = kit.write("kept", &fs::read(&head).unwrap());
    a_run(&kit, "b");
    sealed(&kit);
    let later = kit.path("later").display().to_string();
    kit.ok(&["audit", "export", &later]);
    let report = stranger(&kit, &later, &["--checkpoint", &kept], 0);
    assert_eq!(report["consistent_with"][0].as_u64(), Some(size));
    let newest = format!("{later}/checkpoint");
    let report = stranger(&kit, &folder, &["--checkpoint", &newest], 7);
    assert_eq!(report["first_failure"]["code"], "RD0657");
    // One run alone, with what it rests on.
    let one = kit.path("one").display().to_string();
    kit.ok(&["audit", "export", &one, "--run", &run[..13]]);
    assert_eq!(stranger(&kit, &one, &[], 0)["verdict"], "VERIFIED");
    // A flipped byte.
    let entries = fs::read_dir(kit.path("later/tile/entries/000.p")).unwrap();
    let entries = entries.flatten().next().unwrap().path();
    let mut bytes = fs::read(&entries).unwrap();
    bytes[50] ^= 1;
    fs::write(&entries, bytes).unwrap();
    let report = stranger(&kit, &later, &[], 7);
    assert_eq!(report["first_failure"]["position"], 0, "{report:#}");
}

/// F88. Whoever makes a bundle could put any roots into it.
#[test]
fn trust_and_memory_that_lie_in_the_bundle_itself_are_none() {
    let kit = Kit::opened();
    sealed(&kit);
    let folder = kit.path("bundle").display().to_string();
    kit.ok(&["audit", "export", &folder]);
    let inside = format!("{folder}/FORMAT.md");
    let link = kit.path("link");
    symlink(&inside, &link).expect("a link");
    let link = link.display().to_string();
    for trust in [&inside, &link] {
        let asked = ["audit", "verify", &folder, "--trust", trust];
        let report = kit.json(&asked, 8);
        assert_eq!(report["verdict"], "INCOMPLETE");
        let words = report["warnings"].to_string();
        assert!(words.contains("\"trust-from-bundle\""), "{words}");
        let told = kit.exits(&asked, 8);
        assert!(
            told.out.contains("never the bundle's (trust-from-bundle)"),
            "{told:?}"
        );
        assert!(told.err.contains("give your own file"), "{told:?}");
    }
    // The very roots that it is verified by, laid beside its files.
    let laid = format!("{folder}/receipts");
    fs::create_dir(&laid).expect("a folder");
    fs::copy(kit.state().join("trust"), format!("{laid}/trust")).expect("copied");
    let report = kit.json(
        &[
            "audit",
            "verify",
            &folder,
            "--trust",
            &format!("{laid}/trust"),
        ],
        7,
    );
    assert!(report["warnings"].to_string().contains("trust-from-bundle"));
    fs::remove_dir_all(laid).expect("removed");
    let head = format!("{folder}/checkpoint");
    let report = stranger(&kit, &folder, &["--checkpoint", &head], 0);
    assert_eq!(report["consistent_with"].as_array().map(Vec::len), Some(0));
    let words = report["warnings"].to_string();
    assert!(words.contains("no-remembered-checkpoint"), "{words}");
    assert!(words.contains("remembered-from-bundle"), "{words}");
}

/// Whoever could not look has not seen tampering.
#[test]
fn what_may_not_be_read_ends_the_question_without_a_verdict() {
    let kit = Kit::opened();
    sealed(&kit);
    let folder = kit.path("bundle").display().to_string();
    kit.ok(&["audit", "export", &folder]);
    let open = |path: &Path, mode: u32| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("set");
    };
    open(kit.dir.path(), 0o755);
    let trust = kit.write("roots", &fs::read(kit.state().join("trust")).unwrap());
    let elsewhere = kit.path("elsewhere").display().to_string();
    for below in ["", "tile", "manifest", "checkpoint"] {
        let path = Path::new(&folder).join(below);
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        open(&path, 0);
        let mut command = kit.command(&["audit", "verify", &folder, "--json"]);
        command.args(["--trust", &trust, "--state-dir", &elsewhere]);
        // Who may read everything asks as nobody.
        if rustix::process::geteuid().is_root() {
            command.uid(65534).gid(65534);
        }
        let ran = ended(&mut command);
        open(&path, mode);
        assert_eq!(ran.exit, 2, "{below}: {}{}", ran.out, ran.err);
        assert!(ran.out.contains("RD0721"), "{below}: {}", ran.out);
    }
    assert_eq!(stranger(&kit, &folder, &[], 0)["verdict"], "VERIFIED");
}

#[test]
fn a_ledger_that_is_not_open_says_how_to_open_it() {
    let kit = Kit::shop();
    let ran = kit.exits(&["audit", "seal"], 4);
    assert!(
        ran.err.contains("RD0733") && ran.err.contains("redress key open"),
        "{}",
        ran.err
    );
    let folder = kit.path("none").display().to_string();
    kit.refused(&["audit", "export", &folder], 4, "RD0733");
    assert!(!kit.path("none").exists());
}

#[test]
fn a_record_and_two_heads_are_proven() {
    let kit = Kit::opened();
    let run = a_run(&kit, "a");
    let old = sealed(&kit).to_string();
    a_run(&kit, "b");
    let new = sealed(&kit).to_string();
    let receipt = kit.json(&["audit", "receipt", &run], 0);
    let proof = receipt["proof"].as_str().unwrap();
    assert!(
        proof.starts_with("c2sp.org/tlog-proof@v1\nindex "),
        "{proof}"
    );
    assert_eq!(
        kit.ok(&["audit", "receipt", &run]).out.trim_end(),
        proof.trim_end()
    );
    kit.refused(
        &["audit", "receipt", &run, "--phase", "nowhere"],
        4,
        "RD0197",
    );
    let proof = kit.json(&["audit", "consistency", &old, &new], 0);
    assert_eq!(proof["new"]["size"].to_string(), new);
    kit.refused(&["audit", "consistency", &new, &old], 4, "RD0745");
    kit.refused(&["audit", "consistency", "1", "999999"], 4, "RD0745");
}

#[test]
fn a_following_sealer_stops_when_it_is_told_and_a_second_one_is_refused() {
    let kit = Kit::opened();
    let mut following = Running::start(&mut kit.command(&["audit", "seal", "--follow", "--jsonl"]));
    let size = || kit.database.query_text("select size from redress.sealer");
    eventually(LIMIT, "it seals", || size() == kit.records());
    a_run(&kit, "a");
    eventually(LIMIT, "it goes on", || size() == kit.records());
    kit.refused(&["audit", "seal"], 4, "RD0732");
    following.terminate();
    assert!(following.wait(LIMIT).success(), "{}", following.stderr());
    let last = following.stdout();
    assert!(
        last.lines().last().unwrap_or_default().contains(&size()),
        "{last}"
    );
    assert_eq!(sealed(&kit).to_string(), kit.records());
}

#[test]
fn an_older_database_is_a_fork_and_the_sovereign_continues_it() {
    let kit = Kit::opened();
    a_run(&kit, "a");
    sealed(&kit);
    let first = kit.path("first-head").display().to_string();
    fs::copy(kit.state().join("anchor/log-gen-1"), &first).unwrap();
    let sql = |text: &str| kit.database.query_text(text);
    sql("create table public.old_leaf as table redress.leaf; create table public.old_checkpoint as table redress.checkpoint;
         create table public.old_sealer as table redress.sealer");
    a_run(&kit, "b");
    sealed(&kit);
    let head = fs::read(kit.state().join("log/gen-1/checkpoint")).unwrap();
    sql("alter table redress.leaf disable trigger leaf_is_append_only; alter table redress.checkpoint disable trigger checkpoint_is_append_only;
         delete from redress.leaf; delete from redress.checkpoint; delete from redress.sealer;
         insert into redress.leaf table public.old_leaf; insert into redress.checkpoint table public.old_checkpoint;
         insert into redress.sealer table public.old_sealer;
         alter table redress.leaf enable always trigger leaf_is_append_only;
         alter table redress.checkpoint enable always trigger checkpoint_is_append_only");
    let ran = kit.exits(&["audit", "seal"], 7);
    assert!(
        ran.err.contains("FORK") && ran.err.contains("ledger-fork"),
        "{}",
        ran.err
    );
    assert_eq!(
        fs::read(kit.state().join("log/gen-1/checkpoint")).unwrap(),
        head
    );
    let anchor = kit.state().join("anchor/log-gen-1").display().to_string();
    // Behind an older head nobody could see what was signed since.
    let older = kit.signed(&[
        "audit",
        "continue",
        "--checkpoint",
        &first,
        "--reason",
        "restored",
    ]);
    kit.refused(&older, 4, "RD0753");
    let go_on = kit.signed(&[
        "audit",
        "continue",
        "--checkpoint",
        &anchor,
        "--reason",
        "restored",
    ]);
    assert_eq!(kit.json(&go_on, 0)["generation"], 2);
    a_run(&kit, "c");
    assert_eq!(sealed(&kit).to_string(), kit.records());
    let folder = kit.path("second").display().to_string();
    kit.ok(&["audit", "export", &folder]);
    // What the lost head had signed beyond this database is lost, and the root signed for that.
    let report = stranger(&kit, &folder, &["--checkpoint", &anchor], 0);
    let words = report["warnings"].as_array().unwrap();
    assert!(
        words.contains(&serde_json::json!("older-log-cut-off")),
        "{report:#}"
    );
    assert_eq!(report["first_failure"], serde_json::Value::Null);
    // It was compared, and the report says with what.
    assert!(
        !words.contains(&serde_json::json!("no-remembered-checkpoint")),
        "{report:#}"
    );
    assert_eq!(report["consistent_with"].as_array().map(Vec::len), Some(1));
    assert_eq!(kit.json(&["check"], 0)["ok"], true);
    assert_eq!(kit.json(&["audit", "verify"], 0)["verdict"], "verified");
}

#[test]
fn the_log_seals_with_the_key_that_replaced_the_first() {
    let kit = Kit::opened();
    sealed(&kit);
    let list = kit.json(&["key", "list", "--ledger"], 0);
    let keys = list["ledger"]["keys"].as_array().unwrap();
    let log = keys
        .iter()
        .find(|key| key["role"] == "log")
        .expect("the log's key");
    let name = log["name"].as_str().unwrap();
    kit.ok(&[
        "key",
        "new",
        name,
        "--role",
        "log",
        "--file",
        "log-second",
        "--no-trust",
    ]);
    let public = kit
        .state()
        .join("keys/log-second.pub")
        .display()
        .to_string();
    kit.ok(&kit.signed(&[
        "key",
        "rotate",
        log["id"].as_str().unwrap(),
        "--to",
        &public,
    ]));
    a_run(&kit, "a");
    assert_eq!(sealed(&kit).to_string(), kit.records());
    let first = kit.state().join("keys/log-gen-1.key").display().to_string();
    kit.refused(&["audit", "seal", "--log-key", &first], 4, "RD0734");
}

/// People sign with the key they have.
#[test]
fn a_plan_is_approved_with_a_key_of_openssh() {
    let kit = Kit::opened();
    let keygen = |words: &[&str]| {
        let ran = Command::new("ssh-keygen").args(words).output();
        ran.map(|ran| {
            (
                ran.status.success(),
                String::from_utf8_lossy(&ran.stderr).into_owned(),
            )
        })
    };
    let (key, other) = (kit.path("id_ed25519"), kit.path("id_other"));
    for (path, who) in [(&key, "olga"), (&other, "mallory")] {
        let path = path.display().to_string();
        let made = keygen(&["-q", "-t", "ed25519", "-N", "", "-C", who, "-f", &path]);
        let Ok((true, _)) = made else {
            eprintln!("SKIPPED: there is no ssh-keygen here: {made:?}");
            return;
        };
    }
    let public = format!("{}.pub", key.display());
    kit.ok(&kit.signed(&["key", "register", &public, "--role", "sovereign"]));
    let run = kit.failed_run("a");
    kit.ok(&["plan", &run]);
    let out = kit.path("decision").display().to_string();
    let written = kit.json(&["approve", &run, "--out", &out], 0);
    let bytes = written["to_be_signed"].as_str().unwrap().to_owned();
    kit.refused(&["approve", &run, "--out", &out], 1, "RD0921");
    let signature = format!("{bytes}.sig");
    let sign = |key: &std::path::Path, namespace: &str| {
        let _ = fs::remove_file(&signature);
        let key = key.display().to_string();
        let signed = keygen(&["-q", "-Y", "sign", "-n", namespace, "-f", &key, &bytes]);
        assert!(matches!(signed, Ok((true, _))), "{signed:?}");
    };
    // The key itself is OpenSSH's to use, and the refusal says how.
    let private = key.display().to_string();
    let by_file = ["approve", &run, "--as", &private, "--non-interactive"];
    let value = kit.refused(&by_file, 4, "RD0516");
    let message = value["error"]["message"].as_str().unwrap();
    assert!(message.contains("ssh-keygen -Y sign"), "{message}");
    assert!(message.contains("--signature"), "{message}");
    let approve = ["approve", &run, "--signature", &signature];
    sign(&other, "redress-decision");
    kit.refused(&approve, 4, "RD0547");
    sign(&key, "git");
    assert_eq!(kit.run(&approve).exit, 4, "another namespace");
    sign(&key, "redress-decision");
    let approved = kit.json(&approve, 0);
    assert_eq!(
        (approved["principal"].as_str(), approved["role"].as_str()),
        (Some("olga"), Some("sovereign"))
    );
    kit.ok(&["apply", &run]);
    sealed(&kit);
    let folder = kit.path("signed").display().to_string();
    kit.ok(&["audit", "export", &folder]);
    assert_eq!(stranger(&kit, &folder, &[], 0)["verdict"], "VERIFIED");
}

#[test]
fn old_runs_leave_the_database_behind_a_verified_archive() {
    let kit = Kit::opened();
    let run = a_run(&kit, "a");
    a_run(&kit, "b");
    sealed(&kit);
    let folder = kit.path("archive").display().to_string();
    let words = ["audit", "archive", &folder, "--before", "0s"];
    // Nothing is old enough, and no folder is made.
    let young = ["audit", "archive", &folder, "--before", "90d"];
    assert_eq!(kit.json(&young, 0)["runs"], 0);
    assert!(!kit.path("archive").exists());
    kit.refused(
        &["audit", "archive", &folder, "--before", "soon"],
        2,
        "RD0924",
    );
    // Without a signature nothing is written either, and by one that does not count nothing is left.
    kit.refused(&words, 2, "RD0913");
    assert!(!kit.path("archive").exists());
    let by_reviewer = [&words[..], &["--as", "rev", "--non-interactive"]].concat();
    kit.json(&by_reviewer, 4);
    assert!(!kit.path("archive").exists());
    let done = kit.json(&kit.signed(&words), 0);
    assert_eq!(done["body"]["runs"], 2, "{done:#}");
    assert_eq!(
        done["record"].to_string(),
        kit.last_of("runs.archived"),
        "{done:#}"
    );
    assert_eq!(
        stranger(&kit, &folder, &[], 0)["verdict"],
        "VERIFIED",
        "{done:#}"
    );
    kit.refused(&["show", &run], 4, "RD0748");
    let check = kit.json(&["check"], 0);
    assert_eq!(
        (check["runs"].as_u64(), check["archived"].as_u64()),
        (Some(0), Some(2))
    );
    sealed(&kit);
    let later = kit.path("later").display().to_string();
    kit.refused(&["audit", "export", &later], 4, "RD0748");
    kit.ok(&["audit", "export", &later, "--archive", &folder]);
    assert_eq!(stranger(&kit, &later, &[], 0)["verdict"], "VERIFIED");
    kit.ok(&["audit", "receipt", &run, "--archive", &later]);
    let ran = kit.exits(&["explain", "RD0748"], 0);
    assert!(ran.out.contains("--archive"), "{}", ran.out);
    // Where the published files are lost, a new generation carries what was archived from the archive.
    let head = kit.state().join("log/gen-1/checkpoint");
    let head = kit.write("head", &fs::read(head).unwrap());
    fs::remove_dir_all(kit.state().join("log")).unwrap();
    let go_on = ["audit", "continue", "--checkpoint", &head, "--reason", "x"];
    kit.ok(&kit.signed(&go_on));
    let value = kit.refused(&["audit", "seal"], 4, "RD0748");
    let message = value["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("redress audit seal --archive DIR"),
        "{message}"
    );
    kit.ok(&["audit", "seal", "--archive", &later]);
}

/// A file that names nobody says nothing against anybody.
#[test]
fn an_empty_trust_file_leaves_the_question_open_in_the_database_and_in_a_bundle() {
    let kit = Kit::opened();
    sealed(&kit);
    let folder = kit.path("bundle").display().to_string();
    kit.ok(&["audit", "export", &folder]);
    let empty = kit.write("empty", b"");
    let report = kit.json(&["audit", "verify", "--trust", &empty], 8);
    let reason = report["reason"].as_str().unwrap_or_default();
    assert!(
        reason.contains("(no-trusted-root)"),
        "{reason} in {report:#}"
    );
    let report = kit.json(&["audit", "verify", &folder, "--trust", &empty], 8);
    assert!(report["warnings"].to_string().contains("no-trusted-root"));
    // Other roots are another matter.
    kit.ok(&["key", "new", "eve", "--role", "sovereign", "--no-trust"]);
    let eve = fs::read_to_string(kit.state().join("keys/eve.pub")).unwrap();
    let other = kit.write("other", format!("key {eve}").as_bytes());
    kit.refused(&["audit", "verify", "--trust", &other], 7, "RD0578");
}

#[test]
fn a_receipt_of_an_unknown_phase_names_those_that_the_run_has() {
    let kit = Kit::opened();
    let run = a_run(&kit, "a");
    sealed(&kit);
    let value = kit.refused(&["audit", "receipt", &run, "--phase", "nix"], 4, "RD0197");
    let message = value["error"]["message"].as_str().unwrap();
    assert!(message.contains("nix; it has reserve, book"), "{message}");
}

#[test]
fn an_act_that_is_handed_in_twice_is_refused_and_nothing_more() {
    let kit = Kit::opened();
    // What is long lies beside the records.
    let noted = SAGA.replace("version: 1", "version: 2").replace(
        "    qty: {type: integer}\n",
        "    qty: {type: integer}\n    note: {type: string}\n",
    );
    let noted = kit.write("noted.yaml", noted.as_bytes());
    kit.ok(&["saga", "register", &noted]);
    let input = serde_json::json!({"order": "a", "qty": 1, "note": "x".repeat(20_000)});
    let input = kit.write("input.json", input.to_string().as_bytes());
    let input = format!("@{input}");
    kit.ok(&["start", "shop", "--input", &input, "--wait"]);
    let blob = kit
        .database
        .query_text("select min(id::text) from redress.blob");
    let file = kit.path("erase.act").display().to_string();
    kit.ok(&kit.signed(&["audit", "erase", &blob, "--out", &file]));
    kit.ok(&["key", "submit", &file]);
    let before = kit.records();
    kit.refused(&["key", "submit", &file], 4, "RD0563");
    assert_eq!(kit.records(), before);
}
