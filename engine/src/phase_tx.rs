//! What an adapter gets of the transaction: one statement a call, and no way to end it.
//!
//! **Invariant:** the extended protocol carries one statement a call, so nothing can be smuggled behind a semicolon;
//! transaction control, SET, RESET, DISCARD and the like are refused before they are sent. What slips through (a
//! procedure that commits) is found at the end: `append` compares the transaction's id with the one at the entry.
//!
//! **Not here:** BEGIN, the entry, the record and COMMIT (`phase`, `compensate`).

use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::TryStreamExt;
use redress_ledger::Class;
use serde_json::Value;
use thiserror::Error;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::crash;
use crate::db::{DbError, Held, Session, Statement, TextParam, ValueError, row_to_value};

/// A statement of an adapter did not succeed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TxError {
    /// The statement would end or change the transaction.
    #[error("`{0}` is refused inside a phase: the engine owns the transaction")]
    Refused(String),
    /// The database's own answer.
    #[error(transparent)]
    Db(#[from] DbError),
    /// A value that cannot be bound or kept.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// More than may be kept of one statement.
    #[error("{0}")]
    TooMuch(String),
    /// A statement has another number of parameters.
    #[error("the statement has {wanted} parameters, {given} were given")]
    Parameters {
        /// How many the statement has.
        wanted: usize,
        /// How many were given.
        given: usize,
    },
}

impl TxError {
    /// What must be done.
    pub fn class(&self) -> Class {
        match self {
            Self::Refused(_) => Class::Hold,
            Self::Db(error) => error.class(),
            Self::Value(_) | Self::Parameters { .. } | Self::TooMuch(_) => Class::Business,
        }
    }

    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Refused(_) => "RD0307",
            Self::Db(error) => error.code(),
            Self::Value(_) | Self::Parameters { .. } => "RD0308",
            Self::TooMuch(_) => "RD0347",
        }
    }

    /// The SQLSTATE, when the server answered.
    pub fn sqlstate(&self) -> Option<&str> {
        match self {
            Self::Db(error) => error.sqlstate(),
            Self::Refused(_) | Self::Value(_) | Self::Parameters { .. } | Self::TooMuch(_) => None,
        }
    }
}

impl From<tokio_postgres::Error> for TxError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Db(error.into())
    }
}

/// Rows of one statement, as JSON objects, and how many rows it touched.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    /// The rows that came back.
    pub rows: Vec<Value>,
    /// Rows returned, or rows affected where the statement returns none.
    pub count: u64,
}

/// The transaction of one phase or compensation, as an adapter sees it.
pub struct PhaseTx<'a> {
    session: &'a Session,
    refused: AtomicBool,
}

impl<'a> PhaseTx<'a> {
    pub(crate) fn new(session: &'a Session) -> Self {
        session.mark_used();
        Self {
            session,
            refused: AtomicBool::new(false),
        }
    }

    /// Whether a refused statement was tried; the phase then fails even if the adapter went on.
    pub(crate) fn tried_refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed)
    }

    /// Prepares a statement, or takes it from the session's cache.
    ///
    /// # Errors
    /// [`TxError::Refused`] for transaction control; the database's answer otherwise.
    pub async fn prepare(&self, sql: &str) -> Result<Statement, TxError> {
        self.admit(sql)?;
        Ok(self.session.prepare_cached(sql).await?)
    }

    /// Keeps a statement in `pg_prepared_statements` while the value lives; for who asks the server about statements.
    ///
    /// # Errors
    /// As [`PhaseTx::prepare`].
    pub async fn hold(&self, sql: &str) -> Result<Held, TxError> {
        self.admit(sql)?;
        Ok(self.session.hold(sql).await?)
    }

    /// Runs a statement and returns its rows.
    ///
    /// # Errors
    /// As [`PhaseTx::prepare`].
    pub async fn query(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, TxError> {
        let statement = self.prepare(sql).await?;
        crash::point("statement");
        Ok(self.session.query(&statement, params).await?)
    }

    /// Runs a statement and returns how many rows it touched.
    ///
    /// # Errors
    /// As [`PhaseTx::prepare`].
    pub async fn execute(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<u64, TxError> {
        let statement = self.prepare(sql).await?;
        crash::point("statement");
        Ok(self.session.execute(&statement, params).await?)
    }

    /// Runs a statement and hands its rows over one at a time; none but the one at hand is kept here.
    ///
    /// # Errors
    /// As [`PhaseTx::prepare`], and whatever `take` says; the rows behind it are dropped then.
    pub async fn each_row(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
        mut take: impl FnMut(&Row) -> Result<(), TxError> + Send,
    ) -> Result<u64, TxError> {
        let statement = self.prepare(sql).await?;
        let rows = self.session.query_raw(&statement, params).await?;
        let mut rows = std::pin::pin!(rows);
        let mut count = 0;
        while let Some(row) = rows.try_next().await? {
            take(&row)?;
            count += 1;
        }
        Ok(count)
    }

    /// Runs a statement with JSON values, bound as text of the types that the server infers.
    ///
    /// # Errors
    /// As [`PhaseTx::prepare`], and [`TxError::Value`] for what cannot be bound or kept.
    pub async fn query_values(&self, sql: &str, params: &[Value]) -> Result<Rows, TxError> {
        let statement = self.prepare(sql).await?;
        values_of(self.session, &statement, params).await
    }

    fn admit(&self, sql: &str) -> Result<(), TxError> {
        match refused_verb(sql) {
            None => Ok(()),
            Some(verb) => {
                self.refused.store(true, Ordering::Relaxed);
                Err(TxError::Refused(verb))
            }
        }
    }
}

/// Runs a prepared statement with JSON values, bound as text of the types that the server infers.
async fn values_of(
    session: &Session,
    statement: &Statement,
    params: &[Value],
) -> Result<Rows, TxError> {
    check_count(statement.params().len(), params)?;
    let bound: Vec<TextParam<'_>> = params.iter().map(TextParam).collect();
    let refs: Vec<&(dyn ToSql + Sync)> = bound.iter().map(|p| p as &(dyn ToSql + Sync)).collect();
    if !statement.returns_values() {
        let count = session.execute(statement, &refs).await?;
        return Ok(Rows {
            rows: Vec::new(),
            count,
        });
    }
    let rows = as_values(&session.query(statement, &refs).await?)?;
    Ok(Rows {
        count: rows.len() as u64,
        rows,
    })
}

/// The rows of a query in somebody else's transaction, with parameters as [`PhaseTx::query_values`] binds them.
pub(crate) async fn values_in(
    transaction: &tokio_postgres::Transaction<'_>,
    sql: &str,
    params: &[Value],
) -> Result<Vec<Value>, TxError> {
    let statement = transaction.prepare(sql).await?;
    check_count(statement.params().len(), params)?;
    let bound: Vec<TextParam<'_>> = params.iter().map(TextParam).collect();
    let refs: Vec<&(dyn ToSql + Sync)> = bound.iter().map(|p| p as &(dyn ToSql + Sync)).collect();
    as_values(&transaction.query(&statement, &refs).await?)
}

fn check_count(wanted: usize, params: &[Value]) -> Result<(), TxError> {
    let given = params.len();
    if wanted == given {
        Ok(())
    } else {
        Err(TxError::Parameters { wanted, given })
    }
}

fn as_values(rows: &[Row]) -> Result<Vec<Value>, TxError> {
    Ok(rows.iter().map(row_to_value).collect::<Result<_, _>>()?)
}

/// The first word of a statement, when it is one that an adapter may not use.
pub fn refused_verb(sql: &str) -> Option<String> {
    const REFUSED: [&str; 20] = [
        "abort",
        "begin",
        "close",
        "commit",
        "deallocate",
        "declare",
        "discard",
        "end",
        "execute",
        "fetch",
        "listen",
        "load",
        "move",
        "notify",
        "prepare",
        "release",
        "reset",
        "rollback",
        "savepoint",
        "set",
    ];
    const ALSO: [&str; 3] = ["start", "unlisten", "vacuum"];
    let word: String = skip_blanks(sql)
        .chars()
        .take_while(|c| c.is_ascii_alphabetic())
        .collect::<String>()
        .to_ascii_lowercase();
    (REFUSED.contains(&word.as_str()) || ALSO.contains(&word.as_str())).then_some(word)
}

/// What follows blanks, semicolons, parentheses and comments (block comments nest in PostgreSQL).
fn skip_blanks(sql: &str) -> &str {
    let mut rest = sql;
    loop {
        rest = rest.trim_start_matches(|c: char| {
            c.is_whitespace() || c == ';' || c == '(' || c == '\u{feff}'
        });
        if let Some(line) = rest.strip_prefix("--") {
            rest = line.find(['\n', '\r']).map_or("", |at| &line[at..]);
        } else if rest.starts_with("/*") {
            rest = after_comment(rest);
        } else {
            return rest;
        }
    }
}

fn after_comment(sql: &str) -> &str {
    let bytes = sql.as_bytes();
    let (mut at, mut depth) = (2, 1);
    while at < bytes.len() && depth > 0 {
        match &bytes[at..] {
            [b'/', b'*', ..] => (at, depth) = (at + 2, depth + 1),
            [b'*', b'/', ..] => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
    }
    sql.get(at..).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adapter_cannot_name_transaction_control() {
        let check =
            |sql: &str, refused: bool| assert_eq!(refused_verb(sql).is_some(), refused, "{sql}");
        check("commit", true);
        check("  /* a /* b */ c */ COMMIT", true);
        check("-- x\n;; rollback to a", true);
        check("-- x\rcommit", true);
        check("(commit)", true);
        check("set role postgres", true);
        check("SET LOCAL x = 1", true);
        check("start transaction", true);
        check("prepare transaction 'x'", true);
        check("discard all", true);
        check("update t set commit = 1", false);
        check("select 'commit'", false);
        check("settle()", false);
        check("with x as (select 1) select * from x", false);
        check("", false);
    }
}
