//! Takes a phase back whose effect lies outside the database: intent of the undo, undo, outcome, and the probes.
//!
//! **Invariant:** nothing is undone before the intent stands in the log, and nothing twice unless the probe of the undo
//! says that it was not done. A phase of which only the intent stands is asked first whether it acted at all.
//!
//! **What can go wrong:** death between intent and outcome: whoever goes on with the plan asks the undo's own probe.
//! What cannot be told ends `stuck` with a hold; the next plan asks again.

use std::sync::Arc;
use std::time::Duration;

use redress_ledger::Kind;
use redress_ledger::time::parse_utc;
use serde_json::{Map, Value, json};

use crate::action::{compensation_context, is_refusal, push_action, refusal};
use crate::adapter::AdapterError;
use crate::compensate::{Unwind, Unwound};
use crate::crash;
use crate::db::Session;
use crate::definition::Phase;
use crate::engine::{Inner, Loan};
use crate::error::Error;
use crate::external::{
    ActError, ExternalAdapter, ExternalCall, Probe, Undo, WayBack, tamed, tamed_fields,
};
use crate::log::Pages;
use crate::outside::{asked, awaited};
use crate::plan::{Action, PlannedAction};
use crate::run::{Live, keep};
use crate::story::Intent;
use crate::tx::Moved;

/// What is to be taken back.
struct Taken {
    key: String,
    act_key: String,
    prepared: Value,
    undo: Value,
}

impl Taken {
    fn of(act: &Intent, undo: Value) -> Self {
        Self {
            key: format!("{}.undo", act.key),
            act_key: act.key.clone(),
            prepared: act.prepared.clone(),
            undo,
        }
    }

    fn call<'a>(
        &'a self,
        phase: &'a Phase,
        context: &'a Value,
        artefacts: Option<&'a std::path::Path>,
    ) -> ExternalCall<'a> {
        ExternalCall {
            phase,
            context,
            key: &self.key,
            act_key: &self.act_key,
            prepared: &self.prepared,
            undo: &self.undo,
            artefacts,
            limit: Duration::from_millis(phase.timeout_ms),
        }
    }
}

impl Inner {
    /// The phase and the adapter of an action that is done outside the database.
    pub(crate) fn acts_outside(
        &self,
        live: &Live,
        action: &PlannedAction,
    ) -> Option<(Phase, Arc<dyn ExternalAdapter>)> {
        if !matches!(action.action, Action::SoftRevert | Action::Restore) {
            return None;
        }
        let phase = live.definition().phase(action.phase.as_str())?;
        Some((phase.clone(), Arc::clone(self.external(phase)?)))
    }

    /// The guard of an undo, before anything of the plan was begun.
    pub(crate) async fn guard_outside(
        &self,
        live: &Live,
        phase: &Phase,
        adapter: &dyn ExternalAdapter,
        context: &Value,
        unwind: &Unwind<'_>,
    ) -> Result<(), Error> {
        // Whether there is anything to undo is asked when the plan is carried out.
        if live.story.intents.contains_key(&phase.name)
            || live.story.undos.contains_key(&phase.name)
        {
            return Ok(());
        }
        let undo = undo_of(adapter, phase)?;
        let taken = committed(live, phase)?;
        match self.guarded(phase, undo, &taken, context).await {
            Err(Error::Adapter(error))
                if is_refusal(&error) && live.story.running_plan != Some(unwind.digest) =>
            {
                Err(refusal(phase, error))
            }
            other => other,
        }
    }

    async fn guarded(
        &self,
        phase: &Phase,
        undo: &dyn Undo,
        taken: &Taken,
        context: &Value,
    ) -> Result<(), Error> {
        let artefacts = self.artefacts()?;
        let call = taken.call(phase, context, artefacts.as_deref());
        match awaited(call.limit, undo.guard(&call)).await {
            Ok(judged) => Ok(judged?),
            Err(unanswered) => Err(AdapterError::Transient(unanswered.why()).into()),
        }
    }

    /// One action of a stepwise plan whose phase acted outside.
    pub(crate) async fn take_back(
        &self,
        session: &mut Loan,
        live: &mut Live,
        unwind: &Unwind<'_>,
        action: &PlannedAction,
        phase: &Phase,
        adapter: &dyn ExternalAdapter,
    ) -> Result<Unwound, Error> {
        let undo = undo_of(adapter, phase)?;
        let context = compensation_context(live, unwind);
        let begun = live.story.undos.get(&phase.name).cloned();
        let doubt = live.story.intents.get(&phase.name).cloned();
        let doubt = doubt.filter(|intent| intent.open);
        let taken = match (&doubt, &begun) {
            // The undo was begun, so the act was done.
            (_, Some(begun)) => Taken {
                key: begun.key.clone(),
                act_key: begun
                    .key
                    .strip_suffix(".undo")
                    .unwrap_or(&begun.key)
                    .to_owned(),
                prepared: begun.prepared.clone(),
                undo: begun.undo.clone(),
            },
            (Some(act), None) => match self.acted(session, live, phase, adapter, act).await? {
                Some(kept) => Taken::of(act, kept),
                None => {
                    return self
                        .record_back(session, live, unwind, action, not_done())
                        .await;
                }
            },
            (None, None) => committed(live, phase)?,
        };
        if begun.is_some() {
            match self.undone(phase, undo, &taken, &context).await? {
                Probe::Done(touched) => {
                    return self
                        .record_back(session, live, unwind, action, touched)
                        .await;
                }
                Probe::NotDone => {}
                Probe::Unknown(why) => return Err(in_doubt(phase, "the undo", why)),
            }
        }
        self.guarded(phase, undo, &taken, &context).await?;
        let end = self
            .intend_back(session, live, unwind, phase, &taken)
            .await?;
        if let Unwound::Not { .. } = end {
            return Ok(end);
        }
        crash::point("undo.intended");
        // Switch, holds, basis and claim once more, right before the undo.
        let passed = self.enter_compensation(session, live, unwind).await;
        self.rollback(session).await;
        passed?;
        let touched = self.undo_outside(phase, undo, &taken, &context).await?;
        let end = self
            .record_back(session, live, unwind, action, touched)
            .await?;
        crash::point("undo.recorded");
        Ok(end)
    }

    /// Whether an act in doubt was done: what it kept for the way back, or nothing when it was not done.
    async fn acted(
        &self,
        session: &Session,
        live: &Live,
        phase: &Phase,
        adapter: &dyn ExternalAdapter,
        act: &Intent,
    ) -> Result<Option<Value>, Error> {
        let mut found = self.probed(live, phase, adapter, act).await?;
        if found == Probe::NotDone {
            // Whoever began it may still be at it: its own limit is waited for, then it is asked once more.
            let left = self.left_of(session, phase, act).await?;
            if !left.is_zero() {
                tokio::time::sleep(left).await;
                found = self.probed(live, phase, adapter, act).await?;
            }
        }
        match found {
            Probe::Done(applied) => Ok(Some(tamed(applied.undo))),
            Probe::NotDone => Ok(None),
            Probe::Unknown(why) => Err(in_doubt(phase, "the act", why)),
        }
    }

    /// How long an act may still go on, by its intent and the database's clock.
    async fn left_of(
        &self,
        session: &Session,
        phase: &Phase,
        act: &Intent,
    ) -> Result<Duration, Error> {
        let limit = Duration::from_millis(phase.timeout_ms);
        let now = self.now(session).await?;
        let (Some(now), Some(at)) = (parse_utc(&now), parse_utc(&act.at)) else {
            return Ok(limit);
        };
        let gone = Duration::try_from(now.duration_since(at)).unwrap_or_default();
        Ok(limit.saturating_sub(gone))
    }

    async fn undone(
        &self,
        phase: &Phase,
        undo: &dyn Undo,
        taken: &Taken,
        context: &Value,
    ) -> Result<Probe<Map<String, Value>>, Error> {
        let artefacts = self.artefacts()?;
        let call = taken.call(phase, context, artefacts.as_deref());
        Ok(asked(phase, || undo.probe_undo(&call)).await)
    }

    /// Does the undo; when it does not say how it ended, its probe does.
    async fn undo_outside(
        &self,
        phase: &Phase,
        undo: &dyn Undo,
        taken: &Taken,
        context: &Value,
    ) -> Result<Map<String, Value>, Error> {
        let artefacts = self.artefacts()?;
        let call = taken.call(phase, context, artefacts.as_deref());
        let undone = awaited(call.limit, undo.undo(&call)).await;
        crash::point("undo.acted");
        let why = match undone {
            Ok(Ok(touched)) => return Ok(touched),
            Ok(Err(ActError::NotDone(error))) => return Err(error.into()),
            Ok(Err(ActError::Unknown(why))) => why,
            Err(unanswered) => unanswered.why(),
        };
        match self.undone(phase, undo, taken, context).await? {
            Probe::Done(touched) => Ok(touched),
            Probe::NotDone => {
                let text = format!("{why}; the probe says that it was not undone");
                Err(AdapterError::Transient(text).into())
            }
            Probe::Unknown(unknown) => Err(in_doubt(
                phase,
                "the undo",
                format!("{why}; the probe: {unknown}"),
            )),
        }
    }

    async fn intend_back(
        &self,
        session: &Session,
        live: &mut Live,
        unwind: &Unwind<'_>,
        phase: &Phase,
        taken: &Taken,
    ) -> Result<Unwound, Error> {
        let entered = self.enter_compensation(session, live, unwind).await?;
        let mut pages = Pages::after(
            self.common(live, &entered),
            entered.seq,
            entered.head,
            entered.state,
        );
        let mut blobs = Vec::new();
        let body = json!({
            "phase": phase.name.as_str(),
            "way": "back",
            "plan": unwind.digest.to_string(),
            "prepared": keep(taken.prepared.clone(), &mut blobs),
            "undo": keep(taken.undo.clone(), &mut blobs),
        });
        pages.push(Kind::PhaseIntended, Some(taken.key.clone()), body)?;
        self.put_blobs(session, live.row.id, &blobs).await?;
        let end = self
            .end_step(session, &entered, &pages, &Moved::nothing(None))
            .await?;
        if let Unwound::Done = end {
            self.take_records(live, pages.bytes)?;
            // As they are here: the record may only name the blobs.
            if let Some(intent) = live.story.undos.get_mut(&phase.name) {
                intent.prepared = taken.prepared.clone();
                intent.undo = taken.undo.clone();
            }
        }
        Ok(end)
    }

    async fn record_back(
        &self,
        session: &Session,
        live: &mut Live,
        unwind: &Unwind<'_>,
        action: &PlannedAction,
        touched: Map<String, Value>,
    ) -> Result<Unwound, Error> {
        let entered = self.enter_compensation(session, live, unwind).await?;
        let mut pages = Pages::after(
            self.common(live, &entered),
            entered.seq,
            entered.head,
            entered.state,
        );
        push_action(&mut pages, action, unwind, tamed_fields(touched))?;
        let moved = Moved {
            keep_claims: false,
            ..Moved::nothing(None)
        };
        let end = self.end_step(session, &entered, &pages, &moved).await?;
        if let Unwound::Done = end {
            self.take_records(live, pages.bytes)?;
        }
        Ok(end)
    }
}

/// A committed phase, as its records have it.
fn committed(live: &Live, phase: &Phase) -> Result<Taken, Error> {
    let stands = live.story.committed.iter().find(|c| c.phase == phase.name);
    let with_intent = stands.and_then(|c| Some((c, c.intent.as_ref()?)));
    let Some((committed, intent)) = with_intent else {
        let text = format!(
            "phase {} has no intent in the log, so what it did outside is not known",
            phase.name
        );
        return Err(AdapterError::Hold(text).into());
    };
    Ok(Taken::of(intent, committed.undo.clone()))
}

fn undo_of<'a>(adapter: &'a dyn ExternalAdapter, phase: &Phase) -> Result<&'a dyn Undo, Error> {
    match adapter.way_back(phase) {
        WayBack::Undo(undo) => Ok(undo),
        WayBack::Irreversible | WayBack::Nothing => Err(AdapterError::Unsupported {
            adapter: adapter.name().to_owned(),
            action: "undo",
        }
        .into()),
    }
}

/// What the record of an action says whose phase had not acted.
fn not_done() -> Map<String, Value> {
    Map::from_iter([("outside".to_owned(), Value::from("not_done"))])
}

fn in_doubt(phase: &Phase, what: &'static str, why: String) -> Error {
    Error::InDoubt {
        phase: phase.name.to_string(),
        what,
        why,
    }
}
