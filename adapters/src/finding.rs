//! The codes of what can be wrong with a phase's `with`, and how such a finding is put together.
//!
//! Codes below RD0130 are those of the definition, used here in the same meaning.

use redress::adapter::Finding;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::Segment;

/// An unknown or missing field, or a value of the wrong type.
pub(crate) const SHAPE: &str = "RD0110";
/// A name that stands twice.
pub(crate) const DUPLICATE: &str = "RD0112";
/// A compensation without its statements.
pub(crate) const NO_WAY_BACK: &str = "RD0116";
/// A pointer into a part of the context that is not there.
pub(crate) const POINTER_ROOT: &str = "RD0123";
/// A statement that the database does not accept.
pub(crate) const NOT_ACCEPTED: &str = "RD0140";
/// A statement with another number of parameters than `params` gives.
pub(crate) const PARAMETERS: &str = "RD0141";
/// Result columns that cannot be kept.
pub(crate) const COLUMNS: &str = "RD0142";
/// A guard that does not lock the rows it judges.
pub(crate) const GUARD_LOCKS: &str = "RD0143";
/// A guard or verification whose first column is not a boolean.
pub(crate) const NOT_A_JUDGEMENT: &str = "RD0144";
/// A statement that writes where only reading is allowed.
pub(crate) const WRITES: &str = "RD0145";
/// A program, a host, a variable or a secret that the worker's configuration does not list.
pub(crate) const NOT_LISTED: &str = "RD0146";
/// A relation that the phase does not declare.
pub(crate) const COVERAGE: &str = "RD0302";
/// Transaction control.
pub(crate) const REFUSED: &str = "RD0307";

pub(crate) fn finding(
    path: impl Into<String>,
    code: &'static str,
    message: impl Into<String>,
) -> Finding {
    Finding {
        path: path.into(),
        code,
        message: message.into(),
    }
}

/// Reads a typed `with`; the first thing that does not fit comes back with its path.
pub(crate) fn read_with<T: DeserializeOwned>(with: &Value) -> Result<T, Finding> {
    if let Some(path) = listed(with) {
        return Err(finding(
            path,
            SHAPE,
            "a list stands where named fields are expected",
        ));
    }
    serde_path_to_error::deserialize(with).map_err(|error| {
        let mut path = String::new();
        for segment in error.path() {
            match segment {
                Segment::Seq { index } => path.push_str(&format!("/{index}")),
                Segment::Map { key } => {
                    path.push_str(&format!("/{}", key.replace('~', "~0").replace('/', "~1")))
                }
                Segment::Enum { .. } | Segment::Unknown => {}
            }
        }
        finding(path, SHAPE, error.inner().to_string())
    })
}

/// Where a list stands in place of an object: serde would read its items as fields, in their order.
fn listed(with: &Value) -> Option<String> {
    let lists = match with {
        Value::Object(lists) => lists,
        _ => return Some(String::new()),
    };
    lists.iter().find_map(|(key, items)| {
        let at = items.as_array()?.iter().position(Value::is_array)?;
        Some(format!("/{key}/{at}"))
    })
}
