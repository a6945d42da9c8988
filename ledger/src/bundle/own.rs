//! Tells the reader's own files from those of the bundle: trust that lies in a bundle is the bundle's word for itself.
//!
//! **Invariant:** what counts is where a file really is, behind every link.
//!
//! **What can go wrong:** a copy of a file of the bundle, or a hard link to it, lies elsewhere. Whoever makes one has
//! decided to trust it.

use std::path::Path;

use super::report::{Report, Warning};

/// What a reader named that lies in the bundle itself. It is no trust and was not read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FromBundle {
    /// The trust file.
    pub trust: bool,
    /// A checkpoint that was to be remembered.
    pub remembered: bool,
}

/// Whether a file really lies in a folder or below it. What is not there lies nowhere.
pub fn lies_within(folder: &Path, file: &Path) -> bool {
    match (folder.canonicalize(), file.canonicalize()) {
        (Ok(folder), Ok(file)) => file.starts_with(folder),
        _ => false,
    }
}

impl Report {
    /// The report of a verification for which these files were not read.
    pub fn not_read(mut self, files: FromBundle) -> Report {
        if files.trust {
            self.warn(Warning::TrustFromBundle);
        }
        if files.remembered {
            self.warn(Warning::RememberedFromBundle);
        }
        let failure = self.first_failure.take();
        self.finish(failure)
    }
}
