//! Decides whose signatures count, from a file that the reader keeps outside the database.
//!
//! One line a key: `key ROLE VKEY`; the key's name is the principal. `log VKEY` lines, as in a C2SP
//! tlog-policy, are kept for the checkpoint. `#` starts a comment line; empty lines do not matter.
//!
//! **Invariant:** no public key stands twice, so one person cannot count as two and a log's key
//! cannot sign a decision. A file that cannot be read completely is refused, never taken in part.

use std::collections::BTreeMap;

use thiserror::Error;

use crate::class::Class;
use crate::key::{KeyError, KeyId, PublicKey, Role, Vkey};

/// The largest trust file.
pub const TRUST_BYTES_MAX: usize = 1 << 20;

/// One key that counts, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedKey {
    /// The key; its name is the principal.
    pub vkey: Vkey,
    /// What its holder may do.
    pub role: Role,
}

impl TrustedKey {
    /// Who holds the key.
    pub fn principal(&self) -> &str {
        self.vkey.name()
    }

    /// The line of a trust file that says this.
    pub fn line(&self) -> String {
        format!("key {} {}", self.role, self.vkey)
    }
}

/// Every key that counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    keys: BTreeMap<KeyId, TrustedKey>,
    logs: Vec<Vkey>,
}

impl Trust {
    /// Trusts nobody yet; keys are added one by one.
    pub fn new() -> Trust {
        Trust::default()
    }

    /// Reads a trust file; the first line that is not understood refuses it.
    pub fn parse(text: &str) -> Result<Trust, TrustError> {
        if text.len() > TRUST_BYTES_MAX {
            return Err(TrustError::TooLong(text.len()));
        }
        let mut trust = Trust::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            trust.read_line(line).map_err(|fault| TrustError::Line {
                line: index + 1,
                fault,
            })?;
        }
        Ok(trust)
    }

    fn read_line(&mut self, line: &str) -> Result<(), TrustFault> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["key", role, vkey] => self.add(role.parse()?, vkey.parse()?),
            // A tlog-policy may name where the log is; nothing here goes there.
            ["log", vkey] | ["log", vkey, _] => self.add_log(vkey.parse()?),
            ["key" | "log", ..] => Err(TrustFault::Words),
            _ => Err(TrustFault::Keyword),
        }
    }

    /// Adds a person's key.
    pub fn add(&mut self, role: Role, vkey: Vkey) -> Result<(), TrustFault> {
        self.check_new(&vkey)?;
        self.keys
            .insert(vkey.id().clone(), TrustedKey { vkey, role });
        Ok(())
    }

    /// Adds a log's key.
    pub fn add_log(&mut self, vkey: Vkey) -> Result<(), TrustFault> {
        self.check_new(&vkey)?;
        self.logs.push(vkey);
        Ok(())
    }

    fn check_new(&self, vkey: &Vkey) -> Result<(), TrustFault> {
        let known = || self.keys.values().map(|key| &key.vkey).chain(&self.logs);
        let same = |key: &PublicKey| known().any(|vkey| vkey.key() == key);
        if same(vkey.key()) {
            return Err(TrustFault::KeyTwice(vkey.id().clone()));
        }
        if known().any(|known| known.id() == vkey.id()) {
            return Err(TrustFault::IdTwice(vkey.id().clone()));
        }
        Ok(())
    }

    /// Finds the key that a signature names.
    pub fn lookup(&self, id: &KeyId) -> Option<&TrustedKey> {
        self.keys.get(id)
    }

    /// Every person's key, by id.
    pub fn keys(&self) -> impl Iterator<Item = &TrustedKey> {
        self.keys.values()
    }

    /// Every log's key, in the order of the file.
    pub fn logs(&self) -> &[Vkey] {
        &self.logs
    }

    /// Whether nobody is trusted.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

/// Why a trust file is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TrustError {
    /// A line that cannot be taken.
    #[error("line {line}: {fault}")]
    Line {
        /// The number of the line, from 1.
        line: usize,
        /// What is wrong with it.
        fault: TrustFault,
    },
    /// Larger than [`TRUST_BYTES_MAX`].
    #[error("a trust file holds at most {TRUST_BYTES_MAX} bytes, this one has {0}")]
    TooLong(usize),
}

/// What is wrong with one key of a trust file.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TrustFault {
    /// A line that starts with neither `key` nor `log`.
    #[error("a line is `key ROLE VKEY` or `log VKEY`")]
    Keyword,
    /// Too few or too many words.
    #[error("the line has too few or too many words")]
    Words,
    /// A role or a key that is not accepted.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The same public key again, under this name or another.
    #[error("the public key stands in the file already: {0}")]
    KeyTwice(KeyId),
    /// Another key with the same id.
    #[error("another key has the same id: {0}")]
    IdTwice(KeyId),
}

impl TrustError {
    /// The stable code of the error.
    pub fn code(&self) -> &'static str {
        match self {
            TrustError::Line { fault, .. } => fault.code(),
            TrustError::TooLong(_) => "RD0532",
        }
    }

    /// What the caller must do.
    pub fn class(&self) -> Class {
        Class::Refused
    }
}

impl TrustFault {
    /// The stable code of the error.
    pub fn code(&self) -> &'static str {
        match self {
            TrustFault::Keyword | TrustFault::Words => "RD0530",
            TrustFault::Key(error) => error.code(),
            TrustFault::KeyTwice(_) | TrustFault::IdTwice(_) => "RD0531",
        }
    }

    /// What the caller must do.
    pub fn class(&self) -> Class {
        Class::Refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::SigningKey;

    fn vkey(name: &str, seed: u8) -> Vkey {
        let key = SigningKey::from_seed(name, &[seed; 32]).unwrap();
        key.vkey().clone()
    }

    #[test]
    fn a_trust_file_is_read_with_comments_and_logs() {
        let (alice, second, bob) = (vkey("alice", 1), vkey("alice", 2), vkey("bob", 3));
        let log = vkey("redress.example/log", 4);
        let text = format!(
            "# roots\n\nkey sovereign {alice}\r\n  key reviewer {second}\n\
             key reviewer {bob}\nlog {log} https://log.example/\n"
        );
        let trust = Trust::parse(&text).unwrap();
        assert_eq!(trust.keys().count(), 3);
        let found = trust.lookup(alice.id()).unwrap();
        assert_eq!((found.principal(), found.role), ("alice", Role::Sovereign));
        assert_eq!(trust.logs(), std::slice::from_ref(&log));
        assert!(trust.lookup(log.id()).is_none(), "a log signs no decisions");
        let lines: String = trust.keys().map(|key| key.line() + "\n").collect();
        assert_eq!(Trust::parse(&lines).unwrap().keys().count(), 3);
        assert!(Trust::parse("# nobody\n").unwrap().is_empty());
    }

    #[test]
    fn a_line_that_is_not_understood_refuses_the_file() {
        let (alice, mallory) = (vkey("alice", 1), vkey("mallory", 1));
        let check = |second: String, expected: TrustFault| {
            let text = format!("key sovereign {alice}\n{second}\n");
            let (line, fault) = match Trust::parse(&text) {
                Err(TrustError::Line { line, fault }) => (line, fault),
                other => panic!("{second}: {other:?}"),
            };
            assert_eq!((line, fault), (2, expected), "{second}");
        };
        let id = |vkey: &Vkey| vkey.id().clone();
        check("trust everybody".into(), TrustFault::Keyword);
        check("key sovereign".into(), TrustFault::Words);
        check(format!("key sovereign {alice} x"), TrustFault::Words);
        check(
            format!("key root {mallory}"),
            KeyError::Role("root".into()).into(),
        );
        check("key sovereign nobody".into(), KeyError::Vkey.into());
        check(
            format!("key reviewer {alice}"),
            TrustFault::KeyTwice(id(&alice)),
        );
        check(
            format!("key reviewer {mallory}"),
            TrustFault::KeyTwice(id(&mallory)),
        );
        check(format!("log {mallory}"), TrustFault::KeyTwice(id(&mallory)));
        // The identity point: it verifies what nobody signed.
        let weak = "weak+00000000+AQEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        check(format!("key sovereign {weak}"), KeyError::Weak.into());
        assert!(Trust::parse(&" ".repeat(TRUST_BYTES_MAX + 1)).is_err());
    }
}
