use super::*;
use crate::definition::{Then, load_yaml};
use redress_ledger::State;
use redress_ledger::decision::Basis;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

const CUTOVER: &str = "\
saga: cutover
version: 1
subject: /input/document
exclusive: true
snapshot:
  - {name: live, sql: select 1, params: [/input/document], baseline: true}
  - {name: guarded, sql: select 2, expect: A}
authority:
  soft_revert: auto
  discard: auto
  hard_delete: {sovereign: 1, reviewer: 2}
phases:
  - {name: pre_write_backup, adapter: backup}
  - {name: cut_leg_a, adapter: sql, writes: [public.information_unit], compensation: soft_revert}
  - {name: leg_b_record, adapter: sql, writes: [cutter_governance.manifest_envelope], compensation: decide}
  - {name: write_verify, adapter: sql, writes: [cutter_governance.verify_result], residue: [cutter_governance.verify_result]}
  - {name: lifecycle_enact, adapter: sql, writes: [public.information_unit], pivot: true, compensation: irreversible}
";

pub(super) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn definition(text: &str) -> Definition {
    load_yaml(text.as_bytes(), "saga.yaml", None)
        .map_err(|errors| format!("{errors:?}"))
        .unwrap()
        .0
}

fn cutover() -> Definition {
    definition(CUTOVER)
}

/// A history in which the first phases of the definition have committed.
pub(super) fn history(definition: &Definition, committed: usize) -> History {
    let of = |(at, phase): (usize, &crate::definition::Phase)| Committed {
        phase: phase.name.clone(),
        seq: at as i64 + 2,
        hash: Hash::of(phase.name.as_str().as_bytes()),
        has_undo: true,
        touched: json!({"rows": at}),
    };
    let committed: Vec<Committed> = definition
        .phases
        .iter()
        .take(committed)
        .enumerate()
        .map(of)
        .collect();
    History {
        run: Uuid::nil(),
        basis: Basis {
            seq: committed.len() as i64 + 1,
            hash: Hash::ZERO,
        },
        state: State::Failed,
        committed,
        compensated: BTreeSet::new(),
        failed: None,
        rewinds: BTreeMap::new(),
        in_doubt: None,
    }
}

fn failure(phase: &str) -> Cause {
    cause(CauseKind::Failure {
        phase: name(phase),
        code: "RD0301".into(),
        message: "no".into(),
    })
}

pub(super) fn rewind(phase: &str) -> Cause {
    cause(CauseKind::RewindTo {
        phase: name(phase),
        then: Then::Stop,
        from: None,
        trigger: Trigger::Manual,
    })
}

pub(super) fn cause(kind: CauseKind) -> Cause {
    Cause {
        kind,
        reason: "a test".into(),
        requester: "alice".into(),
    }
}

pub(super) fn policy() -> Policy {
    Policy {
        artefact_adapters: BTreeSet::from(["backup".to_owned()]),
        overrides: BTreeMap::new(),
    }
}

fn asking(phase: &str, action: Action) -> Policy {
    Policy {
        overrides: BTreeMap::from([(name(phase), action)]),
        ..policy()
    }
}

pub(super) fn planned(
    definition: &Definition,
    history: &History,
    cause: &Cause,
    policy: &Policy,
) -> Plan {
    let plan = plan(definition, history, cause, policy);
    let bytes = plan.canonical().unwrap();
    assert_eq!(Plan::from_canonical(&bytes).unwrap(), plan);
    plan
}

/// The actions as words, with the code of a refusal.
fn words(plan: &Plan) -> Vec<String> {
    let word = |action: &PlannedAction| match action.code {
        Some(code) => format!(
            "{} {} {}",
            action.action.as_str(),
            action.phase,
            code.as_str()
        ),
        None => format!("{} {}", action.action.as_str(), action.phase),
    };
    plan.actions.iter().map(word).collect()
}

/// The table of systems.md, row by row.
#[test]
fn the_cutover_matrix_is_derived() {
    let definition = cutover();
    let rows: [(&str, &[&str]); 5] = [
        ("pre_write_backup", &["discard pre_write_backup"]),
        ("cut_leg_a", &["discard pre_write_backup"]),
        (
            "leg_b_record",
            &["soft_revert cut_leg_a", "discard pre_write_backup"],
        ),
        (
            "write_verify",
            &[
                "decide leg_b_record",
                "soft_revert cut_leg_a",
                "discard pre_write_backup",
            ],
        ),
        (
            "lifecycle_enact",
            &[
                "nothing write_verify",
                "decide leg_b_record",
                "soft_revert cut_leg_a",
                "discard pre_write_backup",
            ],
        ),
    ];
    for (at, (phase, expected)) in rows.into_iter().enumerate() {
        let mut history = history(&definition, at);
        history.failed = Some(name(phase));
        let plan = planned(&definition, &history, &failure(phase), &policy());
        assert_eq!(words(&plan), expected, "{phase}");
        let signed = expected.iter().any(|word| word.starts_with("decide"));
        assert_eq!(plan.automatic, !signed, "{phase}");
        assert_eq!(
            plan.quorum,
            if signed {
                quorum::one_sovereign()
            } else {
                Quorum::new()
            }
        );
        assert!(!plan.refused);
        assert_eq!(plan.baseline, [name("live")]);
        assert_eq!(plan.definition, definition.digest().unwrap());
    }
}

#[test]
fn an_action_says_what_it_touches_and_which_rule_chose_it() {
    let definition = cutover();
    let mut history = history(&definition, 4);
    history.failed = Some(name("lifecycle_enact"));
    let plan = planned(
        &definition,
        &history,
        &failure("lifecycle_enact"),
        &policy(),
    );
    let [verify, record, leg, backup] = &plan.actions[..] else {
        panic!("four actions");
    };
    assert!(verify.why.contains("a trace that rightly stays"));
    assert_eq!((verify.authority.is_auto(), verify.guard), (true, false));
    assert_eq!(
        (record.authority.clone(), record.guard),
        (Authority::unlisted(), false)
    );
    assert_eq!((leg.authority.is_auto(), leg.guard), (true, true));
    assert_eq!(leg.touches, json!({"rows": 1}));
    assert_eq!(
        leg.record,
        Some(RecordRef {
            seq: 3,
            hash: Hash::of(b"cut_leg_a")
        })
    );
    assert!(backup.why.contains("artefact"));
    assert!(plan.actions.iter().all(|action| !action.why.is_empty()));
}

/// What the file does not list needs one sovereign.
#[test]
fn an_unlisted_action_needs_a_sovereign() {
    let text = CUTOVER.replace("  discard: auto\n", "");
    let definition = definition(&text);
    let mut history = history(&definition, 1);
    history.failed = Some(name("cut_leg_a"));
    let plan = planned(&definition, &history, &failure("cut_leg_a"), &policy());
    assert_eq!(words(&plan), ["discard pre_write_backup"]);
    assert_eq!(
        (plan.quorum, plan.automatic),
        (quorum::one_sovereign(), false)
    );
}

#[test]
fn only_a_failure_that_the_file_compensates_runs_by_itself() {
    let definition = cutover();
    let mut history = history(&definition, 2);
    let automatic = |definition: &Definition, history: &History, cause: &Cause| {
        planned(definition, history, cause, &policy()).automatic
    };
    assert!(automatic(
        &definition,
        &history,
        &cause(CauseKind::Cancelled {})
    ));
    assert!(!automatic(
        &definition,
        &history,
        &cause(CauseKind::Requested {})
    ));
    history.failed = Some(name("leg_b_record"));
    assert!(automatic(&definition, &history, &failure("leg_b_record")));
    let held = CUTOVER.replace(
        "compensation: decide}",
        "compensation: decide, on_failure: hold}",
    );
    let held = self::definition(&held);
    assert!(!automatic(&held, &history, &failure("leg_b_record")));
}

/// F76
#[test]
fn past_the_pivot_nothing_is_reverted_but_a_decision_is_possible() {
    let text = CUTOVER
        .replace(
            "pivot: true, compensation: irreversible",
            "compensation: irreversible",
        )
        .replace(
            "writes: [cutter_governance.manifest_envelope]",
            "pivot: true, writes: [cutter_governance.manifest_envelope]",
        );
    let definition = definition(&text);
    let mut history = history(&definition, 3);
    history.failed = Some(name("write_verify"));
    let plan = planned(&definition, &history, &failure("write_verify"), &policy());
    assert_eq!(
        words(&plan),
        [
            "decide leg_b_record",
            "refuse cut_leg_a RD0402",
            "discard pre_write_backup"
        ]
    );
    assert!(plan.refused && !plan.automatic);
    for action in [Action::HardDelete, Action::Decide] {
        let plan = planned(
            &definition,
            &history,
            &failure("write_verify"),
            &asking("cut_leg_a", action),
        );
        assert_eq!(plan.refused, action == Action::HardDelete, "{action:?}");
    }
    // A decision about the pivot does not bring the way back.
    history.compensated.insert(name("leg_b_record"));
    let plan = planned(&definition, &history, &failure("write_verify"), &policy());
    assert_eq!(
        words(&plan),
        ["refuse cut_leg_a RD0402", "discard pre_write_backup"]
    );
}

#[test]
fn what_cannot_be_undone_is_refused_with_its_code() {
    let definition = cutover();
    let mut history = history(&definition, 5);
    let plan = planned(
        &definition,
        &history,
        &cause(CauseKind::Requested {}),
        &policy(),
    );
    assert_eq!(
        words(&plan)[..4],
        [
            "refuse lifecycle_enact RD0401",
            "nothing write_verify",
            "decide leg_b_record",
            "refuse cut_leg_a RD0402"
        ]
    );
    history.committed.truncate(2);
    history.committed[1].has_undo = false;
    let plan = planned(&definition, &history, &failure("leg_b_record"), &policy());
    assert_eq!(
        words(&plan),
        ["refuse cut_leg_a RD0403", "discard pre_write_backup"]
    );
    history.committed[1].phase = name("cut_leg_z");
    let plan = planned(&definition, &history, &failure("leg_b_record"), &policy());
    assert_eq!(words(&plan)[0], "refuse cut_leg_z RD0408");
    let mut unjudged = cutover();
    unjudged.phases[1].compensation = crate::definition::Compensation::None;
    let history = self::history(&unjudged, 2);
    let plan = planned(&unjudged, &history, &failure("leg_b_record"), &policy());
    assert_eq!(words(&plan)[0], "refuse cut_leg_a RD0407");
}

/// P5
#[test]
fn a_hard_delete_is_planned_only_when_asked_for_and_needs_a_sovereign() {
    let definition = cutover();
    let mut history = history(&definition, 2);
    history.failed = Some(name("leg_b_record"));
    let check = |definition: &Definition, policy: &Policy, expected: &[&str]| {
        let plan = planned(definition, &history, &failure("leg_b_record"), policy);
        assert_eq!(words(&plan), expected);
        plan
    };
    let hard = asking("cut_leg_a", Action::HardDelete);
    let plan = check(
        &definition,
        &hard,
        &["hard_delete cut_leg_a", "discard pre_write_backup"],
    );
    assert_eq!(
        plan.quorum,
        Quorum::from([
            (redress_ledger::key::Role::Sovereign, 1),
            (redress_ledger::key::Role::Reviewer, 2)
        ])
    );
    assert!(plan.actions[0].guard && !plan.automatic);
    let mut careless = definition.clone();
    careless
        .authority
        .insert("hard_delete".into(), Authority::Auto);
    let plan = check(
        &careless,
        &hard,
        &["hard_delete cut_leg_a", "discard pre_write_backup"],
    );
    assert_eq!(plan.quorum, quorum::one_sovereign());
}

#[test]
fn only_what_is_stricter_or_appends_can_be_asked_for() {
    let definition = cutover();
    let mut history = history(&definition, 2);
    history.failed = Some(name("leg_b_record"));
    let check = |phase: &str, action: Action, expected: &[&str]| {
        let plan = planned(
            &definition,
            &history,
            &failure("leg_b_record"),
            &asking(phase, action),
        );
        assert_eq!(words(&plan), expected);
    };
    for action in [
        Action::Nothing,
        Action::Discard,
        Action::Restore,
        Action::Refuse,
    ] {
        check(
            "cut_leg_a",
            action,
            &["refuse cut_leg_a RD0406", "discard pre_write_backup"],
        );
    }
    check(
        "cut_leg_a",
        Action::SoftRevert,
        &["soft_revert cut_leg_a", "discard pre_write_backup"],
    );
    check(
        "cut_leg_a",
        Action::Decide,
        &["decide cut_leg_a", "discard pre_write_backup"],
    );
    check(
        "pre_write_backup",
        Action::HardDelete,
        &["soft_revert cut_leg_a", "refuse pre_write_backup RD0406"],
    );
    history.failed = Some(name("pre_write_backup"));
    history.committed.clear();
    let policy = asking("pre_write_backup", Action::HardDelete);
    let plan = planned(&definition, &history, &failure("pre_write_backup"), &policy);
    assert_eq!(words(&plan), ["refuse pre_write_backup RD0406"]);
}

#[test]
fn an_action_for_a_phase_that_is_not_undone_is_not_passed_over() {
    let definition = cutover();
    let history = history(&definition, 2);
    let check = |phase: &str, action: Action, expected: &[&str]| {
        let plan = planned(
            &definition,
            &history,
            &failure("leg_b_record"),
            &asking(phase, action),
        );
        assert_eq!(words(&plan), expected);
    };
    for stray in ["write_verify", "nobody"] {
        let last = format!("refuse {stray} RD0406");
        check(
            stray,
            Action::HardDelete,
            &["soft_revert cut_leg_a", "discard pre_write_backup", &last],
        );
    }
}

#[test]
fn a_rewind_undoes_the_target_too_and_stops_there() {
    let text = CUTOVER
        .replace("subject: /input", "max_rewinds: 2\nsubject: /input")
        .replace("  discard", "  rewind: {operator: 1}\n  discard");
    let definition = definition(&text);
    let mut history = history(&definition, 4);
    let check = |history: &History, target: &str, expected: &[&str]| {
        let plan = planned(&definition, history, &rewind(target), &policy());
        assert_eq!(words(&plan), expected, "{target}");
        plan
    };
    let plan = check(
        &history,
        "leg_b_record",
        &["nothing write_verify", "decide leg_b_record"],
    );
    assert_eq!(plan.stops_at, Some(name("leg_b_record")));
    assert_eq!(plan.quorum.values().sum::<u32>(), 2);
    check(
        &history,
        "lifecycle_enact",
        &["refuse lifecycle_enact RD0404"],
    );
    check(&history, "nobody", &["refuse nobody RD0404"]);
    history.rewinds.insert(name("cut_leg_a"), 1);
    check(
        &history,
        "cut_leg_a",
        &[
            "nothing write_verify",
            "decide leg_b_record",
            "soft_revert cut_leg_a",
        ],
    );
    history.rewinds.insert(name("cut_leg_a"), 2);
    let plan = planned(&definition, &history, &rewind("cut_leg_a"), &policy());
    assert_eq!(words(&plan)[0], "refuse cut_leg_a RD0405");
    assert!(plan.refused && plan.actions[0].why.contains("2 times; the saga allows 2"));
    history.compensated.insert(name("write_verify"));
    let plan = planned(&definition, &history, &rewind("write_verify"), &policy());
    assert_eq!(words(&plan), ["refuse write_verify RD0404"]);
}

#[test]
fn a_rewind_that_the_file_declares_needs_nobodys_leave() {
    let text = CUTOVER.replace(
        "compensation: decide}",
        "compensation: decide, on_failure: {rewind_to: cut_leg_a}}",
    );
    let definition = definition(&text);
    let mut history = history(&definition, 2);
    history.failed = Some(name("leg_b_record"));
    // By hand: what its actions need, and nobody starts it but a person.
    let by_hand = planned(&definition, &history, &rewind("cut_leg_a"), &policy());
    assert_eq!((by_hand.quorum, by_hand.automatic), (Quorum::new(), false));
    let mut cause = rewind("cut_leg_a");
    if let CauseKind::RewindTo { trigger, .. } = &mut cause.kind {
        *trigger = Trigger::Automatic;
    }
    let declared = planned(&definition, &history, &cause, &policy());
    assert_eq!(words(&declared), ["soft_revert cut_leg_a"]);
    assert_eq!((declared.quorum, declared.automatic), (Quorum::new(), true));
}

#[test]
fn stored_bytes_that_are_no_plan_are_check() {
    let definition = cutover();
    let plan = planned(
        &definition,
        &history(&definition, 2),
        &failure("leg_b_record"),
        &policy(),
    );
    let text = String::from_utf8(plan.canonical().unwrap()).unwrap();
    let bad = [
        text.replace("\"v\":1", "\"v\":2"),
        text.replace("\"v\":1", "\"v\":1,\"w\":1"),
        text.replace("\"stops_at\":null,", ""),
        text.replace("soft_revert", "soft_delete"),
        text.replace(':', ": "),
    ];
    for bytes in bad {
        assert_ne!(bytes, text);
        let error = Plan::from_canonical(bytes.as_bytes()).unwrap_err();
        assert_eq!(error.code(), "RD0410");
    }
}

/// Fail closed: the builder and the files cannot give such a definition, a struct literal can.
#[test]
fn nothing_starts_on_a_definition_without_a_digest() {
    let mut definition = cutover();
    definition.phases[0].with = json!({"ratio": 0.5});
    let plan = planned(
        &definition,
        &history(&definition, 1),
        &failure("cut_leg_a"),
        &policy(),
    );
    assert!(plan.refused && !plan.automatic);
}
