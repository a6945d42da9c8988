//! Applies an approved plan.
//!
//! **Invariant:** what was approved is exactly what runs: the stored plan, by its digest, on its basis, passing no
//! more than its approvals name.
//!
//! **What can go wrong:** two people apply one plan: the second finds the basis or the state moved and hears "stale".

use std::time::Duration;

use redress_ledger::envelope::EnvelopeSignature;
use redress_ledger::quorum::{Signer, quorum_missing};
use redress_ledger::state::State;
use redress_ledger::{Hash, Kind};
use redress_sql as sql;
use serde_json::{Value, json};
use tracing::Instrument;
use uuid::Uuid;

use crate::approve::{Approval, Judged};
use crate::ask::Demand;
use crate::compensate::{Mandate, Unwind};
use crate::db::{DbError, Session};
use crate::drive::{Outcome, is_fenced};
use crate::engine::{Engine, Inner};
use crate::error::Error;
use crate::failure::Cutoff;
use crate::log::Pages;
use crate::metric;
use crate::phase::seal;
use crate::plan::{Action, Plan};
use crate::planning::StoredPlan;
use crate::run::Live;
use crate::tx::Moved;

/// How often somebody else's compensation is looked at.
const OTHERS_POLL: Duration = Duration::from_millis(100);

impl Engine {
    /// Carries out an approved plan, exactly as stored.
    ///
    /// # Errors
    /// [`Error::StalePlan`], [`Error::ApprovalsMissing`], [`Error::PlanRefused`], [`Error::GuardRefused`]: nothing was
    /// changed. [`Error::Stuck`]: rolled back, a person must act. The gate's refusals.
    pub async fn apply(&self, stored: &StoredPlan) -> Result<Outcome, Error> {
        self.apply_where(stored, None).await
    }

    /// Carries out an approved plan if what is demanded holds, under lock, in the transaction that begins it.
    ///
    /// # Errors
    /// As [`Engine::apply`]; [`Error::CheckFailed`]: nothing was changed.
    pub async fn apply_where(
        &self,
        stored: &StoredPlan,
        demand: Option<&Demand>,
    ) -> Result<Outcome, Error> {
        let span = tracing::info_span!("apply", plan = %stored.digest);
        let applied = self.apply_asked(stored, demand).instrument(span).await;
        if let Err(error) = &applied {
            metric::plan_refused(error);
        }
        applied
    }

    async fn apply_asked(
        &self,
        stored: &StoredPlan,
        demand: Option<&Demand>,
    ) -> Result<Outcome, Error> {
        let inner = &self.inner;
        let mut session = inner.session().await?;
        // What is stored under the digest is carried out, whatever the caller holds in hands.
        let plan = inner.plan_by_digest(&session, stored.digest).await?;
        let stored = &StoredPlan {
            digest: stored.digest,
            plan,
        };
        let mut live = inner.live(&session, stored.plan.run).await?;
        let started = live.story.running_plan == Some(stored.digest);
        if !started && let Err(error) = inner.check_appliable(&live, stored) {
            inner
                .note_refusal(&session, &live, stored.digest, &error)
                .await?;
            return Err(error);
        }
        inner.check_roles(&session, &live, &stored.plan).await?;
        let now = inner.now(&session).await?;
        let approvals = inner
            .valid_approvals(&session, &live, stored, &now, Judged::Now)
            .await?;
        let signers: Vec<Signer> = approvals.iter().map(|a| a.signer.clone()).collect();
        if let Err(missing) =
            quorum_missing(&stored.plan.quorum, &signers, &stored.plan.cause.requester)
        {
            let error = Error::ApprovalsMissing(format!("{missing}; plan {}", stored.digest));
            inner
                .note_refusal(&session, &live, stored.digest, &error)
                .await?;
            return Err(error);
        }
        let approvals = inner.naming_the_switch(&session, stored, approvals).await?;
        let mandate = inner.mandate(&session, &live, approvals).await?;
        let unwind = Unwind {
            plan: &stored.plan,
            digest: stored.digest,
            mandate,
            demand,
        };
        match inner.unwind(&mut session, &mut live, &unwind).await {
            Ok(()) => {
                inner.after_unwind(&live).await;
                Ok(Outcome::of(inner.run_row(&session, live.row.id).await?))
            }
            // Begun, and between two steps a worker has taken it up: what becomes of it is the answer.
            Err(error) if is_fenced(&error) && live.story.running_plan == Some(stored.digest) => {
                inner.outcome_of_others(&session, live.row.id).await
            }
            Err(error) => {
                if matches!(error, Error::GuardRefused { .. }) {
                    inner
                        .note_refusal(&session, &live, stored.digest, &error)
                        .await?;
                }
                Err(error)
            }
        }
    }
}

impl Inner {
    pub(crate) fn check_appliable(&self, live: &Live, stored: &StoredPlan) -> Result<(), Error> {
        let basis = (stored.plan.basis.seq, stored.plan.basis.hash);
        let state = matches!(
            live.story.state,
            State::Failed | State::Stuck | State::Completed
        );
        if live.story.basis != basis || !state {
            return Err(Error::StalePlan(live.row.id));
        }
        if let Some(action) = stored
            .plan
            .actions
            .iter()
            .find(|a| a.action == Action::Refuse)
        {
            return Err(Error::PlanRefused {
                phase: action.phase.to_string(),
                why: action.why.clone(),
            });
        }
        Ok(())
    }

    /// Whoever applies can take the roles of the phases; found out halfway, the run would be stuck.
    async fn check_roles(&self, session: &Session, live: &Live, plan: &Plan) -> Result<(), Error> {
        let idle = [Action::Nothing, Action::Discard];
        let phases = plan.actions.iter().filter(|a| !idle.contains(&a.action));
        let roles: Vec<&str> = phases
            .filter_map(|a| live.definition().phase(a.phase.as_str())?.role.as_deref())
            .collect();
        if roles.is_empty() {
            return Ok(());
        }
        let ask = self.prepare(session, sql::ROLES_MISSING).await?;
        let rows = session
            .query(&ask, &[&roles])
            .await
            .map_err(DbError::from)?;
        let missing = rows.iter().map(|row| row.try_get(0));
        let missing: Vec<&str> = missing.collect::<Result<_, _>>().map_err(DbError::from)?;
        match missing.as_slice() {
            [] => Ok(()),
            _ => Err(Error::RoleMissing {
                roles: missing.join(", "),
            }),
        }
    }

    /// Waits until whoever carries out a compensation has come to its end.
    async fn outcome_of_others(&self, session: &Session, run: Uuid) -> Result<Outcome, Error> {
        loop {
            let row = self.run_row(session, run).await?;
            let held = !self.holds_on(session, &row).await?.is_empty();
            let stopped = self.read_switch(session).await?;
            let stopped = stopped.is_none_or(|switch| switch.state != "run");
            if row.state != State::Compensating || held || stopped {
                return Ok(Outcome::of(row));
            }
            tokio::time::sleep(OTHERS_POLL).await;
        }
    }

    /// Only the approvals that name the switch in force, when they are enough; one that was signed before a kill does
    /// not stand in the way of those that were signed after it.
    async fn naming_the_switch(
        &self,
        session: &Session,
        stored: &StoredPlan,
        approvals: Vec<Approval>,
    ) -> Result<Vec<Approval>, Error> {
        let current = self.read_switch(session).await?.map(|s| s.switch_no);
        let (naming, others): (Vec<_>, Vec<_>) = approvals
            .into_iter()
            .partition(|a| a.decision.switch_no == current);
        let signers: Vec<Signer> = naming.iter().map(|a| a.signer.clone()).collect();
        let requester = &stored.plan.cause.requester;
        if quorum_missing(&stored.plan.quorum, &signers, requester).is_ok() {
            return Ok(naming);
        }
        Ok(naming.into_iter().chain(others).collect())
    }

    async fn mandate(
        &self,
        session: &Session,
        live: &Live,
        approvals: Vec<Approval>,
    ) -> Result<Mandate, Error> {
        let in_force = self.holds_on(session, &live.row).await?;
        let own = |holds: &[(Uuid, Option<Uuid>)]| -> Vec<Uuid> {
            holds
                .iter()
                .filter(|(_, run)| *run == Some(live.row.id))
                .map(|(id, _)| *id)
                .collect()
        };
        let mut holds = own(&in_force);
        let named = in_force.iter().filter(|(id, _)| {
            !approvals.is_empty() && approvals.iter().all(|a| a.decision.holds.contains(id))
        });
        holds.extend(named.map(|(id, _)| *id));
        let mut numbers = approvals.iter().map(|a| a.decision.switch_no);
        let first = numbers.next().flatten();
        let switch_no = first.filter(|_| numbers.all(|n| n == first));
        Ok(mandate_of(&approvals, switch_no, holds))
    }

    /// The mandate of a plan that was begun: its approvals stand in the log.
    pub(crate) async fn mandate_of_started(
        &self,
        session: &Session,
        live: &Live,
        plan: &Plan,
        digest: Hash,
    ) -> Result<Mandate, Error> {
        let started = live
            .story
            .entries
            .iter()
            .rev()
            .find(|e| e.record.kind == Kind::PlanStarted);
        let automatic =
            started.and_then(|e| e.record.body.get("automatic")) == Some(&Value::Bool(true));
        if automatic {
            return Ok(Mandate::Automatic);
        }
        let stored = StoredPlan {
            digest,
            plan: plan.clone(),
        };
        let at = started.map_or("", |e| e.record.at.as_str());
        // Judged as of the start: a plan that was begun in time is finished, by the decisions that it was begun with.
        let mut approvals = self
            .valid_approvals(session, live, &stored, at, Judged::ThenAsRecorded)
            .await?;
        let begun = started.and_then(|e| e.record.body.get("decisions")?.as_array());
        approvals.retain(|a| {
            let id = a.decision.id.to_string();
            begun.is_some_and(|ids| ids.iter().any(|known| known.as_str() == Some(id.as_str())))
        });
        let signers: Vec<Signer> = approvals.iter().map(|a| a.signer.clone()).collect();
        if let Err(missing) = quorum_missing(&plan.quorum, &signers, &plan.cause.requester) {
            return Err(Error::ApprovalsMissing(missing.to_string()));
        }
        let first = approvals.first();
        let switch_no = first.and_then(|a| a.decision.switch_no);
        let holds = first.map_or_else(Vec::new, |a| a.decision.holds.clone());
        Ok(mandate_of(&approvals, switch_no, holds))
    }

    /// Records a refusal, once per actor, code and basis.
    pub(crate) async fn note_refusal(
        &self,
        session: &Session,
        live: &Live,
        plan: impl Into<Option<Hash>>,
        error: &Error,
    ) -> Result<(), Error> {
        let plan: Option<Hash> = plan.into();
        let cutoff = Cutoff::of(error);
        let entered = self.enter_run(session, live.row.id, None, false).await?;
        let result = async {
            let note = self.prepare(session, sql::NOTE_REFUSAL).await?;
            let basis = entered.basis.1;
            let row = session
                .query_one(
                    &note,
                    &[
                        &live.row.id,
                        &self.actor,
                        &cutoff.code,
                        &basis.as_bytes().as_slice(),
                    ],
                )
                .await
                .map_err(DbError::from)?;
            if !row.try_get::<_, bool>(0).map_err(DbError::from)? {
                self.rollback(session).await;
                return Ok(());
            }
            let mut pages = Pages::after(
                self.common(live, &entered),
                entered.seq,
                entered.head,
                entered.state,
            );
            let mut body = json!({"code": cutoff.code, "message": cutoff.message});
            if let Some(plan) = plan {
                body["plan"] = json!(plan.to_string());
            }
            pages.push(Kind::PlanRefused, None, body)?;
            if entered.state.is_terminal() {
                seal(&mut pages, None, entered.state.as_str())?;
            }
            self.settle(
                session,
                &entered,
                &pages,
                &Moved::nothing(entered.phase.as_deref()),
            )
            .await
        }
        .await;
        if result.is_err() {
            self.rollback(session).await;
        }
        result
    }
}

/// The mandate of a person who needs nobody's signature, for a run that no failure has held.
pub(crate) fn unsigned() -> Mandate {
    mandate_of(&[], None, Vec::new())
}

pub(crate) fn mandate_of(
    approvals: &[Approval],
    switch_no: Option<i64>,
    holds: Vec<Uuid>,
) -> Mandate {
    // The decision that statements see: the strongest role among those who signed.
    let strongest = approvals.iter().max_by_key(|a| a.signer.role);
    let decision = strongest.map_or(Value::Null, |a| {
        let own = |s: &&EnvelopeSignature| s.keyid == a.signer.key_id;
        let signature = a.envelope.signatures.iter().find(own);
        json!({
            "id": a.decision.id.to_string(),
            "principal": a.signer.principal,
            "payload": a.envelope.payload,
            "signature": signature.map(|s| s.sig.clone()),
        })
    });
    let mut decisions: Vec<String> = Vec::new();
    for approval in approvals {
        let id = approval.decision.id.to_string();
        // An envelope that several have signed is one decision.
        if !decisions.contains(&id) {
            decisions.push(id);
        }
    }
    Mandate::Approved {
        switch_no,
        holds,
        decision,
        decisions,
    }
}
