//! The geometry of a tree: which subtrees lie beside the way from a leaf to the root.

use crate::hash::Hash;

use super::frontier::check_size;
use super::{HashReader, Node, TreeError, empty_root, node_hash};

/// Leaves from `start` up to, and without, `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: u64,
    pub(super) end: u64,
}

/// The way from a leaf to the root.
///
/// Up to the level `inner` it runs beside the tree's last leaf and has a neighbour at every level;
/// above, it *is* the right edge, and has one only where a full subtree lies to its left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Climb {
    pub(super) inner: u32,
    pub(super) border: u32,
}

impl Climb {
    /// The way of a leaf that is in the tree.
    pub(super) fn new(index: u64, size: u64) -> Climb {
        let inner = u64::BITS - (index ^ (size - 1)).leading_zeros();
        let border = (index >> inner).count_ones();
        Climb { inner, border }
    }
}

/// The subtrees beside the way of a leaf, from a level upwards.
pub(super) fn neighbours(index: u64, size: u64, from: u32) -> Vec<Span> {
    let Climb { inner, border } = Climb::new(index, size);
    let mut spans = Vec::with_capacity((inner.saturating_sub(from) + border) as usize);
    for level in from..inner {
        let start = ((index >> level) ^ 1) << level;
        // Only the last of them can lie at the end of the tree and not be full.
        let end = size.min(start + (1 << level));
        spans.push(Span { start, end });
    }
    for level in (inner..u64::BITS).filter(|level| (index >> level) & 1 == 1) {
        let start = ((index >> level) - 1) << level;
        let end = start + (1 << level);
        spans.push(Span { start, end });
    }
    spans
}

impl Span {
    /// The full nodes that make up these leaves, from the left. The start must be that of a subtree.
    pub(super) fn nodes(self) -> Vec<Node> {
        let mut nodes = Vec::new();
        let mut start = self.start;
        while start < self.end {
            let level = start.trailing_zeros().min((self.end - start).ilog2());
            nodes.push(Node {
                level: u8::try_from(level).expect("a u64 has 64 bits"),
                index: start >> level,
            });
            start += 1 << level;
        }
        nodes
    }

    /// The root over these leaves.
    pub(super) fn hash(self, reader: &impl HashReader) -> Result<Hash, TreeError> {
        let mut right: Option<Hash> = None;
        for node in self.nodes().into_iter().rev() {
            let Node { level, index } = node;
            let left = reader
                .hash(node)
                .ok_or(TreeError::Missing { level, index })?;
            right = Some(right.map_or(left, |right| node_hash(&left, &right)));
        }
        Ok(right.unwrap_or_else(empty_root))
    }
}

/// Computes the root of the first `size` leaves from stored hashes.
pub fn root_at(reader: &impl HashReader, size: u64) -> Result<Hash, TreeError> {
    check_size(size)?;
    Span {
        start: 0,
        end: size,
    }
    .hash(reader)
}

/// Climbs as far as the last leaf's way differs: `path` says at each level which side we are on.
pub(super) fn climb_inner(start: Hash, path: u64, proof: &[Hash]) -> Hash {
    let levels = proof.iter().enumerate();
    levels.fold(start, |below, (level, beside)| {
        if (path >> level) & 1 == 0 {
            node_hash(&below, beside)
        } else {
            node_hash(beside, &below)
        }
    })
}

/// Climbs over those neighbours only that lie to the left.
pub(super) fn climb_left(start: Hash, path: u64, proof: &[Hash]) -> Hash {
    let levels = proof.iter().enumerate();
    let left = levels.filter(|(level, _)| (path >> level) & 1 == 1);
    left.fold(start, |below, (_, beside)| node_hash(beside, &below))
}

/// Climbs along the right edge, where every neighbour lies to the left.
pub(super) fn climb_border(start: Hash, proof: &[Hash]) -> Hash {
    proof
        .iter()
        .fold(start, |below, beside| node_hash(beside, &below))
}
