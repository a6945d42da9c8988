//! `doctor`: prepared faults of the surroundings are named, and what cannot be seen is told as that.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use redress_tests::{Pooler, Setup, pooler};
use serde_json::Value;
use tempfile::TempDir;

use crate::kit::{Kit, Ran, command, ended};

/// Looks with these variables; gives the answer as JSON, and the exit status.
#[track_caller]
fn looked(dir: &TempDir, url: Option<&str>, variables: &[(&str, &str)]) -> (Value, i32) {
    let mut doctor = command(dir.path(), url, &["doctor", "--json"]);
    let Ran { exit, out, err } = ended(doctor.envs(variables.iter().copied()));
    let value: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}\n{err}"));
    assert_eq!(value["schema"], 1);
    for check in value["checks"].as_array().expect("checks") {
        let text = |key: &str| check[key].as_str().unwrap_or_default().to_owned();
        assert!(!text("found").is_empty(), "{check}");
        match text("state").as_str() {
            "ok" => {}
            "unknown" => assert!(!text("next").is_empty(), "{check}"),
            _ => assert!(
                !text("means").is_empty() && !text("next").is_empty(),
                "{check}"
            ),
        }
    }
    (value, exit)
}

#[track_caller]
fn check<'v>(value: &'v Value, name: &str) -> &'v Value {
    let mut checks = value["checks"].as_array().expect("checks").iter();
    checks
        .find(|check| check["check"] == name)
        .unwrap_or_else(|| panic!("no {name} in {value:#}"))
}

#[track_caller]
fn is(value: &Value, name: &str, state: &str, says: &str) {
    let found = check(value, name);
    assert_eq!(found["state"], state, "{found:#}");
    let text = found["found"].as_str().unwrap_or_default();
    assert!(text.contains(says), "{found:#}");
}

/// F42
#[test]
fn an_age_near_the_limit_a_stuck_slot_and_a_forgotten_prepared_transaction_are_named() {
    let cluster = Setup::new()
        .set("max_prepared_transactions", "3")
        .set("wal_level", "logical")
        .start();
    let database = cluster.fresh_database();
    let dir = TempDir::new().unwrap();
    let url = Some(database.url());
    assert_eq!(
        ended(&mut command(dir.path(), url, &["db", "migrate"])).exit,
        0
    );

    let (well, exit) = looked(&dir, url, &[]);
    is(&well, "age.prepared", "ok", "none");
    is(&well, "age.slots", "ok", "none");
    is(&well, "age.transactions", "ok", "transactions");
    is(&well, "server.version", "ok", "");
    is(&well, "schema", "ok", "redress version");
    is(&well, "schema.drift", "ok", "as they were made");
    let between = if pooler::is_between() {
        "in transaction mode"
    } else {
        "none"
    };
    is(&well, "pooler", "ok", between);
    is(&well, "log.window", "warn", "not opened");
    // The servers of tests have fsync off: that is no place for a ledger.
    is(&well, "server.durability", "fail", "fsync off");
    assert_eq!(exit, 3);

    for sql in [
        "begin; create table left_behind (); prepare transaction 'for''gotten'",
        "select pg_create_physical_replication_slot('nobody', true)",
    ] {
        database.query_text(sql);
    }
    let (young, _) = looked(&dir, url, &[]);
    is(&young, "age.prepared", "warn", "for'gotten");
    is(
        &young,
        "age.slots",
        "warn",
        "nobody (physical, read by nobody)",
    );
    let (old, exit) = looked(
        &dir,
        url,
        &[
            ("REDRESS_DOCTOR_TRANSACTION_SECONDS_MAX", "0"),
            ("REDRESS_DOCTOR_RETAINED_WAL_MIB_MAX", "0"),
            ("REDRESS_DOCTOR_XID_AGE_MAX", "1"),
        ],
    );
    is(&old, "age.prepared", "fail", "for'gotten");
    let next = check(&old, "age.prepared")["next"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(next.contains("rollback prepared 'for''gotten'"), "{next}");
    is(&old, "age.slots", "fail", "nobody");
    is(&old, "age.transactions", "fail", "transactions");
    assert_eq!(exit, 3);
    database.query_text("rollback prepared 'for''gotten'");
    database.query_text("select pg_drop_replication_slot('nobody')");
}

#[test]
fn a_pooler_that_the_url_does_not_name_is_found_out() {
    // One that every URL of the tests names is in the way of this one.
    let Some(program) = pooler::find().filter(|_| !pooler::is_between()) else {
        return;
    };
    let cluster = Setup::new().start();
    let database = cluster.fresh_database();
    let dir = TempDir::new().unwrap();
    let direct = Some(database.url());
    assert_eq!(
        ended(&mut command(dir.path(), direct, &["db", "migrate"])).exit,
        0
    );
    let pooler = Pooler::before(&program, database.url(), "");
    let (silent, exit) = looked(&dir, Some(&pooler.silent_url(database.url())), &[]);
    is(&silent, "pooler", "fail", "does not say so");
    assert_eq!(exit, 3);
}

#[test]
fn a_pooler_that_keeps_sessions_and_takes_no_options_is_named_with_the_two_ways_out() {
    let Some(program) = pooler::find().filter(|_| !pooler::is_between()) else {
        return;
    };
    let cluster = Setup::new().start();
    let database = cluster.fresh_database();
    let dir = TempDir::new().unwrap();
    let at = |url: &str, words: &[&str]| ended(&mut command(dir.path(), Some(url), words));
    assert_eq!(at(database.url(), &["db", "migrate"]).exit, 0);
    let pooler = Pooler::before(&program, database.url(), "pool_mode = session");
    let silent = pooler.silent_url(database.url());
    let ran = at(&silent, &["status"]);
    assert_eq!(ran.exit, 75, "{}", ran.err);
    for words in [
        "RD0801",
        "startup parameter",
        "pooler=transaction",
        "ignore_startup_parameters",
    ] {
        assert!(ran.err.contains(words), "{words}: {}", ran.err);
    }
    let (looked_at, exit) = looked(&dir, Some(&silent), &[]);
    is(&looked_at, "pooler", "fail", "startup parameter");
    assert_eq!(exit, 3);
    let told = pooler.url(database.url());
    assert_eq!(at(&told, &["status"]).exit, 0);
    let settings = "pool_mode = session\nignore_startup_parameters = options";
    let willing = Pooler::before(&program, database.url(), settings);
    let silent = willing.silent_url(database.url());
    assert_eq!(at(&silent, &["status"]).exit, 0);
    is(&looked(&dir, Some(&silent), &[]).0, "pooler", "ok", "none");
}

#[test]
fn keys_that_others_may_open_and_a_trust_file_that_they_may_write_are_named() {
    let kit = Kit::shop();
    let url = Some(kit.database.url());
    let (well, _) = looked(&kit.dir, url, &[]);
    is(&well, "keys.files", "ok", "1 in");
    is(&well, "keys.trust", "ok", "1 keys count");
    is(&well, "backup.keys", "unknown", "nobody says");
    let mode = |path: &str, mode| {
        fs::set_permissions(kit.state().join(path), Permissions::from_mode(mode)).unwrap();
    };
    mode("keys/sov.key", 0o644);
    mode("trust", 0o666);
    fs::create_dir(kit.path("copy")).unwrap();
    let copy = kit.path("copy").display().to_string();
    let variables = [
        ("REDRESS_BACKUP_KEYS", copy.as_str()),
        ("REDRESS_DOCTOR_DISK_FREE_MIB_MIN", "1000000000"),
        ("REDRESS_WORK_ALERT_COMMAND", "/nowhere/pager"),
    ];
    let (ill, exit) = looked(&kit.dir, url, &variables);
    is(&ill, "keys.files", "fail", "sov.key has mode 644");
    is(&ill, "keys.trust", "fail", "others may write");
    is(&ill, "backup.keys", "fail", "sov.key");
    is(&ill, "disk.state", "fail", "MiB are free");
    is(&ill, "configuration.programs", "fail", "/nowhere/pager");
    assert_eq!(exit, 3);
    // On a screen each of them says what it means and what to do.
    let ran = ended(kit.command(&["doctor"]).envs(variables));
    for words in ["could not tell", "next     chmod 600", "checks: "] {
        assert!(ran.out.contains(words), "{words}: {}", ran.out);
    }
}

#[test]
fn an_anchor_that_is_ahead_of_the_database_is_a_fork() {
    let kit = Kit::opened();
    kit.ok(&["audit", "seal"]);
    let url = Some(kit.database.url());
    let (well, _) = looked(&kit.dir, url, &[]);
    is(&well, "log.anchor", "ok", "the same");
    is(&well, "log.window", "ok", "0 records wait");
    // As if an older copy of the database had been restored: the anchor remembers a longer log.
    let anchor = kit.state().join("anchor/log-gen-1");
    let text = fs::read_to_string(&anchor).unwrap();
    let mut lines: Vec<String> = text.split('\n').map(str::to_owned).collect();
    let size: u64 = lines[1].parse().unwrap();
    lines[1] = (size + 1).to_string();
    fs::write(&anchor, lines.join("\n")).unwrap();
    let (ill, exit) = looked(&kit.dir, url, &[]);
    is(&ill, "log.anchor", "fail", "the anchor one of");
    assert_eq!(check(&ill, "log.anchor")["code"], "RD0735");
    assert_eq!(check(&ill, "log.anchor")["runbook"], "ledger-fork");
    assert_eq!(exit, 3);
}

#[test]
fn without_a_database_the_doctor_tells_what_can_be_seen_from_here_and_brings_nothing_up() {
    let kit = Kit::bare();
    let (away, exit) = looked(
        &kit.dir,
        Some("postgres://x@127.0.0.1:1/x?connect_timeout=2"),
        &[],
    );
    is(&away, "server", "fail", "");
    assert_eq!(check(&away, "server")["code"], "RD0801");
    assert_eq!(exit, 75);
    let (none, exit) = looked(&kit.dir, None, &[]);
    is(&none, "server", "fail", "no private server runs");
    assert_eq!(exit, 75);
    assert!(!kit.state().join("postgres").exists());
    is(&none, "state", "warn", "");

    let missing = looked(&kit.dir, Some(kit.database.url()), &[]).0;
    is(&missing, "schema", "fail", "");
    assert_eq!(check(&missing, "schema")["code"], "RD0701");
}
