//! Runbooks on the command line: which there are, what they say, whether they are sound and still hold.

use serde_json::Value;

use crate::kit::Kit;

/// A runbook of one's own for the shop.
const OWN: &str = r#"runbook: shop-look
version: 1
title: Look at the shop
owner: The shop
risk: read_only
match: {saga: shop}
checks:
  - id: nothing_shipped
    why: What is shipped is not taken back.
    sql: select count(*) = 0 from shop.reservation where state = 'shipped'
steps:
  - id: look
    snapshot:
      queries:
        - {name: live, sql: "select count(*)::text as live from shop.reservation where run = $1", params: [/run/id]}
tests:
  - {name: nothing is shipped, fixture: nothing, expect: {outcome: done}}
"#;

fn names(list: &Value) -> Vec<&str> {
    let list = list.as_array().expect("a list");
    list.iter()
        .map(|one| one["runbook"].as_str().or(one["name"].as_str()))
        .map(|name| name.expect("a name"))
        .collect()
}

#[test]
fn a_runbook_is_listed_shown_and_rendered_without_a_database() {
    let kit = Kit::bare();
    let list = kit.json(&["runbook", "list"], 0);
    assert!(names(&list["runbooks"]).contains(&"ledger-fork"));
    let shown = kit.json(&["runbook", "show", "ledger-fork"], 0);
    assert_eq!(shown["risk"], "read_only");
    assert_eq!(shown["content"]["runbook"], "ledger-fork");
    let page = kit
        .ok(&["runbook", "show", "cutover-failed-at-write-verify"])
        .out;
    assert!(page.contains("What must hold first"), "{page}");
    assert!(
        page.lines().all(|line| line.chars().count() <= 80),
        "{page}"
    );
    let html = kit
        .ok(&["runbook", "render", "disk-full", "--format", "html"])
        .out;
    assert!(
        html.starts_with("<!doctype html>") && html.ends_with("</html>\n"),
        "{html}"
    );
    let markdown = kit
        .ok(&["runbook", "render", "disk-full", "--format", "markdown"])
        .out;
    assert!(markdown.starts_with("# A disk is full"), "{markdown}");
    let yaml = kit.ok(&["runbook", "show", "disk-full", "--yaml"]).out;
    let file = kit.write(
        "again.yaml",
        yaml.replacen("disk-full", "again", 1).as_bytes(),
    );
    kit.ok(&["runbook", "lint", &file]);
    assert_eq!(kit.json(&["runbook", "show", &file], 0)["runbook"], "again");
}

#[test]
fn a_name_that_is_not_there_is_answered_with_the_nearest() {
    let kit = Kit::bare();
    let value = kit.refused(&["runbook", "show", "ledger-frok"], 4, "RD0165");
    let message = value["error"]["message"].as_str().unwrap();
    assert!(message.contains("did you mean `ledger-fork`"), "{message}");
    assert_eq!(value["error"]["runbook"], "mend-runbook");
    let nasty = kit.exits(&["runbook", "show", "a\u{1b}[2Jb"], 4);
    assert!(!nasty.err.contains('\u{1b}'), "{}", nasty.err);
    let code = kit.json(&["explain", "RD0735"], 0);
    assert_eq!(code["runbooks"][0], "ledger-fork");
    let told = kit.ok(&["explain", "RD0735"]).out;
    assert!(told.contains("redress runbook show ledger-fork"), "{told}");
}

#[test]
fn lint_tells_every_finding_of_every_file_with_its_place() {
    let kit = Kit::bare();
    kit.ok(&["runbook", "lint"]);
    let good = kit.write("good.yaml", OWN.as_bytes());
    let sound = kit.json(&["runbook", "lint", &good], 0);
    assert_eq!(sound["runbooks"][0]["runbook"], "shop-look");
    let twice = OWN
        .replace("risk: read_only", "risk: irreversible")
        .replace("fixture: nothing", "fixture: nothin");
    let bad = kit.write("bad.yaml", twice.as_bytes());
    let nasty = kit.write("nasty.yaml", b"runbook: \"a\\e[2J\"\n");
    let shell = kit.write(
        "shell.yaml",
        OWN.replace("    snapshot:", "    shell:").as_bytes(),
    );
    let value = kit.refused(&["runbook", "lint", &bad, &nasty, &shell], 4, "RD0152");
    let errors = value["errors"].as_array().unwrap();
    let codes: Vec<&str> = errors
        .iter()
        .map(|one| one["code"].as_str().unwrap())
        .collect();
    assert_eq!(codes, ["RD0152", "RD0160", "RD0110", "RD0110"], "{value:#}");
    assert_eq!(errors[1]["line"], 17);
    assert!(
        errors[1]["message"]
            .as_str()
            .unwrap()
            .contains("did you mean `nothing`")
    );
    let told = kit.exits(&["runbook", "lint", &bad, &nasty], 4);
    assert!(told.err.contains("bad.yaml:17:"), "{}", told.err);
    assert!(!told.err.contains('\u{1b}'), "{}", told.err);
    let taken = OWN.replace("runbook: shop-look", "runbook: disk-full");
    let taken = kit.write("taken.yaml", taken.as_bytes());
    kit.refused(&["runbook", "lint", &taken], 4, "RD0167");
    let large = kit.write("large.yaml", "#\n".repeat(1_000_000).as_bytes());
    kit.refused(&["runbook", "lint", &large], 4, "RD0103");
    kit.refused(&["runbook", "lint", "/nowhere.yaml"], 4, "RD0910");
}

#[test]
fn check_says_which_runbooks_hold_today_and_fails_for_ones_own() {
    let kit = Kit::shop();
    kit.ok(&["key", "new", "rev", "--role", "reviewer"]);
    kit.ok(&["key", "new", "op", "--role", "operator"]);
    for name in ["sov", "rev", "op"] {
        let line = kit.json(&["key", "list"], 0);
        assert!(names(&line["keys"]).contains(&name));
    }
    let verdicts = |value: &Value, wanted: &str| -> Vec<String> {
        let list = value["runbooks"].as_array().unwrap().iter();
        list.filter(|one| one["verdict"] == wanted)
            .map(|one| one["runbook"].as_str().unwrap().to_owned())
            .collect()
    };
    let value = kit.json(&["runbook", "check", "--all"], 0);
    assert_eq!(verdicts(&value, "does not hold"), [""; 0], "{value:#}");
    let elsewhere = verdicts(&value, "not for this database");
    assert_eq!(elsewhere.len(), 5, "{elsewhere:?}");
    assert!(
        elsewhere.iter().all(|name| name.starts_with("cutover-")),
        "{elsewhere:?}"
    );

    // One's own, in the state folder: good, then about a table that has gone.
    let folder = kit.state().join("runbooks");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("own.yaml"), OWN).unwrap();
    let value = kit.json(&["runbook", "check", "shop-look"], 0);
    assert_eq!(value["runbooks"][0]["verdict"], "holds", "{value:#}");
    kit.database
        .query_text("alter table shop.reservation rename to kept");
    let value = kit.json(&["runbook", "check", "--all"], 7);
    assert_eq!(value["errors"][0]["code"], "RD0166");
    assert_eq!(verdicts(&value, "not for this database").len(), 6);
    kit.database
        .query_text("alter table shop.kept rename to reservation");

    // A statement that has another number of parameters, and an adapter that is not here.
    let acts = OWN
        .replace("risk: read_only", "risk: reversible")
        .replace("params: [/run/id]}", "params: []}")
        .replace(
            "tests:",
            "  - {id: tell, call: {adapter: pigeon, with: {}}}\ntests:",
        );
    std::fs::write(folder.join("own.yaml"), acts).unwrap();
    let value = kit.json(&["runbook", "check", "shop-look"], 7);
    let found = value["runbooks"][0]["findings"].as_array().unwrap();
    assert_eq!(value["runbooks"][0]["verdict"], "does not hold");
    assert_eq!(found.len(), 2, "{value:#}");

    // One that is refused hides no other and fails the check.
    std::fs::write(folder.join("own.yaml"), "runbook: [").unwrap();
    kit.exits(&["runbook", "check", "--all"], 7);
    let list = kit.exits(&["runbook", "list"], 0);
    assert!(list.err.contains("RD0105"), "{}", list.err);
}

#[test]
fn the_cutovers_runbooks_hold_where_its_tables_are() {
    let kit = Kit::new();
    for (_, script) in redress_examples::cutover::UP {
        kit.database.query_text(script);
    }
    let file = kit.write(
        "cutover.yaml",
        redress_examples::cutover::SAGA_YAML.as_bytes(),
    );
    kit.ok(&["saga", "register", &file]);
    kit.ok(&["key", "new", "sov", "--role", "sovereign"]);
    for phase in [
        "pre-write-backup",
        "cut-leg-a",
        "leg-b-record",
        "write-verify",
        "lifecycle-enact",
    ] {
        let name = format!("cutover-failed-at-{phase}");
        let value = kit.json(&["runbook", "check", &name], 0);
        assert_eq!(value["runbooks"][0]["verdict"], "holds", "{value:#}");
    }
}

#[test]
fn the_right_runbook_is_suggested_for_a_run() {
    let kit = Kit::shop();
    let run = kit.failed_run("o-1");
    let value = kit.json(&["runbook", "suggest", &run], 0);
    let fitting = names(&value["fitting"]);
    assert_eq!(fitting[0], "compensate-failed-run", "{value:#}");
    assert!(fitting.contains(&"resume-failed-run"));
    assert!(!fitting.contains(&"stuck-compensation"));
    let others = value["others"].as_array().unwrap();
    let why = others
        .iter()
        .find(|one| one["name"] == "stuck-compensation");
    assert_eq!(
        why.unwrap()["why_not"],
        "it is for runs that are stuck, this one is failed"
    );
    kit.ok(&["kill", "--reason", "drill"]);
    let value = kit.json(&["runbook", "suggest", &run], 0);
    assert!(
        names(&value["fitting"]).contains(&"release-kill"),
        "{value:#}"
    );
    let told = kit.ok(&["runbook", "suggest", &run, "--all"]).out;
    assert!(told.contains("redress runbook run"), "{told}");
}

#[test]
fn status_and_show_name_the_runbook_that_fits_beside_the_next_act() {
    let kit = Kit::shop();
    let first = kit.failed_run("o-1");
    let begin = |name: &str| format!("or     redress runbook run {name} --run {first} --as KEY");
    let check = |name: &str| {
        let status = kit.json(&["status"], 3);
        assert_eq!(status["waiting"][0]["runbook"], name, "{status:#}");
        assert_eq!(status["groups"][0]["runbook"], name, "{status:#}");
        let shown = kit.json(&["show", &first], 0);
        assert_eq!(shown["runbook"], name, "{shown:#}");
        assert!(shown["next"]["command"].is_string());
        for words in [&["status"][..], &["show", &first]] {
            let told = kit.run(words).out;
            let lines: Vec<String> = told
                .lines()
                .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
                .collect();
            let begin = begin(name).replace("or     ", "or ");
            assert_eq!(
                lines.iter().filter(|line| **line == begin).count(),
                1,
                "{begin} in\n{told}"
            );
        }
    };
    check("compensate-failed-run");
    // Many that fail alike are one entry, and the runbook is begun with the oldest of them.
    kit.failed_run("o-2");
    check("compensate-failed-run");
    // One's own that is more specific comes first.
    let folder = kit.state().join("runbooks");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("own.yaml"), OWN).unwrap();
    check("shop-look");
    // Whatever is wrong with the shelf, the screen is shown: a file that is refused, then a folder that is none.
    std::fs::write(folder.join("own.yaml"), "runbook: [").unwrap();
    check("compensate-failed-run");
    std::fs::remove_dir_all(&folder).unwrap();
    std::fs::write(&folder, "not a folder").unwrap();
    check("compensate-failed-run");
    std::fs::remove_file(&folder).unwrap();

    // What is no run has none, and a run on which nobody need act neither.
    kit.ok(&["kill", "--reason", "drill"]);
    let status = kit.json(&["status"], 3);
    let waiting = status["waiting"].as_array().unwrap();
    let switch = waiting.iter().find(|one| one["kind"] == "switch").unwrap();
    assert!(switch.as_object().unwrap().contains_key("runbook"));
    assert_eq!(switch["runbook"], Value::Null);
    kit.ok(&kit.signed(&["release", "kill", "--reason", "over"]));
    let input = r#"{"order": "o-3", "qty": 1}"#;
    let done = kit.json(&["start", "shop", "--input", input, "--wait"], 0);
    let shown = kit.json(&["show", done["run"].as_str().unwrap()], 0);
    assert!(shown.as_object().unwrap().contains_key("runbook"));
    assert_eq!(
        (&shown["next"], &shown["runbook"]),
        (&Value::Null, &Value::Null)
    );
}
