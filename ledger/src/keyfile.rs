//! Keeps private keys on disk so that nobody but their owner can use them.
//!
//! A key is two files: `NAME.key`, an encrypted PKCS#8 v1 PEM that `openssl pkey` reads too, and
//! `NAME.pub`, one line `ROLE VKEY`. The PEM has no room for name and role; the second file has,
//! and its key must be that of the first. The files may have another name than the key: that of a
//! log is no file name, and a person may have two keys.
//!
//! **Invariant:** a private key is read only from a regular file of this user that nobody else
//! may open, reached without a symbolic link; the checks are on the open file, not on its path.
//!
//! **What can go wrong:** a death while writing leaves a `NAME.key` that is cut off or has no
//! `NAME.pub`. Both are refused by name when read; nothing was signed with them, so the file can
//! be deleted. An existing file is never overwritten.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use ed25519_dalek::pkcs8::{EncodePrivateKey, KeypairBytes};
use pkcs8::pkcs5::pbes2;
use pkcs8::{EncryptedPrivateKeyInfo, LineEnding, PrivateKeyInfo, SecretDocument};
use rand_core::{OsRng, RngCore};
use rustix::fs::OFlags;
use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;

use crate::class::Class;
use crate::key::{KeyError, SigningKey, Vkey};
use crate::keyring::KeyRole;

/// How often PBKDF2 hashes the passphrase of a new key file.
pub const ITERATIONS_DEFAULT: u32 = 600_000;

/// The most that a key file may ask for; more would only keep the reader busy.
pub const ITERATIONS_MAX: u32 = 10_000_000;

/// The largest key file.
pub const KEY_FILE_BYTES_MAX: u64 = 16 * 1024;

/// What a private key of OpenSSH begins with.
const OPENSSH_LABEL: &str = "-----BEGIN OPENSSH PRIVATE KEY-----";
const PEM_LABEL: &str = "ENCRYPTED PRIVATE KEY";

/// A private key and what it is for.
#[derive(Debug)]
pub struct KeyFile {
    /// The key, with its name.
    pub key: SigningKey,
    /// What its holder may do, or which machine's it is.
    pub role: KeyRole,
}

/// Writes a new key into a directory and returns the path of `NAME.key`.
pub fn write_key(
    dir: &Path,
    key: &SigningKey,
    role: impl Into<KeyRole>,
    passphrase: &SecretString,
    iterations: u32,
) -> Result<PathBuf, KeyFileError> {
    write_key_as(dir, key.name(), key, role, passphrase, iterations)
}

/// The same into files of another name: `STEM.key` and `STEM.pub`.
pub fn write_key_as(
    dir: &Path,
    stem: &str,
    key: &SigningKey,
    role: impl Into<KeyRole>,
    passphrase: &SecretString,
    iterations: u32,
) -> Result<PathBuf, KeyFileError> {
    let role = role.into();
    let path = key_path(dir, stem)?;
    let public = path.with_extension("pub");
    // A leftover `.pub` is still somebody's key: its name is not given away again.
    if fs::symlink_metadata(&public).is_ok() {
        return Err(KeyFileError::Exists(public));
    }
    let pem = encrypt(key, passphrase, iterations)?;
    create(&path, pem.as_bytes(), 0o600)?;
    create(
        &public,
        format!("{role} {}\n", key.vkey()).as_bytes(),
        0o644,
    )?;
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(|error| KeyFileError::io(dir, error))?;
    Ok(path)
}

/// Reads `NAME.key` and the `NAME.pub` beside it.
pub fn read_key(path: &Path, passphrase: &SecretString) -> Result<KeyFile, KeyFileError> {
    let pem = read_checked(path, true)?;
    if pem.contains(OPENSSH_LABEL) {
        return Err(KeyFileError::OpenSsh(path.to_owned()));
    }
    let (role, vkey) = read_public(&path.with_extension("pub"))?;
    let secret = decrypt(path, &pem, passphrase)?;
    let key = SigningKey::from_secret(vkey.name(), secret)
        .map_err(|source| KeyFileError::key(path, source))?;
    if key.vkey() != &vkey {
        return Err(KeyFileError::Mismatch(path.to_owned()));
    }
    Ok(KeyFile { key, role })
}

/// Reads the one line of `NAME.pub`.
pub fn read_public(path: &Path) -> Result<(KeyRole, Vkey), KeyFileError> {
    let text = read_checked(path, false)?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let malformed = || KeyFileError::Public(path.to_owned());
    let (role, vkey) = line.split_once(' ').ok_or_else(malformed)?;
    let wrong = |source| KeyFileError::key(path, source);
    Ok((role.parse().map_err(wrong)?, vkey.parse().map_err(wrong)?))
}

/// Lists every public key of a directory, by file name.
pub fn list_public(dir: &Path) -> Result<Vec<(KeyRole, Vkey)>, KeyFileError> {
    let entries = fs::read_dir(dir)
        .and_then(Iterator::collect::<io::Result<Vec<_>>>)
        .map_err(|error| KeyFileError::io(dir, error))?;
    let mut paths: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "pub"));
    paths.sort();
    paths.iter().map(|path| read_public(path)).collect()
}

/// Where the key with this file name is kept; one that is no plain file name is refused.
pub fn key_path(dir: &Path, name: &str) -> Result<PathBuf, KeyFileError> {
    let good = name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte));
    if good {
        Ok(dir.join(format!("{name}.key")))
    } else {
        Err(KeyFileError::Name(name.to_owned()))
    }
}

fn encrypt(
    key: &SigningKey,
    passphrase: &SecretString,
    iterations: u32,
) -> Result<zeroize::Zeroizing<String>, KeyFileError> {
    if passphrase.expose_secret().is_empty() {
        return Err(KeyFileError::NoPassphrase);
    }
    let internal = |what: &dyn std::fmt::Display| KeyFileError::Encrypt(what.to_string());
    if !(1..=ITERATIONS_MAX).contains(&iterations) {
        return Err(internal(&"the number of iterations is out of range"));
    }
    let (mut salt, mut iv) = ([0; 16], [0; 16]);
    OsRng
        .try_fill_bytes(&mut salt)
        .and_then(|()| OsRng.try_fill_bytes(&mut iv))
        .map_err(|error| internal(&error))?;
    // OpenSSL 3.0 reads neither PKCS#8 v2 (public key inside) nor the default scrypt of this
    // crate, so the version and the scheme are fixed here.
    let bytes = KeypairBytes {
        secret_key: key.secret().to_bytes(),
        public_key: None,
    };
    let plain = bytes.to_pkcs8_der().map_err(|error| internal(&error))?;
    let scheme = pbes2::Parameters::pbkdf2_sha256_aes256cbc(iterations, &salt, &iv)
        .map_err(|error| internal(&error))?;
    PrivateKeyInfo::try_from(plain.as_bytes())
        .and_then(|info| info.encrypt_with_params(scheme, passphrase.expose_secret()))
        .map_err(|error| internal(&error))?
        .to_pem(PEM_LABEL, LineEnding::LF)
        .map_err(|error| internal(&error))
}

fn decrypt(
    path: &Path,
    pem: &str,
    passphrase: &SecretString,
) -> Result<ed25519_dalek::SigningKey, KeyFileError> {
    let malformed = || KeyFileError::Malformed(path.to_owned());
    let (label, document) = SecretDocument::from_pem(pem).map_err(|_| malformed())?;
    if label != PEM_LABEL {
        return Err(malformed());
    }
    let info = EncryptedPrivateKeyInfo::try_from(document.as_bytes()).map_err(|_| malformed())?;
    let scheme = info.encryption_algorithm.pbes2().ok_or_else(malformed)?;
    let iterations = scheme.kdf.pbkdf2().map(|kdf| kdf.iteration_count);
    if iterations.is_none_or(|count| count > ITERATIONS_MAX) {
        return Err(malformed());
    }
    let plain = info
        .decrypt(passphrase.expose_secret())
        .map_err(|_| KeyFileError::Passphrase(path.to_owned()))?;
    PrivateKeyInfo::try_from(plain.as_bytes())
        .ok()
        .and_then(|info| ed25519_dalek::SigningKey::try_from(info).ok())
        .ok_or_else(|| KeyFileError::Passphrase(path.to_owned()))
}

fn create(path: &Path, bytes: &[u8], mode: u32) -> Result<(), KeyFileError> {
    let opened = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path);
    let mut file = opened.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => KeyFileError::Exists(path.to_owned()),
        _ => KeyFileError::io(path, error),
    })?;
    // The umask can only have taken bits away; the owner still needs to read the file.
    file.set_permissions(fs::Permissions::from_mode(mode))
        .and_then(|()| file.write_all(bytes))
        .and_then(|()| file.sync_all())
        .map_err(|error| KeyFileError::io(path, error))
}

/// Reads a small file whose owner, type and mode are what they must be.
fn read_checked(path: &Path, private: bool) -> Result<String, KeyFileError> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let bits = i32::try_from(flags.bits()).map_err(|error| {
        KeyFileError::io(path, io::Error::new(io::ErrorKind::InvalidInput, error))
    })?;
    let opened = OpenOptions::new().read(true).custom_flags(bits).open(path);
    let file = opened.map_err(|error| {
        let link = rustix::io::Errno::LOOP.raw_os_error();
        match error.raw_os_error() {
            Some(number) if number == link => KeyFileError::NotRegular(path.to_owned()),
            _ => KeyFileError::io(path, error),
        }
    })?;
    let meta = file
        .metadata()
        .map_err(|error| KeyFileError::io(path, error))?;
    if !meta.is_file() {
        return Err(KeyFileError::NotRegular(path.to_owned()));
    }
    if private && meta.mode() & 0o077 != 0 {
        let mode = meta.mode() & 0o7777;
        return Err(KeyFileError::Open {
            path: path.to_owned(),
            mode,
        });
    }
    if private && meta.uid() != rustix::process::geteuid().as_raw() {
        return Err(KeyFileError::Owner {
            path: path.to_owned(),
            uid: meta.uid(),
        });
    }
    let mut text = String::new();
    file.take(KEY_FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(|error| KeyFileError::io(path, error))?;
    if u64::try_from(text.len()).is_ok_and(|len| len > KEY_FILE_BYTES_MAX) {
        return Err(KeyFileError::Malformed(path.to_owned()));
    }
    Ok(text)
}

/// Why a key file is not read or not written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// The file system refused.
    #[error("{source}: {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// A symbolic link, a directory, a pipe or a device.
    #[error("a key file must be a regular file and no link: {}", .0.display())]
    NotRegular(PathBuf),
    /// Others may open it.
    #[error("others may open the key file (mode {mode:o}, needed 600): {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It belongs to another user.
    #[error("the key file belongs to another user (uid {uid}): {}", path.display())]
    Owner {
        /// The file.
        path: PathBuf,
        /// Its owner.
        uid: u32,
    },
    /// A file of this name is there.
    #[error("the file exists and is not overwritten: {}", .0.display())]
    Exists(PathBuf),
    /// Not an encrypted PEM with PBES2 and PBKDF2.
    #[error("not an encrypted pkcs#8 key file (pbes2, pbkdf2): {}", .0.display())]
    Malformed(PathBuf),
    /// A private key of OpenSSH, which signs by itself.
    #[error(
        "a private key of OpenSSH is not read here: it signs by `ssh-keygen -Y sign -n redress-decision`, and \
         `--signature FILE.sig` hands that in: {}",
        .0.display()
    )]
    OpenSsh(PathBuf),
    /// Decryption gave no key.
    #[error("wrong passphrase, or a damaged key file: {}", .0.display())]
    Passphrase(PathBuf),
    /// Not one line `ROLE VKEY`.
    #[error("a public key file is one line `ROLE VKEY`: {}", .0.display())]
    Public(PathBuf),
    /// A role, a name or a key that is not accepted.
    #[error("{source}: {}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: KeyError,
    },
    /// The public file beside it belongs to another key.
    #[error("the .pub file beside it belongs to another key: {}", .0.display())]
    Mismatch(PathBuf),
    /// A name that cannot be a file name.
    #[error(
        "a key's file name has letters, digits and `-_.@` and starts with a letter or digit: {0:?}"
    )]
    Name(String),
    /// An empty passphrase.
    #[error("a key file needs a passphrase")]
    NoPassphrase,
    /// The key could not be encrypted.
    #[error("the key could not be encrypted: {0}")]
    Encrypt(String),
}

impl KeyFileError {
    fn io(path: &Path, source: io::Error) -> KeyFileError {
        KeyFileError::Io {
            path: path.to_owned(),
            source,
        }
    }

    fn key(path: &Path, source: KeyError) -> KeyFileError {
        KeyFileError::Key {
            path: path.to_owned(),
            source,
        }
    }

    /// The stable code of the error.
    pub fn code(&self) -> &'static str {
        match self {
            KeyFileError::Io { .. } => "RD0511",
            KeyFileError::NotRegular(_) => "RD0512",
            KeyFileError::Open { .. } => "RD0513",
            KeyFileError::Owner { .. } => "RD0514",
            KeyFileError::Exists(_) => "RD0515",
            KeyFileError::Malformed(_) | KeyFileError::OpenSsh(_) => "RD0516",
            KeyFileError::Passphrase(_) => "RD0517",
            KeyFileError::Public(_) => "RD0518",
            KeyFileError::Key { source, .. } => source.code(),
            KeyFileError::Mismatch(_) => "RD0519",
            KeyFileError::Name(_) => "RD0520",
            KeyFileError::NoPassphrase => "RD0521",
            KeyFileError::Encrypt(_) => "RD0522",
        }
    }

    /// What the caller must do.
    pub fn class(&self) -> Class {
        Class::Refused
    }
}

#[cfg(test)]
mod tests;
