//! Reads and writes signed notes (C2SP signed-note), and decides which keys signed one.
//!
//! A note is a text that ends in a newline, an empty line, and one line a signature:
//! `— NAME BASE64`, where the bytes are the four of the key's hash and then the signature.
//!
//! **Invariant:** what parses is written back byte for byte, and no text is believed before
//! [`Note::verify`] has named a key that the caller knows.
//!
//! A signature by a key that the caller does not know says nothing, whatever it holds: witnesses
//! and other algorithms sign the same note. One by a known key that does not verify refuses the note.
//!
//! **Not here:** what the text says (`checkpoint`), and whose keys count (`trust`).

use std::fmt;

use base64ct::{Base64, Encoding};
use thiserror::Error;

use crate::class::Class;
use crate::key::{KEY_NAME_BYTES_MAX, KeyId, SigningKey, Vkey, check_name};

/// The largest note, unless the caller expects a larger text.
pub const NOTE_BYTES_MAX: usize = 128 * 1024;

/// The most signature lines on one note; the specification asks for at least 16.
pub const NOTE_SIGNATURES_MAX: usize = 64;

/// The longest signature: those of post-quantum algorithms, which are ignored, have nearly 5 kB.
pub const NOTE_SIGNATURE_BYTES_MAX: usize = 8 * 1024;

const MARK: &str = "— ";

/// A text and the signatures under it, of which none was looked at yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<NoteSignature>,
}

/// One line under a note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteSignature {
    key: KeyId,
    bytes: Vec<u8>,
}

impl NoteSignature {
    /// The key that the line names; it is a claim.
    pub fn key(&self) -> &KeyId {
        &self.key
    }

    /// What follows the hash of the key: for Ed25519 the 64 bytes of the signature.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Display for NoteSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [self.key.hash().as_slice(), &self.bytes].concat();
        let base64 = Base64::encode_string(&bytes);
        write!(f, "{MARK}{} {base64}", self.key.name())
    }
}

impl Note {
    /// Takes a text that nobody has signed yet.
    pub fn new(text: &str) -> Result<Note, NoteError> {
        check_text(text)?;
        if !text.ends_with('\n') {
            return Err(NoteError::NoNewline);
        }
        let text = text.to_owned();
        let signatures = Vec::new();
        Ok(Note { text, signatures })
    }

    /// Adds the signature of a key.
    pub fn sign(&mut self, key: &SigningKey) -> Result<(), NoteError> {
        let id = key.id();
        if self.signatures.iter().any(|one| one.key == *id) {
            return Err(NoteError::SignedTwice(id.clone()));
        }
        if self.signatures.len() == NOTE_SIGNATURES_MAX {
            return Err(NoteError::Signatures);
        }
        self.signatures.push(NoteSignature {
            key: id.clone(),
            bytes: key.sign(self.text.as_bytes()).to_vec(),
        });
        Ok(())
    }

    /// Reads a note of at most [`NOTE_BYTES_MAX`] bytes.
    pub fn parse(bytes: &[u8]) -> Result<Note, NoteError> {
        Note::parse_within(bytes, NOTE_BYTES_MAX)
    }

    /// Reads a note whose text may be longer, as that of a manifest is.
    pub fn parse_within(bytes: &[u8], bytes_max: usize) -> Result<Note, NoteError> {
        if bytes.len() > bytes_max {
            return Err(NoteError::TooLong(bytes.len()));
        }
        let note = std::str::from_utf8(bytes).map_err(|_| NoteError::Utf8)?;
        check_text(note)?;
        // The text may have empty lines of its own; the last one ends it.
        let split = note.rfind("\n\n").ok_or(NoteError::Unsigned)?;
        let (text, lines) = (&note[..=split], &note[split + 2..]);
        if lines.is_empty() {
            return Err(NoteError::Unsigned);
        }
        let lines = lines.strip_suffix('\n').ok_or(NoteError::NoNewline)?;
        let mut signatures = Vec::new();
        for line in lines.split('\n') {
            if signatures.len() == NOTE_SIGNATURES_MAX {
                return Err(NoteError::Signatures);
            }
            signatures.push(read_line(line).ok_or(NoteError::SignatureLine)?);
        }
        let text = text.to_owned();
        Ok(Note { text, signatures })
    }

    /// What was signed, with its last newline.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Every signature line, of known keys or not.
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// Writes the note.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.to_string().into_bytes()
    }

    /// Names the known keys that signed, in their order; at least one.
    pub fn verify<'k>(&self, known: &'k [Vkey]) -> Result<Vec<&'k Vkey>, NoteError> {
        let signers = self.signers(known)?;
        if signers.is_empty() {
            return Err(NoteError::NoKnownKey);
        }
        Ok(signers)
    }

    /// Names the known keys that signed, perhaps none; a line of one that does not hold is refused.
    pub fn signers<'k>(&self, known: &'k [Vkey]) -> Result<Vec<&'k Vkey>, NoteError> {
        let mut signers: Vec<&'k Vkey> = Vec::new();
        for one in &self.signatures {
            let Some(vkey) = known.iter().find(|vkey| *vkey.id() == one.key) else {
                continue;
            };
            // A second line of a key could only differ from the first by not being its signature.
            if signers.iter().any(|signer| signer.id() == vkey.id()) {
                return Err(NoteError::SignedTwice(one.key.clone()));
            }
            let verified = vkey.key().verify(self.text.as_bytes(), &one.bytes);
            verified.map_err(|_| NoteError::BadSignature(one.key.clone()))?;
            signers.push(vkey);
        }
        Ok(signers)
    }

    /// Checks that this key signed.
    pub fn verify_by(&self, key: &Vkey) -> Result<(), NoteError> {
        self.verify(std::slice::from_ref(key)).map(drop)
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures
            .iter()
            .try_for_each(|one| writeln!(f, "{one}"))
    }
}

fn check_text(text: &str) -> Result<(), NoteError> {
    let control = |byte: u8| byte < b' ' && byte != b'\n';
    if text.bytes().any(control) {
        return Err(NoteError::Control);
    }
    Ok(())
}

fn read_line(line: &str) -> Option<NoteSignature> {
    let (name, base64) = line.strip_prefix(MARK)?.split_once(' ')?;
    if name.len() > KEY_NAME_BYTES_MAX || base64.len() > 2 * NOTE_SIGNATURE_BYTES_MAX {
        return None;
    }
    check_name(name).ok()?;
    // Strict: padding is needed and unused bits are zero, so that a line has one spelling.
    let bytes = Base64::decode_vec(base64).ok()?;
    let (hash, bytes) = bytes.split_first_chunk::<4>()?;
    if bytes.is_empty() || bytes.len() > NOTE_SIGNATURE_BYTES_MAX {
        return None;
    }
    Some(NoteSignature {
        key: KeyId::from_parts(name, *hash),
        bytes: bytes.to_vec(),
    })
}

/// Why a note is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NoteError {
    /// Larger than the caller allows.
    #[error("the note is too long: {0} bytes")]
    TooLong(usize),
    /// Not UTF-8.
    #[error("the note is not UTF-8")]
    Utf8,
    /// A control character other than the newline.
    #[error("the note has a control character")]
    Control,
    /// A last line that does not end.
    #[error("the last line of the note does not end in a newline")]
    NoNewline,
    /// No empty line, or nothing behind it.
    #[error("the note has no signature lines")]
    Unsigned,
    /// A line behind the empty one that is no signature.
    #[error("a signature line is malformed")]
    SignatureLine,
    /// More than [`NOTE_SIGNATURES_MAX`] lines.
    #[error("a note has at most {NOTE_SIGNATURES_MAX} signatures")]
    Signatures,
    /// Two lines by one known key.
    #[error("the note is signed twice by the key {0}")]
    SignedTwice(KeyId),
    /// Only keys signed that the caller does not know.
    #[error("the note is signed by no key that is known here")]
    NoKnownKey,
    /// A known key is named and did not sign this.
    #[error("the signature on the note does not verify, key {0}")]
    BadSignature(KeyId),
}

impl NoteError {
    /// The stable code of the error.
    pub fn code(&self) -> &'static str {
        match self {
            NoteError::TooLong(_)
            | NoteError::Utf8
            | NoteError::Control
            | NoteError::NoNewline
            | NoteError::Unsigned
            | NoteError::SignatureLine
            | NoteError::Signatures
            | NoteError::SignedTwice(_) => "RD0639",
            NoteError::NoKnownKey => "RD0643",
            NoteError::BadSignature(_) => "RD0644",
        }
    }

    /// What the caller must do.
    pub fn class(&self) -> Class {
        match self {
            NoteError::TooLong(_)
            | NoteError::Utf8
            | NoteError::Control
            | NoteError::NoNewline
            | NoteError::Unsigned
            | NoteError::SignatureLine
            | NoteError::Signatures
            | NoteError::SignedTwice(_)
            | NoteError::NoKnownKey => Class::Refused,
            NoteError::BadSignature(_) => Class::Kill,
        }
    }
}

#[cfg(test)]
mod tests;
