//! Drives a phase whose effect lies outside the database: intent, act, outcome, and the probe wherever doubt stands.
//!
//! **Invariant:** the intent is committed before anything is done, under the gate and the claim's epoch; the outcome is
//! committed under them too. An intent without an outcome is in doubt until a probe has answered, whoever drives the run.
//!
//! **What can go wrong:** death before the intent commits leaves nothing. Death after it leaves doubt: the next driver
//! probes, and then records the outcome, acts with the same key, or holds the run. A hold or a kill between intent and
//! outcome leaves the doubt as it is until the release.
//!
//! **Not here:** the way back (`undo`).

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use redress_ledger::Kind;
use redress_sql as sql;
use serde_json::{Value, json};

use crate::adapter::{AdapterError, Applied};
use crate::crash;
use crate::db::{DbError, Session};
use crate::definition::Phase;
use crate::drive::{Left, Step, judge};
use crate::engine::{Inner, Loan};
use crate::error::Error;
use crate::external::{ActError, ExternalAdapter, ExternalCall, Probe, tamed, tamed_fields};
use crate::log::Pages;
use crate::metric;
use crate::name::Name;
use crate::phase::{Attempt, concluded, panic_text, push_committed};
use crate::run::{Live, keep};
use crate::story::Intent;
use crate::tx::{Moved, finish};

/// The most times that a probe is asked before its "unknown" counts.
const PROBES_MAX: u32 = 5;
/// Longest pause between two of them.
const PROBE_PAUSE_MS_MAX: u64 = 5_000;
/// What an adapter gets beyond its phase's limit, to end by itself what it began.
const GRACE: Duration = Duration::from_millis(1_000);

/// How a failure settles an act outside the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// The act itself said that nothing was done, or was never begun.
    NotDone,
    /// The act did not say; the probe found it not done.
    Probed,
}

impl Settled {
    /// The word in the failure's record.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotDone => "not_done",
            Self::Probed => "probed",
        }
    }

    /// Reads the word; any other one leaves the doubt.
    pub fn from_word(word: &str) -> Option<Self> {
        let all = [Self::NotDone, Self::Probed];
        all.into_iter().find(|settled| settled.as_str() == word)
    }
}

/// What one transaction of a forward phase is for.
#[derive(Clone, Copy)]
pub(crate) enum Try<'a> {
    /// The phase's own work, inside the database.
    Work,
    /// The intent of an act outside.
    Intent { key: &'a str, prepared: &'a Value },
    /// Its outcome.
    Outcome(&'a Applied),
}

/// What a call of an external adapter did not give.
pub(crate) enum Unanswered {
    Late(Duration),
    Panic(String),
}

impl Unanswered {
    pub fn why(&self) -> String {
        match self {
            Self::Late(limit) => format!("no answer within {} ms", limit.as_millis()),
            Self::Panic(said) => format!("the adapter panicked: {said}"),
        }
    }
}

/// Awaits an adapter, no longer than it may take, and survives its panic.
pub(crate) async fn awaited<T>(
    limit: Duration,
    work: impl Future<Output = T>,
) -> Result<T, Unanswered> {
    match tokio::time::timeout(limit + GRACE, AssertUnwindSafe(work).catch_unwind()).await {
        Err(_) => Err(Unanswered::Late(limit)),
        Ok(Err(panic)) => Err(Unanswered::Panic(panic_text(panic.as_ref()))),
        Ok(Ok(value)) => Ok(value),
    }
}

/// Asks a probe until it knows, a few times.
pub(crate) async fn asked<T, F: Future<Output = Probe<T>>>(
    phase: &Phase,
    ask: impl Fn() -> F,
) -> Probe<T> {
    let answer = asked_often(phase, ask).await;
    metric::act_probed(answer.word());
    answer
}

async fn asked_often<T, F: Future<Output = Probe<T>>>(
    phase: &Phase,
    ask: impl Fn() -> F,
) -> Probe<T> {
    let limit = Duration::from_millis(phase.timeout_ms);
    let tries = phase.retry.attempts.clamp(1, PROBES_MAX);
    let mut why = String::new();
    for n in 0..tries {
        if n > 0 {
            let pause = phase.retry.backoff_ms.saturating_mul(1 << n);
            let pause = pause.min(phase.retry.max_ms).min(PROBE_PAUSE_MS_MAX);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        why = match awaited(limit, ask()).await {
            Ok(Probe::Unknown(why)) => why,
            Ok(known) => return known,
            Err(unanswered) => unanswered.why(),
        };
        tracing::warn!(phase = phase.name.as_str(), "the probe does not know");
    }
    Probe::Unknown(why)
}

impl Inner {
    /// Takes an external phase as far as it goes now: settles what is in doubt, acts, and records the outcome.
    pub(crate) async fn attempt_outside(
        &self,
        session: &mut Loan,
        live: &mut Live,
        phase: &Phase,
        adapter: &dyn ExternalAdapter,
    ) -> Result<Step, Error> {
        let known = live.story.intents.get(&phase.name).cloned();
        if let Some(intent) = known.as_ref().filter(|intent| intent.open) {
            tracing::warn!(run = %live.row.id, phase = phase.name.as_str(), "in doubt: the probe is asked");
            match self.probed(live, phase, adapter, intent).await? {
                Probe::Done(applied) => {
                    return self.record_outcome(session, live, phase, applied).await;
                }
                Probe::NotDone => {}
                Probe::Unknown(why) => return Ok(Step::Failed(in_doubt(phase, why), None)),
            }
        }
        if let Some(step) = self.intend(session, live, phase, adapter, known).await? {
            return Ok(step);
        }
        if let Some(step) = self.pass_again(session, live, phase).await? {
            return Ok(step);
        }
        match self.act_outside(live, phase, adapter).await? {
            Ok(applied) => self.record_outcome(session, live, phase, applied).await,
            Err(step) => Ok(step),
        }
    }

    /// Looks up what the way back needs and records the intent; a step when it does not come to that.
    async fn intend(
        &self,
        session: &mut Loan,
        live: &mut Live,
        phase: &Phase,
        adapter: &dyn ExternalAdapter,
        known: Option<Intent>,
    ) -> Result<Option<Step>, Error> {
        let key = live.story.act_key(live.row.id, &phase.name);
        // A try that is not known to have been nothing may still show up: what was prepared before it stays.
        let prepared = match known {
            Some(intent) => intent.prepared,
            None => {
                let artefacts = self.artefacts()?;
                let call = ExternalCall {
                    phase,
                    context: &live.context,
                    key: &key,
                    act_key: &key,
                    prepared: &Value::Null,
                    undo: &Value::Null,
                    artefacts: artefacts.as_deref(),
                    limit: Duration::from_millis(phase.timeout_ms),
                };
                let nothing_done = |error| Step::Failed(error, Some(Settled::NotDone));
                match awaited(call.limit, adapter.prepare(&call)).await {
                    Ok(Ok(prepared)) => tamed(prepared),
                    Ok(Err(error)) => return Ok(Some(nothing_done(error.into()))),
                    Err(Unanswered::Panic(said)) => {
                        return Ok(Some(nothing_done(Error::Panic {
                            phase: phase.name.to_string(),
                            message: said,
                        })));
                    }
                    Err(late) => {
                        let why = format!("{}, looking before the act", late.why());
                        return Ok(Some(nothing_done(AdapterError::Transient(why).into())));
                    }
                }
            }
        };
        crash::point("external.prepared");
        let what = Try::Intent {
            key: &key,
            prepared: &prepared,
        };
        match self.attempt_here(session, live, phase, what).await? {
            Step::Committed(records, _) => {
                self.take_records(live, records)?;
                // As it is here: the record may only name the blob.
                if let Some(intent) = live.story.intents.get_mut(&phase.name) {
                    intent.prepared = prepared;
                }
                crash::point("external.intended");
                Ok(None)
            }
            step => Ok(Some(step)),
        }
    }

    /// Asks switch, holds and claim once more, right before the act.
    async fn pass_again(
        &self,
        session: &mut Loan,
        live: &Live,
        phase: &Phase,
    ) -> Result<Option<Step>, Error> {
        if let Err(held) = self.heed_files_for(live) {
            tracing::info!(code = held.code(), run = %live.row.id, "held by a file");
            return Ok(Some(Step::Left(Left::Held)));
        }
        if session.is_closed() {
            self.reopen(session).await?;
        }
        let passed = async {
            let enter = self.prepare(session, sql::ENTER_PHASE).await?;
            session
                .batch_execute("begin")
                .await
                .map_err(DbError::from)?;
            let entered = self.enter_phase(session, &enter, live, phase).await?;
            self.prove_switch(session, entered.switch_no).await
        }
        .await;
        self.rollback(session).await;
        match passed {
            Ok(()) => Ok(None),
            Err(error) if error.is_lost() => Err(error),
            Err(error) => Ok(Some(judge(error))),
        }
    }

    /// Does the act; when it does not say how it ended, the probe does.
    async fn act_outside(
        &self,
        live: &Live,
        phase: &Phase,
        adapter: &dyn ExternalAdapter,
    ) -> Result<Result<Applied, Step>, Error> {
        let intent = live.story.intents.get(&phase.name).cloned();
        let intent = intent.ok_or_else(|| {
            Error::Inconsistent(format!("phase {} acts without an intent", phase.name))
        })?;
        let artefacts = self.artefacts()?;
        let call = call_of(phase, &live.context, &intent, artefacts.as_deref());
        let acted = awaited(call.limit, adapter.act(&call)).await;
        crash::point("external.acted");
        let (why, panicked) = match acted {
            Ok(Ok(applied)) => return Ok(Ok(applied)),
            Ok(Err(ActError::NotDone(error))) => {
                return Ok(Err(Step::Failed(error.into(), Some(Settled::NotDone))));
            }
            Ok(Err(ActError::Unknown(why))) => (why, false),
            Err(unanswered) => (unanswered.why(), matches!(unanswered, Unanswered::Panic(_))),
        };
        tracing::warn!(run = %live.row.id, phase = phase.name.as_str(), "the act did not say how it ended");
        Ok(match self.probed(live, phase, adapter, &intent).await? {
            Probe::Done(applied) => Ok(applied),
            Probe::NotDone => {
                let text = format!("{why}; the probe says that it was not done");
                let error = match panicked {
                    true => AdapterError::Business(text),
                    false => AdapterError::Transient(text),
                };
                Err(Step::Failed(error.into(), Some(Settled::Probed)))
            }
            Probe::Unknown(unknown) => {
                let text = format!("{why}; the probe: {unknown}");
                Err(Step::Failed(in_doubt(phase, text), None))
            }
        })
    }

    /// Asks whether an act was done.
    pub(crate) async fn probed(
        &self,
        live: &Live,
        phase: &Phase,
        adapter: &dyn ExternalAdapter,
        intent: &Intent,
    ) -> Result<Probe<Applied>, Error> {
        let artefacts = self.artefacts()?;
        let call = call_of(phase, &live.context, intent, artefacts.as_deref());
        Ok(asked(phase, || adapter.probe(&call)).await)
    }

    async fn record_outcome(
        &self,
        session: &mut Loan,
        live: &mut Live,
        phase: &Phase,
        applied: Applied,
    ) -> Result<Step, Error> {
        let applied = Applied {
            output: tamed_fields(applied.output),
            undo: tamed(applied.undo),
            touched: tamed_fields(applied.touched),
        };
        let step = self
            .attempt_here(session, live, phase, Try::Outcome(&applied))
            .await?;
        if matches!(step, Step::Committed(..)) {
            crash::point("external.recorded");
        }
        Ok(step)
    }

    /// One transaction that only records: an intent, or an outcome.
    pub(crate) async fn attempt_record(
        &self,
        session: &Session,
        live: &Live,
        phase: &Phase,
        what: Try<'_>,
    ) -> Result<Attempt, Error> {
        let enter = self.prepare(session, sql::ENTER_PHASE).await?;
        session
            .batch_execute("begin")
            .await
            .map_err(DbError::from)?;
        let entered = self.enter_phase(session, &enter, live, phase).await?;
        self.prove_switch(session, entered.switch_no).await?;
        let mut pages = Pages::after(
            self.common(live, &entered),
            entered.seq,
            entered.head,
            entered.state,
        );
        let mut blobs = Vec::new();
        let next;
        let (moved, output) = match what {
            Try::Outcome(applied) => {
                next = push_committed(&mut pages, live, phase, applied.clone(), &mut blobs)?;
                let moved = Moved {
                    attempts: Some(0),
                    keep_claims: false,
                    ..Moved::nothing(next.as_ref().map(Name::as_str))
                };
                (moved, Value::Object(applied.output.clone()))
            }
            Try::Intent { key, prepared } => {
                let body = json!({
                    "phase": phase.name.as_str(),
                    "way": "forth",
                    "attempt": live.row.attempts + 1,
                    "prepared": keep(prepared.clone(), &mut blobs),
                });
                pages.push(Kind::PhaseIntended, Some(key.to_owned()), body)?;
                (Moved::nothing(Some(phase.name.as_str())), Value::Null)
            }
            Try::Work => {
                return Err(Error::Inconsistent(format!(
                    "phase {} has no record of its own",
                    phase.name
                )));
            }
        };
        self.put_blobs(session, live.row.id, &blobs).await?;
        let end = finish(self, session, &entered, &pages, &moved).await;
        Ok(concluded(end, pages, output))
    }
}

/// The call of an act whose intent stands.
pub(crate) fn call_of<'a>(
    phase: &'a Phase,
    context: &'a Value,
    intent: &'a Intent,
    artefacts: Option<&'a std::path::Path>,
) -> ExternalCall<'a> {
    ExternalCall {
        phase,
        context,
        key: &intent.key,
        act_key: &intent.key,
        prepared: &intent.prepared,
        undo: &Value::Null,
        artefacts,
        limit: Duration::from_millis(phase.timeout_ms),
    }
}

fn in_doubt(phase: &Phase, why: String) -> Error {
    Error::InDoubt {
        phase: phase.name.to_string(),
        what: "the act",
        why,
    }
}
