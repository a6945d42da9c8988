//! Verifies an exported ledger offline, and says what one consists of. FORMAT.md is the specification.
//!
//! The parts in the order of the flow: the manifest and its list, the folder, heads, then either the
//! whole ledger or one run, and with each record what `runs`, `keyring` and `blob` decide.
//!
//! **Invariant:** trust comes from the reader's file and from heads that the reader remembers. The
//! bundle's own keys count only where the reader's roots signed for them.
//!
//! **Invariant:** a file of the reader's own that lies in the bundle's folder is the bundle's: `own` finds it, and
//! [`Report::not_read`] says so.
//!
//! **Invariant:** never `VERIFIED` of nothing, nor without a trusted key of the log and a root. The
//! first fault is the verdict, and it has a place.
//!
//! **Invariant:** memory is flat: one bundle of 256 entries, the manifest's list, a short state a
//! run, an id a decision. Entries are never all in memory.
//!
//! **What can go wrong:** an end that was cut off together with its heads leaves a shorter, perfect
//! ledger. Only a remembered checkpoint finds that; a report without one says so.

mod blobs;
mod fault;
mod folder;
mod heads;
mod ledger;
mod list;
mod logs;
mod manifest;
mod own;
mod path;
mod records;
mod report;
mod single;
mod verifier;

use std::path::Path;

use crate::trust::Trust;

pub use blobs::BLOB_FILE_BYTES_MAX;
pub use folder::FolderError;
pub use heads::Remembered;
pub use list::{CHECKPOINT_NAME, FORMAT_NAME, blob_name, checkpoint_name, entry_name, proof_name};
pub use manifest::{
    BundleKind, ListedFile, MANIFEST_BYTES_MAX, MANIFEST_NAME, Manifest, ManifestError,
};
pub use own::{FromBundle, lies_within};
pub use path::{PATH_BYTES_MAX, is_path, number_name};
pub use report::{FirstFailure, Report, Verdict, Warning};

/// The specification: what a bundle carries as `FORMAT.md`.
pub const FORMAT: &str = include_str!("../FORMAT.md");

/// Verifies the bundle in a folder, by the reader's own file and what the reader remembers.
///
/// # Errors
/// [`FolderError`] if the folder cannot be read. What does not hold is the verdict, not an error.
pub fn verify(dir: &Path, trust: &Trust, remembered: &[Remembered]) -> Result<Report, FolderError> {
    verifier::verify(folder::Folder::open(dir)?, trust, remembered)
}
