//! Named read-only queries before a run, inside a compensation and after a failure.
//!
//! **Invariant:** `pre` is read in the transaction that opens the run, when the subject is already taken; baseline
//! values are compared inside the compensation's own transaction before COMMIT.

use serde_json::{Map, Value, json};

use crate::db::{DbError, Session};
use crate::definition::{Definition, SnapshotQuery};
use crate::engine::Inner;
use crate::error::Error;
use crate::phase_tx::PhaseTx;
use crate::pointer::Pointer;
use crate::run::Live;
use redress_sql as sql;

/// Rows that one snapshot query may keep; it is for counts and states, not for data.
const ROWS_MAX: usize = 1_000;

/// Resolves pointers against a context.
///
/// # Errors
/// The pointer that leads to nothing.
pub(crate) fn resolve(params: &[Pointer], context: &Value) -> Result<Vec<Value>, Error> {
    params
        .iter()
        .map(|pointer| {
            pointer
                .resolve(context)
                .cloned()
                .ok_or_else(|| Error::Input(format!("{pointer} points to nothing")))
        })
        .collect()
}

impl Inner {
    /// Runs the snapshot queries in the open transaction: name to rows.
    pub(crate) async fn take_snapshot<'q>(
        &self,
        session: &Session,
        queries: impl Iterator<Item = &'q SnapshotQuery>,
        context: &Value,
    ) -> Result<Map<String, Value>, Error> {
        let mut values = Map::new();
        for query in queries {
            let params = resolve(&query.params, context)?;
            self.set_role(session, query.role.as_deref()).await?;
            let rows = PhaseTx::new(session)
                .query_values(&query.sql, &params)
                .await;
            let rows = rows.map_err(|error| Error::Adapter(error.into()))?.rows;
            self.set_role(session, query.role.as_ref().map(|_| "none"))
                .await?;
            if rows.len() > ROWS_MAX {
                return Err(Error::Input(format!(
                    "snapshot `{}` gave {} rows, at most {ROWS_MAX}",
                    query.name,
                    rows.len()
                )));
            }
            values.insert(query.name.to_string(), Value::Array(rows));
        }
        Ok(values)
    }

    /// Runs what follows under a role; `None` leaves it as it is.
    pub(crate) async fn set_role(
        &self,
        session: &Session,
        role: Option<&str>,
    ) -> Result<(), DbError> {
        if let Some(role) = role {
            let set = self.prepare(session, sql::SET_ROLE).await?;
            session.query_one(&set, &[&role]).await?;
        }
        Ok(())
    }

    /// Reads the snapshot of a run in a transaction of its own that sees one moment and cannot write.
    pub(crate) async fn post_snapshot(&self, live: &Live) -> Result<Map<String, Value>, Error> {
        let session = self.side().await?;
        session
            .batch_execute("begin isolation level repeatable read read only")
            .await
            .map_err(DbError::from)?;
        let values = self
            .take_snapshot(&session, live.definition().snapshot.iter(), &live.context)
            .await;
        self.rollback(&session).await;
        values
    }
}

/// Compares what was read before a run with what the definition expects.
///
/// # Errors
/// [`Error::Expectation`] for the first difference.
pub(crate) fn check_expectations(
    definition: &Definition,
    pre: &Map<String, Value>,
) -> Result<(), Error> {
    for query in &definition.snapshot {
        let Some(expected) = &query.expect else {
            continue;
        };
        let rows = pre
            .get(query.name.as_str())
            .and_then(Value::as_array)
            .map_or(&[][..], Vec::as_slice);
        let values: Vec<&Value> = rows
            .iter()
            .filter_map(Value::as_object)
            .flat_map(Map::values)
            .collect();
        let fits = match (expected, values.as_slice()) {
            (Value::Array(all), values) => {
                all.len() == values.len() && all.iter().zip(values).all(|(a, b)| same(a, b))
            }
            (one, [value]) => same(one, value),
            _ => false,
        };
        if !fits {
            return Err(Error::Expectation {
                name: query.name.to_string(),
                found: json!(values).to_string(),
                expected: expected.to_string(),
            });
        }
    }
    Ok(())
}

/// Compares baseline values before the run with those inside the compensation.
///
/// # Errors
/// [`Error::Baseline`] for the first difference.
pub(crate) fn check_baseline(
    definition: &Definition,
    pre: &Value,
    now: &Map<String, Value>,
) -> Result<(), Error> {
    for query in definition.baseline() {
        let name = query.name.as_str();
        let (before, after) = (pre.get(name), now.get(name));
        if before.is_none() || before != after {
            let text = |value: Option<&Value>| {
                value.map_or_else(|| "nothing".to_owned(), Value::to_string)
            };
            return Err(Error::Baseline {
                name: name.to_owned(),
                before: text(before),
                now: text(after),
            });
        }
    }
    Ok(())
}

/// Equal as values or as text: a bigint comes as a string, a file writes a number.
pub(crate) fn same(expected: &Value, found: &Value) -> bool {
    let text = |value: &Value| match value {
        Value::String(s) => s.clone(),
        other => other.to_string(),
    };
    expected == found || text(expected) == text(found)
}
