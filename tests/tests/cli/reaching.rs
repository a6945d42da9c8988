//! What definitions may reach from a machine: `redress.toml`, its mistakes, and runs that act outside the database.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::kit::Kit;

/// A script in the test's folder.
fn script(kit: &Kit, name: &str, text: &str) -> String {
    let text = format!("#!/bin/sh\ncd '{}'\n{text}\n", kit.dir.path().display());
    let path = kit.write(name, text.as_bytes());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("mode");
    path
}

fn saga(kit: &Kit, act: &str, probe: &str) -> String {
    let text = format!(
        "saga: ship
version: 1
authority: {{restore: auto, release: {{sovereign: 1}}, resolve: {{sovereign: 1}}}}
phases:
  - name: ship
    adapter: command
    compensation: restore
    retry: {{attempts: 2, backoff: 10ms, max: 20ms}}
    with:
      argv: [{act}, {{pointer: /input/to}}]
      probe: [{probe}]
      undo: [{act}, back]
"
    );
    kit.write("ship.yaml", text.as_bytes())
}

fn allow(kit: &Kit, paths: &[&str]) -> String {
    let text = format!("[command]\nallow = {paths:?}\n");
    kit.write("redress.toml", text.as_bytes())
}

/// Found where no database is needed, with line and column, and again where one is.
#[test]
fn a_program_that_this_machine_does_not_list_is_refused_with_its_place() {
    let kit = Kit::new();
    let act = script(&kit, "act", "touch ran");
    let file = saga(&kit, &act, "/bin/false");
    for arguments in [["saga", "check", &file], ["saga", "register", &file]] {
        let value = kit.refused(&arguments, 4, "RD0146");
        let places: Vec<_> = value["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| e["place"].as_str().unwrap().to_owned())
            .collect();
        let expected = [10, 11, 12].map(|line| format!("{file}:{line}:"));
        assert_eq!(places.len(), 3, "{value:#}");
        for (place, expected) in places.iter().zip(&expected) {
            assert!(place.starts_with(expected.as_str()), "{places:?}");
        }
    }
    let config = allow(&kit, &[&act, "/bin/false"]);
    kit.ok(&["--config", &config, "saga", "check", &file]);
    kit.ok(&["--config", &config, "saga", "register", &file]);
    // Without a flag the state folder's own file counts.
    kit.refused(&["saga", "check", &file], 4, "RD0146");
    fs::create_dir_all(kit.state()).expect("a folder");
    fs::copy(&config, kit.state().join("redress.toml")).expect("copied");
    kit.ok(&["saga", "check", &file]);
    assert!(!kit.path("ran").exists());
}

#[test]
fn a_configuration_that_is_not_understood_allows_nothing() {
    let kit = Kit::new();
    for text in [
        "[command]\nalow = []\n",
        "[command]\nallow = ['act']\n",
        "nonsense",
        "[http]\nhosts = ['https://x/']\n",
    ] {
        let config = kit.write("redress.toml", text.as_bytes());
        kit.refused(&["--config", &config, "runs"], 78, "RD0927");
    }
    kit.refused(&["--config", "/nowhere/redress.toml", "runs"], 78, "RD0927");
}

/// In doubt: exit 3, shown, with the next safe act; asked again when a person says so.
#[test]
fn a_run_in_doubt_says_so_and_is_asked_again() {
    let kit = Kit::new();
    kit.ok(&["key", "new", "sov", "--role", "sovereign"]);
    let act = script(&kit, "act", "echo \"$1 $REDRESS_KEY\" >> ran; kill -9 $$");
    let probe = script(&kit, "probe", "[ -e sees ] || exit 2");
    let file = saga(&kit, &act, &probe);
    let config = allow(&kit, &[&act, &probe]);
    let with = |arguments: &[&'static str]| {
        let mut all = vec!["--config".to_owned(), config.clone()];
        all.extend(arguments.iter().map(|one| (*one).to_owned()));
        all
    };
    let run = |arguments: &[&str], exit: i32| kit.json(arguments, exit);
    kit.ok(&["--config", &config, "saga", "register", &file]);
    let started = with(&["start", "ship", "--input", r#"{"to": "berlin"}"#, "--wait"]);
    let started: Vec<&str> = started.iter().map(String::as_str).collect();
    let view = run(&started, 3);
    let id = view["run"].as_str().unwrap();
    assert_eq!(view["error"]["code"], "RD0317");
    assert_eq!(view["phases"][0]["in_doubt"], true);
    assert!(kit.ok(&["show", id]).out.contains("failed, in doubt"));
    let status = kit.exits(&["status"], 3).out;
    assert!(status.contains(&format!("redress resume {id}")), "{status}");

    fs::write(kit.path("sees"), "").expect("a file");
    kit.ok(&["resume", id]);
    let hold = view["held"][0]["id"].as_str().unwrap();
    kit.ok(&kit.signed(&["release", hold, "--reason", "looked at"]));
    kit.ok(&["--config", &config, "work", "--until-idle"]);
    let view = run(&["show", id], 0);
    assert_eq!(view["state"], "completed");
    assert!(view["phases"][0].get("in_doubt").is_none());
    let ran = fs::read_to_string(kit.path("ran")).expect("it ran");
    assert_eq!(ran, format!("berlin {id}.ship.1\n"), "once");
    kit.ok(&["check"]);
}
