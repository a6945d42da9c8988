//! What happens when a phase fails: another attempt, the definition's way, or a hold, each in one transaction.
//!
//! **Invariant:** failure record, state, plan, hold and switch commit together. Files, snapshots and alerts follow and
//! are repeated by nobody's memory but the log's.
//!
//! **What can go wrong:** death before the failure is recorded: the run is claimed again and the phase tried again;
//! claims are counted in the database, so a phase that kills its worker ends as poison. Death after it: the post
//! snapshot and the hold file are missing; the hold itself is in force.

use redress_ledger::decision::Basis;
use redress_ledger::state::Event;
use redress_ledger::{Class, Hash, Kind};
use redress_sql as sql;
use serde_json::{Value, json};

use crate::crash;
use crate::db::{DbError, Session};
use crate::definition::{OnFailure, Phase};
use crate::engine::Inner;
use crate::error::Error;
use crate::log::Pages;
use crate::name::Name;
use crate::outside::Settled;
use crate::plan::{self, Action, Cause, CauseKind, Plan, Policy, Trigger};
use crate::planning::history_of;
use crate::run::Live;
use crate::tx::{Entered, Moved};

/// What was decided about a failure.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Try again after this many milliseconds.
    Again(u64),
    /// It was allowed to fail: the next phase runs.
    PassedOver,
    /// The plan runs by itself.
    Compensating,
    /// A person must act.
    Held,
}

impl Outcome {
    /// The word for labels.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Again(_) => "again",
            Self::PassedOver => "passed_over",
            Self::Compensating => "compensating",
            Self::Held => "held",
        }
    }
}

/// Why a run stops.
#[derive(Clone, Debug)]
pub(crate) struct Cutoff {
    pub code: String,
    pub message: String,
    pub class: Class,
    pub sqlstate: Option<String>,
    /// How an act outside is settled by this failure; `None` leaves the doubt.
    pub outside: Option<Settled>,
}

impl Cutoff {
    pub fn of(error: &Error) -> Self {
        Self {
            code: error.code_inside().to_owned(),
            message: clipped(&error.to_string()),
            class: error.class(),
            sqlstate: error.sqlstate().map(str::to_owned),
            outside: None,
        }
    }
}

/// Error texts come from anywhere; a record holds this much of one, and never a NUL.
fn clipped(text: &str) -> String {
    const TEXT_CHARS_MAX: usize = 2_000;
    text.chars()
        .filter(|c| *c != '\0')
        .take(TEXT_CHARS_MAX)
        .collect()
}

impl Inner {
    /// Records a failed attempt and decides what follows.
    pub(crate) async fn fail(
        &self,
        session: &Session,
        live: &Live,
        phase: &Phase,
        cutoff: &Cutoff,
    ) -> Result<Outcome, Error> {
        let attempt = live.row.attempts + 1;
        let tries = i32::try_from(phase.retry.attempts).unwrap_or(i32::MAX);
        if cutoff.class == Class::Retry && attempt < tries {
            let wait_ms = backoff(phase, attempt);
            self.record_attempt(session, live, phase, cutoff, attempt, wait_ms)
                .await?;
            return Ok(Outcome::Again(wait_ms));
        }
        let entered = self
            .enter_run(session, live.row.id, Some(live.row.epoch), false)
            .await?;
        let result = self
            .fail_for_good(session, live, phase, cutoff, attempt, &entered)
            .await;
        if result.is_err() {
            self.rollback(session).await;
        }
        result
    }

    async fn record_attempt(
        &self,
        session: &Session,
        live: &Live,
        phase: &Phase,
        cutoff: &Cutoff,
        attempt: i32,
        wait_ms: u64,
    ) -> Result<(), Error> {
        let entered = self
            .enter_run(session, live.row.id, Some(live.row.epoch), false)
            .await?;
        let mut pages = Pages::after(
            self.common(live, &entered),
            entered.seq,
            entered.head,
            entered.state,
        );
        let body = failure_body(phase, cutoff, attempt, false);
        pages.push_event(Kind::PhaseFailed, &Event::AttemptFailed, None, body)?;
        let moved = Moved {
            attempts: Some(attempt),
            wait_ms: Some(i64::try_from(wait_ms).unwrap_or(i64::MAX)),
            error: Some((&cutoff.code, &cutoff.message)),
            ..Moved::nothing(Some(phase.name.as_str()))
        };
        self.settle(session, &entered, &pages, &moved).await
    }

    async fn fail_for_good(
        &self,
        session: &Session,
        live: &Live,
        phase: &Phase,
        cutoff: &Cutoff,
        attempt: i32,
        entered: &Entered,
    ) -> Result<Outcome, Error> {
        let mut pages = Pages::after(
            self.common(live, entered),
            entered.seq,
            entered.head,
            entered.state,
        );
        let mut body = failure_body(phase, cutoff, attempt, true);
        let error = Some((cutoff.code.as_str(), cutoff.message.as_str()));
        // What may have been done outside is not passed over.
        let settled = live.story.in_doubt().is_none();
        if phase.on_failure == OnFailure::Continue && settled && !needs_a_person(cutoff.class) {
            body["continue"] = Value::Bool(true);
            self.pass_over(session, live, phase, cutoff, entered, pages, body)
                .await?;
            return Ok(Outcome::PassedOver);
        }
        let basis = pages.push_event(Kind::PhaseFailed, &Event::PhaseFailed, None, body)?;
        let basis = Basis {
            seq: pages.seq,
            hash: basis,
        };
        let (plan, digest, no_rewind) = self
            .push_plan_of_failure(session, live, &mut pages, basis, phase, cutoff)
            .await?;
        let automatic = plan.automatic && !plan.refused && !needs_a_person(cutoff.class);
        let moved = Moved {
            attempts: Some(0),
            wait_ms: Some(0),
            keep_claims: false,
            failed_phase: Some(phase.name.as_str()),
            error,
            plan: Some(digest),
            ..Moved::nothing(None)
        };
        if automatic {
            pages.push_event(
                Kind::PlanStarted,
                &Event::PlanStarted,
                None,
                json!({"plan": digest.to_string(), "automatic": true}),
            )?;
            crash::point("plan.before_commit");
            self.settle(session, entered, &pages, &moved).await?;
            return Ok(Outcome::Compensating);
        }
        let mut reason = format!("phase {} failed: {}", phase.name, cutoff.message);
        if let Some(why) = no_rewind {
            reason.push_str(&format!("; not rewound: {why}"));
        }
        let hold = self
            .push_hold(
                session,
                live,
                &mut pages,
                &reason,
                &cutoff.code,
                &entered.at,
            )
            .await?;
        self.publish_for_failure(session, live, &reason, cutoff.class)
            .await?;
        crash::point("plan.before_commit");
        self.settle(session, entered, &pages, &moved).await?;
        self.aftermath(live, &hold).await;
        Ok(Outcome::Held)
    }

    /// Records the failure of a phase that may fail, and goes on to the next one.
    #[expect(clippy::too_many_arguments, reason = "one transaction's parts")]
    async fn pass_over(
        &self,
        session: &Session,
        live: &Live,
        phase: &Phase,
        cutoff: &Cutoff,
        entered: &Entered,
        mut pages: Pages<'_>,
        body: Value,
    ) -> Result<(), Error> {
        pages.push_event(Kind::PhaseFailed, &Event::AttemptFailed, None, body)?;
        let mut done = live.story.done();
        done.insert(phase.name.clone());
        let next = live.definition().next_phase(&done).map(|p| p.name.clone());
        if next.is_none() {
            crate::phase::seal(&mut pages, Some(&Event::RunCompleted), "completed")?;
        }
        let moved = Moved {
            attempts: Some(0),
            keep_claims: false,
            error: Some((&cutoff.code, &cutoff.message)),
            ..Moved::nothing(next.as_ref().map(Name::as_str))
        };
        self.settle(session, entered, &pages, &moved).await
    }

    /// Plans what the definition says about this failure. A rewind that is refused (its target is used up, say) is a
    /// record, and what a person is offered is the plan of the whole way back; why it was refused is returned.
    async fn push_plan_of_failure(
        &self,
        session: &Session,
        live: &Live,
        pages: &mut Pages<'_>,
        basis: Basis,
        phase: &Phase,
        cutoff: &Cutoff,
    ) -> Result<(Plan, Hash, Option<String>), Error> {
        let mut no_rewind = None;
        if let OnFailure::RewindTo {
            phase: target,
            then,
        } = &phase.on_failure
        {
            let kind = CauseKind::RewindTo {
                phase: target.clone(),
                then: *then,
                from: Some(phase.name.clone()),
                trigger: Trigger::Automatic,
            };
            let cause = self.cause_of(kind, cutoff);
            let plan = self.plan_for(live, basis, &cause, &self.policy(), Some(&phase.name));
            let digest = self.push_plan(session, pages, &plan).await?;
            if !plan.refused {
                return Ok((plan, digest, None));
            }
            let refused = plan.actions.iter().find(|a| a.action == Action::Refuse);
            no_rewind = refused.map(|action| action.why.clone());
        }
        let kind = CauseKind::Failure {
            phase: phase.name.clone(),
            code: cutoff.code.clone(),
            message: cutoff.message.clone(),
        };
        let cause = self.cause_of(kind, cutoff);
        let plan = self.plan_for(live, basis, &cause, &self.policy(), Some(&phase.name));
        let digest = self.push_plan(session, pages, &plan).await?;
        Ok((plan, digest, no_rewind))
    }

    fn cause_of(&self, kind: CauseKind, cutoff: &Cutoff) -> Cause {
        Cause {
            kind,
            reason: cutoff.message.clone(),
            requester: self.actor.clone(),
        }
    }

    /// What the engine itself plans by.
    pub(crate) fn policy(&self) -> Policy {
        Policy {
            artefact_adapters: self.artefact_adapters(),
            ..Policy::default()
        }
    }

    /// Plans from a run's story, as of a basis.
    pub(crate) fn plan_for(
        &self,
        live: &Live,
        basis: Basis,
        cause: &Cause,
        policy: &Policy,
        failed: Option<&Name>,
    ) -> Plan {
        let history = history_of(live.row.id, &live.story, basis, failed);
        plan::plan(live.definition(), &history, cause, policy)
    }

    /// Stores a plan and adds its record, inside the open transaction.
    pub(crate) async fn push_plan(
        &self,
        session: &Session,
        pages: &mut Pages<'_>,
        plan: &Plan,
    ) -> Result<Hash, Error> {
        let canonical = plan.canonical()?;
        let digest = Hash::of(&canonical);
        let put = self.prepare(session, sql::PUT_PLAN).await?;
        session
            .query_one(
                &put,
                &[
                    &digest.as_bytes().as_slice(),
                    &plan.run,
                    &plan.basis.seq,
                    &canonical,
                ],
            )
            .await
            .map_err(DbError::from)?;
        let actions: Vec<Value> = plan
            .actions
            .iter()
            .map(|a| json!({"phase": a.phase.as_str(), "action": a.action.as_str()}))
            .collect();
        let mut body = json!({
            "plan": digest.to_string(),
            "basis": {"seq": plan.basis.seq, "hash": plan.basis.hash.to_string()},
            "actions": actions,
            "quorum": plan.quorum,
            "automatic": plan.automatic,
            "requester": plan.cause.requester,
        });
        if let Some(rewind) = rewind_value(plan) {
            body["rewind"] = rewind;
        }
        pages.push(Kind::PlanMade, None, body)?;
        Ok(digest)
    }

    /// Names of the adapters here that keep artefacts.
    pub(crate) fn artefact_adapters(&self) -> std::collections::BTreeSet<String> {
        self.adapters
            .values()
            .filter(|a| a.keeps_artefacts())
            .map(|a| a.name().to_owned())
            .collect()
    }
}

/// What the records of a rewind say of it; `target` is the record that is undone last.
pub(crate) fn rewind_value(plan: &Plan) -> Option<Value> {
    let CauseKind::RewindTo {
        phase,
        then,
        from,
        trigger,
    } = &plan.cause.kind
    else {
        return None;
    };
    Some(json!({
        "to": phase,
        "then": then,
        "from": from,
        "trigger": trigger,
        "target": target_seq(plan),
    }))
}

/// The record of a rewind's target.
pub(crate) fn target_seq(plan: &Plan) -> Option<i64> {
    let target = plan.stops_at.as_ref()?;
    let action = plan.actions.iter().find(|a| a.phase == *target)?;
    action.record.map(|record| record.seq)
}

fn failure_body(phase: &Phase, cutoff: &Cutoff, attempt: i32, last: bool) -> Value {
    let mut body = json!({
        "phase": phase.name.as_str(),
        "attempt": attempt,
        "code": cutoff.code,
        "message": cutoff.message,
        "sqlstate": cutoff.sqlstate,
        "final": last,
    });
    if let Some(settled) = cutoff.outside {
        body["outside"] = Value::from(settled.as_str());
    }
    body
}

fn needs_a_person(class: Class) -> bool {
    matches!(class, Class::Hold | Class::Kill)
}

/// Doubles from `backoff` to `max`, with up to a quarter of jitter so that runs that failed together part.
fn backoff(phase: &Phase, attempt: i32) -> u64 {
    let doublings = u32::try_from(attempt - 1).unwrap_or(0).min(20);
    let wait = phase
        .retry
        .backoff_ms
        .saturating_mul(1 << doublings)
        .min(phase.retry.max_ms);
    let noise = u64::from(rand_core::RngCore::next_u32(&mut rand_core::OsRng));
    wait + wait / 4 * noise / u64::from(u32::MAX)
}
