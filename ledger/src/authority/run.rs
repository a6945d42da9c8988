//! Follows the decisions of one run: its basis, its plans, and who signed for what.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use crate::decision::{Basis, Decision, Expected, Purpose};
use crate::envelope::Envelope;
use crate::hash::Hash;
use crate::quorum::{Quorum, Signer, both, is_open, one_sovereign, quorum_missing};
use crate::record::{Kind, Record};
use crate::used::Use;

use super::AuthorityError;
use super::judge::Judge;

/// What is known of one run.
#[derive(Default)]
pub(crate) struct RunAuthority {
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

/// The basis of a run in its shortest form; a sequence of 0 means that there is none.
#[derive(Clone, Copy)]
pub(crate) struct KeptBasis {
    seq: [u8; 8],
    hash: [u8; 32],
}

impl KeptBasis {
    fn new(basis: Option<Basis>) -> KeptBasis {
        let basis = basis.unwrap_or(Basis {
            seq: 0,
            hash: Hash::ZERO,
        });
        KeptBasis {
            seq: basis.seq.to_be_bytes(),
            hash: *basis.hash.as_bytes(),
        }
    }

    fn basis(&self) -> Option<Basis> {
        let seq = i64::from_be_bytes(self.seq);
        let hash = Hash::from_bytes(self.hash);
        (seq > 0).then_some(Basis { seq, hash })
    }
}

impl RunAuthority {
    /// Takes the next record of the run.
    pub(crate) fn push(
        &mut self,
        judge: &mut impl Judge,
        record: &Record,
        hash: Hash,
    ) -> Result<(), AuthorityError> {
        match record.body.get("envelope") {
            Some(envelope) => self.admit(judge, record, envelope)?,
            None if must_be_signed(record.kind) => {
                return Err(AuthorityError::Member("envelope"));
            }
            None => {}
        }
        match record.kind {
            Kind::PlanMade => self.plan_made(&record.body)?,
            Kind::PlanStarted => self.plan_started(judge, &record.body)?,
            Kind::CompensationCommitted => self.action_committed(judge, &record.body)?,
            Kind::HoldReleased | Kind::SwitchReleased | Kind::Resolved => {
                self.acted(judge, record)?;
            }
            _ => {}
        }
        if record.kind.moves_basis() {
            let seq = record.seq;
            self.basis = Some(Basis { seq, hash });
        }
        Ok(())
    }

    /// What must be kept of a run that has no plan and no decision; `None` if it has.
    pub(crate) fn keep(&self) -> Option<KeptBasis> {
        let bare = self.plans.is_empty() && self.acts.is_empty() && self.current.is_none();
        bare.then(|| KeptBasis::new(self.basis))
    }

    /// Takes up a run again that was kept.
    pub(crate) fn resume(kept: &KeptBasis) -> RunAuthority {
        RunAuthority {
            basis: kept.basis(),
            ..RunAuthority::default()
        }
    }

    /// Takes a decision into the log: genuine, meant for this, and not met before.
    fn admit(
        &mut self,
        judge: &mut impl Judge,
        record: &Record,
        envelope: &Value,
    ) -> Result<(), AuthorityError> {
        let envelope = Envelope::from_value(envelope)?;
        let (decision, signers) = judge.verify(&envelope)?;
        let id: Option<Uuid> = optional(&record.body, "decision_id")?;
        if id.is_some_and(|id| id != decision.id) {
            return Err(AuthorityError::Member("decision_id"));
        }
        if let Some(before) = judge.used(decision.id) {
            let cited = record.kind == Kind::CompensationCommitted
                && before.run == record.run
                && before.plan.is_some()
                && before.plan == self.current;
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
        judge.admit(decision.id, first, &signers);
        self.count(decision, signers)
    }

    /// Checks that a decision allows what this record of this run is about.
    fn fits(&self, record: &Record, decision: &Decision) -> Result<(), AuthorityError> {
        let purpose = match (record.kind, decision.purpose) {
            // A runbook's approvals stand beside its steps.
            (Kind::RunbookStep, Purpose::RunbookApprove) => Purpose::RunbookApprove,
            (kind, own) => purpose_of(kind).unwrap_or(own),
        };
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
                act.basis = self.basis;
            }
            Purpose::PhaseApprove => {
                act.run = Some(record.run);
                act.phase = decision.phase.as_deref();
            }
            Purpose::RunbookApprove | Purpose::RunbookStep => {
                act.run = Some(record.run);
                act.plan = Some(member(&record.body, "plan")?);
                if purpose == Purpose::RunbookStep {
                    act.phase = Some(member(&record.body, "step")?);
                }
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
            Purpose::PhaseApprove | Purpose::RunbookApprove | Purpose::RunbookStep => {
                return Ok(());
            }
            Purpose::RunResolve => Some(Act::Resolve),
            Purpose::HoldRelease => decision.hold.map(Act::Hold),
            Purpose::SwitchRelease => decision.switch_no.map(Act::Switch),
        };
        let approvals = match (act, decision.plan) {
            (Some(act), _) => self.acts.entry(act).or_default(),
            (None, Some(plan)) => {
                let plan = self.plans.get_mut(&plan);
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
        self.plans.entry(member(body, "plan")?).or_insert(plan);
        Ok(())
    }

    fn plan_started(&mut self, judge: &impl Judge, body: &Value) -> Result<(), AuthorityError> {
        let digest = member(body, "plan")?;
        let plan = self.plan(digest)?;
        if self.basis != Some(plan.basis) {
            return Err(AuthorityError::Stale(digest));
        }
        if plan.started && plan.approvals.decisions > 0 {
            return Err(AuthorityError::StartedTwice(digest));
        }
        enough(
            judge,
            &plan.quorum,
            &plan.approvals,
            plan.requester.as_deref(),
        )?;
        if let Some(plan) = self.plans.get_mut(&digest) {
            plan.started = true;
        }
        self.current = Some(digest);
        Ok(())
    }

    fn action_committed(&self, judge: &impl Judge, body: &Value) -> Result<(), AuthorityError> {
        let digest = self.current.ok_or(AuthorityError::UnknownPlan)?;
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
        enough(judge, &quorum, &plan.approvals, plan.requester.as_deref())
    }

    /// A release or a resolution: its decision is in this record or earlier in this run.
    fn acted(&mut self, judge: &impl Judge, record: &Record) -> Result<(), AuthorityError> {
        let act = match record.kind {
            Kind::HoldReleased => Act::Hold(member(&record.body, "hold")?),
            Kind::SwitchReleased => Act::Switch(released(record)?),
            _ => Act::Resolve,
        };
        let quorum = optional(&record.body, "quorum")?.unwrap_or_default();
        let approvals = self.acts.remove(&act).unwrap_or_default();
        enough(judge, &or_sovereign(quorum), &approvals, None)
    }

    fn plan(&self, digest: Hash) -> Result<&Plan, AuthorityError> {
        let plan = self.plans.get(&digest);
        plan.ok_or(AuthorityError::UnknownPlan)
    }
}

fn enough(
    judge: &impl Judge,
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
    if !judge.knows_signers() {
        // Who signed is not known; the verdict can only be that this was not judged.
        return Ok(());
    }
    let requester = requester.unwrap_or_default();
    Ok(quorum_missing(quorum, &approvals.signers, requester)?)
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
        Kind::RunbookStep => Some(Purpose::RunbookStep),
        _ => None,
    }
}

/// Whether a record of this kind is nothing without a signature.
fn must_be_signed(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::PlanApproved | Kind::Decision | Kind::RunbookStep
    )
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
        // The reader below would take a list for an object.
        Some(Value::Array(_)) => Err(AuthorityError::Member(name)),
        Some(value) => match T::deserialize(value) {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(AuthorityError::Member(name)),
        },
    }
}
