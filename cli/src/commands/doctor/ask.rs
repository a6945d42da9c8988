//! Asks the server one thing at a time, as text: nothing is prepared, so that any pooler lets it through.

use std::collections::BTreeMap;
use std::time::Duration;

use redress::db::{DbError, Session};
use redress::tokio_postgres::SimpleQueryMessage;
use redress_sql::{Sql, Statement};

/// One row, by the names of its columns.
#[derive(Clone, Debug, Default)]
pub struct Fields(BTreeMap<String, String>);

impl Fields {
    /// A column's text; empty for NULL.
    pub fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// A column's number; 0 for NULL.
    pub fn number(&self, name: &str) -> i64 {
        self.text(name).parse().unwrap_or_default()
    }

    /// A column's number with a fraction; 0 for NULL.
    pub fn real(&self, name: &str) -> f64 {
        self.text(name).parse().unwrap_or_default()
    }

    /// Whether a column is true.
    pub fn is(&self, name: &str) -> bool {
        self.text(name) == "t"
    }
}

/// The rows of a statement without parameters.
///
/// # Errors
/// In words, why the server did not answer.
pub async fn rows(session: &Session, sql: &Sql, asked: Statement) -> Result<Vec<Fields>, String> {
    rows_of(session, sql.text(asked)).await
}

/// The rows of a text.
///
/// # Errors
/// As [`rows`].
pub async fn rows_of(session: &Session, text: &str) -> Result<Vec<Fields>, String> {
    let answer = tokio::time::timeout(ANSWER_MAX, session.simple_query(text)).await;
    let messages = match answer {
        Err(_) => return Err(format!("no answer within {} s", ANSWER_MAX.as_secs())),
        Ok(Err(error)) => return Err(DbError::from(error).to_string()),
        Ok(Ok(messages)) => messages,
    };
    let row = |message| match message {
        SimpleQueryMessage::Row(row) => {
            let columns = row.columns().iter().enumerate();
            let cells = columns.map(|(at, column)| {
                let text = row.get(at).unwrap_or_default().to_owned();
                (column.name().to_owned(), text)
            });
            Some(Fields(cells.collect()))
        }
        _ => None,
    };
    Ok(messages.into_iter().filter_map(row).collect())
}

/// The one row of a statement.
///
/// # Errors
/// As [`rows`].
pub async fn row(session: &Session, sql: &Sql, asked: Statement) -> Result<Fields, String> {
    let rows = rows(session, sql, asked).await?;
    rows.into_iter().next().ok_or_else(|| "no row".to_owned())
}

/// Whoever does not answer for so long is not waited for.
const ANSWER_MAX: Duration = Duration::from_secs(15);

#[cfg(test)]
impl Fields {
    /// A row for a test.
    pub fn of(cells: &[(&str, &str)]) -> Self {
        let owned = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
        Self(cells.iter().map(owned).collect())
    }
}
