//! Reads and writes what the root says when ended runs leave the hot tables: which they are, and which archive has them.
//!
//! **Invariant:** the runs are bound by a digest over their ids and by the head that all of their records lie below; the
//! archive is bound by the digest of its manifest, which lists every file of it.
//!
//! **Not here:** the removal, and the records themselves: they keep their places in the log, whoever holds them.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::hash::Hash;
use crate::time::parse_utc;

use super::KeyringError;

/// The members of the body, beside the signed act.
pub(super) const MEMBERS: [&str; 6] =
    ["before", "through", "runs", "records", "digest", "manifest"];

/// The body of `runs.archived`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archived {
    /// Every one of the runs ended before this instant, RFC 3339 UTC with microseconds.
    pub before: String,
    /// All of their records lie below this position, which is the size of the archive's head.
    pub through: u64,
    /// How many runs.
    pub runs: u64,
    /// How many records.
    pub records: u64,
    /// SHA-256 over the ids of the runs, 16 bytes each, in ascending order.
    pub digest: Hash,
    /// SHA-256 of the archive's manifest.
    pub manifest: Hash,
}

impl Archived {
    /// Reads a body; members beside these are the caller's to judge.
    ///
    /// # Errors
    /// [`KeyringError::Member`] naming the first member that is missing or no such value.
    pub fn from_body(body: &Map<String, Value>) -> Result<Archived, KeyringError> {
        let text = |name: &'static str| {
            let text = body.get(name).and_then(Value::as_str);
            text.ok_or_else(|| KeyringError::member(name))
        };
        let count = |name: &'static str| {
            let count = body.get(name).and_then(Value::as_u64);
            let count = count.filter(|count| *count > 0);
            count.ok_or_else(|| KeyringError::member(name))
        };
        let hash = |name: &'static str| {
            let hash = text(name)?.parse();
            hash.map_err(|_| KeyringError::member(name))
        };
        let before = text("before")?;
        if parse_utc(before).is_none() {
            return Err(KeyringError::member("before"));
        }
        Ok(Archived {
            before: before.to_owned(),
            through: count("through")?,
            runs: count("runs")?,
            records: count("records")?,
            digest: hash("digest")?,
            manifest: hash("manifest")?,
        })
    }

    /// The body, without the signed act.
    pub fn to_body(&self) -> Value {
        json!({
            "before": self.before,
            "through": self.through,
            "runs": self.runs,
            "records": self.records,
            "digest": self.digest,
            "manifest": self.manifest,
        })
    }

    /// The digest over the ids of runs, in whatever order they come.
    pub fn digest_of(runs: &[Uuid]) -> Hash {
        let mut runs = runs.to_vec();
        runs.sort_unstable();
        let bytes: Vec<u8> = runs.iter().flat_map(|run| *run.as_bytes()).collect();
        Hash::of(&bytes)
    }
}
