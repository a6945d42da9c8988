//! Tests, lengths and hostile files.

use super::*;
use crate::model::Step;

#[test]
fn tests_can_fail() {
    let all = &GOOD[GOOD.find("tests:").unwrap()..];
    check(all, "", "1:1 RD0151", "without tests");
    check(
        "{outcome: done}",
        "{outcome: refused}",
        "48:13 RD0162",
        "name the code",
    );
    check(
        "{outcome: done}",
        "{outcome: done, code: RD0421}",
        "48:35 RD0162",
        "leave the code out",
    );
    check(
        "name: enacted ones stay",
        "name: the units go",
        "49:11 RD0162",
        "same name",
    );
    check(
        "    params: {ticket: OPS-1}\n    expect: {outcome: done",
        "    expect: {outcome: done",
        "45:5 RD0162",
        "parameter `ticket`",
    );
    check(
        "  - id: look\n    snapshot:",
        "  - {id: ask, manual: {instruction: Do it., evidence: {note: A note.}}}\n  - id: look\n    snapshot:",
        "46:5 RD0162",
        "evidence `note`",
    );
}

#[test]
fn what_moves_the_run_says_where_to() {
    let steps = GOOD.find("steps:").unwrap();
    let after = GOOD.find("after:").unwrap();
    let text = format!(
        "{}steps: [{{id: back, compensate: {{}}}}]\n{}",
        &GOOD[..steps],
        &GOOD[after..]
    );
    let found = findings(&text);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].code(), "RD0162");
}

#[test]
fn lengths_are_bounded() {
    check(
        "checks:\n",
        "limits: {plan_ttl: 1000h}\nchecks:\n",
        "20:20 RD0159",
        "1m to 24h",
    );
    check(
        "checks:\n",
        "limits: {lock: 11m}\nchecks:\n",
        "20:16 RD0159",
        "10m",
    );
    check(
        "checks:\n",
        "limits: {lock: soon}\nchecks:\n",
        "20:16 RD0110",
        "a time with its unit",
    );
    check("version: 1\n", "version: 0\n", "2:10 RD0121", "begin at 1");
}

#[test]
fn every_kind_of_step_is_known_by_its_word() {
    for kind in ["compensate", "resume", "resolve", "release"] {
        let step: Step = serde_json::from_value(serde_json::json!({"id": "x", kind: {}})).unwrap();
        assert_eq!(step.kinds(), [kind]);
    }
}

/// F95: bombs and nonsense end soon, with a place and a code, and nothing is shown raw.
#[test]
fn hostile_files_are_refused_with_their_place() {
    let million = "#\n".repeat(1_000_000);
    let many = format!("{GOOD}{}", "  - {}\n".repeat(90_000));
    let checks = GOOD.replace(
        "checks:\n",
        &format!(
            "checks:\n{}",
            "  - {id: a, why: b, sql: select 1}\n".repeat(100)
        ),
    );
    let cases: Vec<(String, &str)> = vec![
        (million, "RD0103"),
        (many, "RD0110"),
        (checks, "RD0108"),
        ("a: &a [1]\nb: *a\n".into(), "RD0106"),
        ("runbook: \"\\e[2Jx\"\n".into(), "RD0110"),
        (GOOD.replace("version: 1", "version: one"), "RD0110"),
        (
            GOOD.replace("version: 1", "version: 1\nversion: 2"),
            "RD0107",
        ),
        (GOOD.replace("owner:", "\"ow\\e[31mner\":"), "RD0110"),
        (GOOD.replace("owner:", "shell: rm\nowner:"), "RD0110"),
        ("[]".into(), "RD0110"),
        (String::new(), "RD0105"),
        ("[".repeat(100_000), "RD0105"),
    ];
    for (text, code) in cases {
        let head: String = text.chars().take(30).collect();
        let started = std::time::Instant::now();
        let found = findings(&text);
        assert!(
            started.elapsed() < std::time::Duration::from_secs(5),
            "{head:?}"
        );
        let first = found
            .first()
            .unwrap_or_else(|| panic!("accepted: {head:?}"));
        assert_eq!(first.code(), code, "{head:?}: {first}");
        assert!(first.line > 0 && first.column > 0);
        for error in found {
            assert!(
                !error.to_string().chars().any(char::is_control),
                "{error:?}"
            );
        }
    }
}
