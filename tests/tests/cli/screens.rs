//! Runbooks and drills at a terminal of 80x24: nothing overflows, nothing that somebody wrote acts on it, and what is
//! not confirmed is not begun.

use std::fs;

use serde_json::{Value, json};

use crate::kit::Kit;
use crate::terminal::{at_a_terminal, fits, fits_when_typed, hostile, long_saga};

/// A text as wide as lint lets a runbook have it.
fn wide() -> String {
    format!(
        "{}{}{}",
        "漢字".repeat(15),
        "🦀".repeat(10),
        "a-word-that-does-not-end"
    )
}

/// A runbook of one's own, with names as long as names may be, a step by hand and these texts.
fn own(text: &str) -> String {
    let text = json!(text);
    format!(
        r#"runbook: own-{name}
version: 1
title: {text}
owner: {text}
risk: read_only
summary: {text}
match: {{states: [failed, stuck]}}
params: {{note: {{type: text, about: {text}, default: none}}}}
checks:
  - id: there_{name}
    why: {text}
    sql: select count(*) = 1 and $2::text is not null from redress.run where id = $1
    params: [/run/id, /params/note]
steps:
  - id: look_{name}
    why: {text}
    manual: {{instruction: {text}, evidence: {{seen: {text}}}}}
tests:
  - name: a person looks
    fixture: coverage-miss
    evidence: {{seen: looked}}
    expect: {{outcome: done}}
"#,
        name = "x".repeat(50)
    )
}

/// The states of all executions, the youngest first.
fn executions(kit: &Kit) -> Vec<Value> {
    let list = kit.json(&["runbook", "executions"], 0);
    let list = list["executions"].as_array().unwrap();
    list.iter().map(|one| one["state"].clone()).collect()
}

#[test]
fn every_screen_of_runbooks_and_drills_fits_a_terminal_of_80_columns_whatever_people_wrote() {
    let kit = Kit::shop();
    let folder = kit.state().join("runbooks");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("own.yaml"), own(&wide())).unwrap();
    // What would act on a screen is refused, and told without acting.
    fs::write(
        folder.join("hostile.yaml"),
        own(&hostile(1)).replace("own-", "other-"),
    )
    .unwrap();
    fs::write(folder.join("refused\u{1b}[2J漢字漢字.yaml"), "runbook: [").unwrap();
    let name = format!("own-{}", "x".repeat(50));
    let saga = kit.write("long.yaml", long_saga().as_bytes());
    let input = json!({"order": hostile(2), "qty": 1, "fail": true}).to_string();
    let run = kit.json(&["start", &saga, "--input", &input, "--wait"], 3);
    let run = run["run"].as_str().unwrap();

    let listed = fits(&kit, &["runbook", "list"], 0);
    assert!(listed.contains("(own)"), "{listed}");
    fits(&kit, &["runbook", "show", &name], 0);
    fits(&kit, &["runbook", "show", &hostile(3)], 4);
    for shipped in redress_runbooks::library::SHIPPED {
        fits(&kit, &["runbook", "show", shipped.name], 0);
    }
    fits(
        &kit,
        &[
            "runbook",
            "lint",
            &folder.join("own.yaml").display().to_string(),
        ],
        0,
    );
    let bad = kit.write("bad.yaml", own(&hostile(4)).as_bytes());
    fits(&kit, &["runbook", "lint", &bad, &hostile(5)], 4);
    fits(&kit, &["runbook", "check", &name], 0);
    fits(&kit, &["status"], 3);
    fits(&kit, &["show", run], 0);
    let suggested = fits(&kit, &["runbook", "suggest", run, "--all"], 0);
    assert!(suggested.contains("redress runbook run "), "{suggested}");

    let note = format!("note={}", hostile(6));
    let begin = [
        "runbook", "run", &name, "--run", run, "--set", &note, "--as", "sov",
    ];
    let reason = hostile(7);
    let begin = [&begin[..], &["--reason", &reason]].concat();
    fits(&kit, &[&begin[..], &["--plan"]].concat(), 0);
    fits(&kit, &[&begin[..], &["--confirm", &hostile(8)]].concat(), 4);
    let asked = fits_when_typed(&kit, &begin, &[&run[run.len() - 8..]], 3);
    assert!(asked.contains("to do by hand"), "{asked}");
    let open = kit.json(&["runbook", "executions", "--open"], 0);
    let open = open["executions"].as_array().unwrap();
    let waits = open.iter().find(|one| one["state"] != "planned").unwrap();
    let execution = waits["execution"].as_str().unwrap();
    fits(&kit, &["runbook", "executions"], 0);
    fits(&kit, &["runbook", "show", execution], 0);
    let step = format!("look_{}", "x".repeat(50));
    let seen = format!("seen={}", hostile(9));
    let resume = ["runbook", "resume", execution, "--as", "sov", "--did"];
    fits(&kit, &[&resume[..], &[&hostile(10)]].concat(), 3);
    fits(&kit, &[&resume[..], &[&step]].concat(), 3);
    fits(
        &kit,
        &[&resume[..], &[&step, "--evidence", &seen]].concat(),
        0,
    );
    fits(&kit, &["runbook", "show", execution], 0);
    fits(&kit, &["runbook", "executions"], 0);

    fits(&kit, &["drill", "list"], 0);
    fits(&kit, &["drill", "start", &hostile(11)], 2);
    for command in ["runbook", "drill"] {
        fits(&kit, &[command, "--help"], 0);
    }
    for command in ["run", "resume", "suggest", "lint", "show"] {
        fits(&kit, &["runbook", command, "--help"], 0);
    }
}

#[test]
fn a_runbook_that_is_not_confirmed_is_not_begun() {
    let kit = Kit::shop();
    let run = kit.failed_run("o-1");
    let word = &run[run.len() - 8..];
    let begin = [
        "runbook",
        "run",
        "compensate-failed-run",
        "--run",
        &run,
        "--as",
        "sov",
    ];
    fits(&kit, &[&begin[..], &["--plan"]].concat(), 0);
    let planned = kit.json(&["runbook", "executions"], 0);
    let execution = planned["executions"][0]["execution"]
        .as_str()
        .unwrap()
        .to_owned();
    let resume = ["runbook", "resume", &execution, "--as", "sov"];
    let wrong = |words: &[&str]| {
        for wrong in ["yes", "", &execution, &run, "compensate-failed-run"] {
            let seen = at_a_terminal(&kit, words, &[wrong]);
            assert_eq!(seen.exit, 4, "{}", seen.text);
            assert!(seen.text.contains("RD0916"), "{}", seen.text);
        }
    };
    wrong(&begin);
    let records = kit.records();
    wrong(&resume);
    assert_eq!(kit.records(), records, "nothing is written by a wrong word");
    assert!(executions(&kit).iter().all(|state| state == "planned"));
    let view = kit.json(&["show", &run], 0);
    assert_eq!(
        (&view["state"], &view["held"].as_array().map(Vec::len)),
        (&json!("failed"), &Some(1))
    );
    let seen = at_a_terminal(&kit, &resume, &[word]);
    assert_eq!(seen.exit, 0, "{}", seen.text);
    assert!(executions(&kit).contains(&json!("done")));
    assert_eq!(kit.json(&["show", &run], 0)["state"], "compensated");
}
