//! Decides the next safe act on a run: pure, from what is shown.
//!
//! **Invariant:** whatever is named here is refused by the engine if it is not allowed after all; naming it moves
//! nothing. Nothing destructive is ever named: a plan, a signature, going forward, or a release.

use redress_ledger::Role;
use redress_ledger::quorum::Quorum;
use redress_ledger::state::State;
use uuid::Uuid;

use super::{Next, PlanState, PlanView};
use crate::hold::Hold;
use crate::kill::Switch;
use crate::name::Name;
use crate::plan::Action;

/// Digits of a digest in a command line: enough to be unique, few enough to be read.
const DIGEST_DIGITS: usize = 16;

/// What is known of a run.
pub(super) struct Situation<'a> {
    pub run: Uuid,
    pub state: State,
    pub switch: Option<&'a Switch>,
    /// Holds in force that bear on it, and who releases each.
    pub holds: &'a [(&'a Hold, Quorum)],
    pub plan: Option<&'a PlanView>,
    /// Signatures that the plan still needs.
    pub missing: &'a Quorum,
    /// The phase that waits for signatures, and whose.
    pub waits: Option<(&'a Name, &'a Quorum)>,
    /// The phase whose act outside the database may have been done.
    pub in_doubt: Option<&'a Name>,
    /// Who closes the run.
    pub resolve: &'a Quorum,
}

/// The next safe act; `None` when nobody has to act.
pub(super) fn next_act(now: &Situation<'_>) -> Option<Next> {
    match now.state {
        State::Running | State::Compensating => {
            let stopped = release_kill(now.switch).or_else(|| first_release(now.holds));
            stopped.or_else(|| {
                now.waits
                    .map(|(phase, missing)| sign(now.run, phase, missing))
            })
        }
        State::Failed | State::Stuck => Some(recover(now)),
        State::Completed | State::Compensated | State::Resolved => {
            // What other runs set is theirs to release.
            let own: Vec<_> = now
                .holds
                .iter()
                .filter(|(hold, _)| hold.run == Some(now.run))
                .cloned()
                .collect();
            first_release(&own)
        }
    }
}

/// How the switch is released, unless it says `run`.
pub(super) fn release_kill(switch: Option<&Switch>) -> Option<Next> {
    let what = match switch {
        Some(switch) if switch.state == "run" => return None,
        Some(switch) => format!("the switch is {}: release it", switch.state),
        None => "the switch row is missing, which counts as killed: release it".to_owned(),
    };
    Some(Next {
        what,
        command: "redress release kill --as KEY --reason TEXT".to_owned(),
        who: vec![Role::Sovereign],
    })
}

/// How a hold is released.
pub(super) fn release_hold(hold: &Hold, quorum: &Quorum) -> Next {
    Next {
        what: format!("held ({}): repair the cause, then release", hold.scope),
        command: format!("redress release {} --as KEY --reason TEXT", hold.id),
        who: people(quorum),
    }
}

fn first_release(holds: &[(&Hold, Quorum)]) -> Option<Next> {
    holds
        .first()
        .map(|(hold, quorum)| release_hold(hold, quorum))
}

fn recover(now: &Situation<'_>) -> Next {
    if let (State::Failed, Some(phase)) = (now.state, now.in_doubt) {
        return Next {
            what: format!(
                "whether {phase} acted outside is not known: look there, then ask again by going forward"
            ),
            command: format!("redress resume {}", now.run),
            who: vec![Role::Operator],
        };
    }
    let Some(plan) = now.plan else {
        return make_plan(now.run, "no plan was made yet");
    };
    let digest = plan.digest.to_string();
    let digest = &digest[..DIGEST_DIGITS];
    match plan.state {
        PlanState::Approved => {
            // An approved plan passes a kill, but not a freeze.
            let frozen = now.switch.filter(|switch| switch.state == "frozen");
            frozen
                .and_then(|switch| release_kill(Some(switch)))
                .unwrap_or_else(|| Next {
                    what: "the plan has every signature that it needs: carry it out".to_owned(),
                    command: format!("redress apply {digest}"),
                    who: vec![Role::Operator],
                })
        }
        PlanState::Made => Next {
            what: match now.state {
                State::Stuck => "repair what stopped it, or it gets stuck again; then read the plan, and whoever agrees signs it",
                _ => "read the plan; whoever agrees signs it",
            }
            .to_owned(),
            command: format!("redress approve {digest} --as KEY --reason TEXT"),
            who: people(now.missing),
        },
        PlanState::Refused => refused(now, plan),
        PlanState::Applied if now.state == State::Failed && plan.stops_at.is_some() => Next {
            what: format!(
                "the run was rewound and stopped: repair the cause, then go forward from {}",
                plan.stops_at.as_ref().map_or("", Name::as_str)
            ),
            command: format!("redress resume {}", now.run),
            who: vec![Role::Operator],
        },
        PlanState::Stale | PlanState::Applied | PlanState::Running
            if now.state == State::Stuck =>
        {
            let why = "the way back failed: repair what the error names first, then";
            Next {
                what: format!("{why} plan the compensation"),
                ..make_plan(now.run, why)
            }
        }
        PlanState::Stale | PlanState::Applied | PlanState::Running => {
            make_plan(now.run, "the run has moved on since the last plan")
        }
    }
}

/// How a phase is let go on.
fn sign(run: Uuid, phase: &Name, missing: &Quorum) -> Next {
    Next {
        what: format!("phase {phase} waits for signatures: look at what it would do, then sign"),
        command: format!("redress approve {run} --phase {phase} --as KEY --reason TEXT"),
        who: people(missing),
    }
}

fn make_plan(run: Uuid, why: &str) -> Next {
    Next {
        what: format!("{why}: plan the compensation"),
        command: format!("redress plan {run}"),
        who: vec![Role::Operator],
    }
}

/// A plan that cannot start leaves two ways: forward after a repair, or a person closes the run.
fn refused(now: &Situation<'_>, plan: &PlanView) -> Next {
    let action = plan.actions.iter().find(|a| a.action == Action::Refuse);
    let why = action.map_or_else(String::new, |a| format!(" (phase {}: {})", a.phase, a.why));
    if now.state == State::Failed {
        Next {
            what: format!("there is no way back{why}: repair the cause, then go forward"),
            command: format!("redress resume {}", now.run),
            who: vec![Role::Operator],
        }
    } else {
        Next {
            what: format!("there is no way back{why}: settle what stands, then close the run"),
            command: format!("redress resolve {} --reason TEXT --as KEY", now.run),
            who: people(now.resolve),
        }
    }
}

/// One role for each signature.
fn people(quorum: &Quorum) -> Vec<Role> {
    quorum
        .iter()
        .flat_map(|(role, count)| std::iter::repeat_n(*role, *count as usize))
        .collect()
}

#[cfg(test)]
mod tests {
    use redress_ledger::Hash;
    use redress_ledger::quorum::one_sovereign;

    use super::*;
    use crate::view::RecordView;

    fn plan(state: PlanState) -> PlanView {
        PlanView {
            digest: Hash::of(b"plan"),
            state,
            actions: Vec::new(),
            basis: RecordView {
                seq: 1,
                hash: Hash::ZERO,
            },
            approvals: Vec::new(),
            quorum: one_sovereign(),
            automatic: false,
            verified: true,
            stops_at: None,
        }
    }

    fn switch(state: &str) -> Switch {
        Switch {
            state: state.to_owned(),
            switch_no: 2,
            reason: "drill".to_owned(),
            by: "test".to_owned(),
            at: String::new(),
        }
    }

    fn hold(run: Option<Uuid>) -> Hold {
        Hold {
            id: Uuid::from_u128(9),
            scope: "subject".to_owned(),
            target: Some("a".to_owned()),
            run,
            reason: "failed".to_owned(),
            code: "RD0303".to_owned(),
            by: "test".to_owned(),
            at: String::new(),
        }
    }

    #[track_caller]
    fn check(
        state: State,
        switch_state: &str,
        hold_run: Option<Option<Uuid>>,
        plan: Option<&PlanView>,
        expected: Option<&str>,
    ) {
        check_in(state, switch_state, hold_run, plan, None, expected);
    }

    #[track_caller]
    fn check_in(
        state: State,
        switch_state: &str,
        hold_run: Option<Option<Uuid>>,
        plan: Option<&PlanView>,
        doubt: Option<&str>,
        expected: Option<&str>,
    ) {
        let doubt = doubt.map(|name| name.parse::<Name>().unwrap());
        let run = Uuid::from_u128(1);
        let held = hold_run.map(hold);
        let holds: Vec<_> = held.iter().map(|hold| (hold, one_sovereign())).collect();
        let next = next_act(&Situation {
            run,
            state,
            switch: Some(&switch(switch_state)),
            holds: &holds,
            plan,
            missing: &one_sovereign(),
            waits: None,
            in_doubt: doubt.as_ref(),
            resolve: &one_sovereign(),
        });
        let command = next.map(|next| {
            let words: Vec<&str> = next.command.split(' ').take(2).collect();
            words.join(" ")
        });
        assert_eq!(command.as_deref(), expected);
    }

    #[test]
    fn each_situation_has_its_act() {
        use PlanState::{Approved, Made, Refused, Stale};
        use State::{Compensated, Completed, Failed, Running, Stuck};
        let own = Some(Some(Uuid::from_u128(1)));
        let other = Some(Some(Uuid::from_u128(2)));
        check(Running, "run", None, None, None);
        check(Running, "killed", None, None, Some("redress release"));
        check(Running, "run", own, None, Some("redress release"));
        check(Completed, "run", None, None, None);
        check(Compensated, "run", own, None, Some("redress release"));
        check(Compensated, "run", other, None, None);
        check(Failed, "run", own, None, Some("redress plan"));
        check(
            Failed,
            "run",
            own,
            Some(&plan(Made)),
            Some("redress approve"),
        );
        check(
            Failed,
            "killed",
            own,
            Some(&plan(Approved)),
            Some("redress apply"),
        );
        check(
            Failed,
            "frozen",
            own,
            Some(&plan(Approved)),
            Some("redress release"),
        );
        check(Failed, "run", own, Some(&plan(Stale)), Some("redress plan"));
        check(
            Failed,
            "run",
            own,
            Some(&plan(Refused)),
            Some("redress resume"),
        );
        check(
            Stuck,
            "run",
            own,
            Some(&plan(Refused)),
            Some("redress resolve"),
        );
    }

    #[test]
    fn doubt_about_an_act_outside_comes_before_the_plan() {
        let made = plan(PlanState::Made);
        let own = Some(Some(Uuid::from_u128(1)));
        let doubt = Some("ship");
        check_in(
            State::Failed,
            "run",
            own,
            Some(&made),
            doubt,
            Some("redress resume"),
        );
        check_in(
            State::Stuck,
            "run",
            own,
            Some(&made),
            doubt,
            Some("redress approve"),
        );
    }

    #[test]
    fn who_must_act_is_listed_once_for_each_signature() {
        let quorum = Quorum::from([(Role::Sovereign, 2), (Role::Reviewer, 1)]);
        assert_eq!(
            people(&quorum),
            [Role::Reviewer, Role::Sovereign, Role::Sovereign]
        );
    }
}
