//! Keeps large or personal data out of records: a record holds its length and a salted commitment.
//!
//! **Invariant:** the commitment alone tells nothing about the data. Whoever has data and salt can
//! prove it; once both are erased, every hash and proof of the ledger still holds.
//!
//! **Not here:** a plain hash of the data. What has little entropy could be found by guessing.

use rand_core::{OsRng, RngCore};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use thiserror::Error;
use uuid::Uuid;

use crate::canonical::INTEGER_MAX;
use crate::class::Class;
use crate::hash::Hash;

/// Data above this size does not stand in a record.
pub const INLINE_BYTES_MAX: usize = 16 * 1024;

/// Separates these hashes from every other use of SHA-256.
const DOMAIN: &[u8] = b"redress-blob-v1\0";

/// Where a blob is and what it must be, as it stands in a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlobRef {
    /// The key of the blob's row.
    pub id: Uuid,
    /// The length in bytes.
    pub len: i64,
    /// The salted commitment.
    pub commitment: Hash,
}

/// Binds to bytes without telling them.
pub fn commit(salt: &[u8; 32], bytes: &[u8]) -> Hash {
    Hash::of_parts(&[DOMAIN, salt, bytes])
}

/// Makes a salt from the system's random source; one for each blob.
pub fn new_salt() -> Result<[u8; 32], BlobError> {
    let mut salt = [0; 32];
    OsRng
        .try_fill_bytes(&mut salt)
        .map_err(|error| BlobError::Random(error.to_string()))?;
    Ok(salt)
}

impl BlobRef {
    /// Refers to bytes that are stored under `id` beside their salt.
    pub fn new(id: Uuid, salt: &[u8; 32], bytes: &[u8]) -> Result<BlobRef, BlobError> {
        let len = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
        if len > INTEGER_MAX {
            return Err(BlobError::Malformed);
        }
        let commitment = commit(salt, bytes);
        Ok(BlobRef {
            id,
            len,
            commitment,
        })
    }

    /// Writes the reference as a record holds it.
    pub fn to_value(&self) -> Value {
        json!({"$blob": {
            "id": self.id,
            "len": self.len,
            "commitment": self.commitment,
        }})
    }

    /// Reads a reference; `None` if the value is something else.
    pub fn from_value(value: &Value) -> Result<Option<BlobRef>, BlobError> {
        let Some(inner) = value.get("$blob") else {
            return Ok(None);
        };
        let alone = value.as_object().is_some_and(|members| members.len() == 1);
        let alone = alone && inner.is_object();
        match BlobRef::deserialize(inner) {
            Ok(blob) if alone && (0..=INTEGER_MAX).contains(&blob.len) => Ok(Some(blob)),
            _ => Err(BlobError::Malformed),
        }
    }

    /// Checks that salt and bytes are the ones that the record speaks of.
    pub fn check(&self, salt: &[u8; 32], bytes: &[u8]) -> Result<(), BlobError> {
        let same_len = i64::try_from(bytes.len()) == Ok(self.len);
        if same_len && commit(salt, bytes) == self.commitment {
            Ok(())
        } else {
            Err(BlobError::Mismatch(self.id))
        }
    }
}

/// Why a blob is not the one that a record speaks of.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BlobError {
    /// A reference with other members than a reference has.
    #[error("the reference to a blob is malformed")]
    Malformed,
    /// Other bytes, another salt or another length.
    #[error("the blob is not the one that the record speaks of: {0}")]
    Mismatch(Uuid),
    /// The system's random source failed.
    #[error("the system's random source failed: {0}")]
    Random(String),
}

impl BlobError {
    /// The stable code of the error.
    pub fn code(&self) -> &'static str {
        match self {
            BlobError::Malformed => "RD0640",
            BlobError::Mismatch(_) => "RD0641",
            BlobError::Random(_) => "RD0642",
        }
    }

    /// What the caller must do.
    pub fn class(&self) -> Class {
        match self {
            BlobError::Malformed => Class::Refused,
            BlobError::Mismatch(_) => Class::Hold,
            BlobError::Random(_) => Class::Retry,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commitment_is_the_hash_of_domain_salt_and_bytes() {
        let mut all = b"redress-blob-v1\0".to_vec();
        all.extend_from_slice(&[7; 32]);
        all.extend_from_slice(b"data");
        assert_eq!(commit(&[7; 32], b"data"), Hash::of(&all));
        assert_ne!(commit(&[7; 32], b"data"), commit(&[8; 32], b"data"));
        assert_ne!(new_salt().unwrap(), new_salt().unwrap());
    }

    #[test]
    fn only_the_same_bytes_and_salt_pass() {
        let blob = BlobRef::new(Uuid::nil(), &[7; 32], b"data").unwrap();
        assert_eq!(blob.check(&[7; 32], b"data"), Ok(()));
        for (salt, bytes) in [
            ([7; 32], &b"dato"[..]),
            ([8; 32], b"data"),
            ([7; 32], b"dat"),
        ] {
            assert!(blob.check(&salt, bytes).is_err());
        }
        let longer = BlobRef {
            len: 5,
            ..blob.clone()
        };
        assert!(longer.check(&[7; 32], b"data").is_err());
    }

    #[test]
    fn a_reference_is_read_back_and_a_malformed_one_refused() {
        let blob = BlobRef::new(Uuid::nil(), &[7; 32], b"data").unwrap();
        let value = blob.to_value();
        assert_eq!(BlobRef::from_value(&value), Ok(Some(blob)));
        assert_eq!(BlobRef::from_value(&json!({"rows": []})), Ok(None));
        assert_eq!(BlobRef::from_value(&json!("$blob")), Ok(None));
        let check = |edit: fn(&mut Value)| {
            let mut value = value.clone();
            edit(&mut value);
            assert_eq!(BlobRef::from_value(&value), Err(BlobError::Malformed));
        };
        check(|value| value["beside"] = json!(1));
        check(|value| value["$blob"]["more"] = json!(1));
        check(|value| value["$blob"]["len"] = json!(-1));
        check(|value| value["$blob"]["commitment"] = json!("AB"));
        check(|value| value["$blob"] = json!(null));
    }
}
