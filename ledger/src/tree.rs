//! Decides whether a leaf is in a tree and whether one tree continues another (RFC 6962).
//!
//! | part | gives |
//! |---|---|
//! | [`Frontier`] | the root of a growing tree, from its right edge alone |
//! | [`verify_inclusion`], [`verify_consistency`] | the two questions, answered for anybody's proof |
//! | [`inclusion_proof`], [`consistency_proof`] | proofs, from stored hashes |
//! | [`Tile`], [`Tiler`], [`TileHashes`] | the hashes as static files of 256 (C2SP tlog-tiles) |
//! | [`Bundler`], [`BundleReader`] | the entries as static files of 256 |
//!
//! **Invariant:** a size is at most 2^53-1, as every integer of the ledger, and a proof has exactly
//! the number of hashes that the two positions imply. A hostile proof costs its length and no more.
//!
//! **Invariant:** nothing here trusts a stored hash. What was resumed or read is compared with a
//! root that the caller knows, or ends in a proof that somebody verifies.
//!
//! **Not here:** who signed a root (`checkpoint`), and files: callers read and write the bytes.

mod bundle;
mod consistency;
mod frontier;
mod inclusion;
mod shape;
mod tile;
mod tiler;

use std::collections::BTreeMap;

use thiserror::Error;

use crate::class::Class;
use crate::hash::Hash;

pub use bundle::{BundleError, BundleReader, Bundler, ENTRY_BYTES_MAX, write_entry};
pub use consistency::{consistency_nodes, consistency_proof, verify_consistency};
pub use frontier::Frontier;
pub use inclusion::{inclusion_nodes, inclusion_proof, verify_inclusion};
pub use shape::root_at;
pub use tile::{
    TILE_LEVEL_MAX, TILE_WIDTH, Tile, TileBytes, TileKind, bundles_between, tiles_between,
};
pub use tiler::{TileHashes, Tiler};

/// The most leaves a tree can have.
pub const TREE_SIZE_MAX: u64 = (1 << 53) - 1;

/// The most hashes a proof can have: one a level, and one to start from.
pub const PROOF_HASHES_MAX: usize = 54;

/// Hashes an inner node: SHA-256 of a one byte and its two children.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Hash::of_parts(&[&[1], left.as_bytes(), right.as_bytes()])
}

/// The root of the tree without a leaf: SHA-256 of nothing.
pub fn empty_root() -> Hash {
    Hash::of(b"")
}

/// A node whose subtree is full: the `index`-th of those over 2^level leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node {
    /// 0 for a leaf.
    pub level: u8,
    /// From the left, from 0.
    pub index: u64,
}

/// Whoever has the hashes of full nodes.
pub trait HashReader {
    /// The hash of a node, `None` if it is not there.
    fn hash(&self, node: Node) -> Option<Hash>;
}

impl HashReader for BTreeMap<Node, Hash> {
    fn hash(&self, node: Node) -> Option<Hash> {
        self.get(&node).copied()
    }
}

/// Why a question about a tree has no answer, or the answer is no.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TreeError {
    /// Larger than a tree can be.
    #[error("a tree has at most 2^53-1 leaves, not {0}")]
    Size(u64),
    /// A leaf behind the end of the tree.
    #[error("a tree of {size} leaves has no leaf {index}")]
    Index {
        /// The place that was asked for.
        index: u64,
        /// The size of the tree.
        size: u64,
    },
    /// A tree that would have to shrink.
    #[error("a tree of {new} leaves does not continue one of {old}")]
    Shrunk {
        /// The size before.
        old: u64,
        /// The size after.
        new: u64,
    },
    /// A proof of another length than the positions imply.
    #[error("the proof has {found} hashes where {expected} are needed")]
    ProofLength {
        /// What the positions imply.
        expected: usize,
        /// What the proof has.
        found: usize,
    },
    /// The proof does not lead from the leaf to the root.
    #[error("the proof does not lead from leaf {index} to the root of {size} leaves")]
    NotIncluded {
        /// The place of the leaf.
        index: u64,
        /// The size of the tree.
        size: u64,
    },
    /// The proof does not lead to both roots: the log was rewritten, or the proof is of another.
    #[error("the tree of {new} leaves is not shown to continue the one of {old}")]
    NotConsistent {
        /// The size before.
        old: u64,
        /// The size after.
        new: u64,
    },
    /// A hash that is needed is not stored.
    #[error("the hash of node {index} at level {level} is not there")]
    Missing {
        /// The level of the node.
        level: u8,
        /// Its place in the level.
        index: u64,
    },
    /// A right edge that has not one hash for each full subtree.
    #[error("the right edge of {size} leaves has not {found} hashes")]
    Edge {
        /// The size of the tree.
        size: u64,
        /// How many hashes were given.
        found: usize,
    },
    /// Stored tiles that are cut off, or that make another tree.
    #[error("the stored tiles do not make the known root of {0} leaves")]
    Tiles(u64),
    /// A path that names no tile, or spells it in a second way.
    #[error("no tile has this path: {0:?}")]
    TilePath(String),
    /// A tile that cannot exist.
    #[error("no tile has this level, index and width")]
    Tile,
}

impl TreeError {
    /// The stable code of the error.
    pub fn code(&self) -> &'static str {
        match self {
            TreeError::Size(_) | TreeError::Index { .. } | TreeError::Shrunk { .. } => "RD0622",
            TreeError::ProofLength { .. } => "RD0623",
            TreeError::NotIncluded { .. } => "RD0624",
            TreeError::NotConsistent { .. } => "RD0625",
            TreeError::Missing { .. } | TreeError::Edge { .. } | TreeError::Tiles(_) => "RD0626",
            TreeError::TilePath(_) | TreeError::Tile => "RD0627",
        }
    }

    /// What the caller must do: a tree that does not hold stops everything that rests on it.
    pub fn class(&self) -> Class {
        match self {
            TreeError::Size(_)
            | TreeError::Index { .. }
            | TreeError::Shrunk { .. }
            | TreeError::TilePath(_)
            | TreeError::Tile => Class::Refused,
            TreeError::ProofLength { .. }
            | TreeError::NotIncluded { .. }
            | TreeError::NotConsistent { .. }
            | TreeError::Missing { .. }
            | TreeError::Edge { .. }
            | TreeError::Tiles(_) => Class::Kill,
        }
    }
}

#[cfg(test)]
mod tests;
