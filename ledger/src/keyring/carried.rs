//! Reads and writes what the root says of the log that a new generation carries on.
//!
//! **Invariant:** the root signs for every carried record: how many there are, in which order, and how many of them the
//! older log itself had signed. Nothing can be added, dropped or changed behind that signature.

use serde_json::{Value, json};

use crate::checkpoint::Checkpoint;
use crate::hash::Hash;
use crate::tree::TREE_SIZE_MAX;

/// The older log as the database had it when the generation was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carried {
    /// How many records it has: those that it had signed, then those that waited for it.
    pub size: u64,
    /// How many of them it had signed.
    pub sealed: u64,
    /// The root over all of them.
    pub root: Hash,
}

/// What a generation continues.
#[derive(Clone, Debug)]
pub(super) struct Older {
    pub(super) pinned: Checkpoint,
    pub(super) carried: Carried,
}

impl Carried {
    /// Reads the member `carried`; exactly its members, and at least the record that opened the older log.
    pub(super) fn read(value: &Value) -> Option<Carried> {
        let members = value.as_object().filter(|members| members.len() == 3)?;
        let number = |name: &str| members.get(name)?.as_u64();
        let carried = Carried {
            size: number("size")?,
            sealed: number("sealed")?,
            root: members.get("root")?.as_str()?.parse().ok()?,
        };
        let possible = (1..=TREE_SIZE_MAX).contains(&carried.size);
        (possible && carried.sealed <= carried.size).then_some(carried)
    }

    pub(super) fn to_value(self) -> Value {
        json!({"size": self.size, "sealed": self.sealed, "root": self.root})
    }
}
