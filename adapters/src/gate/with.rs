//! The typed `with` of the `gate` adapter.

use redress::definition::duration;
use redress::pointer::Pointer;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What a phase with `adapter: gate` gives under `with`; all of it must hold. Signatures are the phase's `approvals`.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct With {
    /// Not before this instant: RFC 3339, or a pointer to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Not before so long after the run came to this phase.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Length>,
    /// Queries: there must be a row, and every row must be true in its first column.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub when: Vec<Query>,
    /// How often `when` is looked at; 10 s unless it says otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every: Option<Length>,
    /// The longest that the run may wait here; then the phase fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub within: Option<Length>,
}

/// One query that is asked.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// The text, with `$1`, `$2`, … for values.
    pub sql: String,
    /// Where the values stand in the context.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub params: Vec<Pointer>,
}

/// A length of time: `200ms`, `5s`, `2m`, `1h`; in milliseconds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Length(pub u64);

impl Serialize for Length {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&duration::format(self.0))
    }
}

impl<'de> Deserialize<'de> for Length {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        duration::parse(&text).map(Length).ok_or_else(|| {
            serde::de::Error::custom(format!(
                "a time with its unit such as `200ms`, `5s`, `2m` or `1h`, not {text:?}"
            ))
        })
    }
}
