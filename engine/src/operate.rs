//! What a person does to a run: plan, approve, apply, cancel, resume, resolve.
//!
//! **Invariant:** what was approved is exactly what runs: the stored plan, by its digest, on its basis. Every envelope
//! is verified against the local trust roots before anything is written, and again before it is acted on.
//!
//! **What can go wrong:** two people apply one plan: the second finds the basis or the state moved and hears "stale".

use std::collections::BTreeMap;

use redress_ledger::decision::{Basis, Decision, Expected, Purpose};
use redress_ledger::envelope::EnvelopeSignature;
use redress_ledger::key::SigningKey;
use redress_ledger::quorum::{Signer, quorum_missing};
use redress_ledger::state::{Event, State};
use redress_ledger::{Envelope, Hash, Kind, sign};
use redress_sql as sql;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::compensate::{Mandate, Unwind, standing};
use crate::crash;
use crate::db::{DbError, Session};
use crate::drive::Outcome;
use crate::engine::{Engine, Inner};
use crate::error::Error;
use crate::failure::Cutoff;
use crate::hold::quorum_for;
use crate::log::Pages;
use crate::name::Name;
use crate::phase::seal;
use crate::plan::{Action, Cause, CauseKind, Plan, Policy};
use crate::run::{Live, RunRow};
use crate::tx::{Entered, Moved, hash_at};

/// A plan that is stored.
#[derive(Clone, Debug)]
pub struct StoredPlan {
    /// Its digest.
    pub digest: Hash,
    /// The plan.
    pub plan: Plan,
}

/// An approval that was recorded.
#[derive(Clone, Debug)]
pub struct Approval {
    /// Who signed.
    pub signer: Signer,
    /// The decision.
    pub decision: Decision,
    /// The whole envelope.
    pub envelope: Envelope,
}

impl Engine {
    /// Plans the compensation of a run and stores the plan. Equal circumstances give the equal plan.
    ///
    /// # Errors
    /// [`Error::WrongState`] when nothing can be planned; [`Error::UnknownRun`].
    pub async fn plan(
        &self,
        run: Uuid,
        overrides: BTreeMap<Name, Action>,
        reason: &str,
    ) -> Result<StoredPlan, Error> {
        let inner = &self.inner;
        let session = inner.session().await?;
        let live = inner.live(&session, run).await?;
        if !matches!(
            live.story.state,
            State::Failed | State::Stuck | State::Completed
        ) {
            return Err(wrong_state(
                &live,
                "a failed, stuck or completed run is planned for",
            ));
        }
        let kind = match (&live.story.failed, &live.row.error) {
            (Some(phase), Some((code, message))) => CauseKind::Failure {
                phase: phase.clone(),
                code: code.clone(),
                message: message.clone(),
            },
            _ => CauseKind::Requested {},
        };
        let cause = Cause {
            kind,
            reason: reason.to_owned(),
            requester: inner.actor.clone(),
        };
        let policy = Policy {
            artefact_adapters: inner.artefact_adapters(),
            overrides,
        };
        let basis = Basis {
            seq: live.row.basis.0,
            hash: live.row.basis.1,
        };
        let plan = inner.plan_for(&live, basis, &cause, &policy, None);
        let digest = plan.digest()?;
        if live.row.plan == Some(digest) {
            return Ok(StoredPlan { digest, plan });
        }
        let entered = inner.enter_run(&session, run, None, false).await?;
        let result = async {
            same_head(&live, &entered)?;
            let mut pages = Pages::after(
                inner.common(&live, &entered),
                entered.seq,
                entered.head,
                entered.state,
            );
            inner.push_plan(&session, &mut pages, &plan).await?;
            crash::point("plan.before_commit");
            let moved = Moved {
                plan: Some(digest),
                ..Moved::nothing(entered.phase.as_deref())
            };
            inner.settle(&session, &entered, &pages, &moved).await
        }
        .await;
        if result.is_err() {
            inner.rollback(&session).await;
        }
        result.map(|()| StoredPlan { digest, plan })
    }

    /// Finds a stored plan by its digest, by a prefix of it, or by its run's id.
    ///
    /// # Errors
    /// [`Error::UnknownPlan`].
    pub async fn find_plan(&self, text: &str) -> Result<StoredPlan, Error> {
        let inner = &self.inner;
        let session = inner.session().await?;
        if let Ok(run) = text.parse::<Uuid>() {
            let row = session
                .query_opt(inner.sql.text(sql::PLAN_OF_RUN), &[&run])
                .await
                .map_err(DbError::from)?
                .ok_or_else(|| Error::UnknownPlan(text.to_owned()))?;
            let digest = hash_at(&row, 0)?;
            let plan = inner.plan_by_digest(&session, digest).await?;
            return Ok(StoredPlan { digest, plan });
        }
        let unknown = || Error::UnknownPlan(text.to_owned());
        if text.len() < 8 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(unknown());
        }
        let rows = session
            .query(
                inner.sql.text(sql::PLANS_BY_PREFIX),
                &[&text.to_ascii_lowercase()],
            )
            .await
            .map_err(DbError::from)?;
        let [row] = rows.as_slice() else {
            return Err(unknown());
        };
        let digest = hash_at(row, 0)?;
        let plan = inner.plan_by_digest(&session, digest).await?;
        Ok(StoredPlan { digest, plan })
    }

    /// Makes the decision that approves a plan, for somebody to sign: it names the kill and the holds in force now.
    ///
    /// # Errors
    /// [`Error::StalePlan`], [`Error::PlanRefused`].
    pub async fn decision_on(&self, stored: &StoredPlan, reason: &str) -> Result<Decision, Error> {
        let inner = &self.inner;
        let session = inner.session().await?;
        let live = inner.live(&session, stored.plan.run).await?;
        inner.check_appliable(&live, stored)?;
        let now = inner.now(&session).await?;
        let switch = inner.read_switch(&session).await?;
        let holds = inner.holds_on(&session, &live.row).await?;
        let requester = &stored.plan.cause.requester;
        Ok(Decision {
            run: Some(live.row.id),
            basis: Some(stored.plan.basis),
            plan: Some(stored.digest),
            switch_no: switch.map(|s| s.switch_no),
            holds: holds.iter().map(|(id, _)| *id).collect(),
            policy: Some(live.loaded.digest),
            ..inner.decision(Purpose::PlanApprove, reason, requester, &now)?
        })
    }

    /// Signs the approval of a plan and records it.
    ///
    /// # Errors
    /// As [`Engine::approve_envelope`].
    pub async fn approve(
        &self,
        stored: &StoredPlan,
        key: &SigningKey,
        reason: &str,
    ) -> Result<Approval, Error> {
        let decision = self.decision_on(stored, reason).await?;
        let envelope = sign(&decision, key)?;
        crash::point("decision.signed");
        self.approve_envelope(stored, envelope).await
    }

    /// Verifies an envelope that approves a plan and records it.
    ///
    /// # Errors
    /// [`Error::NoTrust`], [`Error::Decision`] (unknown key, bad signature, for another run, basis, plan, environment,
    /// expired, replayed), [`Error::StalePlan`].
    pub async fn approve_envelope(
        &self,
        stored: &StoredPlan,
        envelope: Envelope,
    ) -> Result<Approval, Error> {
        let inner = &self.inner;
        let session = inner.session().await?;
        let live = inner.live(&session, stored.plan.run).await?;
        inner.check_appliable(&live, stored)?;
        let now = inner.now(&session).await?;
        let judged = inner.judge_approval(&live, stored, &envelope, &now);
        let judged = judged.and_then(|counting| {
            counting.into_iter().next().ok_or_else(|| {
                Error::ApprovalsMissing("the requester of a plan cannot approve it".to_owned())
            })
        });
        let approval = match judged {
            Ok(approval) => approval,
            Err(error) => {
                inner
                    .note_refusal(&session, &live, stored.digest, &error)
                    .await?;
                return Err(error);
            }
        };
        let entered = inner.enter_run(&session, live.row.id, None, false).await?;
        let result = async {
            same_head(&live, &entered)?;
            let mut pages = Pages::after(
                inner.common(&live, &entered),
                entered.seq,
                entered.head,
                entered.state,
            );
            let body = json!({
                "plan": stored.digest.to_string(),
                "decision_id": approval.decision.id.to_string(),
                "principal": approval.signer.principal,
                "role": approval.signer.role.as_str(),
                "key": approval.signer.key_id.to_string(),
                "envelope": envelope.to_value(),
            });
            pages.push(Kind::PlanApproved, None, body)?;
            inner
                .settle(
                    &session,
                    &entered,
                    &pages,
                    &Moved::nothing(entered.phase.as_deref()),
                )
                .await
        }
        .await;
        if result.is_err() {
            inner.rollback(&session).await;
        }
        match result {
            Err(Error::Db(error)) if error.constraint() == Some("decision_is_used_once") => {
                Err(Error::Replayed(approval.decision.id))
            }
            other => other.map(|()| approval),
        }
    }

    /// The approvals of a plan that count now.
    ///
    /// # Errors
    /// [`Error::NoTrust`] when there are approvals and no trust roots to judge them.
    pub async fn approvals(&self, stored: &StoredPlan) -> Result<Vec<Approval>, Error> {
        let inner = &self.inner;
        let session = inner.session().await?;
        let live = inner.live(&session, stored.plan.run).await?;
        let now = inner.now(&session).await?;
        inner.valid_approvals(&live, stored, &now)
    }

    /// Carries out an approved plan, exactly as stored.
    ///
    /// # Errors
    /// [`Error::StalePlan`], [`Error::ApprovalsMissing`], [`Error::PlanRefused`], [`Error::GuardRefused`]: nothing was
    /// changed. [`Error::Stuck`]: rolled back, a person must act. The gate's refusals.
    pub async fn apply(&self, stored: &StoredPlan) -> Result<Outcome, Error> {
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
        let now = inner.now(&session).await?;
        let approvals = inner.valid_approvals(&live, stored, &now)?;
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
        };
        match inner.unwind(&mut session, &mut live, &unwind).await {
            Ok(()) => {
                inner.after_unwind(&live).await;
                Ok(Outcome::Compensated(
                    inner.run_row(&session, live.row.id).await?,
                ))
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

    /// Stops a running run: it fails, and goes the definition's way.
    ///
    /// # Errors
    /// [`Error::WrongState`] unless it runs.
    pub async fn cancel(&self, run: Uuid, reason: &str) -> Result<RunRow, Error> {
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
        let trust = inner.trust.as_ref().ok_or(Error::NoTrust)?;
        let session = inner.session().await?;
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
        let verified = envelope.verify(trust)?;
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
    pub(crate) async fn plan_by_digest(
        &self,
        session: &Session,
        digest: Hash,
    ) -> Result<Plan, Error> {
        let read = self.prepare(session, sql::PLAN_BY_DIGEST).await?;
        let row = session
            .query_opt(&read, &[&digest.as_bytes().as_slice()])
            .await
            .map_err(DbError::from)?;
        let row = row.ok_or_else(|| Error::UnknownPlan(digest.to_string()))?;
        let bytes: Vec<u8> = row.try_get(2).map_err(DbError::from)?;
        let plan = Plan::from_canonical(&bytes)?;
        if Hash::of(&bytes) != digest {
            return Err(Error::Inconsistent(format!(
                "the stored plan is not the one of its digest {digest}"
            )));
        }
        Ok(plan)
    }

    /// Holds in force that bear on a run, with the run whose failure set each.
    pub(crate) async fn holds_on(
        &self,
        session: &Session,
        row: &RunRow,
    ) -> Result<Vec<(Uuid, Option<Uuid>)>, Error> {
        let list = self.prepare(session, sql::LIST_HOLDS).await?;
        let rows = session
            .query(&list, &[&true])
            .await
            .map_err(DbError::from)?;
        let id = row.id.to_string();
        let mut holds = Vec::new();
        for found in &rows {
            let scope: &str = found.try_get(1).map_err(DbError::from)?;
            let target: Option<&str> = found.try_get(2).map_err(DbError::from)?;
            let bears = match scope {
                "saga" => target == Some(row.saga.as_str()),
                "subject" => target.is_some() && target == row.subject.as_deref(),
                "run" => target == Some(id.as_str()),
                _ => true,
            };
            if bears {
                holds.push((
                    found.try_get(0).map_err(DbError::from)?,
                    found.try_get(3).map_err(DbError::from)?,
                ));
            }
        }
        Ok(holds)
    }

    fn check_appliable(&self, live: &Live, stored: &StoredPlan) -> Result<(), Error> {
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

    fn expected_of<'a>(&'a self, live: &Live, stored: &StoredPlan, now: &'a str) -> Expected<'a> {
        let mut expected = Expected::new(
            Purpose::PlanApprove,
            &self.installation.origin,
            self.installation.generation,
            now,
        );
        expected.run = Some(live.row.id);
        expected.basis = Some(stored.plan.basis);
        expected.plan = Some(stored.digest);
        expected
    }

    /// One approval for each who signed the envelope and did not ask for the plan.
    fn judge_approval(
        &self,
        live: &Live,
        stored: &StoredPlan,
        envelope: &Envelope,
        now: &str,
    ) -> Result<Vec<Approval>, Error> {
        let trust = self.trust.as_ref().ok_or(Error::NoTrust)?;
        let verified = envelope.verify(trust)?;
        verified
            .decision
            .check(&self.expected_of(live, stored, now))?;
        let requester = &stored.plan.cause.requester;
        let counting = verified
            .signers
            .into_iter()
            .filter(|signer| &signer.principal != requester);
        Ok(counting
            .map(|signer| Approval {
                signer,
                decision: verified.decision.clone(),
                envelope: envelope.clone(),
            })
            .collect())
    }

    /// Approvals in the log that still verify, against the local roots, for this very plan.
    fn valid_approvals(
        &self,
        live: &Live,
        stored: &StoredPlan,
        now: &str,
    ) -> Result<Vec<Approval>, Error> {
        let digest = stored.digest.to_string();
        let mut approvals = Vec::new();
        for entry in live
            .story
            .entries
            .iter()
            .filter(|e| e.record.kind == Kind::PlanApproved)
        {
            if entry.record.body.get("plan").and_then(Value::as_str) != Some(digest.as_str()) {
                continue;
            }
            let Some(envelope) = entry.record.body.get("envelope") else {
                continue;
            };
            let envelope = Envelope::from_value(envelope)?;
            match self.judge_approval(live, stored, &envelope, now) {
                Ok(counting) => approvals.extend(counting),
                Err(Error::NoTrust) => return Err(Error::NoTrust),
                // It counted once; an expired or revoked signer counts no more.
                Err(error) => tracing::info!(%error, plan = digest, "approval does not count"),
            }
        }
        Ok(approvals)
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
    pub(crate) fn mandate_of_started(
        &self,
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
        let mut approvals = self.valid_approvals(live, &stored, at)?;
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
    async fn note_refusal(
        &self,
        session: &Session,
        live: &Live,
        plan: Hash,
        error: &Error,
    ) -> Result<(), Error> {
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
            let body =
                json!({"plan": plan.to_string(), "code": cutoff.code, "message": cutoff.message});
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
        let policy = Policy {
            artefact_adapters: self.artefact_adapters(),
            ..Policy::default()
        };
        let plan = self.plan_for(live, basis, &cause, &policy, None);
        let digest = self.push_plan(session, &mut pages, &plan).await?;
        let moved = Moved {
            wait_ms: Some(0),
            keep_claims: false,
            error: Some(("RD0217", reason)),
            plan: Some(digest),
            ..Moved::nothing(None)
        };
        let hold = if plan.automatic && !plan.refused {
            let body = json!({"plan": digest.to_string(), "automatic": true});
            pages.push_event(Kind::PlanStarted, &Event::PlanStarted, None, body)?;
            None
        } else {
            Some(
                self.push_hold(session, live, &mut pages, reason, "RD0217", &entered.at)
                    .await?,
            )
        };
        self.settle(session, entered, &pages, &moved).await?;
        Ok(hold)
    }
}

fn mandate_of(approvals: &[Approval], switch_no: Option<i64>, holds: Vec<Uuid>) -> Mandate {
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

fn same_head(live: &Live, entered: &Entered) -> Result<(), Error> {
    if live.row.basis == entered.basis && live.story.state == entered.state {
        Ok(())
    } else {
        Err(Error::StalePlan(live.row.id))
    }
}

fn wrong_state(live: &Live, needed: &'static str) -> Error {
    Error::WrongState {
        run: live.row.id,
        state: live.story.state.as_str().to_owned(),
        needed,
    }
}
