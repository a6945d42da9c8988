//! Tries the decision against every act that it was not made for.

use super::*;
use crate::testing::{LATER, NOW, ORIGIN, decision, run};

fn fitting(decision: &Decision) -> Expected<'_> {
    Expected {
        run: decision.run,
        basis: decision.basis,
        switch_no: decision.switch_no,
        hold: decision.hold,
        plan: decision.plan,
        phase: decision.phase.as_deref(),
        ..Expected::new(decision.purpose, ORIGIN, 1, NOW)
    }
}

fn of(purpose: Purpose) -> Decision {
    Decision {
        purpose,
        switch_no: Some(7),
        hold: Some(run(50)),
        holds: vec![run(50), run(51)],
        phase: Some("ship".to_owned()),
        ..decision()
    }
}

const ALL: [Purpose; 7] = [
    Purpose::PlanApprove,
    Purpose::HoldRelease,
    Purpose::SwitchRelease,
    Purpose::RunResolve,
    Purpose::PhaseApprove,
    Purpose::RunbookApprove,
    Purpose::RunbookStep,
];

#[test]
fn a_decision_fits_the_act_that_it_was_made_for() {
    for purpose in ALL {
        let decision = of(purpose);
        assert_eq!(decision.check(&fitting(&decision)), Ok(()), "{purpose:?}");
        for other in ALL.into_iter().filter(|other| *other != purpose) {
            let act = Expected {
                purpose: other,
                ..fitting(&decision)
            };
            let refused = Err(DecisionError::OtherPurpose(decision.id));
            assert_eq!(decision.check(&act), refused, "{purpose:?} {other:?}");
        }
    }
}

/// F88. Whatever it is replayed against has an answer of its own.
#[test]
fn each_way_of_not_fitting_is_its_own_refusal() {
    let decision = of(Purpose::PlanApprove);
    let id = decision.id;
    let check = |expected: DecisionError, edit: fn(&mut Expected<'_>)| {
        let mut act = fitting(&decision);
        edit(&mut act);
        assert_eq!(decision.check(&act), Err(expected));
    };
    check(DecisionError::OtherOrigin(id), |act| act.origin = "else");
    check(DecisionError::OtherGeneration(id), |act| act.generation = 2);
    check(DecisionError::OtherRun(id), |act| act.run = Some(run(2)));
    check(DecisionError::OtherPlan(id), |act| {
        act.plan = Some(Hash::of(b"another"));
    });
    check(DecisionError::OtherPhase(id), |act| act.phase = Some("pay"));
    check(DecisionError::OtherBasis(id), |act| {
        let hash = Hash::of(b"basis");
        act.basis = Some(Basis { seq: 4, hash });
    });
    check(DecisionError::OtherBasis(id), |act| {
        let hash = Hash::of(b"another");
        act.basis = Some(Basis { seq: 3, hash });
    });
    check(DecisionError::OtherSwitch(id), |act| {
        act.switch_no = Some(8)
    });
    check(DecisionError::OtherHold(id), |act| act.hold = Some(run(52)));
    check(DecisionError::Expired(id), |act| {
        act.now = "2026-05-02T12:00:00.000001Z";
    });
    check(DecisionError::Expired(id), |act| act.now = "today");
    check(DecisionError::Unbound("run"), |act| act.run = None);
    check(DecisionError::Unbound("plan"), |act| act.plan = None);
    check(DecisionError::Unbound("basis"), |act| act.basis = None);
    let mut last = fitting(&decision);
    last.now = LATER;
    assert_eq!(decision.check(&last), Ok(()));
}

/// An approved plan passes a kill or a hold only if it names it.
#[test]
fn a_plan_that_does_not_name_the_kill_does_not_pass_it() {
    let decision = decision();
    let mut act = fitting(&decision);
    assert_eq!(decision.check(&act), Ok(()));
    act.switch_no = Some(7);
    let refused = Err(DecisionError::OtherSwitch(decision.id));
    assert_eq!(decision.check(&act), refused);
    act.switch_no = None;
    act.hold = Some(run(50));
    let refused = Err(DecisionError::OtherHold(decision.id));
    assert_eq!(decision.check(&act), refused);
}

#[test]
fn a_release_is_bound_to_its_hold_or_kill() {
    let hold = of(Purpose::HoldRelease);
    let act = Expected {
        hold: Some(run(51)),
        ..fitting(&hold)
    };
    // Being among the holds that a plan may pass is not being released.
    assert_eq!(hold.check(&act), Err(DecisionError::OtherHold(hold.id)));
    let bare = Expected::new(Purpose::HoldRelease, ORIGIN, 1, NOW);
    assert_eq!(hold.check(&bare), Err(DecisionError::Unbound("hold")));
    let kill = of(Purpose::SwitchRelease);
    let bare = Expected::new(Purpose::SwitchRelease, ORIGIN, 1, NOW);
    assert_eq!(kill.check(&bare), Err(DecisionError::Unbound("switch_no")));
}

#[test]
fn a_decision_without_what_its_purpose_needs_is_none() {
    let check = |field: &'static str, purpose: Purpose, edit: fn(&mut Decision)| {
        let mut decision = of(purpose);
        edit(&mut decision);
        assert_eq!(decision.check_shape(), Err(DecisionError::Field(field)));
    };
    for purpose in ALL {
        assert_eq!(of(purpose).check_shape(), Ok(()));
        check("id", purpose, |decision| decision.id = Uuid::nil());
        check("origin", purpose, |decision| decision.origin.clear());
        check("generation", purpose, |decision| decision.generation = -1);
        check("requester", purpose, |decision| decision.requester.clear());
        check("reason_code", purpose, |decision| {
            decision.reason_code.clear()
        });
        check("not_after", purpose, |decision| {
            decision.not_after = "2026-05-02".to_owned();
        });
    }
    check("plan", Purpose::PlanApprove, |decision| {
        decision.plan = None
    });
    check("basis", Purpose::PlanApprove, |decision| {
        decision.basis = None
    });
    check("run", Purpose::RunResolve, |decision| decision.run = None);
    check("basis", Purpose::RunResolve, |decision| {
        decision.basis = None
    });
    check("phase", Purpose::PhaseApprove, |decision| {
        decision.phase = None
    });
    check("hold", Purpose::HoldRelease, |decision| {
        decision.hold = None
    });
    check("switch_no", Purpose::SwitchRelease, |decision| {
        decision.switch_no = None;
    });
}
