//! Keeps the signed ledger of Redress: what a record is, who may decide, and whether a log holds.
//!
//! This crate is pure. It knows no database, no clock and no network, and of the file system only
//! key files and the folder of an exported ledger, so that whoever audits a ledger runs this code and none of the engine's.
//!
//! ```
//! use redress_ledger::{SigningKey, Trust, to_canonical};
//! use serde_json::json;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // One value, one byte string: what is signed and hashed.
//! assert_eq!(to_canonical(&json!({"b": 1, "a": [true, null]}))?, br#"{"a":[true,null],"b":1}"#);
//!
//! // Whose signatures count says a file of the reader's own.
//! let key = SigningKey::generate("sofia")?;
//! let trust = Trust::parse(&format!("key sovereign {}\n", key.vkey()))?;
//! assert!(Trust::parse("key admiral nobody").is_err());
//! # let _ = trust;
//! # Ok(())
//! # }
//! ```
//!
//! No features. `FORMAT.md` beside this crate says what an export is, `verify.py` is a second verifier written from it.
//!
//! The modules in the order of the flow; each uses only those above it.
//!
//! | module | decides |
//! |---|---|
//! | [`class`] | what the caller must do about an error |
//! | [`state`] | which moves of a run are legal |
//! | [`canonical`] | the one byte string of a value |
//! | [`mod@hash`] | the name of bytes |
//! | [`time`] | the one spelling of an instant |
//! | [`record`] | what a record is, byte by byte |
//! | [`tree`] | whether a leaf is in a tree, and one tree continues another |
//! | [`blob`] | how a record speaks of data that is large or personal |
//! | [`chain`] | whether a run's records are all there, in order, and legal |
//! | [`key`] | what a key is and when a signature counts |
//! | [`keyfile`] | how private keys lie on disk |
//! | [`sshsig`] | when a signature by OpenSSH counts |
//! | [`note`] | which keys signed a text |
//! | [`checkpoint`] | what a log says of itself |
//! | [`proof`] | whether one file shows that a record is in a log |
//! | [`receipt`] | whether an engine says that it committed a record |
//! | [`trust`] | whose signatures count |
//! | [`quorum`] | whether those who signed are enough |
//! | [`decision`] | whether a signed decision is meant for this act |
//! | [`act`] | what the root signs about the keys of the ledger |
//! | [`envelope`] | whether a signed decision is genuine |
//! | [`keyring`] | which keys count at a position of the ledger |
//! | [`authority`] | whether what a log says was done was allowed |
//! | `runs` | what must be remembered of every run |
//! | [`verify`] | whether a log in a database holds |
//! | [`bundle`] | whether an exported ledger holds |
//!
//! **Invariant:** one value, one byte string, one hash. What has two spellings is refused when it
//! is written and when it is read; nothing is rounded, reordered or guessed.
//!
//! **Invariant:** the hash of a record is its Merkle leaf. Chain, receipts and tree speak of
//! records by the same 32 bytes.
//!
//! **Invariant:** live writes, replay and verification call the same `transition`. There is no
//! second opinion on what a run may do.
//!
//! **Invariant:** trust comes from the caller. No key is ever taken from what is being verified.
//!
//! **Not here:** a promise that the log cannot be changed. It is tamper-evident: whoever owns the
//! database can rewrite what no signed checkpoint covers yet, and is found out by any that does.

pub mod class;
pub mod state;

pub mod canonical;
pub mod hash;
pub mod time;
pub mod tree;

pub mod blob;
pub mod chain;
pub mod record;

pub mod key;
pub mod keyfile;
pub mod sshsig;
pub mod trust;

pub mod checkpoint;
pub mod note;
pub mod proof;
pub mod receipt;

pub mod act;
pub mod decision;
pub mod envelope;
pub mod quorum;

pub mod authority;
pub mod bundle;
pub mod keyring;
mod runs;
mod used;
pub mod verify;

#[cfg(test)]
mod testing;

pub use act::Act;
pub use canonical::{CanonicalError, parse_canonical, to_canonical};
pub use chain::{Chain, ChainError};
pub use checkpoint::{Checkpoint, CheckpointError, log_origin};
pub use class::Class;
pub use decision::{Basis, Decision, DecisionError, Expected, Purpose};
pub use envelope::{Envelope, Verified, sign};
pub use hash::{Hash, leaf_hash};
pub use key::{KeyError, KeyId, PublicKey, Role, SigningKey, Vkey};
pub use keyring::{KeyRole, Keyring, KeyringError, Root};
pub use note::{Note, NoteError};
pub use proof::{ProofError, TlogProof};
pub use quorum::{Missing, Quorum, Signer, quorum_missing};
pub use receipt::{Receipt, ReceiptError};
pub use record::{Encoded, Kind, Record, RecordError};
pub use sshsig::{SshSigError, SshSignature};
pub use state::{After, Event, Illegal, State, transition, triples};
pub use tree::{Frontier, TreeError};
pub use trust::{Trust, TrustError};
pub use verify::{LogVerifier, Report, Verdict};
