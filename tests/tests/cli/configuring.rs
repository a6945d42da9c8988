//! Standing settings: flag over environment over file, told with their place, and refused whole.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use redress_tests::query_text;
use serde_json::Value;

use crate::kit::{Kit, command, ended};

/// What `redress config --json` says of a key.
fn of<'v>(value: &'v Value, key: &str) -> &'v Value {
    let mut list = value["settings"].as_array().expect("settings").iter();
    list.find(|one| one["key"] == key).expect(key)
}

#[test]
fn a_flag_wins_over_a_variable_and_a_variable_over_the_file() {
    let kit = Kit::new();
    let url = kit.database.url().to_owned();
    fs::create_dir_all(kit.state()).unwrap();
    let text = format!("database = \"{url}\"\ntrust = \"roots\"\n\n[work]\nlease = \"7s\"\n");
    let file = kit.state().join("redress.toml");
    fs::write(&file, text).unwrap();
    // Nothing but the file says which database.
    let at = |words: &[&str], variables: &[(&str, &str)]| {
        let mut command = command(kit.dir.path(), None, words);
        command.envs(variables.iter().copied());
        ended(&mut command)
    };
    let shown = |words: &[&str], variables: &[(&str, &str)]| -> Value {
        let ran = at(&[words, &["config", "--json"]].concat(), variables);
        assert_eq!(ran.exit, 0, "{}", ran.err);
        serde_json::from_str(&ran.out).unwrap()
    };
    let value = shown(&[], &[]);
    assert_eq!(value["file"], file.display().to_string());
    assert_eq!(of(&value, "database")["source"], "file");
    assert_eq!(of(&value, "work.lease")["value"], "7s");
    let place = format!("{}:5", file.display());
    assert_eq!(of(&value, "work.lease")["from"], place);
    let roots = kit.state().join("roots").display().to_string();
    assert_eq!(of(&value, "trust")["value"], roots, "relative to the file");
    assert_eq!(of(&value, "work.concurrency")["source"], "default");

    let variables = [("REDRESS_WORK_LEASE", "8s"), ("REDRESS_SCHEMA", "other")];
    let value = shown(&["--schema", "third"], &variables);
    assert_eq!(of(&value, "work.lease")["from"], "REDRESS_WORK_LEASE");
    assert_eq!(of(&value, "schema")["value"], "third");
    assert_eq!(of(&value, "schema")["source"], "flag");

    // And what is shown is what is done: the trust file that the file names is not there.
    let refused = at(&["status"], &[]);
    assert_eq!(refused.exit, 78, "{}", refused.err);
    assert!(refused.err.contains(&roots), "{}", refused.err);
    fs::write(&roots, "").unwrap();
    assert_eq!(at(&["status"], &[]).exit, 0);
    let other = at(&["status"], &[("REDRESS_SCHEMA", "nowhere")]);
    assert!(other.err.contains("RD0701"), "{}", other.err);
    let flag = at(
        &["status", "--schema", "redress"],
        &[("REDRESS_SCHEMA", "nowhere")],
    );
    assert_eq!(flag.exit, 0, "{}", flag.err);
}

#[test]
fn a_key_that_is_not_known_is_refused_with_its_place_and_the_one_that_was_meant() {
    let kit = Kit::bare();
    let check = |text: &str, place: &str, says: &str| {
        let file = kit.write("redress.toml", text.as_bytes());
        let place = format!("{file}:{place}: ");
        for words in [
            &["--config", &file, "status"][..],
            &["--config", &file, "config"],
            &["config", "--check", &file],
        ] {
            let value = kit.refused(words, 78, "RD0927");
            let message = value["error"]["message"].as_str().unwrap();
            assert!(message.starts_with(&place), "{message}");
            assert!(message.contains(says), "{message}");
        }
    };
    check("databse = 'x'", "1:1", "did you mean `database`?");
    check(
        "[work]\nconcurency = 3",
        "2:1",
        "did you mean `concurrency`?",
    );
    check("[work]\nconcurrency = 'x'", "2:15", "invalid type");
    check("[work]\nconcurrency = 0", "2:1", "from 1 to 512");
    check("\n[work]\nlease = 'soon'", "3:1", "a length of time");
    check("schema = 'No Schema'", "1:1", "schema: ");
    check("x = [", "1:6", "array");
    let good = kit.write("redress.toml", b"[work]\nconcurrency = 3\n");
    kit.ok(&["config", "--check", &good]);
    // What explains the error is not stopped by it.
    let bad = kit.write("redress.toml", b"x = 1");
    kit.ok(&["--config", &bad, "explain", "RD0927"]);
    kit.refused(
        &["config", "--check", &kit.path("none").display().to_string()],
        78,
        "RD0927",
    );
}

#[test]
fn a_check_judges_values_as_using_them_would() {
    let kit = Kit::bare();
    let check = |text: &str, says: &str| {
        let file = kit.write("judged.toml", text.as_bytes());
        let value = kit.refused(&["config", "--check", &file], 78, "RD0927");
        let said = value["error"]["message"].as_str().unwrap_or_default();
        assert!(
            said.contains("judged.toml:") && said.contains(says),
            "{said}"
        );
    };
    check("database = 'postgres://h/d?sslmod=x'", "sslmode");
    check("[work]\nlease = '0s'", "at least 500ms");
    check("[work]\npoll = '0s'", "at least 10ms");
    check("[work]\nmetrics = 'notaport'", "a port or an address");
    let flag = |words: &[&str]| {
        let ran = kit.exits(words, 2);
        assert!(ran.err.contains("at least "), "{}", ran.err);
    };
    flag(&["work", "--lease", "1ms", "--until-idle"]);
    flag(&["work", "--poll", "0s", "--until-idle"]);
}

#[test]
fn a_file_of_the_current_folder_is_not_taken_and_one_that_anybody_may_write_is_refused() {
    let kit = Kit::bare();
    kit.write("redress.toml", b"this is not read");
    let value = kit.json(&["config"], 0);
    assert!(value["file"].is_null() || value["file"] == "/etc/redress/redress.toml");
    let file = kit.write("mine.toml", b"");
    fs::set_permissions(&file, Permissions::from_mode(0o666)).unwrap();
    let value = kit.refused(&["--config", &file, "config"], 78, "RD0927");
    let message = value["error"]["message"].as_str().unwrap();
    assert!(message.contains("chmod o-w"), "{message}");
}

#[test]
fn a_password_is_masked_and_one_that_all_can_read_is_told() {
    let kit = Kit::bare();
    let text = "database = 'postgres://me:hunter2@127.0.0.1:1/x?password=hunter3'\n\
                direct = 'host=127.0.0.1 port=1 password=hunter2'\n";
    let file = kit.write("redress.toml", text.as_bytes());
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    for words in [&["config"][..], &["config", "--json"]] {
        let mut command = command(kit.dir.path(), None, words);
        let ran = ended(command.args(["--config", &file]));
        assert_eq!(ran.exit, 0, "{}", ran.err);
        assert!(
            !ran.out.contains("hunter") && !ran.err.contains("hunter"),
            "{ran:?}"
        );
        assert!(ran.err.contains("everybody can read it"), "{}", ran.err);
    }
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    let ran = ended(command(kit.dir.path(), None, &["config"]).args(["--config", &file]));
    assert!(!ran.err.contains("everybody"), "{}", ran.err);
}

#[test]
fn a_variable_that_nothing_reads_is_told_with_the_one_that_was_meant() {
    let kit = Kit::bare();
    let ran = ended(kit.command(&["config"]).env("REDRESS_STATEDIR", "/x"));
    assert_eq!(ran.exit, 0, "{}", ran.err);
    assert!(
        ran.err.contains("did you mean REDRESS_STATE_DIR?"),
        "{}",
        ran.err
    );
    let quiet = ended(kit.command(&["config", "-q"]).env("REDRESS_STATEDIR", "/x"));
    assert_eq!(quiet.err, "");
    let role = [("REDRESS_ROLES_ENGINE", "Bad Name")];
    let ran = ended(kit.command(&["config"]).envs(role));
    assert_eq!(ran.exit, 78, "{}", ran.err);
    assert!(ran.err.contains("REDRESS_ROLES_ENGINE: "), "{}", ran.err);
    let ran = ended(
        kit.command(&["config"])
            .env("REDRESS_WORK_CONCURRENCY", "0"),
    );
    assert_eq!(ran.exit, 78, "{}", ran.err);
    assert!(
        ran.err.contains("REDRESS_WORK_CONCURRENCY: "),
        "{}",
        ran.err
    );
}

#[test]
fn the_schema_is_migrated_by_its_owner_where_one_is_named() {
    let kit = Kit::bare();
    let url = kit.database.url();
    let text = format!("database = \"postgres://nobody@127.0.0.1:1/x\"\nmigrate = \"{url}\"\n");
    let file = kit.write("redress.toml", text.as_bytes());
    let at = |words: &[&str]| ended(command(kit.dir.path(), None, words).args(["--config", &file]));
    assert_eq!(at(&["db", "migrate"]).exit, 0);
    assert_eq!(query_text(url, "select count(*) from redress.run"), "0");
    // A database that is given by a flag is the one that is meant.
    let nowhere = "postgres://nobody@127.0.0.1:1/y";
    assert_eq!(at(&["db", "migrate", "--database", nowhere]).exit, 75);
}

#[test]
fn the_schema_of_the_file_is_printed_and_fits_what_is_read() {
    let kit = Kit::bare();
    let ran = kit.ok(&["config", "--json-schema"]);
    let schema: Value = serde_json::from_str(&ran.out).unwrap();
    let settings = kit.json(&["config"], 0);
    for one in settings["settings"].as_array().unwrap() {
        let key = one["key"].as_str().unwrap();
        let first = key.split('.').next().unwrap();
        let known = schema["properties"][first].is_object();
        assert_eq!(known, key != "config", "{key}");
    }
}

/// The page on settings names every one with its variable and its default.
#[test]
fn the_page_on_settings_is_complete() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
    let page = fs::read_to_string(page).expect("the page");
    for setting in redress_cli::settings::list::SETTINGS {
        let line = format!(
            "| `{}` | `{}` | {} |",
            setting.key, setting.variable, setting.default
        );
        assert!(page.contains(&line), "{line}");
    }
}
