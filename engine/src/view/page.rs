//! What somebody reads before signing a plan: what it changes, what must hold, whose signatures it has and until when.

use redress_ledger::quorum::Quorum;
use serde::Serialize;
use serde_json::Value;

use crate::approve::Judged;
use crate::definition::Phase;
use crate::engine::Engine;
use crate::error::Error;
use crate::name::Name;
use crate::planning::StoredPlan;

use super::signed::still_missing;

/// What a plan does, beyond its own words.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlanPage {
    /// Everything happens in one transaction; otherwise each action has its own, and a stop is gone on from.
    pub atomic: bool,
    /// Each action, in order.
    pub details: Vec<ActionPage>,
    /// The signatures that are missing now.
    pub missing: Quorum,
    /// The signatures that count now.
    pub valid: Vec<Validity>,
}

/// What an action of a plan changes and asks.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ActionPage {
    /// The phase.
    pub phase: Name,
    /// Rows that the phase touched by relation, as its record says; empty when the record names none.
    pub rows: serde_json::Map<String, Value>,
    /// The relations that the phase may change.
    pub writes: Vec<String>,
    /// What must hold under lock before the action.
    pub guards: Vec<String>,
    /// What must hold after it, before COMMIT.
    pub verifications: Vec<String>,
}

/// A signature that counts, and how long.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Validity {
    /// Who signed.
    pub principal: String,
    /// Until when, RFC 3339 UTC.
    pub not_after: String,
}

impl Engine {
    /// What a plan changes and what must hold, from its run's definition and records.
    ///
    /// # Errors
    /// [`Error::UnknownRun`]; [`Error::Log`].
    pub async fn plan_page(&self, stored: &StoredPlan) -> Result<PlanPage, Error> {
        let inner = &self.inner;
        let session = inner.session().await?;
        let live = inner.live(&session, stored.plan.run).await?;
        let now = inner.now(&session).await?;
        let found = inner
            .valid_approvals(&session, &live, stored, &now, Judged::Now)
            .await;
        let approvals = match found {
            // Without roots no signature counts here; the run's view shows what the log says.
            Err(Error::NoTrust) => Vec::new(),
            found => found?,
        };
        let signers: Vec<_> = approvals.iter().map(|one| one.signer.clone()).collect();
        let plan = &stored.plan;
        let details = plan.actions.iter().map(|action| {
            let phase = live.definition().phase(action.phase.as_str());
            ActionPage {
                phase: action.phase.clone(),
                rows: action.touches.as_object().cloned().unwrap_or_default(),
                writes: phase.map(|phase| phase.writes.clone()).unwrap_or_default(),
                guards: match action.guard {
                    true => texts(phase, "guard"),
                    false => Vec::new(),
                },
                verifications: texts(phase, "verify"),
            }
        });
        Ok(PlanPage {
            atomic: inner.is_atomic(&live, plan),
            details: details.collect(),
            missing: still_missing(&plan.quorum, &signers, &plan.cause.requester),
            valid: approvals
                .into_iter()
                .map(|one| Validity {
                    principal: one.signer.principal,
                    not_after: one.decision.not_after,
                })
                .collect(),
        })
    }
}

/// The statements of a list in a phase's `with`; an adapter that writes them otherwise has none to show.
fn texts(phase: Option<&Phase>, list: &str) -> Vec<String> {
    let listed = phase.and_then(|phase| phase.with.get(list)?.as_array());
    let text = |one: &Value| {
        let sql = one.get("sql").and_then(Value::as_str).or(one.as_str());
        sql.map(|sql| sql.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    listed.into_iter().flatten().filter_map(text).collect()
}
