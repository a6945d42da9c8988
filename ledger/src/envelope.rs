//! Decides whether a signed decision is genuine: a DSSE envelope around canonical JSON.
//!
//! What is signed is a decision or a root act; each has its own payload type, which is part of what
//! is signed, so that neither passes for the other.
//!
//! **Invariant:** a [`Verified`] exists only after every signature of its envelope verified under
//! a trusted key. A signature too many is a refusal and not something to ignore: the list of
//! signatures is not authenticated, so nothing may stand in it that nobody can account for.
//!
//! A signature is made in one of two forms over the same bytes, [`Envelope::to_be_signed`]. By our
//! key files: `{"keyid", "sig"}`, where `sig` is Ed25519 of those bytes. By `ssh-keygen -Y sign -n
//! redress-decision`: `{"format": "sshsig", "keyid", "sig"}`, where `sig` is what stands inside the
//! armor, on one line, and the key inside it must be the one that `keyid` names. Either counts, and
//! one key counts once.
//!
//! **Not here:** whether the decision is meant for the act at hand (`decision`) and whether the
//! signers are enough (`quorum`).

use base64ct::{Base64, Encoding};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::act::{ACT_PAYLOAD_TYPE, Act};
use crate::canonical::{CanonicalError, parse_canonical, to_canonical};
use crate::decision::{Decision, DecisionError};
use crate::key::{KeyError, KeyId, Role, SigningKey, Vkey};
use crate::quorum::Signer;
use crate::sshsig::{SshSigError, SshSignature};
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
    /// The form of `sig`; left out if it is the plain one.
    #[serde(default, skip_serializing_if = "SignatureFormat::is_plain")]
    pub format: SignatureFormat,
    /// The id of the key.
    pub keyid: KeyId,
    /// The signature in base64.
    pub sig: String,
}

/// The form of one signature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SignatureFormat {
    /// Ed25519 over the bytes to be signed; it has no name, so that it is written in one way.
    #[default]
    #[serde(skip)]
    Plain,
    /// OpenSSH's signature over them.
    Sshsig,
}

impl SignatureFormat {
    fn is_plain(&self) -> bool {
        *self == SignatureFormat::Plain
    }
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
    let mut envelope = Envelope::unsigned(decision)?;
    envelope.countersign(key)?;
    Ok(envelope)
}

impl Envelope {
    /// Wraps a decision that somebody is going to sign; without a signature it does not verify.
    pub fn unsigned(decision: &Decision) -> Result<Envelope, DecisionError> {
        decision.check_shape()?;
        Envelope::wrap(PAYLOAD_TYPE, decision)
    }

    /// Wraps a root act that somebody is going to sign.
    pub fn unsigned_act(act: &Act) -> Result<Envelope, DecisionError> {
        act.check_shape()?;
        Envelope::wrap(ACT_PAYLOAD_TYPE, act)
    }

    fn wrap(payload_type: &str, value: &impl Serialize) -> Result<Envelope, DecisionError> {
        let value = serde_json::to_value(value)
            .map_err(|error| DecisionError::Malformed(error.to_string()))?;
        let payload = to_canonical(&value)?;
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(DecisionError::TooLong(payload.len()));
        }
        Ok(Envelope {
            payload_type: payload_type.to_owned(),
            payload: Base64::encode_string(&payload),
            signatures: Vec::new(),
        })
    }

    /// The bytes that are signed, for whoever signs elsewhere; refused if they are neither a
    /// decision nor a root act.
    pub fn to_be_signed(&self) -> Result<Vec<u8>, DecisionError> {
        let payload = if self.payload_type == ACT_PAYLOAD_TYPE {
            let payload = self.payload_bytes(ACT_PAYLOAD_TYPE)?;
            read_act(&payload)?;
            payload
        } else {
            let payload = self.payload_bytes(PAYLOAD_TYPE)?;
            read_payload(&payload)?;
            payload
        };
        Ok(pae(&self.payload_type, &payload))
    }

    /// Adds another signature over the same payload.
    pub fn countersign(&mut self, key: &SigningKey) -> Result<(), DecisionError> {
        let sig = Base64::encode_string(&key.sign(&self.to_be_signed()?));
        self.add(SignatureFormat::Plain, key.id(), sig)
    }

    /// Adds what `ssh-keygen -Y sign` wrote for the holder of a key, if it is that.
    pub fn attach_sshsig(&mut self, vkey: &Vkey, armored: &str) -> Result<(), DecisionError> {
        let message = self.to_be_signed()?;
        let refused = |error| ssh_refusal(vkey.id(), error);
        let signature = SshSignature::from_armored(armored).map_err(refused)?;
        signature.verify(&message, vkey.key()).map_err(refused)?;
        let sig = Base64::encode_string(&signature.to_bytes());
        self.add(SignatureFormat::Sshsig, vkey.id(), sig)
    }

    fn add(
        &mut self,
        format: SignatureFormat,
        key: &KeyId,
        sig: String,
    ) -> Result<(), DecisionError> {
        let keyid = key.clone();
        self.signatures
            .push(EnvelopeSignature { format, keyid, sig });
        let checked = self.check_signature_list();
        if checked.is_err() {
            self.signatures.pop();
        }
        checked
    }

    /// Reads an envelope from a file.
    pub fn from_json(bytes: &[u8]) -> Result<Envelope, DecisionError> {
        let room = 2 * PAYLOAD_BYTES_MAX + SIGNATURES_MAX * 1024;
        if bytes.len() > room {
            return Err(DecisionError::TooLong(bytes.len()));
        }
        let value: Value = serde_json::from_slice(bytes)
            .map_err(|error| DecisionError::Malformed(error.to_string()))?;
        Envelope::from_value(&value)
    }

    /// Reads an envelope from a record's body.
    pub fn from_value(value: &Value) -> Result<Envelope, DecisionError> {
        // The reader below would also take lists for objects, and an object for a word.
        let objects = value.get("signatures").and_then(Value::as_array);
        let objects = objects.is_none_or(|all| {
            let plain = |one: &Value| one.get("format").is_none_or(Value::is_string);
            all.iter().all(|one| one.is_object() && plain(one))
        });
        if !value.is_object() || !objects {
            return Err(DecisionError::Malformed("not an envelope".to_owned()));
        }
        Envelope::deserialize(value).map_err(|error| DecisionError::Malformed(error.to_string()))
    }

    /// Writes the envelope as a record's body holds it.
    pub fn to_value(&self) -> Value {
        let signatures: Vec<Value> = self
            .signatures
            .iter()
            .map(|one| match one.format {
                SignatureFormat::Plain => serde_json::json!({"keyid": one.keyid, "sig": one.sig}),
                format => {
                    serde_json::json!({"format": format, "keyid": one.keyid, "sig": one.sig})
                }
            })
            .collect();
        serde_json::json!({
            "payloadType": self.payload_type,
            "payload": self.payload,
            "signatures": signatures,
        })
    }

    /// Reads the decision without looking at a signature: only to show it or to find its id.
    pub fn peek(&self) -> Result<Decision, DecisionError> {
        read_payload(&self.payload_bytes(PAYLOAD_TYPE)?)
    }

    /// Reads the root act without looking at a signature: only to show it or to find its id.
    pub fn peek_act(&self) -> Result<Act, DecisionError> {
        read_act(&self.payload_bytes(ACT_PAYLOAD_TYPE)?)
    }

    /// Checks every signature against the trusted keys.
    pub fn verify(&self, trust: &Trust) -> Result<Verified, DecisionError> {
        self.verify_with(|id| {
            let known = trust.lookup(id);
            let known = known.ok_or_else(|| DecisionError::UnknownKey(id.clone()))?;
            Ok((&known.vkey, known.role))
        })
    }

    /// Checks every signature; `find` gives the key of an id and its holder's role, or refuses it.
    pub(crate) fn verify_with<'k>(
        &self,
        find: impl Fn(&KeyId) -> Result<(&'k Vkey, Role), DecisionError>,
    ) -> Result<Verified, DecisionError> {
        let mut signers = Vec::with_capacity(self.signatures.len());
        let payload = self.open(PAYLOAD_TYPE, |id| {
            let (vkey, role) = find(id)?;
            signers.push(Signer {
                key_id: id.clone(),
                principal: vkey.name().to_owned(),
                role,
            });
            Ok(vkey)
        })?;
        let decision = read_payload(&payload)?;
        Ok(Verified { decision, signers })
    }

    /// The same for a root act, whose signers the caller counts.
    pub(crate) fn verify_act_with<'k>(
        &self,
        find: impl FnMut(&KeyId) -> Result<&'k Vkey, DecisionError>,
    ) -> Result<Act, DecisionError> {
        read_act(&self.open(ACT_PAYLOAD_TYPE, find)?)
    }

    /// Checks every signature over a payload of this type. The payload is given only then: nothing
    /// that nobody signed reaches a parser.
    fn open<'k>(
        &self,
        payload_type: &str,
        mut find: impl FnMut(&KeyId) -> Result<&'k Vkey, DecisionError>,
    ) -> Result<Vec<u8>, DecisionError> {
        self.check_signature_list()?;
        let payload = self.payload_bytes(payload_type)?;
        let message = pae(payload_type, &payload);
        for one in &self.signatures {
            one.verify(&message, find(&one.keyid)?)?;
        }
        Ok(payload)
    }

    fn payload_bytes(&self, payload_type: &str) -> Result<Vec<u8>, DecisionError> {
        if self.payload_type != payload_type {
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

impl EnvelopeSignature {
    fn verify(&self, message: &[u8], vkey: &Vkey) -> Result<(), DecisionError> {
        let bad = || DecisionError::BadSignature(self.keyid.clone());
        let bytes = Base64::decode_vec(&self.sig).map_err(|_| bad())?;
        match self.format {
            SignatureFormat::Plain => vkey.key().verify(message, &bytes).map_err(|_| bad()),
            SignatureFormat::Sshsig => SshSignature::from_bytes(&bytes)
                .and_then(|signature| signature.verify(message, vkey.key()))
                .map_err(|error| ssh_refusal(&self.keyid, error)),
        }
    }
}

/// A signature that does not verify is the same refusal in either form.
fn ssh_refusal(key: &KeyId, error: SshSigError) -> DecisionError {
    match error {
        SshSigError::Key(KeyError::Signature) => DecisionError::BadSignature(key.clone()),
        error => DecisionError::SshSignature(key.clone(), error),
    }
}

fn read_payload(payload: &[u8]) -> Result<Decision, DecisionError> {
    let decision: Decision = read_exact(payload)?;
    decision.check_shape()?;
    Ok(decision)
}

fn read_act(payload: &[u8]) -> Result<Act, DecisionError> {
    let act: Act = read_exact(payload)?;
    act.check_shape()?;
    Ok(act)
}

/// Reads what somebody signed; it has one spelling, down to its ids.
fn read_exact<T: DeserializeOwned + Serialize>(payload: &[u8]) -> Result<T, DecisionError> {
    if payload.len() > PAYLOAD_BYTES_MAX {
        return Err(DecisionError::TooLong(payload.len()));
    }
    let value = parse_canonical(payload)?;
    // The reader below would also take lists for objects, and an object for a word.
    let word = value.get("purpose").is_none_or(Value::is_string);
    let object = value.get("basis").is_none_or(|basis| !basis.is_array());
    if !(value.is_object() && word && object) {
        return Err(DecisionError::Malformed("not its members".to_owned()));
    }
    let read: T = serde_json::from_value(value)
        .map_err(|error| DecisionError::Malformed(error.to_string()))?;
    // A second spelling of an id or a hash would be the same decision under other bytes.
    let again =
        serde_json::to_value(&read).map_err(|error| DecisionError::Malformed(error.to_string()))?;
    if to_canonical(&again)? != payload {
        return Err(CanonicalError::NotCanonical.into());
    }
    Ok(read)
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
mod tests;
