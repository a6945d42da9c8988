//! The worker as a process: signals, idleness, follow.

use std::time::Duration;

use redress_tests::{Running, eventually};
use rustix::process::Signal;

use crate::kit::Kit;

const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn a_worker_ends_gracefully_on_sigterm() {
    let kit = Kit::shop();
    let mut worker = Running::start(&mut kit.command(&["work", "--concurrency", "2"]));
    let run = kit.json(
        &["start", "shop", "--input", r#"{"order": "o-1", "qty": 1}"#],
        0,
    );
    let run = run["run"].as_str().unwrap().to_owned();
    eventually(LIMIT, "the worker completes the run", || {
        kit.json(&["show", &run], 0)["state"] == "completed"
    });
    worker.signal(Signal::TERM);
    let status = worker.wait(LIMIT);
    assert_eq!(status.code(), Some(0), "{}", worker.stderr());
}

#[test]
fn a_worker_ends_when_nothing_is_left() {
    let kit = Kit::shop();
    for order in ["o-1", "o-2", "o-3"] {
        let input = format!(r#"{{"order": "{order}", "qty": 1}}"#);
        kit.ok(&["start", "shop", "--input", &input]);
    }
    kit.ok(&["work", "--until-idle", "--concurrency", "1"]);
    assert_eq!(
        kit.json(&["runs", "--state", "completed"], 0)["runs"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
}

#[test]
fn an_alert_command_hears_of_a_failure() {
    let kit = Kit::shop();
    kit.ok(&[
        "start",
        "shop",
        "--input",
        r#"{"order": "o-1", "qty": 1, "fail": true}"#,
    ]);
    let script = kit.write(
        "alert",
        format!("#!/bin/sh\ncat > {}\n", kit.path("heard").display()).as_bytes(),
    );
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    kit.ok(&["work", "--until-idle", "--alert-command", &script]);
    let heard = std::fs::read_to_string(kit.path("heard")).unwrap();
    let alert: serde_json::Value = serde_json::from_str(&heard).unwrap();
    assert_eq!(alert["saga"], "shop");
    assert!(alert["post"].as_str().is_some(), "{alert}");
}

#[test]
fn a_log_that_is_followed_shows_what_comes() {
    let kit = Kit::shop();
    let run = kit.json(
        &["start", "shop", "--input", r#"{"order": "o-1", "qty": 1}"#],
        0,
    );
    let run = run["run"].as_str().unwrap().to_owned();
    let mut follower = Running::start(&mut kit.command(&["log", &run, "--follow"]));
    eventually(LIMIT, "the opening is shown", || {
        follower.stdout().contains("run.opened")
    });
    kit.ok(&["work", "--until-idle"]);
    eventually(LIMIT, "the end is shown", || {
        follower.stdout().contains("run.sealed")
    });
    follower.signal(Signal::INT);
    assert_eq!(follower.wait(LIMIT).code(), Some(0));
}

#[test]
fn a_log_that_is_followed_hears_an_interrupt_while_it_reads() {
    let kit = Kit::shop();
    kit.json(
        &["start", "shop", "--input", r#"{"order": "o-1", "qty": 1}"#],
        0,
    );
    let mut follower = Running::start(&mut kit.command(&["audit", "log", "--follow"]));
    eventually(LIMIT, "the opening is shown", || {
        follower.stdout().contains("run.opened")
    });
    let mut busy = postgres::Client::connect(kit.database.url(), postgres::NoTls).unwrap();
    let mut locked = busy.transaction().unwrap();
    locked
        .batch_execute("lock table redress.record, redress.run in access exclusive mode")
        .unwrap();
    let waits = "select count(*) from pg_locks where not granted and database =
        (select oid from pg_database where datname = current_database())";
    eventually(LIMIT, "the follower waits for the lock", || {
        locked.query_one(waits, &[]).unwrap().get::<_, i64>(0) > 0
    });
    follower.signal(Signal::INT);
    assert_eq!(follower.wait(LIMIT).code(), Some(0));
}

#[test]
fn a_phase_that_waits_for_a_signature_says_who_signs_and_how() {
    let kit = Kit::shop();
    let saga = "\
saga: guarded
version: 1
description: A gate that people open.
input: {type: object}
phases:
  - name: look
    adapter: gate
    approvals: {sovereign: 1}
    with: {}
";
    let file = kit.write("guarded.yaml", saga.as_bytes());
    kit.ok(&["saga", "register", &file]);
    let view = kit.json(&["start", "guarded", "--input", "{}", "--wait"], 3);
    let run = view["run"].as_str().expect("a run");
    assert_eq!(view["waits_for"], "phase look waits for signatures");
    let status = kit.exits(&["status"], 3);
    assert!(
        status.out.contains("--phase look"),
        "{}{}",
        status.out,
        status.err
    );
    kit.refused(
        &["approve", run, "--phase", "nothing", "--as", "sov"],
        4,
        "RD0425",
    );
    let done = kit.json(&kit.signed(&["approve", run, "--phase", "look"]), 0);
    assert_eq!(done["missing"], serde_json::Value::Null);
    kit.ok(&["work", "--until-idle"]);
    assert_eq!(kit.json(&["show", run], 0)["state"], "completed");
}

#[test]
fn who_the_configuration_names_is_told_and_a_wrong_one_is_refused() {
    let kit = Kit::shop();
    let script = kit.write(
        "tell",
        format!(
            "#!/bin/sh\ncat >> {0}; echo >> {0}\n",
            kit.path("heard").display()
        )
        .as_bytes(),
    );
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let config =
        format!("[[notify]]\nname = \"ops\"\non = [\"hold\", \"failed\"]\ncommand = {script:?}\n");
    let config = kit.write("redress.toml", config.as_bytes());
    kit.ok(&[
        "start",
        "shop",
        "--input",
        r#"{"order": "o-1", "qty": 1, "fail": true}"#,
    ]);
    kit.ok(&["work", "--until-idle", "--config", &config]);
    let heard = std::fs::read_to_string(kit.path("heard")).unwrap();
    let told: Vec<serde_json::Value> = heard
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let whats: Vec<&str> = told.iter().filter_map(|one| one["what"].as_str()).collect();
    assert_eq!(whats, ["failed", "hold"], "{heard}");
    assert!(told.iter().all(|one| one["saga"] == "shop"));
    // Nothing is told twice.
    kit.ok(&["work", "--until-idle", "--config", &config]);
    assert_eq!(std::fs::read_to_string(kit.path("heard")).unwrap(), heard);
    for wrong in [
        "[[notify]]\nname = \"x\"\n",
        "[[notify]]\nname = \"x\"\ncommand = \"tell\"\n",
        "[[notify]]\nname = \"x\"\non = [\"everything\"]\ncommand = \"/bin/true\"\n",
        "[[notify]]\nname = \"x\"\nurl = \"https://elsewhere.example/\"\n",
    ] {
        let config = kit.write("wrong.toml", wrong.as_bytes());
        kit.refused(&["work", "--until-idle", "--config", &config], 78, "RD0927");
    }
}
