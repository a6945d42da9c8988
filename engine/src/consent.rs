//! Signatures that a phase needs before it may run: asked for, recorded, counted.
//!
//! **Invariant:** a phase with `approvals` runs only when the quorum is met by decisions in the run's log that verify here
//! and now, about this run and this phase, recorded since the phase was last undone; who asked for the run is not counted.
//!
//! **What can go wrong:** a signature that has expired, or whose key was revoked, before the phase ran counts no more: the
//! run waits again. A worker that is driving the run while somebody signs is fenced and claims it anew.
//!
//! **Not here:** approvals of plans (`approve`).

use redress_ledger::decision::{Decision, Expected, Purpose};
use redress_ledger::key::SigningKey;
use redress_ledger::quorum::{Quorum, Signer};
use redress_ledger::state::State;
use redress_ledger::{Envelope, Kind, Verified, sign};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::approve::{Approval, signed_body};
use crate::crash;
use crate::db::Session;
use crate::definition::Phase;
use crate::engine::{Engine, Inner};
use crate::error::Error;
use crate::log::Pages;
use crate::operate::wrong_state;
use crate::run::{Live, RunRow};
use crate::story::Story;
use crate::telemetry::Told;
use crate::tx::Moved;
use crate::view::still_missing;

/// What a run waits that waits for people: nothing wakes it but a signature.
pub(crate) const FOR_PEOPLE_MS: u64 = 100 * 365 * 24 * 3_600 * 1_000;

impl Engine {
    /// Makes the decision that lets a phase of a run go on, for somebody to sign.
    ///
    /// # Errors
    /// [`Error::WrongState`] when the run has ended, or the phase needs nobody, has committed, or is none of the run's.
    pub async fn decision_on_phase(
        &self,
        run: Uuid,
        phase: &str,
        reason: &str,
    ) -> Result<Decision, Error> {
        let inner = &self.inner;
        let session = inner.session().await?;
        let live = inner.live(&session, run).await?;
        let phase = awaiting(&live, phase)?;
        let now = inner.now(&session).await?;
        Ok(Decision {
            run: Some(run),
            phase: Some(phase.name.to_string()),
            policy: Some(live.loaded.digest),
            ..inner.decision(Purpose::PhaseApprove, reason, &live.row.requester, &now)?
        })
    }

    /// Signs that a phase of a run may go on, and records it.
    ///
    /// # Errors
    /// As [`Engine::approve_phase_envelope`].
    pub async fn approve_phase(
        &self,
        run: Uuid,
        phase: &str,
        key: &SigningKey,
        reason: &str,
    ) -> Result<Approval, Error> {
        let decision = self.decision_on_phase(run, phase, reason).await?;
        let envelope = sign(&decision, key)?;
        crash::point("decision.signed");
        self.approve_phase_envelope(run, phase, envelope).await
    }

    /// Verifies an envelope that lets a phase go on, and records it; the run is looked at again at once.
    ///
    /// # Errors
    /// [`Error::NoTrust`], [`Error::Decision`] (unknown key, bad signature, for another run or phase, expired, replayed),
    /// [`Error::WrongState`], [`Error::ApprovalsMissing`] when the signer asked for the run.
    pub async fn approve_phase_envelope(
        &self,
        run: Uuid,
        phase: &str,
        envelope: Envelope,
    ) -> Result<Approval, Error> {
        let inner = &self.inner;
        let session = inner.session().await?;
        // The epoch is raised with it, since a worker that drives the run knows another head.
        let entered = inner.enter_run(&session, run, None, true).await?;
        let mut decision = None;
        let result = async {
            let live = inner.live(&session, run).await?;
            let phase = awaiting(&live, phase)?;
            let trusted = inner.trusted(&session).await?;
            let verified = trusted.verify_new(&envelope)?;
            let about = Consents::of(&live, phase);
            let counting = about.judge(inner, verified, &envelope, &entered.at)?;
            let approval = counting.into_iter().next().ok_or_else(|| {
                Error::ApprovalsMissing("who asked for a run cannot approve its phases".to_owned())
            })?;
            decision = Some(approval.decision.id);
            let mut pages = Pages::after(
                inner.common(&live, &entered),
                entered.seq,
                entered.head,
                entered.state,
            );
            let mut body = signed_body(&approval, &envelope, trusted.seq);
            body["phase"] = json!(phase.name);
            pages.push(Kind::Decision, None, body)?;
            let moved = Moved {
                wait_ms: Some(0),
                ..Moved::nothing(entered.phase.as_deref())
            };
            inner.settle(&session, &entered, &pages, &moved).await?;
            Ok(approval)
        }
        .await;
        if result.is_err() {
            inner.rollback(&session).await;
        }
        match result {
            Err(Error::Db(error)) if error.constraint() == Some("decision_is_used_once") => {
                Err(Error::Replayed(decision.unwrap_or_default()))
            }
            other => other,
        }
    }

    /// Who must still sign before a phase may run; nobody when it is empty.
    ///
    /// # Errors
    /// As [`Engine::decision_on_phase`].
    pub async fn phase_lacks(&self, run: Uuid, phase: &str) -> Result<Quorum, Error> {
        let inner = &self.inner;
        let session = inner.session().await?;
        let live = inner.live(&session, run).await?;
        let phase = awaiting(&live, phase)?;
        let now = inner.now(&session).await?;
        let about = Consents::of(&live, phase);
        let (_, missing) = inner.consents(&session, &about, &now).await?;
        Ok(missing)
    }
}

impl Inner {
    /// Lets a phase go on when everybody has signed who must; otherwise says who is missing. What counts becomes
    /// `/approvals` of the context, and stands in the phase's record.
    pub(crate) async fn consent(
        &self,
        session: &Session,
        live: &mut Live,
        phase: &Phase,
    ) -> Result<Quorum, Error> {
        let (approvals, missing) = if phase.approvals.is_empty() {
            (Vec::new(), Quorum::new())
        } else {
            let now = self.now(session).await?;
            self.consents(session, &Consents::of(live, phase), &now)
                .await?
        };
        let shown: Vec<Value> = approvals
            .iter()
            .map(|one| {
                let own = one.envelope.signatures.iter();
                let own = own.clone().find(|signed| signed.keyid == one.signer.key_id);
                json!({
                    "principal": one.signer.principal,
                    "key": one.signer.key_id.to_string(),
                    "signature": own.map(|signed| signed.sig.clone()),
                })
            })
            .collect();
        // Since when the run has been at this phase, for one that waits.
        let (basis, _) = live.story.basis;
        let since = live
            .story
            .entries
            .iter()
            .find(|one| one.record.seq == basis);
        let since = since.map_or(Value::Null, |one| json!(one.record.at));
        if let Some(context) = live.context.as_object_mut() {
            context.insert("approvals".to_owned(), Value::Array(shown));
            context["run"]["since"] = since;
        }
        live.consents = approvals.iter().map(|one| one.decision.id).collect();
        live.consents.dedup();
        Ok(missing)
    }

    /// The approvals of a phase that count now, and who is missing.
    pub(crate) async fn consents(
        &self,
        session: &Session,
        about: &Consents<'_>,
        now: &str,
    ) -> Result<(Vec<Approval>, Quorum), Error> {
        let mut approvals = Vec::new();
        let phase = about.phase;
        let since = undone_at(about.story, phase);
        for entry in &about.story.entries {
            let record = &entry.record;
            let named = record.body.get("phase").and_then(Value::as_str);
            if record.kind != Kind::Decision
                || record.seq <= since
                || named != Some(phase.name.as_str())
            {
                continue;
            }
            let Some(envelope) = record.body.get("envelope") else {
                continue;
            };
            let envelope = Envelope::from_value(envelope)?;
            let trusted = self.trusted(session).await?;
            let verified = trusted.verify(&envelope).map_err(Error::from);
            match verified.and_then(|verified| about.judge(self, verified, &envelope, now)) {
                Ok(counting) => approvals.extend(counting),
                // It counted once; an expired or revoked signer counts no more.
                Err(error) => {
                    tracing::info!(error = %Told(&error), code = error.code(), phase = phase.name.as_str(), "approval does not count")
                }
            }
        }
        let signers: Vec<Signer> = approvals.iter().map(|one| one.signer.clone()).collect();
        let missing = still_missing(&phase.approvals, &signers, &about.row.requester);
        Ok((approvals, missing))
    }
}

/// What signatures have to be about.
pub(crate) struct Consents<'a> {
    /// The run's row.
    pub row: &'a RunRow,
    /// The run's log.
    pub story: &'a Story,
    /// The phase.
    pub phase: &'a Phase,
}

impl<'a> Consents<'a> {
    fn of(live: &'a Live, phase: &'a Phase) -> Self {
        Self {
            row: &live.row,
            story: &live.story,
            phase,
        }
    }

    /// One approval for each who signed and did not ask for the run.
    fn judge(
        &self,
        inner: &Inner,
        verified: Verified,
        envelope: &Envelope,
        now: &str,
    ) -> Result<Vec<Approval>, Error> {
        let installation = &inner.installation;
        let mut expected = Expected::new(
            Purpose::PhaseApprove,
            &installation.origin,
            installation.generation,
            now,
        );
        expected.run = Some(self.row.id);
        expected.phase = Some(self.phase.name.as_str());
        verified.decision.check(&expected)?;
        let requester = &self.row.requester;
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
}

/// The phase, if signatures for it may still count.
fn awaiting<'l>(live: &'l Live, name: &str) -> Result<&'l Phase, Error> {
    let phase = live.definition().phase(name);
    let needs = phase.filter(|phase| !phase.approvals.is_empty());
    let Some(phase) = needs else {
        return Err(wrong_state(
            live,
            "a phase is approved that the saga has and that needs approvals",
        ));
    };
    let done = live.story.done().contains(&phase.name);
    if done || !matches!(live.story.state, State::Running | State::Failed) {
        return Err(wrong_state(
            live,
            "a phase is approved before it has run, while the run may still reach it",
        ));
    }
    Ok(phase)
}

/// The last record that undid a phase: what was signed before it has been used up.
fn undone_at(story: &Story, phase: &Phase) -> i64 {
    let undone = story.entries.iter().rev().find(|entry| {
        entry.record.kind == Kind::CompensationCommitted
            && entry.record.body.get("phase").and_then(Value::as_str) == Some(phase.name.as_str())
    });
    undone.map_or(0, |entry| entry.record.seq)
}
