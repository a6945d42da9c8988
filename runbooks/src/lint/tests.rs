use super::*;

mod bounds;

/// A runbook that passes; each case changes one place of it.
const GOOD: &str = r#"runbook: mend-units
version: 1
title: Mend the units of a failed cut
owner: Document desk
risk: reversible
summary: For a cut that failed at its check.
match:
  saga: cutover
  failed_phase: write_verify
  codes: [RD0311]
params:
  ticket: {type: text, about: The ticket, pattern: "[A-Z]+-[0-9]+"}
  limit: {type: integer, min: 1, max: 10, default: 5}
scope:
  relations: [public.information_unit]
  rows: select count(*) from public.information_unit where run_id = $1
  params: [/run/id]
  max: 100
approvals: {sovereign: 1}
checks:
  - id: still_draft
    why: What is enacted stays.
    sql: select count(*) from public.information_unit where run_id = $1 and state <> 'draft'
    params: [/run/id]
    expect: 0
    on_fail: {refuse: UNITS_ENACTED, next: mend-units}
steps:
  - id: look
    snapshot:
      queries:
        - {name: units, sql: "select count(*) as units from public.information_unit where run_id = $1", params: [/run/id]}
  - id: mend
    why: The units go.
    transaction:
      lock:
        - {sql: "select unit_id from public.information_unit where run_id = $1 for update", params: [/run/id], as: locked}
      recheck: [still_draft]
      do:
        - {sql: "update public.information_unit set state = 'withdrawn' where unit_id = $1", params: [/steps/mend/locked/0/unit_id]}
      verify:
        - {sql: "select $1 > 0", params: [/steps/look/units/0/units]}
after:
  - {id: gone, why: Nothing of it is live., sql: "select count(*) from public.information_unit where run_id = $1 and state <> 'withdrawn'", params: [/run/id], expect: 0}
tests:
  - name: the units go
    fixture: cutover-failed-at-write-verify
    params: {ticket: OPS-1}
    expect: {outcome: done}
  - name: enacted ones stay
    fixture: cutover-completed
    params: {ticket: OPS-1}
    expect: {outcome: refused, code: UNITS_ENACTED}
"#;

fn findings(text: &str) -> Vec<RunbookError> {
    load_yaml(text.as_bytes(), "r.yaml", &Known::default())
        .err()
        .unwrap_or_default()
}

/// Changes one place and expects these findings: `line:column code`, and what its message says.
#[track_caller]
fn check(from: &str, to: &str, place: &str, says: &str) {
    assert!(GOOD.contains(from), "not in the good one: {from}");
    let found = findings(&GOOD.replacen(from, to, 1));
    let shown: Vec<String> = found
        .iter()
        .map(|error| format!("{}:{} {}", error.line, error.column, error.code()))
        .collect();
    assert_eq!(shown.join("|"), place, "{found:#?}");
    let message = found[0].to_string();
    assert!(message.contains(says), "{message}");
    assert!(!message.chars().any(char::is_control), "{message:?}");
}

#[test]
fn a_good_runbook_passes() {
    assert_eq!(findings(GOOD), []);
}

#[test]
fn its_canonical_form_is_read_back_and_nothing_else_is() {
    let (book, _) = read_yaml(GOOD.as_bytes(), "r.yaml").unwrap();
    let bytes = book.canonical().unwrap();
    let again = Runbook::from_canonical(&bytes).unwrap();
    assert_eq!(again, book);
    assert_eq!(again.digest().unwrap(), book.digest().unwrap());
    let mut spaced = bytes.clone();
    spaced.push(b' ');
    let text = String::from_utf8(bytes).unwrap();
    let left_out = text.replace(r#""summary":"For a cut that failed at its check.","#, "");
    let added = text.replacen('{', r#"{"a":1,"#, 1);
    for bytes in [
        spaced,
        left_out.into_bytes(),
        added.into_bytes(),
        Vec::new(),
    ] {
        let error = Runbook::from_canonical(&bytes).unwrap_err();
        assert_eq!(error.code(), "RD0164");
    }
}

#[test]
fn what_is_misspelt_is_named_with_what_was_meant() {
    check(
        "    snapshot:",
        "    snapshoot:",
        "29:5 RD0110",
        "`snapshot`",
    );
    check(
        "risk: reversible",
        "risk: reversable",
        "5:7 RD0110",
        "`reversible`",
    );
    check(
        "[still_draft]",
        "[still_drafts]",
        "37:17 RD0160",
        "`still_draft`",
    );
    check(
        "next: mend-units",
        "next: mend-unit",
        "26:44 RD0160",
        "unknown runbook",
    );
    check("[RD0311]", "[RD0399]", "10:11 RD0160", "error code");
    check(
        "at-write-verify\n",
        "at-write-verfy\n",
        "46:14 RD0160",
        "`cutover-failed-at-write-verify`",
    );
    check(
        "code: UNITS_ENACTED}\n",
        "code: UNITS_ENACTD}\n",
        "52:38 RD0160",
        "`UNITS_ENACTED`",
    );
    check(
        "/steps/look/units",
        "/steps/lok/units",
        "41:43 RD0156",
        "`/steps/look`",
    );
    check(
        "/steps/look/units",
        "/steps/look/unit",
        "41:43 RD0156",
        "`/steps/look/units`",
    );
    check(
        "params: [/run/id]\n  max",
        "params: [/run/idd]\n  max",
        "17:12 RD0156",
        "`/run/id`",
    );
    check(
        "    params: {ticket: OPS-1}\n    expect: {outcome: done",
        "    params: {ticket: OPS-1, limt: 1}\n    expect: {outcome: done",
        "47:35 RD0160",
        "`limit`",
    );
}

#[test]
fn a_role_that_is_misspelt_is_named_with_what_was_meant() {
    check(
        "{sovereign: 1}",
        "{sovreign: 1}",
        "19:12 RD0110",
        "did you mean `sovereign`",
    );
    check(
        "{sovereign: 1}",
        "{sovereign: -1}",
        "19:12 RD0110",
        "invalid value",
    );
}

#[test]
fn steps_do_one_thing_each() {
    check(
        "    why: The units go.\n",
        "    resume: {}\n",
        "32:5 RD0150|48:13 RD0162",
        "transaction and resume",
    );
    check(
        "id: mend\n",
        "id: look\n",
        "32:9 RD0112|39:103 RD0156",
        "second step",
    );
    check(
        "    snapshot:\n      queries:\n        - {name: units",
        "    why: \"\"\n    #\n    #- {name: units",
        "28:5 RD0150",
        "this one nothing",
    );
}

#[test]
fn the_risk_is_admitted() {
    check(
        "risk: reversible",
        "risk: irreversible",
        "19:12 RD0152",
        "two people",
    );
    let good = GOOD.replace("risk: reversible", "risk: irreversible");
    let signed = good.replace(
        "{sovereign: 1}",
        "{sovereign: 1, operator: 1, distinct: true}",
    );
    assert_eq!(findings(&signed), []);
    let alone = good.replace("{sovereign: 1}", "{sovereign: 2}");
    assert_eq!(findings(&alone)[0].code(), "RD0152");
    check(
        "{sovereign: 1}",
        "{auditor: 1}",
        "19:22 RD0152",
        "reads only",
    );
    check(
        "risk: reversible",
        "risk: read_only",
        "35:7 RD0153",
        "not `transaction`",
    );
}

#[test]
fn statements_are_what_they_should_be() {
    let from =
        "sql: select count(*) from public.information_unit where run_id = $1 and state <> 'draft'";
    check(
        from,
        "sql: delete from public.information_unit where run_id = $1",
        "23:10 RD0157",
        "only reading",
    );
    check(
        from,
        "sql: select 1; drop table x",
        "23:10 RD0157",
        "one statement",
    );
    check(from, "sql: commit", "23:10 RD0157", "belongs to the engine");
    check(from, "sql: \"\"", "23:10 RD0157", "empty");
    check(from, "sql: select 'x", "23:10 RD0157", "does not end");
    check(
        from,
        "sql: select 1 from x for update",
        "23:10 RD0157",
        "READ ONLY",
    );
    check(
        from,
        "sql: with a as (delete from x returning 1) select 1 from a",
        "23:10 RD0157",
        "only reading",
    );
    check(
        "where run_id = $1 for update",
        "where run_id = $1",
        "36:17 RD0157",
        "locks nothing",
    );
    check(
        "update public.information_unit set",
        "truncate public.information_unit; update x set",
        "39:17 RD0157",
        "one statement",
    );
    check(
        "update public.information_unit set state",
        "alter table x add state",
        "39:17 RD0157",
        "a step changes rows",
    );
}

#[test]
fn a_writing_transaction_has_a_scope() {
    let scope = "scope:\n  relations: [public.information_unit]\n  rows: select count(*) from public.information_unit where run_id = $1\n  params: [/run/id]\n  max: 100\n";
    check(scope, "", "30:7 RD0154", "scope");
    check(
        "[public.information_unit]",
        "[information_unit]",
        "15:15 RD0120",
        "schema.table",
    );
    check("max: 100", "max: 0", "18:8 RD0121", "rows");
}

#[test]
fn parameters_can_be_given() {
    check("default: 5", "default: 50", "13:52 RD0155", "from 1 to 10");
    check(
        "default: 5",
        "default: five",
        "13:52 RD0155",
        "a whole number",
    );
    check(
        "\"[A-Z]+-[0-9]+\"",
        "\"[A-Z\"",
        "12:52 RD0155|47:22 RD0155",
        "does not compile",
    );
    check(
        "ticket: {type: text, about: The ticket, pattern: \"[A-Z]+-[0-9]+\"}\n  limit: {type: integer, min: 1, max: 10, default: 5}",
        "limit: {type: integer, min: 1, max: 10, default: 5}\n  ticket: {type: text}",
        "13:3 RD0155",
        "stands before",
    );
    check(
        "min: 1, max: 10, default: 5",
        "min: 11, max: 10",
        "13:40 RD0155|45:5 RD0162",
        "no value",
    );
    check(
        "params: {ticket: OPS-1}\n    expect: {outcome: done",
        "params: {ticket: ops}\n    expect: {outcome: done",
        "47:22 RD0155",
        "pattern",
    );
}

#[test]
fn pointers_lead_to_what_is_there_when_they_are_looked_up() {
    check(
        "params: [/run/id]\n    expect: 0",
        "params: [/steps/look/units]\n    expect: 0",
        "24:14 RD0156",
        "given nothing yet",
    );
    check(
        "params: [/steps/mend/locked/0/unit_id]",
        "params: [/secrets/x]",
        "39:103 RD0156",
        "begins with",
    );
    check(
        "params: [/steps/mend/locked/0/unit_id]",
        "params: [\"\"]",
        "39:103 RD0156",
        "whole context",
    );
    check(
        "params: [/steps/mend/locked/0/unit_id]",
        "params: [/params/tickets]",
        "39:103 RD0156",
        "`/params/ticket`",
    );
    check(
        "params: [/steps/mend/locked/0/unit_id]",
        "params: [x]",
        "39:103 RD0110",
        "must begin with",
    );
}

#[test]
fn texts_cannot_act_on_a_screen() {
    check(
        "title: Mend",
        "title: \"\\e[31mMend\" #",
        "3:8 RD0158",
        "U+001B",
    );
    check(
        "owner: Document desk",
        "owner: \"Desk \\u202e x\"",
        "4:8 RD0158",
        "U+202E",
    );
    check(
        "title: Mend the units of a failed cut",
        &format!("title: {}", "x".repeat(81)),
        "3:8 RD0158",
        "80 characters",
    );
    check(
        "owner: Document desk",
        "owner: \"a\\nb\"",
        "4:8 RD0158",
        "one line",
    );
    check("owner: Document desk", "owner: \"\"", "4:8 RD0158", "empty");
    check(
        "refuse: UNITS_ENACTED",
        "refuse: units enacted",
        "26:23 RD0161|52:38 RD0160",
        "word of its own",
    );
}

#[test]
fn a_step_without_a_name_has_that_of_its_kind() {
    let text = "
runbook: short
version: 1
title: t
owner: o
risk: reversible
steps:
  - compensate:
  - {id: wait, wait: {for: 1s}}
  - wait: {for: 1s}
  - resume: {}
tests: [{name: t, fixture: stuck, expect: {outcome: done, state: compensated}}]";
    let (runbook, _) = crate::read::read_yaml(text.as_bytes(), "short.yaml").unwrap();
    let names: Vec<&str> = runbook.steps.iter().map(|step| step.id.as_str()).collect();
    assert_eq!(names, ["compensate", "wait", "wait-3", "resume"]);
    let again = crate::model::Runbook::from_canonical(&runbook.canonical().unwrap()).unwrap();
    assert_eq!(again, runbook);
}
