//! Names what a failed run has in common with others: equal means that the same recovery is right for both.
//!
//! **Invariant:** a pure function of what stands and of what would be done about it; no id, no time, no message and no
//! value of an input goes into it, so that a fingerprint can be written into a runbook.

use redress_ledger::quorum::Quorum;
use redress_ledger::{Hash, State, canonical};
use serde::{Serialize, Serializer};
use serde_json::json;

use crate::name::Name;
use crate::plan::{Plan, PlanError};

/// What is hashed before the facts: no other hash of this engine can be one of these.
const DOMAIN: &[u8] = b"redress-fingerprint-v1\0";
/// Digits that people are shown.
const SHORT_DIGITS: usize = 12;
/// Fewest digits by which one is found.
pub const FINGERPRINT_DIGITS_MIN: usize = 8;

/// What equal failures share; 64 hexadecimal digits, of which people see 12.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Fingerprint(Hash);

impl Fingerprint {
    /// The digits that people see and type.
    pub fn short(&self) -> String {
        let text = self.0.to_string();
        text[..SHORT_DIGITS].to_owned()
    }

    /// Whether somebody who wrote these digits may mean this one.
    pub fn begins_with(&self, digits: &str) -> bool {
        digits.len() >= FINGERPRINT_DIGITS_MIN
            && self.0.to_string().starts_with(&digits.to_ascii_lowercase())
    }
}

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// What equal failures have in common.
#[derive(Clone, Debug)]
pub(super) struct Facts<'a> {
    pub saga: &'a str,
    pub definition: Hash,
    pub state: State,
    /// The phase that failed.
    pub phase: Option<&'a Name>,
    /// The code of its error.
    pub code: Option<&'a str>,
    /// The phases that stand, in commit order.
    pub committed: Vec<&'a Name>,
    /// Where it was rewound to and stopped.
    pub rewound: Option<&'a Name>,
    /// The plan that stands, or the one that would be made.
    pub recovery: &'a Plan,
}

/// Gives a failure its fingerprint.
///
/// # Errors
/// [`PlanError::NotCanonical`], which no plan that was stored gives.
pub(super) fn fingerprint(facts: &Facts<'_>) -> Result<Fingerprint, PlanError> {
    let plan = facts.recovery;
    let actions: Vec<_> = plan
        .actions
        .iter()
        .map(|one| {
            json!({
                "phase": one.phase,
                "action": one.action,
                "authority": one.authority,
                "code": one.code,
            })
        })
        .collect();
    let quorum: &Quorum = &plan.quorum;
    let value = json!({
        "saga": facts.saga,
        "definition": facts.definition,
        "state": facts.state.as_str(),
        "phase": facts.phase,
        "code": facts.code,
        "committed": facts.committed,
        "rewound": facts.rewound,
        "actions": actions,
        "quorum": quorum,
        "stops_at": plan.stops_at,
        "refused": plan.refused,
    });
    let bytes = canonical::to_canonical(&value)
        .map_err(|error| PlanError::NotCanonical(error.to_string()))?;
    Ok(Fingerprint(Hash::of(&[DOMAIN, &bytes].concat())))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use redress_ledger::Role;
    use redress_ledger::decision::Basis;
    use uuid::Uuid;

    use super::*;
    use crate::definition::Authority;
    use crate::plan::{Action, Cause, CauseKind, PlannedAction};

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn plan(run: u128, action: Action, quorum: Quorum) -> Plan {
        Plan {
            v: 1,
            run: Uuid::from_u128(run),
            saga: name("shop"),
            version: 1,
            definition: Hash::of(b"definition"),
            basis: Basis {
                seq: i64::try_from(run).unwrap(),
                hash: Hash::of(&run.to_be_bytes()),
            },
            cause: Cause {
                kind: CauseKind::Requested {},
                reason: format!("reason {run}"),
                requester: format!("somebody {run}"),
            },
            actions: vec![PlannedAction {
                phase: name("reserve"),
                action,
                why: format!("why {run}"),
                authority: Authority::Quorum(quorum.clone()),
                touches: json!({"shop.reservation": run.to_string()}),
                guard: true,
                record: None,
                code: None,
            }],
            baseline: Vec::new(),
            quorum,
            automatic: false,
            refused: false,
            stops_at: None,
        }
    }

    /// A name for the length of the test's process.
    fn kept(text: &str) -> &'static Name {
        Box::leak(Box::new(name(text)))
    }

    fn of<'a>(plan: &'a Plan, change: impl FnOnce(&mut Facts<'a>)) -> Fingerprint {
        let mut facts = Facts {
            saga: "shop",
            definition: Hash::of(b"definition"),
            state: State::Failed,
            phase: Some(kept("book")),
            code: Some("RD0303"),
            committed: vec![kept("reserve")],
            rewound: None,
            recovery: plan,
        };
        change(&mut facts);
        fingerprint(&facts).unwrap()
    }

    fn sovereign(n: u32) -> Quorum {
        BTreeMap::from([(Role::Sovereign, n)])
    }

    #[test]
    fn equal_failures_of_different_runs_share_a_fingerprint() {
        let first = of(&plan(1, Action::SoftRevert, sovereign(1)), |_| {});
        let second = of(&plan(2, Action::SoftRevert, sovereign(1)), |_| {});
        assert_eq!(first, second);
        assert_eq!(first.to_string().len(), 64);
        assert_eq!(first.short().len(), 12);
        // It is a contract with whoever wrote it down: another value is another format.
        assert_eq!(first.short(), "20b50377333c");
    }

    #[test]
    fn whatever_asks_for_another_recovery_changes_it() {
        let base = plan(1, Action::SoftRevert, sovereign(1));
        let other = kept("other");
        let mut all = vec![
            of(&base, |_| {}),
            of(&base, |facts| facts.saga = "shops"),
            of(&base, |facts| facts.definition = Hash::of(b"another")),
            of(&base, |facts| facts.state = State::Stuck),
            of(&base, |facts| facts.phase = None),
            of(&base, |facts| facts.phase = Some(other)),
            of(&base, |facts| facts.code = Some("RD0304")),
            of(&base, |facts| facts.committed.clear()),
            of(&base, |facts| facts.rewound = Some(other)),
            of(&plan(1, Action::Decide, sovereign(1)), |_| {}),
            of(&plan(1, Action::SoftRevert, sovereign(2)), |_| {}),
        ];
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    #[test]
    fn a_fingerprint_is_found_by_its_first_digits_but_not_by_a_few() {
        let found = of(&plan(1, Action::SoftRevert, sovereign(1)), |_| {});
        let text = found.to_string();
        assert!(found.begins_with(&text) && found.begins_with(&text[..8]));
        assert!(found.begins_with(&text[..12].to_ascii_uppercase()));
        assert!(!found.begins_with(&text[..7]) && !found.begins_with(""));
    }
}
