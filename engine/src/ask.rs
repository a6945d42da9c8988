//! Questions to the database that an act rests on: asked in a READ ONLY transaction, and again under lock in the
//! transaction that acts.
//!
//! **Invariant:** a question has three answers, yes, no and "could not be told"; nobody takes the last for the first. It
//! is asked under a role that cannot write, where the session may take one.
//!
//! **Not here:** what is asked, and what a "no" means (`redress_runbooks`).

use std::time::Duration;

use redress_sql as sql;
use serde_json::{Map, Value, json};

use crate::adapter::AdapterError;
use crate::db::{DbError, Session};
use crate::engine::{Engine, Inner};
use crate::error::Error;
use crate::phase_tx::{PhaseTx, Rows, TxError};
use crate::snapshot::same;

/// The most rows that an answer may have.
pub const ROWS_MAX: usize = 1_000;

/// What is asked, and what the answer must be.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// Its name, for people.
    pub name: String,
    /// A query.
    pub sql: String,
    /// Values for `$1`, `$2`, …
    pub params: Vec<Value>,
    /// What makes it a yes.
    pub wanted: Wanted,
}

/// What makes an answer a yes.
#[derive(Clone, Debug, PartialEq)]
pub enum Wanted {
    /// At least one row, and every value of every row is true.
    AllTrue,
    /// One row with one value, and this is it.
    Value(Value),
    /// Whatever comes.
    Anything,
}

/// How a question is asked.
#[derive(Clone, Debug)]
pub struct Asking {
    /// The role under which it is asked, from [`Engine::reader_role`].
    pub role: Option<String>,
    /// The longest wait for one lock.
    pub lock: Duration,
    /// The longest statement.
    pub statement: Duration,
}

/// The answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// It is as wanted; the rows.
    Yes(Vec<Value>),
    /// It is not; the rows.
    No(Vec<Value>),
    /// It could not be told, and why.
    Unknown(String),
}

impl Answer {
    /// `passed`, `failed` or `unknown`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Yes(_) => "passed",
            Self::No(_) => "failed",
            Self::Unknown(_) => "unknown",
        }
    }

    /// What was found, in a few words.
    pub fn found(&self) -> String {
        match self {
            Self::Yes(rows) | Self::No(rows) => match values_of(rows).as_slice() {
                [] => "no row".to_owned(),
                [one] => one.to_string(),
                several => format!("{} values, the first {}", several.len(), several[0]),
            },
            Self::Unknown(why) => why.clone(),
        }
    }

    fn of(wanted: &Wanted, rows: Vec<Value>) -> Self {
        if rows.len() > ROWS_MAX {
            return Self::Unknown(format!(
                "{} rows, at most {ROWS_MAX} are judged",
                rows.len()
            ));
        }
        let values = values_of(&rows);
        let fits = match wanted {
            Wanted::Anything => true,
            Wanted::AllTrue => {
                let is_true = |value: &&Value| **value == Value::Bool(true);
                if let Some(other) = values.iter().find(|v| !v.is_boolean() && !v.is_null()) {
                    return Self::Unknown(format!("the value {other} is neither true nor false"));
                }
                !values.is_empty() && values.iter().all(is_true)
            }
            Wanted::Value(expected) => match values.as_slice() {
                [value] => same(expected, value),
                [] => false,
                _ => {
                    return Self::Unknown("one value was expected, there are several".to_owned());
                }
            },
        };
        if fits {
            Self::Yes(rows)
        } else {
            Self::No(rows)
        }
    }
}

fn values_of(rows: &[Value]) -> Vec<&Value> {
    let objects = rows.iter().filter_map(Value::as_object);
    objects.flat_map(Map::values).collect()
}

impl Engine {
    /// A role under which questions are asked: the named one; else one of PostgreSQL's that reads everything and writes
    /// nothing, or the installation's auditor; nothing when this session may take none.
    ///
    /// # Errors
    /// [`Error::Db`].
    pub async fn reader_role(&self, named: Option<&str>) -> Result<Option<String>, Error> {
        let session = self.inner.session().await?;
        let find = self.inner.prepare(&session, sql::READER_ROLE).await?;
        let row = session.query_one(&find, &[&named]).await?;
        Ok(row.try_get(0)?)
    }

    /// Asks in a READ ONLY transaction that sees one moment. A question that fails spoils no other.
    ///
    /// # Errors
    /// [`Error::Db`] when nothing can be asked at all.
    pub async fn ask(&self, asking: &Asking, questions: &[Question]) -> Result<Vec<Answer>, Error> {
        let inner = &self.inner;
        let session = inner.session().await?;
        session
            .batch_execute("begin isolation level repeatable read read only")
            .await?;
        let answers = async {
            inner.limit(&session, asking).await?;
            inner.set_role(&session, asking.role.as_deref()).await?;
            let mut answers = Vec::with_capacity(questions.len());
            for question in questions {
                session.batch_execute("savepoint question").await?;
                let answer = inner.ask_one(&session, question).await?;
                let end = match &answer {
                    Answer::Unknown(_) => "rollback to savepoint question",
                    _ => "release savepoint question",
                };
                session.batch_execute(end).await?;
                answers.push(answer);
            }
            Ok(answers)
        }
        .await;
        inner.rollback(&session).await;
        answers
    }
}

impl Inner {
    /// Asks inside a transaction that acts: the first answer that is no yes, with the question's name.
    pub(crate) async fn ask_within(
        &self,
        session: &Session,
        asking: &Asking,
        questions: &[Question],
    ) -> Result<(), Error> {
        if questions.is_empty() {
            return Ok(());
        }
        self.set_role(session, asking.role.as_deref()).await?;
        for question in questions {
            let answer = self.ask_one(session, question).await?;
            if !matches!(answer, Answer::Yes(_)) {
                return Err(Error::CheckFailed {
                    check: question.name.clone(),
                    unknown: matches!(answer, Answer::Unknown(_)),
                    found: answer.found(),
                });
            }
        }
        let back = asking.role.as_ref().map(|_| "none");
        self.set_role(session, back).await?;
        Ok(())
    }

    async fn ask_one(&self, session: &Session, question: &Question) -> Result<Answer, Error> {
        let tx = PhaseTx::new(session);
        match tx.query_values(&question.sql, &question.params).await {
            Ok(rows) => Ok(Answer::of(&question.wanted, rows.rows)),
            // A connection that is gone says nothing about the question.
            Err(TxError::Db(error)) if error.sqlstate().is_none() => Err(error.into()),
            Err(error) => Ok(Answer::Unknown(error.to_string())),
        }
    }

    /// Sets time limits for the open transaction.
    pub(crate) async fn limit(&self, session: &Session, asking: &Asking) -> Result<(), DbError> {
        let set = self.prepare(session, sql::SET_LIMITS).await?;
        let ms = |limit: Duration| limit.as_millis().max(1).to_string();
        let (lock, statement) = (ms(asking.lock), ms(asking.statement));
        let idle = ms(self.lease / 2);
        session.query_one(&set, &[&lock, &statement, &idle]).await?;
        Ok(())
    }
}

/// What has to be locked and true before an act, inside its transaction.
#[derive(Clone, Debug)]
pub struct Demand {
    /// Queries that lock, with their values.
    pub locks: Vec<(String, Vec<Value>)>,
    /// How the questions are asked.
    pub asking: Asking,
    /// What is asked.
    pub questions: Vec<Question>,
}

impl Inner {
    /// Locks what a demand names and asks its questions, in the transaction that acts. Returns what each lock found.
    pub(crate) async fn meet(
        &self,
        session: &Session,
        demand: &Demand,
    ) -> Result<Vec<Rows>, Error> {
        let tx = PhaseTx::new(session);
        let mut found = Vec::new();
        for (at, (sql, params)) in demand.locks.iter().enumerate() {
            let locked = tx.query_values(sql, params).await;
            found.push(locked.map_err(|source| AdapterError::Statement {
                place: format!("lock {}", at + 1),
                source,
            })?);
        }
        self.ask_within(session, &demand.asking, &demand.questions)
            .await?;
        Ok(found)
    }
}

/// An answer as it stands in records.
pub fn answer_value(question: &Question, answer: &Answer) -> Value {
    json!({"check": question.name, "outcome": answer.as_str(), "found": answer.found()})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_yes_no_or_not_known() {
        let check = |wanted: &Wanted, rows: &[Value], expected: &str| {
            let answer = Answer::of(wanted, rows.to_vec());
            assert_eq!(answer.as_str(), expected, "{wanted:?} {rows:?}");
        };
        let yes = json!({"a": true});
        let no = json!({"a": true, "b": false});
        check(&Wanted::AllTrue, std::slice::from_ref(&yes), "passed");
        check(&Wanted::AllTrue, &[yes.clone(), no], "failed");
        check(&Wanted::AllTrue, &[json!({"a": null})], "failed");
        check(&Wanted::AllTrue, &[], "failed");
        check(&Wanted::AllTrue, &[json!({"a": 1})], "unknown");
        check(&Wanted::Value(json!(3)), &[json!({"n": "3"})], "passed");
        check(&Wanted::Value(json!(3)), &[json!({"n": 4})], "failed");
        check(&Wanted::Value(json!(3)), &[], "failed");
        check(
            &Wanted::Value(json!(3)),
            &[yes.clone(), yes.clone()],
            "unknown",
        );
        check(&Wanted::Value(Value::Null), &[json!({"n": null})], "passed");
        check(&Wanted::Anything, &[], "passed");
        check(&Wanted::Anything, &vec![yes; ROWS_MAX + 1], "unknown");
    }
}
