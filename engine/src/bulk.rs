//! Recovers many runs that failed alike: one set with one digest, and for each run its own checks, its own signed decision
//! and its own compensation.
//!
//! **Invariant:** nothing is done to a run because of another one. The set says what is asked for; each run is judged,
//! signed and carried out as if it were alone, under the plan that the set names for it.
//!
//! **What can go wrong:** death half-way. Runs that are done are not failed any more, so the next set is without them; a run
//! that was signed and not carried out keeps its approval, and is not signed again by the same key.
//!
//! **Not here:** how many go on at once, and how it is told.

use redress_ledger::key::SigningKey;
use redress_ledger::quorum::{Quorum, Signer};
use redress_ledger::state::State;
use redress_ledger::{Hash, sign};
use uuid::Uuid;

use crate::drive::Outcome;
use crate::engine::{Engine, Inner};
use crate::error::Error;
use crate::planning::StoredPlan;
use crate::run::Live;
use crate::view::{Group, still_missing};

/// What is hashed before the plans of a set: no other hash of this engine can be one of these.
const DOMAIN: &[u8] = b"redress-set-v1\0";
/// Digits of a set's digest that a person types.
const CODE_DIGITS: usize = 8;

/// Runs that failed alike, each with the plan that brings it back.
#[derive(Clone, Debug)]
pub struct EqualSet {
    /// What they share; its list of runs may be longer than the set.
    pub group: Group,
    /// The set, oldest first.
    pub members: Vec<Member>,
    /// The hash over the sorted digests of its plans: what is confirmed.
    pub digest: Hash,
}

/// A run of a set.
#[derive(Clone, Debug)]
pub struct Member {
    /// The run.
    pub run: Uuid,
    /// What it acts on.
    pub subject: Option<String>,
    /// The plan that brings it back.
    pub stored: StoredPlan,
    /// The signatures that the plan lacks.
    pub missing: Quorum,
}

/// What became of one run of a set.
#[derive(Clone, Debug)]
pub enum Recovered {
    /// The plan was carried out.
    Done(State),
    /// It is signed; others must sign too.
    Missing(Quorum),
    /// It was not in the set's state any more when its turn came.
    MovedOn(State),
}

impl EqualSet {
    /// The digits that a person types.
    pub fn code(&self) -> String {
        let text = self.digest.to_string();
        text[..CODE_DIGITS].to_owned()
    }

    /// Whether somebody who wrote these digits means this set.
    pub fn is(&self, digits: &str) -> bool {
        digits.len() >= CODE_DIGITS
            && self
                .digest
                .to_string()
                .starts_with(&digits.to_ascii_lowercase())
    }

    /// The first run that lacks a signature.
    pub fn unsigned(&self) -> Option<&Member> {
        self.members.iter().find(|one| !one.missing.is_empty())
    }

    /// What a decision on one run says of the set that it was confirmed with.
    pub fn reason(&self, reason: &str) -> String {
        format!(
            "{reason} (one of {} runs confirmed as set {})",
            self.members.len(),
            self.digest
        )
    }
}

/// The digest of a set: its plans in the order of their digests, so that it does not matter who collected them.
fn digest_of(members: &[Member]) -> Hash {
    let mut plans: Vec<Hash> = members.iter().map(|one| one.stored.digest).collect();
    plans.sort_unstable();
    let bytes = plans
        .iter()
        .flat_map(|plan| plan.as_bytes().iter().copied());
    let all: Vec<u8> = DOMAIN.iter().copied().chain(bytes).collect();
    Hash::of(&all)
}

impl Engine {
    /// Collects the runs that fail alike, the oldest first, and makes the plan of each that has none.
    ///
    /// # Errors
    /// [`Error::UnknownFingerprint`]; [`Error::NotRecoverable`] when no plan brings them back.
    pub async fn equal_set(&self, digits: &str, limit: Option<usize>) -> Result<EqualSet, Error> {
        let group = self.alike(digits).await?;
        let session = self.inner.session().await?;
        let mut members = Vec::new();
        for run in &group.runs {
            if limit.is_some_and(|limit| members.len() >= limit) {
                break;
            }
            let live = self.inner.live(&session, *run).await?;
            let found = self.inner.recovery_of(&session, &live).await?;
            // Whoever has moved on since the list was read is not in the set.
            let Some(found) = found.filter(|found| found.fingerprint == group.fingerprint) else {
                continue;
            };
            if !found.ready {
                return Err(Error::NotRecoverable(group.next.what));
            }
            let stored = self
                .inner
                .plan_at_hand(&session, &live, found.standing)
                .await?;
            let (missing, _) = self.inner.lacks(&session, &live, &stored).await?;
            members.push(Member {
                run: *run,
                subject: live.row.subject.clone(),
                stored,
                missing,
            });
        }
        if members.is_empty() {
            return Err(Error::UnknownFingerprint(digits.to_owned()));
        }
        Ok(EqualSet {
            digest: digest_of(&members),
            group,
            members,
        })
    }

    /// As whom a key would sign the plans of a set; nothing is recorded. Of a set that lacks no signature it is only asked
    /// whether the key counts.
    ///
    /// # Errors
    /// [`Error::NoTrust`], [`Error::Decision`] when the key does not count; [`Error::ApprovalsMissing`] when its signature
    /// would be none of those that are missing.
    pub async fn would_sign(
        &self,
        set: &EqualSet,
        key: &SigningKey,
    ) -> Result<Option<Signer>, Error> {
        let unsigned = set.unsigned();
        let Some(member) = unsigned.or_else(|| set.members.first()) else {
            return Ok(None);
        };
        let decision = self.decision_on(&member.stored, "a trial").await?;
        let envelope = sign(&decision, key)?;
        let session = self.inner.session().await?;
        let trusted = self.inner.trusted(&session).await?;
        let signer = trusted.verify(&envelope)?.signers.into_iter().next();
        if unsigned.is_none() {
            return Ok(signer);
        }
        let live = self.inner.live(&session, member.run).await?;
        let (missing, mut signers) = self.inner.lacks(&session, &live, &member.stored).await?;
        let useless = signers
            .iter()
            .any(|known| Some(&known.key_id) == signer.as_ref().map(|one| &one.key_id));
        signers.extend(signer.clone());
        let plan = &member.stored.plan;
        let then = still_missing(&plan.quorum, &signers, &plan.cause.requester);
        if !useless && then == missing {
            let who = signer.map_or_else(String::new, |one| {
                format!("{} ({})", one.principal, one.role)
            });
            return Err(Error::ApprovalsMissing(format!(
                "a signature of {who} is none of those that are missing"
            )));
        }
        Ok(signer)
    }

    /// Signs the plan of one run of a set, unless this key has or nobody need.
    ///
    /// # Errors
    /// [`Error::StalePlan`] when the plan is not the run's any more; as [`Engine::approve`].
    pub async fn sign_member(
        &self,
        member: &Member,
        key: &SigningKey,
        reason: &str,
    ) -> Result<Recovered, Error> {
        let session = self.inner.session().await?;
        let live = self.inner.live(&session, member.run).await?;
        if let Some(moved) = moved_on(&live) {
            return Ok(moved);
        }
        self.inner.check_member(&live, member)?;
        let (missing, signers) = self.inner.lacks(&session, &live, &member.stored).await?;
        if missing.is_empty() || signers.iter().any(|one| one.key_id == *key.id()) {
            return Ok(Recovered::Missing(missing));
        }
        drop(session);
        self.approve(&member.stored, key, reason).await?;
        let session = self.inner.session().await?;
        let live = self.inner.live(&session, member.run).await?;
        let (missing, _) = self.inner.lacks(&session, &live, &member.stored).await?;
        Ok(Recovered::Missing(missing))
    }

    /// Brings one run of a set back: signs its plan where that is needed and a key is given, and carries it out when every
    /// signature is there.
    ///
    /// # Errors
    /// As [`Engine::sign_member`] and [`Engine::apply`].
    pub async fn recover(
        &self,
        member: &Member,
        signing: Option<(&SigningKey, &str)>,
    ) -> Result<Recovered, Error> {
        let session = self.inner.session().await?;
        let live = self.inner.live(&session, member.run).await?;
        if let Some(moved) = moved_on(&live) {
            return Ok(moved);
        }
        self.inner.check_member(&live, member)?;
        let (mut missing, _) = self.inner.lacks(&session, &live, &member.stored).await?;
        drop(session);
        if let (false, Some((key, reason))) = (missing.is_empty(), signing) {
            match self.sign_member(member, key, reason).await? {
                Recovered::Missing(left) => missing = left,
                other => return Ok(other),
            }
        }
        if !missing.is_empty() {
            return Ok(Recovered::Missing(missing));
        }
        let outcome = self.apply(&member.stored).await?;
        let state = outcome.run().state;
        let done = matches!(outcome, Outcome::Compensated(_))
            || (member.stored.plan.stops_at.is_some() && state != State::Stuck);
        Ok(if done {
            Recovered::Done(state)
        } else {
            Recovered::MovedOn(state)
        })
    }
}

impl Inner {
    /// The plan of the set is the one that the run has, and can start.
    fn check_member(&self, live: &Live, member: &Member) -> Result<(), Error> {
        if live.row.plan != Some(member.stored.digest) {
            return Err(Error::StalePlan(member.run));
        }
        self.check_appliable(live, &member.stored)
    }
}

/// A run that is neither failed nor stuck is not what the set is about.
fn moved_on(live: &Live) -> Option<Recovered> {
    let waits = matches!(live.story.state, State::Failed | State::Stuck);
    (!waits).then_some(Recovered::MovedOn(live.story.state))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Cause, CauseKind, Plan};
    use redress_ledger::decision::Basis;

    fn member(run: u128) -> Member {
        let plan = Plan {
            v: 1,
            run: Uuid::from_u128(run),
            saga: "shop".parse().unwrap(),
            version: 1,
            definition: Hash::ZERO,
            basis: Basis {
                seq: 1,
                hash: Hash::ZERO,
            },
            cause: Cause {
                kind: CauseKind::Requested {},
                reason: String::new(),
                requester: "os:test".to_owned(),
            },
            actions: Vec::new(),
            baseline: Vec::new(),
            quorum: Quorum::new(),
            automatic: false,
            refused: false,
            stops_at: None,
        };
        Member {
            run: plan.run,
            subject: None,
            stored: StoredPlan {
                digest: plan.digest().unwrap(),
                plan,
            },
            missing: Quorum::new(),
        }
    }

    #[test]
    fn a_set_is_its_plans_in_any_order_and_no_others() {
        let of =
            |runs: &[u128]| digest_of(&runs.iter().map(|run| member(*run)).collect::<Vec<_>>());
        assert_eq!(of(&[1, 2, 3]), of(&[3, 1, 2]));
        assert_ne!(of(&[1, 2, 3]), of(&[1, 2]));
        assert_ne!(of(&[1, 2]), of(&[1, 3]));
        assert_ne!(of(&[1]), member(1).stored.digest);
    }
}
