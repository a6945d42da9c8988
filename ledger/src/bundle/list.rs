//! Decides which files a bundle of its kind and size must have and may have.

use std::collections::HashSet;

use uuid::Uuid;

use crate::tree::{Tile, TreeError, bundles_between, tiles_between};

use super::fault::{Stop, fault};
use super::folder::Folder;
use super::manifest::{BundleKind, Manifest};
use super::path::{number_name, position_of, read_number};

/// The newest head.
pub const CHECKPOINT_NAME: &str = "checkpoint";

/// The text that says how to verify the bundle.
pub const FORMAT_NAME: &str = "FORMAT.md";

/// The name of a published head.
pub fn checkpoint_name(size: u64) -> String {
    format!("checkpoints/{}", number_name(size))
}

/// The name of a record's bytes in a bundle of one run.
pub fn entry_name(position: u64) -> String {
    format!("entries/{}", number_name(position))
}

/// The name of a record's proof in a bundle of one run.
pub fn proof_name(position: u64) -> String {
    format!("proofs/{}", number_name(position))
}

/// The name of a blob's file.
pub fn blob_name(blob: Uuid) -> String {
    format!("blobs/{blob}")
}

/// Whether a file is only hashed.
pub(super) fn is_hashed_only(path: &str) -> bool {
    path == FORMAT_NAME || path.split('/').next() == Some("receipts")
}

/// The blob whose file this is.
pub(super) fn blob_of(path: &str) -> Option<Uuid> {
    let name = path.strip_prefix("blobs/")?;
    let blob: Uuid = name.parse().ok()?;
    // Another spelling would be a second file of the same blob.
    (blob.to_string() == name).then_some(blob)
}

/// Every tile of a tree: entries first, then level by level.
fn tiles(size: u64) -> Result<impl Iterator<Item = Tile>, TreeError> {
    Ok(bundles_between(0, size)?.chain(tiles_between(0, size)?))
}

/// Checks that the list is that of a bundle of this kind and size.
pub(super) fn check_list(folder: &Folder, manifest: &Manifest) -> Result<(), Stop> {
    let required = [
        FORMAT_NAME.to_owned(),
        CHECKPOINT_NAME.to_owned(),
        checkpoint_name(manifest.size),
    ];
    for path in &required {
        require(folder, path, None)?;
    }
    let size = manifest.size;
    let malformed = |error: TreeError| fault("RD0710", error);
    let mut tiles_needed = 0_u64;
    if manifest.kind == BundleKind::Ledger {
        for tile in tiles(size).map_err(malformed)? {
            let path = tile.path();
            require(folder, &path, position_of(&path))?;
            tiles_needed += 1;
        }
    }
    let mut tiles_listed = 0_u64;
    for one in folder.listed() {
        let path = one.path.as_str();
        if manifest.kind == BundleKind::Ledger && path.starts_with("tile/") {
            tiles_listed += 1;
            continue;
        }
        let good = required.iter().any(|known| known == path)
            || is_hashed_only(path)
            || blob_of(path).is_some()
            || may_have(folder, manifest, path)?;
        if !good {
            return Err(fault("RD0714", "no file of such a bundle").file(path));
        }
    }
    if tiles_listed != tiles_needed {
        let needed: HashSet<String> = tiles(size).map_err(malformed)?.map(|t| t.path()).collect();
        let mut listed = folder.listed().iter().map(|one| one.path.as_str());
        let extra = listed.find(|path| path.starts_with("tile/") && !needed.contains(*path));
        let extra = extra.unwrap_or_default();
        return Err(fault("RD0714", "no file of such a bundle").file(extra));
    }
    Ok(())
}

/// Whether a file belongs to a bundle of this kind; one of a pair must have the other beside it.
fn may_have(folder: &Folder, manifest: &Manifest, path: &str) -> Result<bool, Stop> {
    let Some((top, name)) = path.split_once('/') else {
        return Ok(false);
    };
    let number = read_number(name).filter(|number| *number < manifest.size);
    let (Some(number), kind) = (number, manifest.kind) else {
        return Ok(false);
    };
    let partner = match (kind, top) {
        (BundleKind::Ledger, "checkpoints") => return Ok(true),
        (BundleKind::Run(_), "entries") => proof_name(number),
        (BundleKind::Run(_), "proofs") => entry_name(number),
        _ => return Ok(false),
    };
    require(folder, &partner, Some(number))?;
    Ok(true)
}

fn require(folder: &Folder, path: &str, position: Option<u64>) -> Result<(), Stop> {
    if folder.find(path).is_some() {
        return Ok(());
    }
    let missing = fault("RD0713", "a file of the bundle is missing");
    Err(missing.at_some(position).file(path))
}
