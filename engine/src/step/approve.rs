//! Approvals of executions: made, judged and recorded.
//!
//! **Invariant:** an approval is for one plan, by its digest, in one log; who asked for it does not count.

use redress_ledger::Envelope;
use redress_ledger::decision::{Decision, Expected, Purpose};
use redress_ledger::key::Role;
use redress_ledger::quorum::Signer;
use serde_json::{Value, json};

use super::Execution;
use crate::approve::{Approval, signed_body};
use crate::engine::{Engine, Inner};
use crate::error::Error;

impl Engine {
    /// Makes the decision that approves an execution, for somebody to sign.
    ///
    /// # Errors
    /// [`Error::ExecutionState`] when it was begun or is over.
    pub async fn decision_on_execution(
        &self,
        execution: &Execution,
        reason: &str,
    ) -> Result<Decision, Error> {
        let inner = &self.inner;
        if !execution.state.is_open() {
            return Err(over(execution, "only one that is not over is approved"));
        }
        let session = inner.session().await?;
        let now = inner.now(&session).await?;
        Ok(Decision {
            run: Some(execution.log),
            plan: Some(execution.plan),
            ..inner.decision(Purpose::RunbookApprove, reason, &execution.made_by, &now)?
        })
    }

    /// Verifies an envelope that approves an execution and records it.
    ///
    /// # Errors
    /// [`Error::NoTrust`], [`Error::Decision`] (for another plan, run, environment; expired; unknown key),
    /// [`Error::ApprovalsMissing`] when who asked signs, [`Error::Replayed`], [`Error::ExecutionState`].
    pub async fn approve_execution(
        &self,
        execution: &Execution,
        envelope: Envelope,
    ) -> Result<Approval, Error> {
        let inner = &self.inner;
        if !execution.state.is_open() {
            return Err(over(execution, "only one that is not over is approved"));
        }
        let session = inner.session().await?;
        let now = inner.now(&session).await?;
        let trusted = inner.trusted(&session).await?;
        let verified = trusted.verify_new(&envelope)?;
        verified
            .decision
            .check(&inner.expected_approval(execution, &now))?;
        let id = verified.decision.id;
        let signers = verified.signers.into_iter();
        let counting = signers
            .filter(|signer| signer.principal != execution.made_by && signer.role != Role::Auditor);
        let approval = counting
            .map(|signer| Approval {
                signer,
                decision: verified.decision.clone(),
                envelope: envelope.clone(),
            })
            .next()
            .ok_or_else(|| {
                Error::ApprovalsMissing(
                    "who asked for an execution cannot approve it, and an auditor approves nothing"
                        .to_owned(),
                )
            })?;
        let mut body = signed_body(&approval, &envelope, trusted.seq);
        for (name, value) in [
            ("execution", json!(execution.id.to_string())),
            ("runbook", json!(execution.runbook)),
            ("version", json!(execution.version)),
            ("plan", json!(execution.plan)),
            ("event", json!("approved")),
            ("step", json!("approve")),
        ] {
            body[name] = value;
        }
        let result = inner
            .append_note(&session, execution.log, None, async |_, _| Ok(body))
            .await;
        match result {
            Err(Error::Db(error)) if error.constraint() == Some("decision_is_used_once") => {
                Err(Error::Replayed(id))
            }
            other => other.map(|()| approval),
        }
    }

    /// Who approved an execution, by the keys that count now.
    ///
    /// # Errors
    /// [`Error::NoTrust`] when there are approvals and nothing to judge them by.
    pub async fn execution_signers(&self, execution: &Execution) -> Result<Vec<Signer>, Error> {
        let inner = &self.inner;
        let session = inner.session().await?;
        let now = inner.now(&session).await?;
        let mut signers = Vec::new();
        for record in inner.notes_of(&session, execution).await? {
            if record.body.get("event").and_then(Value::as_str) != Some("approved") {
                continue;
            }
            let Some(envelope) = record.body.get("envelope") else {
                continue;
            };
            let envelope = Envelope::from_value(envelope)?;
            let trusted = inner.trusted(&session).await?;
            let judged = trusted.verify(&envelope).and_then(|verified| {
                verified
                    .decision
                    .check(&inner.expected_approval(execution, &now))?;
                Ok(verified.signers)
            });
            match judged {
                Ok(found) => signers.extend(found),
                Err(error) => {
                    tracing::info!(%error, code = error.code(), execution = %execution.id, "approval does not count")
                }
            }
        }
        signers.retain(|signer| signer.principal != execution.made_by);
        Ok(signers)
    }

    /// Who signed the plan of an execution when it was made, by the keys that count now.
    ///
    /// # Errors
    /// [`Error::NoTrust`].
    pub async fn execution_planner(&self, execution: &Execution) -> Result<Vec<Signer>, Error> {
        let inner = &self.inner;
        let session = inner.session().await?;
        let trusted = inner.trusted(&session).await?;
        for record in inner.notes_of(&session, execution).await? {
            let planned = record.body.get("event").and_then(Value::as_str) == Some("planned");
            if let (true, Some(envelope)) = (planned, record.body.get("envelope")) {
                let verified = trusted.verify(&Envelope::from_value(envelope)?);
                return Ok(verified
                    .map(|verified| verified.signers)
                    .unwrap_or_default());
            }
        }
        Ok(Vec::new())
    }
}

impl Inner {
    fn expected_approval<'a>(&'a self, execution: &Execution, now: &'a str) -> Expected<'a> {
        let mut expected = Expected::new(
            Purpose::RunbookApprove,
            &self.installation.origin,
            self.installation.generation,
            now,
        );
        expected.run = Some(execution.log);
        expected.plan = Some(execution.plan);
        expected
    }
}

fn over(execution: &Execution, needed: &'static str) -> Error {
    Error::ExecutionState {
        execution: execution.id,
        state: execution.state.as_str(),
        needed,
    }
}
