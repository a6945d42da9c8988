//! The phase transaction: entry, effect, coverage, record, COMMIT. One attempt of one phase.
//!
//! **Invariant:** BEGIN, the entry, the role and the adapter's first statements leave in one flight, in this order;
//! record and COMMIT leave in the next. Our own statements are prepared before the first flight, so that nothing
//! can overtake the entry.
//!
//! **What can go wrong:** death before COMMIT is sent leaves nothing; death after it leaves all or nothing, and
//! `Inner::fate` tells which. An adapter that panics, sleeps past its limit or hides an error costs its own phase.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use redress_ledger::state::{Event, State};
use redress_ledger::{Hash, Kind};
use redress_sql as sql;
use serde_json::{Map, Value, json};

use crate::adapter::{AdapterError, Applied, Call, Coverage};
use crate::crash;
use crate::db::{DbError, Session};
use crate::definition::Phase;
use crate::engine::{Inner, Loaded};
use crate::error::Error;
use crate::log::{Common, Pages};
use crate::name::Name;
use crate::outside::Try;
use crate::phase_tx::PhaseTx;
use crate::run::{Live, keep};
use crate::tx::{Commit, Entered, Moved, finish, hash_at};

/// Longest wait for a lock inside a phase.
pub(crate) const LOCK_MS_MAX: u64 = 5_000;
/// What the server may take longer than the limit before the connection is given up.
const ANSWER_GRACE: Duration = Duration::from_millis(1_000);

/// Time limits of one transaction, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub statement_ms: i32,
    pub lock_ms: i32,
    pub idle_ms: i32,
}

impl Limits {
    /// The silence inside a transaction stays below the lease, or nobody could take over a stopped worker's run.
    pub fn of(phase_ms: u64, lease: Duration) -> Self {
        let int = |ms: u64| i32::try_from(ms).unwrap_or(i32::MAX).max(1);
        let lease_ms = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX);
        Self {
            statement_ms: int(phase_ms),
            // Half of it at most, so that a wait for a lock is told from a statement that is slow.
            lock_ms: int((phase_ms / 2).min(LOCK_MS_MAX)),
            idle_ms: int(phase_ms.min(lease_ms / 2)),
        }
    }
}

/// What became of one attempt.
#[derive(Debug)]
pub(crate) enum Attempt {
    /// Committed: records by number, hash and bytes, and the outputs for the context.
    Committed {
        records: Vec<Vec<u8>>,
        output: Value,
    },
    /// Rolled back. The error says why and its class what to do.
    Failed(Error),
    /// Whether it committed is not known; these would be its records.
    InDoubt {
        records: Vec<Vec<u8>>,
        output: Value,
        seq: i64,
        head: Hash,
        error: DbError,
    },
}

impl Inner {
    /// Tries a run's next phase once. `session` is given up by the caller when it is closed afterwards.
    pub(crate) async fn attempt(
        &self,
        session: &Session,
        live: &Live,
        phase: &Phase,
        what: Try<'_>,
    ) -> Attempt {
        let attempt = match what {
            Try::Work => self.attempt_inner(session, live, phase).await,
            outside => self.attempt_record(session, live, phase, outside).await,
        };
        match attempt {
            Ok(attempt) => attempt,
            Err(error) => {
                self.rollback(session).await;
                Attempt::Failed(error)
            }
        }
    }

    async fn attempt_inner(
        &self,
        session: &Session,
        live: &Live,
        phase: &Phase,
    ) -> Result<Attempt, Error> {
        let row = &live.row;
        let index = index_of(live, phase);
        let coverage = self.coverage(&live.loaded, index).await?;
        let enter = self.prepare(session, sql::ENTER_PHASE).await?;
        let entry = self.enter_phase(session, &enter, live, phase);
        let artefacts = self.artefacts()?;
        let call = Call {
            phase,
            context: &live.context,
            undo: &Value::Null,
            artefacts: artefacts.as_deref(),
        };
        let (entered, applied) = self.apply(session, true, entry, &call).await?;
        self.cover(session, phase, &coverage).await?;
        self.prove_switch(session, entered.switch_no).await?;
        let mut pages = Pages::after(
            self.common(live, &entered),
            entered.seq,
            entered.head,
            entered.state,
        );
        let mut blobs = Vec::new();
        let output = Value::Object(applied.output.clone());
        let next = push_committed(&mut pages, live, phase, applied, &mut blobs)?;
        self.put_blobs(session, row.id, &blobs).await?;
        let moved = moved_on(next.as_ref(), &coverage);
        let end = finish(self, session, &entered, &pages, &moved).await;
        self.heed_proof(&live.loaded, index, &end);
        Ok(concluded(end, pages, output))
    }

    /// The entry of a forward phase, by the statement that was prepared before BEGIN left.
    pub(crate) async fn enter_phase(
        &self,
        session: &Session,
        enter: &crate::db::Statement,
        live: &Live,
        phase: &Phase,
    ) -> Result<Entered, DbError> {
        let row = &live.row;
        let limits = Limits::of(phase.timeout_ms, self.lease);
        let name = phase.name.as_str();
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 8] = [
            &row.id,
            &row.epoch,
            &name,
            &row.saga,
            &row.subject,
            &limits.statement_ms,
            &limits.lock_ms,
            &limits.idle_ms,
        ];
        let found = session.query_one(enter, &params).await?;
        crash::point("phase.entered");
        Ok(Entered {
            xid: found.try_get(0)?,
            seq: found.try_get(1)?,
            head: hash_at(&found, 2)?,
            at: found.try_get(3)?,
            switch_no: found.try_get(4)?,
            epoch: row.epoch,
            state: State::Running,
            phase: Some(name.to_owned()),
            basis: row.basis,
        })
    }

    /// Sends BEGIN (unless the transaction is open), the entry, the role and the adapter's first statements in one
    /// flight and awaits the adapter.
    pub(crate) async fn apply<E>(
        &self,
        session: &Session,
        begin: bool,
        entry: impl Future<Output = Result<E, DbError>>,
        call: &Call<'_>,
    ) -> Result<(E, Applied), Error> {
        let adapter = self.adapter(call.phase.adapter.as_str())?;
        let set_role = self.prepare(session, sql::SET_ROLE).await?;
        let tx = PhaseTx::new(session);
        let limit = Duration::from_millis(call.phase.timeout_ms);
        let work = tokio::time::timeout(
            limit + ANSWER_GRACE,
            AssertUnwindSafe(adapter.apply(&tx, call)).catch_unwind(),
        );
        let role = call.phase.role.as_deref();
        let under = async {
            match &role {
                Some(role) => session.query_one(&set_role, &[role]).await.map(|_| ()),
                None => Ok(()),
            }
        };
        let begin = async {
            if begin {
                session.batch_execute("begin").await
            } else {
                Ok(())
            }
        };
        let answers = async { futures_util::join!(begin, entry, under, work) };
        let silence = limit + Duration::from_millis(LOCK_MS_MAX) + 2 * ANSWER_GRACE;
        let Ok((begin, entered, under, work)) = tokio::time::timeout(silence, answers).await else {
            session.abandon();
            return Err(DbError::Lost(format!("no answer within {silence:?}")).into());
        };
        begin.map_err(DbError::from)?;
        // The entry's own refusal first: what came after it is only its echo.
        let entered = entered?;
        under.map_err(DbError::from)?;
        let phase = call.phase.name.to_string();
        let applied = match work {
            Err(_) => {
                return Err(Error::Timeout {
                    phase,
                    ms: call.phase.timeout_ms,
                });
            }
            Ok(Err(panic)) => {
                return Err(Error::Panic {
                    phase,
                    message: panic_text(panic.as_ref()),
                });
            }
            Ok(Ok(result)) => result?,
        };
        if tx.tried_refused() {
            let text = "the adapter tried to end or change the transaction and hid the refusal";
            return Err(AdapterError::Hold(text.to_owned()).into());
        }
        crash::point("phase.after_effect");
        if role.is_some() {
            session
                .query_one(&set_role, &[&"none"])
                .await
                .map_err(DbError::from)?;
        }
        Ok((entered, applied))
    }

    /// Refuses what a phase wrote beyond its declaration, unless the plans of its statements prove it already.
    pub(crate) async fn cover(
        &self,
        session: &Session,
        phase: &Phase,
        coverage: &Coverage,
    ) -> Result<(), Error> {
        if matches!(coverage, Coverage::Proven(_)) {
            return Ok(());
        }
        let beyond = self.written_beyond(session, &phase.writes).await?;
        if !beyond.is_empty() {
            return Err(Error::Coverage {
                phase: phase.name.to_string(),
                relations: beyond.join(", "),
            });
        }
        self.cover_locks(session, phase.name.as_str(), [phase])
            .await
    }

    /// Refuses rows that were read for update of relations which none of these phases declares. What their statements'
    /// texts lock was judged at registration; this sees what functions and triggers lock.
    pub(crate) async fn cover_locks<'p>(
        &self,
        session: &Session,
        named: &str,
        phases: impl IntoIterator<Item = &'p Phase>,
    ) -> Result<(), Error> {
        let locked = self.prepare(session, sql::LOCKED_RELATIONS).await?;
        let rows = session.query(&locked, &[]).await.map_err(DbError::from)?;
        let phases: Vec<&Phase> = phases.into_iter().collect();
        let mut beyond = Vec::new();
        for row in &rows {
            let relation: String = row.try_get(0).map_err(DbError::from)?;
            let declared = |p: &&Phase| p.locks.contains(&relation) || p.writes.contains(&relation);
            if !phases.iter().any(declared) {
                beyond.push(relation);
            }
        }
        if beyond.is_empty() {
            return Ok(());
        }
        Err(Error::LockCoverage {
            phase: named.to_owned(),
            relations: beyond.join(", "),
        })
    }

    /// Relations that this transaction wrote and that are not declared.
    pub(crate) async fn written_beyond(
        &self,
        session: &Session,
        declared: &[String],
    ) -> Result<Vec<String>, Error> {
        let written = self.prepare(session, sql::WRITTEN_RELATIONS).await?;
        let (constraints, rows) = futures_util::join!(
            session.batch_execute("set constraints all immediate"),
            session.query(&written, &[]),
        );
        // A deferred constraint that fails here is the business saying no.
        constraints.map_err(DbError::from)?;
        let mut beyond = Vec::new();
        for row in &rows.map_err(DbError::from)? {
            let relation: String = row.try_get(0).map_err(DbError::from)?;
            if !declared.contains(&relation) {
                beyond.push(relation);
            }
        }
        Ok(beyond)
    }

    /// The fields that all records of one transaction share.
    pub(crate) fn common(&self, live: &Live, entered: &Entered) -> Common<'_> {
        self.common_of(live.row.id, &live.loaded, entered)
    }

    pub(crate) fn common_of(
        &self,
        run: uuid::Uuid,
        loaded: &Loaded,
        entered: &Entered,
    ) -> Common<'_> {
        Common {
            origin: &self.installation.origin,
            generation: self.installation.generation,
            run,
            epoch: entered.epoch,
            switch_no: entered.switch_no,
            actor: &self.actor,
            policy: Some(loaded.digest),
            at: entered.at.clone(),
        }
    }

    pub(crate) fn artefacts(&self) -> Result<Option<std::path::PathBuf>, Error> {
        // Made by the adapter's first write; only named here.
        Ok(self
            .state_dir
            .as_ref()
            .map(crate::files::StateDir::artefacts))
    }
}

/// A phase's place in its definition; past the end when it is in none.
pub(crate) fn index_of(live: &Live, phase: &Phase) -> usize {
    let mut phases = live.definition().phases.iter();
    phases
        .position(|p| p.name == phase.name)
        .unwrap_or(usize::MAX)
}

/// How the run's row changes when a phase commits.
pub(crate) fn moved_on<'a>(next: Option<&'a Name>, coverage: &'a Coverage) -> Moved<'a> {
    Moved {
        attempts: Some(0),
        keep_claims: false,
        checked: match coverage {
            Coverage::Proven(oids) => Some(oids),
            _ => None,
        },
        ..Moved::nothing(next.map(Name::as_str))
    }
}

/// Adds the record of a committed phase, and the seal when it was the last one. Returns the phase that runs next.
pub(crate) fn push_committed(
    pages: &mut Pages<'_>,
    live: &Live,
    phase: &Phase,
    applied: Applied,
    blobs: &mut Vec<crate::run::Blob>,
) -> Result<Option<Name>, Error> {
    let mut done = live.story.done();
    done.insert(phase.name.clone());
    let next = live.definition().next_phase(&done).map(|p| p.name.clone());
    // Present even when there is nothing to keep: a record without it is of an older format.
    let undo = if applied.undo.is_null() {
        json!({})
    } else {
        applied.undo
    };
    let body = json!({
        "phase": phase.name.as_str(),
        "output": keep(Value::Object(applied.output), blobs),
        "undo": keep(undo, blobs),
        "touched": Value::Object(applied.touched),
    });
    let mut body = body;
    if !live.consents.is_empty() {
        body["approvals"] = json!(live.consents);
    }
    pages.push_event(Kind::PhaseCommitted, &Event::PhaseCommitted, None, body)?;
    if next.is_none() {
        seal(pages, Some(&Event::RunCompleted), "completed")?;
    }
    Ok(next)
}

/// Adds the record that makes a closed run provably complete.
pub(crate) fn seal(
    pages: &mut Pages<'_>,
    event: Option<&Event>,
    outcome: &str,
) -> Result<(), Error> {
    let body = json!({"count": pages.seq + 1, "outcome": outcome});
    match event {
        Some(event) => pages.push_event(Kind::RunSealed, event, None, body)?,
        None => pages.push(Kind::RunSealed, None, body)?,
    };
    Ok(())
}

pub(crate) fn concluded(end: Commit<()>, pages: Pages<'_>, output: Value) -> Attempt {
    match end {
        Commit::Done(()) => {
            crash::point("phase.after_commit");
            Attempt::Committed {
                records: pages.bytes,
                output,
            }
        }
        Commit::Aborted(error) => Attempt::Failed(error.into()),
        Commit::InDoubt(error) => Attempt::InDoubt {
            seq: pages.seq,
            head: pages.head,
            records: pages.bytes,
            output,
            error,
        },
    }
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a message".to_owned())
}

/// The output of a run's phases so far, with one more.
pub(crate) fn add_output(context: &mut Value, phase: &Name, output: Value) {
    if let Some(phases) = context.get_mut("phases").and_then(Value::as_object_mut) {
        phases.insert(phase.to_string(), output);
    } else if let Some(context) = context.as_object_mut() {
        context.insert(
            "phases".to_owned(),
            Value::Object(Map::from_iter([(phase.to_string(), output)])),
        );
    }
}
