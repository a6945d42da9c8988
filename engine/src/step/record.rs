//! The one transaction of a step: lock, ask again, act, sign, record.

use redress_ledger::decision::{Decision, Purpose};
use redress_ledger::key::{Role, SigningKey};
use redress_ledger::quorum::Signer;
use redress_ledger::{Hash, Kind, Record, sign};
use redress_sql as sql;
use serde_json::{Map, Value, json};
use tokio_postgres::Row;
use uuid::Uuid;

use super::{Acting, Execution, ExecutionState};
use crate::adapter::AdapterError;
use crate::approve::{Approval, signed_body};
use crate::crash;
use crate::db::{DbError, Session};
use crate::engine::Inner;
use crate::error::Error;
use crate::log::Pages;
use crate::phase_tx::PhaseTx;
use crate::tx::{Commit, Moved, end};

/// A record of an execution before it is signed.
pub(super) struct Entry<'a> {
    pub execution: Uuid,
    pub runbook: &'a str,
    pub version: u32,
    pub log: Uuid,
    pub plan: Hash,
    pub event: &'static str,
    pub step: &'a str,
    pub reason: &'a str,
    pub body: Map<String, Value>,
}

impl Inner {
    /// Does what is to be done, signs the record and commits both.
    pub(super) async fn record(
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
    pub(super) async fn append_note(
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
        let locked = self.meet(session, acting.demand).await?;
        let tx = PhaseTx::new(session);
        let given = acting.work.act(&tx, locked).await?;
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

    pub(super) async fn notes_of(
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

    pub(super) fn execution_of(&self, row: &Row) -> Result<Execution, Error> {
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

    pub(super) fn lease_ms(&self) -> i64 {
        i64::try_from(self.lease.as_millis()).unwrap_or(i64::MAX)
    }
}

/// The machine's name.
fn host() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}
