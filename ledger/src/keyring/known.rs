//! Says what the ledger knows of one key: what it is for, and from where to where it counts.

use std::fmt;
use std::str::FromStr;

use crate::key::{KeyError, Role, Vkey};

/// What a key of the ledger is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyRole {
    /// A person's.
    Person(Role),
    /// An engine's: it signs receipts.
    Engine,
    /// The log's: it signs checkpoints.
    Log,
}

impl KeyRole {
    /// The role of a root's key.
    pub const SOVEREIGN: KeyRole = KeyRole::Person(Role::Sovereign);

    /// The name in records.
    pub fn as_str(self) -> &'static str {
        match self {
            KeyRole::Person(role) => role.as_str(),
            KeyRole::Engine => "engine",
            KeyRole::Log => "log",
        }
    }
}

impl From<Role> for KeyRole {
    fn from(role: Role) -> KeyRole {
        KeyRole::Person(role)
    }
}

impl fmt::Display for KeyRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for KeyRole {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<KeyRole, KeyError> {
        match text {
            "engine" => Ok(KeyRole::Engine),
            "log" => Ok(KeyRole::Log),
            person => Ok(KeyRole::Person(person.parse()?)),
        }
    }
}

/// A key that the ledger knows, and from where to where it counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerKey {
    pub(super) vkey: Vkey,
    pub(super) role: KeyRole,
    pub(super) since: u64,
    pub(super) until: Option<u64>,
    /// Where it signed what was accepted.
    pub(super) signed_at: Vec<u64>,
}

impl LedgerKey {
    /// The key; its name is the principal.
    pub fn vkey(&self) -> &Vkey {
        &self.vkey
    }

    /// What it is for.
    pub fn role(&self) -> KeyRole {
        self.role
    }

    /// The position of the record that registered it; it counts behind that.
    pub fn since(&self) -> u64 {
        self.since
    }

    /// The position of the record that ended it, if one did; it does not count behind that.
    pub fn until(&self) -> Option<u64> {
        self.until
    }
}

/// What the ledger says of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing<'k> {
    /// Nothing.
    Unknown,
    /// It counts.
    Valid(&'k LedgerKey),
    /// It was known and does not count: no longer, or at that position not yet.
    Ended(&'k LedgerKey),
}
