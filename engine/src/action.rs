//! One action of a plan: its guard, its effect and its record, inside the compensation's transaction.
//!
//! **Invariant:** an action is carried out only when its guard held under lock, in the same transaction.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use redress_ledger::state::Event;
use redress_ledger::{Class, Kind};
use serde_json::{Map, Value, json};

use crate::adapter::{AdapterError, Call};
use crate::compensate::{Mandate, Unwind};
use crate::db::Session;
use crate::definition::Phase;
use crate::engine::Inner;
use crate::error::Error;
use crate::log::Pages;
use crate::phase::panic_text;
use crate::phase_tx::PhaseTx;
use crate::plan::{Action, PlannedAction};
use crate::run::Live;

impl Inner {
    /// Runs every guard in a transaction that is rolled back: if one refuses, nothing starts.
    pub(crate) async fn preflight(
        &self,
        session: &Session,
        live: &Live,
        unwind: &Unwind<'_>,
    ) -> Result<(), Error> {
        self.enter_compensation(session, live, unwind).await?;
        let context = compensation_context(live, unwind);
        let result = async {
            for action in &unwind.plan.actions {
                self.guard(session, live, action, &context, unwind).await?;
            }
            Ok(())
        }
        .await;
        self.rollback(session).await;
        result
    }

    async fn guard(
        &self,
        session: &Session,
        live: &Live,
        action: &PlannedAction,
        context: &Value,
        unwind: &Unwind<'_>,
    ) -> Result<(), Error> {
        let Some((phase, undo)) = target(live, action) else {
            return Ok(());
        };
        if let Some((phase, adapter)) = self.acts_outside(live, action) {
            return self
                .guard_outside(live, &phase, adapter.as_ref(), context, unwind)
                .await;
        }
        if self.external(phase).is_some() {
            return Ok(());
        }
        let adapter = self.adapter(phase.adapter.as_str())?;
        let artefacts = self.artefacts()?;
        let call = Call {
            phase,
            context,
            undo,
            artefacts: artefacts.as_deref(),
        };
        self.set_role(session, phase.role.as_deref()).await?;
        let tx = PhaseTx::new(session);
        let judged = caught(phase, adapter.guard(&tx, &call, action.action)).await;
        match judged {
            // Nothing was begun: a refusal here changes nothing. Once begun, the unwind fails as a whole.
            Err(Error::Adapter(error))
                if is_refusal(&error) && live.story.running_plan != Some(unwind.digest) =>
            {
                Err(refusal(phase, error))
            }
            Err(error) => Err(error),
            Ok(()) => {
                self.set_role(session, phase.role.as_ref().map(|_| "none"))
                    .await?;
                Ok(())
            }
        }
    }

    /// One action of the plan, inside the open transaction.
    pub(crate) async fn act(
        &self,
        session: &Session,
        live: &Live,
        action: &PlannedAction,
        context: &Value,
        unwind: &Unwind<'_>,
    ) -> Result<Map<String, Value>, Error> {
        if matches!(action.action, Action::Nothing | Action::Discard) {
            return Ok(Map::new());
        }
        self.guard(session, live, action, context, unwind).await?;
        let Some((phase, undo)) = target(live, action) else {
            return Err(Error::Inconsistent(format!(
                "phase {} is in no definition of the run",
                action.phase
            )));
        };
        let adapter = self.adapter(phase.adapter.as_str())?;
        let artefacts = self.artefacts()?;
        let call = Call {
            phase,
            context,
            undo,
            artefacts: artefacts.as_deref(),
        };
        self.set_role(session, phase.role.as_deref()).await?;
        let tx = PhaseTx::new(session);
        let touched = caught(phase, adapter.revert(&tx, &call, action.action)).await?;
        if tx.tried_refused() {
            let text = "the adapter tried to end or change the transaction and hid the refusal";
            return Err(AdapterError::Hold(text.to_owned()).into());
        }
        self.set_role(session, phase.role.as_ref().map(|_| "none"))
            .await?;
        Ok(touched)
    }
}

/// A guard's no, before anything was begun.
pub(crate) fn refusal(phase: &Phase, error: AdapterError) -> Error {
    Error::GuardRefused {
        phase: phase.name.to_string(),
        code: error.code(),
        why: match error {
            AdapterError::Guard(why) => why,
            other => other.to_string(),
        },
    }
}

/// Whether a guard said no, in the engine's words or in the adapter's own.
pub(crate) fn is_refusal(error: &AdapterError) -> bool {
    match error {
        AdapterError::Guard(_) => true,
        AdapterError::Coded { class, .. } => matches!(class, Class::Business | Class::Refused),
        _ => false,
    }
}

async fn caught<T>(
    phase: &Phase,
    work: impl Future<Output = Result<T, AdapterError>>,
) -> Result<T, Error> {
    let limit = Duration::from_millis(phase.timeout_ms);
    match tokio::time::timeout(limit, AssertUnwindSafe(work).catch_unwind()).await {
        Err(_) => Err(Error::Timeout {
            phase: phase.name.to_string(),
            ms: phase.timeout_ms,
        }),
        Ok(Err(panic)) => Err(Error::Panic {
            phase: phase.name.to_string(),
            message: panic_text(panic.as_ref()),
        }),
        Ok(Ok(result)) => Ok(result?),
    }
}

fn target<'l>(live: &'l Live, action: &PlannedAction) -> Option<(&'l Phase, &'l Value)> {
    let phase = live.definition().phase(action.phase.as_str())?;
    let undo = live
        .story
        .committed
        .iter()
        .find(|c| c.phase == action.phase)
        .map_or(&Value::Null, |c| &c.undo);
    Some((phase, undo))
}

/// Whether an action of a started plan has its record already.
pub(crate) fn is_done(live: &Live, unwind: &Unwind<'_>, action: &PlannedAction) -> bool {
    let digest = unwind.digest.to_string();
    live.story.entries.iter().any(|entry| {
        entry.record.kind == Kind::CompensationCommitted
            && entry.record.body.get("plan").and_then(Value::as_str) == Some(digest.as_str())
            && entry.record.body.get("phase").and_then(Value::as_str) == Some(action.phase.as_str())
    })
}

pub(crate) fn push_action(
    pages: &mut Pages<'_>,
    action: &PlannedAction,
    unwind: &Unwind<'_>,
    touched: Map<String, Value>,
) -> Result<(), Error> {
    let mut body = json!({
        "plan": unwind.digest.to_string(),
        "phase": action.phase.as_str(),
        "action": action.action.as_str(),
        "reverses": action.record.map(|r| json!({"seq": r.seq, "hash": r.hash.to_string()})),
        "touched": touched,
    });
    if let Mandate::Approved { decisions, .. } = &unwind.mandate
        && matches!(action.action, Action::Decide | Action::HardDelete)
    {
        body["decisions"] = json!(decisions);
    }
    pages.push_event(
        Kind::CompensationCommitted,
        &Event::ActionCommitted,
        None,
        body,
    )?;
    Ok(())
}

/// What pointers of a compensation look into: the forward context, the plan and the decision.
pub(crate) fn compensation_context(live: &Live, unwind: &Unwind<'_>) -> Value {
    let mut context = live.context.clone();
    let decision = match &unwind.mandate {
        Mandate::Automatic => Value::Null,
        Mandate::Approved { decision, .. } => decision.clone(),
    };
    if let Some(fields) = context.as_object_mut() {
        fields.insert(
            "plan".to_owned(),
            json!({"digest": unwind.digest.to_string(), "reason": unwind.plan.cause.reason}),
        );
        fields.insert("decision".to_owned(), decision);
    }
    context
}
