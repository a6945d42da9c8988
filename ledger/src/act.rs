//! Says what the root signs about the keys of the ledger, about its policies and about its blobs.
//!
//! **Invariant:** an act is bound to one record: its kind, the installation, the generation, the
//! record of the keys before it, and the whole body. Its payload type is its own, so that no
//! decision passes for an act and no act for a decision.
//!
//! **Not here:** who is the root and what an act changes (`keyring`), and signatures (`envelope`).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::decision::{Basis, DecisionError, present};
use crate::envelope::Envelope;
use crate::key::SigningKey;
use crate::record::{Kind, Record};
use crate::time::parse_utc;

/// The DSSE payload type of a root act.
pub const ACT_PAYLOAD_TYPE: &str = "application/vnd.redress.act.v1+json";

/// The member of a record's body that holds the signed act.
pub const DECISION_MEMBER: &str = "decision";

/// What the root signs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Act {
    /// The act's own id; it is used once, among decisions and acts.
    pub id: Uuid,
    /// The kind of the record that it allows.
    pub act: String,
    /// The installation.
    pub origin: String,
    /// The ledger's generation.
    pub generation: i64,
    /// The record of the keys that it follows; none for the one that opens the log.
    #[serde(deserialize_with = "present")]
    pub basis: Option<Basis>,
    /// The record's body, without the signed act itself.
    pub body: Map<String, Value>,
    /// The last instant at which it may be used, RFC 3339 UTC with microseconds.
    pub not_after: String,
    /// The reason in the signers' words.
    pub reason: String,
}

/// What an act says beside what it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The act's own id.
    pub id: Uuid,
    /// The installation.
    pub origin: String,
    /// The last instant at which it may be used.
    pub not_after: String,
    /// The reason.
    pub reason: String,
}

impl Act {
    /// Describes an act; `Keyring::act` fills in generation and basis.
    pub fn new(
        kind: Kind,
        generation: i64,
        basis: Option<Basis>,
        body: Value,
        terms: Terms,
    ) -> Result<Act, DecisionError> {
        let Value::Object(body) = body else {
            return Err(DecisionError::Field("body"));
        };
        if body.contains_key(DECISION_MEMBER) {
            return Err(DecisionError::Field("body"));
        }
        let act = Act {
            id: terms.id,
            act: kind.as_str().to_owned(),
            origin: terms.origin,
            generation,
            basis,
            body,
            not_after: terms.not_after,
            reason: terms.reason,
        };
        act.check_shape()?;
        Ok(act)
    }

    /// Signs the act with every one of these keys.
    pub fn sign(&self, keys: &[&SigningKey]) -> Result<Envelope, DecisionError> {
        let mut envelope = Envelope::unsigned_act(self)?;
        for key in keys {
            envelope.countersign(key)?;
        }
        Ok(envelope)
    }

    /// The body of the record that this act allows, once it is signed.
    pub fn record_body(&self, envelope: &Envelope) -> Value {
        let mut body = self.body.clone();
        body.insert(DECISION_MEMBER.to_owned(), envelope.to_value());
        Value::Object(body)
    }

    /// Checks that this act allows exactly this record behind this basis.
    pub(crate) fn check(&self, record: &Record, basis: Option<Basis>) -> Result<(), DecisionError> {
        if self.act != record.kind.as_str() {
            return Err(DecisionError::OtherPurpose(self.id));
        }
        if self.origin != record.origin {
            return Err(DecisionError::OtherOrigin(self.id));
        }
        if self.generation != record.generation {
            return Err(DecisionError::OtherGeneration(self.id));
        }
        if self.basis != basis {
            return Err(DecisionError::OtherBasis(self.id));
        }
        if !self.is_about(&record.body) {
            return Err(DecisionError::OtherBody(self.id));
        }
        // One fixed form on both sides, so the texts order as the instants do.
        if self.not_after < record.at {
            return Err(DecisionError::Expired(self.id));
        }
        Ok(())
    }

    /// Both bodies were read from canonical bytes, so equal values are equal bytes.
    fn is_about(&self, body: &Value) -> bool {
        let Some(members) = body.as_object() else {
            return false;
        };
        let others = members.iter().filter(|(name, _)| *name != DECISION_MEMBER);
        let count = others.clone().count();
        count == self.body.len()
            && others
                .into_iter()
                .all(|(name, value)| self.body.get(name) == Some(value))
    }

    pub(crate) fn check_shape(&self) -> Result<(), DecisionError> {
        match parse_utc(&self.not_after) {
            Some(_) => Ok(()),
            None => Err(DecisionError::Field("not_after")),
        }
    }
}
