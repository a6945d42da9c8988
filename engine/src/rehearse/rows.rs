//! Which rows are not as they were, exactly, without reading a table twice.
//!
//! **Invariant:** the places of all rows are noted before anything is done. A row that is still at its place is the
//! same; only rows that are new or gone are read, the gone ones by a second transaction that still sees what was.

use std::collections::{BTreeMap, HashMap};

use redress_sql as sql;
use serde_json::{Map, Value};

use super::model::Options;
use crate::db::{DbError, Session};
use crate::engine::Inner;
use crate::error::Error;

/// A relation whose rows are compared.
#[derive(Clone, Debug)]
pub(super) struct Relation {
    pub name: String,
    oid: u32,
    key: Vec<String>,
}

/// A row as text, for identity, and by column, for people.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub whole: String,
    pub fields: Map<String, Value>,
}

/// What is not as it was in one relation.
#[derive(Debug, Default)]
pub(super) struct Moved {
    /// Before and after, by key.
    pub changed: Vec<(Row, Row)>,
    pub gone: Vec<Row>,
    pub added: Vec<Row>,
}

impl Relation {
    /// A row by its primary key; whole where there is none.
    pub fn key_of(&self, row: &Row) -> Value {
        if self.key.is_empty() {
            return Value::Object(row.fields.clone());
        }
        let field = |name: &String| {
            let value = row.fields.get(name).cloned().unwrap_or(Value::Null);
            (name.clone(), value)
        };
        Value::Object(self.key.iter().map(field).collect())
    }

    pub fn has_key(&self) -> bool {
        !self.key.is_empty()
    }
}

impl Row {
    /// The columns that differ, as `column: was, is`.
    pub fn difference(&self, after: &Self) -> String {
        let mut texts = Vec::new();
        for (column, was) in &self.fields {
            let is = after.fields.get(column).unwrap_or(&Value::Null);
            if was != is {
                texts.push(format!("{column} was {}, is {}", short(was), short(is)));
            }
        }
        if texts.is_empty() {
            "a column differs in its spelling".to_owned()
        } else {
            texts.join("; ")
        }
    }
}

/// A value that fits into a line.
pub(super) fn short(value: &Value) -> String {
    const CHARS_MAX: usize = 60;
    let text = value.to_string();
    match text.char_indices().nth(CHARS_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

impl Inner {
    /// Finds a relation and notes its rows; refuses one that cannot be compared.
    pub(super) async fn remember_rows(
        &self,
        session: &Session,
        name: &str,
        options: Options,
    ) -> Result<Relation, Error> {
        let refused = |why: String| Err(Error::NotRehearsed(why));
        let find = self.prepare(session, sql::FIND_RELATION).await?;
        let found = session.query_opt(&find, &[&name]).await?;
        let Some(found) = found else {
            return refused(format!("there is no relation {name}"));
        };
        if !found.try_get::<_, bool>(1)? {
            return refused(format!("{name} is no table: its rows cannot be compared"));
        }
        let relation = Relation {
            name: name.to_owned(),
            oid: found.try_get(0)?,
            key: found.try_get(2)?,
        };
        let most = i64::try_from(options.rows_max).unwrap_or(i64::MAX - 1);
        let noted = session
            .query_one(self.sql.text(sql::REMEMBER_ROWS), &[&relation.oid, &most])
            .await
            .map_err(DbError::from);
        let noted: i64 = match noted {
            Err(error) if error.sqlstate() == Some("42501") => {
                return refused(format!("{name} may not be read by this user: {error}"));
            }
            other => other?.try_get(0)?,
        };
        if noted > most {
            return refused(format!(
                "{name} has more than {most} rows, too many to compare: raise --rows-max, or rehearse on a copy"
            ));
        }
        Ok(relation)
    }

    /// Rows that are there now and were not, as they are.
    async fn new_rows(&self, session: &Session, relation: &Relation) -> Result<Vec<Row>, Error> {
        let rows = session
            .query(self.sql.text(sql::NEW_ROWS), &[&relation.oid])
            .await?;
        rows.iter().map(|row| read_row(row, 2)).collect()
    }

    /// Compares a relation with what it was. `beside` still sees that.
    pub(super) async fn moved_rows(
        &self,
        session: &Session,
        beside: &Session,
        relation: &Relation,
    ) -> Result<Moved, Error> {
        let new = self.new_rows(session, relation).await?;
        let gone = session
            .query(self.sql.text(sql::GONE_ROWS), &[&relation.oid])
            .await?;
        let mut parts: Vec<u32> = Vec::with_capacity(gone.len());
        let mut places: Vec<String> = Vec::with_capacity(gone.len());
        for row in &gone {
            parts.push(row.try_get(0)?);
            places.push(row.try_get(1)?);
        }
        let mut was = Vec::new();
        if !gone.is_empty() {
            let rows = beside
                .query(
                    self.sql.text(sql::ROWS_AT),
                    &[&relation.oid, &parts, &places],
                )
                .await?;
            for row in &rows {
                was.push(read_row(row, 0)?);
            }
        }
        if was.len() != gone.len() {
            return Err(Error::Inconsistent(format!(
                "{} rows of {} are gone, {} were found as they were",
                gone.len(),
                relation.name,
                was.len()
            )));
        }
        Ok(matched(relation, was, new))
    }
}

fn read_row(row: &tokio_postgres::Row, at: usize) -> Result<Row, Error> {
    let fields: Value = row.try_get(at + 1).map_err(DbError::from)?;
    let Value::Object(fields) = fields else {
        return Err(Error::Inconsistent("a row that is no object".to_owned()));
    };
    Ok(Row {
        whole: row.try_get(at).map_err(DbError::from)?,
        fields,
    })
}

/// Takes away what is the same in another place, then pairs by key what is left.
fn matched(relation: &Relation, was: Vec<Row>, new: Vec<Row>) -> Moved {
    let mut same: HashMap<&str, usize> = HashMap::new();
    for row in &new {
        *same.entry(row.whole.as_str()).or_default() += 1;
    }
    let mut left = Vec::new();
    let mut taken: HashMap<String, usize> = HashMap::new();
    for row in was {
        match same.get_mut(row.whole.as_str()) {
            Some(count) if *count > 0 => {
                *count -= 1;
                *taken.entry(row.whole).or_default() += 1;
            }
            _ => left.push(row),
        }
    }
    let mut moved = Moved::default();
    let mut by_key: BTreeMap<String, Row> = BTreeMap::new();
    if relation.has_key() {
        for row in left {
            by_key.insert(relation.key_of(&row).to_string(), row);
        }
    } else {
        moved.gone = left;
    }
    for row in new {
        if let Some(count) = taken.get_mut(&row.whole).filter(|count| **count > 0) {
            *count -= 1;
            continue;
        }
        match by_key.remove(&relation.key_of(&row).to_string()) {
            Some(before) => moved.changed.push((before, row)),
            None => moved.added.push(row),
        }
    }
    moved.gone.extend(by_key.into_values());
    moved
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn row(id: i64, state: &str) -> Row {
        let fields = json!({"id": id, "state": state});
        Row {
            whole: fields.to_string(),
            fields: fields.as_object().cloned().unwrap_or_default(),
        }
    }

    #[test]
    fn rows_are_paired_by_key_and_what_is_the_same_is_not_told() {
        let keyed = |key: &[&str]| Relation {
            name: "shop.mark".to_owned(),
            oid: 1,
            key: key.iter().map(|&name| name.to_owned()).collect(),
        };
        let check = |key: &[&str], was: &[&Row], new: &[&Row], expected: (usize, usize, usize)| {
            let owned = |rows: &[&Row]| rows.iter().map(|&row| row.clone()).collect();
            let moved = matched(&keyed(key), owned(was), owned(new));
            let found = (moved.changed.len(), moved.gone.len(), moved.added.len());
            assert_eq!(found, expected, "{moved:?}");
        };
        let (a, b, a_off) = (row(1, "on"), row(2, "on"), row(1, "off"));
        check(&["id"], &[], &[], (0, 0, 0));
        check(&["id"], &[&a], &[&a], (0, 0, 0));
        check(&["id"], &[&a], &[&a_off], (1, 0, 0));
        check(&["id"], &[&a], &[&b], (0, 1, 1));
        check(&[], &[&a], &[&a_off], (0, 1, 1));
        // Without a key the same row twice is two rows.
        check(&[], &[&a, &a], &[&a], (0, 1, 0));
        check(&[], &[&a], &[&a, &a], (0, 0, 1));
        assert_eq!(a.difference(&a_off), "state was \"on\", is \"off\"");
    }
}
