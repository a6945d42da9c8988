//! Proves the way back against live data: forward to each failure point, plan, compensate, compare; all of it in one
//! transaction that is rolled back.
//!
//! **Invariant:** nothing commits. The run and its log live in memory only, the planner and the adapters are the real
//! ones, and rows are compared with what they were before anything was done, exactly.
//!
//! **What can go wrong:** somebody else changes a row that the rehearsal touches: its snapshot is too old, and it begins
//! anew a few times. A lock that is held longer than the limit ends it. Death ends the transaction.
//!
//! **Not here:** phases outside the database: what they do cannot be rolled back, so a rehearsal stops in front of one.

mod back;
mod judge;
mod model;
mod rows;
mod stage;

pub use model::{
    Difference, LOCK_MS_DEFAULT, Locked, Options, Planned, Point, ROWS_MAX_DEFAULT, Rehearsal,
    Residue, Unchanged, Verdict, What,
};

use std::sync::Arc;

use redress_ledger::State;
use redress_sql as sql;
use serde_json::Value;

use crate::db::{DbError, Session};
use crate::definition::Definition;
use crate::definition::input::InputSchema;
use crate::engine::{Engine, Inner, Loaded, refuse};
use crate::error::Error;
use crate::run::RunRow;
use crate::start::Opening;
use crate::telemetry::Told;
use stage::Stage;

/// Times that a rehearsal begins anew when somebody else changed what it touches.
const ATTEMPTS_MAX: u32 = 3;
/// Longest statement of a rehearsal beyond those of the phases: comparing large tables.
const STATEMENT_MS: u64 = 600_000;

impl Engine {
    /// Rehearses a definition, registered or not: every failure point, forward and back, in a transaction that is
    /// rolled back. Refuses what a start would refuse, and whatever is held, killed or frozen.
    ///
    /// # Errors
    /// [`Error::Definition`], [`Error::Input`], [`Error::NotRehearsed`]: not rehearsed. [`Error::Held`],
    /// [`Error::SubjectBusy`], [`Error::Expectation`] as for a start. [`Error::Db`] when a lock was not to be had.
    pub async fn rehearse(
        &self,
        definition: &Definition,
        input: &Value,
        options: Options,
    ) -> Result<Rehearsal, Error> {
        let inner = &self.inner;
        refuse(inner.findings(definition).await?)?;
        let loaded = Arc::new(loaded(definition)?);
        let mut attempt = 0;
        loop {
            attempt += 1;
            match inner.rehearse_once(&loaded, input, options).await {
                Err(error) if is_passing(&error) && attempt < ATTEMPTS_MAX => {
                    tracing::info!(error = %Told(&error), code = error.code(), attempt, "rehearsing anew");
                }
                other => return other,
            }
        }
    }
}

/// Somebody else changed a row that was touched here.
fn is_passing(error: &Error) -> bool {
    matches!(error.sqlstate(), Some("40001" | "40P01"))
}

/// A definition as a process holds it, without looking for it in the database.
fn loaded(definition: &Definition) -> Result<Loaded, Error> {
    let digest = definition
        .digest()
        .map_err(|problem| Error::Input(problem.to_string()))?;
    let input = InputSchema::compile(&definition.input)
        .map_err(|problem| Error::Input(problem.to_string()))?;
    Ok(Loaded {
        definition: definition.clone(),
        digest,
        input,
        coverage: definition
            .phases
            .iter()
            .map(|_| Default::default())
            .collect(),
    })
}

impl Inner {
    async fn rehearse_once(
        &self,
        loaded: &Arc<Loaded>,
        input: &Value,
        options: Options,
    ) -> Result<Rehearsal, Error> {
        let session = self.apart().await?;
        let beside = self.apart().await?;
        self.heed_files(None, None)?;
        let opening = Opening::of(self, &session, Arc::clone(loaded), input, None, None).await?;
        self.heed_gate(&session, &opening).await?;
        let (transaction, snapshot) = self.begin_rehearsal(&session, options).await?;
        self.see_the_same(&beside, &snapshot).await?;
        let rehearsed = async {
            let mut stage = Stage::set(self, &session, &beside, opening, options).await?;
            let points = stage.play().await?;
            Ok::<_, Error>((stage.compared(), points, stage.take_locks()))
        }
        .await;
        self.rollback(&session).await;
        self.rollback(&beside).await;
        let (compared, mut points, locks) = rehearsed?;
        for point in &mut points {
            point.holds = point.verdict.is_good();
        }
        let unchanged = self.unchanged(&beside, transaction).await?;
        Ok(Rehearsal {
            saga: loaded.definition.saga.to_string(),
            version: loaded.definition.version,
            definition: loaded.digest,
            subject: crate::start::subject_of(loaded, input)?,
            holds: points.iter().all(|point| point.holds),
            points,
            locks,
            compared,
            unchanged,
        })
    }

    /// Nothing is rehearsed while work is stopped: it would take locks where nobody should.
    async fn heed_gate(&self, session: &Session, opening: &Opening) -> Result<(), Error> {
        match self.read_switch(session).await? {
            Some(switch) if switch.state == "run" => {
                self.prove_switch(session, switch.switch_no).await?;
            }
            Some(switch) => {
                let (state, no, reason) = (switch.state, switch.switch_no, switch.reason);
                return Err(Error::Held(format!("{state} by switch {no}: {reason}")));
            }
            None => {
                let text = "there is no switch row: treated as killed";
                return Err(Error::Held(text.to_owned()));
            }
        }
        let row = opening.row(self);
        if let Some((hold, _)) = self.holds_on(session, &row).await?.first() {
            return Err(Error::Held(format!(
                "a hold is in force: `redress holds`, hold {hold}"
            )));
        }
        self.heed_subject(session, opening).await
    }

    /// As a start would be: refused beside an active run on its subject.
    async fn heed_subject(&self, session: &Session, opening: &Opening) -> Result<(), Error> {
        let (true, Some(subject)) = (opening.loaded.definition.exclusive, &opening.subject) else {
            return Ok(());
        };
        const RUNS_MAX: i64 = 1_000;
        let none: Option<&str> = None;
        let any: Option<Vec<uuid::Uuid>> = None;
        let rows = session
            .query(
                self.sql.text(sql::LIST_RUNS),
                &[&none, &none, &Some(subject.as_str()), &any, &RUNS_MAX],
            )
            .await?;
        for row in &rows {
            let exclusive: bool = row.try_get("exclusive")?;
            let state = RunRow::read(row)?.state;
            let active = matches!(
                state,
                State::Running | State::Failed | State::Compensating | State::Stuck
            );
            if exclusive && active {
                return Err(Error::SubjectBusy(subject.clone()));
            }
        }
        Ok(())
    }

    /// Begins the transaction and gives its number and the moment that it sees.
    async fn begin_rehearsal(
        &self,
        session: &Session,
        options: Options,
    ) -> Result<(String, String), Error> {
        session
            .batch_execute("begin isolation level repeatable read")
            .await?;
        let (lock, statement) = (options.lock_ms.to_string(), STATEMENT_MS.to_string());
        session
            .query_one(
                self.sql.text(sql::SET_LIMITS),
                &[&lock, &statement, &statement],
            )
            .await?;
        let row = session
            .query_one(self.sql.text(sql::SHARE_SNAPSHOT), &[])
            .await?;
        let (snapshot, transaction) = (row.try_get(0)?, row.try_get(1)?);
        session.batch_execute(sql::REHEARSAL_TOOLS).await?;
        Ok((transaction, snapshot))
    }

    /// A second transaction that goes on seeing what was.
    async fn see_the_same(&self, beside: &Session, snapshot: &str) -> Result<(), Error> {
        // A utility statement takes no parameters; the name comes from the server and is checked.
        let plain = |c: char| c.is_ascii_hexdigit() || c == '-';
        if snapshot.is_empty() || !snapshot.chars().all(plain) {
            let text = format!("the server named a snapshot {snapshot:?}");
            return Err(Error::Inconsistent(text));
        }
        beside
            .batch_execute("begin isolation level repeatable read")
            .await?;
        beside
            .batch_execute(&format!("set transaction snapshot '{snapshot}'"))
            .await?;
        beside.batch_execute(sql::REHEARSAL_TOOLS).await?;
        Ok(())
    }

    async fn unchanged(&self, session: &Session, transaction: String) -> Result<Unchanged, Error> {
        let status: Option<String> = session
            .query_one(self.sql.text(sql::READ_FATE), &[&transaction])
            .await
            .map_err(DbError::from)?
            .try_get(0)?;
        Ok(Unchanged {
            transaction,
            status: status.unwrap_or_else(|| "unknown".to_owned()),
            except: "sequences: numbers that were drawn are not given back",
        })
    }
}
