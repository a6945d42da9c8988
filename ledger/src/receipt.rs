//! Says, signed by an engine, that a record was committed: until the log is sealed, the only proof that somebody outside
//! can hold.
//!
//! A receipt is a C2SP signed note of three lines: the origin with `/receipt/gen/N`, run and seq, and the record's hash in
//! base64. The engine's key is of its own (role `engine`): a receipt is neither a decision nor a head.
//!
//! **What can go wrong:** whoever holds the engine's key can sign a receipt for what never was. It binds the engine, not
//! the world; a tlog-proof of the same hash is what ends the matter.

use base64ct::{Base64, Encoding};
use thiserror::Error;
use uuid::Uuid;

use crate::checkpoint::{read_decimal, read_hash};
use crate::class::Class;
use crate::hash::Hash;
use crate::key::{SigningKey, Vkey};
use crate::note::{Note, NoteError};

/// That a record was committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The installation.
    pub origin: String,
    /// The ledger's generation.
    pub generation: i64,
    /// The run.
    pub run: Uuid,
    /// The record's number.
    pub seq: u64,
    /// The record's hash.
    pub hash: Hash,
}

impl Receipt {
    /// Signs the receipt with an engine's key.
    pub fn sign(&self, key: &SigningKey) -> Result<Note, ReceiptError> {
        let mut note = Note::new(&self.to_text())?;
        note.sign(key)?;
        Ok(note)
    }

    /// Reads a receipt and checks that this engine signed it.
    pub fn verify(bytes: &[u8], engine: &Vkey) -> Result<Receipt, ReceiptError> {
        let note = Note::parse(bytes)?;
        note.verify_by(engine)?;
        Receipt::from_text(note.text()).ok_or(ReceiptError::Form)
    }

    fn to_text(&self) -> String {
        format!(
            "{}/receipt/gen/{}\n{} {}\n{}\n",
            self.origin,
            self.generation,
            self.run,
            self.seq,
            Base64::encode_string(self.hash.as_bytes())
        )
    }

    fn from_text(text: &str) -> Option<Receipt> {
        let mut lines = text.split('\n');
        let (name, place, hash) = (lines.next()?, lines.next()?, lines.next()?);
        let (origin, generation) = name.rsplit_once("/receipt/gen/")?;
        let (run, seq) = place.split_once(' ')?;
        let receipt = Receipt {
            origin: origin.to_owned(),
            generation: i64::try_from(read_decimal(generation)?).ok()?,
            run: run.parse().ok()?,
            seq: read_decimal(seq)?,
            hash: read_hash(hash)?,
        };
        // One spelling, and nothing behind it.
        (receipt.to_text() == text).then_some(receipt)
    }
}

/// Why a receipt is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReceiptError {
    /// No note, or not one that this engine signed.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// Not the three lines of a receipt.
    #[error("the note is no receipt")]
    Form,
}

impl ReceiptError {
    /// The stable code of the error.
    pub fn code(&self) -> &'static str {
        match self {
            ReceiptError::Note(error) => error.code(),
            ReceiptError::Form => "RD0666",
        }
    }

    /// What the caller must do.
    pub fn class(&self) -> Class {
        match self {
            ReceiptError::Note(error) => error.class(),
            ReceiptError::Form => Class::Refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::leaf_hash;

    fn receipt() -> Receipt {
        Receipt {
            origin: "test.redress.example/lab".to_owned(),
            generation: 1,
            run: Uuid::from_u128(7),
            seq: 3,
            hash: leaf_hash(b"a record"),
        }
    }

    #[test]
    fn what_an_engine_signed_is_what_is_read() {
        let key = SigningKey::from_seed("engine-1", &[1; 32]).unwrap();
        let bytes = receipt().sign(&key).unwrap().to_bytes();
        assert_eq!(Receipt::verify(&bytes, key.vkey()), Ok(receipt()));
        let other = SigningKey::from_seed("engine-1", &[2; 32]).unwrap();
        assert!(Receipt::verify(&bytes, other.vkey()).is_err());
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(Receipt::verify(&changed, key.vkey()).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_signed_note_of_another_kind_is_no_receipt() {
        let key = SigningKey::from_seed("engine-1", &[1; 32]).unwrap();
        let good = receipt().to_text();
        for text in [
            good.replace(" 3\n", " 03\n"),
            good.replace("gen/1", "gen/01"),
            good.replace("/receipt", ""),
            format!("{good}more\n"),
            "a\n1\nAAAA\n".to_owned(),
        ] {
            let mut note = Note::new(&text).unwrap();
            note.sign(&key).unwrap();
            let found = Receipt::verify(&note.to_bytes(), key.vkey());
            assert_eq!(found, Err(ReceiptError::Form), "{text}");
        }
    }
}
