//! The schema as it stands against the schema as it was made: triggers, functions, rights, constraints, tables.
//!
//! **Invariant:** only what is ours is judged; business tables may live in the same schema.
//!
//! **Not here:** the texts of columns, constraints and indexes (`shape`), and who may do what (`rights`).

use std::collections::{BTreeMap, BTreeSet};

use redress_sql::{self as sql, Part};

use super::expected::{Expected, Function, Trigger};
use super::model::{Fault, Findings};
use crate::error::Error;
use crate::view::Reading;

/// What a pinned search_path has after the schema.
const PATH_END: &str = ", pg_temp";
/// What is said where nothing refuses DDL.
const NO_GUARD: &str = "no event trigger refuses ALTER and DROP of the ledger's tables: whoever installed it was no superuser";

/// Compares the schema with the files that make it; false when a table or column is missing, so that nothing can be replayed.
pub(super) async fn drift(reading: &Reading<'_>, findings: &mut Findings) -> Result<bool, Error> {
    let schema = reading.inner.sql.schema();
    let expected = Expected::of(schema);
    let drift = Drift {
        reading,
        schema: schema.as_str(),
        owner: schema.role(Part::Owner).into_owned(),
        expected: &expected,
    };
    if !drift.tables(findings).await? {
        return Ok(false);
    }
    drift.constraints(findings).await?;
    let readable = drift.shape(findings).await?;
    drift.triggers(findings).await?;
    drift.guard(findings).await?;
    let functions = drift.functions(findings).await?;
    drift.function_rights(&functions, findings).await?;
    drift.rights(findings).await?;
    Ok(readable)
}

pub(super) struct Drift<'d, 'i> {
    pub reading: &'d Reading<'i>,
    pub schema: &'d str,
    pub owner: String,
    pub expected: &'d Expected,
}

impl Drift<'_, '_> {
    async fn tables(&self, findings: &mut Findings) -> Result<bool, Error> {
        let rows = self
            .reading
            .query(sql::SCHEMA_TABLES, &[&self.schema])
            .await?;
        let mut found = BTreeSet::new();
        for row in &rows {
            let name: &str = row.try_get("name")?;
            let owner: &str = row.try_get("owner")?;
            if !self.expected.tables.contains(name) {
                if owner == self.owner {
                    let text = format!("{name} is not one of ours and is owned by {owner}");
                    findings.add(Fault::Table, None, None, text);
                }
                continue;
            }
            found.insert(name);
            let persistence: &str = row.try_get("persistence")?;
            let oddities = [
                (owner != self.owner, format!("is owned by {owner}")),
                (persistence != "p", "is not logged".to_owned()),
                (row.try_get("row_security")?, "has row security".to_owned()),
                (row.try_get::<_, i64>("rules")? > 0, "has rules".to_owned()),
                (row.try_get("family")?, "has parents or children".to_owned()),
            ];
            for (odd, how) in oddities {
                if odd {
                    findings.add(Fault::Table, None, None, format!("table {name} {how}"));
                }
            }
        }
        let missing = self.expected.tables.iter();
        let missing: Vec<_> = missing.filter(|t| !found.contains(t.as_str())).collect();
        for table in &missing {
            let text = format!("table {table} is missing");
            findings.add(Fault::Table, None, None, text);
        }
        Ok(missing.is_empty())
    }

    async fn constraints(&self, findings: &mut Findings) -> Result<(), Error> {
        let rows = self
            .reading
            .query(sql::SCHEMA_CONSTRAINTS, &[&self.schema])
            .await?;
        let mut found = BTreeMap::new();
        for row in &rows {
            let key: (String, String) = (row.try_get(0)?, row.try_get(1)?);
            let good: bool = row.try_get(2)?;
            // A constraint and its index share a name; both must be good.
            let both = found.entry(key).or_insert(true);
            *both = *both && good;
        }
        for key in &self.expected.constraints {
            let how = match found.get(key) {
                Some(true) => continue,
                Some(false) => "is not in force",
                None => "is missing",
            };
            let text = format!("{} on {} {how}", key.1, key.0);
            findings.add(Fault::Constraint, None, None, text);
        }
        Ok(())
    }

    async fn triggers(&self, findings: &mut Findings) -> Result<(), Error> {
        let rows = self
            .reading
            .query(sql::SCHEMA_TRIGGERS, &[&self.schema])
            .await?;
        let mut found = BTreeSet::new();
        for row in &rows {
            let key: (String, String) = (row.try_get("relation")?, row.try_get("trigger")?);
            if !self.expected.tables.contains(&key.0) {
                continue;
            }
            let ours: bool = row.try_get("ours")?;
            let whole: bool = row.try_get("always")?;
            let columns: &str = row.try_get("columns")?;
            let is = Trigger {
                bits: row.try_get("bits")?,
                function: row.try_get("function")?,
                enabled: row.try_get("enabled")?,
            };
            let how = match self.expected.triggers.get(&key) {
                None => Some("is not one of ours"),
                Some(trigger) if trigger.enabled != is.enabled => Some("does not fire always"),
                Some(trigger) if *trigger != is || !ours || !whole || !columns.is_empty() => {
                    Some("was changed")
                }
                Some(_) => None,
            };
            if let Some(how) = how {
                let text = format!("trigger {} on {} {how}", key.1, key.0);
                findings.add(Fault::Trigger, None, None, text);
            }
            found.insert(key);
        }
        for key in self.expected.triggers.keys() {
            if !found.contains(key) {
                let text = format!("trigger {} on {} is missing", key.1, key.0);
                findings.add(Fault::Trigger, None, None, text);
            }
        }
        Ok(())
    }

    /// The event triggers: none is what an installer without superuser leaves, some of them is not.
    async fn guard(&self, findings: &mut Findings) -> Result<(), Error> {
        let names = ["refuses_ddl", "refuses_drop", "refuses_end"]
            .map(|name| format!("{}_{name}", self.schema));
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 2] =
            [&names.as_slice(), &self.schema];
        let rows = self.reading.query(sql::GUARD_STATE, &params).await?;
        if rows.is_empty() {
            findings.notes.push(NO_GUARD.to_owned());
            return Ok(());
        }
        let text = self.reading.inner.sql.schema().render(sql::GUARD);
        let source = text.split("$$").nth(1);
        let mut add = |text: String| findings.add(Fault::Trigger, None, None, text);
        for row in &rows {
            let (name, enabled): (&str, &str) = (row.try_get(0)?, row.try_get(1)?);
            if enabled != "A" {
                add(format!("event trigger {name} does not fire always"));
            }
            let (found, superuser): (Option<&str>, bool) = (row.try_get(2)?, row.try_get(3)?);
            if found != source || !superuser {
                add(format!("the function of event trigger {name} was changed"));
            }
        }
        for name in names {
            if !rows.iter().any(|row| row.get::<_, &str>(0) == name) {
                add(format!("event trigger {name} is missing"));
            }
        }
        Ok(())
    }

    /// Gives the names of those of our functions that are there.
    async fn functions(&self, findings: &mut Findings) -> Result<BTreeSet<String>, Error> {
        let rows = self
            .reading
            .query(sql::SCHEMA_FUNCTIONS, &[&self.schema])
            .await?;
        let path = format!("search_path={}{PATH_END}", self.schema);
        let mut found: BTreeMap<&str, Vec<Function>> = BTreeMap::new();
        for row in &rows {
            let name: &str = row.try_get("name")?;
            let owner: &str = row.try_get("owner")?;
            if !self.expected.functions.contains_key(name) {
                if owner == self.owner {
                    let text =
                        format!("function {name} is not one of ours and is owned by {owner}");
                    findings.add(Fault::Function, None, None, text);
                }
                continue;
            }
            let mut add = |how: String| {
                findings.add(
                    Fault::Function,
                    None,
                    None,
                    format!("function {name} {how}"),
                );
            };
            if owner != self.owner {
                add(format!("is owned by {owner}"));
            }
            let pinned: &str = row.try_get("search_path")?;
            if !pinned.is_empty() && pinned != path {
                add(format!("has {pinned:?} instead of {path:?}"));
            }
            found.entry(name).or_default().push(Function {
                source: row.try_get("source")?,
                definer: row.try_get("definer")?,
                pinned: !pinned.is_empty(),
            });
        }
        let names = found.keys().map(|name| (*name).to_owned()).collect();
        for (name, expected) in &self.expected.functions {
            let mut expected = expected.clone();
            let mut is = found.remove(name.as_str()).unwrap_or_default();
            expected.sort();
            is.sort();
            if is != expected {
                let how = if is.is_empty() {
                    "is missing"
                } else if is.len() != expected.len() {
                    "has a namesake"
                } else {
                    "was changed"
                };
                findings.add(
                    Fault::Function,
                    None,
                    None,
                    format!("function {name} {how}"),
                );
            }
        }
        Ok(names)
    }
}
