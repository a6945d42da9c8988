//! Decides whether a witness saw a checkpoint (C2SP tlog-cosignature, version 1).
//!
//! **Invariant:** a cosignature says that its witness saw this text at that second; it never stands
//! for the log's own signature, because its key has another algorithm byte and so another id.

use std::fmt;
use std::str::FromStr;

use crate::key::{KeyError, KeyId, PublicKey, read_vkey};

/// The algorithm byte of a cosignature with a time.
const ALGORITHM_COSIGNATURE: u8 = 0x04;

/// Eight bytes of seconds and the signature.
const COSIGNATURE_BYTES: usize = 8 + 64;

/// The key of a witness; written as other keys are, with its own algorithm byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessKey {
    id: KeyId,
    key: PublicKey,
}

impl WitnessKey {
    /// The id under which cosignatures name this key.
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// The key itself.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// Whether these bytes of a signature line are this witness's word for the text.
    pub fn has_cosigned(&self, text: &str, bytes: &[u8]) -> bool {
        let Some((seconds, signature)) = bytes.split_first_chunk::<8>() else {
            return false;
        };
        let seconds = u64::from_be_bytes(*seconds);
        if bytes.len() != COSIGNATURE_BYTES || i64::try_from(seconds).is_err() {
            return false;
        }
        let message = format!("cosignature/v1\ntime {seconds}\n{text}");
        self.key.verify(message.as_bytes(), signature).is_ok()
    }
}

impl FromStr for WitnessKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<WitnessKey, KeyError> {
        let (id, key) = read_vkey(text, ALGORITHM_COSIGNATURE)?;
        Ok(WitnessKey { id, key })
    }
}

impl fmt::Display for WitnessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.id)
    }
}
