//! The signed ledger of Redress: canonical records, chains, keys, decisions, verification; pure, no I/O beyond key files.

pub mod blob;
pub mod canonical;
pub mod chain;
pub mod class;
pub mod decision;
pub mod hash;
pub mod key;
pub mod keyfile;
pub mod quorum;
pub mod record;
pub mod state;
pub mod time;
pub mod trust;

pub use class::Class;
pub use hash::{Hash, leaf_hash};
pub use record::{Encoded, Kind, Record, RecordError};
pub use state::{After, Event, Illegal, State, transition, triples};
