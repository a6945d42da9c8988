//! Names bytes: SHA-256 values with one spelling, and the leaf hash that chain and tree share.
//!
//! **Invariant:** a record has one hash, [`leaf_hash`] of its bytes. It is the next record's
//! `prev`, the id in receipts and the Merkle leaf (RFC 6962), so chain and tree cannot disagree.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::class::Class;

/// A SHA-256 value, written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash([u8; 32]);

impl Hash {
    /// What stands in `prev` of a run's first record.
    pub const ZERO: Hash = Hash([0; 32]);

    /// Hashes bytes as they are, without domain separation.
    pub fn of(bytes: &[u8]) -> Hash {
        Hash(Sha256::digest(bytes).into())
    }

    /// Takes a value that was computed elsewhere, for example by the database.
    pub const fn from_bytes(bytes: [u8; 32]) -> Hash {
        Hash(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Hashes several parts in a row.
    pub(crate) fn of_parts(parts: &[&[u8]]) -> Hash {
        let mut digest = Sha256::new();
        for part in parts {
            digest.update(part);
        }
        Hash(digest.finalize().into())
    }

    /// Writes the 64 digits without allocating.
    pub(crate) fn hex(&self) -> [u8; 64] {
        let mut digits = [0; 64];
        hex::encode_to_slice(self.0, &mut digits).expect("64 digits hold 32 bytes");
        digits
    }
}

/// Hashes a record or any other leaf: SHA-256 of a zero byte and the bytes (RFC 6962).
pub fn leaf_hash(bytes: &[u8]) -> Hash {
    Hash::of_parts(&[&[0], bytes])
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.hex();
        f.pad(std::str::from_utf8(&digits).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({self})")
    }
}

impl From<[u8; 32]> for Hash {
    fn from(bytes: [u8; 32]) -> Hash {
        Hash(bytes)
    }
}

impl TryFrom<&[u8]> for Hash {
    type Error = HashError;

    fn try_from(bytes: &[u8]) -> Result<Hash, HashError> {
        Ok(Hash(bytes.try_into().map_err(|_| HashError)?))
    }
}

impl FromStr for Hash {
    type Err = HashError;

    fn from_str(text: &str) -> Result<Hash, HashError> {
        // One spelling only: upper case would give one value two names.
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(HashError);
        }
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| HashError)?;
        Ok(Hash(bytes))
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Hash, D::Error> {
        struct Visitor;

        impl serde::de::Visitor<'_> for Visitor {
            type Value = Hash;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("64 lower-case hexadecimal digits")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Hash, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Visitor)
    }
}

/// A text or a byte string that is no hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a hash is 32 bytes, written as 64 lower-case hexadecimal digits")]
pub struct HashError;

impl HashError {
    /// The stable code of the error.
    pub fn code(&self) -> &'static str {
        "RD0600"
    }

    /// What the caller must do.
    pub fn class(&self) -> Class {
        Class::Refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_leaf_hash_is_that_of_rfc_6962() {
        // Known answer: the leaf hash of the empty string.
        let empty = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d";
        assert_eq!(leaf_hash(b"").to_string(), empty);
        let plain = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Hash::of(b"").to_string(), plain);
    }

    #[test]
    fn a_hash_has_one_spelling() {
        let check = |text: &str, good: bool| {
            assert_eq!(text.parse::<Hash>().is_ok(), good, "{text}");
            let json = format!("\"{text}\"");
            assert_eq!(serde_json::from_str::<Hash>(&json).is_ok(), good, "{text}");
        };
        check(&"ab".repeat(32), true);
        check(&"AB".repeat(32), false);
        check(&"ab".repeat(31), false);
        check(&"ab".repeat(33), false);
        check(&"zz".repeat(32), false);
        check("", false);
        assert_eq!(Hash::ZERO.to_string(), "0".repeat(64));
        assert!(Hash::try_from(&[0u8; 31][..]).is_err());
    }
}
