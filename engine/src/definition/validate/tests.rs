use super::*;
use crate::definition::load_yaml;

/// A sound saga; each case changes one line of it.
const SOUND: &str = "\
saga: restock
version: 1
description: Reserve stock and book the cost.
input: {type: object, required: [order]}
subject: /input/order
exclusive: true
snapshot:
  - {name: live, sql: select 1, params: [/input/order], baseline: true}
  - {name: guarded, sql: select 2, expect: A}
authority:
  soft_revert: auto
  hard_delete: {sovereign: 1, reviewer: 1}
on_unrecovered: {hold: subject, kill: false}
max_rewinds: 1
phases:
  - name: reserve
    adapter: sql
    writes: [shop.reservation]
    compensation: soft_revert
    pivot: false
    after: []
    timeout: 30s
  - name: book
    adapter: sql
    writes: [shop.booking, shop.cost]
    role: shop_book
    compensation: decide
    pivot: true
    retry: {attempts: 3, backoff: 200ms, max: 5s}
    approvals: {}
    after: [reserve]
    on_failure: compensate
  - name: report
    adapter: backup
    residue: []
    after: [book]
    on_failure: hold
";

fn adapters() -> BTreeSet<String> {
    ["sql", "backup"].map(String::from).into()
}

/// Puts `to` for the only `from` and expects these `code path` findings, each at the line of its
/// value.
fn check(from: &str, to: &str, expected: &[&str]) {
    assert_eq!(SOUND.matches(from).count(), 1, "{from}");
    let text = SOUND.replace(from, to);
    let found = match load_yaml(text.as_bytes(), "restock.yaml", Some(&adapters())) {
        Ok(_) => Vec::new(),
        Err(errors) => errors,
    };
    let got: Vec<String> = found
        .iter()
        .map(|error| format!("{} {}", error.code(), error.path))
        .collect();
    assert_eq!(got, expected, "{to}\n{found:?}");
    for error in found {
        let line = text.lines().nth(error.line as usize - 1).unwrap();
        let near = error
            .path
            .rsplit('/')
            .find(|token| token.parse::<usize>().is_err());
        let near = near.filter(|token| !token.is_empty());
        let shown = near.is_none_or(|token| line.contains(token) || to.contains(token));
        assert!(
            shown || line.contains("- name"),
            "{error} is not at: {line}"
        );
        assert!(error.to_string().starts_with("restock.yaml:"), "{error}");
    }
}

#[test]
fn a_sound_saga_is_accepted() {
    check("max_rewinds: 1", "max_rewinds: 1", &[]);
    check("exclusive: true", "exclusive: false", &[]);
    check("soft_revert: auto", "soft_revert: {operator: 2}", &[]);
    check("    on_failure: hold", "    on_failure: continue", &[]);
    check("params: [/input/order]", "params: [/run/subject]", &[]);
    check(
        "    on_failure: compensate",
        "    on_failure: {rewind_to: reserve, then: resume}",
        &[],
    );
    check(
        "[shop.reservation]",
        "[shop.réservation_2, \"Shop.Order-Item\", _a._b$]",
        &[],
    );
}

#[test]
fn the_head_is_judged() {
    check("version: 1", "version: 0", &["RD0121 /version"]);
    check(
        "subject: /input/order",
        "subject: /run/id",
        &["RD0123 /subject", "RD0118 /snapshot/0/baseline"],
    );
    check(
        "subject: /input/order",
        "subject: /input",
        &["RD0123 /subject", "RD0118 /snapshot/0/baseline"],
    );
    check(
        "max_rewinds: 1",
        "max_rewinds: 5000",
        &["RD0121 /max_rewinds"],
    );
    check("{type: object,", "{type: objekt,", &["RD0122 /input/type"]);
    check(
        "{type: object,",
        "{$ref: 'https://example.com/a',",
        &["RD0122 /input"],
    );
    check(
        "subject: /input/order",
        "subject:",
        &["RD0121 /on_unrecovered/hold"],
    );
}

#[test]
fn snapshots_are_judged() {
    check("name: guarded", "name: live", &["RD0112 /snapshot/1/name"]);
    check("sql: select 2", "sql: ' '", &["RD0121 /snapshot/1/sql"]);
    check(
        "params: [/input/order]",
        "params: []",
        &["RD0118 /snapshot/0/baseline"],
    );
    check(
        "params: [/input/order]",
        "params: [/input/order, /phases/reserve/a/0/id]",
        &["RD0123 /snapshot/0/params/1"],
    );
    check(
        "params: [/input/order]",
        "params: [/input/order, /run/epoch]",
        &["RD0123 /snapshot/0/params/1"],
    );
    check("expect: A", "role: a b", &["RD0120 /snapshot/1/role"]);
}

/// A saga without a subject that runs one at a time may have a baseline of the whole table.
#[test]
fn a_baseline_is_bound_to_the_subject_or_the_saga_runs_one_at_a_time() {
    let alone = |exclusive: &str| {
        SOUND
            .replace("subject: /input/order\n", "")
            .replace("hold: subject", "hold: saga")
            .replace("exclusive: true", exclusive)
    };
    let load = |text: String| load_yaml(text.as_bytes(), "f", Some(&adapters()));
    assert!(load(alone("exclusive: true")).is_ok());
    let errors = load(alone("exclusive: false")).unwrap_err();
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0].code(), "RD0118");
}

#[test]
fn authorities_are_judged() {
    let to = |line: &str| format!("soft_revert: {line}");
    check(
        "soft_revert: auto",
        &to("{sovereign: 0}"),
        &["RD0119 /authority/soft_revert/sovereign"],
    );
    check(
        "soft_revert: auto",
        &to("{}"),
        &["RD0119 /authority/soft_revert"],
    );
    check(
        "soft_revert: auto",
        &to("{auditor: 1}"),
        &["RD0119 /authority/soft_revert/auditor"],
    );
    check(
        "soft_revert: auto",
        &to("{reviewer: 101}"),
        &["RD0119 /authority/soft_revert/reviewer"],
    );
    check(
        "soft_revert: auto",
        "delete: auto",
        &["RD0119 /authority/delete"],
    );
    check(
        "soft_revert: auto",
        "nothing: auto",
        &["RD0119 /authority/nothing"],
    );
    for action in ["decide", "release", "resolve"] {
        let path = format!("RD0119 /authority/{action}");
        check("soft_revert: auto", &format!("{action}: auto"), &[&path]);
        check(
            "soft_revert: auto",
            &format!("{action}: {{operator: 1}}"),
            &[],
        );
    }
    for action in ["discard", "restore", "rewind"] {
        check("soft_revert: auto", &format!("{action}: auto"), &[]);
    }
    check(
        "{sovereign: 1, reviewer: 1}",
        "{reviewer: 2}",
        &["RD0119 /authority/hard_delete"],
    );
    check(
        "{sovereign: 1, reviewer: 1}",
        "auto",
        &["RD0119 /authority/hard_delete"],
    );
    check(
        "approvals: {}",
        "approvals: {reviewer: 0}",
        &["RD0119 /phases/1/approvals/reviewer"],
    );
}

#[test]
fn phases_are_judged() {
    check(
        "adapter: backup",
        "adapter: bakcup",
        &["RD0111 /phases/2/adapter"],
    );
    check("name: report", "name: reserve", &["RD0112 /phases/2/name"]);
    check("timeout: 30s", "timeout: 0s", &["RD0121 /phases/0/timeout"]);
    check(
        "timeout: 30s",
        "timeout: 25h",
        &["RD0121 /phases/0/timeout"],
    );
    check(
        "attempts: 3",
        "attempts: 0",
        &["RD0121 /phases/1/retry/attempts"],
    );
    check("max: 5s", "max: 100ms", &["RD0121 /phases/1/retry/max"]);
    check(
        "role: shop_book",
        "role: 'shop\"; drop'",
        &["RD0120 /phases/1/role"],
    );
    for bad in [
        "reservation",
        "a.b.c",
        ".a",
        "a.",
        "'\"a\".b'",
        "'a. b'",
        "1a.b",
        "a.b;c",
    ] {
        let to = format!("[{bad}]");
        check("[shop.reservation]", &to, &["RD0120 /phases/0/writes/0"]);
    }
    check(
        "residue: []",
        "residue: [a]",
        &["RD0120 /phases/2/residue/0"],
    );
    check(
        "[shop.booking, shop.cost]",
        "[shop.cost, shop.cost]",
        &["RD0112 /phases/1/writes/1"],
    );
    let (head, _) = SOUND.split_once("phases:").unwrap();
    let none = format!("{head}phases: []\n");
    let errors = load_yaml(none.as_bytes(), "f", None).unwrap_err();
    assert_eq!((errors.len(), errors[0].code()), (1, "RD0121"));
}

/// P12
#[test]
fn a_mutating_phase_without_a_way_back_is_refused() {
    let none = "compensation: none";
    check(
        "compensation: soft_revert",
        none,
        &["RD0116 /phases/0/compensation"],
    );
    check(
        "    compensation: soft_revert\n",
        "",
        &["RD0116 /phases/0/compensation"],
    );
    check(
        "compensation: soft_revert",
        "compensation: irreversible",
        &[],
    );
    let kept = "compensation: none\n    residue: [shop.reservation]";
    check("compensation: soft_revert", kept, &[]);
    let half = "compensation: none\n    residue: [shop.booking]";
    check(
        "compensation: decide",
        half,
        &["RD0116 /phases/1/compensation"],
    );
}

#[test]
fn the_order_is_judged() {
    check(
        "after: [reserve]",
        "after: [reserv]",
        &["RD0113 /phases/1/after/0"],
    );
    check(
        "after: [reserve]",
        "after: [book]",
        &["RD0114 /phases/1/after"],
    );
    check("after: []", "after: [report]", &["RD0114 /phases/0/after"]);
    check(
        "after: [reserve]",
        "after: [reserve, reserve]",
        &["RD0112 /phases/1/after/1"],
    );
    for (target, code) in [
        ("reserve", "RD0117"),
        ("book", "RD0117"),
        ("report", "RD0115"),
        ("nobody", "RD0115"),
    ] {
        let to = format!("    on_failure: {{rewind_to: {target}}}");
        let expected = format!("{code} /phases/2/on_failure/rewind_to");
        check("    on_failure: hold", &to, &[&expected]);
    }
    for target in ["book", "report"] {
        let to = format!("    on_failure: {{rewind_to: {target}}}");
        check(
            "    on_failure: compensate",
            &to,
            &["RD0115 /phases/1/on_failure/rewind_to"],
        );
    }
}

#[test]
fn nothing_is_planned_across_the_pivot() {
    for word in ["soft_revert", "restore", "hard_delete"] {
        let to = format!("residue: []\n    compensation: {word}");
        check("residue: []", &to, &["RD0117 /phases/2/compensation"]);
    }
    for word in ["none", "decide", "irreversible"] {
        check(
            "residue: []",
            &format!("residue: []\n    compensation: {word}"),
            &[],
        );
    }
    check(
        "residue: []",
        "residue: []\n    pivot: true",
        &["RD0117 /phases/2/pivot"],
    );
    check("pivot: false", "pivot: true", &["RD0117 /phases/1/pivot"]);
}

#[test]
fn all_findings_come_back_in_file_order() {
    let text = SOUND
        .replace("version: 1", "version: 0")
        .replace("timeout: 30s", "timeout: 0s")
        .replace("adapter: backup", "adapter: tape");
    let errors = load_yaml(text.as_bytes(), "f.yaml", Some(&adapters())).unwrap_err();
    let shown: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "f.yaml:2:10: versions begin at 1",
            "f.yaml:22:14: a timeout is from 1ms to 24h",
            "f.yaml:34:14: unknown adapter (known here: backup, sql): tape",
        ]
    );
}

#[test]
fn too_many_phases_are_refused_quickly() {
    let phases: Vec<String> = (0..=PHASES_MAX)
        .map(|at| format!("  - {{name: p{at}, adapter: sql}}\n"))
        .collect();
    let text = format!("saga: s\nversion: 1\nphases:\n{}", phases.concat());
    let errors = load_yaml(text.as_bytes(), "f", None).unwrap_err();
    assert_eq!((errors.len(), errors[0].code()), (1, "RD0108"));
}

#[test]
fn a_pointer_leads_to_a_phase_that_exists_and_has_run() {
    let with = |list: &str, pointer: &str| {
        format!(
            "    timeout: 30s\n    with: {{{list}: [{{sql: select 1, params: [/input/order, {pointer}]}}]}}\n"
        )
    };
    let timeout = "    timeout: 30s\n";
    let at = "/phases/0/with/apply/0/params/1";
    check(timeout, &with("apply", "/phases/reserve/r/0/id"), &[]);
    check(
        timeout,
        &with("apply", "/phases/book/r/0/id"),
        &[&format!("RD0123 {at}")],
    );
    check(
        timeout,
        &with("apply", "/phases/nosuch/r/0/id"),
        &[&format!("RD0113 {at}")],
    );
    check(timeout, &with("revert", "/phases/book/r/0/id"), &[]);
    let deep = "    timeout: 30s\n    with: {argv: [x, {pointer: /phases/report/a}]}\n";
    check(timeout, deep, &["RD0123 /phases/0/with/argv/1/pointer"]);
}
