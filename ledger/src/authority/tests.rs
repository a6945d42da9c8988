//! Tries what nobody allowed, in logs whose every hash is right.

use serde_json::{Value, json};

use crate::decision::{Decision, Purpose};
use crate::envelope::sign;
use crate::hash::Hash;
use crate::record::Kind;
use crate::state::Event;
use crate::testing::{
    Log, approval, approve, decided, decision, failed, failed_run, key, run, trust, unwind, verify,
};
use crate::verify::{LogVerifier, Verdict};

/// F84, F87. Every hash is made anew, as somebody could who owns the database.
#[test]
fn what_nobody_allowed_is_found_although_the_chain_is_perfect() {
    let check = |expected: (i64, &str), edit: fn(&mut Log)| {
        let mut log = decided(&json!({"sovereign": 1}), &["alice"], "decide");
        edit(&mut log);
        log.relink();
        assert_eq!(failed(&verify(&log)), expected);
    };
    check((6, "RD0661"), |log| {
        log.records.remove(5);
        log.records[9].body = json!({"count": 10});
    });
    check((6, "RD0660"), |log| log.records[5].body = json!({}));
    check((6, "RD0660"), |log| {
        log.records[5].body["decision_id"] = json!(run(77));
    });
    check((6, "RD0559"), |log| {
        log.records[5].at = "2026-05-03T00:00:00.000000Z".to_owned();
    });
    check((6, "RD0552"), |log| {
        for record in &mut log.records {
            record.generation = 2;
        }
    });
    check((5, "RD0660"), |log| {
        log.records[4].body.as_object_mut().unwrap().remove("plan");
    });
    check((6, "RD0663"), |log| {
        log.records[4].body["plan"] = json!(Hash::of(b"another"));
    });
    check((6, "RD0556"), |log| {
        log.records[4].body["basis"]["seq"] = json!(3);
    });
    check((7, "RD0663"), |log| {
        log.records[6].body["plan"] = json!(Hash::of(b"another"));
    });
    // Plan and approval agree on a basis that the run has left behind.
    check((7, "RD0664"), |log| {
        log.records[4].body["basis"]["hash"] = json!(Hash::of(b"old"));
        let old = Decision {
            basis: Some(crate::decision::Basis {
                seq: 4,
                hash: Hash::of(b"old"),
            }),
            ..decision()
        };
        let envelope = sign(&old, &key("alice")).unwrap();
        log.records[5].body = json!({"envelope": envelope.to_value()});
    });
    check((8, "RD0660"), |log| {
        log.records[7].body["action"] = json!("erase");
    });
    check((8, "RD0660"), |log| {
        log.records[7].body["plan"] = json!(Hash::of(b"another"));
    });
}

#[test]
fn a_quorum_is_judged_where_it_is_used() {
    let both = json!({"sovereign": 1, "reviewer": 1});
    let check = |quorum: &Value, names: &[&str], action: &str, expected| {
        let report = verify(&decided(quorum, names, action));
        match expected {
            Some(expected) => assert_eq!(failed(&report), expected, "{names:?} {action}"),
            None => assert_eq!(report.verdict, Verdict::Verified, "{names:?} {action}"),
        }
    };
    let sovereign = json!({"sovereign": 1});
    check(&both, &["alice", "bob"], "decide", None);
    check(&both, &["alice"], "decide", Some((7, "RD0560")));
    check(&both, &["bob"], "decide", Some((7, "RD0560")));
    check(&sovereign, &["bob"], "decide", Some((7, "RD0560")));
    // Carol asked for it, so her signature does not count.
    let operator = json!({"operator": 1});
    check(&operator, &["carol"], "soft_revert", Some((7, "RD0560")));
    check(&operator, &[], "soft_revert", Some((6, "RD0661")));
    check(&json!({}), &[], "soft_revert", None);
    // A plan that states no quorum still cannot decide or delete by itself.
    check(&json!({}), &[], "decide", Some((7, "RD0661")));
    check(&json!({}), &["bob"], "decide", Some((8, "RD0560")));
    check(&json!({}), &["alice"], "decide", None);
    check(&json!({"reviewer": 1}), &["bob"], "decide", None);
    check(
        &json!({"reviewer": 1}),
        &["bob"],
        "hard_delete",
        Some((8, "RD0560")),
    );
    check(&both, &["alice", "bob"], "hard_delete", None);
    check(
        &json!({"root": 1}),
        &["alice"],
        "decide",
        Some((5, "RD0660")),
    );
    check(&sovereign, &["alice", "eve"], "decide", Some((6, "RD0547")));
}

#[test]
fn approvals_of_several_decisions_count_together() {
    let mut log = failed_run(&json!({"sovereign": 1, "reviewer": 1}));
    let first = approval(&log);
    let second = Decision {
        id: run(101),
        ..first.clone()
    };
    approve(&mut log, &first, &["alice"]);
    approve(&mut log, &second, &["bob"]);
    unwind(&mut log, "hard_delete");
    let report = verify(&log);
    assert_eq!((report.verdict, report.decisions), (Verdict::Verified, 2));
}

/// F88.
#[test]
fn a_decision_is_used_once() {
    let mut log = failed_run(&json!({"sovereign": 1}));
    let decision = approval(&log);
    approve(&mut log, &decision, &["alice"]);
    let mut cited = log.clone();
    approve(&mut log, &decision, &["alice"]);
    assert_eq!(failed(&verify(&log)), (7, "RD0662"));
    // An action may cite the approval of the plan that is being executed.
    unwind(&mut cited, "decide");
    cited.records[7].body["envelope"] = cited.records[5].body["envelope"].clone();
    cited.relink();
    assert_eq!(verify(&cited).verdict, Verdict::Verified);

    // In another run, it is for another run; made for both, it would still be used twice.
    let rows = cited.rows();
    let mut other = failed_run(&json!({"sovereign": 1}));
    other
        .records
        .iter_mut()
        .for_each(|record| record.run = run(2));
    other.relink();
    approve(&mut other, &decision, &["alice"]);
    other.records[5].run = run(2);
    other.relink();
    let trust = trust();
    let mut verifier = LogVerifier::new(None, Some(&trust));
    for (run, rows) in [(run(1), rows), (run(2), other.rows())] {
        verifier.start_run(run);
        for row in rows {
            verifier.record(&row.bytes, &row.hash);
        }
    }
    let report = verifier.finish();
    assert_eq!(failed(&report), (6, "RD0662"));
}

fn system(kind: Kind, body: Value) -> Log {
    let mut log = Log::new();
    log.add(Kind::GenerationOpened, json!({}));
    log.add(kind, body);
    log
}

#[test]
fn a_release_needs_the_decision_that_was_made_for_it() {
    let signed = |edit: fn(&mut Decision), name: &str| {
        let mut decision = Decision {
            run: None,
            basis: None,
            plan: None,
            ..decision()
        };
        edit(&mut decision);
        sign(&decision, &key(name)).unwrap().to_value()
    };
    let check = |expected: Option<(i64, &str)>, kind: Kind, body: Value| {
        let report = verify(&system(kind, body));
        match expected {
            Some(expected) => assert_eq!(failed(&report), expected),
            None => assert_eq!(report.verdict, Verdict::Verified),
        }
    };
    fn hold(decision: &mut Decision) {
        decision.purpose = Purpose::HoldRelease;
        decision.hold = Some(run(50));
    }
    fn kill(decision: &mut Decision) {
        decision.purpose = Purpose::SwitchRelease;
        decision.switch_no = Some(4);
    }
    let held = |name: &str| signed(hold, name);
    let kind = Kind::HoldReleased;
    let this = json!(run(50));
    check(None, kind, json!({"hold": this, "envelope": held("alice")}));
    check(Some((2, "RD0661")), kind, json!({"hold": this}));
    check(
        Some((2, "RD0660")),
        kind,
        json!({"envelope": held("alice")}),
    );
    let other = json!(run(51));
    check(
        Some((2, "RD0558")),
        kind,
        json!({"hold": other, "envelope": held("alice")}),
    );
    check(
        Some((2, "RD0560")),
        kind,
        json!({"hold": this, "envelope": held("bob")}),
    );
    check(
        Some((2, "RD0550")),
        kind,
        json!({"hold": this, "envelope": signed(kill, "alice")}),
    );
    let reviewer = json!({"reviewer": 1});
    check(
        None,
        kind,
        json!({"hold": this, "envelope": held("bob"), "quorum": reviewer}),
    );

    let kind = Kind::SwitchReleased;
    let killed = |name: &str| signed(kill, name);
    check(None, kind, json!({"envelope": killed("alice")}));
    check(
        None,
        kind,
        json!({"envelope": killed("alice"), "released": 4}),
    );
    check(
        Some((2, "RD0557")),
        kind,
        json!({"envelope": killed("alice"), "released": 5}),
    );
    check(Some((2, "RD0661")), kind, json!({"released": 4}));

    // The decision may stand in a record before; one decision releases once.
    let mut log = system(Kind::Decision, json!({"envelope": held("alice")}));
    log.add(Kind::HoldReleased, json!({"hold": this}));
    assert_eq!(verify(&log).verdict, Verdict::Verified);
    log.add(Kind::HoldReleased, json!({"hold": this}));
    assert_eq!(failed(&verify(&log)), (4, "RD0661"));
    check(Some((2, "RD0660")), Kind::Decision, json!({}));
}

#[test]
fn a_step_of_a_runbook_is_signed_for_this_plan_and_this_step() {
    let stepped = |purpose: Purpose, edit: fn(&mut Decision), body: fn(&mut Value)| {
        let mut log = failed_run(&json!({}));
        let mut decision = Decision {
            purpose,
            basis: None,
            plan: Some(Hash::from_bytes([7; 32])),
            phase: Some("undo".to_owned()),
            ..approval(&log)
        };
        edit(&mut decision);
        let envelope = sign(&decision, &key("alice")).unwrap().to_value();
        let mut members = json!({
            "envelope": envelope, "plan": Hash::from_bytes([7; 32]), "step": "undo",
        });
        body(&mut members);
        log.add(Kind::RunbookStep, members);
        verify(&log)
    };
    for purpose in [Purpose::RunbookStep, Purpose::RunbookApprove] {
        assert_eq!(stepped(purpose, |_| {}, |_| {}).verdict, Verdict::Verified);
    }
    let check = |code: &str, edit: fn(&mut Decision), body: fn(&mut Value)| {
        assert_eq!(
            failed(&stepped(Purpose::RunbookStep, edit, body)),
            (6, code)
        );
    };
    check("RD0553", |decision| decision.run = Some(run(2)), |_| {});
    check(
        "RD0554",
        |_| {},
        |body| body["plan"] = json!(Hash::from_bytes([8; 32])),
    );
    check("RD0555", |_| {}, |body| body["step"] = json!("redo"));
    check(
        "RD0550",
        |decision| decision.purpose = Purpose::PhaseApprove,
        |_| {},
    );
    check("RD0660", |_| {}, |body| body["step"] = json!(null));
    check(
        "RD0660",
        |_| {},
        |body| {
            body.as_object_mut().unwrap().remove("envelope");
        },
    );
}

#[test]
fn a_run_is_resolved_by_a_decision_on_its_present_basis() {
    let resolved = |edit: fn(&mut Decision)| {
        let mut log = failed_run(&json!({}));
        let mut decision = Decision {
            purpose: Purpose::RunResolve,
            plan: None,
            ..approval(&log)
        };
        edit(&mut decision);
        let envelope = sign(&decision, &key("alice")).unwrap().to_value();
        log.step(
            Kind::Resolved,
            Event::Resolved,
            json!({"envelope": envelope}),
        );
        verify(&log)
    };
    assert_eq!(resolved(|_| {}).verdict, Verdict::Verified);
    let check = |code: &str, edit: fn(&mut Decision)| {
        assert_eq!(failed(&resolved(edit)), (6, code));
    };
    check("RD0553", |decision| decision.run = Some(run(2)));
    check("RD0556", |decision| {
        decision.basis = crate::testing::decision().basis;
    });
    check("RD0550", |decision| {
        decision.purpose = Purpose::PhaseApprove;
        decision.phase = Some("verify".to_owned());
    });
    let mut log = failed_run(&json!({}));
    log.step(Kind::Resolved, Event::Resolved, json!({}));
    assert_eq!(failed(&verify(&log)), (6, "RD0661"));
}
