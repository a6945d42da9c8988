//! Decides what a key is and when a signature counts: Ed25519, strictly, and nothing else.
//!
//! **Invariant:** a [`PublicKey`] is never of small order and never spelled in a second way, and
//! every verification is `verify_strict`. No other code of the workspace sees a raw key.
//!
//! Keys are named and written as C2SP signed-note has it: `NAME+HASH+BASE64`, so that the tools of
//! that family read them. The name is the principal; the hash is four bytes and only a hint.
//!
//! **Not here:** who may sign what (`trust`, `quorum`) and files (`keyfile`).

use std::fmt;
use std::str::FromStr;

use base64ct::{Base64, Encoding};
use ed25519_dalek::{Signature, Signer as _, VerifyingKey};
use rand_core::{OsRng, RngCore};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::class::Class;
use crate::hash::Hash;

/// The longest name of a key, in bytes.
pub const KEY_NAME_BYTES_MAX: usize = 255;

/// The algorithm byte of Ed25519 in a signed note.
const ALGORITHM_ED25519: u8 = 0x01;

/// What the holder of a key may do; there is no order between roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Runs recovery.
    Operator,
    /// Countersigns.
    Reviewer,
    /// May authorise what nobody else may.
    Sovereign,
    /// Reads only: its signature never counts.
    Auditor,
}

impl Role {
    /// Every role.
    pub const ALL: [Role; 4] = [
        Role::Operator,
        Role::Reviewer,
        Role::Sovereign,
        Role::Auditor,
    ];

    /// The name in files and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Operator => "operator",
            Role::Reviewer => "reviewer",
            Role::Sovereign => "sovereign",
            Role::Auditor => "auditor",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Role {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Role, KeyError> {
        Role::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| KeyError::Role(text.to_owned()))
    }
}

/// A verification key that is safe to rely on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// Takes 32 bytes; refuses what is no point, what is weak and what has a second spelling.
    pub fn from_bytes(bytes: &[u8]) -> Result<PublicKey, KeyError> {
        let bytes: &[u8; 32] = bytes.try_into().map_err(|_| KeyError::Malformed)?;
        if !is_canonical_point(bytes) {
            return Err(KeyError::NotCanonical);
        }
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::Malformed)?;
        if key.is_weak() {
            return Err(KeyError::Weak);
        }
        Ok(PublicKey(key))
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// Checks a signature over exactly these bytes.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), KeyError> {
        let signature = Signature::from_slice(signature).map_err(|_| KeyError::Signature)?;
        self.0
            .verify_strict(message, &signature)
            .map_err(|_| KeyError::Signature)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", hex::encode(self.as_bytes()))
    }
}

/// Whether the encoded y is below p = 2^255 - 19; the library reduces larger values silently.
fn is_canonical_point(bytes: &[u8; 32]) -> bool {
    let largest = bytes[31] & 0x7f == 0x7f && bytes[1..31].iter().all(|byte| *byte == 0xff);
    !(largest && bytes[0] >= 0xed)
}

/// Which key: its name and the four-byte hash of a signed note, written `NAME+HASH`.
///
/// Four bytes can be made to collide, so an id only finds a key; the signature decides.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId {
    name: String,
    hash: [u8; 4],
}

impl KeyId {
    /// The name of the key.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Names a key that a signed note speaks of; the name was checked.
    pub(crate) fn from_parts(name: &str, hash: [u8; 4]) -> KeyId {
        let name = name.to_owned();
        KeyId { name, hash }
    }

    pub(crate) fn hash(&self) -> [u8; 4] {
        self.hash
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.name, hex::encode(self.hash))
    }
}

impl FromStr for KeyId {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<KeyId, KeyError> {
        let (name, digits) = text.split_once('+').ok_or(KeyError::Id)?;
        check_name(name)?;
        if digits.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(KeyError::Id);
        }
        let mut hash = [0; 4];
        hex::decode_to_slice(digits, &mut hash).map_err(|_| KeyError::Id)?;
        let name = name.to_owned();
        Ok(KeyId { name, hash })
    }
}

impl Serialize for KeyId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeyId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<KeyId, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A named public key, written `NAME+HASH+BASE64`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vkey {
    id: KeyId,
    key: PublicKey,
}

impl Vkey {
    /// Names a key.
    pub fn new(name: &str, key: PublicKey) -> Result<Vkey, KeyError> {
        check_name(name)?;
        let hash = key_hash(name, ALGORITHM_ED25519, &key);
        let id = KeyId::from_parts(name, hash);
        Ok(Vkey { id, key })
    }

    /// The name: the principal, or the origin of a log.
    pub fn name(&self) -> &str {
        &self.id.name
    }

    /// The id under which signatures name this key.
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// The key itself.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }
}

impl fmt::Display for Vkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [ALGORITHM_ED25519; 33];
        bytes[1..].copy_from_slice(self.key.as_bytes());
        write!(f, "{}+{}", self.id, Base64::encode_string(&bytes))
    }
}

impl FromStr for Vkey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Vkey, KeyError> {
        let (id, key) = read_vkey(text, ALGORITHM_ED25519)?;
        Ok(Vkey { id, key })
    }
}

/// Reads `NAME+HASH+BASE64` of one algorithm; the id must be that of the key.
pub(crate) fn read_vkey(text: &str, algorithm: u8) -> Result<(KeyId, PublicKey), KeyError> {
    // Base64 has `+` too, so only the first two separate.
    let mut parts = text.splitn(3, '+');
    let (Some(name), Some(digits), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(KeyError::Vkey);
    };
    let id: KeyId = format!("{name}+{digits}").parse()?;
    let bytes = Base64::decode_vec(key).map_err(|_| KeyError::Vkey)?;
    let key = match bytes.split_first() {
        Some((found, key)) if *found == algorithm => PublicKey::from_bytes(key)?,
        Some(_) => return Err(KeyError::Algorithm),
        None => return Err(KeyError::Vkey),
    };
    if key_hash(name, algorithm, &key) != id.hash {
        return Err(KeyError::Id);
    }
    Ok((id, key))
}

/// The four bytes that a signed note puts before a signature.
fn key_hash(name: &str, algorithm: u8, key: &PublicKey) -> [u8; 4] {
    let hash = Hash::of_parts(&[
        name.as_bytes(),
        b"\n",
        &[algorithm],
        key.as_bytes().as_slice(),
    ]);
    let [a, b, c, d, ..] = *hash.as_bytes();
    [a, b, c, d]
}

/// Checks what a signed note allows as a name, and bounds it.
///
/// # Errors
/// [`KeyError::Name`].
pub fn check_name(name: &str) -> Result<(), KeyError> {
    let good = !name.is_empty()
        && name.len() <= KEY_NAME_BYTES_MAX
        && !name
            .chars()
            .any(|c| c.is_whitespace() || c.is_control() || c == '+');
    if good { Ok(()) } else { Err(KeyError::Name) }
}

/// A named private key; its memory is overwritten when it is dropped.
pub struct SigningKey {
    secret: ed25519_dalek::SigningKey,
    vkey: Vkey,
}

impl SigningKey {
    /// Makes a new key from the system's random source.
    pub fn generate(name: &str) -> Result<SigningKey, KeyError> {
        let mut seed = Zeroizing::new([0; 32]);
        OsRng
            .try_fill_bytes(seed.as_mut())
            .map_err(|error| KeyError::Random(error.to_string()))?;
        SigningKey::from_seed(name, &seed)
    }

    /// Takes a key whose 32 secret bytes are kept elsewhere.
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Result<SigningKey, KeyError> {
        SigningKey::from_secret(name, ed25519_dalek::SigningKey::from_bytes(seed))
    }

    pub(crate) fn from_secret(
        name: &str,
        secret: ed25519_dalek::SigningKey,
    ) -> Result<SigningKey, KeyError> {
        let public = PublicKey::from_bytes(secret.verifying_key().as_bytes())?;
        let vkey = Vkey::new(name, public)?;
        Ok(SigningKey { secret, vkey })
    }

    pub(crate) fn secret(&self) -> &ed25519_dalek::SigningKey {
        &self.secret
    }

    /// Signs bytes.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.secret.sign(message).to_bytes()
    }

    /// The name of the key.
    pub fn name(&self) -> &str {
        self.vkey.name()
    }

    /// The id of the key.
    pub fn id(&self) -> &KeyId {
        self.vkey.id()
    }

    /// The public half, with its name.
    pub fn vkey(&self) -> &Vkey {
        &self.vkey
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.vkey.id)
    }
}

/// Why a key or a signature is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Not 32 bytes, or no point of the curve.
    #[error("the bytes are no ed25519 public key")]
    Malformed,
    /// A second spelling of a point.
    #[error("the public key is not in its canonical form")]
    NotCanonical,
    /// A point of small order: it accepts signatures that nobody made.
    #[error("the public key is weak (a point of small order)")]
    Weak,
    /// The signature is not one of this key over these bytes.
    #[error("the signature does not verify")]
    Signature,
    /// A name that a signed note does not allow.
    #[error("a key's name has 1 to {KEY_NAME_BYTES_MAX} bytes without spaces, controls and `+`")]
    Name,
    /// A key id that is malformed or does not belong to the key.
    #[error("the key id is malformed or belongs to another key")]
    Id,
    /// Not `NAME+HASH+BASE64`.
    #[error("a public key is written NAME+HASH+BASE64")]
    Vkey,
    /// Another algorithm than Ed25519.
    #[error("the key is of another algorithm than ed25519")]
    Algorithm,
    /// An unknown role.
    #[error("unknown role {0:?}; known are operator, reviewer, sovereign, auditor")]
    Role(String),
    /// The system's random source failed.
    #[error("the system's random source failed: {0}")]
    Random(String),
}

impl KeyError {
    /// The stable code of the error.
    pub fn code(&self) -> &'static str {
        match self {
            KeyError::Malformed => "RD0501",
            KeyError::Weak => "RD0502",
            KeyError::NotCanonical => "RD0503",
            KeyError::Signature => "RD0504",
            KeyError::Name => "RD0505",
            KeyError::Id => "RD0506",
            KeyError::Vkey => "RD0507",
            KeyError::Algorithm => "RD0508",
            KeyError::Role(_) => "RD0509",
            KeyError::Random(_) => "RD0510",
        }
    }

    /// What the caller must do.
    pub fn class(&self) -> Class {
        match self {
            KeyError::Random(_) => Class::Retry,
            KeyError::Malformed
            | KeyError::Weak
            | KeyError::NotCanonical
            | KeyError::Signature
            | KeyError::Name
            | KeyError::Id
            | KeyError::Vkey
            | KeyError::Algorithm
            | KeyError::Role(_) => Class::Refused,
        }
    }
}

#[cfg(test)]
mod tests;
