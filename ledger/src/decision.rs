//! Decides whether a signed decision is meant for exactly the act at hand.
//!
//! Everything that a decision must not be replayed against stands in the signed bytes:
//! environment, generation, run, basis, plan, phase, hold, `switch_no`, and the instant after
//! which it is void.
//!
//! **Invariant:** each way of not fitting is an error of its own, and a caller that forgets to say
//! what a purpose is bound to is refused, not served.
//!
//! **Not here:** signatures (`envelope`), whether the signers are enough (`quorum`), and whether
//! the decision was used before (`authority` offline, a unique key in the database).

use serde::{Deserialize, Deserializer, Serialize};
use thiserror::Error;
use uuid::Uuid;

use crate::canonical::CanonicalError;
use crate::class::Class;
use crate::envelope::SIGNATURES_MAX;
use crate::hash::Hash;
use crate::key::KeyId;
use crate::record::is_origin;
use crate::sshsig::SshSigError;
use crate::time::parse_utc;

/// What a decision allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// A plan may be applied.
    PlanApprove,
    /// A hold may be released.
    HoldRelease,
    /// The kill switch may be released.
    SwitchRelease,
    /// A run may be closed as it stands.
    RunResolve,
    /// A phase may run.
    PhaseApprove,
    /// The plan of a runbook may be applied.
    RunbookApprove,
    /// A step of a runbook was done, or refused, by whoever signed.
    RunbookStep,
}

/// The record that a decision is based on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Basis {
    /// Its place in the run.
    pub seq: i64,
    /// Its hash.
    pub hash: Hash,
}

/// What somebody signs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// The decision's own id; it is used once.
    pub id: Uuid,
    /// What it allows.
    pub purpose: Purpose,
    /// The installation.
    pub origin: String,
    /// The ledger's generation.
    pub generation: i64,
    /// The run, where it is about one.
    #[serde(deserialize_with = "present")]
    pub run: Option<Uuid>,
    /// The record that it is based on.
    #[serde(deserialize_with = "present")]
    pub basis: Option<Basis>,
    /// The kill that it releases, or that its plan may pass.
    #[serde(deserialize_with = "present")]
    pub switch_no: Option<i64>,
    /// The holds that its plan may pass.
    pub holds: Vec<Uuid>,
    /// The hold that it releases.
    #[serde(deserialize_with = "present")]
    pub hold: Option<Uuid>,
    /// The digest of the plan, of a run or of a runbook.
    #[serde(deserialize_with = "present")]
    pub plan: Option<Hash>,
    /// The phase that may run, or the step that was done.
    #[serde(deserialize_with = "present")]
    pub phase: Option<String>,
    /// A word that reports can count.
    pub reason_code: String,
    /// The reason in the signer's words.
    pub reason: String,
    /// The policy in force.
    #[serde(deserialize_with = "present")]
    pub policy: Option<Hash>,
    /// The last instant at which it may be used, RFC 3339 UTC with microseconds.
    pub not_after: String,
    /// Who asked for the act; this principal's signature does not count.
    pub requester: String,
}

/// The act at hand: what a decision has to fit.
///
/// A binding that is `None` is not compared, but the ones that a purpose needs must be there.
#[derive(Clone, Debug)]
pub struct Expected<'a> {
    /// What is about to be done.
    pub purpose: Purpose,
    /// This installation.
    pub origin: &'a str,
    /// Its generation.
    pub generation: i64,
    /// The run.
    pub run: Option<Uuid>,
    /// The run's basis now.
    pub basis: Option<Basis>,
    /// The kill in force.
    pub switch_no: Option<i64>,
    /// The hold to release; for any other purpose a hold in force that must be passed.
    pub hold: Option<Uuid>,
    /// The plan to apply.
    pub plan: Option<Hash>,
    /// The phase to run.
    pub phase: Option<&'a str>,
    /// The database's time.
    pub now: &'a str,
}

impl<'a> Expected<'a> {
    /// Describes an act; the bindings of its purpose are set afterwards.
    pub fn new(purpose: Purpose, origin: &'a str, generation: i64, now: &'a str) -> Expected<'a> {
        Expected {
            purpose,
            origin,
            generation,
            run: None,
            basis: None,
            switch_no: None,
            hold: None,
            plan: None,
            phase: None,
            now,
        }
    }
}

impl Decision {
    /// Checks that this decision allows exactly the act at hand.
    pub fn check(&self, act: &Expected<'_>) -> Result<(), DecisionError> {
        act.check_bound()?;
        if self.purpose != act.purpose {
            return Err(DecisionError::OtherPurpose(self.id));
        }
        if self.origin != act.origin {
            return Err(DecisionError::OtherOrigin(self.id));
        }
        if self.generation != act.generation {
            return Err(DecisionError::OtherGeneration(self.id));
        }
        if act.run.is_some() && self.run != act.run {
            return Err(DecisionError::OtherRun(self.id));
        }
        if act.plan.is_some() && self.plan != act.plan {
            return Err(DecisionError::OtherPlan(self.id));
        }
        if act.phase.is_some() && self.phase.as_deref() != act.phase {
            return Err(DecisionError::OtherPhase(self.id));
        }
        if act.basis.is_some() && self.basis != act.basis {
            return Err(DecisionError::OtherBasis(self.id));
        }
        if act.switch_no.is_some() && self.switch_no != act.switch_no {
            return Err(DecisionError::OtherSwitch(self.id));
        }
        if !self.fits_hold(act) {
            return Err(DecisionError::OtherHold(self.id));
        }
        // One fixed form on both sides, so the texts order as the instants do.
        if parse_utc(act.now).is_none() || self.not_after.as_str() < act.now {
            return Err(DecisionError::Expired(self.id));
        }
        Ok(())
    }

    fn fits_hold(&self, act: &Expected<'_>) -> bool {
        match (act.hold, act.purpose) {
            (None, _) => true,
            (Some(hold), Purpose::HoldRelease) => self.hold == Some(hold),
            (Some(hold), _) => self.holds.contains(&hold),
        }
    }

    /// Checks what makes a decision one at all, whatever the act.
    pub(crate) fn check_shape(&self) -> Result<(), DecisionError> {
        let field = |name: &'static str, good: bool| match good {
            true => Ok(()),
            false => Err(DecisionError::Field(name)),
        };
        field("id", !self.id.is_nil())?;
        field("origin", is_origin(&self.origin))?;
        field("generation", self.generation >= 0)?;
        field("not_after", parse_utc(&self.not_after).is_some())?;
        field("requester", !self.requester.is_empty())?;
        field("reason_code", !self.reason_code.is_empty())?;
        let bound = Bound {
            run: self.run.is_some(),
            basis: self.basis.is_some(),
            switch_no: self.switch_no.is_some(),
            hold: self.hold.is_some(),
            plan: self.plan.is_some(),
            phase: self.phase.is_some(),
        };
        bound
            .missing(self.purpose)
            .map_or(Ok(()), |name| Err(DecisionError::Field(name)))
    }
}

impl Expected<'_> {
    /// A caller that forgot a binding must not get a decision that was made for something else.
    fn check_bound(&self) -> Result<(), DecisionError> {
        let bound = Bound {
            run: self.run.is_some(),
            basis: self.basis.is_some(),
            switch_no: self.switch_no.is_some(),
            hold: self.hold.is_some(),
            plan: self.plan.is_some(),
            phase: self.phase.is_some(),
        };
        bound
            .missing(self.purpose)
            .map_or(Ok(()), |name| Err(DecisionError::Unbound(name)))
    }
}

/// Which bindings are there.
struct Bound {
    run: bool,
    basis: bool,
    switch_no: bool,
    hold: bool,
    plan: bool,
    phase: bool,
}

impl Bound {
    /// The first binding that a purpose needs and that is not there.
    fn missing(&self, purpose: Purpose) -> Option<&'static str> {
        let run = ("run", self.run);
        let needed: &[(&'static str, bool)] = match purpose {
            Purpose::PlanApprove => &[run, ("plan", self.plan), ("basis", self.basis)],
            Purpose::RunResolve => &[run, ("basis", self.basis)],
            Purpose::PhaseApprove => &[run, ("phase", self.phase)],
            Purpose::RunbookApprove => &[run, ("plan", self.plan)],
            Purpose::RunbookStep => &[run, ("plan", self.plan), ("phase", self.phase)],
            Purpose::HoldRelease => &[("hold", self.hold)],
            Purpose::SwitchRelease => &[("switch_no", self.switch_no)],
        };
        let absent = needed.iter().find(|(_, there)| !there);
        absent.map(|(name, _)| *name)
    }
}

/// Reads an optional field that must be written, as `null` if it is empty.
pub(crate) fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::deserialize(deserializer)
}

/// Why a decision does not count.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecisionError {
    /// Not an envelope, or not exactly the fields of a decision.
    #[error("not a decision: {0}")]
    Malformed(String),
    /// The payload is not canonical.
    #[error("the decision is not canonical: {0}")]
    Canonical(#[from] CanonicalError),
    /// A field that is not valid, or that the purpose needs and that is not there.
    #[error("the decision's field is missing or not valid: {0}")]
    Field(&'static str),
    /// Larger than a decision may be.
    #[error("the decision is too long: {0} bytes")]
    TooLong(usize),
    /// Signed for something else than a decision.
    #[error("the envelope holds another type of payload: {0:?}")]
    PayloadType(String),
    /// No signature, or more than [`SIGNATURES_MAX`].
    #[error("an envelope has 1 to {SIGNATURES_MAX} signatures, this one has {0}")]
    SignatureCount(usize),
    /// One key signed more than once.
    #[error("the envelope is signed twice by the key {0}")]
    SignedTwice(KeyId),
    /// A key that the trust file or the ledger does not name.
    #[error("the decision is signed by a key that is not trusted: {0}")]
    UnknownKey(KeyId),
    /// A key that was replaced, revoked or compromised before.
    #[error("the decision is signed by a key that was no longer valid: {0}")]
    KeyEnded(KeyId),
    /// A key that is for something else.
    #[error("the decision is signed by a key that is for another purpose: {0}")]
    KeyPurpose(KeyId),
    /// A signature that is not one of its key over this decision.
    #[error("the signature on the decision does not verify, key {0}")]
    BadSignature(KeyId),
    /// A signature by OpenSSH that cannot count, whoever it is by.
    #[error("{1}, key {0}")]
    SshSignature(KeyId, SshSigError),
    /// The caller did not say what the decision has to fit.
    #[error("a decision cannot be checked without its {0}")]
    Unbound(&'static str),
    /// Made for another purpose.
    #[error("the decision was made for another purpose, decision {0}")]
    OtherPurpose(Uuid),
    /// Made for another environment.
    #[error("the decision was made for another environment, decision {0}")]
    OtherOrigin(Uuid),
    /// Made for another generation.
    #[error("the decision was made for another generation of the ledger, decision {0}")]
    OtherGeneration(Uuid),
    /// Made for another run.
    #[error("the decision was made for another run, decision {0}")]
    OtherRun(Uuid),
    /// Made for another plan.
    #[error("the decision was made for another plan, decision {0}")]
    OtherPlan(Uuid),
    /// Made for another phase.
    #[error("the decision was made for another phase, decision {0}")]
    OtherPhase(Uuid),
    /// The run has moved on since.
    #[error("the decision was made on another basis, decision {0}")]
    OtherBasis(Uuid),
    /// Made for another kill.
    #[error("the decision was made for another switch_no, decision {0}")]
    OtherSwitch(Uuid),
    /// Made for another hold.
    #[error("the decision was made for another hold, decision {0}")]
    OtherHold(Uuid),
    /// About another body: the root signed for something else.
    #[error("the act was signed for another body, decision {0}")]
    OtherBody(Uuid),
    /// Its time is over.
    #[error("the decision has expired, decision {0}")]
    Expired(Uuid),
}

impl DecisionError {
    /// The stable code of the error.
    pub fn code(&self) -> &'static str {
        match self {
            DecisionError::Malformed(_) => "RD0540",
            DecisionError::Canonical(_) => "RD0541",
            DecisionError::Field(_) => "RD0542",
            DecisionError::TooLong(_) => "RD0543",
            DecisionError::PayloadType(_) => "RD0544",
            DecisionError::SignatureCount(_) => "RD0545",
            DecisionError::SignedTwice(_) => "RD0546",
            DecisionError::UnknownKey(_) => "RD0547",
            DecisionError::KeyEnded(_) => "RD0570",
            DecisionError::KeyPurpose(_) => "RD0571",
            DecisionError::BadSignature(_) => "RD0548",
            DecisionError::SshSignature(_, error) => error.code(),
            DecisionError::Unbound(_) => "RD0549",
            DecisionError::OtherPurpose(_) => "RD0550",
            DecisionError::OtherOrigin(_) => "RD0551",
            DecisionError::OtherGeneration(_) => "RD0552",
            DecisionError::OtherRun(_) => "RD0553",
            DecisionError::OtherPlan(_) => "RD0554",
            DecisionError::OtherPhase(_) => "RD0555",
            DecisionError::OtherBasis(_) => "RD0556",
            DecisionError::OtherSwitch(_) => "RD0557",
            DecisionError::OtherHold(_) => "RD0558",
            DecisionError::OtherBody(_) => "RD0576",
            DecisionError::Expired(_) => "RD0559",
        }
    }

    /// What the caller must do.
    pub fn class(&self) -> Class {
        Class::Refused
    }
}

#[cfg(test)]
mod tests;
