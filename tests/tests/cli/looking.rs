//! What is shown: shapes, tables, escapes, pipes.

use std::io::Read;
use std::process::Stdio;

use serde_json::json;

use crate::kit::{Kit, command, ended};

#[test]
fn a_run_that_completes_exits_0_and_tells_its_phases() {
    let kit = Kit::shop();
    let view = kit.json(
        &[
            "start",
            "shop",
            "--input",
            r#"{"order": "o-1", "qty": 2}"#,
            "--wait",
        ],
        0,
    );
    assert_eq!(view["state"], "completed");
    assert_eq!(view["saga"], "shop");
    assert_eq!(view["version"], 1);
    assert_eq!(view["subject"], "o-1");
    assert_eq!(view["held"], serde_json::json!([]));
    assert_eq!(view["plan"], serde_json::Value::Null);
    assert_eq!(view["error"], serde_json::Value::Null);
    let phases = view["phases"].as_array().unwrap();
    assert_eq!(phases.len(), 2);
    for phase in phases {
        assert_eq!(phase["state"], "committed");
        assert_eq!(phase["attempts"], 1);
        assert_eq!(phase["record"]["hash"].as_str().unwrap().len(), 64);
    }
    let run = view["run"].as_str().unwrap();
    assert_eq!(kit.json(&["show", run], 0), view);
    assert_eq!(kit.json(&["show", &run[..30]], 0)["run"], run);
}

#[test]
fn a_run_that_is_compensated_by_itself_exits_1() {
    let kit = Kit::new();
    let saga = crate::kit::SAGA.replace("soft_revert: {sovereign: 1}", "soft_revert: auto");
    let file = kit.write("shop.yaml", saga.as_bytes());
    let input = r#"{"order": "o-1", "qty": 1, "fail": true}"#;
    let view = kit.json(&["start", &file, "--input", input, "--wait"], 1);
    assert_eq!(view["state"], "compensated");
    assert_eq!(view["error"]["phase"], "book");
    assert_eq!(view["phases"][0]["state"], "reverted");
    assert_eq!(view["phases"][1]["state"], "failed");
}

#[test]
fn lists_are_json_lines_or_tables_that_fit() {
    let kit = Kit::shop();
    for order in ["o-1", "o-2"] {
        let input = format!(r#"{{"order": "{order}", "qty": 1}}"#);
        kit.ok(&["start", "shop", "--input", &input, "--wait"]);
    }
    let runs = kit.json(&["runs", "--state", "completed", "--saga", "shop"], 0);
    assert_eq!(runs["runs"].as_array().unwrap().len(), 2);
    assert_eq!(
        kit.json(&["runs", "--subject", "o-2"], 0)["runs"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let lines = kit.ok(&["runs", "--jsonl"]).out;
    assert_eq!(lines.lines().count(), 2);
    assert!(
        lines
            .lines()
            .all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok())
    );
    kit.refused(&["runs", "--state", "tired"], 2, "RD0924");
    let table = kit.ok(&["runs"]).out;
    let id = runs["runs"][0]["run"].as_str().unwrap();
    assert!(table.contains(id), "{table}");
    assert!(
        table.lines().all(|line| line.chars().count() <= 80),
        "{table}"
    );
    let all = kit.ok(&["log", "--all", "--jsonl"]).out;
    assert!(all.lines().count() >= 8, "{all}");
}

#[test]
fn what_a_terminal_would_act_on_is_shown_escaped() {
    let kit = Kit::shop();
    let input = r#"{"order": "o\u001b[2J\u202e1", "qty": 1}"#;
    let shown = kit.ok(&["start", "shop", "--input", input, "--wait"]).out;
    assert!(shown.contains("\\u{1b}[2J\\u{202e}"), "{shown}");
    for words in [&["runs"][..], &["log", "--all"], &["audit", "log"]] {
        let ran = kit.ok(words);
        assert!(
            !ran.out.contains('\u{1b}') && !ran.out.contains('\u{202e}'),
            "{}",
            ran.out
        );
    }
}

#[test]
fn a_closed_pipe_is_no_error() {
    let kit = Kit::bare();
    let mut child = kit
        .command(&["explain"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut err = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut err)
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{err}");
    assert_eq!(err, "");
}

#[test]
fn every_code_is_explained() {
    let kit = Kit::bare();
    let list = kit.ok(&["explain"]).out;
    assert!(list.lines().count() > 150);
    let page = kit.json(&["explain", "rd0421"], 0);
    assert_eq!(page["code"], "RD0421");
    assert_eq!(page["exit"], 4);
    kit.refused(&["explain", "RD9999"], 4, "RD0925");
}

#[test]
fn help_offers_what_works_and_nothing_else() {
    let kit = Kit::bare();
    let help = kit.ok(&["--help"]).out;
    for name in [
        "demo", "db", "saga", "start", "work", "status", "runs", "show", "log", "cancel", "plan",
        "approve", "rewind", "rewinds", "rehearse", "runbook", "drill", "doctor", "config", "man",
        "explain",
    ] {
        assert!(help.contains(&format!("\n  {name} ")), "{name}: {help}");
        kit.ok(&[name, "--help"]);
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(kit.ok(&["completions", shell]).out.contains("redress"));
    }
    assert_eq!(ended(&mut command(kit.dir.path(), None, &[])).exit, 2);
}

#[test]
fn a_changed_byte_fails_the_audit_and_names_the_record() {
    let kit = Kit::shop();
    let run = kit.failed_run("o-1");
    kit.ok(&kit.signed(&["approve", &run]));
    assert_eq!(kit.json(&["audit", "verify"], 0)["verdict"], "verified");
    kit.database.query_text(&format!(
        "alter table redress.record disable trigger all;
         update redress.record set bytes = set_byte(bytes, 40, get_byte(bytes, 40) # 1) where run = '{run}' and seq = 2"
    ));
    let report = kit.json(&["audit", "verify"], 7);
    assert_eq!(report["verdict"], "failed");
    assert_eq!(
        (&report["run"], &report["seq"]),
        (&run.as_str().into(), &2.into())
    );
    let check = kit.json(&["check"], 7);
    assert_eq!(check["ok"], false);
}

#[test]
fn an_audit_without_roots_is_incomplete() {
    let kit = Kit::shop();
    let run = kit.failed_run("o-1");
    kit.ok(&kit.signed(&["approve", &run]));
    std::fs::remove_file(kit.state().join("trust")).unwrap();
    assert_eq!(kit.json(&["audit", "verify"], 8)["verdict"], "incomplete");
}

/// One call is one transaction; what the server refuses has a code and changes nothing.
#[test]
fn own_statements_are_sent_as_they_stand_all_or_none() {
    let kit = Kit::new();
    let value = kit.json(
        &[
            "db",
            "sql",
            "create table public.t (n int, what text); insert into public.t values (1, null), (2, 'b'); \
             select n, what from public.t order by n",
        ],
        0,
    );
    let rows = json!({"columns": ["n", "what"], "rows": [["1", null], ["2", "b"]]});
    let answers = json!([{"changed": 0}, {"changed": 2}, rows]);
    assert_eq!(value["answers"], answers);
    let text = "insert into public.t values (3, 'c'); select nothing";
    let refused = kit.refused(&["db", "sql", text], 4, "RD0935");
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(message.ends_with("[42703]"), "{message}");
    let file = kit.write("count.sql", b"select count(*) from public.t");
    assert!(
        kit.ok(&["db", "sql", &format!("@{file}")])
            .out
            .contains("\n 2")
    );
    kit.refused(&["db", "sql", "@nowhere.sql"], 4, "RD0910");
}

/// What `hold` was given, `release` takes, as long as it is clear which hold is meant.
#[test]
fn a_hold_is_released_by_what_it_is_on_when_it_is_the_only_one() {
    let kit = Kit::shop();
    kit.ok(&["hold", "subject:A:1", "--reason", "one"]);
    let release = |scope| kit.signed(&["release", scope, "--reason", "over"]);
    kit.refused(&release("subject:A"), 4, "RD0215");
    kit.refused(&release("saga:A:1"), 4, "RD0215");
    kit.ok(&release("subject:A:1"));
    kit.refused(&release("subject:A:1"), 4, "RD0215");
    kit.ok(&["hold", "all", "--reason", "two"]);
    kit.ok(&["hold", "all", "--reason", "three"]);
    kit.refused(&release("all"), 4, "RD0919");
    assert_eq!(
        kit.json(&["holds"], 0)["holds"].as_array().unwrap().len(),
        2
    );
}
