//! Decides whether the people who signed are enough: distinct keys, distinct principals, roles.
//!
//! **Invariant:** one principal fills at most one place, whatever number of keys and roles it has,
//! and whoever asked for the act fills none.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::class::Class;
use crate::key::{KeyId, Role};

/// How many signers of each role an act needs; reads `{"sovereign": 1, "reviewer": 1}`.
pub type Quorum = BTreeMap<Role, u32>;

/// Somebody whose signature verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signer {
    /// The key.
    pub key_id: KeyId,
    /// Who holds it.
    pub principal: String,
    /// What the holder may do.
    pub role: Role,
}

/// Whether an act needs nobody.
pub fn is_open(quorum: &Quorum) -> bool {
    quorum.values().all(|count| *count == 0)
}

/// One signature of a sovereign: what an act needs if nothing else is said.
pub fn one_sovereign() -> Quorum {
    Quorum::from([(Role::Sovereign, 1)])
}

/// Combines two requirements into one that meets both.
pub fn both(a: &Quorum, b: &Quorum) -> Quorum {
    let mut all = a.clone();
    for (role, count) in b {
        let there = all.entry(*role).or_default();
        *there = (*there).max(*count);
    }
    all
}

/// Checks that the signers fill every place, or names the role that is short.
pub fn quorum_missing(quorum: &Quorum, signers: &[Signer], requester: &str) -> Result<(), Missing> {
    let mut roles: BTreeMap<&str, Vec<Role>> = BTreeMap::new();
    for signer in signers {
        // An auditor reads only, even if a quorum should name the role.
        if signer.principal != requester && signer.role != Role::Auditor {
            roles
                .entry(&signer.principal)
                .or_default()
                .push(signer.role);
        }
    }
    let people: Vec<Vec<Role>> = roles.into_values().collect();
    let mut places = Places::new(&people);
    let mut first_missing = None;
    for (role, count) in quorum {
        // More places than people cannot be filled, so the search stays small.
        let tried = usize::try_from(*count)
            .unwrap_or(usize::MAX)
            .min(people.len());
        let filled = (0..tried).take_while(|_| places.fill(*role)).count();
        let n = count.saturating_sub(u32::try_from(filled).unwrap_or(u32::MAX));
        if n > 0 && first_missing.is_none() {
            first_missing = Some(Missing { role: *role, n });
        }
    }
    first_missing.map_or(Ok(()), Err)
}

/// Who fills which place: a bipartite matching, because a principal may hold several roles.
struct Places<'a> {
    people: &'a [Vec<Role>],
    filled: Vec<Option<Role>>,
}

impl<'a> Places<'a> {
    fn new(people: &'a [Vec<Role>]) -> Places<'a> {
        Places {
            people,
            filled: vec![None; people.len()],
        }
    }

    /// Fills one more place of a role, moving others to their other roles where that helps.
    fn fill(&mut self, role: Role) -> bool {
        let mut seen = vec![false; self.people.len()];
        self.assign(role, &mut seen)
    }

    fn assign(&mut self, role: Role, seen: &mut [bool]) -> bool {
        for person in 0..self.people.len() {
            if seen[person] || !self.people[person].contains(&role) {
                continue;
            }
            seen[person] = true;
            let free = match self.filled[person] {
                None => true,
                Some(other) => self.assign(other, seen),
            };
            if free {
                self.filled[person] = Some(role);
                return true;
            }
        }
        false
    }
}

/// Who is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("approvals missing: {n} more of role {role}")]
pub struct Missing {
    /// The role that is short.
    pub role: Role,
    /// By how many.
    pub n: u32,
}

impl Missing {
    /// The stable code of the error.
    pub fn code(&self) -> &'static str {
        "RD0560"
    }

    /// What the caller must do.
    pub fn class(&self) -> Class {
        Class::Refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::SigningKey;
    use Role::{Auditor, Operator, Reviewer, Sovereign};
    use proptest::prelude::*;

    fn signer(principal: &str, seed: u8, role: Role) -> Signer {
        let key = SigningKey::from_seed(principal, &[seed; 32]).unwrap();
        Signer {
            key_id: key.id().clone(),
            principal: principal.to_owned(),
            role,
        }
    }

    fn check(quorum: &[(Role, u32)], signed: &[(&str, Role)], missing: Option<(Role, u32)>) {
        let quorum = Quorum::from_iter(quorum.iter().copied());
        let signers: Vec<Signer> = (1u8..)
            .zip(signed)
            .map(|(seed, (principal, role))| signer(principal, seed, *role))
            .collect();
        let got = quorum_missing(&quorum, &signers, "requester");
        let expected = missing.map_or(Ok(()), |(role, n)| Err(Missing { role, n }));
        assert_eq!(got, expected, "{quorum:?} {signed:?}");
    }

    #[test]
    fn a_quorum_counts_people_and_not_signatures() {
        let pair = [(Sovereign, 1), (Reviewer, 1)];
        check(&[], &[], None);
        check(&[(Sovereign, 0)], &[], None);
        check(&[(Sovereign, 1)], &[], Some((Sovereign, 1)));
        check(&[(Sovereign, 1)], &[("alice", Sovereign)], None);
        check(
            &[(Sovereign, 1)],
            &[("alice", Reviewer)],
            Some((Sovereign, 1)),
        );
        check(&pair, &[("alice", Sovereign)], Some((Reviewer, 1)));
        check(&pair, &[("alice", Sovereign), ("bob", Reviewer)], None);
        // The same principal with a second key, in the same role and in another one.
        check(
            &[(Sovereign, 2)],
            &[("alice", Sovereign), ("alice", Sovereign)],
            Some((Sovereign, 1)),
        );
        check(
            &pair,
            &[("alice", Sovereign), ("alice", Reviewer)],
            Some((Sovereign, 1)),
        );
        // The requester does not count, nor does an auditor.
        check(
            &[(Sovereign, 1)],
            &[("requester", Sovereign)],
            Some((Sovereign, 1)),
        );
        check(&[(Auditor, 1)], &[("eve", Auditor)], Some((Auditor, 1)));
        check(
            &[(Operator, u32::MAX)],
            &[("o", Operator)],
            Some((Operator, u32::MAX - 1)),
        );
    }

    #[test]
    fn a_person_with_two_roles_fills_the_place_that_helps() {
        let pair = [(Sovereign, 1), (Reviewer, 1)];
        let both = [("alice", Sovereign), ("alice", Reviewer)];
        check(&pair, &[both[0], both[1], ("bob", Sovereign)], None);
        check(&pair, &[both[0], both[1], ("bob", Reviewer)], None);
    }

    #[test]
    fn a_quorum_reads_from_json_and_refuses_unknown_roles() {
        let read = |text| serde_json::from_str::<Quorum>(text);
        let quorum = read(r#"{"sovereign":1,"reviewer":2}"#).unwrap();
        assert_eq!(quorum, Quorum::from([(Sovereign, 1), (Reviewer, 2)]));
        assert_eq!(
            serde_json::to_string(&quorum).unwrap(),
            r#"{"reviewer":2,"sovereign":1}"#
        );
        assert!(read("{}").unwrap().is_empty());
        for bad in [
            r#"{"root":1}"#,
            r#"{"Sovereign":1}"#,
            r#"{"sovereign":-1}"#,
            r#"{"sovereign":"1"}"#,
            r#"["sovereign"]"#,
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn two_requirements_combine_to_the_larger_of_each() {
        let plan = Quorum::from([(Sovereign, 1), (Reviewer, 2)]);
        assert_eq!(both(&plan, &one_sovereign()), plan);
        assert_eq!(both(&Quorum::new(), &one_sovereign()), one_sovereign());
        assert!(is_open(&Quorum::from([(Sovereign, 0)])) && !is_open(&plan));
    }

    proptest! {
        /// Another signature never makes a met quorum unmet, whatever the order.
        #[test]
        fn more_signatures_never_hurt(
            need in proptest::collection::vec(0u32..3, 3),
            signed in proptest::collection::vec((0usize..5, 0usize..3), 0..8),
            extra in (0usize..5, 0usize..3),
        ) {
            let roles = [Operator, Reviewer, Sovereign];
            let names = ["a", "b", "c", "d", "e"];
            let quorum: Quorum = roles.into_iter().zip(need).collect();
            let make = |(who, role): &(usize, usize)| signer(names[*who], 1, roles[*role]);
            let mut signers: Vec<Signer> = signed.iter().map(make).collect();
            let before = quorum_missing(&quorum, &signers, "requester").is_ok();
            signers.insert(0, make(&extra));
            let after = quorum_missing(&quorum, &signers, "requester").is_ok();
            prop_assert!(!before || after);
            let people: std::collections::BTreeSet<_> =
                signers.iter().map(|signer| &signer.principal).collect();
            let needed: u32 = quorum.values().sum();
            prop_assert!(!after || people.len() >= needed as usize);
        }
    }
}
