//! Rewinds a run by hand: compensates back to a named phase, which runs next.
//!
//! **Invariant:** a rewind is a plan like any other: stored, with digest and basis, refused when stale. When everything
//! it undoes lies in the database, effects, records and the run's row move in one transaction, also for a run that was
//! going forward: it is stopped in that same transaction.
//!
//! **What can go wrong:** death before COMMIT leaves nothing; a stepwise rewind goes on where it was (`repair`, or any
//! worker). A run that goes forward and cannot be rewound is stopped first, so that what failed is said about a run
//! that stands still.
//!
//! **Not here:** the rewinds that a file declares (`failure`), and how a plan is carried out (`compensate`).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use redress_ledger::decision::Basis;
use redress_ledger::quorum;
use redress_ledger::state::{Event, State};
use redress_ledger::{Class, Hash, Kind};
use redress_sql as sql;
use serde_json::json;
use tracing::Instrument;
use uuid::Uuid;

use crate::apply::unsigned;
use crate::bound::check_text;
use crate::compensate::{Unwind, Unwound, is_gate, longest};
use crate::crash;
use crate::db::{DbError, Session};
use crate::definition::Then;
use crate::drive::is_fenced;
use crate::engine::{Engine, Inner, Loan};
use crate::error::Error;
use crate::log::Pages;
use crate::metric;
use crate::name::Name;
use crate::operate::{CANCELLED_CODE, wrong_state};
use crate::plan::{Action, Cause, CauseKind, Plan, Policy, Trigger};
use crate::planning::StoredPlan;
use crate::run::{Live, RunRow};
use crate::telemetry::Told;
use crate::tx::{Entered, Moved};
use crate::unwind::push_started;

/// How long somebody else's work on a half-done rewind is waited for.
const REPAIR_MAX: Duration = Duration::from_secs(60);
/// How often it is looked at.
const POLL: Duration = Duration::from_millis(100);

/// A rewind that somebody asks for.
#[derive(Clone, Debug)]
pub struct Rewind {
    /// The phase that is undone last and runs next.
    pub to: Name,
    /// The phase at which the caller believes the run to be; another one is stale.
    pub from: Option<Name>,
    /// Whether the run goes on by itself.
    pub then: Then,
    /// Why.
    pub reason: String,
}

/// What became of it.
#[derive(Clone, Debug)]
pub enum Rewound {
    /// The run was rewound by this plan.
    Done {
        /// The run as it stands.
        row: RunRow,
        /// The plan.
        plan: Box<StoredPlan>,
    },
    /// It stands there already: nothing was changed.
    Nothing(RunRow),
}

/// What an attempt on a run that goes forward came to.
enum Stopped {
    /// Rewound in the same transaction.
    Rewound(StoredPlan),
    /// Stopped, and its plan is begun: it goes step by step.
    Begun(StoredPlan),
    /// Stopped; signatures are missing.
    Waits(StoredPlan),
    /// It stood still already, and its plan is stored.
    Planned(StoredPlan),
}

impl Engine {
    /// Plans a rewind without storing anything: what `rewind` would do now.
    ///
    /// # Errors
    /// [`Error::WrongState`], [`Error::StalePlan`] when the run is at another phase; [`Error::UnknownRun`].
    pub async fn plan_rewind(
        &self,
        run: Uuid,
        asked: &Rewind,
    ) -> Result<Option<StoredPlan>, Error> {
        let inner = &self.inner;
        let session = inner.session().await?;
        let live = inner.live(&session, run).await?;
        if stands_there(&live, asked) {
            return Ok(None);
        }
        check_asked(&live, asked)?;
        let basis = Basis {
            seq: live.row.basis.0,
            hash: live.row.basis.1,
        };
        let plan = inner.rewind_plan(&live, basis, asked);
        let digest = plan.digest()?;
        Ok(Some(StoredPlan { digest, plan }))
    }

    /// Stores the plan of a rewind of a run that stands still, for [`Engine::apply`]. Equal circumstances give the equal plan.
    ///
    /// # Errors
    /// As [`Engine::plan_rewind`]; [`Error::PlanRefused`].
    pub async fn make_rewind(&self, run: Uuid, asked: &Rewind) -> Result<StoredPlan, Error> {
        check_text("the reason", &asked.reason)?;
        let inner = &self.inner;
        let session = inner.session().await?;
        let live = inner.live(&session, run).await?;
        check_asked(&live, asked)?;
        inner.store_rewind(&session, &live, asked).await
    }

    /// Rewinds a run to a phase that has committed: that phase and all after it are undone, and it runs next.
    ///
    /// # Errors
    /// [`Error::WrongState`], [`Error::StalePlan`], [`Error::PlanRefused`], [`Error::GuardRefused`],
    /// [`Error::SubjectBusy`]: nothing was changed. [`Error::ApprovalsMissing`]: the plan waits for signatures.
    /// [`Error::Stuck`]: rolled back, a person must act. The gate's refusals.
    pub async fn rewind(&self, run: Uuid, asked: &Rewind) -> Result<Rewound, Error> {
        check_text("the reason", &asked.reason)?;
        let span = tracing::info_span!("rewind", %run, phase = asked.to.as_str());
        let rewound = self.rewind_asked(run, asked).instrument(span).await?;
        self.wake_workers().await;
        Ok(rewound)
    }

    async fn rewind_asked(&self, run: Uuid, asked: &Rewind) -> Result<Rewound, Error> {
        let inner = &self.inner;
        let mut session = inner.session().await?;
        let live = inner.live(&session, run).await?;
        if stands_there(&live, asked) {
            return Ok(Rewound::Nothing(live.row));
        }
        let stopped = async {
            check_asked(&live, asked)?;
            if live.story.state == State::Running {
                inner.rewind_running(&mut session, &live, asked).await
            } else {
                let stored = inner.store_rewind(&session, &live, asked).await;
                stored.map(Stopped::Planned)
            }
        };
        match stopped.await {
            Ok(stopped) => {
                drop(session);
                self.after_stop(run, stopped).await
            }
            Err(error) => {
                if is_refusal(&error) {
                    let live = inner.live(&session, run).await?;
                    inner.note_refusal(&session, &live, None, &error).await?;
                }
                Err(error)
            }
        }
    }

    /// Finishes a rewind that was left half done: a plan that was begun goes on where it was, one that is stuck is made
    /// anew for what still stands. Where nothing is half done, nothing is changed.
    ///
    /// # Errors
    /// As [`Engine::rewind`].
    pub async fn repair_rewind(&self, run: Uuid, reason: &str) -> Result<Rewound, Error> {
        check_text("the reason", reason)?;
        let inner = &self.inner;
        let session = inner.session().await?;
        let live = inner.live(&session, run).await?;
        let plan = match (live.story.state, live.story.running_plan, live.row.plan) {
            (State::Compensating, Some(digest), _) | (State::Stuck, _, Some(digest)) => {
                let plan = inner.plan_by_digest(&session, digest).await?;
                Some(StoredPlan { digest, plan })
            }
            _ => None,
        };
        let begun = plan.and_then(|stored| {
            let CauseKind::RewindTo {
                phase, then, from, ..
            } = &stored.plan.cause.kind
            else {
                return None;
            };
            let asked = Rewind {
                to: phase.clone(),
                from: from.clone(),
                then: *then,
                reason: reason.to_owned(),
            };
            Some((asked, stored))
        });
        let Some((asked, stored)) = begun else {
            return Ok(Rewound::Nothing(live.row));
        };
        if live.story.state == State::Stuck {
            let stored = inner.store_rewind(&session, &live, &asked).await?;
            drop(session);
            return self.carry_out(stored).await;
        }
        drop(session);
        let row = self.finish_begun(run).await?;
        Ok(Rewound::Done {
            row,
            plan: Box::new(stored),
        })
    }

    async fn after_stop(&self, run: Uuid, stopped: Stopped) -> Result<Rewound, Error> {
        let stored = match stopped {
            Stopped::Planned(stored) => return self.carry_out(stored).await,
            Stopped::Rewound(stored) => {
                let session = self.inner.session().await?;
                let live = self.inner.live(&session, run).await?;
                drop(session);
                self.inner.after_unwind(&live).await;
                stored
            }
            Stopped::Begun(stored) => {
                self.finish_begun(run).await?;
                stored
            }
            Stopped::Waits(stored) => {
                let needs: Vec<String> = stored
                    .plan
                    .quorum
                    .iter()
                    .map(|(role, count)| format!("{count} {role}"))
                    .collect();
                return Err(Error::ApprovalsMissing(format!(
                    "the run was stopped and its rewind must be signed by {}; `redress approve`, then `redress apply`, plan {}",
                    needs.join(", "),
                    stored.digest
                )));
            }
        };
        let session = self.inner.session().await?;
        Ok(Rewound::Done {
            row: self.inner.run_row(&session, run).await?,
            plan: Box::new(stored),
        })
    }

    async fn carry_out(&self, stored: StoredPlan) -> Result<Rewound, Error> {
        let outcome = self.apply(&stored).await?;
        Ok(Rewound::Done {
            row: outcome.run().clone(),
            plan: Box::new(stored),
        })
    }

    /// Goes on with a plan that was begun, until the run compensates no more; never forward.
    async fn finish_begun(&self, run: Uuid) -> Result<RunRow, Error> {
        let driver = self.driver().await?;
        let result = self.finish_as(run, driver.worker()).await;
        driver.leave().await;
        result
    }

    async fn finish_as(&self, run: Uuid, worker: Uuid) -> Result<RunRow, Error> {
        let inner = &self.inner;
        let begun = Instant::now();
        loop {
            let mut session = inner.session().await?;
            let row = inner.run_row(&session, run).await?;
            match row.state {
                State::Compensating => {}
                State::Stuck => {
                    let live = inner.live(&session, run).await?;
                    return Err(Error::Stuck {
                        run,
                        why: row.error.map_or_else(String::new, |(_, message)| message),
                        standing: crate::stuck::standing(&live),
                    });
                }
                _ => return Ok(row),
            }
            let claim = inner.prepare(&session, sql::CLAIM_RUN).await?;
            let claimed = session
                .query_one(&claim, &[&worker, &run])
                .await
                .map_err(DbError::from)?;
            let epoch: Option<i64> = claimed.try_get(0).map_err(DbError::from)?;
            if epoch.is_some() {
                let mut live = inner.live(&session, run).await?;
                if Some(live.row.epoch) == epoch && live.story.state == State::Compensating {
                    let left = inner.back(&mut session, &mut live).await?;
                    if left == Some(crate::drive::Left::Held) {
                        inner.give_back(&live, worker).await?;
                        return Err(Error::Held(format!(
                            "a hold or the switch is in the way: `redress holds`, run {run}"
                        )));
                    }
                    continue;
                }
            }
            if begun.elapsed() > REPAIR_MAX {
                return Err(Error::Held(format!(
                    "another worker has been carrying out the plan for {} s, run {run}",
                    REPAIR_MAX.as_secs()
                )));
            }
            drop(session);
            tokio::time::sleep(POLL).await;
        }
    }
}

impl Inner {
    /// The plan of a rewind that a person asks for, as of a basis.
    fn rewind_plan(&self, live: &Live, basis: Basis, asked: &Rewind) -> Plan {
        let kind = CauseKind::RewindTo {
            phase: asked.to.clone(),
            then: asked.then,
            from: current_phase(live),
            trigger: Trigger::Manual,
        };
        let cause = Cause {
            kind,
            reason: asked.reason.clone(),
            requester: self.actor.clone(),
        };
        let policy = Policy {
            artefact_adapters: self.artefact_adapters(),
            overrides: BTreeMap::new(),
        };
        self.plan_for(live, basis, &cause, &policy, None)
    }

    /// Stores the plan of a run that stands still. Equal circumstances give the equal plan.
    async fn store_rewind(
        &self,
        session: &Session,
        live: &Live,
        asked: &Rewind,
    ) -> Result<StoredPlan, Error> {
        let basis = Basis {
            seq: live.row.basis.0,
            hash: live.row.basis.1,
        };
        let plan = self.rewind_plan(live, basis, asked);
        refuse(&plan)?;
        self.store_plan(session, live, plan).await
    }

    /// Stops a run that goes forward and rewinds it, in one transaction where that is possible.
    async fn rewind_running(
        &self,
        session: &mut Loan,
        live: &Live,
        asked: &Rewind,
    ) -> Result<Stopped, Error> {
        let first = self.rewind_at_once(session, live, asked, true).await;
        let Err(error) = first else { return first };
        self.rollback(session).await;
        let wrong = matches!(error.class(), Class::Business | Class::Hold) && !error.is_lost();
        if !wrong || is_gate(&error) || is_fenced(&error) || is_refusal(&error) {
            return Err(error);
        }
        // The way back itself fails. The run is stopped, and the plan ends stuck as that of any stopped run would.
        tracing::warn!(error = %Told(&error), code = error.code(), run = %live.row.id, "rewinding a run that goes forward");
        if session.is_closed() {
            self.reopen(session).await?;
        }
        let second = self.rewind_at_once(session, live, asked, false).await;
        if second.is_err() {
            self.rollback(session).await;
        }
        second
    }

    /// Enters as a compensation does, so that nothing passes a kill or a hold; reads the run anew under its lock.
    async fn rewind_at_once(
        &self,
        session: &Session,
        live: &Live,
        asked: &Rewind,
        whole: bool,
    ) -> Result<Stopped, Error> {
        let mandate = unsigned();
        let probe = self.rewind_plan(
            live,
            Basis {
                seq: 0,
                hash: Hash::ZERO,
            },
            asked,
        );
        let longest_ms = longest(live, &probe);
        let entered = self
            .enter_back(session, live, None, &mandate, longest_ms)
            .await?;
        crash::point("rewind.entered");
        let live = self.live(session, live.row.id).await?;
        if live.story.state != State::Running || entered.state != State::Running {
            return Err(Error::StalePlan(live.row.id));
        }
        check_asked(&live, asked)?;
        let mut pages = Pages::after(
            self.common(&live, &entered),
            entered.seq,
            entered.head,
            entered.state,
        );
        let body = json!({"reason": asked.reason, "rewind": {"to": asked.to}});
        let hash = pages.push_event(Kind::RunCancelled, &Event::Cancelled, None, body)?;
        let basis = Basis {
            seq: pages.seq,
            hash,
        };
        let plan = self.rewind_plan(&live, basis, asked);
        refuse(&plan)?;
        let digest = self.push_plan(session, &mut pages, &plan).await?;
        crash::point("plan.before_commit");
        let stored = StoredPlan { digest, plan };
        if !quorum::is_open(&stored.plan.quorum) {
            self.settle_stop(session, &entered, &pages, &stored).await?;
            return Ok(Stopped::Waits(stored));
        }
        let unwind = Unwind {
            plan: &stored.plan,
            digest,
            mandate,
            demand: None,
        };
        push_started(&mut pages, &unwind)?;
        if !whole || !self.is_atomic(&live, &stored.plan) {
            self.settle_stop(session, &entered, &pages, &stored).await?;
            return Ok(Stopped::Begun(stored));
        }
        let since = metric::Since::now();
        let unwound = self
            .unwind_entered(session, &live, &unwind, &entered, pages)
            .await?;
        match unwound {
            Unwound::Done => {
                let actions = stored.plan.actions.iter();
                let actions = actions.map(|action| action.action.as_str());
                metric::unwound(&live.row.saga, &Ok(()), actions, since);
                Ok(Stopped::Rewound(stored))
            }
            Unwound::Not { error, .. } => Err(error.into()),
        }
    }

    async fn settle_stop(
        &self,
        session: &Session,
        entered: &Entered,
        pages: &Pages<'_>,
        stored: &StoredPlan,
    ) -> Result<(), Error> {
        let moved = Moved {
            wait_ms: Some(0),
            keep_claims: false,
            error: Some((CANCELLED_CODE, &stored.plan.cause.reason)),
            plan: Some(stored.digest),
            ..Moved::nothing(None)
        };
        self.settle(session, entered, pages, &moved).await
    }
}

/// The phase that a run is at: the one that runs or would run next, the one that failed, or the last one.
pub(crate) fn current_phase(live: &Live) -> Option<Name> {
    let definition = live.definition();
    let next = || {
        let next = definition.next_phase(&live.story.done());
        next.map(|phase| phase.name.clone())
    };
    let last = || {
        let order = definition.order();
        order.last().map(|at| definition.phases[*at].name.clone())
    };
    live.story.failed.clone().or_else(next).or_else(last)
}

/// A rewind to this phase is what happened last: there is nothing to do.
fn stands_there(live: &Live, asked: &Rewind) -> bool {
    let Some(rewound) = &live.story.rewound else {
        return false;
    };
    let still = matches!(live.story.state, State::Failed | State::Running);
    let believed = match &asked.from {
        None => true,
        Some(from) => rewound.from.as_ref() == Some(from) || *from == rewound.to,
    };
    still && live.story.failed.is_none() && rewound.to == asked.to && believed
}

/// What can be told without the planner: the state, where the run is, and that the target lies behind.
fn check_asked(live: &Live, asked: &Rewind) -> Result<(), Error> {
    match live.story.state {
        State::Running | State::Failed | State::Stuck | State::Completed => {}
        State::Compensating => {
            return Err(wrong_state(
                live,
                "a plan is being carried out; a rewind that was left half done is finished by `redress rewind --repair`",
            ));
        }
        State::Compensated | State::Resolved => {
            return Err(wrong_state(live, "a run that has ended so is not rewound"));
        }
    }
    let current = current_phase(live);
    if asked.from.is_some() && asked.from != current {
        return Err(Error::StalePlan(live.row.id));
    }
    let definition = live.definition();
    let place = |name: &Name| {
        let order = definition.order();
        order
            .iter()
            .position(|at| definition.phases[*at].name == *name)
    };
    let refused = |why: String| {
        Err(Error::PlanRefused {
            phase: asked.to.to_string(),
            why,
        })
    };
    let Some(there) = place(&asked.to) else {
        return refused("this saga has no such phase".to_owned());
    };
    let done = live.story.state == State::Completed;
    match current.as_ref().and_then(place) {
        Some(here) if there > here || (there == here && !done) => refused(format!(
            "a rewind goes strictly behind the current phase, which is {}",
            current.as_ref().map_or("", Name::as_str)
        )),
        _ => Ok(()),
    }
}

fn refuse(plan: &Plan) -> Result<(), Error> {
    match plan.actions.iter().find(|a| a.action == Action::Refuse) {
        Some(action) => Err(Error::PlanRefused {
            phase: action.phase.to_string(),
            why: action.why.clone(),
        }),
        None => Ok(()),
    }
}

/// Somebody said no before anything was changed.
fn is_refusal(error: &Error) -> bool {
    matches!(
        error,
        Error::GuardRefused { .. } | Error::PlanRefused { .. } | Error::StalePlan(_)
    )
}
