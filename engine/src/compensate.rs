//! Carries out a stored plan: by whose mandate, how often it is tried, and what follows.
//!
//! **Invariant:** an unwind that does not succeed is rolled back and the run is stuck, never "compensated".
//!
//! **What can go wrong:** death before COMMIT leaves nothing of an atomic unwind; a stepwise one goes on at the first
//! action that has no record. A commit in doubt is resolved as for a phase.
//!
//! **Not here:** the actions and their transaction (`unwind`).

use std::time::Duration;

use redress_ledger::state::State;
use redress_ledger::{Class, Hash};
use redress_sql as sql;
use serde_json::Value;
use uuid::Uuid;

use crate::ask::Demand;
use crate::db::{DbError, Session};
use crate::drive::{Left, RECONNECTS_MAX, is_fenced};
use crate::engine::{Inner, Loan};
use crate::error::Error;
use crate::metric;
use crate::phase::{LOCK_MS_MAX, Limits};
use crate::plan::Plan;
use crate::run::Live;
use crate::telemetry::Told;
use crate::tx::{COMMIT_ANSWER_MAX, Entered};

/// Attempts of an unwind that meets something passing.
const ATTEMPTS_MAX: u32 = 3;
/// The most that one attempt may take, however many actions it has.
const UNWIND_MAX: Duration = Duration::from_secs(24 * 3_600);
/// The most calls of an adapter that one action outside the database may take, each as long as its phase may.
const OUTSIDE_CALLS_MAX: u32 = 20;
/// Pause between two of them.
const PAUSE: Duration = Duration::from_millis(300);

/// Who carries out a plan, and what it may pass.
#[derive(Clone, Debug)]
pub(crate) enum Mandate {
    /// The engine itself, under a claim: passes nothing.
    Automatic,
    /// A person's approvals: passes the kill and the holds that they name. Without need of approvals: nothing but the
    /// holds that the run's own failure set.
    Approved {
        switch_no: Option<i64>,
        holds: Vec<Uuid>,
        decision: Value,
        decisions: Vec<String>,
    },
}

impl Mandate {
    fn passes(&self) -> (Option<i64>, &[Uuid]) {
        match self {
            Self::Automatic => (None, &[]),
            Self::Approved {
                switch_no, holds, ..
            } => (*switch_no, holds),
        }
    }
}

/// A plan with its digest and the run it is for.
pub(crate) struct Unwind<'a> {
    pub plan: &'a Plan,
    pub digest: Hash,
    pub mandate: Mandate,
    /// What else has to hold, under lock, in the transaction that begins.
    pub demand: Option<&'a Demand>,
}

/// How an unwind attempt ended.
pub(crate) enum Unwound {
    Done,
    /// What was to be committed is not, for certain; the run's epoch was raised to this.
    Not {
        epoch: i64,
        error: DbError,
    },
}

impl Inner {
    /// Carries out the plan that runs by itself, or goes on with one that was begun.
    pub(crate) async fn back(
        &self,
        session: &mut Loan,
        live: &mut Live,
    ) -> Result<Option<Left>, Error> {
        let digest = live.story.running_plan.ok_or_else(|| {
            Error::Inconsistent(format!("run {} compensates without a plan", live.row.id))
        })?;
        let plan = self.plan_by_digest(session, digest).await?;
        let mandate = self
            .mandate_of_started(session, live, &plan, digest)
            .await?;
        let unwind = Unwind {
            plan: &plan,
            digest,
            mandate,
            demand: None,
        };
        let unwound = match unwind.mandate {
            Mandate::Automatic => self.heed_releases_for(session, live).await,
            Mandate::Approved { .. } => Ok(()),
        };
        let unwound = match unwound {
            Ok(()) => self.unwind(session, live, &unwind).await,
            refused => refused,
        };
        match unwound {
            Ok(()) => {
                let epoch = live.row.epoch;
                self.after_unwind(live).await;
                *live = self.live(session, live.row.id).await?;
                // The row read now may be somebody else's claim already.
                Ok((live.row.epoch != epoch).then_some(Left::Fenced))
            }
            Err(error) if is_fenced(&error) => Ok(Some(Left::Fenced)),
            Err(error) if is_gate(&error) => Ok(Some(Left::Held)),
            Err(Error::Stuck { .. }) => {
                *live = self.live(session, live.row.id).await?;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Carries out a plan. On return the run is where the plan says, or an error says what stands.
    pub(crate) async fn unwind_tried(
        &self,
        session: &mut Loan,
        live: &mut Live,
        unwind: &Unwind<'_>,
    ) -> Result<(), Error> {
        let (mut attempt, mut lost) = (0, 0);
        loop {
            attempt += 1;
            if session.is_closed() {
                self.reopen(session).await?;
            }
            let actions = u32::try_from(unwind.plan.actions.len()).unwrap_or(u32::MAX);
            let longest = Duration::from_millis(longest(live, unwind.plan)) + COMMIT_ANSWER_MAX;
            // What lies outside is asked, awaited and asked again.
            let calls = if self.is_atomic(live, unwind.plan) {
                1
            } else {
                OUTSIDE_CALLS_MAX
            };
            let limit = longest
                .saturating_mul(calls)
                .saturating_mul(actions.saturating_add(2))
                .min(UNWIND_MAX);
            let unwinding = async {
                if self.is_atomic(live, unwind.plan) {
                    self.unwind_at_once(session, live, unwind).await
                } else {
                    self.unwind_stepwise(session, live, unwind).await
                }
            };
            let result = match tokio::time::timeout(limit, unwinding).await {
                Ok(result) => result,
                Err(_) => {
                    // A silent wire; what was committed on it is found in the log.
                    session.abandon();
                    return Err(DbError::Lost(format!("no answer within {limit:?}")).into());
                }
            };
            let error = match result {
                Ok(Unwound::Done) => break,
                Ok(Unwound::Not { epoch, error }) => {
                    live.row.epoch = epoch;
                    error.into()
                }
                Err(error) => error,
            };
            let error = reopened(live, error);
            self.rollback(session).await;
            if is_fenced(&error)
                || is_gate(&error)
                || matches!(
                    error,
                    Error::StalePlan(_)
                        | Error::GuardRefused { .. }
                        | Error::SubjectBusy(_)
                        | Error::CheckFailed { .. }
                )
            {
                return Err(error);
            }
            tracing::warn!(error = %Told(&error), code = error.code(), sqlstate = error.sqlstate(), run = %live.row.id, attempt, "compensation attempt");
            if error.is_lost() && lost < RECONNECTS_MAX {
                // Nothing is said about the compensation itself.
                metric::begun_anew("compensation", error.code());
                lost += 1;
                attempt -= 1;
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            if error.class() == Class::Retry && attempt < ATTEMPTS_MAX {
                metric::begun_anew("compensation", error.code());
                tokio::time::sleep(PAUSE * attempt).await;
                continue;
            }
            if session.is_closed() {
                self.reopen(session).await?;
            }
            return Err(self.stick(session, live, unwind, &error).await?);
        }
        *live = self.live(session, live.row.id).await?;
        Ok(())
    }

    /// Whether the whole plan fits into one transaction.
    pub(crate) fn is_atomic(&self, live: &Live, plan: &Plan) -> bool {
        plan.actions.iter().all(|action| {
            if self.acts_outside(live, action).is_some() {
                return false;
            }
            let adapter = live
                .definition()
                .phase(action.phase.as_str())
                .map(|p| p.adapter.as_str());
            adapter
                .and_then(|name| self.adapters.get(name))
                .is_none_or(|a| a.in_database())
        })
    }

    /// Enters the compensation and refuses a plan whose basis is gone.
    pub(crate) async fn enter_compensation(
        &self,
        session: &Session,
        live: &Live,
        unwind: &Unwind<'_>,
    ) -> Result<Entered, Error> {
        let started = live.story.running_plan == Some(unwind.digest);
        // A plan that was started is fenced by its claim; one that is not, by its basis, and it raises the epoch.
        let epoch = started.then_some(live.row.epoch);
        let longest_ms = longest(live, unwind.plan);
        let entered = self
            .enter_back(session, live, epoch, &unwind.mandate, longest_ms)
            .await?;
        let fits = if started {
            entered.seq == live.row.seq
        } else {
            entered.basis == (unwind.plan.basis.seq, unwind.plan.basis.hash)
                && matches!(
                    entered.state,
                    State::Failed | State::Stuck | State::Completed
                )
        };
        if !fits {
            return Err(Error::StalePlan(live.row.id));
        }
        if let Some(demand) = unwind.demand
            && !started
        {
            self.meet(session, demand).await?;
        }
        Ok(entered)
    }

    /// Begins a transaction that goes back: the gate, the run's row, the holds. Without an epoch it raises the run's.
    pub(crate) async fn enter_back(
        &self,
        session: &Session,
        live: &Live,
        epoch: Option<i64>,
        mandate: &Mandate,
        longest_ms: u64,
    ) -> Result<Entered, Error> {
        let enter = self.prepare(session, sql::ENTER_COMPENSATION).await?;
        let limits = Limits::of(longest_ms, self.lease);
        let lock_ms = i32::try_from(LOCK_MS_MAX).unwrap_or(i32::MAX);
        let (switch_no, holds) = mandate.passes();
        session
            .batch_execute("begin")
            .await
            .map_err(DbError::from)?;
        let row = session
            .query_one(
                &enter,
                &[
                    &live.row.id,
                    &epoch,
                    &epoch.is_none(),
                    &live.row.saga,
                    &live.row.subject,
                    &switch_no,
                    &holds,
                    &limits.statement_ms,
                    &lock_ms,
                    &limits.idle_ms,
                ],
            )
            .await
            .map_err(DbError::from)?;
        let entered = Entered::from_row(&row)?;
        // Approvals that name the switch are verified themselves; everybody else needs it to be released.
        if switch_no != Some(entered.switch_no) {
            self.prove_switch(session, entered.switch_no).await?;
        }
        Ok(entered)
    }

    /// What follows a finished compensation outside its transaction. A run that goes on is left to its driver: nothing
    /// is put into its log behind him.
    pub(crate) async fn after_unwind(&self, live: &Live) {
        if live.story.state == State::Running {
            return;
        }
        if let Err(error) = self.record_post(live).await {
            tracing::error!(error = %Told(&error), code = error.code(), run = %live.row.id, "post snapshot");
        }
    }
}

/// A completed run that becomes active again may find that its subject is taken.
fn reopened(live: &Live, error: Error) -> Error {
    match &error {
        Error::Db(db) if db.constraint() == Some("subject_has_one_active_run") => {
            Error::SubjectBusy(live.row.subject.clone().unwrap_or_default())
        }
        _ => error,
    }
}

/// The gate refused: hold, kill or freeze, or one of them whose release is not proven.
pub(crate) fn is_gate(error: &Error) -> bool {
    if matches!(error, Error::ReleaseUnproven { .. }) {
        return true;
    }
    error.sqlstate().is_some_and(|code| code.starts_with("RDG"))
}

pub(crate) fn longest(live: &Live, plan: &Plan) -> u64 {
    let phases = plan
        .actions
        .iter()
        .filter_map(|a| live.definition().phase(a.phase.as_str()));
    phases.map(|phase| phase.timeout_ms).max().unwrap_or(30_000)
}
