//! Tries trees against RFC 6962's vectors, an independent implementation and every forged proof.

mod tiles;

use std::collections::BTreeMap;

use ct_merkle::mem_backed_tree::MemoryBackedTree;
use proptest::prelude::*;
use sha2_next::Sha256;

use super::*;
use crate::hash::leaf_hash;

type Theirs = MemoryBackedTree<Sha256, Vec<u8>>;

fn entry(index: u64) -> Vec<u8> {
    format!("entry {index}").into_bytes()
}

fn leaf(index: u64) -> Hash {
    leaf_hash(&entry(index))
}

fn hash(text: &str) -> Hash {
    text.parse().unwrap()
}

fn frontier(size: u64) -> Frontier {
    let mut tree = Frontier::new();
    (0..size).for_each(|index| tree.push(leaf(index)).unwrap());
    tree
}

/// Every full node of a tree.
fn nodes(size: u64) -> BTreeMap<Node, Hash> {
    let mut nodes = BTreeMap::new();
    let mut tree = Frontier::new();
    for index in 0..size {
        let filled = |node, hash| assert_eq!(nodes.insert(node, hash), None);
        tree.push_with(leaf(index), filled).unwrap();
    }
    nodes
}

fn theirs(size: u64) -> Theirs {
    let mut tree = Theirs::new();
    (0..size).for_each(|index| tree.push(entry(index)));
    tree
}

fn bytes(proof: &[Hash]) -> Vec<u8> {
    proof.iter().flat_map(|hash| *hash.as_bytes()).collect()
}

/// A tree whose leaves are all the same, so that any size can be had.
struct Uniform;

impl HashReader for Uniform {
    fn hash(&self, node: Node) -> Option<Hash> {
        let double = |below: Hash, _| node_hash(&below, &below);
        Some((0..node.level).fold(leaf_hash(b"x"), double))
    }
}

/// Known answers: the eight leaves of the Certificate Transparency reference.
#[test]
fn roots_and_proofs_are_those_of_rfc_6962() {
    let leaves = [
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    ];
    let roots = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    let mut tree = Frontier::new();
    let mut stored = BTreeMap::new();
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(tree.root(), hash(empty));
    for (text, root) in leaves.iter().zip(roots) {
        let leaf = leaf_hash(&hex::decode(text).unwrap());
        let filled = |node, hash| {
            stored.insert(node, hash);
        };
        tree.push_with(leaf, filled).unwrap();
        assert_eq!(tree.root(), hash(root));
    }
    let proof = inclusion_proof(&stored, 0, 8).unwrap();
    let known = [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ];
    assert_eq!(proof, known.map(hash));
    let first = leaf_hash(b"");
    assert_eq!(verify_inclusion(&first, 0, 8, &tree.root(), &proof), Ok(()));
}

/// Every place of every small tree, against an implementation that is not ours.
#[test]
fn another_implementation_makes_the_same_trees_and_proofs() {
    for size in 1..=70 {
        let (ours, stored, theirs) = (frontier(size), nodes(size), theirs(size));
        assert_eq!(ours.root().as_bytes(), theirs.root().as_bytes().as_slice());
        assert_eq!(root_at(&stored, size).unwrap(), ours.root());
        for index in 0..size {
            let proof = inclusion_proof(&stored, index, size).unwrap();
            let other = theirs.prove_inclusion(usize::try_from(index).unwrap());
            assert_eq!(bytes(&proof), other.as_bytes(), "{index} of {size}");
            let root = ours.root();
            verify_inclusion(&leaf(index), index, size, &root, &proof).unwrap();
            let needed = inclusion_nodes(index, size).unwrap();
            assert!(needed.iter().all(|node| stored.contains_key(node)));
        }
        for old in 1..=size {
            let proof = consistency_proof(&stored, old, size).unwrap();
            let added = usize::try_from(size - old).unwrap();
            let other = theirs.prove_consistency(added);
            assert_eq!(bytes(&proof), other.as_bytes(), "{old} to {size}");
            let old_root = frontier(old).root();
            verify_consistency(old, &old_root, size, &ours.root(), &proof).unwrap();
        }
    }
}

/// F85. Whatever is changed in a question or its proof, the answer is no.
#[test]
fn a_changed_proof_is_refused() {
    for size in [1, 2, 3, 7, 8, 11, 16, 21] {
        let (stored, root) = (nodes(size), frontier(size).root());
        for index in 0..size {
            let proof = inclusion_proof(&stored, index, size).unwrap();
            let no = |leaf: Hash, index, size, root: Hash, proof: &[Hash]| {
                assert!(verify_inclusion(&leaf, index, size, &root, proof).is_err());
            };
            no(leaf(size), index, size, root, &proof);
            no(leaf(index), index, size, leaf(size), &proof);
            no(leaf(index), size, size, root, &proof);
            for other in (0..size).filter(|other| *other != index) {
                no(leaf(index), other, size, root, &proof);
            }
            for forged in forgeries(&proof) {
                no(leaf(index), index, size, root, &forged);
            }
        }
        for old in 1..size {
            let proof = consistency_proof(&stored, old, size).unwrap();
            let old_root = frontier(old).root();
            let no = |old, old_root: Hash, root: Hash, proof: &[Hash]| {
                assert!(verify_consistency(old, &old_root, size, &root, proof).is_err());
            };
            no(old, leaf(size), root, &proof);
            no(old, old_root, leaf(size), &proof);
            for forged in forgeries(&proof) {
                no(old, old_root, root, &forged);
            }
        }
    }
}

/// The proof with each hash changed, with one more and with one less.
fn forgeries(proof: &[Hash]) -> Vec<Vec<Hash>> {
    let mut forged: Vec<Vec<Hash>> = (0..proof.len())
        .map(|at| {
            let mut changed = proof.to_vec();
            changed[at] = Hash::ZERO;
            changed
        })
        .collect();
    forged.push([proof, &[Hash::ZERO]].concat());
    forged.push([&[Hash::ZERO], proof].concat());
    if let Some((_, less)) = proof.split_last() {
        forged.push(less.to_vec());
    }
    forged
}

#[test]
fn the_empty_tree_is_continued_by_every_tree_and_each_by_itself() {
    let check = |old: u64, new: u64, proof: &[Hash], holds: bool| {
        let (old_root, new_root) = (frontier(old).root(), frontier(new).root());
        let answer = verify_consistency(old, &old_root, new, &new_root, proof);
        assert_eq!(answer.is_ok(), holds, "{old} to {new}: {answer:?}");
    };
    check(0, 0, &[], true);
    check(0, 5, &[], true);
    check(5, 5, &[], true);
    check(0, 5, &[Hash::ZERO], false);
    check(5, 5, &[Hash::ZERO], false);
    check(5, 4, &[], false);
    let (empty, root, other) = (empty_root(), frontier(5).root(), frontier(6).root());
    assert!(verify_consistency(0, &root, 5, &root, &[]).is_err());
    assert!(verify_consistency(5, &root, 5, &other, &[]).is_err());
    assert!(verify_consistency(0, &empty, 0, &root, &[]).is_err());
}

/// F94. No question, however large, costs more than its levels; none panics.
#[test]
fn the_largest_tree_has_proofs_and_a_larger_one_is_refused() {
    let size = TREE_SIZE_MAX;
    let root = root_at(&Uniform, size).unwrap();
    let leaf = leaf_hash(b"x");
    for index in [0, 1, size / 3, size / 2, size / 2 + 1, size - 2, size - 1] {
        let proof = inclusion_proof(&Uniform, index, size).unwrap();
        assert!(proof.len() <= PROOF_HASHES_MAX);
        verify_inclusion(&leaf, index, size, &root, &proof).unwrap();
    }
    for old in [1, 3, 1 << 52, (1 << 52) - 1, size / 3, size - 1] {
        let proof = consistency_proof(&Uniform, old, size).unwrap();
        assert!(proof.len() <= PROOF_HASHES_MAX);
        let old_root = root_at(&Uniform, old).unwrap();
        verify_consistency(old, &old_root, size, &root, &proof).unwrap();
    }
    let long = vec![Hash::ZERO; 10_000];
    for size in [size + 1, u64::MAX] {
        let code = |error: TreeError| error.code();
        let inclusion = verify_inclusion(&leaf, 0, size, &root, &long);
        assert_eq!(inclusion.map_err(code), Err("RD0622"));
        let consistency = verify_consistency(1, &leaf, size, &root, &long);
        assert_eq!(consistency.map_err(code), Err("RD0622"));
        assert!(root_at(&Uniform, size).is_err());
        assert!(inclusion_nodes(0, size).is_err());
        assert!(consistency_nodes(0, size).is_err());
        assert!(tiles_between(0, size).is_err());
        assert!(bundles_between(0, size).is_err());
    }
    let edge = vec![leaf; 53];
    let mut full = Frontier::from_edge(size, edge).unwrap();
    assert_eq!(full.push(leaf), Err(TreeError::Size(size + 1)));
    assert!(Frontier::from_edge(3, vec![leaf]).is_err());
    assert!(Frontier::from_bytes(1, &[0; 33]).is_err());
}

#[test]
fn a_hash_that_is_not_stored_is_named() {
    let mut stored = nodes(8);
    let node = Node { level: 1, index: 1 };
    stored.remove(&node);
    let missing = TreeError::Missing { level: 1, index: 1 };
    assert_eq!(missing.code(), "RD0626");
    assert_eq!(inclusion_proof(&stored, 0, 8), Err(missing));
}

proptest! {
    #[test]
    fn any_proof_of_any_tree_holds(size in 1..=TREE_SIZE_MAX, a in any::<u64>(), b in any::<u64>()) {
        let root = root_at(&Uniform, size).unwrap();
        let index = a % size;
        let proof = inclusion_proof(&Uniform, index, size).unwrap();
        prop_assert!(proof.len() <= PROOF_HASHES_MAX);
        let leaf = leaf_hash(b"x");
        prop_assert_eq!(verify_inclusion(&leaf, index, size, &root, &proof), Ok(()));
        let old = b % size + 1;
        let old_root = root_at(&Uniform, old).unwrap();
        let proof = consistency_proof(&Uniform, old, size).unwrap();
        prop_assert!(proof.len() <= PROOF_HASHES_MAX);
        prop_assert_eq!(verify_consistency(old, &old_root, size, &root, &proof), Ok(()));
    }

    #[test]
    fn a_hostile_question_never_panics(
        sizes in any::<(u64, u64)>(), hashes in any::<(u8, u8)>(), length in 0..60_usize
    ) {
        let [one, two] = [hashes.0, hashes.1].map(|byte| Hash::from_bytes([byte; 32]));
        let proof = vec![one; length];
        let (a, b) = sizes;
        for shift in [0, 8, 11, 40, 60] {
            let (a, b) = (a >> shift, b >> shift);
            let included = verify_inclusion(&one, a, b, &two, &proof);
            prop_assert!(included.is_err() || (b == 1 && one == two));
            let consistent = verify_consistency(a, &one, b, &two, &proof);
            prop_assert!(consistent.is_err() || (a == b && one == two));
        }
    }
}
