//! Decides what a saga is, and refuses one that could not be undone before it ever runs.
//!
//! A definition comes from a YAML file ([`load_yaml`]) or from the typed builder
//! ([`builder::Saga`]); both give the same [`Definition`], and its canonical bytes have one digest,
//! to which every run is pinned.
//!
//! **Invariant:** the canonical form is itself a saga file (as JSON) with every default written
//! out, and [`Definition::from_canonical`] accepts exactly the bytes that [`Definition::canonical`]
//! gives.
//!
//! **Not here:** what needs a database (a statement that does not prepare, a guard that does not
//! lock, a result type that cannot be kept) and what needs the adapter (the shape of `with`).

use std::collections::BTreeSet;

use redress_ledger::{Hash, canonical};

use crate::name::Name;

pub mod builder;
pub mod duration;
mod error;
pub mod input;
mod model;
mod order;
mod raw;
mod scalar;
mod schema;
mod source;
mod validate;
pub mod yaml;

pub use error::{Finding, Invalid, Problem};
pub use model::{
    Authority, Compensation, Definition, HoldScope, OnFailure, OnUnrecovered, Phase, Retry,
    SnapshotQuery, Then,
};
pub(crate) use schema::AuthorityNeeded;
pub use schema::json_schema;
pub use source::{DefinitionError, Position, SourceMap};
pub(crate) use validate::left_behind;
pub use validate::{PHASES_MAX, validate};

/// Reads a saga file: syntax and shape. What it means is judged by [`validate`].
pub fn read_yaml(bytes: &[u8], file: &str) -> Result<(Definition, SourceMap), DefinitionError> {
    let (definition, tree, map): (Definition, _, _) = yaml::read_document(bytes, file)?;
    match raw::misshapen(&definition, &tree) {
        None => Ok((definition, map)),
        Some(finding) => Err(map.place(finding)),
    }
}

/// Reads and judges a saga file; all findings come back, each with its place.
///
/// `adapters` are the names of the adapters that are registered; without it their names are not
/// judged.
pub fn load_yaml(
    bytes: &[u8],
    file: &str,
    adapters: Option<&BTreeSet<String>>,
) -> Result<(Definition, SourceMap), Vec<DefinitionError>> {
    let (definition, map) = read_yaml(bytes, file).map_err(|error| vec![error])?;
    let findings = validate(&definition, adapters);
    if findings.is_empty() {
        return Ok((definition, map));
    }
    let mut errors: Vec<DefinitionError> = findings
        .into_iter()
        .map(|finding| map.place(finding))
        .collect();
    errors.sort_by_key(|error| (error.line, error.column));
    Err(errors)
}

impl Definition {
    /// The canonical bytes: what is stored, and what the digest names.
    pub fn canonical(&self) -> Result<Vec<u8>, Problem> {
        let value =
            serde_json::to_value(self).map_err(|error| Problem::NotCanonical(error.to_string()))?;
        canonical::to_canonical(&value).map_err(|error| Problem::NotCanonical(error.to_string()))
    }

    /// The SHA-256 of the canonical bytes.
    pub fn digest(&self) -> Result<Hash, Problem> {
        Ok(Hash::of(&self.canonical()?))
    }

    /// Reads a stored definition; any other bytes than [`Definition::canonical`] would give are
    /// refused.
    pub fn from_canonical(bytes: &[u8]) -> Result<Self, Problem> {
        let stored = |message: String| Problem::Stored(message);
        let tree = canonical::parse_canonical(bytes).map_err(|error| stored(error.to_string()))?;
        let definition: Self =
            yaml::decode(&tree).map_err(|finding| stored(finding.to_string()))?;
        if definition.canonical()? != bytes {
            return Err(stored("a default is not written out".into()));
        }
        Ok(definition)
    }

    /// The phase of that name.
    pub fn phase(&self, name: &str) -> Option<&Phase> {
        self.phases.iter().find(|phase| phase.name == *name)
    }

    /// The order in which phases run, as indices into `phases`: by `after`, file order among free
    /// ones.
    ///
    /// Phases that wait for each other, or for a phase that does not exist, are left out;
    /// [`validate`] refuses such a definition.
    pub fn order(&self) -> Vec<usize> {
        order::order(&self.phases)
    }

    /// The phase that runs next when `done` are committed or were allowed to fail; `None` when all
    /// are done.
    pub fn next_phase(&self, done: &BTreeSet<Name>) -> Option<&Phase> {
        // The first free one in the file is the next of `order`, without sorting: this runs after every phase.
        let is_free = |phase: &&Phase| phase.after.iter().all(|before| done.contains(before));
        self.phases
            .iter()
            .filter(|phase| !done.contains(&phase.name))
            .find(is_free)
    }

    /// The names of the baseline queries: what must hold again after a compensation.
    pub fn baseline(&self) -> impl Iterator<Item = &SnapshotQuery> {
        self.snapshot.iter().filter(|query| query.baseline)
    }
}

#[cfg(test)]
mod tests;
