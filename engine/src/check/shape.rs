//! Columns, constraints and indexes against what the migrations leave, by the words in which a server writes them.
//!
//! **Not here:** that one is missing (`drift` says it of constraints and indexes, by name). An index more is the
//! administrator's.

use std::collections::{BTreeMap, BTreeSet};

use redress_sql as sql;

use super::drift::Drift;
use super::model::{Fault, Findings};
use crate::error::Error;

/// Relation, kind, name.
type Key<'t> = (&'t str, &'t str, &'t str);

/// The lines of the file that says what must be.
fn expected() -> BTreeMap<Key<'static>, &'static str> {
    let lines = sql::SHAPE.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| {
            let mut parts = line.splitn(4, '\t');
            let key = (parts.next()?, parts.next()?, parts.next()?);
            Some((key, parts.next()?))
        })
        .collect()
}

/// A column's type without what else is said of it.
fn type_of(text: &str) -> &str {
    let end = [" not null", " default"].into_iter();
    let end = end.filter_map(|word| text.find(word)).min();
    &text[..end.unwrap_or(text.len())]
}

impl Drift<'_, '_> {
    /// False when a column that is read is missing or of another type, so that nothing can be replayed.
    pub(super) async fn shape(&self, findings: &mut Findings) -> Result<bool, Error> {
        let mut readable = true;
        let rows = self
            .reading
            .query(sql::SCHEMA_SHAPE, &[&self.schema])
            .await?;
        let mut expected = expected();
        let ours: BTreeSet<&str> = expected.keys().map(|key| key.0).collect();
        for row in &rows {
            let key: Key<'_> = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            let is: &str = row.try_get(3)?;
            let how = match expected.remove(&key) {
                Some(text) if text == is => continue,
                Some(text) => {
                    readable &= key.1 != "column" || type_of(text) == type_of(is);
                    "was changed"
                }
                None if !ours.contains(key.0) || key.1 == "index" => continue,
                None => "is not one of ours",
            };
            let text = format!("{} {} on {} {how}: {is}", key.1, key.2, key.0);
            findings.add(Fault::Constraint, None, None, text);
        }
        let lost = expected.keys().filter(|key| key.1 == "column");
        for (relation, _, name) in lost {
            let text = format!("column {name} on {relation} is missing");
            findings.add(Fault::Constraint, None, None, text);
            readable = false;
        }
        Ok(readable)
    }
}
