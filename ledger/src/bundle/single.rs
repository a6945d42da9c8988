//! Verifies a bundle of one run: each record by its own proof, without the rest of the ledger.
//!
//! **Not here:** whether a later record of the keys was left out. Only the signature of the manifest
//! says that none was, and the report says so.

use uuid::Uuid;

use crate::checkpoint::{CHECKPOINT_BYTES_MAX, read_hash};
use crate::hash::{Hash, leaf_hash};
use crate::proof;
use crate::record::RECORD_BYTES_MAX;
use crate::tree::verify_inclusion;

use super::fault::{Stop, fault};
use super::list::{CHECKPOINT_NAME, checkpoint_name, entry_name, proof_name};
use super::path::read_number;
use super::records::Entry;
use super::report::Warning;
use super::verifier::Verifier;

/// The largest proof.
const PROOF_BYTES_MAX: usize = CHECKPOINT_BYTES_MAX;

/// The most hashes of a proof; those of the largest tree are fewer.
const PROOF_HASHES_MAX: usize = 63;

/// Verifies the records of one run and of the system runs.
pub(super) fn verify(verifier: &mut Verifier<'_>, run: Uuid) -> Result<(), Stop> {
    let size = verifier.manifest.size;
    let head = verifier.published(&checkpoint_name(size), CHECKPOINT_BYTES_MAX)?;
    let names = verifier.folder.listed().iter();
    let names = names.filter_map(|one| one.path.strip_prefix("entries/"));
    let positions: Vec<u64> = names.filter_map(read_number).collect();
    for position in positions {
        take(verifier, position)?;
    }
    if verifier.records.runs.is_open(run).is_none() {
        let words = "the run that the bundle is about has no record in it";
        return Err(fault("RD0719", words));
    }
    verifier
        .check_in_force(&head.signers)
        .map_err(|stop| stop.at(0).file(CHECKPOINT_NAME))?;
    verifier.report.warn(Warning::SystemRunEndNotProven);
    for remembered in std::mem::take(&mut verifier.remembered) {
        if remembered.size != size {
            verifier.report.warn(Warning::RememberedNotComparable);
        } else if remembered.root != head.checkpoint.root {
            let words = format!("a fork: another root was signed for size {size}");
            return Err(fault("RD0656", words).at(0));
        } else {
            verifier.report.consistent_with.push(size);
        }
    }
    Ok(())
}

fn take(verifier: &mut Verifier<'_>, position: u64) -> Result<(), Stop> {
    let path = entry_name(position);
    let place = |stop: Stop| stop.at(position).file(&path);
    let folder = &verifier.folder;
    let bytes = folder.read_same(&path, RECORD_BYTES_MAX).map_err(place)?;
    let proof = folder.read_same(&proof_name(position), PROOF_BYTES_MAX);
    let proof = proof.map_err(place)?;
    let hash = leaf_hash(&bytes);
    let hashes = read_proof(&proof, position, &verifier.newest);
    let hashes = hashes.ok_or_else(|| place(fault("RD0658", "the proof is malformed")))?;
    let manifest = &verifier.manifest;
    verify_inclusion(&hash, position, manifest.size, &manifest.root, &hashes)
        .map_err(|error| place(fault("RD0659", error)))?;
    let entry = Entry {
        position,
        bytes: &bytes,
        hash,
        path: &path,
    };
    verifier.record(&entry)
}

/// The hashes of a proof of this position, which must end in exactly the bundle's checkpoint.
fn read_proof(bytes: &[u8], position: u64, checkpoint: &[u8]) -> Option<Vec<Hash>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (head, behind) = text.split_once("\n\n")?;
    if behind.as_bytes() != checkpoint {
        return None;
    }
    let mut lines = head.split('\n');
    let named = lines.next() == Some(proof::FORMAT)
        && lines.next() == Some(format!("index {position}").as_str());
    let hashes: Option<Vec<Hash>> = lines.map(read_hash).collect();
    hashes.filter(|hashes| named && hashes.len() <= PROOF_HASHES_MAX)
}
