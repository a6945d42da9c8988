//! The unwind itself: the actions of a plan and its end, in one transaction when every phase lives in the database,
//! stepwise in reverse order, resumable, when one does not.
//!
//! **Invariant:** an action commits only when its guard held under lock; the unwind commits only when the baseline
//! holds, both inside the same transaction.
//!
//! **Not here:** who may unwind, how often it is tried and what is told afterwards (`compensate`).

use redress_ledger::Kind;
use redress_ledger::state::{After, Event, State};
use serde_json::json;

use crate::action::{compensation_context, is_done, push_action};
use crate::compensate::{Mandate, Unwind, Unwound};
use crate::crash;
use crate::db::Session;
use crate::definition::Phase;
use crate::definition::Then;
use crate::engine::{Inner, Loan};
use crate::error::Error;
use crate::failure::{rewind_value, target_seq};
use crate::fate::Fate;
use crate::log::Pages;
use crate::operate::CANCELLED_CODE;
use crate::phase::seal;
use crate::plan::{CauseKind, Plan, PlannedAction};
use crate::run::Live;
use crate::snapshot::check_baseline;
use crate::telemetry::DbTold;
use crate::tx::{Commit, Entered, Moved, finish};

impl Inner {
    pub(crate) async fn unwind_at_once(
        &self,
        session: &Session,
        live: &Live,
        unwind: &Unwind<'_>,
    ) -> Result<Unwound, Error> {
        let entered = self.enter_compensation(session, live, unwind).await?;
        crash::point("compensate.entered");
        let mut pages = Pages::after(
            self.common(live, &entered),
            entered.seq,
            entered.head,
            entered.state,
        );
        if live.story.running_plan != Some(unwind.digest) {
            push_started(&mut pages, unwind)?;
        }
        self.unwind_entered(session, live, unwind, &entered, pages)
            .await
    }

    /// Every action of the plan and the end of it, in the transaction that was entered and whose start is pushed.
    pub(crate) async fn unwind_entered(
        &self,
        session: &Session,
        live: &Live,
        unwind: &Unwind<'_>,
        entered: &Entered,
        mut pages: Pages<'_>,
    ) -> Result<Unwound, Error> {
        let context = compensation_context(live, unwind);
        for action in &unwind.plan.actions {
            let touched = self.act(session, live, action, &context, unwind).await?;
            push_action(&mut pages, action, unwind, touched)?;
            crash::point("compensate.between");
        }
        self.finish_unwind(session, live, unwind, entered, pages)
            .await
    }

    pub(crate) async fn unwind_stepwise(
        &self,
        session: &mut Loan,
        live: &mut Live,
        unwind: &Unwind<'_>,
    ) -> Result<Unwound, Error> {
        if live.story.running_plan != Some(unwind.digest) {
            self.preflight(session, live, unwind).await?;
            let entered = self.enter_compensation(session, live, unwind).await?;
            let mut pages = Pages::after(
                self.common(live, &entered),
                entered.seq,
                entered.head,
                entered.state,
            );
            push_started(&mut pages, unwind)?;
            let moved = Moved::nothing(None);
            let end = self.end_step(session, &entered, &pages, &moved).await?;
            if let Unwound::Not { .. } = end {
                return Ok(end);
            }
            live.row.epoch = entered.epoch;
            self.take_records(live, pages.bytes)?;
        }
        let left: Vec<PlannedAction> = unwind
            .plan
            .actions
            .iter()
            .filter(|a| !is_done(live, unwind, a))
            .cloned()
            .collect();
        for action in &left {
            if let Some((phase, adapter)) = self.acts_outside(live, action) {
                let taken = self.take_back(session, live, unwind, action, &phase, adapter.as_ref());
                let end = Box::pin(taken).await?;
                if let Unwound::Not { .. } = end {
                    return Ok(end);
                }
                crash::point("compensate.after_commit");
                continue;
            }
            let entered = self.enter_compensation(session, live, unwind).await?;
            let mut pages = Pages::after(
                self.common(live, &entered),
                entered.seq,
                entered.head,
                entered.state,
            );
            let context = compensation_context(live, unwind);
            let touched = self.act(session, live, action, &context, unwind).await?;
            self.cover_way_back(session, live, unwind.plan).await?;
            push_action(&mut pages, action, unwind, touched)?;
            let moved = Moved {
                keep_claims: false,
                ..Moved::nothing(None)
            };
            let end = self.end_step(session, &entered, &pages, &moved).await?;
            if let Unwound::Not { .. } = end {
                return Ok(end);
            }
            self.take_records(live, pages.bytes)?;
            crash::point("compensate.after_commit");
        }
        let entered = self.enter_compensation(session, live, unwind).await?;
        let pages = Pages::after(
            self.common(live, &entered),
            entered.seq,
            entered.head,
            entered.state,
        );
        self.finish_unwind(session, live, unwind, &entered, pages)
            .await
    }

    pub(crate) async fn end_step(
        &self,
        session: &Session,
        entered: &Entered,
        pages: &Pages<'_>,
        moved: &Moved<'_>,
    ) -> Result<Unwound, Error> {
        match finish(self, session, entered, pages, moved).await {
            Commit::Done(()) => Ok(Unwound::Done),
            Commit::Aborted(error) => Err(error.into()),
            Commit::InDoubt(error) => {
                tracing::warn!(error = %DbTold(&error), code = error.code(), run = %pages.run(), "commit in doubt");
                let fate = self.fate(pages.run(), entered.epoch, pages.seq, pages.head);
                match fate.await? {
                    Fate::Committed => Ok(Unwound::Done),
                    Fate::Not { epoch } => Ok(Unwound::Not { epoch, error }),
                }
            }
        }
    }

    /// Refuses what the actions of this transaction wrote or locked beyond what their phases declare.
    async fn cover_way_back(
        &self,
        session: &Session,
        live: &Live,
        plan: &Plan,
    ) -> Result<(), Error> {
        let declared = declared(live, plan);
        let beyond = self.written_beyond(session, &declared).await?;
        if !beyond.is_empty() {
            return Err(Error::Coverage {
                phase: "compensation".to_owned(),
                relations: beyond.join(", "),
            });
        }
        self.cover_locks(session, "compensation", planned(live, plan))
            .await
    }

    async fn finish_unwind(
        &self,
        session: &Session,
        live: &Live,
        unwind: &Unwind<'_>,
        entered: &Entered,
        mut pages: Pages<'_>,
    ) -> Result<Unwound, Error> {
        self.cover_way_back(session, live, unwind.plan).await?;
        let queries = live
            .definition()
            .snapshot
            .iter()
            .filter(|query| query.baseline);
        let now = self.take_snapshot(session, queries, &live.context).await?;
        // What stands after a rewind has moved these values, rightly: they are kept and not compared.
        if !unwind.plan.baseline.is_empty() {
            check_baseline(live.definition(), &live.story.pre, &now)?;
        }
        let end = End::of(live, unwind.plan)?;
        let mut body = json!({"plan": unwind.digest.to_string(), "baseline": now});
        if let Some(rewind) = rewind_value(unwind.plan) {
            body["rewind"] = rewind;
        }
        let finished = Event::PlanFinished(end.after);
        pages.push_event(Kind::PlanFinished, &finished, None, body)?;
        if end.after == After::Compensated {
            seal(&mut pages, None, "compensated")?;
        }
        crash::point("compensate.after_effect");
        let cancelled = (entered.state == State::Running)
            .then_some((CANCELLED_CODE, unwind.plan.cause.reason.as_str()));
        let rewound = end.after != After::Compensated;
        let moved = Moved {
            keep_claims: false,
            attempts: rewound.then_some(0),
            wait_ms: rewound.then_some(0),
            error: cancelled,
            plan: Some(unwind.digest),
            ..Moved::nothing(end.next.as_deref())
        };
        self.end_step(session, entered, &pages, &moved).await
    }
}

/// Where a finished plan leaves its run.
struct End {
    after: After,
    /// The phase that runs next, when it goes on at once.
    next: Option<String>,
}

impl End {
    fn of(live: &Live, plan: &Plan) -> Result<Self, Error> {
        let (CauseKind::RewindTo { then, .. }, Some(target)) = (&plan.cause.kind, &plan.stops_at)
        else {
            return Ok(Self {
                after: After::Compensated,
                next: None,
            });
        };
        let inconsistent = || {
            Error::Inconsistent(format!(
                "a rewind that does not lead to its target {target}"
            ))
        };
        let seq = target_seq(plan).ok_or_else(inconsistent)?;
        let next = live
            .definition()
            .next_phase(&live.story.done_before(seq))
            .filter(|phase| phase.name == *target)
            .ok_or_else(inconsistent)?;
        Ok(match then {
            Then::Stop => Self {
                after: After::Failed,
                next: None,
            },
            Then::Resume => Self {
                after: After::Running,
                next: Some(next.name.to_string()),
            },
        })
    }
}

pub(crate) fn push_started(pages: &mut Pages<'_>, unwind: &Unwind<'_>) -> Result<(), Error> {
    let decisions = match &unwind.mandate {
        Mandate::Automatic => Vec::new(),
        Mandate::Approved { decisions, .. } => decisions.clone(),
    };
    let body = json!({
        "plan": unwind.digest.to_string(),
        "automatic": matches!(unwind.mandate, Mandate::Automatic),
        "decisions": decisions,
    });
    pages.push_event(Kind::PlanStarted, &Event::PlanStarted, None, body)?;
    Ok(())
}

fn declared(live: &Live, plan: &Plan) -> Vec<String> {
    planned(live, plan)
        .flat_map(|phase| phase.writes.iter().cloned())
        .collect()
}

/// The phases that a plan takes back.
fn planned<'l>(live: &'l Live, plan: &'l Plan) -> impl Iterator<Item = &'l Phase> {
    plan.actions
        .iter()
        .filter_map(|a| live.definition().phase(a.phase.as_str()))
}
