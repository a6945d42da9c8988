//! The typed `with` of the `sql` adapter: lists of statements with pointers for parameters.
//!
//! **Invariant:** a [`With`] written to JSON leaves out what is empty, so a saga built in Rust has the digest of the
//! same saga in a file that writes no defaults.

use std::fmt;

use redress::definition::duration;
use redress::name::Name;
use redress::pointer::Pointer;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What a phase with `adapter: sql` gives under `with`.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct With {
    /// What `apply` may cost at most; more is rolled back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// Queries whose rows are kept as undo data; they run before `apply` and need `as`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub capture: Vec<Stmt>,
    /// The phase's work.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub apply: Vec<Stmt>,
    /// Every row must be true, after `apply` and after `revert`; no row at all passes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub verify: Vec<Stmt>,
    /// Every row must be true before a compensation; no row at all passes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub guard: Vec<Stmt>,
    /// The statements of a soft revert or a restore.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub revert: Vec<Stmt>,
    /// The statements of a compensating decision.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub decide: Vec<Stmt>,
    /// The statements of a sovereign's hard delete.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hard_delete: Vec<Stmt>,
}

/// What a phase may cost at most.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Budget {
    /// Rows that the statements of `apply` touch or return, all together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// The longest wait for one lock, as `500ms` or `5s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lock: Option<Wait>,
}

/// A length of time as saga files write it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Wait {
    /// Milliseconds, at least 1.
    pub ms: u64,
}

impl Serialize for Wait {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&duration::format(self.ms))
    }
}

impl<'de> Deserialize<'de> for Wait {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The longest that the server's own setting holds.
        const MS_MAX: u64 = 2_147_483_647;
        let text = String::deserialize(deserializer)?;
        match duration::parse(&text) {
            Some(ms) if (1..=MS_MAX).contains(&ms) => Ok(Self { ms }),
            _ => Err(D::Error::custom(
                "a time with its unit such as `500ms` or `5s`, and not 0",
            )),
        }
    }
}

/// How kept rows are kept.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// Each row, columns by name.
    #[default]
    Rows,
    /// One column of keys, read one by one and kept as one row: `/…/AS/0/keys` and `/…/AS/0/count`. Whole numbers become an
    /// `int8multirange` (`{[1,100001)}`), so that a hundred thousand keys in a row are one range; other keys an array.
    Keys,
}

impl Form {
    fn is_rows(&self) -> bool {
        *self == Self::Rows
    }
}

/// One statement.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stmt {
    /// The text, with `$1`, `$2`, … for values.
    pub sql: String,
    /// Where the values stand in the context.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub params: Vec<Pointer>,
    /// How many rows it must return or, where it returns none, touch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<RowCount>,
    /// The name under which its rows are kept.
    #[serde(default, rename = "as", skip_serializing_if = "Option::is_none")]
    pub keep_as: Option<Name>,
    /// How they are kept.
    #[serde(default, skip_serializing_if = "Form::is_rows")]
    pub form: Form,
}

impl Stmt {
    /// A statement without parameters and expectations.
    pub fn new(sql: impl Into<String>) -> Self {
        Self {
            sql: sql.into(),
            ..Self::default()
        }
    }

    /// Sets the pointers.
    pub fn params(mut self, params: impl IntoIterator<Item = Pointer>) -> Self {
        self.params = params.into_iter().collect();
        self
    }

    /// Sets the number of rows.
    pub fn rows(mut self, rows: RowCount) -> Self {
        self.rows = Some(rows);
        self
    }

    /// Sets the name under which the rows are kept.
    pub fn keep_as(mut self, name: Name) -> Self {
        self.keep_as = Some(name);
        self
    }
}

/// How many rows a statement must return or touch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RowCount {
    /// Exactly so many.
    Exactly(u64),
    /// Within bounds, both included; an absent bound is open.
    Between {
        /// The least.
        min: Option<u64>,
        /// The most.
        max: Option<u64>,
    },
}

impl RowCount {
    /// Whether a count is within it.
    pub fn holds(self, count: u64) -> bool {
        match self {
            Self::Exactly(n) => count == n,
            Self::Between { min, max } => {
                min.is_none_or(|min| count >= min) && max.is_none_or(|max| count <= max)
            }
        }
    }
}

impl fmt::Display for RowCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Exactly(n) => write!(f, "{n}"),
            Self::Between {
                min: Some(min),
                max: Some(max),
            } => write!(f, "{min} to {max}"),
            Self::Between {
                min: Some(min),
                max: None,
            } => write!(f, "at least {min}"),
            Self::Between {
                min: None,
                max: Some(max),
            } => write!(f, "at most {max}"),
            Self::Between {
                min: None,
                max: None,
            } => f.write_str("any number"),
        }
    }
}

impl Serialize for RowCount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            Self::Exactly(n) => serializer.serialize_u64(n),
            Self::Between { min, max } => {
                let mut map = serializer.serialize_map(None)?;
                for (key, bound) in [("min", min), ("max", max)] {
                    if let Some(bound) = bound {
                        map.serialize_entry(key, &bound)?;
                    }
                }
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for RowCount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RowCountVisitor)
    }
}

/// The bounds as they are written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Bounds {
    min: Option<u64>,
    max: Option<u64>,
}

/// Written out, because an untagged enum would lose which bound is wrong.
struct RowCountVisitor;

impl<'de> Visitor<'de> for RowCountVisitor {
    type Value = RowCount;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of rows, or {min: n, max: n}")
    }

    fn visit_u64<E: Error>(self, n: u64) -> Result<RowCount, E> {
        Ok(RowCount::Exactly(n))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RowCount, A::Error> {
        match Bounds::deserialize(MapAccessDeserializer::new(map))? {
            Bounds {
                min: None,
                max: None,
            } => Err(A::Error::custom("`rows` gives neither min nor max")),
            Bounds {
                min: Some(min),
                max: Some(max),
            } if min > max => Err(A::Error::custom(format!(
                "`rows` can never hold: min {min} is above max {max}"
            ))),
            Bounds { min, max } => Ok(RowCount::Between { min, max }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::read_with;
    use serde_json::json;

    #[test]
    fn what_is_read_is_written_again() {
        let with = json!({
            "capture": [{"sql": "select 1 as n", "as": "was"}],
            "apply": [{"sql": "update t set n = $1", "params": ["/input/n"], "rows": {"min": 1}, "as": "now"}],
            "verify": [{"sql": "select true", "rows": 1}],
        });
        let read: With = read_with(&with).expect("a valid with");
        assert_eq!(
            read.apply[0].rows,
            Some(RowCount::Between {
                min: Some(1),
                max: None
            })
        );
        assert_eq!(serde_json::to_value(&read).expect("plain data"), with);
    }

    #[test]
    fn what_does_not_fit_is_named_with_its_place() {
        let check = |with: serde_json::Value, path: &str, part: &str| {
            let finding = read_with::<With>(&with).expect_err(part);
            assert_eq!(
                (finding.path.as_str(), finding.code),
                (path, "RD0110"),
                "{}",
                finding.message
            );
            assert!(finding.message.contains(part), "{}", finding.message);
        };
        check(json!({"applyy": []}), "/applyy", "unknown field");
        check(
            json!({"apply": [{"sql": "x", "row": 1}]}),
            "/apply/0/row",
            "unknown field",
        );
        check(
            json!({"apply": [{"params": []}]}),
            "/apply/0",
            "missing field `sql`",
        );
        check(
            json!({"apply": [{"sql": "x", "rows": -1}]}),
            "/apply/0/rows",
            "a number of rows",
        );
        check(
            json!({"apply": [{"sql": "x", "rows": "1"}]}),
            "/apply/0/rows",
            "a number of rows",
        );
        check(
            json!({"apply": [{"sql": "x", "rows": {}}]}),
            "/apply/0/rows",
            "neither",
        );
        check(
            json!({"apply": [{"sql": "x", "rows": {"min": 2, "max": 1}}]}),
            "/apply/0/rows",
            "never",
        );
        check(
            json!({"apply": [{"sql": "x", "rows": {"mn": 2}}]}),
            "/apply/0/rows/mn",
            "unknown field",
        );
        check(
            json!({"apply": [{"sql": "x", "params": ["/a", "b"]}]}),
            "/apply/0/params/1",
            "must begin with",
        );
        check(
            json!({"apply": [{"sql": "x", "as": "A"}]}),
            "/apply/0/as",
            "a name",
        );
        check(json!({"apply": {}}), "/apply", "invalid type");
        check(json!([]), "", "a list stands");
        check(
            json!({"apply": [["select 1"]]}),
            "/apply/0",
            "a list stands",
        );
    }

    #[test]
    fn a_count_is_held_within_both_bounds() {
        let check = |rows: serde_json::Value, count: u64, holds: bool| {
            let read: RowCount = serde_json::from_value(rows).expect("valid");
            assert_eq!(read.holds(count), holds, "{read} {count}");
        };
        check(json!(1), 1, true);
        check(json!(1), 2, false);
        check(json!({"min": 1}), 0, false);
        check(json!({"min": 1}), 1, true);
        check(json!({"max": 3}), 3, true);
        check(json!({"max": 3}), 4, false);
        check(json!({"min": 2, "max": 3}), 1, false);
        check(json!({"min": 2, "max": 3}), 3, true);
    }
}
