//! Asks the database whether a runbook's statements still prepare, in a READ ONLY transaction that is rolled back.
//!
//! **Invariant:** nothing is changed. What only reads is asked once, with NULL for every parameter, so that a right that
//! is missing shows; what acts is prepared and never run.

use std::error::Error;

use redress::db::{DbError, Session};
use redress::tokio_postgres;
use redress::tokio_postgres::types::private::BytesMut;
use redress::tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use redress_runbooks::model::{Query, Runbook, Statement};

use crate::fail::Fail;

/// What is wrong with one statement.
pub struct Wrong {
    /// Where it stands, as a JSON pointer into the runbook.
    pub path: String,
    /// What the database said.
    pub message: String,
    /// It names what another installation has: a relation, a function, a role.
    pub elsewhere: bool,
}

/// A statement of a runbook, and where it stands.
struct Text<'r> {
    path: String,
    sql: &'r str,
    params: usize,
    reads: bool,
}

/// Prepares every statement of a runbook.
///
/// # Errors
/// [`Fail::Engine`] when the database cannot be asked.
pub async fn prepare(
    session: &Session,
    book: &Runbook,
    role: Option<&str>,
) -> Result<Vec<Wrong>, Fail> {
    let mut wrong = Vec::new();
    session
        .batch_execute(
            "begin read only; set local statement_timeout = '5s'; set local lock_timeout = '1s'",
        )
        .await
        .map_err(db)?;
    if let Some(role) = role {
        let taken = session
            .query("select set_config('role', $1, true)", &[&role])
            .await;
        if let Err(error) = taken {
            wrong.push(told("/role".to_owned(), &error));
            session.batch_execute("rollback").await.map_err(db)?;
            return Ok(wrong);
        }
    }
    for text in texts(book) {
        session
            .batch_execute("savepoint statement")
            .await
            .map_err(db)?;
        if let Some(found) = ask(session, &text).await {
            wrong.push(found);
        }
        session
            .batch_execute("rollback to savepoint statement")
            .await
            .map_err(db)?;
    }
    session.batch_execute("rollback").await.map_err(db)?;
    Ok(wrong)
}

async fn ask(session: &Session, text: &Text<'_>) -> Option<Wrong> {
    let prepared = match session.prepare(text.sql).await {
        Ok(prepared) => prepared,
        Err(error) => return Some(told(text.path.clone(), &error)),
    };
    let wanted = prepared.params().len();
    if wanted != text.params {
        return Some(Wrong {
            path: text.path.clone(),
            message: format!(
                "the statement has {wanted} parameters, {} are given",
                text.params
            ),
            elsewhere: false,
        });
    }
    if !text.reads {
        return None;
    }
    let nulls: Vec<&(dyn ToSql + Sync)> = vec![&Null; wanted];
    let asked = session.query(&prepared, &nulls).await;
    // What the data makes of a NULL says nothing; a right that is missing does.
    asked
        .err()
        .filter(|error| sqlstate(error) == "42501")
        .map(|error| told(text.path.clone(), &error))
}

/// NULL of any type.
#[derive(Debug)]
struct Null;

impl ToSql for Null {
    fn to_sql(&self, _: &Type, _: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        Ok(IsNull::Yes)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// Every statement, with its place.
fn texts(book: &Runbook) -> Vec<Text<'_>> {
    let mut texts = Vec::new();
    let mut add = |path: String, sql, params: usize, reads| {
        texts.push(Text {
            path,
            sql,
            params,
            reads,
        });
    };
    for (list, checks) in [("checks", &book.checks), ("after", &book.after)] {
        for check in checks {
            add(
                format!("/{list}/{}", check.id),
                &check.sql,
                check.params.len(),
                true,
            );
        }
    }
    for query in &book.baseline {
        add(
            format!("/baseline/{}", query.name),
            &query.sql,
            query.params.len(),
            true,
        );
    }
    if let Some(scope) = &book.scope {
        add(
            "/scope/rows".to_owned(),
            &scope.rows,
            scope.params.len(),
            true,
        );
    }
    for step in &book.steps {
        let path = format!("/steps/{}", step.id);
        let queries: &[Query] = step.snapshot.as_ref().map_or(&[], |one| &one.queries);
        for query in queries {
            add(
                format!("{path}/{}", query.name),
                &query.sql,
                query.params.len(),
                true,
            );
        }
        if let Some(until) = step.wait.as_ref().and_then(|wait| wait.until.as_ref()) {
            add(
                format!("{path}/until"),
                &until.sql,
                until.params.len(),
                true,
            );
        }
        let Some(own) = &step.transaction else {
            continue;
        };
        // The first three run under the role of the session, not under the reader's.
        let lists: [(&str, &Vec<Statement>); 5] = [
            ("lock", &own.lock),
            ("capture", &own.capture),
            ("do", &own.acts),
            ("append", &own.append),
            ("verify", &own.verify),
        ];
        for (list, statements) in lists {
            for (at, one) in statements.iter().enumerate() {
                add(
                    format!("{path}/{list}/{at}"),
                    &one.sql,
                    one.params.len(),
                    false,
                );
            }
        }
    }
    texts
}

fn told(path: String, error: &tokio_postgres::Error) -> Wrong {
    let state = sqlstate(error);
    let message = match error.as_db_error() {
        Some(db) => format!("{} [{state}]", db.message()),
        None => error.to_string(),
    };
    Wrong {
        path,
        message,
        elsewhere: ELSEWHERE.contains(&state.as_str()),
    }
}

fn sqlstate(error: &tokio_postgres::Error) -> String {
    error
        .code()
        .map(|code| code.code().to_owned())
        .unwrap_or_default()
}

fn db(error: tokio_postgres::Error) -> Fail {
    redress::Error::from(DbError::from(error)).into()
}

/// No such table, schema, function, object or role; and no usage of a schema of others.
const ELSEWHERE: &[&str] = &["42P01", "3F000", "42883", "42704", "22023"];
