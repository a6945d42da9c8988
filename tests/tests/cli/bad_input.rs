//! Bad input: a clear error, a code, an exit status; nothing lost, nothing half done.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use serde_json::Value;

use crate::kit::{Kit, SAGA, fed};

#[test]
fn what_does_not_exist_is_refused_by_name() {
    let kit = Kit::shop();
    let nobody = "01978f5e-0000-7000-8000-000000000000";
    kit.refused(&["start", "nosuch"], 4, "RD0191");
    kit.refused(&["saga", "show", "nosuch"], 4, "RD0191");
    kit.refused(&["saga", "show", "x'; drop table run; --"], 4, "RD0191");
    kit.refused(&["show", nobody], 4, "RD0206");
    kit.refused(&["show", "not an id"], 4, "RD0206");
    kit.refused(&["cancel", nobody, "--reason", "x"], 4, "RD0206");
    kit.refused(&["plan", nobody], 4, "RD0206");
    kit.refused(&["apply", "0123456789abcdef"], 4, "RD0426");
    kit.refused(&["apply", "short"], 4, "RD0426");
    kit.refused(&["start", "./nosuch.yaml"], 4, "RD0910");
    kit.refused(
        &kit.signed(&["release", nobody, "--reason", "x"]),
        4,
        "RD0215",
    );
    kit.refused(
        &[
            "release",
            "kill",
            "--reason",
            "x",
            "--as",
            "nobody",
            "--non-interactive",
        ],
        4,
        "RD0915",
    );
    kit.refused(&["key", "new", "x", "--role", "king"], 4, "RD0509");
    kit.refused(&["key", "new", "../x", "--role", "reviewer"], 4, "RD0520");
}

/// Checks a saga file, without a database, and gives the first finding.
#[track_caller]
fn finding(kit: &Kit, bytes: &[u8]) -> Value {
    let file = kit.write("bad.yaml", bytes);
    let value = kit.json(&["saga", "check", &file], 4);
    let first = value["errors"][0].clone();
    assert!(first["line"].as_u64().unwrap_or(0) >= 1, "{value:#}");
    assert!(first["column"].as_u64().unwrap_or(0) >= 1, "{value:#}");
    first
}

#[test]
fn a_bad_saga_file_is_refused_with_line_and_column() {
    let kit = Kit::bare();
    let check = |bytes: &[u8], code: &str| assert_eq!(finding(&kit, bytes)["code"], code);
    check(
        SAGA.replace("adapter: sql", "adapter: nosuch").as_bytes(),
        "RD0111",
    );
    check(
        SAGA.replace("compensation:", "compnsation:").as_bytes(),
        "RD0110",
    );
    check(
        SAGA.replace("version: 1\n", "version: 1\nversion: 2\n")
            .as_bytes(),
        "RD0107",
    );
    check(
        SAGA.replace("name: book", "name: book\n    after: [nosuch]")
            .as_bytes(),
        "RD0113",
    );
    check(
        SAGA.replace("name: book", "name: \"book'; drop table x\"")
            .as_bytes(),
        "RD0110",
    );
    check(b"a: &a [x]\nb: [*a, *a]\n", "RD0106");
    check(b"\xff\xfe", "RD0104");
    check(b"a: [", "RD0105");
    check(format!("[{}]", "1,".repeat(100_001)).as_bytes(), "RD0108");
    check("[".repeat(10_000).as_bytes(), "RD0105");
    check("x".repeat(10 << 20).as_bytes(), "RD0103");
}

#[test]
fn findings_of_the_database_have_their_place_in_the_file() {
    let kit = Kit::new();
    let bad = SAGA.replace("insert into shop.reservation", "insert into shop.nosuch");
    let line = bad
        .lines()
        .position(|line| line.contains("shop.nosuch"))
        .unwrap()
        + 1;
    let first = finding(&kit, bad.as_bytes());
    assert_eq!(first["line"], line);
    assert!(
        first["message"].as_str().unwrap().contains("nosuch"),
        "{first}"
    );
    let file = kit.write("bad.yaml", bad.as_bytes());
    kit.exits(&["saga", "register", &file], 4);
    assert_eq!(
        kit.json(&["saga", "list"], 0)["sagas"],
        serde_json::json!([])
    );
    let unlocked = SAGA.replace(" for update", "");
    assert_eq!(finding(&kit, unlocked.as_bytes())["code"], "RD0143");
    let good = kit.write("good.yaml", SAGA.as_bytes());
    assert_eq!(kit.json(&["saga", "check", &good], 0)["database"], true);
}

#[test]
fn one_version_has_one_content() {
    let kit = Kit::shop();
    let file = kit.write(
        "other.yaml",
        SAGA.replace("Reserve and book.", "Something else.")
            .as_bytes(),
    );
    kit.refused(&["saga", "register", &file], 4, "RD0190");
    kit.refused(
        &["start", &file, "--input", r#"{"order": "o", "qty": 1}"#],
        4,
        "RD0190",
    );
}

#[test]
fn an_input_that_does_not_fit_starts_nothing() {
    let kit = Kit::shop();
    let start =
        |input: &str, code: &str| kit.refused(&["start", "shop", "--input", input], 4, code);
    start("{}", "RD0192");
    start(r#"{"order": "o-1", "qty": "many"}"#, "RD0192");
    start(r#"{"order": "o-1", "qty": 9007199254740993}"#, "RD0192");
    start(r#"{"order": "o-1", "qty": 1.5}"#, "RD0912");
    start(r#"{"order": "o-1", "qty": 1, "qty": 2}"#, "RD0912");
    start(r#"{"order": "o-1""#, "RD0912");
    start("@nosuch.json", "RD0910");
    let large = kit.write(
        "large.json",
        format!("\"{}\"", "x".repeat(9 << 20)).as_bytes(),
    );
    start(&format!("@{large}"), "RD0911");
    let value = start(r#"{"order": "", "qty": 1}"#, "RD0192");
    assert!(
        value["error"]["message"]
            .as_str()
            .unwrap()
            .contains("/order"),
        "{value}"
    );
    assert_eq!(kit.json(&["runs"], 0)["runs"], serde_json::json!([]));
}

#[test]
fn one_key_is_one_run() {
    let kit = Kit::shop();
    let start =
        |input: &str| ["start", "shop", "--key", "k-1", "--input", input].map(str::to_owned);
    let words = start(r#"{"order": "o-1", "qty": 1}"#);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let first = kit.json(&words, 0);
    assert_eq!(first["opened"], true);
    let again = kit.json(&words, 0);
    assert_eq!(
        (&again["run"], &again["opened"]),
        (&first["run"], &false.into())
    );
    let other = start(r#"{"order": "o-1", "qty": 2}"#);
    kit.refused(
        &other.iter().map(String::as_str).collect::<Vec<_>>(),
        4,
        "RD0211",
    );
    kit.refused(
        &["start", "shop", "--input", r#"{"order": "o-1", "qty": 3}"#],
        4,
        "RD0212",
    );
}

#[test]
fn an_input_may_come_from_standard_input_and_hold_anything() {
    let kit = Kit::shop();
    let input = r#"{"order": "o'; drop table shop.reservation; -- \"\\", "qty": 1}"#;
    let ran = fed(
        &mut kit.command(&["start", "shop", "--input", "@-", "--wait", "--json"]),
        input.as_bytes(),
    );
    assert_eq!(ran.exit, 0, "{}", ran.err);
    assert_eq!(
        kit.database
            .query_text("select count(*) from shop.reservation"),
        "1"
    );
}

#[test]
fn a_key_file_that_others_may_read_signs_nothing() {
    let kit = Kit::shop();
    let run = kit.failed_run("o-1");
    let key = kit.state().join("keys/sov.key");
    assert_eq!(
        fs::metadata(&key).unwrap().permissions().mode() & 0o777,
        0o600
    );
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    kit.refused(&kit.signed(&["approve", &run]), 4, "RD0513");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    kit.write("pass", b"wrong horse\n");
    kit.refused(&kit.signed(&["approve", &run]), 4, "RD0517");
    kit.write("pass", b"");
    kit.refused(&kit.signed(&["approve", &run]), 4, "RD0914");
    kit.write("pass", b"correct horse\n");
    let link = kit.path("link.key");
    symlink(&key, &link).unwrap();
    let link = link.display().to_string();
    kit.refused(
        &["approve", &run, "--as", &link, "--non-interactive"],
        4,
        "RD0512",
    );
    kit.refused(&["key", "new", "sov", "--role", "sovereign"], 4, "RD0515");
    kit.ok(&kit.signed(&["approve", &run]));
}

#[test]
fn a_passphrase_file_that_others_may_read_signs_nothing() {
    let kit = Kit::shop();
    let run = kit.failed_run("o-1");
    let approve = kit.signed(&["approve", &run]);
    let of_root = rustix::process::geteuid().is_root();
    for mode in [0o644, 0o604, 0o660] {
        fs::set_permissions(kit.path("pass"), fs::Permissions::from_mode(mode)).unwrap();
        let value = kit.refused(&approve, 4, "RD0914");
        let said = value["error"]["message"].as_str().unwrap();
        assert!(said.contains(&format!("mode {mode:o}")), "{said}");
    }
    let mode = if of_root { 0o440 } else { 0o400 };
    fs::set_permissions(kit.path("pass"), fs::Permissions::from_mode(mode)).unwrap();
    kit.ok(&approve);
}

#[test]
fn a_command_line_that_is_not_understood_is_one_json_value_where_json_was_asked_for() {
    let kit = Kit::bare();
    for words in [
        &["nosuch"][..],
        &["start"],
        &["work", "--lease", "0s"],
        &["--database", "", "status"],
    ] {
        let value = kit.refused(words, 2, "RD0928");
        assert_eq!(value["errors"][0]["code"], "RD0928");
        let said = value["error"]["message"].as_str().unwrap();
        assert!(!said.contains("Usage"), "{said}");
        assert_eq!(kit.exits(words, 2).out, "");
    }
}

#[test]
fn a_version_that_is_not_registered_is_named() {
    let kit = Kit::shop();
    let input = r#"{"order": "o-1", "qty": 1}"#;
    let words = ["start", "shop", "--version", "99", "--input", input];
    let value = kit.refused(&words, 4, "RD0191");
    let said = value["error"]["message"].as_str().unwrap();
    assert!(said.contains("shop version 99"), "{said}");
}

#[test]
fn a_bad_trust_file_trusts_nobody() {
    let kit = Kit::shop();
    fs::write(kit.state().join("trust"), "key sovereign nonsense\n").unwrap();
    kit.refused(&["status"], 78, "RD0507");
    fs::write(kit.state().join("trust"), "sovereign\n").unwrap();
    kit.refused(&["status"], 78, "RD0530");
    kit.refused(&["status", "--trust", "nosuch"], 78, "RD0920");
}

#[test]
fn nobody_is_asked_where_nobody_is() {
    let kit = Kit::shop();
    let run = kit.failed_run("o-1");
    let names = |arguments: &[&str], flag: &str| {
        let value = kit.refused(arguments, 2, "RD0913");
        let message = value["error"]["message"].as_str().unwrap();
        assert!(message.contains(flag), "{value}");
    };
    names(&["approve", &run], "--as");
    names(&["approve", &run, "--non-interactive"], "--as");
    names(&["approve", &run, "--as", "sov"], "--non-interactive");
    let mut command = kit.command(&[
        "approve",
        &run,
        "--non-interactive",
        "--as",
        "sov",
        "--json",
    ]);
    let ran = crate::kit::ended(command.env_remove("REDRESS_KEY_PASSPHRASE_FILE"));
    assert_eq!(ran.exit, 2, "{}", ran.out);
    assert!(ran.out.contains("--passphrase-file"), "{}", ran.out);
}

#[test]
fn a_key_that_is_not_here_is_told_before_anything_is_shown_to_be_signed() {
    let kit = Kit::shop();
    let run = kit.failed_run("o-1");
    let hold = kit.json(&["holds"], 0)["holds"][0]["id"].clone();
    let hold = hold.as_str().unwrap();
    let missing = kit.path("nosuch.key").display().to_string();
    for what in [
        ["approve", run.as_str()],
        ["resolve", run.as_str()],
        ["release", hold],
    ] {
        for (flags, code, exit) in [
            (vec![], "RD0913", 2),
            (vec!["--as", "nobody"], "RD0915", 4),
            (vec!["--as", &missing], "RD0915", 4),
        ] {
            let mut arguments = what.to_vec();
            arguments.extend(["--reason", "x"]);
            arguments.extend(flags);
            let ran = kit.exits(&arguments, exit);
            assert_eq!(ran.out, "", "{arguments:?}");
            assert!(
                ran.err.starts_with(&format!("error[{code}]")),
                "{arguments:?}\n{}",
                ran.err
            );
        }
    }
}

#[test]
fn words_that_do_not_fit_are_usage() {
    let kit = Kit::shop();
    let run = kit.failed_run("o-1");
    kit.exits(&["nosuch"], 2);
    kit.exits(&["start"], 2);
    kit.exits(&["show", &run, "--json", "--jsonl"], 2);
    kit.exits(&["kill", "--reason", "x", "--deadline", "soon"], 2);
    kit.exits(&["status", "--schema", "x;y"], 2);
    kit.refused(&["plan", &run, "--action", "reserve"], 2, "RD0924");
    kit.refused(&["plan", &run, "--action", "reserve=burn"], 2, "RD0924");
}

#[test]
fn an_action_without_statements_changes_nothing() {
    let kit = Kit::shop();
    let run = kit.failed_run("o-1");
    let plan = kit.json(&["plan", &run, "--action", "reserve=hard_delete"], 0);
    let digest = plan["digest"].as_str().unwrap();
    kit.ok(&kit.signed(&["approve", digest]));
    kit.refused(&["apply", digest], 4, "RD0421");
    assert_eq!(kit.json(&["show", &run], 0)["state"], "failed");
    assert_eq!(
        kit.database
            .query_text("select state from shop.reservation"),
        "live"
    );
}
