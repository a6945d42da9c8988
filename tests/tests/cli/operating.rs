//! Plan, approve, apply, release, resume, resolve, cancel, kill: by exit status and JSON.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use base64ct::{Base64, Encoding};
use redress_ledger::decision::Decision;
use redress_ledger::keyfile::{key_path, read_key};
use redress_tests::{Running, TestCluster, eventually, query_text};
use serde_json::{Value, json};

use crate::kit::{Kit, SAGA};

#[test]
fn a_failed_run_is_planned_approved_applied_and_released() {
    let kit = Kit::shop();
    let run = kit.failed_run("o-1");
    let waiting = kit.json(&["status"], 3);
    assert_eq!(waiting["waiting"][0]["run"], run.as_str());
    assert!(
        waiting["waiting"][0]["next"]["command"]
            .as_str()
            .unwrap()
            .contains("approve")
    );

    let plan = kit.json(&["plan", &run], 0);
    let digest = plan["digest"].as_str().unwrap();
    assert_eq!(plan["plan"]["actions"][0]["action"], "soft_revert");
    assert_eq!(
        kit.json(&["plan", &run], 0)["digest"],
        digest,
        "two commands, one plan"
    );
    kit.refused(&["apply", digest], 5, "RD0560");
    let approval = kit.json(
        &kit.signed(&["approve", &digest[..8], "--reason", "agreed"]),
        0,
    );
    assert_eq!(approval["missing"], Value::Null);
    assert_eq!(approval["principal"], "sov");
    let view = kit.json(&["apply", &run], 0);
    assert_eq!(view["state"], "compensated");
    assert_eq!(view["plan"]["state"], "applied");
    kit.refused(&["apply", digest], 6, "RD0420");
    assert_eq!(
        kit.database
            .query_text("select state from shop.reservation"),
        "withdrawn"
    );

    let hold = view["held"][0]["id"].as_str().unwrap().to_owned();
    assert!(kit.state().join(format!("hold/{hold}.json")).exists());
    kit.json(
        &kit.signed(&["release", &hold, "--reason", "counted again"]),
        0,
    );
    assert!(!kit.state().join(format!("hold/{hold}.json")).exists());
    kit.refused(
        &kit.signed(&["release", &hold, "--reason", "again"]),
        4,
        "RD0215",
    );
    assert_eq!(kit.json(&["status"], 0)["waiting"], json!([]));
    assert_eq!(kit.json(&["audit", "verify"], 0)["verdict"], "verified");
    assert_eq!(kit.json(&["check"], 0)["ok"], true);
}

#[test]
fn a_plan_travels_as_a_file_and_a_changed_file_is_refused() {
    let kit = Kit::shop();
    let run = kit.failed_run("o-1");
    let file = kit.path("plan.json").display().to_string();
    kit.ok(&["plan", &run, "--out", &file]);
    kit.ok(&kit.signed(&["approve", &file]));
    let changed = fs::read_to_string(&file)
        .unwrap()
        .replace("soft_revert", "discard");
    fs::write(&file, changed).unwrap();
    kit.refused(&["apply", &file], 4, "RD0917");
    kit.ok(&["apply", &run]);
}

#[test]
fn a_signature_of_the_wrong_role_or_of_nobody_known_does_not_count() {
    let kit = Kit::shop();
    let run = kit.failed_run("o-1");
    kit.ok(&["key", "new", "rev", "--role", "reviewer"]);
    let approve =
        |name: &str| ["approve", &run, "--as", name, "--non-interactive"].map(str::to_owned);
    let words = |name: &str| approve(name).to_vec();
    let by_reviewer = words("rev");
    let by_reviewer: Vec<&str> = by_reviewer.iter().map(String::as_str).collect();
    let approval = kit.json(&by_reviewer, 0);
    assert!(
        approval["missing"].as_str().unwrap().contains("sovereign"),
        "{approval}"
    );
    kit.refused(&["apply", &run], 5, "RD0560");

    kit.ok(&["key", "new", "mallory", "--role", "sovereign", "--no-trust"]);
    let by_stranger = words("mallory");
    let by_stranger: Vec<&str> = by_stranger.iter().map(String::as_str).collect();
    kit.refused(&by_stranger, 4, "RD0547");
    assert_eq!(kit.json(&["show", &run], 0)["state"], "failed");
}

#[test]
fn a_decision_for_another_plan_is_refused_and_the_refusal_is_recorded() {
    let kit = Kit::shop();
    let first = kit.failed_run("o-1");
    let second = kit.failed_run("o-2");
    kit.ok(&kit.signed(&["approve", &first]));
    let log = kit.json(&["log", &first], 0);
    let approved = log["records"]
        .as_array()
        .unwrap()
        .iter()
        .find(|line| line["kind"] == "plan.approved")
        .unwrap();
    let envelope = approved["record"]["body"]["envelope"].to_string();
    let file = kit.write("stolen.json", envelope.as_bytes());
    kit.refused(&["approve", &second, "--signature", &file], 4, "RD0553");
    let log = kit.exits(&["log", &second], 0).out;
    assert!(log.contains("plan.refused"), "{log}");
    let forged = envelope.replacen("\"sig\":\"", "\"sig\":\"AAAA", 1);
    let file = kit.write("forged.json", forged.as_bytes());
    let value = kit.json(&["approve", &second, "--signature", &file], 4);
    assert!(
        ["RD0540", "RD0548"].contains(&value["error"]["code"].as_str().unwrap()),
        "{value}"
    );
    kit.refused(
        &[
            "approve",
            &first,
            "--signature",
            &kit.write("again.json", envelope.as_bytes()),
        ],
        4,
        "RD0563",
    );
}

#[test]
fn without_trust_roots_nothing_that_needs_a_signature_is_done() {
    let kit = Kit::shop();
    let run = kit.failed_run("o-1");
    fs::remove_file(kit.state().join("trust")).unwrap();
    kit.refused(&kit.signed(&["approve", &run]), 78, "RD0562");
    kit.refused(
        &kit.signed(&["resolve", &run, "--reason", "x"]),
        78,
        "RD0562",
    );
}

#[test]
fn a_text_that_no_record_has_room_for_is_refused_before_anything() {
    let kit = Kit::shop();
    let failed = kit.failed_run("o-1");
    let before = kit.records();
    let long = "x".repeat(70_000);
    let subject = format!("subject:{long}");
    for words in [
        &["hold", "subject:x", "--reason", &long][..],
        &["hold", &subject, "--reason", "x"],
        &["kill", "--reason", &long],
        &["cancel", &failed, "--reason", &long],
        &["plan", &failed, "--reason", &long],
    ] {
        kit.refused(words, 4, "RD0196");
    }
    for words in [
        &["approve", &failed, "--reason", &long][..],
        &["resolve", &failed, "--reason", &long],
        &["release", &failed, "--reason", &long],
        &["key", "open", "--reason", &long],
    ] {
        let value = kit.json(&kit.signed(words), 4);
        let code = &value["error"]["code"];
        // What is on nothing has no reason either.
        let wanted = if words[0] == "release" {
            "RD0215"
        } else {
            "RD0196"
        };
        assert_eq!(code, wanted, "{}", words[0]);
    }
    assert_eq!(kit.records(), before);
    assert_eq!(kit.json(&["holds"], 0)["switch"]["state"], "run");
    assert_eq!(kit.json(&["holds"], 0)["files"], json!([]));
}

/// Somebody's own tool may write decisions too; what it says beside the point is signed and recorded for ever.
#[test]
fn a_decision_that_says_more_than_the_approval_of_its_plan_is_refused() {
    let kit = Kit::shop();
    let run = kit.failed_run("o-1");
    kit.ok(&["plan", &run]);
    let out = kit.path("decision").display().to_string();
    kit.ok(&["approve", &run, "--out", &out]);
    let written: Value = serde_json::from_slice(&fs::read(&out).unwrap()).unwrap();
    let payload = Base64::decode_vec(written["payload"].as_str().unwrap()).unwrap();
    let good: Value = serde_json::from_slice(&payload).unwrap();
    let path = key_path(&kit.state().join("keys"), "sov").unwrap();
    let key = read_key(&path, &"correct horse".to_owned().into()).unwrap();
    let handed_in = |member: &str, value: Value| {
        let mut decision = good.clone();
        decision[member] = value;
        let decision: Decision = serde_json::from_value(decision).unwrap();
        let envelope = redress_ledger::sign(&decision, &key.key).unwrap();
        kit.write("own.json", envelope.to_value().to_string().as_bytes())
    };
    let refused = |member: &str, value: Value, exit: i32, code: &str| {
        let file = handed_in(member, value);
        kit.refused(&["approve", &run, "--signature", &file], exit, code);
    };
    let hold = json!("01900000-0000-7000-8000-00000000a001");
    refused("hold", hold, 4, "RD0558");
    refused("phase", json!("book"), 4, "RD0555");
    refused("switch_no", json!(99), 4, "RD0557");
    refused("policy", json!("ab".repeat(32)), 4, "RD0542");
    refused("requester", json!("sov"), 5, "RD0560");
    // The id of what the root signed is spent too, or no verifier would take the ledger ever after.
    kit.ok(&kit.signed(&["key", "open"]));
    let act = "select min(convert_from(bytes, 'UTF8')::jsonb #>> '{body,decision,payload}')
               from redress.record where kind = 'key.registered'";
    let act = Base64::decode_vec(&kit.database.query_text(act)).unwrap();
    let act: Value = serde_json::from_slice(&act).unwrap();
    refused("id", act["id"].clone(), 4, "RD0563");
    let approved = "select count(*) from redress.record where kind = 'plan.approved'";
    assert_eq!(kit.database.query_text(approved), "0");
    let file = handed_in("policy", Value::Null);
    kit.ok(&["approve", &run, "--signature", &file]);
    kit.ok(&["apply", &run]);
}

#[test]
fn a_run_is_resumed_or_resolved() {
    let kit = Kit::shop();
    let run = kit.failed_run("o-1");
    kit.database
        .query_text("alter table shop.booking drop constraint order_may_be_booked");
    let view = kit.json(&["resume", &run], 0);
    assert_eq!(view["state"], "running");
    let hold = view["held"][0]["id"].as_str().unwrap().to_owned();
    kit.ok(&kit.signed(&["release", &hold, "--reason", "repaired"]));
    kit.ok(&["work", "--until-idle"]);
    assert_eq!(kit.json(&["show", &run], 0)["state"], "completed");

    kit.database.query_text(
        "alter table shop.booking add constraint order_may_be_booked check (order_no not like '%blocked') not valid",
    );
    let other = kit.failed_run("o-2");
    kit.refused(&["resolve", &other, "--reason", "written off"], 2, "RD0913");
    let view = kit.json(
        &kit.signed(&["resolve", &other, "--reason", "written off"]),
        0,
    );
    assert_eq!(view["state"], "resolved");
    kit.refused(
        &kit.signed(&["resolve", &other, "--reason", "again"]),
        4,
        "RD0425",
    );
    kit.refused(&["cancel", &other, "--reason", "x"], 4, "RD0425");
}

#[test]
fn a_kill_stops_and_a_release_starts_again() {
    let kit = Kit::shop();
    let killed = kit.json(&["kill", "--reason", "an exercise", "--deadline", "2s"], 0);
    assert_eq!(killed["state"], "killed");
    let input = r#"{"order": "o-1", "qty": 1}"#;
    kit.refused(&["start", "shop", "--input", input], 3, "RD0203");
    assert_eq!(kit.json(&["holds"], 0)["switch"]["state"], "killed");
    kit.json(&["status"], 3);
    kit.refused(
        &["release", "kill", "--reason", "x", "--as", "sov"],
        2,
        "RD0913",
    );
    assert_eq!(
        kit.json(&kit.signed(&["release", "kill", "--reason", "over"]), 0)["released"],
        true
    );
    kit.ok(&["start", "shop", "--input", input, "--wait"]);
    let frozen = kit.json(&["kill", "--reason", "all of it", "--freeze"], 0);
    assert_eq!(frozen["state"], "frozen");
    kit.refused(&["start", "shop", "--input", input], 3, "RD0205");
}

#[test]
fn holds_stop_what_they_name() {
    let kit = Kit::shop();
    let input = |order: &str| format!(r#"{{"order": "{order}", "qty": 1}}"#);
    let hold = kit.json(&["hold", "subject:o-1", "--reason", "a question"], 0);
    kit.refused(
        &["start", "shop", "--input", &input("o-1"), "--wait"],
        3,
        "RD0204",
    );
    kit.ok(&["start", "shop", "--input", &input("o-2"), "--wait"]);
    kit.ok(&["hold", "saga:shop", "--reason", "all of them", "--wait"]);
    kit.refused(
        &["start", "shop", "--input", &input("o-3"), "--wait"],
        3,
        "RD0204",
    );
    let id = hold["hold"]["id"].as_str().unwrap().to_owned();
    assert!(kit.ok(&["holds"]).out.contains(&id));
    kit.refused(&["hold", "everything", "--reason", "x"], 2, "RD0924");
    kit.refused(&["hold", "run:0000", "--reason", "x"], 4, "RD0206");
}

#[test]
fn a_hold_file_that_cannot_be_read_stops_everything() {
    let kit = Kit::shop();
    fs::create_dir_all(kit.state().join("hold")).unwrap();
    fs::write(kit.state().join("hold/broken.json"), "{").unwrap();
    kit.refused(
        &["start", "shop", "--input", r#"{"order": "o-1", "qty": 1}"#],
        3,
        "RD0204",
    );
}

#[test]
fn of_two_applies_at_once_one_wins_and_the_other_is_stale() {
    let kit = Kit::shop();
    for order in ["o-1", "o-2", "o-3"] {
        let run = kit.failed_run(order);
        kit.ok(&kit.signed(&["approve", &run]));
        let start = || {
            let mut command = kit.command(&["apply", &run]);
            command.stdout(Stdio::null()).stderr(Stdio::null());
            command.spawn().expect("the command runs")
        };
        let mut both = [start(), start()];
        let mut exits: Vec<_> = both
            .iter_mut()
            .map(|one| one.wait().unwrap().code())
            .collect();
        exits.sort_unstable();
        assert_eq!(exits, [Some(0), Some(6)], "{order}");
        let count = format!(
            "select count(*) from shop.reservation where order_no = '{order}' and state = 'withdrawn'"
        );
        assert_eq!(kit.database.query_text(&count), "1");
    }
}

#[test]
fn a_kill_that_is_not_drained_names_who_is_inside_and_exits_3() {
    let kit = Kit::shop();
    let role = format!("plain_{}", kit.database.name());
    kit.database.query_text(&format!(
        "create role {role} login; grant redress_engine, redress_operator to {role}"
    ));
    let url = TestCluster::shared().url_as(&role, kit.database.name());
    // A superuser's session: whoever kills has no right to end it.
    let mut inside = postgres::Client::connect(kit.database.url(), postgres::NoTls).unwrap();
    let mut entered = inside.transaction().unwrap();
    entered
        .batch_execute("lock table redress.gate in row share mode")
        .unwrap();
    let words = [
        "kill",
        "--reason",
        "x",
        "--deadline",
        "600ms",
        "--database",
        &url,
    ];
    let value = kit.refused(&words, 3, "RD0214");
    let message = value["error"]["message"].as_str().unwrap();
    assert!(message.contains("pid "), "{message}");
    kit.refused(
        &["start", "shop", "--input", r#"{"order": "o", "qty": 1}"#],
        3,
        "RD0203",
    );
    entered.rollback().unwrap();
    kit.json(&words, 0);
    drop(inside);
    kit.database
        .query_text(&format!("drop owned by {role}; drop role {role}"));
}

#[test]
fn a_kill_under_busy_workers_returns_and_nothing_commits_afterwards() {
    let kit = Kit::new();
    let slow = crate::kit::SAGA.replace(
        "      guard:\n        - sql: select state = 'live' from shop.booking",
        "        - sql: select pg_sleep(0.05)::text as slept\n      guard:\n        - sql: select state = 'live' from shop.booking",
    );
    let file = kit.write("slow.yaml", slow.as_bytes());
    kit.ok(&["saga", "register", &file]);
    for number in 0..24 {
        let input = format!(r#"{{"order": "o-{number}", "qty": 1}}"#);
        kit.ok(&["start", "shop", "--input", &input]);
    }
    let mut worker = Running::start(&mut kit.command(&["work", "--concurrency", "8"]));
    let booked = || {
        kit.database
            .query_text("select count(*) from shop.booking")
            .parse::<u32>()
            .unwrap()
    };
    eventually(Duration::from_secs(20), "the worker is busy", || {
        booked() > 0
    });
    let killed = kit.json(&["kill", "--reason", "now", "--deadline", "5s"], 0);
    let after = booked();
    assert!(killed["drained_ms"].as_u64().unwrap() < 1_000, "{killed}");
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(booked(), after);
    worker.terminate();
    assert_eq!(
        worker.wait(Duration::from_secs(20)).code(),
        Some(0),
        "{}",
        worker.stderr()
    );
}

#[test]
fn a_hold_file_is_removed_when_the_database_proves_the_release() {
    let kit = Kit::shop();
    let run = kit.failed_run("o-1");
    let hold = kit.json(&["show", &run], 0)["held"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let file = kit.state().join(format!("hold/{hold}.json"));
    assert!(file.exists());
    query_text(
        kit.database.url(),
        &format!(
            "update redress.hold set released_at = now(), released_by = 'another machine' where id = '{hold}'"
        ),
    );
    // Marked as released proves nothing: nobody signed.
    kit.json(&["holds"], 0);
    assert!(file.exists());
    let copy = fs::read(&file).unwrap();
    let released = kit.signed(&["release", &hold, "--reason", "on another machine"]);
    assert_eq!(kit.json(&released, 0)["released"], true);
    fs::write(&file, copy).unwrap();
    kit.json(&["holds"], 0);
    assert!(!file.exists());
    kit.refused(&released, 4, "RD0215");
}

#[test]
fn a_hold_file_that_the_database_does_not_explain_is_told() {
    let kit = Kit::shop();
    assert_eq!(kit.json(&["status"], 0)["files"], json!([]));
    fs::create_dir_all(kit.state().join("hold")).unwrap();
    fs::write(kit.state().join("hold/broken.json"), "{").unwrap();
    let status = kit.json(&["status"], 3);
    assert!(
        status["files"][0]["path"]
            .as_str()
            .unwrap()
            .ends_with("hold/broken.json"),
        "{status}"
    );
    assert!(
        kit.exits(&["status"], 3)
            .out
            .contains("this machine is stopped by")
    );
}

#[test]
fn a_run_goes_back_to_a_phase_and_the_rewind_is_listed() {
    let kit = Kit::shop();
    let input = r#"{"order": "o-1", "qty": 1, "fail": false}"#;
    let view = kit.json(&["start", "shop", "--input", input, "--wait"], 0);
    let run = view["run"].as_str().unwrap().to_owned();
    let first = view["phases"][0]["name"].as_str().unwrap().to_owned();
    let before = kit
        .database
        .query_text("select count(*) from redress.record");
    let plan = kit.json(&["rewind", &run, "--to", &first, "--dry-run"], 0);
    assert_eq!(plan["plan"]["stops_at"], first.as_str());
    kit.refused(
        &[
            "rewind",
            &run,
            "--to",
            "nobody",
            "--reason",
            "x",
            "--dry-run",
        ],
        4,
        "RD0423",
    );
    assert_eq!(
        kit.database
            .query_text("select count(*) from redress.record"),
        before
    );
    kit.exits(&["rewind", &run, "--to", &first], 2);
    kit.refused(
        &[
            "rewind", &run, "--from", &first, "--to", &first, "--reason", "x",
        ],
        6,
        "RD0420",
    );

    let waits = kit.run(&[
        "rewind",
        &run,
        "--to",
        &first,
        "--reason",
        "a recount",
        "--json",
    ]);
    let view: Value = if waits.exit == 5 {
        kit.ok(&kit.signed(&["approve", &run]));
        kit.json(
            &["rewind", &run, "--to", &first, "--reason", "a recount"],
            0,
        )
    } else {
        serde_json::from_str(&waits.out).unwrap()
    };
    assert_eq!(
        (&view["state"], &view["rewind"]["changed"]),
        (&"failed".into(), &true.into())
    );
    assert_eq!(view["errors"], Value::Array(Vec::new()));
    assert_eq!(view["rewind"]["trigger"], "manual");
    assert!(
        view["next"]["command"]
            .as_str()
            .unwrap()
            .starts_with("redress resume")
    );
    let again = kit.json(
        &["rewind", &run, "--to", &first, "--reason", "a recount"],
        0,
    );
    assert_eq!(again["rewind"]["changed"], false);
    let again = kit.json(&["rewind", &run, "--repair"], 0);
    assert_eq!(again["rewind"]["changed"], false);
    let told = kit.ok(&["rewind", &run, "--repair"]).err;
    assert!(told.contains("no rewind of this run"), "{told}");

    let listed = kit.json(&["rewinds", "--run", &run, "--status", "succeeded"], 0);
    let line = &listed["rewinds"][0];
    assert_eq!(
        (&line["to"], &line["trigger"]),
        (&first.as_str().into(), &"manual".into())
    );
    assert_eq!(
        kit.json(&["rewinds", "--status", "failed"], 0)["rewinds"][0],
        Value::Null
    );
    kit.refused(&["rewinds", "--status", "soon"], 2, "RD0924");
    kit.refused(&["rewinds", "--since", "soon"], 2, "RD0924");
    let told = kit.ok(&["rewinds"]).out;
    let head = format!("run {run}: succeeded, from book to {first}\n    when ");
    assert!(told.starts_with(&head), "{told}");
    let rest = ", manual\n    why  a recount\n";
    assert!(told.ends_with(rest), "{told}");
    assert_eq!(
        kit.ok(&["rewinds", "--status", "failed"]).out,
        "no rewinds\n"
    );
}

#[test]
fn the_tables_of_postings_are_made_once_and_taken_away_once() {
    let kit = Kit::shop();
    kit.ok(&["postings", "up"]);
    let made = "insert into postings.account (address, overdraft) values ('world', true) returning address";
    assert_eq!(kit.database.query_text(made), "world");
    let again = kit.ok(&["postings", "up"]);
    assert!(again.out.contains("already"), "{}", again.out);
    kit.refused(&["postings", "down"], 2, "RD0913");
    let accounts = "select count(*) from postings.account";
    assert_eq!(kit.database.query_text(accounts), "1");
    kit.ok(&["postings", "down", "--yes"]);
    let gone = kit.ok(&["postings", "down", "--yes"]);
    assert!(gone.out.contains("no tables of postings"), "{}", gone.out);
    // A schema of somebody else is neither filled nor dropped.
    kit.exits(&["postings", "up", "--in", "shop"], 1);
    kit.ok(&["postings", "down", "--yes", "--in", "shop"]);
    let rows = "select count(*) from shop.reservation";
    assert_eq!(kit.database.query_text(rows), "0");
}

#[test]
fn whoever_asks_for_a_plan_by_name_cannot_approve_it() {
    let kit = Kit::of_three();
    let run = kit.failed_run("by name");
    // The plan of the failure stands, asked for by nobody; another one is asked for with its reason.
    let asked = ["plan", &run, "--reason", "counted again", "--as", "sov"];
    let plan = kit.json(&asked, 0);
    assert_eq!(plan["plan"]["cause"]["requester"], "sov");
    let digest = plan["digest"].as_str().unwrap();
    kit.refused(&kit.signed(&["approve", digest]), 5, "RD0560");
    kit.refused(&["apply", digest], 5, "RD0560");
    let bob = ["approve", digest, "--as", "bob", "--non-interactive"];
    assert_eq!(kit.json(&bob, 0)["missing"], Value::Null);
    assert_eq!(kit.json(&["apply", digest], 0)["state"], "compensated");
    // Nobody is asked in the name of a key that is not here.
    let other = kit.failed_run("by nobody");
    let nobody = ["plan", &other, "--reason", "mine", "--as", "nobody"];
    kit.refused(&nobody, 4, "RD0915");
}

#[test]
fn a_saga_is_rehearsed_from_its_file_and_a_wrong_way_back_exits_7() {
    let kit = Kit::shop();
    let input = r#"{"order": "o-1", "qty": 1, "fail": false}"#;
    let before = kit
        .database
        .query_text("select count(*) from redress.record");
    let found = kit.json(&["rehearse", "shop", "--input", input], 0);
    assert_eq!(
        (&found["holds"], &found["unchanged"]["status"]),
        (&true.into(), &"aborted".into())
    );
    let text = kit.ok(&["rehearse", "shop", "--input", input]).out;
    assert!(
        text.contains("holds") && text.contains("the database is unchanged"),
        "{text}"
    );
    // Same name and version, one statement wrong; never registered.
    let wrong = SAGA.replace(
        "update shop.reservation set state = 'withdrawn' where",
        "delete from shop.reservation where",
    );
    assert_ne!(wrong, SAGA);
    let file = kit.write("wrong.yaml", wrong.as_bytes());
    let found = kit.json(&["rehearse", &file, "--input", input], 7);
    assert_eq!(found["holds"], false);
    let finding = &found["points"]
        .as_array()
        .unwrap()
        .iter()
        .find(|p| p["holds"] == false)
        .unwrap()["findings"][0];
    assert!(
        finding["phase"].is_string()
            && finding["relation"].is_string()
            && finding["difference"].is_string(),
        "{finding}"
    );
    assert!(
        kit.exits(&["rehearse", &file, "--input", input], 7)
            .out
            .contains("DOES NOT HOLD")
    );
    kit.refused(&["rehearse", "shop", "--input", "{}"], 4, "RD0192");
    kit.refused(&["rehearse", "nobody"], 4, "RD0191");
    assert_eq!(
        kit.database
            .query_text("select count(*) from redress.record"),
        before
    );
}
