//! Grows a tree from its right edge: the hashes of its full subtrees, and nothing else.

use crate::hash::Hash;

use super::{Node, TREE_SIZE_MAX, TreeError, empty_root, node_hash};

/// A tree of which only the right edge is kept: one hash for each bit that is set in the size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    /// The largest subtree first.
    edge: Vec<Hash>,
}

impl Frontier {
    /// Starts with no leaf.
    pub fn new() -> Frontier {
        Frontier::default()
    }

    /// Takes up a stored edge again; the caller compares [`Frontier::root`] with what it knows.
    pub fn from_edge(size: u64, edge: Vec<Hash>) -> Result<Frontier, TreeError> {
        check_size(size)?;
        if edge.len() != size.count_ones() as usize {
            let found = edge.len();
            return Err(TreeError::Edge { size, found });
        }
        Ok(Frontier { size, edge })
    }

    /// Takes up an edge that was stored as 32 bytes a hash.
    pub fn from_bytes(size: u64, edge: &[u8]) -> Result<Frontier, TreeError> {
        let (hashes, rest) = edge.as_chunks::<32>();
        if !rest.is_empty() {
            let found = hashes.len();
            return Err(TreeError::Edge { size, found });
        }
        let edge = hashes.iter().copied().map(Hash::from_bytes).collect();
        Frontier::from_edge(size, edge)
    }

    /// Appends a leaf.
    pub fn push(&mut self, leaf: Hash) -> Result<(), TreeError> {
        self.push_with(leaf, |_, _| ())
    }

    /// Appends a leaf and reports each node that it fills: the leaf itself and those above it.
    pub fn push_with(
        &mut self,
        leaf: Hash,
        mut filled: impl FnMut(Node, Hash),
    ) -> Result<(), TreeError> {
        check_size(self.size + 1)?;
        let mut node = Node {
            level: 0,
            index: self.size,
        };
        let mut hash = leaf;
        filled(node, hash);
        // As a counter carries: a right child closes its parent, whose left child is the edge.
        while node.index & 1 == 1 {
            let left = self.edge.pop().expect("the edge has a hash for each bit");
            hash = node_hash(&left, &hash);
            node.level += 1;
            node.index >>= 1;
            filled(node, hash);
        }
        self.edge.push(hash);
        self.size += 1;
        Ok(())
    }

    /// The number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The hashes of the full subtrees, the largest first.
    pub fn edge(&self) -> &[Hash] {
        &self.edge
    }

    /// The edge as [`Frontier::from_bytes`] reads it.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.edge.iter().flat_map(|hash| *hash.as_bytes()).collect()
    }

    /// The root over all leaves.
    pub fn root(&self) -> Hash {
        let mut smaller = self.edge.iter().rev();
        let Some(last) = smaller.next() else {
            return empty_root();
        };
        smaller.fold(*last, |right, left| node_hash(left, &right))
    }
}

pub(super) fn check_size(size: u64) -> Result<(), TreeError> {
    if size > TREE_SIZE_MAX {
        return Err(TreeError::Size(size));
    }
    Ok(())
}
