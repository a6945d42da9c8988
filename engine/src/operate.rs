//! What a person does to a run beside its plan: cancel, resume, resolve.
//!
//! **Invariant:** the run is judged under its lock, and each act raises the epoch, so that a worker before it is fenced.

use redress_ledger::decision::{Basis, Decision, Purpose};
use redress_ledger::key::SigningKey;
use redress_ledger::quorum::quorum_missing;
use redress_ledger::state::{Event, State};
use redress_ledger::{Kind, sign};
use serde_json::json;
use uuid::Uuid;

use crate::bound::check_text;
use crate::db::Session;
use crate::engine::{Engine, Inner};
use crate::error::Error;
use crate::lift::quorum_for;
use crate::log::Pages;
use crate::phase::seal;
use crate::plan::{Cause, CauseKind};
use crate::run::{Live, RunRow};
use crate::stuck::standing;
use crate::tx::{Entered, Moved};

/// The code of a cancellation, as it stands in the run's row.
pub(crate) const CANCELLED_CODE: &str = "RD0217";

impl Engine {
    /// Stops a running run: it fails, and goes the definition's way.
    ///
    /// # Errors
    /// [`Error::WrongState`] unless it runs.
    pub async fn cancel(&self, run: Uuid, reason: &str) -> Result<RunRow, Error> {
        check_text("the reason", reason)?;
        let inner = &self.inner;
        let session = inner.session().await?;
        // The epoch is raised with it: a worker inside a phase has ended by now, one before it is fenced. The run is read
        // under its lock, so that what was committed meanwhile does not refuse the cancellation.
        let entered = inner.enter_run(&session, run, None, true).await?;
        let result = async {
            let live = inner.live(&session, run).await?;
            if live.story.state != State::Running {
                return Err(wrong_state(&live, "only a running run is cancelled"));
            }
            inner
                .cancel_entered(&session, &live, &entered, reason)
                .await
        }
        .await;
        if result.is_err() {
            inner.rollback(&session).await;
        }
        if let Some(hold) = result? {
            let live = inner.live(&session, run).await?;
            inner.aftermath(&live, &hold).await;
        }
        inner.wake_workers().await;
        inner.run_row(&session, run).await
    }

    /// Lets a failed run go forward again, from the phase that failed.
    ///
    /// # Errors
    /// [`Error::WrongState`] unless it failed and nothing of it was compensated.
    pub async fn resume(&self, run: Uuid) -> Result<RunRow, Error> {
        let inner = &self.inner;
        let session = inner.session().await?;
        let live = inner.live(&session, run).await?;
        let next = live
            .definition()
            .next_phase(&live.story.done())
            .map(|p| p.name.clone());
        let (State::Failed, Some(next)) = (live.story.state, next) else {
            return Err(wrong_state(&live, "only a failed run is resumed"));
        };
        let entered = inner.enter_run(&session, run, None, true).await?;
        let result = async {
            same_head(&live, &entered)?;
            let mut pages = Pages::after(
                inner.common(&live, &entered),
                entered.seq,
                entered.head,
                entered.state,
            );
            pages.push_event(
                Kind::RunResumed,
                &Event::ForwardResumed,
                None,
                json!({"phase": next.as_str()}),
            )?;
            let moved = Moved {
                attempts: Some(0),
                wait_ms: Some(0),
                keep_claims: false,
                ..Moved::nothing(Some(next.as_str()))
            };
            inner.settle(&session, &entered, &pages, &moved).await
        }
        .await;
        if result.is_err() {
            inner.rollback(&session).await;
        }
        result?;
        inner.wake_workers().await;
        inner.run_row(&session, run).await
    }

    /// Closes a failed or stuck run by a signed decision; what stands stays.
    ///
    /// # Errors
    /// [`Error::WrongState`], [`Error::NoTrust`], [`Error::Decision`], [`Error::ApprovalsMissing`].
    pub async fn resolve(
        &self,
        run: Uuid,
        key: &SigningKey,
        reason: &str,
    ) -> Result<RunRow, Error> {
        let inner = &self.inner;
        let session = inner.session().await?;
        let trusted = inner.trusted(&session).await?;
        let live = inner.live(&session, run).await?;
        if !matches!(live.story.state, State::Failed | State::Stuck) {
            return Err(wrong_state(&live, "only a failed or stuck run is resolved"));
        }
        let now = inner.now(&session).await?;
        let basis = Basis {
            seq: live.row.basis.0,
            hash: live.row.basis.1,
        };
        let requester = &live.row.requester;
        let decision = Decision {
            run: Some(run),
            basis: Some(basis),
            policy: Some(live.loaded.digest),
            ..inner.decision(Purpose::RunResolve, reason, requester, &now)?
        };
        let envelope = sign(&decision, key)?;
        let verified = trusted.verify(&envelope)?;
        let quorum = quorum_for(&live, "resolve");
        if let Err(missing) = quorum_missing(&quorum, &verified.signers, requester) {
            return Err(Error::ApprovalsMissing(missing.to_string()));
        }
        let entered = inner.enter_run(&session, run, None, true).await?;
        let result = async {
            same_head(&live, &entered)?;
            let mut pages = Pages::after(
                inner.common(&live, &entered),
                entered.seq,
                entered.head,
                entered.state,
            );
            let body = json!({
                "reason": reason,
                "decision_id": decision.id.to_string(),
                "envelope": envelope.to_value(),
                "keyring": trusted.seq,
                "quorum": quorum,
                "standing": standing(&live),
            });
            pages.push_event(Kind::Resolved, &Event::Resolved, None, body)?;
            seal(&mut pages, None, "resolved")?;
            let moved = Moved {
                keep_claims: false,
                ..Moved::nothing(None)
            };
            inner.settle(&session, &entered, &pages, &moved).await
        }
        .await;
        if result.is_err() {
            inner.rollback(&session).await;
        }
        result?;
        inner.run_row(&session, run).await
    }
}

impl Inner {
    async fn cancel_entered(
        &self,
        session: &Session,
        live: &Live,
        entered: &Entered,
        reason: &str,
    ) -> Result<Option<crate::files::HoldFile>, Error> {
        same_head(live, entered)?;
        let mut pages = Pages::after(
            self.common(live, entered),
            entered.seq,
            entered.head,
            entered.state,
        );
        let hash = pages.push_event(
            Kind::RunCancelled,
            &Event::Cancelled,
            None,
            json!({"reason": reason}),
        )?;
        let basis = Basis {
            seq: pages.seq,
            hash,
        };
        let cause = Cause {
            kind: CauseKind::Cancelled {},
            reason: reason.to_owned(),
            requester: self.actor.clone(),
        };
        let plan = self.plan_for(live, basis, &cause, &self.policy(), None);
        let digest = self.push_plan(session, &mut pages, &plan).await?;
        let moved = Moved {
            wait_ms: Some(0),
            keep_claims: false,
            error: Some((CANCELLED_CODE, reason)),
            plan: Some(digest),
            ..Moved::nothing(None)
        };
        let hold = if plan.automatic && !plan.refused {
            let body = json!({"plan": digest.to_string(), "automatic": true});
            pages.push_event(Kind::PlanStarted, &Event::PlanStarted, None, body)?;
            None
        } else {
            Some(
                self.push_hold(
                    session,
                    live,
                    &mut pages,
                    reason,
                    CANCELLED_CODE,
                    &entered.at,
                )
                .await?,
            )
        };
        self.settle(session, entered, &pages, &moved).await?;
        Ok(hold)
    }
}

pub(crate) fn same_head(live: &Live, entered: &Entered) -> Result<(), Error> {
    if live.row.basis == entered.basis && live.story.state == entered.state {
        Ok(())
    } else {
        Err(Error::StalePlan(live.row.id))
    }
}

pub(crate) fn wrong_state(live: &Live, needed: &'static str) -> Error {
    Error::WrongState {
        run: live.row.id,
        state: live.story.state.as_str().to_owned(),
        needed,
    }
}
