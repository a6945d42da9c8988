//! The list of a snapshot: what stood where, when, and for whom it was taken. Its hash is the snapshot's id.
//!
//! **Invariant:** a list is believed only when its bytes have the hash that is its name.

use redress_ledger::Hash;
use redress_ledger::canonical::to_canonical;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::node::Node;
use super::path::RelPath;

/// The version of the list's format.
const FORMAT: u32 = 1;

/// For whom a snapshot was taken.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Owner {
    /// The run that needs it for its way back; null for one that a person took.
    pub run: Option<Uuid>,
    /// The act that it was taken for.
    pub key: String,
}

/// One entry of a list.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Where.
    pub path: RelPath,
    /// What.
    pub node: Node,
}

/// The list of a snapshot.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The version of this format.
    pub format: u32,
    /// The directory, as people call it.
    pub directory: String,
    /// When it was taken; UTC.
    pub taken_at: String,
    /// For whom.
    pub owner: Owner,
    /// Paths that were left out, with all below them.
    pub exclude: Vec<RelPath>,
    /// What stood there, sorted by path.
    pub entries: Vec<Entry>,
}

impl Manifest {
    pub(super) fn new(
        directory: String,
        owner: Owner,
        exclude: Vec<RelPath>,
        mut entries: Vec<Entry>,
    ) -> Self {
        entries.sort_by(|one, two| one.path.cmp(&two.path));
        Self {
            format: FORMAT,
            directory,
            taken_at: jiff::Timestamp::now().to_string(),
            owner,
            exclude,
            entries,
        }
    }

    /// The bytes that are kept, and the id that they give.
    pub(super) fn sealed(&self) -> Result<(Vec<u8>, Hash), String> {
        let value = serde_json::to_value(self).map_err(|error| error.to_string())?;
        let bytes = to_canonical(&value).map_err(|error| error.to_string())?;
        let id = Hash::of(&bytes);
        Ok((bytes, id))
    }

    /// Reads a list that has this id; `None` when it is not one.
    pub(super) fn read(bytes: &[u8], id: &Hash) -> Option<Self> {
        if Hash::of(bytes) != *id {
            return None;
        }
        let manifest: Self = serde_json::from_slice(bytes).ok()?;
        (manifest.format == FORMAT).then_some(manifest)
    }

    /// What stood under a path.
    pub fn node(&self, path: &RelPath) -> Option<&Node> {
        let at = self
            .entries
            .binary_search_by(|entry| entry.path.cmp(path))
            .ok()?;
        Some(&self.entries[at].node)
    }

    /// The contents that it needs, each once, with their lengths.
    pub fn objects(&self) -> Vec<(Hash, u64)> {
        let files = self.entries.iter().filter_map(|entry| entry.node.file());
        let mut all: Vec<_> = files.map(|file| (file.sha256, file.size)).collect();
        all.sort();
        all.dedup();
        all
    }

    /// How many files and links it lists, and their bytes.
    pub fn size(&self) -> (usize, u64) {
        let files = self.entries.iter().filter_map(|entry| entry.node.file());
        let listed = |entry: &&Entry| !matches!(entry.node, Node::Folder(_));
        (
            self.entries.iter().filter(listed).count(),
            files.map(|file| file.size).sum(),
        )
    }
}
