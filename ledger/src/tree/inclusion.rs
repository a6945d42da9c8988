//! Shows and checks that a leaf stands at its place in a tree.

use crate::hash::Hash;

use super::frontier::check_size;
use super::shape::{Climb, climb_border, climb_inner, neighbours};
use super::{HashReader, Node, TreeError};

/// The nodes whose hashes the proof needs, so that they can be fetched at once.
pub fn inclusion_nodes(index: u64, size: u64) -> Result<Vec<Node>, TreeError> {
    check_index(index, size)?;
    let spans = neighbours(index, size, 0).into_iter();
    Ok(spans.flat_map(|span| span.nodes()).collect())
}

/// Makes the proof that a leaf stands at `index` of the first `size` leaves.
pub fn inclusion_proof(
    reader: &impl HashReader,
    index: u64,
    size: u64,
) -> Result<Vec<Hash>, TreeError> {
    check_index(index, size)?;
    let spans = neighbours(index, size, 0).into_iter();
    spans.map(|span| span.hash(reader)).collect()
}

/// Checks that the leaf stands at `index` of the tree that has this size and root.
pub fn verify_inclusion(
    leaf: &Hash,
    index: u64,
    size: u64,
    root: &Hash,
    proof: &[Hash],
) -> Result<(), TreeError> {
    check_index(index, size)?;
    let Climb { inner, border } = Climb::new(index, size);
    let expected = (inner + border) as usize;
    if proof.len() != expected {
        let found = proof.len();
        return Err(TreeError::ProofLength { expected, found });
    }
    let (beside, above) = proof.split_at(inner as usize);
    let reached = climb_border(climb_inner(*leaf, index, beside), above);
    if reached != *root {
        return Err(TreeError::NotIncluded { index, size });
    }
    Ok(())
}

fn check_index(index: u64, size: u64) -> Result<(), TreeError> {
    check_size(size)?;
    if index >= size {
        return Err(TreeError::Index { index, size });
    }
    Ok(())
}
