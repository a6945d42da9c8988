//! Files that the program gives and the repository keeps: they must be the same.
//!
//! `REDRESS_WRITE=1 cargo test -p redress-tests --test cli generated` writes them anew.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use redress_cli::exit::Exit;
use serde_json::Value;

use crate::kit::{Kit, SAGA};
use crate::shapes;

/// The repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Compares a kept file with what the program gives, or writes it.
#[track_caller]
pub fn kept(name: &str, given: &str) {
    let path = root().join(name);
    if env::var_os("REDRESS_WRITE").is_some() {
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(&path, given).expect("written");
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    let anew = "REDRESS_WRITE=1 cargo test -p redress-tests --test cli generated";
    assert!(
        kept == given,
        "{name} is not what the program gives; `{anew}` writes it"
    );
}

#[test]
fn the_error_index_is_what_the_pages_say() {
    let mut text = String::from(ERRORS_HEAD);
    for page in redress_runbooks::pages() {
        let exit = Exit::of_code(page.code).expect("a status") as u8;
        let runbooks: Vec<String> = redress_runbooks::library::about(page.code)
            .iter()
            .map(|name| format!("[{name}](../runbooks/library/{name}.yaml)"))
            .collect();
        text.push_str(&format!(
            "\n## {}: {}\n\n{}\n\n* **What stands:** {}\n* **What to do:** {}\n* **Exit status:** {exit}. **Runbooks:** {}\n",
            page.code,
            page.title,
            page.happened,
            page.stands,
            page.next,
            runbooks.join(", "),
        ));
    }
    kept("docs/errors.md", &text);
}

const ERRORS_HEAD: &str = "# Error codes

Every error has a code, and every code has a page: what happened, what stands now, what to do next. `redress explain CODE` prints one,
and with `--json` every error carries all of it. This index is made from those pages by a test and is not edited by hand.

The exit statuses: 0 done, 1 failed, 2 usage, 3 a person must act, 4 refused and nothing changed, 5 approvals missing, 6 stale, 7
verification failed, 8 verification incomplete, 75 database unreachable, 78 wrong schema version or configuration.
";

#[test]
fn the_published_schemas_are_what_the_types_give() {
    for (name, schema) in shapes::all() {
        kept(
            &format!("schemas/{name}.schema.json"),
            &format!("{schema:#}\n"),
        );
    }
}

/// Judges an answer by its schema, which may have no member that the answer lacks, nor the other way round.
#[track_caller]
fn fits(name: &str, answer: &Value) {
    let all = shapes::all();
    let (_, schema) = all.iter().find(|(stem, _)| *stem == name).expect(name);
    let validator = jsonschema::validator_for(&shapes::strict(schema.clone())).expect("a schema");
    let wrong: Vec<String> = validator
        .iter_errors(answer)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(wrong.is_empty(), "{name}: {wrong:#?}\n{answer:#}");
}

#[test]
fn what_the_commands_answer_is_as_the_schemas_say() {
    let kit = Kit::shop();
    fits("runs", &kit.json(&["runs"], 0));
    fits("status", &kit.json(&["status"], 0));
    fits("sagas", &kit.json(&["saga", "list"], 0));
    let good = r#"{"order": "good", "qty": 1}"#;
    fits(
        "run",
        &kit.json(&["start", "shop", "--input", good, "--wait"], 0),
    );
    let run = kit.failed_run("bad");
    fits("run", &kit.json(&["show", &run], 0));
    fits("status", &kit.json(&["status"], 3));
    fits("holds", &kit.json(&["holds"], 0));
    fits("plan", &kit.json(&["plan", &run], 0));
    kit.ok(&kit.signed(&["approve", &run, "--reason", "agreed"]));
    fits("plan", &kit.json(&["plan", &run], 0));
    kit.ok(&["apply", &run]);
    fits("run", &kit.json(&["show", &run], 0));
    fits("runs", &kit.json(&["runs"], 0));
    fits("log", &kit.json(&["log", &run], 0));
    fits("check", &kit.json(&["check"], 0));
    fits("audit-verify", &kit.json(&["audit", "verify"], 0));
    fits("audit-window", &kit.json(&["audit", "window"], 0));
    fits("explain", &kit.json(&["explain", "RD0303"], 0));
    let rehearsed = [
        "rehearse",
        "shop",
        "--input",
        r#"{"order": "o-1", "qty": 1, "fail": false}"#,
    ];
    fits("rehearse", &kit.json(&rehearsed, 0));
    let examined = kit.run(&["--json", "doctor"]);
    fits(
        "doctor",
        &serde_json::from_str(&examined.out).expect("JSON"),
    );
    kit.ok(&["hold", "saga:shop", "--reason", "wait"]);
    kit.ok(&["kill", "--reason", "stop"]);
    fits("status", &kit.json(&["status"], 3));
    fits("holds", &kit.json(&["holds"], 0));
    fits("error", &kit.json(&["show", "nosuch"], 4));
    fits("error", &kit.json(&["release", "kill", "--reason", "x"], 2));
    kit.database
        .query_text("update redress.run set state = 'completed' where state = 'compensated'");
    fits("check", &kit.json(&["check"], 7));
}

/// A file that the reader takes is valid by the schema, and one that has an unknown key is not.
#[test]
fn every_shipped_saga_is_valid_by_the_schema() {
    let all = shapes::all();
    let validator = jsonschema::validator_for(&all[0].1).expect("a schema");
    let tree = |text: &str| {
        let (tree, _) = redress::definition::yaml::read_tree(text.as_bytes(), "x").expect("YAML");
        tree
    };
    let mut seen = 0;
    for entry in fs::read_dir(root().join("examples"))
        .expect("a folder")
        .flatten()
    {
        for file in fs::read_dir(entry.path()).into_iter().flatten().flatten() {
            if file.path().extension().is_some_and(|end| end == "yaml") {
                let text = fs::read_to_string(file.path()).expect("a file");
                let wrong: Vec<String> = validator
                    .iter_errors(&tree(&text))
                    .map(|error| format!("{}: {error}", error.instance_path()))
                    .collect();
                assert!(wrong.is_empty(), "{}: {wrong:#?}", file.path().display());
                seen += 1;
            }
        }
    }
    assert!(seen >= 7, "{seen} sagas");
    assert!(validator.is_valid(&tree(SAGA)));
    let check = |from: &str, to: &str| {
        let bad = SAGA.replacen(from, to, 1);
        assert!(bad != SAGA && !validator.is_valid(&tree(&bad)), "{to}");
    };
    check("exclusive:", "exclusiv:");
    check("version: 1", "version: one");
    check("name: reserve", "name: Re Serve");
    check("retry: {attempts: 1}", "retry: {attempts: 0}");
    check("compensation: soft_revert", "compensation: sometimes");
    check("writes: [shop.reservation]", "writes: [reservation]");
    check("soft_revert: {sovereign: 1}", "soft_revert: {admiral: 1}");
    check("soft_revert: {sovereign: 1}", "softrevert: auto");
    check("soft_revert: {sovereign: 1}", "decide: auto");
    check("on_failure: compensate", "on_failure: {rewind: reserve}");
    check("hold: subject", "hold: everything");
    check("subject: /input/order", "subject: input/order");
}

/// The pages name every key that the schemas have.
#[test]
fn every_key_of_a_saga_and_a_runbook_is_explained() {
    fn keys(schema: &Value, found: &mut BTreeSet<String>) {
        match schema {
            Value::Object(members) => {
                for (name, value) in members {
                    if name == "properties" {
                        let names = value.as_object().expect("members").keys();
                        found.extend(names.cloned());
                    }
                    keys(value, found);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| keys(item, found)),
            _ => {}
        }
    }
    for name in ["saga", "runbook"] {
        let all = shapes::all();
        let (_, schema) = all.iter().find(|(stem, _)| *stem == name).expect(name);
        let mut found = BTreeSet::new();
        keys(schema, &mut found);
        assert!(found.len() > 25, "{found:?}");
        let file = format!("docs/{name}-file.md");
        let page = fs::read_to_string(root().join(&file)).expect("a page");
        found
            .retain(|key| !page.contains(&format!("`{key}")) && !page.contains(&format!("{key}:")));
        assert!(found.is_empty(), "{file} does not explain {found:?}");
    }
}
