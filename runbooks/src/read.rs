//! Reads a runbook from a file, or from the bytes under which it was stored.
//!
//! **Invariant:** [`Runbook::from_canonical`] accepts exactly the bytes that [`Runbook::canonical`] gives, so a digest
//! names one content.
//!
//! **Not here:** whether it makes sense (`lint`).

use redress::definition::{Problem as FileProblem, SourceMap, yaml};
use redress_ledger::{Hash, canonical};

use crate::error::{Problem, RunbookError};
use crate::model::Runbook;
use crate::text::{nearest, plain};

/// Reads a runbook's file: syntax and shape.
///
/// # Errors
/// The first thing that is wrong, with its place.
pub fn read_yaml(bytes: &[u8], file: &str) -> Result<(Runbook, SourceMap), Box<RunbookError>> {
    match yaml::read_document::<Runbook>(bytes, file) {
        Ok((mut runbook, _, map)) => {
            runbook.name_steps();
            Ok((runbook, map))
        }
        Err(error) => {
            let mut error = RunbookError::from(error);
            error.suggestion = meant(&error.problem);
            Err(Box::new(error))
        }
    }
}

impl Runbook {
    /// The canonical bytes: what is stored with an execution, and what the digest names.
    ///
    /// # Errors
    /// RD0124 for a value that has no canonical form.
    pub fn canonical(&self) -> Result<Vec<u8>, Problem> {
        let none = |text: String| Problem::File(FileProblem::NotCanonical(text));
        let value = serde_json::to_value(self).map_err(|error| none(error.to_string()))?;
        canonical::to_canonical(&value).map_err(|error| none(error.to_string()))
    }

    /// The SHA-256 of the canonical bytes.
    ///
    /// # Errors
    /// As [`Runbook::canonical`].
    pub fn digest(&self) -> Result<Hash, Problem> {
        Ok(Hash::of(&self.canonical()?))
    }

    /// Reads a stored runbook; any other bytes than [`Runbook::canonical`] would give are refused.
    ///
    /// # Errors
    /// RD0164.
    pub fn from_canonical(bytes: &[u8]) -> Result<Self, Problem> {
        let tree = canonical::parse_canonical(bytes)
            .map_err(|error| Problem::Stored(plain(&error.to_string())))?;
        let runbook: Self = serde_json::from_value(tree)
            .map_err(|error| Problem::Stored(plain(&error.to_string())))?;
        if runbook.canonical()? != bytes {
            return Err(Problem::Stored("a default is not written out".into()));
        }
        Ok(runbook)
    }
}

/// What was meant by a field that does not exist: serde names the ones that do.
fn meant(problem: &Problem) -> Option<String> {
    let Problem::File(FileProblem::Shape { message, .. }) = problem else {
        return None;
    };
    let rest = message
        .strip_prefix("unknown field `")
        .or_else(|| message.strip_prefix("unknown variant `"))?;
    let (name, rest) = rest.split_once('`')?;
    let known = rest.split('`').skip(1).step_by(2);
    nearest(name, known)
}
