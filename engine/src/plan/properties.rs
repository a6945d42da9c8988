use super::tests::{cause, history, planned, policy, rewind};
use super::*;
use proptest::prelude::*;
use serde_json::json;

prop_compose! {
    /// A saga of phases with any compensation, and a run of it that got anywhere.
    fn any_run()(
        kinds in prop::collection::vec((0..6usize, any::<bool>(), any::<bool>()), 1..12),
        pivot in prop::option::of(0..12usize),
        committed in 0..=12usize,
        undone in 0..12usize,
        fails in any::<bool>(),
    ) -> (Definition, History) {
        let words = ["none", "soft_revert", "decide", "restore", "hard_delete", "irreversible"];
        let phases: Vec<_> = kinds.iter().enumerate().map(|(at, (kind, writes, backup))| json!({
            "name": format!("p{at}"),
            "adapter": if *backup { "backup" } else { "sql" },
            "writes": if *writes { json!(["s.t"]) } else { json!([]) },
            "compensation": words[*kind],
            "pivot": pivot == Some(at),
        })).collect();
        let saga = json!({"saga": "s", "version": 1, "authority": {"soft_revert": "auto"}, "phases": phases});
        let definition: Definition = serde_json::from_value(saga).unwrap();
        let mut history = history(&definition, committed);
        let standing = history.committed.len().saturating_sub(undone);
        history.compensated = history.committed[standing..].iter().map(|one| one.phase.clone()).collect();
        history.failed = (fails && committed < definition.phases.len())
            .then(|| definition.phases[committed].name.clone());
        (definition, history)
    }
}

proptest! {
    #[test]
    fn a_plan_is_the_standing_phases_in_reverse((definition, history) in any_run()) {
        let cause = cause(CauseKind::Cancelled {});
        let plan = planned(&definition, &history, &cause, &policy());
        let again = planned(&definition, &history.clone(), &cause, &policy());
        prop_assert_eq!(plan.digest().unwrap(), again.digest().unwrap());

        let mut actions = plan.actions.as_slice();
        if let Some((first, rest)) = actions.split_first()
            && Some(&first.phase) == history.failed.as_ref()
        {
            prop_assert_eq!((first.action, first.record), (Action::Discard, None));
            actions = rest;
        }
        let planned: Vec<&Name> = actions.iter().map(|action| &action.phase).collect();
        let expected: Vec<&Name> = history
            .committed
            .iter()
            .rev()
            .map(|one| &one.phase)
            .filter(|phase| !history.compensated.contains(*phase))
            .collect();
        prop_assert_eq!(planned, expected);

        let refused = plan.actions.iter().any(|action| action.action == Action::Refuse);
        prop_assert_eq!(plan.refused, refused);
        for action in &plan.actions {
            prop_assert_eq!(action.code.is_some(), action.action == Action::Refuse);
            prop_assert_eq!(action.guard, action.action.touches_rows());
            if let Authority::Quorum(needs) = &action.authority {
                prop_assert!(needs.iter().all(|(role, count)| plan.quorum[role] >= *count));
                prop_assert!(!plan.automatic);
            }
        }
        prop_assert!(!(plan.automatic && refused));
    }

    /// After any number of actions, the plan for what remains is the rest of the first plan.
    #[test]
    fn a_plan_is_closed_under_its_own_progress((definition, history) in any_run(), done in 0..12usize) {
        let cause = cause(CauseKind::Cancelled {});
        let plan = planned(&definition, &history, &cause, &policy());
        let mut later = history;
        let done = done.min(plan.actions.len());
        later.compensated.extend(plan.actions[..done].iter().map(|action| action.phase.clone()));
        let rest = planned(&definition, &later, &cause, &policy());
        prop_assert_eq!(&rest.actions[..], &plan.actions[done..]);
    }

    #[test]
    fn a_rewind_is_the_beginning_of_the_whole_way_back((definition, history) in any_run(), at in 0..12usize) {
        let whole = planned(&definition, &history, &cause(CauseKind::Cancelled {}), &policy());
        let target = &definition.phases[at.min(definition.phases.len() - 1)].name;
        let part = planned(&definition, &history, &rewind(target.as_str()), &policy());
        let stands = history.committed.iter().any(|one| one.phase == *target) && !history.compensated.contains(target);
        if stands {
            prop_assert_eq!(&part.actions[..], &whole.actions[..part.actions.len()]);
            prop_assert_eq!(&part.actions.last().unwrap().phase, target);
        } else {
            prop_assert!(part.refused);
        }
    }
}
