//! Decides whether `ssh-keygen -Y sign` made a signature over a decision (OpenSSH's PROTOCOL.sshsig).
//!
//! People sign with the key they have: `ssh-keygen -Y sign -f KEY -n redress-decision FILE`, where
//! the file holds what [`crate::envelope::Envelope::to_be_signed`] gives; an agent works the same.
//!
//! **Invariant:** Ed25519 over SHA-512 or SHA-256, in the namespace [`NAMESPACE`] and in no other,
//! verified by [`PublicKey`] alone: the library beside it reads and writes the format and is built
//! without any signature algorithm. What parses is written back byte for byte.
//!
//! **Invariant:** the key inside a signature is a claim. It must be the one that the caller trusts.
//!
//! **Not here:** keys on tokens that OpenSSH calls `sk-`: what those sign has another form. They are
//! refused by name; a token that holds a plain Ed25519 key behind an agent is one like any other.

use ssh_encoding::{Decode, Encode};
use ssh_key::public::{Ed25519PublicKey, KeyData};
use ssh_key::{Algorithm, HashAlg, LineEnding, Signature, SshSig};
use thiserror::Error;

use crate::class::Class;
use crate::key::{KeyError, PublicKey, SigningKey};

/// What a signature on a decision is made for; one made for something else does not count.
pub const NAMESPACE: &str = "redress-decision";

/// The largest signature or public key line; RSA keys, which are refused, have less.
pub const SSH_BYTES_MAX: usize = 8 * 1024;

const ARMOR_START: &str = "-----BEGIN SSH SIGNATURE-----\n";

/// A signature that was read and whose form is good; whether it verifies is not known yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshSignature {
    format: SshSig,
    key: PublicKey,
}

impl SshSignature {
    /// Reads what `ssh-keygen` writes to `FILE.sig`.
    pub fn from_armored(text: &str) -> Result<SshSignature, SshSigError> {
        check_length(text.len())?;
        if !text.starts_with(ARMOR_START) {
            return Err(SshSigError::Armor);
        }
        let format = SshSig::from_pem(text).map_err(|error| named(&error, SshSigError::Armor))?;
        let signature = SshSignature::checked(format)?;
        // The tool ends the file in a newline; a copy may lack it. Nothing else is left open.
        let again = signature.to_armored();
        if text != again && text != again.trim_end_matches('\n') {
            return Err(SshSigError::Armor);
        }
        Ok(signature)
    }

    /// Reads the bytes inside the armor, as an envelope keeps them.
    pub fn from_bytes(bytes: &[u8]) -> Result<SshSignature, SshSigError> {
        check_length(bytes.len())?;
        let mut rest = bytes;
        let format =
            SshSig::decode(&mut rest).map_err(|error| named(&error, SshSigError::Encoding))?;
        let signature = SshSignature::checked(format)?;
        // Also refuses bytes behind the end, and a second spelling of what the fields say.
        if signature.to_bytes() != bytes {
            return Err(SshSigError::Encoding);
        }
        Ok(signature)
    }

    fn checked(format: SshSig) -> Result<SshSignature, SshSigError> {
        if format.version() != SshSig::VERSION {
            return Err(SshSigError::Version(format.version()));
        }
        let key = read_key(format.public_key())?;
        if format.algorithm() != Algorithm::Ed25519 {
            return Err(SshSigError::Algorithm(format.algorithm().to_string()));
        }
        if format.namespace() != NAMESPACE {
            return Err(SshSigError::Namespace(format.namespace().to_owned()));
        }
        // It would be signed too, and nobody says what it means.
        if !format.reserved().is_empty() {
            return Err(SshSigError::Reserved);
        }
        Ok(SshSignature { format, key })
    }

    /// Signs, as `ssh-keygen -Y sign` does with the same key.
    pub fn sign(message: &[u8], key: &SigningKey) -> Result<SshSignature, SshSigError> {
        let hash = HashAlg::Sha512;
        let data = signed_data(hash, message)?;
        let signature = Signature::new(Algorithm::Ed25519, key.sign(&data).to_vec())
            .map_err(|_| SshSigError::Encoding)?;
        let key = *key.vkey().key();
        let format = SshSig::new(ssh_key_data(&key), NAMESPACE, hash, signature)
            .map_err(|_| SshSigError::Encoding)?;
        Ok(SshSignature { format, key })
    }

    /// The key that the signature says it is by; it is a claim.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// Checks that this key signed exactly these bytes.
    pub fn verify(&self, message: &[u8], key: &PublicKey) -> Result<(), SshSigError> {
        if self.key != *key {
            return Err(SshSigError::OtherKey);
        }
        let data = signed_data(self.format.hash_alg(), message)?;
        key.verify(&data, self.format.signature_bytes())?;
        Ok(())
    }

    /// The bytes inside the armor.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let written = self.format.encode(&mut bytes);
        written.expect("a signature of bounded length can be written");
        bytes
    }

    /// What `ssh-keygen -Y verify -s` reads.
    pub fn to_armored(&self) -> String {
        let written = self.format.to_pem(LineEnding::LF);
        let text = written.expect("a signature of bounded length can be written");
        text.trim_end_matches('\n').to_owned() + "\n"
    }
}

/// Reads a public key from a line as `id_ed25519.pub` has it; gives the comment too.
pub fn read_public_key(line: &str) -> Result<(PublicKey, String), SshSigError> {
    check_length(line.len())?;
    let line = line.strip_suffix('\n').unwrap_or(line);
    if line.contains(|c: char| c.is_control()) {
        return Err(SshSigError::PublicKeyLine);
    }
    let key = ssh_key::PublicKey::from_openssh(line)
        .map_err(|error| named(&error, SshSigError::PublicKeyLine))?;
    Ok((read_key(key.key_data())?, key.comment().to_owned()))
}

/// Writes a public key as a line that OpenSSH reads, without a newline.
pub fn write_public_key(key: &PublicKey, comment: &str) -> Result<String, SshSigError> {
    if comment.len() > SSH_BYTES_MAX / 2 || comment.contains(|c: char| c.is_control()) {
        return Err(SshSigError::PublicKeyLine);
    }
    let key = ssh_key::PublicKey::new(ssh_key_data(key), comment);
    key.to_openssh().map_err(|_| SshSigError::PublicKeyLine)
}

/// A good signature or key of an algorithm that is not even read is not called malformed.
fn named(error: &ssh_key::Error, otherwise: SshSigError) -> SshSigError {
    match error {
        ssh_key::Error::AlgorithmUnknown => SshSigError::Algorithm("another".to_owned()),
        _ => otherwise,
    }
}

fn check_length(length: usize) -> Result<(), SshSigError> {
    if length > SSH_BYTES_MAX {
        return Err(SshSigError::TooLong(length));
    }
    Ok(())
}

/// The bytes that the key signs: namespace and digest, under a mark that no DSSE or note begins with.
fn signed_data(hash: HashAlg, message: &[u8]) -> Result<Vec<u8>, SshSigError> {
    SshSig::signed_data(NAMESPACE, hash, message).map_err(|_| SshSigError::Encoding)
}

fn read_key(data: &KeyData) -> Result<PublicKey, SshSigError> {
    match data.ed25519() {
        Some(key) => Ok(PublicKey::from_bytes(&key.0)?),
        None => Err(SshSigError::Algorithm(data.algorithm().to_string())),
    }
}

fn ssh_key_data(key: &PublicKey) -> KeyData {
    KeyData::Ed25519(Ed25519PublicKey(*key.as_bytes()))
}

/// Why an OpenSSH signature or key does not count.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SshSigError {
    /// Larger than any that could be good.
    #[error("the SSH signature or key is too long: {0} bytes")]
    TooLong(usize),
    /// Not the text that `ssh-keygen` writes.
    #[error("not an armored SSH signature")]
    Armor,
    /// Bytes that are no signature, or spell one in a second way.
    #[error("the bytes are no SSH signature")]
    Encoding,
    /// Another version of the format.
    #[error("the SSH signature has the unknown version {0}")]
    Version(u32),
    /// A part of the format that has no meaning yet.
    #[error("the SSH signature uses a reserved field")]
    Reserved,
    /// Another algorithm than Ed25519.
    #[error("SSH signatures count with ssh-ed25519 keys only, not with {0}")]
    Algorithm(String),
    /// Made for another purpose.
    #[error("the SSH signature was made for another namespace than {NAMESPACE}: {0:?}")]
    Namespace(String),
    /// Made by another key than the one it stands for.
    #[error("the SSH signature was made by another key")]
    OtherKey,
    /// Not a line of a public key.
    #[error("a public key of OpenSSH is one line: ssh-ed25519 BASE64 COMMENT")]
    PublicKeyLine,
    /// The key is weak or malformed, or the signature does not verify.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl SshSigError {
    /// The stable code of the error.
    pub fn code(&self) -> &'static str {
        match self {
            SshSigError::TooLong(_)
            | SshSigError::Armor
            | SshSigError::Encoding
            | SshSigError::Version(_)
            | SshSigError::Reserved => "RD0580",
            SshSigError::Namespace(_) => "RD0581",
            SshSigError::Algorithm(_) => "RD0582",
            SshSigError::OtherKey => "RD0583",
            SshSigError::PublicKeyLine => "RD0584",
            SshSigError::Key(error) => error.code(),
        }
    }

    /// What the caller must do.
    pub fn class(&self) -> Class {
        match self {
            SshSigError::TooLong(_)
            | SshSigError::Armor
            | SshSigError::Encoding
            | SshSigError::Version(_)
            | SshSigError::Reserved
            | SshSigError::Namespace(_)
            | SshSigError::Algorithm(_)
            | SshSigError::OtherKey
            | SshSigError::PublicKeyLine => Class::Refused,
            SshSigError::Key(error) => error.class(),
        }
    }
}

#[cfg(test)]
mod tests;
