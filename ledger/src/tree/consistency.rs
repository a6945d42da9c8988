//! Shows and checks that a tree continues a smaller one: nothing before was changed.
//!
//! The way is that of the smaller tree's last leaf, begun at the largest full subtree that ends
//! with it. Read with all neighbours it leads to the new root; with those to its left, to the old.

use crate::hash::Hash;

use super::frontier::check_size;
use super::shape::{Climb, Span, climb_border, climb_inner, climb_left, neighbours};
use super::{HashReader, Node, TreeError, empty_root};

/// The nodes whose hashes the proof needs, so that they can be fetched at once.
pub fn consistency_nodes(old: u64, new: u64) -> Result<Vec<Node>, TreeError> {
    check_order(old, new)?;
    let spans = spans(old, new).into_iter();
    Ok(spans.flat_map(Span::nodes).collect())
}

/// Makes the proof that the first `new` leaves begin with the first `old`.
pub fn consistency_proof(
    reader: &impl HashReader,
    old: u64,
    new: u64,
) -> Result<Vec<Hash>, TreeError> {
    check_order(old, new)?;
    let spans = spans(old, new).into_iter();
    spans.map(|span| span.hash(reader)).collect()
}

/// Checks that the new tree begins with all leaves of the old one. Every tree continues the empty
/// one, and each itself; the proof of that is empty.
pub fn verify_consistency(
    old: u64,
    old_root: &Hash,
    new: u64,
    new_root: &Hash,
    proof: &[Hash],
) -> Result<(), TreeError> {
    check_order(old, new)?;
    let found = proof.len();
    let broken = TreeError::NotConsistent { old, new };
    if old == 0 || old == new {
        check_length(0, found)?;
        let empty = empty_root();
        let holds = (old > 0 || *old_root == empty)
            && (new > 0 || *new_root == empty)
            && (old < new || old_root == new_root);
        return if holds { Ok(()) } else { Err(broken) };
    }
    let way = Way::new(old, new);
    check_length(way.hashes(), found)?;
    let (start, beside) = match proof.split_first() {
        Some((first, rest)) if !way.is_whole => (*first, rest),
        // The old tree is one full subtree, and its root where the way begins.
        _ => (*old_root, proof),
    };
    let (beside, above) = beside.split_at(way.inner as usize);
    let path = (old - 1) >> way.level;
    let to_old = climb_border(climb_left(start, path, beside), above);
    let to_new = climb_border(climb_inner(start, path, beside), above);
    if to_old != *old_root || to_new != *new_root {
        return Err(broken);
    }
    Ok(())
}

/// Where the way begins and how long it is.
struct Way {
    /// The level of the largest full subtree at the end of the old tree.
    level: u32,
    /// Whether that subtree is the whole old tree.
    is_whole: bool,
    inner: u32,
    border: u32,
}

impl Way {
    fn new(old: u64, new: u64) -> Way {
        let level = old.trailing_zeros();
        let Climb { inner, border } = Climb::new(old - 1, new);
        Way {
            level,
            is_whole: old.is_power_of_two(),
            // The lowest bits of `old - 1` are ones and it lies before the last leaf of the new
            // tree, so the two ways differ above them.
            inner: inner - level,
            border,
        }
    }

    fn hashes(&self) -> usize {
        (u32::from(!self.is_whole) + self.inner + self.border) as usize
    }
}

fn spans(old: u64, new: u64) -> Vec<Span> {
    if old == 0 || old == new {
        return Vec::new();
    }
    let way = Way::new(old, new);
    let mut spans = Vec::with_capacity(way.hashes());
    if !way.is_whole {
        let start = old - (1 << way.level);
        spans.push(Span { start, end: old });
    }
    spans.extend(neighbours(old - 1, new, way.level));
    spans
}

fn check_order(old: u64, new: u64) -> Result<(), TreeError> {
    check_size(new)?;
    if old > new {
        return Err(TreeError::Shrunk { old, new });
    }
    Ok(())
}

fn check_length(expected: usize, found: usize) -> Result<(), TreeError> {
    if expected != found {
        return Err(TreeError::ProofLength { expected, found });
    }
    Ok(())
}
