//! Decides whether a signed decision is genuine and meant for exactly the act at hand.
//!
//! A decision is a DSSE envelope whose payload is canonical JSON. Everything that it must not be
//! replayed against stands in the signed bytes: environment, generation, run, basis, plan, hold,
//! `switch_no`, and the time after which it is void.
//!
//! **Invariant:** a [`Verified`] exists only after every signature of its envelope verified under
//! a trusted key; one signature too many is a refusal, not something to ignore. Each way of not
//! fitting is an error of its own.
//!
//! **Not here:** whether the signers are enough (`quorum`) and whether the decision was used
//! before (`verify` offline, a unique key in the database).

use base64ct::{Base64, Encoding};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use thiserror::Error;
use uuid::Uuid;

use crate::canonical::{CanonicalError, parse_canonical, to_canonical};
use crate::class::Class;
use crate::hash::Hash;
use crate::key::{KeyId, SigningKey};
use crate::quorum::Signer;
use crate::record::is_origin;
use crate::time::parse_utc;
use crate::trust::Trust;

/// The DSSE payload type of a decision.
pub const PAYLOAD_TYPE: &str = "application/vnd.redress.decision.v1+json";

/// The largest payload.
pub const PAYLOAD_BYTES_MAX: usize = 16 * 1024;

/// The most signatures on one envelope.
pub const SIGNATURES_MAX: usize = 16;

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
    /// The digest of the plan.
    #[serde(deserialize_with = "present")]
    pub plan: Option<Hash>,
    /// The phase that may run.
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
    fn check_shape(&self) -> Result<(), DecisionError> {
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
            Purpose::HoldRelease => &[("hold", self.hold)],
            Purpose::SwitchRelease => &[("switch_no", self.switch_no)],
        };
        let absent = needed.iter().find(|(_, there)| !there);
        absent.map(|(name, _)| *name)
    }
}

/// A signed decision, as records and files hold it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Envelope {
    /// [`PAYLOAD_TYPE`]; part of what is signed.
    pub payload_type: String,
    /// The canonical decision in base64.
    pub payload: String,
    /// The signatures; the list itself is not authenticated.
    pub signatures: Vec<EnvelopeSignature>,
}

/// One signature of an envelope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvelopeSignature {
    /// The id of the key.
    pub keyid: KeyId,
    /// The signature in base64.
    pub sig: String,
}

/// A decision whose signatures all verified.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// What was decided.
    pub decision: Decision,
    /// Who signed.
    pub signers: Vec<Signer>,
}

/// Signs a decision.
pub fn sign(decision: &Decision, key: &SigningKey) -> Result<Envelope, DecisionError> {
    decision.check_shape()?;
    let value = serde_json::to_value(decision)
        .map_err(|error| DecisionError::Malformed(error.to_string()))?;
    let payload = to_canonical(&value)?;
    if payload.len() > PAYLOAD_BYTES_MAX {
        return Err(DecisionError::TooLong(payload.len()));
    }
    let mut envelope = Envelope {
        payload_type: PAYLOAD_TYPE.to_owned(),
        payload: Base64::encode_string(&payload),
        signatures: Vec::new(),
    };
    envelope.countersign(key)?;
    Ok(envelope)
}

impl Envelope {
    /// Adds another signature over the same decision.
    pub fn countersign(&mut self, key: &SigningKey) -> Result<(), DecisionError> {
        let payload = self.payload_bytes()?;
        read_payload(&payload)?;
        let sig = Base64::encode_string(&key.sign(&pae(&self.payload_type, &payload)));
        let keyid = key.id().clone();
        self.signatures.push(EnvelopeSignature { keyid, sig });
        self.check_signature_list()
    }

    /// Reads an envelope from a file.
    pub fn from_json(bytes: &[u8]) -> Result<Envelope, DecisionError> {
        let room = 2 * PAYLOAD_BYTES_MAX + SIGNATURES_MAX * 1024;
        if bytes.len() > room {
            return Err(DecisionError::TooLong(bytes.len()));
        }
        serde_json::from_slice(bytes).map_err(|error| DecisionError::Malformed(error.to_string()))
    }

    /// Reads an envelope from a record's body.
    pub fn from_value(value: &Value) -> Result<Envelope, DecisionError> {
        Envelope::deserialize(value).map_err(|error| DecisionError::Malformed(error.to_string()))
    }

    /// Writes the envelope as a record's body holds it.
    pub fn to_value(&self) -> Value {
        let signatures: Vec<Value> = self
            .signatures
            .iter()
            .map(|one| serde_json::json!({"keyid": one.keyid, "sig": one.sig}))
            .collect();
        serde_json::json!({
            "payloadType": self.payload_type,
            "payload": self.payload,
            "signatures": signatures,
        })
    }

    /// Reads the decision without looking at a signature: only to show it or to find its id.
    pub fn peek(&self) -> Result<Decision, DecisionError> {
        read_payload(&self.payload_bytes()?)
    }

    /// Checks every signature against the trusted keys.
    pub fn verify(&self, trust: &Trust) -> Result<Verified, DecisionError> {
        self.check_signature_list()?;
        let payload = self.payload_bytes()?;
        let message = pae(&self.payload_type, &payload);
        let mut signers = Vec::with_capacity(self.signatures.len());
        for one in &self.signatures {
            let known = trust
                .lookup(&one.keyid)
                .ok_or_else(|| DecisionError::UnknownKey(one.keyid.clone()))?;
            let bad = || DecisionError::BadSignature(one.keyid.clone());
            let signature = Base64::decode_vec(&one.sig).map_err(|_| bad())?;
            let verified = known.vkey.key().verify(&message, &signature);
            verified.map_err(|_| bad())?;
            signers.push(Signer {
                key_id: one.keyid.clone(),
                principal: known.principal().to_owned(),
                role: known.role,
            });
        }
        // The payload is read only now: nothing that nobody signed reaches the parser's callers.
        let decision = read_payload(&payload)?;
        Ok(Verified { decision, signers })
    }

    fn payload_bytes(&self) -> Result<Vec<u8>, DecisionError> {
        if self.payload_type != PAYLOAD_TYPE {
            return Err(DecisionError::PayloadType(self.payload_type.clone()));
        }
        if self.payload.len() > 2 * PAYLOAD_BYTES_MAX {
            return Err(DecisionError::TooLong(self.payload.len()));
        }
        Base64::decode_vec(&self.payload)
            .map_err(|_| DecisionError::Malformed("the payload is not base64".to_owned()))
    }

    fn check_signature_list(&self) -> Result<(), DecisionError> {
        if self.signatures.is_empty() || self.signatures.len() > SIGNATURES_MAX {
            return Err(DecisionError::SignatureCount(self.signatures.len()));
        }
        for (index, one) in self.signatures.iter().enumerate() {
            if self.signatures[..index]
                .iter()
                .any(|e| e.keyid == one.keyid)
            {
                return Err(DecisionError::SignedTwice(one.keyid.clone()));
            }
        }
        Ok(())
    }
}

fn read_payload(payload: &[u8]) -> Result<Decision, DecisionError> {
    if payload.len() > PAYLOAD_BYTES_MAX {
        return Err(DecisionError::TooLong(payload.len()));
    }
    let value = parse_canonical(payload)?;
    let decision: Decision = serde_json::from_value(value)
        .map_err(|error| DecisionError::Malformed(error.to_string()))?;
    // A second spelling of an id or a hash would be the same decision under other bytes.
    let again = serde_json::to_value(&decision)
        .map_err(|error| DecisionError::Malformed(error.to_string()))?;
    if to_canonical(&again)? != payload {
        return Err(CanonicalError::NotCanonical.into());
    }
    decision.check_shape()?;
    Ok(decision)
}

/// The bytes that are signed: type and payload with their lengths (DSSE v1).
fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!(
        "DSSEv1 {} {payload_type} {} ",
        payload_type.len(),
        payload.len()
    );
    [head.as_bytes(), payload].concat()
}

/// Reads an optional field that must be written, as `null` if it is empty.
fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
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
    /// A key that the trust file does not name.
    #[error("the decision is signed by a key that is not trusted: {0}")]
    UnknownKey(KeyId),
    /// A signature that is not one of its key over this decision.
    #[error("the signature on the decision does not verify, key {0}")]
    BadSignature(KeyId),
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
            DecisionError::BadSignature(_) => "RD0548",
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
            DecisionError::Expired(_) => "RD0559",
        }
    }

    /// What the caller must do.
    pub fn class(&self) -> Class {
        Class::Refused
    }
}
