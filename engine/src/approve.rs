//! Approvals of a plan: made, judged and recorded.
//!
//! **Invariant:** every envelope is verified against the local trust roots before anything is written, and again
//! before it is acted on; who asked for a plan does not approve it.

use redress_ledger::decision::{Decision, DecisionError, Expected, Purpose};
use redress_ledger::key::SigningKey;
use redress_ledger::quorum::Signer;
use redress_ledger::{Envelope, Kind, Verified, sign};
use serde_json::{Value, json};

use crate::crash;
use crate::db::Session;
use crate::engine::{Engine, Inner};
use crate::error::Error;
use crate::log::Pages;
use crate::operate::same_head;
use crate::planning::StoredPlan;
use crate::run::Live;
use crate::telemetry::Told;
use crate::tx::Moved;

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

/// By which keys an approval in the log is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judged {
    /// By those that count now: for what is about to begin.
    Now,
    /// By those that counted when it was recorded: for what was begun by it and has to be finished.
    ThenAsRecorded,
}

impl Engine {
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
        let trusted = inner.trusted(&session).await?;
        let switch = inner.read_switch(&session).await?;
        let switch_no = switch.map_or(0, |switch| switch.switch_no);
        let verified = trusted.verify_new(&envelope);
        let judged = verified.and_then(|verified| {
            let when = (inner.installation.generation, now.as_str());
            check_own(&verified, &live, switch_no)?;
            let counting = inner.judge_approval(verified, &live, stored, &envelope, when)?;
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
            let mut body = signed_body(&approval, &envelope, trusted.seq);
            body["plan"] = json!(stored.digest);
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
        inner
            .valid_approvals(&session, &live, stored, &now, Judged::Now)
            .await
    }
}

/// Checks what a decision says beside what it must say: it may have been written by anybody's own tool, and what it says
/// is signed and recorded for ever. Whoever it names as having asked does not sign.
fn check_own(verified: &Verified, live: &Live, switch_no: i64) -> Result<(), Error> {
    let decision = &verified.decision;
    if decision.hold.is_some() {
        return Err(DecisionError::OtherHold(decision.id).into());
    }
    if decision.phase.is_some() {
        return Err(DecisionError::OtherPhase(decision.id).into());
    }
    // One that was made before the newest kill is good, and passes no kill that it does not name.
    if decision
        .switch_no
        .is_some_and(|no| !(0..=switch_no).contains(&no))
    {
        return Err(DecisionError::OtherSwitch(decision.id).into());
    }
    if decision
        .policy
        .is_some_and(|policy| policy != live.loaded.digest)
    {
        return Err(DecisionError::Field("policy").into());
    }
    let mut signers = verified.signers.iter();
    if signers.all(|signer| signer.principal == decision.requester) {
        let text = "the decision names its own signer as the requester, who cannot approve";
        return Err(Error::ApprovalsMissing(text.to_owned()));
    }
    Ok(())
}

/// What a record says of an approval, beside what it is about.
pub(crate) fn signed_body(approval: &Approval, envelope: &Envelope, keyring: i64) -> Value {
    json!({
        "decision_id": approval.decision.id.to_string(),
        "principal": approval.signer.principal,
        "role": approval.signer.role.as_str(),
        "key": approval.signer.key_id.to_string(),
        "envelope": envelope.to_value(),
        "keyring": keyring,
    })
}

impl Inner {
    fn expected_of<'a>(
        &'a self,
        live: &Live,
        stored: &StoredPlan,
        (generation, now): (i64, &'a str),
    ) -> Expected<'a> {
        let mut expected = Expected::new(
            Purpose::PlanApprove,
            &self.installation.origin,
            generation,
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
        verified: Verified,
        live: &Live,
        stored: &StoredPlan,
        envelope: &Envelope,
        when: (i64, &str),
    ) -> Result<Vec<Approval>, Error> {
        verified
            .decision
            .check(&self.expected_of(live, stored, when))?;
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

    /// Approvals in the log that verify for this very plan, by the keys that count now or that counted when each was
    /// recorded.
    pub(crate) async fn valid_approvals(
        &self,
        session: &Session,
        live: &Live,
        stored: &StoredPlan,
        now: &str,
        keys: Judged,
    ) -> Result<Vec<Approval>, Error> {
        let digest = stored.digest.to_string();
        let mut approvals = Vec::new();
        let mut trusted = None;
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
            if trusted.is_none() {
                trusted = Some(self.trusted(session).await?);
            }
            let Some(trusted) = &trusted else { continue };
            // What counts now was decided in this generation; what is under way may have been approved in one before.
            let (verified, generation) = match keys {
                Judged::Now => (trusted.verify(&envelope), self.installation.generation),
                Judged::ThenAsRecorded => (
                    trusted.verify_in(&entry.record, &envelope),
                    entry.record.generation,
                ),
            };
            let judged = verified.map_err(Error::from).and_then(|verified| {
                self.judge_approval(verified, live, stored, &envelope, (generation, now))
            });
            match judged {
                Ok(counting) => approvals.extend(counting),
                // It counted once; an expired or revoked signer counts no more.
                Err(error) => {
                    tracing::info!(error = %Told(&error), code = error.code(), plan = digest, "approval does not count")
                }
            }
        }
        Ok(approvals)
    }
}
