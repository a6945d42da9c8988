//! Decides whether a signed decision is genuine: a DSSE envelope around canonical JSON.
//!
//! **Invariant:** a [`Verified`] exists only after every signature of its envelope verified under
//! a trusted key. A signature too many is a refusal and not something to ignore: the list of
//! signatures is not authenticated, so nothing may stand in it that nobody can account for.
//!
//! **Not here:** whether the decision is meant for the act at hand (`decision`) and whether the
//! signers are enough (`quorum`).

use base64ct::{Base64, Encoding};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::canonical::{CanonicalError, parse_canonical, to_canonical};
use crate::decision::{Decision, DecisionError};
use crate::key::{KeyId, SigningKey};
use crate::quorum::Signer;
use crate::trust::Trust;

/// The DSSE payload type of a decision.
pub const PAYLOAD_TYPE: &str = "application/vnd.redress.decision.v1+json";

/// The largest payload.
pub const PAYLOAD_BYTES_MAX: usize = 16 * 1024;

/// The most signatures on one envelope.
pub const SIGNATURES_MAX: usize = 16;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::Purpose;
    use crate::key::Role;
    use crate::testing::{decision, key, trust};
    use serde_json::json;

    fn signed() -> Envelope {
        sign(&decision(), &key("alice")).unwrap()
    }

    /// Replaces the payload and signs it anew, as somebody with a trusted key could.
    fn around(payload: &[u8]) -> Envelope {
        let mut envelope = signed();
        envelope.payload = Base64::encode_string(payload);
        let signature = key("alice").sign(&pae(PAYLOAD_TYPE, payload));
        envelope.signatures[0].sig = Base64::encode_string(&signature);
        envelope
    }

    #[test]
    fn what_was_signed_is_what_is_read() {
        let mut envelope = signed();
        envelope.countersign(&key("bob")).unwrap();
        let verified = envelope.verify(&trust()).unwrap();
        assert_eq!(verified.decision, decision());
        let who: Vec<_> = verified
            .signers
            .iter()
            .map(|signer| (signer.principal.as_str(), signer.role))
            .collect();
        assert_eq!(who, [("alice", Role::Sovereign), ("bob", Role::Reviewer)]);
        assert_eq!(envelope.peek().unwrap(), decision());
        let value = envelope.to_value();
        assert_eq!(Envelope::from_value(&value).unwrap(), envelope);
        assert_eq!(serde_json::to_value(&envelope).unwrap(), value);
        let text = value.to_string();
        assert_eq!(Envelope::from_json(text.as_bytes()).unwrap(), envelope);
    }

    /// The example of the DSSE specification.
    #[test]
    fn the_signed_bytes_are_those_of_dsse() {
        assert_eq!(
            pae("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }

    /// F87, F88, F93.
    #[test]
    fn a_forged_envelope_is_refused_by_its_own_name() {
        let check = |code: &str, edit: fn(&mut Envelope)| {
            let mut envelope = signed();
            edit(&mut envelope);
            let error = envelope.verify(&trust()).unwrap_err();
            assert_eq!(error.code(), code, "{error}");
        };
        check("RD0544", |envelope| envelope.payload_type.push('x'));
        check("RD0540", |envelope| envelope.payload.push('='));
        check("RD0545", |envelope| envelope.signatures.clear());
        check("RD0545", |envelope| {
            envelope.signatures = vec![envelope.signatures[0].clone(); SIGNATURES_MAX + 1];
        });
        check("RD0546", |envelope| {
            envelope.signatures.push(envelope.signatures[0].clone());
        });
        check("RD0547", |envelope| {
            envelope.signatures[0].keyid = key("eve").id().clone();
        });
        check("RD0547", |envelope| {
            envelope.countersign(&key("eve")).unwrap()
        });
        check("RD0548", |envelope| {
            envelope.signatures[0].keyid = key("bob").id().clone();
        });
        check("RD0548", |envelope| envelope.signatures[0].sig.clear());
        check("RD0548", |envelope| {
            envelope.signatures[0].sig.insert(0, '*')
        });
        check("RD0548", |envelope| {
            let another = Decision {
                generation: 2,
                ..decision()
            };
            envelope.payload = sign(&another, &key("alice")).unwrap().payload;
        });
        // A key that claims Alice's name but is another one.
        check("RD0547", |envelope| {
            let false_alice = SigningKey::from_seed("alice", &[9; 32]).unwrap();
            *envelope = sign(&decision(), &false_alice).unwrap();
        });
    }

    #[test]
    fn a_log_key_signs_no_decisions() {
        let mut trust = trust();
        let log = key("log.example");
        trust.add_log(log.vkey().clone()).unwrap();
        let envelope = sign(&decision(), &log).unwrap();
        assert!(matches!(
            envelope.verify(&trust),
            Err(DecisionError::UnknownKey(_))
        ));
    }

    #[test]
    fn a_payload_that_is_not_exactly_a_decision_is_refused_although_it_is_signed() {
        let check = |code: &str, payload: Vec<u8>| {
            let error = around(&payload).verify(&trust()).unwrap_err();
            let text = String::from_utf8_lossy(&payload);
            assert_eq!(error.code(), code, "{text}: {error}");
        };
        let value = serde_json::to_value(decision()).unwrap();
        let edited = |edit: fn(&mut Value)| {
            let mut value = value.clone();
            edit(&mut value);
            to_canonical(&value).unwrap()
        };
        check("RD0540", edited(|value| value["more"] = json!(1)));
        check("RD0540", edited(|value| value["purpose"] = json!("erase")));
        check("RD0540", edited(|value| value["plan"] = json!("AB")));
        check(
            "RD0540",
            edited(|value| {
                value.as_object_mut().unwrap().remove("hold");
            }),
        );
        check(
            "RD0541",
            edited(|value| {
                let upper = value["id"].as_str().unwrap().replace('-', "");
                value["id"] = json!(upper);
            }),
        );
        check("RD0542", edited(|value| value["run"] = json!(null)));
        check("RD0541", serde_json::to_vec_pretty(&value).unwrap());
        check("RD0541", b"{\"id\":1,\"id\":1}".to_vec());
        check("RD0541", Vec::new());
        check("RD0543", vec![b'1'; PAYLOAD_BYTES_MAX + 1]);
    }

    #[test]
    fn what_would_be_refused_is_not_signed() {
        let bad = Decision {
            purpose: Purpose::HoldRelease,
            ..decision()
        };
        assert_eq!(sign(&bad, &key("alice")), Err(DecisionError::Field("hold")));
        let long = Decision {
            reason: "x".repeat(PAYLOAD_BYTES_MAX),
            ..decision()
        };
        assert!(matches!(
            sign(&long, &key("alice")),
            Err(DecisionError::TooLong(_))
        ));
        let twice = signed().countersign(&key("alice"));
        assert!(matches!(twice, Err(DecisionError::SignedTwice(_))));
        assert!(Envelope::from_json(&vec![b' '; 1 << 20]).is_err());
        assert!(Envelope::from_json(b"{\"payloadType\":\"x\"}").is_err());
    }
}
