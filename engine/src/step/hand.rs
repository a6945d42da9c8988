//! Who has an execution in hands: stored, found, taken, kept, given back, and moved with its records.
//!
//! **What can go wrong:** a lease runs out while its owner still works: whoever takes over gets a new token, and the old
//! owner's next record is refused.

use redress_ledger::key::SigningKey;
use redress_ledger::{Hash, Record, canonical};
use redress_sql as sql;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::record::Entry;
use super::{Acting, Execution, Hand, Note, Opening};
use crate::crash;
use crate::engine::Engine;
use crate::error::Error;

impl Engine {
    /// Stores the plan of a runbook with its signed record.
    ///
    /// # Errors
    /// [`Error::UnknownRun`], [`Error::NoTrust`], [`Error::Decision`]; nothing is stored then.
    pub async fn open_execution(
        &self,
        opening: &Opening<'_>,
        key: &SigningKey,
    ) -> Result<Execution, Error> {
        let inner = &self.inner;
        let bytes = canonical::to_canonical(opening.document)
            .map_err(|error| Error::Input(format!("the plan of a runbook: {error}")))?;
        let session = inner.session().await?;
        let log = opening.run.unwrap_or(inner.installation.system_run);
        let mut entry = Entry {
            execution: opening.id,
            runbook: opening.runbook,
            version: opening.version,
            log,
            plan: Hash::of(&bytes),
            event: "planned",
            step: "plan",
            reason: opening.reason,
            body: Map::new(),
        };
        entry.body.insert("state".to_owned(), json!("planned"));
        entry
            .body
            .insert("document".to_owned(), opening.document.clone());
        let version = i32::try_from(opening.version).map_err(|e| Error::Input(e.to_string()))?;
        let flight = match opening.run {
            Some(run) => run.to_string(),
            None => format!("runbook {}", opening.runbook),
        };
        let put = inner.prepare(&session, sql::PUT_EXECUTION).await?;
        inner
            .record(&session, entry, key, None, async |session, signer| {
                session
                    .query_one(
                        &put,
                        &[
                            &opening.id,
                            &log,
                            &flight,
                            &opening.runbook,
                            &version,
                            &Hash::of(&bytes).as_bytes().as_slice(),
                            &bytes,
                            &signer.principal,
                        ],
                    )
                    .await?;
                Ok(())
            })
            .await?;
        self.execution(&opening.id.to_string()).await
    }

    /// Finds an execution by its id, or by the beginning or the end of one.
    ///
    /// # Errors
    /// [`Error::UnknownExecution`] when none is so, or more than one.
    pub async fn execution(&self, prefix: &str) -> Result<Execution, Error> {
        let inner = &self.inner;
        let plain = |b: u8| b.is_ascii_hexdigit() || b == b'-';
        if prefix.is_empty() || !prefix.bytes().all(plain) {
            return Err(Error::UnknownExecution(prefix.to_owned()));
        }
        let session = inner.session().await?;
        let find = inner.prepare(&session, sql::EXECUTIONS_BY_PREFIX).await?;
        let rows = session
            .query(&find, &[&prefix.to_ascii_lowercase()])
            .await?;
        match rows.as_slice() {
            [row] => inner.execution_of(row),
            [] => Err(Error::UnknownExecution(prefix.to_owned())),
            _ => Err(Error::UnknownExecution(format!(
                "{prefix} (several are so)"
            ))),
        }
    }

    /// Executions, youngest first: of a run or all, and only those under way if asked.
    ///
    /// # Errors
    /// [`Error::Db`].
    pub async fn executions(
        &self,
        run: Option<Uuid>,
        only_begun: bool,
        limit: u32,
    ) -> Result<Vec<Execution>, Error> {
        let inner = &self.inner;
        let session = inner.session().await?;
        let list = inner.prepare(&session, sql::LIST_EXECUTIONS).await?;
        let rows = session
            .query(&list, &[&run, &only_begun, &i64::from(limit)])
            .await?;
        rows.iter().map(|row| inner.execution_of(row)).collect()
    }

    /// Takes an execution in hands; `name` is the person and the machine, for whoever comes second.
    ///
    /// # Errors
    /// [`Error::ExecutionBusy`] while somebody else has it.
    pub async fn take_execution(&self, id: Uuid, name: &str) -> Result<Hand, Error> {
        let inner = &self.inner;
        let session = inner.session().await?;
        let take = inner.prepare(&session, sql::TAKE_EXECUTION).await?;
        let row = session
            .query_one(&take, &[&id, &Uuid::now_v7(), &name, &inner.lease_ms()])
            .await?;
        let token: Option<i64> = row.try_get(0)?;
        drop(session);
        let execution = self.execution(&id.to_string()).await?;
        match token {
            Some(token) => Ok(Hand { execution, token }),
            None => Err(busy(&execution)),
        }
    }

    /// Keeps an execution in hands.
    ///
    /// # Errors
    /// [`Error::ExecutionLost`] when somebody else has it.
    pub async fn beat_execution(&self, hand: &Hand) -> Result<(), Error> {
        let inner = &self.inner;
        let session = inner.side().await?;
        let beat = inner.prepare(&session, sql::BEAT_EXECUTION).await?;
        let row = session
            .query_one(&beat, &[&hand.execution.id, &hand.token, &inner.lease_ms()])
            .await?;
        match row.try_get(0)? {
            true => Ok(()),
            false => Err(Error::ExecutionLost(hand.execution.id)),
        }
    }

    /// Gives an execution out of hands.
    ///
    /// # Errors
    /// [`Error::Db`].
    pub async fn leave_execution(&self, hand: &Hand) -> Result<(), Error> {
        let inner = &self.inner;
        let session = inner.session().await?;
        let leave = inner.prepare(&session, sql::LEAVE_EXECUTION).await?;
        session
            .query_one(&leave, &[&hand.execution.id, &hand.token])
            .await?;
        Ok(())
    }

    /// The time of the database now, and after so long: RFC 3339 UTC.
    ///
    /// # Errors
    /// [`Error::Db`].
    pub async fn clock(&self, after: std::time::Duration) -> Result<(String, String), Error> {
        let inner = &self.inner;
        let session = inner.session().await?;
        let read = inner.prepare(&session, sql::CLOCK).await?;
        let ms = i64::try_from(after.as_millis()).unwrap_or(i64::MAX);
        let row = session.query_one(&read, &[&ms]).await?;
        Ok((row.try_get(0)?, row.try_get(1)?))
    }

    /// How long an execution stays in hands without a sign of life.
    pub fn lease(&self) -> std::time::Duration {
        self.inner.lease
    }

    /// Records a step, with what it does in the same transaction.
    ///
    /// # Errors
    /// [`Error::ExecutionLost`], [`Error::ExecutionBusy`] when another execution is under way there,
    /// [`Error::CheckFailed`], [`Error::Coverage`], and whatever the statements say; nothing is changed then.
    pub async fn record_step(
        &self,
        hand: &mut Hand,
        note: Note<'_>,
        key: &SigningKey,
        acting: Option<&Acting<'_>>,
    ) -> Result<(), Error> {
        let inner = &self.inner;
        let execution = &hand.execution;
        let session = inner.session().await?;
        let version = u32::try_from(execution.version).unwrap_or_default();
        let (state, advances) = (note.state, note.advances);
        let mut entry = Entry {
            execution: execution.id,
            runbook: &execution.runbook,
            version,
            log: execution.log,
            plan: execution.plan,
            event: note.event,
            step: note.step,
            reason: note.reason,
            body: note.body,
        };
        entry.body.insert("state".to_owned(), json!(state.as_str()));
        let was = i32::try_from(execution.done).unwrap_or(i32::MAX);
        let done = was.saturating_add(i32::from(advances));
        let move_on = inner.prepare(&session, sql::MOVE_EXECUTION).await?;
        let recorded = inner
            .record(&session, entry, key, acting, async |session, _| {
                let (before, after) = (execution.state.as_str(), state.as_str());
                let row = session
                    .query_one(
                        &move_on,
                        &[&execution.id, &hand.token, &before, &was, &after, &done],
                    )
                    .await?;
                match row.try_get(0)? {
                    true => Ok(()),
                    false => Err(Error::ExecutionLost(execution.id)),
                }
            })
            .await;
        drop(session);
        match recorded {
            Err(Error::Db(error)) if error.constraint() == Some("flight_has_one_execution") => {
                return Err(self.other_in_flight(execution).await?);
            }
            other => other?,
        }
        hand.execution.state = state;
        hand.execution.done += u32::from(advances);
        crash::point("runbook.step");
        Ok(())
    }

    async fn other_in_flight(&self, execution: &Execution) -> Result<Error, Error> {
        let others = self.executions(Some(execution.log), true, 100).await?;
        let other = others.iter().find(|other| {
            other.id != execution.id
                && (execution.run.is_some() || other.runbook == execution.runbook)
        });
        Ok(busy(other.unwrap_or(execution)))
    }

    /// The records of an execution, in order: bodies with `event`, `step` and whatever the step gave.
    ///
    /// # Errors
    /// [`Error::Log`] when one cannot be read.
    pub async fn execution_records(&self, execution: &Execution) -> Result<Vec<Record>, Error> {
        let session = self.inner.session().await?;
        self.inner.notes_of(&session, execution).await
    }

    /// What pointers look into for a run: `/run`, `/input`, `/phases`.
    ///
    /// # Errors
    /// [`Error::UnknownRun`], [`Error::Archived`], [`Error::Log`].
    pub async fn context(&self, run: Uuid) -> Result<Value, Error> {
        let session = self.inner.session().await?;
        Ok(self.inner.live(&session, run).await?.context)
    }
}

fn busy(execution: &Execution) -> Error {
    Error::ExecutionBusy {
        by: execution
            .owner
            .clone()
            .unwrap_or_else(|| execution.made_by.clone()),
        runbook: execution.runbook.clone(),
        since: execution
            .taken_at
            .clone()
            .unwrap_or_else(|| execution.made_at.clone()),
        execution: execution.id,
    }
}
