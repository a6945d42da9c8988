//! Fixes what one record of the saga log is: its fields, its exact bytes and its hash.
//!
//! **Invariant:** the bytes decide. A record is read only from canonical bytes whose encoding is
//! those bytes again; columns beside them are projections and are checked against them.
//!
//! **Not here:** whether a record fits behind the one before it (`chain`) and whether somebody
//! was allowed to cause it (`verify`).

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use thiserror::Error;
use uuid::Uuid;

use crate::canonical::{CanonicalError, write_integer, write_string, write_value};
use crate::class::Class;
use crate::hash::{Hash, leaf_hash};
use crate::time::parse_utc;

/// The version of the record format.
pub const VERSION: i64 = 1;

/// The largest record: a C2SP tile entry has a length of 16 bits.
pub const RECORD_BYTES_MAX: usize = 65_535;

/// One fact of a run, as it stands in the saga log.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The version of the format, [`VERSION`].
    pub v: i64,
    /// The name of the installation that wrote the record.
    pub origin: String,
    /// The identity of the ledger between restores or forks.
    pub generation: i64,
    /// The run.
    pub run: Uuid,
    /// The fencing token under which the record was written.
    pub epoch: i64,
    /// The number of the switch that was in force.
    pub switch_no: i64,
    /// The place in the run, dense from 1.
    pub seq: i64,
    /// The hash of the record before, [`Hash::ZERO`] before the first.
    pub prev: Hash,
    /// What kind of fact it is.
    pub kind: Kind,
    /// The database's time, RFC 3339 UTC with microseconds.
    pub at: String,
    /// Who caused it.
    pub actor: String,
    /// The version of the engine.
    pub engine: String,
    /// The hash of the policy in force, if there is one.
    #[serde(deserialize_with = "present")]
    pub policy: Option<Hash>,
    /// The idempotency key, if the caller gave one.
    #[serde(deserialize_with = "present")]
    pub idem: Option<String>,
    /// What the kind says more, an object.
    pub body: Value,
}

/// The bytes of a record and their hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Canonical bytes: what is stored, chained, sealed and exported.
    pub bytes: Vec<u8>,
    /// [`leaf_hash`] of the bytes.
    pub hash: Hash,
}

impl Record {
    /// Writes the record as canonical bytes and hashes them.
    pub fn encode(&self) -> Result<Encoded, RecordError> {
        let bytes = self.to_bytes()?;
        let hash = leaf_hash(&bytes);
        Ok(Encoded { bytes, hash })
    }

    /// Reads a record from its stored bytes.
    pub fn decode(bytes: &[u8]) -> Result<Record, RecordError> {
        if bytes.len() > RECORD_BYTES_MAX {
            return Err(RecordError::TooLong(bytes.len()));
        }
        // The reader would take a list of fifteen values for the fields.
        if bytes.trim_ascii_start().first() == Some(&b'[') {
            return Err(RecordError::Malformed("not an object".to_owned()));
        }
        // Straight into the fields: whatever the reader lets pass (order, spelling, a duplicate
        // key in the body) makes the second encoding differ from the bytes.
        let record: Record = serde_json::from_slice(bytes)
            .map_err(|error| RecordError::Malformed(error.to_string()))?;
        if record.to_bytes()? != bytes {
            return Err(CanonicalError::NotCanonical.into());
        }
        Ok(record)
    }

    /// Writes the fields in canonical order, without a value tree of the envelope.
    fn to_bytes(&self) -> Result<Vec<u8>, RecordError> {
        self.check_fields()?;
        let mut out = Vec::with_capacity(1024);
        let o = &mut out;
        o.extend_from_slice(b"{\"actor\":");
        write_string(o, &self.actor)?;
        o.extend_from_slice(b",\"at\":");
        write_string(o, &self.at)?;
        o.extend_from_slice(b",\"body\":");
        write_value(o, &self.body, 1)?;
        o.extend_from_slice(b",\"engine\":");
        write_string(o, &self.engine)?;
        o.extend_from_slice(b",\"epoch\":");
        write_integer(o, self.epoch)?;
        o.extend_from_slice(b",\"generation\":");
        write_integer(o, self.generation)?;
        o.extend_from_slice(b",\"idem\":");
        match &self.idem {
            Some(idem) => write_string(o, idem)?,
            None => o.extend_from_slice(b"null"),
        }
        o.extend_from_slice(b",\"kind\":");
        write_string(o, self.kind.as_str())?;
        o.extend_from_slice(b",\"origin\":");
        write_string(o, &self.origin)?;
        o.extend_from_slice(b",\"policy\":");
        match &self.policy {
            Some(policy) => write_hash(o, policy),
            None => o.extend_from_slice(b"null"),
        }
        o.extend_from_slice(b",\"prev\":");
        write_hash(o, &self.prev);
        o.extend_from_slice(b",\"run\":\"");
        let mut digits = Uuid::encode_buffer();
        let run = self.run.as_hyphenated().encode_lower(&mut digits);
        o.extend_from_slice(run.as_bytes());
        o.extend_from_slice(b"\",\"seq\":");
        write_integer(o, self.seq)?;
        o.extend_from_slice(b",\"switch_no\":");
        write_integer(o, self.switch_no)?;
        o.extend_from_slice(b",\"v\":");
        write_integer(o, self.v)?;
        o.push(b'}');
        if out.len() > RECORD_BYTES_MAX {
            return Err(RecordError::TooLong(out.len()));
        }
        Ok(out)
    }

    fn check_fields(&self) -> Result<(), RecordError> {
        let field = |name: &'static str, good: bool| match good {
            true => Ok(()),
            false => Err(RecordError::Field(name)),
        };
        if self.v != VERSION {
            return Err(RecordError::Version(self.v));
        }
        field("origin", is_origin(&self.origin))?;
        field("generation", self.generation >= 0)?;
        field("epoch", self.epoch >= 0)?;
        field("switch_no", self.switch_no >= 0)?;
        field("seq", self.seq >= 1)?;
        field("at", parse_utc(&self.at).is_some())?;
        field("actor", !self.actor.is_empty())?;
        field("engine", !self.engine.is_empty())?;
        field("body", self.body.is_object())
    }
}

/// Whether a text may name an installation: what a C2SP checkpoint allows as its first line.
pub(crate) fn is_origin(text: &str) -> bool {
    !text.is_empty()
        && !text
            .chars()
            .any(|c| c.is_whitespace() || c.is_control() || c == '+')
}

fn write_hash(out: &mut Vec<u8>, hash: &Hash) {
    out.push(b'"');
    out.extend_from_slice(&hash.hex());
    out.push(b'"');
}

/// Reads an optional field that must be written, as `null` if it is empty.
fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::deserialize(deserializer)
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// What kind of fact a record states.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $($(#[$doc])* $name,)*
        }

        impl Kind {
            /// Every kind.
            pub const ALL: &'static [Kind] = &[$(Kind::$name,)*];

            /// The name in records and tables.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Kind::$name => $text,)*
                }
            }
        }
    };
}

kinds! {
    /// A run was opened: always its first record.
    RunOpened = "run.opened",
    /// A phase committed.
    PhaseCommitted = "phase.committed",
    /// An attempt of a phase failed, or the phase did.
    PhaseFailed = "phase.failed",
    /// An external act is about to be tried.
    PhaseIntended = "phase.intended",
    /// A plan was stored.
    PlanMade = "plan.made",
    /// Somebody signed a plan.
    PlanApproved = "plan.approved",
    /// A plan was turned down.
    PlanRefused = "plan.refused",
    /// A plan's execution began.
    PlanStarted = "plan.started",
    /// A plan has no action left.
    PlanFinished = "plan.finished",
    /// One action of a plan committed.
    CompensationCommitted = "compensation.committed",
    /// An attempt of an action failed, or the compensation did.
    CompensationFailed = "compensation.failed",
    /// An operator cancelled the run.
    RunCancelled = "run.cancelled",
    /// A failed run goes forward again.
    RunResumed = "run.resumed",
    /// A person closed the run.
    Resolved = "resolved",
    /// A closed run states how many records it has.
    RunSealed = "run.sealed",
    /// A signed decision that other records rest on.
    Decision = "decision",
    /// A hold was set.
    HoldSet = "hold.set",
    /// A hold was released.
    HoldReleased = "hold.released",
    /// The kill switch was set.
    SwitchKilled = "switch.killed",
    /// The kill switch was released.
    SwitchReleased = "switch.released",
    /// Pre or post snapshot.
    SnapshotTaken = "snapshot.taken",
    /// A request was refused.
    Refused = "refused",
    /// A step of a runbook was done.
    RunbookStep = "runbook.step",
    /// A key became known.
    KeyRegistered = "key.registered",
    /// A key was replaced by another.
    KeyRotated = "key.rotated",
    /// A key is no longer valid.
    KeyRevoked = "key.revoked",
    /// A key is doubtful since a position.
    KeyCompromised = "key.compromised",
    /// A policy came into force.
    PolicySet = "policy.set",
    /// A policy went out of force.
    PolicyRetired = "policy.retired",
    /// A blob and its salt were erased.
    BlobErased = "blob.erased",
    /// Runs that had ended were taken out of the hot tables; an archive holds their records.
    RunsArchived = "runs.archived",
    /// The ledger got a new generation.
    GenerationOpened = "generation.opened",
}

impl Kind {
    /// Whether such a record becomes the run's basis: it changes what a plan would say.
    pub fn moves_basis(self) -> bool {
        matches!(
            self,
            Kind::RunOpened
                | Kind::PhaseCommitted
                | Kind::PhaseFailed
                | Kind::PhaseIntended
                | Kind::CompensationCommitted
                | Kind::CompensationFailed
                | Kind::RunCancelled
                | Kind::RunResumed
                | Kind::Resolved
        )
    }

    /// Whether only the root may cause such a record.
    pub fn is_root_act(self) -> bool {
        self.is_key_act()
            || matches!(
                self,
                Kind::PolicySet | Kind::PolicyRetired | Kind::BlobErased | Kind::RunsArchived
            )
    }

    /// Whether such a record changes which keys count.
    pub fn is_key_act(self) -> bool {
        matches!(
            self,
            Kind::KeyRegistered
                | Kind::KeyRotated
                | Kind::KeyRevoked
                | Kind::KeyCompromised
                | Kind::GenerationOpened
        )
    }

    /// Whether such a record tells the story of a run and has no place in the system run.
    pub fn is_of_a_run(self) -> bool {
        self.moves_basis()
            || matches!(
                self,
                Kind::PlanMade
                    | Kind::PlanApproved
                    | Kind::PlanRefused
                    | Kind::PlanStarted
                    | Kind::PlanFinished
                    | Kind::RunSealed
            )
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = RecordError;

    fn from_str(text: &str) -> Result<Kind, RecordError> {
        Kind::ALL
            .iter()
            .copied()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| RecordError::Kind(text.to_owned()))
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Kind, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

/// Why a record cannot be written, or why bytes are not one.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RecordError {
    /// A value without a canonical form, or bytes that are not canonical.
    #[error(transparent)]
    Canonical(#[from] CanonicalError),
    /// Not JSON, or not exactly the fields of a record.
    #[error("not a record: {0}")]
    Malformed(String),
    /// Another version of the format.
    #[error("record version {0} is not known")]
    Version(i64),
    /// A field outside its range.
    #[error("the record's field is not valid: {0}")]
    Field(&'static str),
    /// An unknown kind.
    #[error("unknown kind of record {0:?}")]
    Kind(String),
    /// Larger than [`RECORD_BYTES_MAX`].
    #[error("a record holds at most {RECORD_BYTES_MAX} bytes, this one has {0}")]
    TooLong(usize),
}

impl RecordError {
    /// The stable code of the error.
    pub fn code(&self) -> &'static str {
        match self {
            RecordError::Canonical(error) => error.code(),
            RecordError::Malformed(_) => "RD0610",
            RecordError::Version(_) => "RD0611",
            RecordError::Field(_) => "RD0612",
            RecordError::Kind(_) => "RD0613",
            RecordError::TooLong(_) => "RD0614",
        }
    }

    /// What the caller must do.
    pub fn class(&self) -> Class {
        Class::Refused
    }
}

#[cfg(test)]
mod tests;
