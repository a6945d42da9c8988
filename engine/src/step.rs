//! Executions of runbooks: who has one in hands, and the record of each step, in one transaction with what the step did.
//!
//! **Invariant:** a step's statements, its signed record and the count of steps done commit together or not at all; the
//! count is moved under the token of whoever has the execution in hands, so nobody else's step slips in.
//!
//! **What can go wrong:** the process dies: its lease runs out and somebody else takes over, behind the last step that has
//! a record. A commit in doubt is asked about before anything is said.
//!
//! **Not here:** what a runbook is, its checks and the order of its steps (`redress_runbooks`).

use async_trait::async_trait;
use redress_ledger::decision::{Decision, Expected, Purpose};
use redress_ledger::key::{Role, SigningKey};
use redress_ledger::quorum::Signer;
use redress_ledger::{Envelope, Hash, Kind, Record, canonical, sign};
use redress_sql as sql;
use serde_json::{Map, Value, json};
use tokio_postgres::Row;
use uuid::Uuid;

use crate::adapter::AdapterError;
use crate::approve::{Approval, signed_body};
use crate::ask::Demand;
use crate::crash;
use crate::db::{DbError, Session};
use crate::engine::{Engine, Inner};
use crate::error::Error;
use crate::log::Pages;
use crate::phase_tx::PhaseTx;
use crate::tx::{Commit, Moved, end};

/// Where an execution is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecutionState {
    /// Its plan is stored; nothing was done.
    Planned,
    /// At least one step was begun.
    Begun,
    /// Every step is done, and what must hold afterwards holds.
    Done,
    /// Every step is done, and what must hold afterwards does not, or could not be told.
    Unproven,
    /// A check said no.
    Refused,
    /// Somebody gave it up.
    Abandoned,
}

impl ExecutionState {
    const ALL: [Self; 6] = [
        Self::Planned,
        Self::Begun,
        Self::Done,
        Self::Unproven,
        Self::Refused,
        Self::Abandoned,
    ];

    /// As it stands in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Begun => "begun",
            Self::Done => "done",
            Self::Unproven => "unproven",
            Self::Refused => "refused",
            Self::Abandoned => "abandoned",
        }
    }

    /// Whether steps may still be done.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Planned | Self::Begun)
    }
}

/// One execution of a runbook.
#[derive(Clone, Debug)]
pub struct Execution {
    /// Its id.
    pub id: Uuid,
    /// The log that its records stand in: its run's, or the system's.
    pub log: Uuid,
    /// The run that it is about.
    pub run: Option<Uuid>,
    /// The runbook.
    pub runbook: String,
    /// Its version.
    pub version: i32,
    /// The digest of its plan.
    pub plan: Hash,
    /// The plan itself.
    pub document: Value,
    /// Who planned it, as a principal.
    pub made_by: String,
    /// When, RFC 3339 UTC.
    pub made_at: String,
    /// Where it is.
    pub state: ExecutionState,
    /// How many steps are done.
    pub done: u32,
    /// Who has it in hands, while the lease lasts.
    pub owner: Option<String>,
    /// Since when.
    pub taken_at: Option<String>,
}

/// What is planned.
#[derive(Clone, Debug)]
pub struct Opening<'a> {
    /// A new id, version 7.
    pub id: Uuid,
    /// The run that it is about.
    pub run: Option<Uuid>,
    /// The runbook.
    pub runbook: &'a str,
    /// Its version.
    pub version: u32,
    /// The plan: canonical JSON is made of it.
    pub document: &'a Value,
    /// Why.
    pub reason: &'a str,
}

/// An execution in hands.
#[derive(Clone, Debug)]
pub struct Hand {
    execution: Execution,
    token: i64,
}

impl Hand {
    /// The execution as it is now.
    pub fn execution(&self) -> &Execution {
        &self.execution
    }
}

/// What a record of an execution says.
#[derive(Clone, Debug)]
pub struct Note<'a> {
    /// `step`, `refused`, `finished` or `abandoned`.
    pub event: &'static str,
    /// The step, or what else it is about; the signature is bound to it.
    pub step: &'a str,
    /// Whether one more step is done.
    pub advances: bool,
    /// Where the execution is then.
    pub state: ExecutionState,
    /// Why, in the words of whoever acts.
    pub reason: &'a str,
    /// What else the record says.
    pub body: Map<String, Value>,
}

/// Statements of a step.
#[async_trait]
pub trait Work: Send + Sync {
    /// Does them; what comes back stands in the record.
    async fn act(&self, tx: &PhaseTx<'_>) -> Result<Map<String, Value>, AdapterError>;

    /// The relations that they may write.
    fn writes(&self) -> &[String];
}

/// What a step's transaction does beside its record.
pub struct Acting<'a> {
    /// What has to hold.
    pub demand: &'a Demand,
    /// What is done.
    pub work: &'a dyn Work,
}

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

    /// Makes the decision that approves an execution, for somebody to sign.
    ///
    /// # Errors
    /// [`Error::ExecutionState`] when it was begun or is over.
    pub async fn decision_on_execution(
        &self,
        execution: &Execution,
        reason: &str,
    ) -> Result<Decision, Error> {
        let inner = &self.inner;
        if !execution.state.is_open() {
            return Err(over(execution, "only one that is not over is approved"));
        }
        let session = inner.session().await?;
        let now = inner.now(&session).await?;
        Ok(Decision {
            run: Some(execution.log),
            plan: Some(execution.plan),
            ..inner.decision(Purpose::RunbookApprove, reason, &execution.made_by, &now)?
        })
    }

    /// Verifies an envelope that approves an execution and records it.
    ///
    /// # Errors
    /// [`Error::NoTrust`], [`Error::Decision`] (for another plan, run, environment; expired; unknown key),
    /// [`Error::ApprovalsMissing`] when who asked signs, [`Error::Replayed`], [`Error::ExecutionState`].
    pub async fn approve_execution(
        &self,
        execution: &Execution,
        envelope: Envelope,
    ) -> Result<Approval, Error> {
        let inner = &self.inner;
        if !execution.state.is_open() {
            return Err(over(execution, "only one that is not over is approved"));
        }
        let session = inner.session().await?;
        let now = inner.now(&session).await?;
        let trusted = inner.trusted(&session).await?;
        let verified = trusted.verify(&envelope)?;
        verified
            .decision
            .check(&inner.expected_approval(execution, &now))?;
        let id = verified.decision.id;
        let signers = verified.signers.into_iter();
        let counting = signers
            .filter(|signer| signer.principal != execution.made_by && signer.role != Role::Auditor);
        let approval = counting
            .map(|signer| Approval {
                signer,
                decision: verified.decision.clone(),
                envelope: envelope.clone(),
            })
            .next()
            .ok_or_else(|| {
                Error::ApprovalsMissing(
                    "who asked for an execution cannot approve it, and an auditor approves nothing"
                        .to_owned(),
                )
            })?;
        let mut body = signed_body(&approval, &envelope, trusted.seq);
        for (name, value) in [
            ("execution", json!(execution.id.to_string())),
            ("runbook", json!(execution.runbook)),
            ("version", json!(execution.version)),
            ("plan", json!(execution.plan)),
            ("event", json!("approved")),
            ("step", json!("approve")),
        ] {
            body[name] = value;
        }
        let result = inner
            .append_note(&session, execution.log, None, async |_, _| Ok(body))
            .await;
        match result {
            Err(Error::Db(error)) if error.constraint() == Some("decision_is_used_once") => {
                Err(Error::Replayed(id))
            }
            other => other.map(|()| approval),
        }
    }

    /// Who approved an execution, by the keys that count now.
    ///
    /// # Errors
    /// [`Error::NoTrust`] when there are approvals and nothing to judge them by.
    pub async fn execution_signers(&self, execution: &Execution) -> Result<Vec<Signer>, Error> {
        let inner = &self.inner;
        let session = inner.session().await?;
        let now = inner.now(&session).await?;
        let mut signers = Vec::new();
        for record in inner.notes_of(&session, execution).await? {
            if record.body.get("event").and_then(Value::as_str) != Some("approved") {
                continue;
            }
            let Some(envelope) = record.body.get("envelope") else {
                continue;
            };
            let envelope = Envelope::from_value(envelope)?;
            let trusted = inner.trusted(&session).await?;
            let judged = trusted.verify(&envelope).and_then(|verified| {
                verified
                    .decision
                    .check(&inner.expected_approval(execution, &now))?;
                Ok(verified.signers)
            });
            match judged {
                Ok(found) => signers.extend(found),
                Err(error) => {
                    tracing::info!(%error, execution = %execution.id, "approval does not count")
                }
            }
        }
        signers.retain(|signer| signer.principal != execution.made_by);
        Ok(signers)
    }

    /// Who signed the plan of an execution when it was made, by the keys that count now.
    ///
    /// # Errors
    /// [`Error::NoTrust`].
    pub async fn execution_planner(&self, execution: &Execution) -> Result<Vec<Signer>, Error> {
        let inner = &self.inner;
        let session = inner.session().await?;
        let trusted = inner.trusted(&session).await?;
        for record in inner.notes_of(&session, execution).await? {
            let planned = record.body.get("event").and_then(Value::as_str) == Some("planned");
            if let (true, Some(envelope)) = (planned, record.body.get("envelope")) {
                let verified = trusted.verify(&Envelope::from_value(envelope)?);
                return Ok(verified
                    .map(|verified| verified.signers)
                    .unwrap_or_default());
            }
        }
        Ok(Vec::new())
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

/// A record of an execution before it is signed.
struct Entry<'a> {
    execution: Uuid,
    runbook: &'a str,
    version: u32,
    log: Uuid,
    plan: Hash,
    event: &'static str,
    step: &'a str,
    reason: &'a str,
    body: Map<String, Value>,
}

impl Inner {
    /// Does what is to be done, signs the record and commits both.
    async fn record(
        &self,
        session: &Session,
        entry: Entry<'_>,
        key: &SigningKey,
        acting: Option<&Acting<'_>>,
        and: impl AsyncFnOnce(&Session, &Signer) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let trusted = self.trusted(session).await?;
        self.append_note(session, entry.log, acting, async |at: &str, given| {
            let mut entry = entry;
            let decision = Decision {
                run: Some(entry.log),
                plan: Some(entry.plan),
                phase: Some(entry.step.to_owned()),
                reason_code: entry.event.to_owned(),
                ..self.decision(Purpose::RunbookStep, entry.reason, &self.actor, at)?
            };
            let envelope = sign(&decision, key)?;
            let verified = trusted.verify(&envelope)?;
            let signer = verified.signers.into_iter().find(|s| s.role != Role::Auditor);
            let signer = signer.ok_or_else(|| {
                Error::ApprovalsMissing(
                    "an auditor reads only: a runbook is carried out by an operator, reviewer or sovereign"
                        .to_owned(),
                )
            })?;
            and(session, &signer).await?;
            let approval = Approval { signer, decision, envelope: envelope.clone() };
            let mut body = signed_body(&approval, &envelope, trusted.seq);
            entry.body.extend(given);
            entry.body.extend([
                ("execution".to_owned(), json!(entry.execution.to_string())),
                ("runbook".to_owned(), json!(entry.runbook)),
                ("version".to_owned(), json!(entry.version)),
                ("plan".to_owned(), json!(entry.plan)),
                ("event".to_owned(), json!(entry.event)),
                ("step".to_owned(), json!(entry.step)),
                ("reason".to_owned(), json!(entry.reason)),
                ("host".to_owned(), json!(host())),
            ]);
            if let Value::Object(signed) = &mut body {
                signed.extend(entry.body);
            }
            Ok(body)
        })
        .await
    }

    /// One transaction with one record of kind `runbook.step` behind a log's head.
    async fn append_note(
        &self,
        session: &Session,
        log: Uuid,
        acting: Option<&Acting<'_>>,
        body: impl AsyncFnOnce(&str, Map<String, Value>) -> Result<Value, Error>,
    ) -> Result<(), Error> {
        let result = if log == self.installation.system_run {
            self.note_in_system(session, acting, body).await
        } else {
            self.note_in_run(session, log, acting, body).await
        };
        if result.is_err() {
            self.rollback(session).await;
        }
        result
    }

    async fn note_in_run(
        &self,
        session: &Session,
        run: Uuid,
        acting: Option<&Acting<'_>>,
        body: impl AsyncFnOnce(&str, Map<String, Value>) -> Result<Value, Error>,
    ) -> Result<(), Error> {
        // The epoch is raised with it, since a worker that drives the run knows another head.
        let entered = self.enter_run(session, run, None, true).await?;
        let live = self.live(session, run).await?;
        let given = self.act_on(session, acting).await?;
        let body = body(&entered.at, given).await?;
        let mut pages = Pages::after(
            self.common(&live, &entered),
            entered.seq,
            entered.head,
            entered.state,
        );
        pages.push(Kind::RunbookStep, None, body)?;
        if entered.state.is_terminal() {
            crate::phase::seal(&mut pages, None, entered.state.as_str())?;
        }
        let moved = Moved {
            wait_ms: (!entered.state.is_terminal()).then_some(0),
            ..Moved::nothing(entered.phase.as_deref())
        };
        crash::point("runbook.before_commit");
        self.settle(session, &entered, &pages, &moved).await
    }

    async fn note_in_system(
        &self,
        session: &Session,
        acting: Option<&Acting<'_>>,
        body: impl AsyncFnOnce(&str, Map<String, Value>) -> Result<Value, Error>,
    ) -> Result<(), Error> {
        session.batch_execute("begin").await?;
        let given = self.act_on(session, acting).await?;
        let at = self.now(session).await?;
        let body = body(&at, given).await?;
        let decision = body.get("decision_id").cloned();
        self.append_system(session, None, vec![(Kind::RunbookStep, body)])
            .await?;
        crash::point("runbook.before_commit");
        match end(session, async { Ok(()) }).await {
            Commit::Done(()) => Ok(()),
            Commit::Aborted(error) => Err(error.into()),
            Commit::InDoubt(error) => self.fate_of_note(decision.as_ref(), error).await,
        }
    }

    /// Whether the record of a decision stands in the system log, read behind the log's lock.
    async fn fate_of_note(&self, decision: Option<&Value>, error: DbError) -> Result<(), Error> {
        let session = self.apart().await?;
        session.batch_execute("begin").await?;
        let head = self.enter_log(&session, "system").await;
        self.rollback(&session).await;
        let log = self.records_of(&session, head?.run).await?;
        let stands = log
            .iter()
            .any(|record| decision.is_some() && record.body.get("decision_id") == decision);
        match stands {
            true => Ok(()),
            false => Err(error.into()),
        }
    }

    /// Locks, asks again, acts, and compares what was written with what may be.
    async fn act_on(
        &self,
        session: &Session,
        acting: Option<&Acting<'_>>,
    ) -> Result<Map<String, Value>, Error> {
        let Some(acting) = acting else {
            return Ok(Map::new());
        };
        self.limit(session, &acting.demand.asking).await?;
        self.meet(session, acting.demand).await?;
        let tx = PhaseTx::new(session);
        let given = acting.work.act(&tx).await?;
        if tx.tried_refused() {
            let text = "a statement tried to end or change the transaction";
            return Err(AdapterError::Hold(text.to_owned()).into());
        }
        crash::point("runbook.acted");
        let beyond = self.written_beyond(session, acting.work.writes()).await?;
        match beyond.as_slice() {
            [] => Ok(given),
            _ => Err(Error::Coverage {
                phase: "runbook".to_owned(),
                relations: beyond.join(", "),
            }),
        }
    }

    fn expected_approval<'a>(&'a self, execution: &Execution, now: &'a str) -> Expected<'a> {
        let mut expected = Expected::new(
            Purpose::RunbookApprove,
            &self.installation.origin,
            self.installation.generation,
            now,
        );
        expected.run = Some(execution.log);
        expected.plan = Some(execution.plan);
        expected
    }

    async fn notes_of(
        &self,
        session: &Session,
        execution: &Execution,
    ) -> Result<Vec<Record>, Error> {
        let id = execution.id.to_string();
        let mut records = self.records_of(session, execution.log).await?;
        records.retain(|record| {
            record.kind == Kind::RunbookStep
                && record.body.get("execution").and_then(Value::as_str) == Some(id.as_str())
        });
        Ok(records)
    }

    async fn records_of(&self, session: &Session, log: Uuid) -> Result<Vec<Record>, Error> {
        let read = self.prepare(session, sql::RECORDS_OF_RUN).await?;
        let rows = session.query(&read, &[&log, &0_i64]).await?;
        rows.iter()
            .map(|row| {
                let bytes: &[u8] = row.try_get("bytes")?;
                Record::decode(bytes).map_err(|source| {
                    let (seq, run) = (row.try_get(0).unwrap_or_default(), log);
                    crate::log::LogError::Record { seq, run, source }.into()
                })
            })
            .collect()
    }

    fn execution_of(&self, row: &Row) -> Result<Execution, Error> {
        let log: Uuid = row.try_get(1)?;
        let plan: Vec<u8> = row.try_get(5)?;
        let bytes: Vec<u8> = row.try_get(6)?;
        let state: &str = row.try_get(8)?;
        let id: Uuid = row.try_get(0)?;
        let odd = |what: &str| Error::Inconsistent(format!("execution {id}: {what}"));
        let plan = Hash::try_from(plan.as_slice()).map_err(|_| odd("no digest"))?;
        if Hash::of(&bytes) != plan {
            return Err(odd("its plan is not the one of its digest"));
        }
        let alive: bool = row.try_get(13)?;
        let owner: Option<String> = row.try_get(10)?;
        Ok(Execution {
            id,
            log,
            run: (log != self.installation.system_run).then_some(log),
            runbook: row.try_get(3)?,
            version: row.try_get(4)?,
            plan,
            document: serde_json::from_slice(&bytes).map_err(|_| odd("its plan is not JSON"))?,
            made_by: row.try_get(7)?,
            made_at: row.try_get(11)?,
            state: ExecutionState::ALL
                .into_iter()
                .find(|known| known.as_str() == state)
                .ok_or_else(|| odd("unknown state"))?,
            done: u32::try_from(row.try_get::<_, i32>(9)?).map_err(|_| odd("done"))?,
            owner: owner.filter(|_| alive),
            taken_at: row.try_get(12)?,
        })
    }

    fn lease_ms(&self) -> i64 {
        i64::try_from(self.lease.as_millis()).unwrap_or(i64::MAX)
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

fn over(execution: &Execution, needed: &'static str) -> Error {
    Error::ExecutionState {
        execution: execution.id,
        state: execution.state.as_str(),
        needed,
    }
}

/// The machine's name.
fn host() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}
