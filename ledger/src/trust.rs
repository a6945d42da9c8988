//! Decides whose signatures count, from a file that the reader keeps outside the database.
//!
//! One line a key: `key ROLE VKEY`; the key's name is the principal. `root N [KEYID ...]` says what
//! the root of a ledger must be at least. `log VKEY` lines, and `witness`, `group` and `quorum` as
//! in a C2SP tlog-policy, are for the checkpoint. `#` starts a comment line; empty lines do not matter.
//!
//! **Invariant:** no public key stands twice, so one person cannot count as two and a log's key
//! cannot sign a decision. A file that cannot be read completely is refused, never taken in part.

mod policy;
mod witness;

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use crate::class::Class;
use crate::key::{KeyError, KeyId, PublicKey, Role, Vkey};
use crate::note::{Note, NoteError};

use policy::Policy;
pub use witness::WitnessKey;

/// The largest trust file.
pub const TRUST_BYTES_MAX: usize = 1 << 20;

/// The largest threshold that a `root` line can ask for.
pub const ROOT_THRESHOLD_MAX: u64 = 99;

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
    root: Option<RootRule>,
    policy: Policy,
}

/// What the root of a ledger must be at least.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootRule {
    /// The smallest threshold that is good enough.
    pub threshold: u64,
    /// Exactly whose keys it has; empty if the file leaves that open.
    pub keys: BTreeSet<KeyId>,
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
            ["root", threshold, keys @ ..] => self.set_root(threshold, keys),
            ["witness", name, vkey] | ["witness", name, vkey, _] => {
                self.policy.add_witness(name, vkey)
            }
            ["group", name, needed, members @ ..] if !members.is_empty() => {
                self.policy.add_group(name, needed, members)
            }
            ["quorum", name] => self.policy.set_quorum(name),
            ["key" | "log" | "root" | "witness" | "group" | "quorum", ..] => Err(TrustFault::Words),
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

    /// Says what the root must be at least; the keys are sovereigns' keys that stand above.
    fn set_root(&mut self, threshold: &str, keys: &[&str]) -> Result<(), TrustFault> {
        if self.root.is_some() {
            return Err(TrustFault::Twice("root"));
        }
        let threshold = policy::read_count(threshold)
            .filter(|count| *count <= ROOT_THRESHOLD_MAX)
            .ok_or(TrustFault::Threshold)?;
        let mut named = BTreeSet::new();
        for text in keys {
            let unknown = || TrustFault::NoSovereign((*text).to_owned());
            let id: KeyId = text.parse().map_err(|_| unknown())?;
            let known = self.keys.get(&id);
            if known.is_none_or(|key| key.role != Role::Sovereign) {
                return Err(unknown());
            }
            named.insert(id);
        }
        self.root = Some(RootRule {
            threshold,
            keys: named,
        });
        Ok(())
    }

    /// What the root of a ledger must be at least, if the file says so.
    pub fn root(&self) -> Option<&RootRule> {
        self.root.as_ref()
    }

    /// Every sovereign's key: the roots that the reader knows.
    pub fn sovereigns(&self) -> impl Iterator<Item = &TrustedKey> {
        let all = self.keys.values();
        all.filter(|key| key.role == Role::Sovereign)
    }

    /// Whether the witnesses whose lines stand under a note are as many as the file asks for.
    ///
    /// A line of a witness that the file names and that does not hold refuses the note.
    pub fn is_witnessed(&self, note: &Note) -> Result<bool, NoteError> {
        self.policy.is_met(note)
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
    /// A line that begins with no word that has a meaning.
    #[error("a line begins with key, log, root, witness, group or quorum")]
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
    /// A second line where one is allowed.
    #[error("the file has a second line of the kind {0}")]
    Twice(&'static str),
    /// A threshold of the root that is no number, or none that a root can have.
    #[error("the threshold of a root is 1 to {ROOT_THRESHOLD_MAX}")]
    Threshold,
    /// A root's key that no line above gives to a sovereign.
    #[error("no sovereign's key stands above with the id {0}")]
    NoSovereign(String),
    /// A witness or a group under a name that is taken, or that means nobody.
    #[error("the name stands in the file already: {0}")]
    Name(String),
    /// A name that no line above defines, or that is a member of a group already.
    #[error("not defined above, or a member already: {0}")]
    Undefined(String),
    /// A group that needs nobody, or more than it has.
    #[error("a group needs any, all, or a number of its members, not {0}")]
    Needed(String),
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
            TrustFault::Keyword
            | TrustFault::Words
            | TrustFault::Twice(_)
            | TrustFault::Threshold
            | TrustFault::NoSovereign(_)
            | TrustFault::Name(_)
            | TrustFault::Undefined(_)
            | TrustFault::Needed(_) => "RD0530",
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
mod tests;
