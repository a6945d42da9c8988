//! The statements of a step `transaction`: captured, done, appended, verified, in the transaction of their record.

use async_trait::async_trait;
use redress::adapter::AdapterError;
use redress::phase_tx::{PhaseTx, Rows as Found};
use redress::step::Work;
use serde_json::{Map, Value, json};

use super::context;
use crate::model::{Rows, Statement, Transaction};

/// The most bytes that the rows of one step may take in its record.
const KEPT_BYTES_MAX: usize = 16 * 1024;

/// The statements of one step.
pub(super) struct Statements<'a> {
    pub transaction: &'a Transaction,
    /// What pointers look into; rows that are kept on the way are added under `/steps/STEP`.
    pub context: Value,
    pub step: &'a str,
    pub writes: Vec<String>,
}

#[async_trait]
impl Work for Statements<'_> {
    async fn act(
        &self,
        tx: &PhaseTx<'_>,
        locked: Vec<Found>,
    ) -> Result<Map<String, Value>, AdapterError> {
        let mut context = self.context.clone();
        let mut touched = Vec::new();
        let transaction = self.transaction;
        let mut outputs = self.locked(locked)?;
        if !outputs.is_empty() {
            context["steps"][self.step] = Value::Object(outputs.clone());
        }
        let lists = [
            ("capture", &transaction.capture),
            ("do", &transaction.acts),
            ("append", &transaction.append),
            ("verify", &transaction.verify),
        ];
        for (list, statements) in lists {
            for (at, statement) in statements.iter().enumerate() {
                let place = format!("{list} {}", at + 1);
                let found = run(tx, statement, &context, &place).await?;
                judge(statement, &found, &place)?;
                if list == "verify" {
                    verified(&found, &place)?;
                } else if list != "capture" {
                    touched.push(json!({"statement": place, "rows": found.count}));
                }
                let name = match (&statement.name, list) {
                    (Some(name), _) => name.to_string(),
                    (None, "capture") => format!("capture_{}", at + 1),
                    (None, _) => continue,
                };
                outputs.insert(name, Value::Array(found.rows));
                context["steps"][self.step] = Value::Object(outputs.clone());
            }
        }
        let bytes = Value::Object(outputs.clone()).to_string().len();
        if bytes > KEPT_BYTES_MAX {
            return Err(AdapterError::Business(format!(
                "the rows that the step keeps have {bytes} bytes, a record holds {KEPT_BYTES_MAX}: keep fewer columns or rows"
            )));
        }
        Ok(Map::from_iter([
            ("outputs".to_owned(), Value::Object(outputs)),
            ("touched".to_owned(), Value::Array(touched)),
        ]))
    }

    fn writes(&self) -> &[String] {
        &self.writes
    }
}

impl Statements<'_> {
    /// What the locks found, judged before anything is done; the rows of those that are named.
    fn locked(&self, found: Vec<Found>) -> Result<Map<String, Value>, AdapterError> {
        let mut outputs = Map::new();
        for (at, (statement, found)) in self.transaction.lock.iter().zip(found).enumerate() {
            judge(statement, &found, &format!("lock {}", at + 1))?;
            if let Some(name) = &statement.name {
                outputs.insert(name.to_string(), Value::Array(found.rows));
            }
        }
        Ok(outputs)
    }
}

async fn run(
    tx: &PhaseTx<'_>,
    statement: &Statement,
    context: &Value,
    place: &str,
) -> Result<Found, AdapterError> {
    let params = context::resolve(&statement.params, context, place)
        .map_err(|error| AdapterError::Pointer(error.to_string()))?;
    let found = tx.query_values(&statement.sql, &params).await;
    found.map_err(|source| AdapterError::Statement {
        place: place.to_owned(),
        source,
    })
}

fn judge(statement: &Statement, found: &Found, place: &str) -> Result<(), AdapterError> {
    let fits = match statement.rows {
        None => true,
        Some(Rows::Exactly(n)) => found.count == n,
        Some(Rows::Between { min, max }) => (min..=max).contains(&found.count),
    };
    if fits {
        return Ok(());
    }
    let expected = match statement.rows {
        Some(Rows::Exactly(n)) => n.to_string(),
        Some(Rows::Between { min, max }) => format!("{min} to {max}"),
        None => "any number".to_owned(),
    };
    Err(AdapterError::Rows {
        place: place.to_owned(),
        found: found.count,
        expected,
    })
}

fn verified(found: &Found, place: &str) -> Result<(), AdapterError> {
    let mut values = found
        .rows
        .iter()
        .filter_map(Value::as_object)
        .flat_map(Map::values);
    match values.find(|value| **value != Value::Bool(true)) {
        None if found.rows.is_empty() => Err(AdapterError::Verify(format!("{place} gave no row"))),
        None => Ok(()),
        Some(value) => Err(AdapterError::Verify(format!("{place} gave {value}"))),
    }
}
