//! Who may do what in our schema against who should: functions, tables, the schema, and who may act as whom.
//!
//! **Not here:** what logins beside ours may read; that is their administrator's. What everybody may read is a finding.

use std::collections::BTreeSet;

use redress_sql::{self as sql, Part};

use super::drift::Drift;
use super::model::{Fault, Findings};
use crate::error::Error;

/// How a right for everybody is shown.
const EVERYBODY: &str = "PUBLIC";

impl Drift<'_, '_> {
    pub(super) async fn function_rights(
        &self,
        functions: &BTreeSet<String>,
        findings: &mut Findings,
    ) -> Result<(), Error> {
        let rows = self
            .reading
            .query(sql::SCHEMA_FUNCTION_RIGHTS, &[&self.schema])
            .await?;
        let mut found = BTreeSet::new();
        for row in &rows {
            let right: (String, String) = (row.try_get(0)?, row.try_get(1)?);
            let ours = self.expected.functions.contains_key(&right.0);
            if ours && !self.expected.rights.contains(&right) {
                let text = format!("{} may call function {}", right.1, right.0);
                findings.add(Fault::Grant, None, None, text);
            }
            found.insert(right);
        }
        // Of a function that is missing, that it is missing is enough.
        let lost = self.expected.rights.difference(&found);
        for right in lost.filter(|(name, _)| functions.contains(name)) {
            let text = format!("{} may not call function {}", right.1, right.0);
            findings.add(Fault::Grant, None, None, text);
        }
        Ok(())
    }

    pub(super) async fn rights(&self, findings: &mut Findings) -> Result<(), Error> {
        let rows = self
            .reading
            .query(sql::SCHEMA_RIGHTS, &[&self.schema])
            .await?;
        let mut read = BTreeSet::new();
        for row in &rows {
            let relation: &str = row.try_get(0)?;
            let grantee: &str = row.try_get(1)?;
            let privilege: &str = row.try_get(2)?;
            let table = relation.split('.').next().unwrap_or(relation);
            let of_schema = relation.starts_with("schema ");
            if !of_schema && !self.expected.tables.contains(table) {
                continue;
            }
            let reads = privilege == if of_schema { "USAGE" } else { "SELECT" };
            if reads && grantee != EVERYBODY {
                read.insert((relation, grantee));
                continue;
            }
            let text = format!("{grantee} has {privilege} on {relation}");
            findings.add(Fault::Grant, None, None, text);
        }
        let whole = format!("schema {}", self.schema);
        let relations = self.expected.tables.iter().map(String::as_str);
        let relations: Vec<&str> = relations.chain([whole.as_str()]).collect();
        for role in self.roles() {
            for relation in &relations {
                if !read.contains(&(*relation, role.as_str())) {
                    let text = format!("{role} may not read {relation}");
                    findings.add(Fault::Grant, None, None, text);
                }
            }
        }
        self.members(findings).await
    }

    /// Who may act as somebody else.
    async fn members(&self, findings: &mut Findings) -> Result<(), Error> {
        let roles = self.roles();
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 2] = [&self.owner, &roles];
        for row in &self.reading.query(sql::SCHEMA_MEMBERS, &params).await? {
            let (role, other): (&str, &str) = (row.try_get(0)?, row.try_get(1)?);
            let text = format!("{role} can do what only {other} may");
            match row.try_get(2)? {
                true => findings.add(Fault::Grant, None, None, text),
                false => findings.notes.push(text),
            }
        }
        Ok(())
    }

    /// The roles that read: everybody's but the owner's.
    fn roles(&self) -> Vec<String> {
        let schema = self.reading.inner.sql.schema();
        [Part::Engine, Part::Operator, Part::Sealer, Part::Auditor]
            .map(|part| schema.role(part).into_owned())
            .into()
    }
}
