//! Decides whether what a log says was done was allowed by the decisions that the log holds.
//!
//! What a record's body must hold for that, by kind:
//!
//! | kind | members |
//! |---|---|
//! | `plan.made` | `plan` (digest), `basis` {seq, hash}, `quorum`, optionally `requester` |
//! | `plan.approved`, `decision` | `envelope` |
//! | `plan.started` | `plan` |
//! | `compensation.committed` | `action`, optionally `plan` |
//! | `hold.released` | `hold`, `envelope` here or in an earlier `decision`, optionally `quorum` |
//! | `switch.released` | `released` (the kill's number; default the record's `switch_no`), as above |
//! | `resolved` | as above |
//!
//! A `decision_id` beside an envelope must be that of its decision.
//!
//! **Invariant:** a decision counts once. Where its envelope appears again, the log is refused,
//! except that an action may cite an approval of the very plan that is being executed.
//!
//! **Not here:** whether the stated quorum is the one of the definition; the floor that no record
//! can lower is one sovereign for a hard delete, and one signature of a sovereign where a release,
//! a resolution or a deciding action states nothing.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;
use uuid::Uuid;

use crate::class::Class;
use crate::decision::{Basis, Decision, DecisionError, Expected, Purpose};
use crate::envelope::Envelope;
use crate::hash::Hash;
use crate::quorum::{Missing, Quorum, Signer, both, is_open, one_sovereign, quorum_missing};
use crate::record::{Kind, Record};
use crate::trust::Trust;

/// Follows the decisions of a log, one run after the other.
pub(crate) struct Authority<'t> {
    trust: Option<&'t Trust>,
    used: HashMap<Uuid, Use>,
    unjudged: u64,
    run: RunAuthority,
}

/// Where a decision was used first.
struct Use {
    run: Uuid,
    plan: Option<Hash>,
}

/// What is known of one run.
#[derive(Default)]
struct RunAuthority {
    basis: Option<Basis>,
    plans: HashMap<Hash, Plan>,
    current: Option<Hash>,
    acts: BTreeMap<Act, Approvals>,
}

/// A plan as the log has it.
struct Plan {
    basis: Basis,
    quorum: Quorum,
    requester: Option<String>,
    approvals: Approvals,
    started: bool,
}

/// An act that a decision allows once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Act {
    Hold(Uuid),
    Switch(i64),
    Resolve,
}

/// Who signed for one plan or act, by however many decisions.
#[derive(Default)]
struct Approvals {
    decisions: u32,
    signers: Vec<Signer>,
}

impl<'t> Authority<'t> {
    /// Judges by these keys; without any, decisions are only counted and matched.
    pub(crate) fn new(trust: Option<&'t Trust>) -> Authority<'t> {
        Authority {
            trust,
            used: HashMap::new(),
            unjudged: 0,
            run: RunAuthority::default(),
        }
    }

    /// Forgets the run before; used decisions stay known.
    pub(crate) fn start_run(&mut self) {
        self.run = RunAuthority::default();
    }

    /// How many different decisions were met.
    pub(crate) fn decisions(&self) -> u64 {
        u64::try_from(self.used.len()).unwrap_or(u64::MAX)
    }

    /// How many envelopes could not be judged because no trust was given.
    pub(crate) fn unjudged(&self) -> u64 {
        self.unjudged
    }

    /// Takes the next record of the run.
    pub(crate) fn push(&mut self, record: &Record, hash: Hash) -> Result<(), AuthorityError> {
        match record.body.get("envelope") {
            Some(envelope) => self.admit(record, envelope)?,
            None if matches!(record.kind, Kind::PlanApproved | Kind::Decision) => {
                return Err(AuthorityError::Member("envelope"));
            }
            None => {}
        }
        match record.kind {
            Kind::PlanMade => self.plan_made(&record.body)?,
            Kind::PlanStarted => self.plan_started(&record.body)?,
            Kind::CompensationCommitted => self.action_committed(&record.body)?,
            Kind::HoldReleased | Kind::SwitchReleased | Kind::Resolved => self.acted(record)?,
            _ => {}
        }
        if record.kind.moves_basis() {
            let seq = record.seq;
            self.run.basis = Some(Basis { seq, hash });
        }
        Ok(())
    }

    /// Takes a decision into the log: genuine, meant for this, and not met before.
    fn admit(&mut self, record: &Record, envelope: &Value) -> Result<(), AuthorityError> {
        let envelope = Envelope::from_value(envelope)?;
        let (decision, signers) = match self.trust {
            Some(trust) => {
                let verified = envelope.verify(trust)?;
                (verified.decision, verified.signers)
            }
            None => {
                self.unjudged += 1;
                (envelope.peek()?, Vec::new())
            }
        };
        let id: Option<Uuid> = optional(&record.body, "decision_id")?;
        if id.is_some_and(|id| id != decision.id) {
            return Err(AuthorityError::Member("decision_id"));
        }
        if let Some(before) = self.used.get(&decision.id) {
            let cited = record.kind == Kind::CompensationCommitted
                && before.run == record.run
                && before.plan.is_some()
                && before.plan == self.run.current;
            return if cited {
                Ok(())
            } else {
                Err(AuthorityError::UsedTwice(decision.id))
            };
        }
        self.fits(record, &decision)?;
        let first = Use {
            run: record.run,
            plan: decision.plan,
        };
        self.used.insert(decision.id, first);
        self.count(decision, signers)
    }

    /// Checks that a decision allows what this record of this run is about.
    fn fits(&self, record: &Record, decision: &Decision) -> Result<(), AuthorityError> {
        let purpose = purpose_of(record.kind).unwrap_or(decision.purpose);
        let mut act = Expected::new(purpose, &record.origin, record.generation, &record.at);
        match purpose {
            Purpose::PlanApprove => {
                let digest = decision.plan.ok_or(AuthorityError::Member("plan"))?;
                act.plan = Some(digest);
                act.run = Some(record.run);
                act.basis = Some(self.plan(digest)?.basis);
                if let Some(named) = optional::<Hash>(&record.body, "plan")? {
                    act.plan = Some(named);
                }
            }
            Purpose::RunResolve => {
                act.run = Some(record.run);
                act.basis = self.run.basis;
            }
            Purpose::PhaseApprove => {
                act.run = Some(record.run);
                act.phase = decision.phase.as_deref();
            }
            Purpose::HoldRelease => {
                act.hold = match record.kind {
                    Kind::HoldReleased => Some(member(&record.body, "hold")?),
                    _ => decision.hold,
                };
            }
            Purpose::SwitchRelease => {
                act.switch_no = match record.kind {
                    Kind::SwitchReleased => Some(released(record)?),
                    _ => decision.switch_no,
                };
            }
        }
        Ok(decision.check(&act)?)
    }

    /// Counts a decision's signers for what it allows.
    fn count(&mut self, decision: Decision, signers: Vec<Signer>) -> Result<(), AuthorityError> {
        let act = match decision.purpose {
            Purpose::PlanApprove => None,
            Purpose::PhaseApprove => return Ok(()),
            Purpose::RunResolve => Some(Act::Resolve),
            Purpose::HoldRelease => decision.hold.map(Act::Hold),
            Purpose::SwitchRelease => decision.switch_no.map(Act::Switch),
        };
        let approvals = match (act, decision.plan) {
            (Some(act), _) => self.run.acts.entry(act).or_default(),
            (None, Some(plan)) => {
                let plan = self.run.plans.get_mut(&plan);
                &mut plan.ok_or(AuthorityError::UnknownPlan)?.approvals
            }
            (None, None) => return Err(AuthorityError::Member("plan")),
        };
        approvals.decisions += 1;
        // Each decision names who asked for it; that person's own signature does not count.
        let others = signers
            .into_iter()
            .filter(|signer| signer.principal != decision.requester);
        approvals.signers.extend(others);
        Ok(())
    }

    fn plan_made(&mut self, body: &Value) -> Result<(), AuthorityError> {
        let plan = Plan {
            basis: member(body, "basis")?,
            quorum: optional(body, "quorum")?.unwrap_or_default(),
            requester: optional(body, "requester")?,
            approvals: Approvals::default(),
            started: false,
        };
        // The same plan made again is the same plan, with the approvals that it has.
        self.run.plans.entry(member(body, "plan")?).or_insert(plan);
        Ok(())
    }

    fn plan_started(&mut self, body: &Value) -> Result<(), AuthorityError> {
        let digest = member(body, "plan")?;
        let plan = self.plan(digest)?;
        if self.run.basis != Some(plan.basis) {
            return Err(AuthorityError::Stale(digest));
        }
        if plan.started && plan.approvals.decisions > 0 {
            return Err(AuthorityError::StartedTwice(digest));
        }
        self.enough(&plan.quorum, &plan.approvals, plan.requester.as_deref())?;
        if let Some(plan) = self.run.plans.get_mut(&digest) {
            plan.started = true;
        }
        self.run.current = Some(digest);
        Ok(())
    }

    fn action_committed(&self, body: &Value) -> Result<(), AuthorityError> {
        let digest = self.run.current.ok_or(AuthorityError::UnknownPlan)?;
        if optional(body, "plan")?.is_some_and(|named: Hash| named != digest) {
            return Err(AuthorityError::Member("plan"));
        }
        let plan = self.plan(digest)?;
        let action: String = member(body, "action")?;
        let quorum = match action.as_str() {
            "nothing" | "discard" | "soft_revert" | "restore" => return Ok(()),
            "decide" => or_sovereign(plan.quorum.clone()),
            "hard_delete" => both(&plan.quorum, &one_sovereign()),
            _ => return Err(AuthorityError::Member("action")),
        };
        self.enough(&quorum, &plan.approvals, plan.requester.as_deref())
    }

    /// A release or a resolution: its decision is in this record or earlier in this run.
    fn acted(&mut self, record: &Record) -> Result<(), AuthorityError> {
        let act = match record.kind {
            Kind::HoldReleased => Act::Hold(member(&record.body, "hold")?),
            Kind::SwitchReleased => Act::Switch(released(record)?),
            _ => Act::Resolve,
        };
        let quorum = optional(&record.body, "quorum")?.unwrap_or_default();
        let approvals = self.run.acts.remove(&act).unwrap_or_default();
        self.enough(&or_sovereign(quorum), &approvals, None)
    }

    fn plan(&self, digest: Hash) -> Result<&Plan, AuthorityError> {
        let plan = self.run.plans.get(&digest);
        plan.ok_or(AuthorityError::UnknownPlan)
    }

    fn enough(
        &self,
        quorum: &Quorum,
        approvals: &Approvals,
        requester: Option<&str>,
    ) -> Result<(), AuthorityError> {
        if is_open(quorum) {
            return Ok(());
        }
        if approvals.decisions == 0 {
            return Err(AuthorityError::NoDecision);
        }
        if self.trust.is_none() {
            // Who signed is not known; the verdict can only be that this was not judged.
            return Ok(());
        }
        let requester = requester.unwrap_or_default();
        Ok(quorum_missing(quorum, &approvals.signers, requester)?)
    }
}

/// The purpose that a kind of record asks of its decision; `None` where any may stand.
fn purpose_of(kind: Kind) -> Option<Purpose> {
    match kind {
        Kind::PlanApproved | Kind::PlanStarted | Kind::CompensationCommitted => {
            Some(Purpose::PlanApprove)
        }
        Kind::HoldReleased => Some(Purpose::HoldRelease),
        Kind::SwitchReleased => Some(Purpose::SwitchRelease),
        Kind::Resolved => Some(Purpose::RunResolve),
        Kind::PhaseCommitted | Kind::PhaseIntended => Some(Purpose::PhaseApprove),
        _ => None,
    }
}

fn or_sovereign(quorum: Quorum) -> Quorum {
    if is_open(&quorum) {
        one_sovereign()
    } else {
        quorum
    }
}

/// The number of the kill that a `switch.released` undoes.
fn released(record: &Record) -> Result<i64, AuthorityError> {
    Ok(optional(&record.body, "released")?.unwrap_or(record.switch_no))
}

fn member<'v, T: Deserialize<'v>>(
    body: &'v Value,
    name: &'static str,
) -> Result<T, AuthorityError> {
    optional(body, name)?.ok_or(AuthorityError::Member(name))
}

fn optional<'v, T: Deserialize<'v>>(
    body: &'v Value,
    name: &'static str,
) -> Result<Option<T>, AuthorityError> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match T::deserialize(value) {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(AuthorityError::Member(name)),
        },
    }
}

/// Why what a record says was done was not allowed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// A member of the body that is missing or not what it must be.
    #[error("the body's member is missing or not valid: {0}")]
    Member(&'static str),
    /// A decision that is not genuine or not meant for this.
    #[error(transparent)]
    Decision(#[from] DecisionError),
    /// Not enough people signed.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// Nobody signed.
    #[error("no decision before this record allows it")]
    NoDecision,
    /// A decision that was used before.
    #[error("the decision was used before, decision {0}")]
    UsedTwice(Uuid),
    /// A plan that the run does not know.
    #[error("the record speaks of a plan that the run does not have")]
    UnknownPlan,
    /// A plan that was started although the run had moved on.
    #[error("a stale plan was started, plan {0}")]
    Stale(Hash),
    /// An approved plan that was started again.
    #[error("an approved plan was started twice, plan {0}")]
    StartedTwice(Hash),
}

impl AuthorityError {
    /// The stable code of the error.
    pub fn code(&self) -> &'static str {
        match self {
            AuthorityError::Member(_) => "RD0660",
            AuthorityError::Decision(error) => error.code(),
            AuthorityError::Missing(missing) => missing.code(),
            AuthorityError::NoDecision => "RD0661",
            AuthorityError::UsedTwice(_) => "RD0662",
            AuthorityError::UnknownPlan => "RD0663",
            AuthorityError::Stale(_) => "RD0664",
            AuthorityError::StartedTwice(_) => "RD0665",
        }
    }

    /// What the caller must do: something was done that nobody allowed.
    pub fn class(&self) -> Class {
        Class::Kill
    }
}

#[cfg(test)]
mod tests;
