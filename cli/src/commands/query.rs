//! `db sql`: a person's own statements, on the database that the commands use.
//!
//! So that whoever has nothing but this command can make their own tables and look into them. The statements are the
//! person's, sent as they stand; those of one call are one transaction, unless they say otherwise.
//!
//! **Not here:** a shell. `psql "$(redress db up)"` is one.

use redress::db::DbError;
use redress::tokio_postgres::{self, SimpleQueryMessage, SimpleQueryRow};
use serde_json::{Value, json};

use crate::exit::Exit;
use crate::fail::Fail;
use crate::place::{Place, open};
use crate::read::statements;

/// The cells of a row, as text; `None` is NULL.
type Row = Vec<Option<String>>;

/// What one statement gave.
enum Answer {
    /// The columns' names, and rows.
    Rows(Vec<String>, Vec<Row>),
    /// No rows are meant; so many were changed.
    Done(u64),
}

/// Sends statements and prints what they give.
///
/// # Errors
/// [`Fail`]: the first statement that the server refused; with it all of this call are undone.
pub async fn query(place: &Place, text: &str, bare: bool) -> Result<Exit, Fail> {
    let text = statements(text)?;
    let session = open(&place.target().await?).await?;
    let messages = session.simple_query(&text).await;
    let messages = messages.map_err(refused)?;
    let answers = answers(&messages);
    if place.say.is_json() {
        let list: Vec<Value> = answers.iter().map(as_json).collect();
        place
            .say
            .value(&json!({"schema": 1, "answers": list, "errors": []}))?;
        return Ok(Exit::Done);
    }
    for answer in &answers {
        match answer {
            Answer::Rows(_, rows) if bare => {
                for row in rows {
                    let cells: Vec<&str> = row
                        .iter()
                        .map(|cell| cell.as_deref().unwrap_or_default())
                        .collect();
                    place.say.data(cells.join("\t"))?;
                }
            }
            Answer::Rows(columns, rows) => {
                let heads: Vec<&str> = columns.iter().map(String::as_str).collect();
                let cell = |value: &Option<String>| value.clone().unwrap_or_else(|| "NULL".into());
                let rows: Vec<Vec<String>> = rows
                    .iter()
                    .map(|row| row.iter().map(cell).collect())
                    .collect();
                place.say.table(&heads, &[], &rows)?;
            }
            Answer::Done(count) if *count == 0 || bare => {}
            Answer::Done(count) => place.say.notice(&format!("{count} rows")),
        }
    }
    Ok(Exit::Done)
}

/// What the server says of a statement is this call's own matter; a server that is gone is everybody's.
fn refused(error: tokio_postgres::Error) -> Fail {
    match error.as_db_error() {
        Some(said) => {
            let text = format!("{} [{}]", said.message(), said.code().code());
            Fail::own("RD0935", text)
        }
        None => redress::Error::from(DbError::from(error)).into(),
    }
}

fn answers(messages: &[SimpleQueryMessage]) -> Vec<Answer> {
    let mut answers = Vec::new();
    let mut open: Option<(Vec<String>, Vec<Row>)> = None;
    for message in messages {
        match message {
            SimpleQueryMessage::RowDescription(columns) => {
                let names = columns.iter().map(|column| column.name().to_owned());
                open = Some((names.collect(), Vec::new()));
            }
            SimpleQueryMessage::Row(row) => {
                if let Some((_, rows)) = &mut open {
                    rows.push(cells(row));
                }
            }
            SimpleQueryMessage::CommandComplete(count) => answers.push(match open.take() {
                Some((columns, rows)) => Answer::Rows(columns, rows),
                None => Answer::Done(*count),
            }),
            _ => {}
        }
    }
    answers
}

fn cells(row: &SimpleQueryRow) -> Row {
    let cell = |at: usize| row.get(at).map(str::to_owned);
    (0..row.len()).map(cell).collect()
}

fn as_json(answer: &Answer) -> Value {
    match answer {
        Answer::Rows(columns, rows) => json!({"columns": columns, "rows": rows}),
        Answer::Done(count) => json!({"changed": count}),
    }
}
