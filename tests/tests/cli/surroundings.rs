//! Database down, schema missing, older, newer, read-only; the private server; the demo.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use redress_tests::{TestCluster, query_text};
use tempfile::TempDir;

use crate::kit::{Kit, SAGA, SHOP, command, ended};

const NOWHERE: &str = "postgres://redress@127.0.0.1:1/redress?connect_timeout=2";

#[test]
fn an_unreachable_database_exits_75_and_says_so() {
    let kit = Kit::bare();
    let at = |words: &[&str]| ended(&mut command(kit.dir.path(), Some(NOWHERE), words));
    for words in [
        &["status"][..],
        &["start", "shop"],
        &["work", "--until-idle"],
        &["check"],
        &["db", "status"],
    ] {
        let ran = at(words);
        assert_eq!(ran.exit, 75, "{words:?} {}", ran.err);
        assert!(
            ran.err.contains("error[RD0801]") && ran.err.contains("next: "),
            "{}",
            ran.err
        );
    }
    let ran = at(&["status", "--database", "nonsense://"]);
    assert_eq!(ran.exit, 78, "{}", ran.err);
    assert!(ran.err.contains("error[RD0810]"), "{}", ran.err);
}

#[test]
fn a_kill_without_the_database_stops_this_machine_and_says_what_it_does_not_stop() {
    let kit = Kit::shop();
    let words = ["kill", "--reason", "no answer"];
    let ran = ended(&mut command(kit.dir.path(), Some(NOWHERE), &words));
    assert_eq!(ran.exit, 75, "{}", ran.err);
    assert!(ran.err.contains("NOT STOPPED"), "{}", ran.err);
    let file = kit
        .state()
        .join("hold/00000000-0000-0000-0000-000000000000.json");
    assert!(file.exists());
    kit.refused(
        &["start", "shop", "--input", r#"{"order": "o-1", "qty": 1}"#],
        3,
        "RD0204",
    );
    kit.ok(&["kill", "--reason", "no answer"]);
    kit.ok(&kit.signed(&["release", "kill", "--reason", "it answers again"]));
    assert!(!file.exists());
    kit.ok(&["start", "shop", "--input", r#"{"order": "o-1", "qty": 1}"#]);
}

#[test]
fn an_empty_url_is_refused_and_nothing_is_made() {
    let kit = Kit::bare();
    let made = || kit.state().join("postgres").exists();
    let kill = ["kill", "--reason", "stop"];
    let flag = |url: &str| {
        let words = [&["--database", url][..], &kill].concat();
        ended(&mut command(kit.dir.path(), None, &words))
    };
    for url in ["", "  "] {
        let ran = flag(url);
        assert_eq!(ran.exit, 2, "{}", ran.err);
        assert!(ran.err.contains("it is empty"), "{}", ran.err);
    }
    for name in ["REDRESS_DATABASE_URL", "DATABASE_URL"] {
        let mut killing = command(kit.dir.path(), None, &kill);
        let ran = ended(killing.env(name, ""));
        assert_eq!(ran.exit, 78, "{}", ran.err);
        for words in [name, "it is empty", "NOTHING IS STOPPED"] {
            assert!(ran.err.contains(words), "{words}: {}", ran.err);
        }
    }
    let file = kit.write("redress.toml", b"database = ''\n");
    let words = [&["--config", &file][..], &kill].concat();
    let ran = ended(&mut command(kit.dir.path(), None, &words));
    assert_eq!(ran.exit, 78, "{}", ran.err);
    assert!(ran.err.contains("redress.toml:1:"), "{}", ran.err);
    assert!(!made());
    // A stronger place names one: the empty variable is not asked.
    let mut named = kit.command(&["status", "--database", kit.database.url()]);
    let ran = ended(named.env("REDRESS_DATABASE_URL", ""));
    assert!(ran.err.contains("RD0701"), "{}", ran.err);
}

#[test]
fn a_kill_that_the_database_does_not_take_stops_this_machine_whatever_the_reason() {
    let kit = Kit::bare();
    let file = kit
        .state()
        .join("hold/00000000-0000-0000-0000-000000000000.json");
    let check = |code: &str| {
        let ran = kit.run(&["kill", "--reason", "stop"]);
        assert_eq!(ran.exit, 78, "{}", ran.err);
        for words in [code, "the DATABASE IS NOT STOPPED"] {
            assert!(ran.err.contains(words), "{words}: {}", ran.err);
        }
        assert!(file.exists(), "{code}");
        fs::remove_file(&file).unwrap();
    };
    check("RD0701");
    kit.ok(&["db", "migrate"]);
    let name = kit.database.name().to_owned();
    let read_only = "set default_transaction_read_only = on";
    kit.database
        .query_text(&format!("alter database {name} {read_only}"));
    kit.database.query_text(
        "select pg_terminate_backend(pid) from pg_stat_activity
         where datname = current_database() and pid <> pg_backend_pid()",
    );
    check("RD0804");
}

#[test]
fn the_name_of_a_ledger_is_judged_before_it_holds_once_and_for_all() {
    let kit = Kit::bare();
    let long = "x".repeat(300);
    for name in ["", "a b", "a+b", "a\nb", &long] {
        kit.refused(&["db", "migrate", "--origin", name], 4, "RD0707");
    }
    kit.refused(&["status"], 78, "RD0701");
    kit.ok(&["db", "migrate", "--origin", "shop.example/ledger"]);
    kit.ok(&["db", "migrate", "--origin", "shop.example/ledger"]);
    kit.ok(&["db", "migrate"]);
    let other = ["db", "migrate", "--origin", "other.example"];
    let value = kit.refused(&other, 4, "RD0708");
    let said = value["error"]["message"].as_str().unwrap_or_default();
    for name in ["shop.example/ledger", "other.example"] {
        assert!(said.contains(name), "{said}");
    }
    kit.ok(&["key", "new", "sov", "--role", "sovereign"]);
    kit.ok(&kit.signed(&["key", "open"]));
}

#[test]
fn a_schema_that_is_not_ours_exits_78() {
    let kit = Kit::bare();
    let ran = kit.exits(&["db", "status"], 78);
    assert!(ran.err.contains("the URL is postgres"), "{}", ran.err);
    let value = kit.refused(&["status"], 78, "RD0701");
    assert!(
        value["error"]["message"]
            .as_str()
            .unwrap()
            .contains("redress db migrate"),
        "{value}"
    );
    let done = kit.json(&["db", "migrate", "--origin", "test/one"], 0);
    assert_eq!(done["origin"], "test/one");
    assert!(!done["applied"].as_array().unwrap().is_empty());
    assert_eq!(
        kit.json(&["db", "migrate"], 0)["applied"],
        serde_json::json!([])
    );
    kit.ok(&["status"]);

    let other = ["--schema", "second"];
    kit.refused(&[&["status"][..], &other].concat(), 78, "RD0701");
    kit.ok(&[&["db", "migrate"][..], &other].concat());
    kit.ok(&[&["status"][..], &other].concat());

    kit.database.query_text(
        "insert into redress.migration (version, name, sha256) values (9999, 'later', '\\x00')",
    );
    kit.refused(&["status"], 78, "RD0703");
    kit.refused(&["db", "migrate"], 78, "RD0703");
    kit.database
        .query_text("delete from redress.migration where version = 9999");
    kit.database
        .query_text("update redress.migration set sha256 = '\\x00' where version = 1");
    kit.refused(&["status"], 78, "RD0704");
}

#[test]
fn a_read_only_server_exits_78() {
    let kit = Kit::shop();
    let name = kit.database.name().to_owned();
    kit.database.query_text(&format!(
        "alter database {name} set default_transaction_read_only = on"
    ));
    // A pooler's server processes are older than the setting.
    kit.database.query_text(
        "select pg_terminate_backend(pid) from pg_stat_activity
         where datname = current_database() and pid <> pg_backend_pid()",
    );
    kit.refused(
        &["start", "shop", "--input", r#"{"order": "o-1", "qty": 1}"#],
        78,
        "RD0804",
    );
    kit.refused(&["db", "migrate"], 78, "RD0804");
}

#[test]
fn a_missing_switch_row_counts_as_killed() {
    let kit = Kit::shop();
    kit.database.query_text("delete from redress.switch");
    kit.refused(
        &["start", "shop", "--input", r#"{"order": "o-1", "qty": 1}"#],
        3,
        "RD0202",
    );
    kit.json(&["status"], 3);
    kit.ok(&["holds"]);
}

#[test]
fn without_a_url_a_private_server_serves() {
    let kit = Kit::bare();
    let at = |words: &[&str]| ended(&mut command(kit.dir.path(), None, words));
    let stopped = at(&["db", "status"]);
    assert_eq!(stopped.exit, 75, "{}", stopped.err);
    let up = at(&["db", "up"]);
    assert_eq!(up.exit, 0, "{}", up.err);
    let url = up.out.trim();
    assert!(url.starts_with("postgres://redress@"), "{url}");
    assert_eq!(
        query_text(
            url,
            "select rolsuper, rolcreaterole from pg_roles where rolname = current_user"
        ),
        "f|t"
    );
    assert_eq!(at(&["status"]).exit, 0);
    assert_eq!(at(&["saga", "list"]).exit, 0);
    assert_eq!(at(&["db", "up"]).out.trim(), url);
    assert_eq!(at(&["db", "down"]).exit, 0);
    let again = at(&["status"]);
    assert_eq!(again.exit, 0, "{}", again.err);
    assert!(again.err.contains("private PostgreSQL"), "{}", again.err);
    assert_eq!(at(&["db", "down"]).exit, 0);
}

#[test]
fn the_demo_keeps_every_promise_on_any_document() {
    let kit = Kit::bare();
    let text = "Über alles\n==========\n\nIt's a \"test\".\r\n\n# Second\nwith 'quotes'; drop table x;\n\n## Third\n";
    let file = kit.write("a strange name;.md", text.as_bytes());
    let ran = ended(&mut command(
        kit.dir.path(),
        None,
        &["demo", "--file", &file, "--json"],
    ));
    assert_eq!(ran.exit, 0, "{}\n{}", ran.err, ran.out);
    let result: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let folder = std::path::Path::new(result["folder"].as_str().unwrap());
    for left in [
        "commands.txt",
        "env",
        "plan.json",
        "state/trust",
        "state/keys/sovereign.key",
        "saga.yaml",
    ] {
        assert!(folder.join(left).exists(), "{left}");
    }
    let exits: Vec<i64> = result["commands"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["exit"].as_i64().unwrap())
        .collect();
    for exit in [0, 3, 5, 6, 7] {
        assert!(exits.contains(&exit), "{exits:?}");
    }
    let pid = fs::read_to_string(folder.join("state/postgres/data/postmaster.pid"));
    assert!(pid.is_err(), "the server is stopped");
}

#[test]
fn a_document_that_cannot_be_cut_is_refused() {
    let kit = Kit::bare();
    for bytes in [&b""[..], b"\xff\xfe\x00", b"  \n"] {
        let file = kit.write("x.md", bytes);
        let value = kit.refused(&["demo", "--file", &file], 4, "RD0923");
        assert!(
            value["error"]["message"].as_str().unwrap().contains("x.md"),
            "{value}"
        );
    }
    kit.refused(&["demo", "--file", "/dev/zero"], 4, "RD0923");
    kit.refused(&["demo", "--file", "nosuch.md"], 4, "RD0923");
}

/// The script for an administrator is enough: with it an installer that may make no roles installs, a worker that is
/// nothing but the engine works, one who recovers recovers, and a reviewer reads.
#[test]
fn roles_under_other_names_are_made_by_the_script_that_is_printed() {
    let cluster = TestCluster::own();
    let database = cluster.fresh_database();
    let dir = TempDir::new().expect("a folder");
    fs::write(dir.path().join("pass"), "correct horse\n").expect("written");
    fs::set_permissions(dir.path().join("pass"), Permissions::from_mode(0o600)).expect("mode");
    let config = "[roles]\nowner = 'app_own'\nengine = 'app_run'\noperator = 'app_mend'\nsealer = 'app_seal'\nauditor = 'app_look'\n";
    fs::create_dir(dir.path().join("state")).expect("made");
    fs::write(dir.path().join("state/redress.toml"), config).expect("written");
    let run_as = |login: &str, arguments: &[&str], exit: i32| {
        let url = cluster.url_as(login, database.name());
        let ran = ended(&mut command(dir.path(), Some(&url), arguments));
        assert_eq!(
            ran.exit, exit,
            "{login} {arguments:?}\n{}\n{}",
            ran.out, ran.err
        );
        ran.out
    };
    let script = run_as("nobody", &["db", "roles"], 0);
    let logins = ["installer", "worker", "recovery", "sealing", "review"];
    for login in logins {
        database.query_text(&format!("create role {login} login"));
    }
    database.query_text(&script);
    run_as("installer", &["db", "migrate"], 0);
    database.query_text(SHOP);
    database.query_text(
        "grant usage on schema shop to worker, recovery;
         grant select, insert, update on all tables in schema shop to worker, recovery",
    );
    let saga = dir.path().join("shop.yaml");
    fs::write(&saga, SAGA).expect("written");
    let saga = saga.display().to_string();
    run_as("worker", &["saga", "register", &saga], 0);
    run_as("recovery", &["key", "new", "sov", "--role", "sovereign"], 0);
    let input = r#"{"order": "7", "qty": 1, "fail": true}"#;
    let shown = run_as(
        "worker",
        &["start", "shop", "--input", input, "--wait", "--json"],
        3,
    );
    let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
    let id = shown["run"].as_str().expect("a run");
    // Who only reads sees everything and starts nothing.
    for (words, exit) in [
        (&["show", id][..], 0),
        (&["runs"], 0),
        (&["log", id], 0),
        (&["status"], 3),
        (&["holds"], 0),
        (&["audit", "log"], 0),
        (&["audit", "verify"], 0),
        (&["check"], 0),
        (&["runbook", "suggest", id], 0),
    ] {
        run_as("review", words, exit);
    }
    // Without the names, what differs is not told as if it had been changed only.
    let plain = dir.path().join("plain.toml");
    fs::write(&plain, "").expect("written");
    let url = cluster.url_as("review", database.name());
    let plain = plain.display().to_string();
    let ran = ended(&mut command(
        dir.path(),
        Some(&url),
        &["check", "--config", &plain],
    ));
    assert_eq!(ran.exit, 7, "{}", ran.err);
    assert!(
        ran.err.contains("owned by app_own") && ran.err.contains("[roles]"),
        "{}",
        ran.err
    );
    let another = r#"{"order": "8", "qty": 1}"#;
    run_as("review", &["start", "shop", "--input", another], 78);
    let planned = run_as("recovery", &["plan", id, "--json"], 0);
    let planned: serde_json::Value = serde_json::from_str(&planned).expect("JSON");
    let digest = planned["digest"]
        .as_str()
        .or(planned["plan"]["digest"].as_str());
    let digest = digest.unwrap_or_else(|| panic!("{planned}"));
    let signed = ["--as", "sov", "--non-interactive"];
    run_as("recovery", &[&["approve", digest][..], &signed].concat(), 0);
    run_as("recovery", &["apply", digest], 0);
    run_as("review", &["check"], 0);
    let ours = "select count(*) from pg_roles where rolname like 'redress%'";
    assert_eq!(database.query_text(ours), "0");
}
