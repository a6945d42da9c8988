//! Drives one claimed run as far as it goes: forward phase by phase, and back when its plan runs by itself.
//!
//! **Invariant:** whatever is done is done under the claim's epoch; a driver that was overtaken stops at its next
//! write and touches nothing.

use std::time::Duration;

use redress_ledger::Record;
use redress_ledger::leaf_hash;
use redress_ledger::state::State;
use serde_json::Value;
use tokio::sync::watch;

use crate::adapter::AdapterError;
use crate::consent::FOR_PEOPLE_MS;
use crate::db::DbError;
use crate::definition::Phase;
use crate::engine::{Inner, Loan};
use crate::error::Error;
use crate::failure::{Cutoff, Outcome as Failed};
use crate::fate::Fate;
use crate::metric;
use crate::outside::{Settled, Try};
use crate::phase::{Attempt, add_output};
use crate::run::{Live, RunRow};
use crate::survey::PROOF_VOID;
use crate::telemetry::{DbTold, Told};
use crate::tx::COMMIT_ANSWER_MAX;

/// Claims of one run without progress before it is held as poison.
pub const CLAIMS_MAX: i32 = 8;
/// Times in a row that something is begun anew because its connection broke; few, since it may be what breaks it.
pub(crate) const RECONNECTS_MAX: u32 = 8;
/// Times that a session is asked for: ten seconds, enough for a server that restarts.
const SESSION_TRIES_MAX: u32 = 100;
/// The most that recording a failure may take, with doubt resolved and what follows outside the transaction.
const FAILING_MAX: Duration = Duration::from_secs(180);
/// Pause before a new connection is tried.
pub(crate) const RECONNECT_PAUSE: Duration = Duration::from_millis(100);
/// How a driven run ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Every phase is committed or was allowed to fail.
    Completed(RunRow),
    /// It failed and everything was compensated.
    Compensated(RunRow),
    /// It failed, is stopped, or waits for signatures: a person must act. Or one has closed it as it stands: then its
    /// state is `resolved`.
    Held(RunRow),
    /// A compensation could not finish.
    Stuck(RunRow),
}

impl Outcome {
    /// The run as it stands.
    pub fn run(&self) -> &RunRow {
        match self {
            Self::Completed(run) | Self::Compensated(run) | Self::Held(run) | Self::Stuck(run) => {
                run
            }
        }
    }

    pub(crate) fn of(row: RunRow) -> Self {
        match row.state {
            State::Completed => Self::Completed(row),
            State::Compensated => Self::Compensated(row),
            State::Stuck => Self::Stuck(row),
            State::Running | State::Failed | State::Compensating | State::Resolved => {
                Self::Held(row)
            }
        }
    }
}

/// Why a driver let go of a run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// It is in a state that needs no driver.
    Settled,
    /// A hold, a kill or a freeze is in the way.
    Held,
    /// Somebody else has it.
    Fenced,
    /// The worker stops.
    Stopped,
    /// The next phase is not to run yet: signatures, a time or a condition are missing. Looked at again after so many
    /// milliseconds.
    Waiting(u64),
    /// The database was away for too long; the run is claimed again, and its log says what stands.
    Lost,
}

impl Inner {
    /// Drives a claimed run until it needs no driver, is held, is fenced or the worker stops.
    pub(crate) async fn drive_claimed(
        &self,
        session: &mut Loan,
        live: &mut Live,
        stopping: &watch::Receiver<bool>,
    ) -> Result<Left, Error> {
        if live.story.state == State::Running {
            match self.heed_releases_for(session, live).await {
                Ok(()) => {}
                Err(Error::ReleaseUnproven { .. }) => return Ok(Left::Held),
                Err(error) if error.is_lost() => return Ok(Left::Lost),
                Err(error) => return Err(error),
            }
        }
        self.drive_opened(session, live, stopping).await
    }

    /// As [`Inner::drive_claimed`], for a run whose releases were heeded just now.
    pub(crate) async fn drive_opened(
        &self,
        session: &mut Loan,
        live: &mut Live,
        stopping: &watch::Receiver<bool>,
    ) -> Result<Left, Error> {
        self.driven(session, live, stopping).await
    }

    pub(crate) async fn drive_far(
        &self,
        session: &mut Loan,
        live: &mut Live,
        stopping: &watch::Receiver<bool>,
    ) -> Result<Left, Error> {
        if live.row.claims > CLAIMS_MAX {
            self.hold_poison(session, live).await?;
            return Ok(Left::Held);
        }
        self.written_pre(live.definition(), live.row.id).await?;
        loop {
            if *stopping.borrow() {
                return Ok(Left::Stopped);
            }
            let left = match live.story.state {
                State::Running => self.forward(session, live, stopping).await?,
                State::Compensating => self.back(session, live).await?,
                State::Failed
                | State::Compensated
                | State::Stuck
                | State::Completed
                | State::Resolved => {
                    return Ok(Left::Settled);
                }
            };
            if let Some(left) = left {
                return Ok(left);
            }
        }
    }

    async fn forward(
        &self,
        session: &mut Loan,
        live: &mut Live,
        stopping: &watch::Receiver<bool>,
    ) -> Result<Option<Left>, Error> {
        if let Err(held) = self.heed_files_for(live) {
            tracing::info!(code = held.code(), run = %live.row.id, "held by a file");
            return Ok(Some(Left::Held));
        }
        let phase = live
            .row
            .phase
            .as_deref()
            .and_then(|name| live.definition().phase(name))
            .cloned()
            .ok_or_else(|| {
                Error::Inconsistent(format!("run {} is running without a phase", live.row.id))
            })?;
        let missing = self.consent(session, live, &phase).await?;
        if !missing.is_empty() {
            metric::unsigned("phase");
            tracing::info!(run = %live.row.id, phase = phase.name.as_str(), "waits for signatures");
            return Ok(Some(Left::Waiting(FOR_PEOPLE_MS)));
        }
        match self.attempted(session, live, &phase).await? {
            Step::Committed(records, output) => {
                let epoch = live.row.epoch;
                match self.advance(live, &phase, records, output) {
                    // Somebody's refusal was recorded before the phase entered: what is known here is one record short.
                    Err(Error::Log(_)) => {
                        *live = self.live(session, live.row.id).await?;
                        Ok((live.row.epoch != epoch).then_some(Left::Fenced))
                    }
                    other => other.map(|()| None),
                }
            }
            Step::Left(left) => Ok(Some(left)),
            Step::Failed(error, outside) => {
                let cutoff = Cutoff {
                    outside,
                    ..Cutoff::of(&error)
                };
                tracing::info!(run = %live.row.id, phase = phase.name.as_str(), code = error.code(), sqlstate = cutoff.sqlstate, "phase failed");
                if cutoff.sqlstate.as_deref() == Some("0A000") {
                    session.forget_statements().await;
                }
                if session.is_closed() {
                    self.reopen(session).await?;
                }
                // What the failure's record will say is no doubt any more when the plan is made.
                live.story.settle(&phase.name, outside);
                let failing = self.fail(session, live, &phase, &cutoff);
                let Ok(failed) = tokio::time::timeout(FAILING_MAX, failing).await else {
                    session.abandon();
                    let text = format!("no answer within {FAILING_MAX:?}");
                    return Err(DbError::Lost(text).into());
                };
                let failed = match failed {
                    Ok(failed) => {
                        metric::phase_failed(
                            &live.row.saga,
                            error.code(),
                            cutoff.class,
                            failed.word(),
                        );
                        failed
                    }
                    Err(error) if is_fenced(&error) => return Ok(Some(Left::Fenced)),
                    Err(error) => return Err(error),
                };
                let epoch = live.row.epoch;
                *live = self.live(session, live.row.id).await?;
                if live.row.epoch != epoch {
                    // The row read now is somebody else's claim: its epoch is not ours to act under.
                    return Ok(Some(Left::Fenced));
                }
                if let Failed::Again(wait_ms) = failed {
                    let mut stopping = stopping.clone();
                    // A worker that stops gives the run back; whoever comes next waits for `next_at`.
                    let pause = tokio::time::sleep(Duration::from_millis(wait_ms));
                    tokio::select! {
                        () = pause => {}
                        _ = stopping.wait_for(|stop| *stop) => {}
                    }
                }
                Ok(None)
            }
        }
    }

    /// One attempt, with new connections while none was good enough to send COMMIT, and doubt resolved.
    pub(crate) async fn attempt_here(
        &self,
        session: &mut Loan,
        live: &mut Live,
        phase: &Phase,
        what: Try<'_>,
    ) -> Result<Step, Error> {
        for _ in 0..RECONNECTS_MAX {
            if session.is_closed() || session.is_spent() {
                self.reopen(session).await?;
            }
            let limit = Duration::from_millis(phase.timeout_ms) + 2 * COMMIT_ANSWER_MAX;
            let attempt =
                tokio::time::timeout(limit, self.attempt(session, live, phase, what)).await;
            let Ok(attempt) = attempt else {
                session.abandon();
                let text = format!("no answer within {limit:?}");
                return Err(DbError::Lost(text).into());
            };
            match attempt {
                Attempt::Committed { records, output } => {
                    return Ok(Step::Committed(records, output));
                }
                Attempt::InDoubt {
                    records,
                    output,
                    seq,
                    head,
                    error,
                } => {
                    tracing::warn!(error = %DbTold(&error), code = error.code(), run = %live.row.id, phase = phase.name.as_str(), seq, "commit in doubt");
                    let fate = self.fate(live.row.id, live.row.epoch, seq, head);
                    match fate.await? {
                        Fate::Committed => return Ok(Step::Committed(records, output)),
                        Fate::Not { epoch } => {
                            live.row.epoch = epoch;
                            if matches!(error, DbError::Server { .. }) {
                                // A deferred constraint said no at COMMIT.
                                return Ok(Step::Failed(error.into(), None));
                            }
                        }
                    }
                }
                Attempt::Failed(error) if error.is_lost() => {
                    metric::begun_anew("connection", error.code());
                    tracing::warn!(error = %Told(&error), code = error.code(), run = %live.row.id, phase = phase.name.as_str(), "connection lost before COMMIT");
                    tokio::time::sleep(RECONNECT_PAUSE).await;
                }
                // Nothing is wrong with the phase: the next try reads its locks instead.
                Attempt::Failed(error) if error.sqlstate() == Some(PROOF_VOID) => {
                    tracing::info!(run = %live.row.id, phase = phase.name.as_str(), "the proof of its writes is void");
                }
                Attempt::Failed(error) => return Ok(judge(error)),
            }
        }
        Ok(Step::Failed(
            DbError::Lost(format!("lost {RECONNECTS_MAX} times in a row")).into(),
            None,
        ))
    }

    /// Takes committed records into the run as it is known here.
    pub(crate) fn advance(
        &self,
        live: &mut Live,
        phase: &Phase,
        records: Vec<Vec<u8>>,
        output: Value,
    ) -> Result<(), Error> {
        self.take_records(live, records)?;
        add_output(&mut live.context, &phase.name, output.clone());
        live.story.outputs.insert(phase.name.to_string(), output);
        live.row.attempts = 0;
        live.row.claims = 0;
        let next = live
            .definition()
            .next_phase(&live.story.done())
            .map(|p| p.name.to_string());
        live.row.phase = if live.story.state == State::Running {
            next
        } else {
            None
        };
        Ok(())
    }

    pub(crate) fn take_records(&self, live: &mut Live, records: Vec<Vec<u8>>) -> Result<(), Error> {
        for bytes in records {
            let seq = live.row.seq + 1;
            let record = Record::decode(&bytes).map_err(|source| crate::log::LogError::Record {
                seq,
                run: live.row.id,
                source,
            })?;
            let hash = leaf_hash(&bytes);
            live.story.take(live.row.id, seq, record, hash)?;
            live.row.seq = seq;
            live.row.head = hash;
        }
        live.row.state = live.story.state;
        live.row.basis = live.story.basis;
        Ok(())
    }

    /// A session, waiting a little for a server that restarts.
    pub(crate) async fn session_soon(&self) -> Result<Loan, Error> {
        let mut last = None;
        for _ in 0..SESSION_TRIES_MAX {
            match self.session().await {
                Ok(session) => return Ok(session),
                Err(error) => last = Some(error),
            }
            tokio::time::sleep(RECONNECT_PAUSE).await;
        }
        Err(last
            .unwrap_or_else(|| DbError::Unreachable("no answer".to_owned()))
            .into())
    }

    /// Makes a lost session anew in its place, waiting a little for a server that restarts. The pool is not asked: as
    /// many others may hold lost ones.
    pub(crate) async fn reopen(&self, session: &mut Loan) -> Result<(), Error> {
        let mut last = None;
        for _ in 0..SESSION_TRIES_MAX {
            match self.apart().await {
                Ok(fresh) => {
                    **session = fresh;
                    return Ok(());
                }
                Err(error) => last = Some(error),
            }
            tokio::time::sleep(RECONNECT_PAUSE).await;
        }
        Err(last
            .unwrap_or_else(|| DbError::Unreachable("no answer".to_owned()))
            .into())
    }
}

/// What became of a phase, as far as it went now.
pub(crate) enum Step {
    Committed(Vec<Vec<u8>>, Value),
    /// With how an act outside is settled by it; `None` leaves the doubt.
    Failed(Error, Option<Settled>),
    Left(Left),
}

/// Refusals of the entry say something about the claim or the gate, not about the phase.
pub(crate) fn judge(error: Error) -> Step {
    match error.sqlstate() {
        Some("RDG02" | "RDG03" | "RDG04" | "RDG05") => Step::Left(Left::Held),
        Some("RDR02" | "RDR03" | "RDR04") => Step::Left(Left::Fenced),
        _ if let Error::Adapter(AdapterError::NotYet { wait, .. }) = &error => Step::Left(
            Left::Waiting(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
        ),
        _ if matches!(error, Error::ReleaseUnproven { .. }) => Step::Left(Left::Held),
        _ => Step::Failed(error, None),
    }
}

pub(crate) fn is_fenced(error: &Error) -> bool {
    matches!(error.sqlstate(), Some("RDR02" | "RDR03" | "RDR04"))
}
