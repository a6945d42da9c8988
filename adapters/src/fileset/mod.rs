//! The `fileset` adapter and its store: a directory's files updated together or not at all, and brought back by hash.
//!
//! ```text
//! Order -> prepare (lock, judge, snapshot) -> act (stage, intent, switch, verify) -> look | undo (restore, verify)
//! ```
//!
//! **Invariant:** every path below a directory is reached through the directory's open handle; nothing follows a link.

mod adapter;
mod config;
mod dir;
mod error;
mod fault;
mod journal;
mod keep;
mod lock;
mod manifest;
mod metrics;
mod node;
mod object;
mod path;
mod stage;
mod store;
mod switch;
mod undo;
mod update;
mod values;
mod with;

#[cfg(test)]
mod tests;

pub use adapter::{FilesetAdapter, NAME};
pub use config::Config;
pub use dir::Dir;
pub use error::FilesetError;
pub use journal::{Act, Change, Ended, Intent};
pub use keep::{Collected, Listed, Retention, Usage, collect};
pub use lock::{Locked, Place};
pub use manifest::{Entry, Manifest, Owner};
pub use metrics::{Metrics, Series};
pub use node::{FileNode, Node};
pub use path::{PathError, RelPath};
pub use stage::{Content, Target};
pub use store::{FILE_BYTES_MAX, FILES_MAX, LOCK_WAIT, Snapshot, Store};
pub use switch::Recovered;
pub use update::{Edit, Expected, Order, Prepared, Seen, TARGETS_MAX};
pub use with::{Expect, With, Write};
