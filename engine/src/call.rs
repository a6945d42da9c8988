//! An external adapter called outside a run: by a step of a runbook, under a key of its own.
//!
//! **Invariant:** whoever calls records the intent (what `prepare` gave) before the act, and asks the probe when an
//! intent stands without an outcome. One key is one act, however often it is tried.
//!
//! **Not here:** those records (`step`), and external phases of sagas (`outside`).

use std::time::Duration;

use serde_json::Value;

use crate::adapter::Applied;
use crate::definition::Phase;
use crate::engine::Engine;
use crate::error::Error;
use crate::external::{ActError, ExternalAdapter, ExternalCall, Probe, tamed, tamed_fields};
use crate::outside::{asked, awaited};

/// One call: `phase` says what and how, as a phase of a saga would.
#[derive(Clone, Copy, Debug)]
pub struct CallOut<'a> {
    /// A phase with the adapter's name, its `with` and its limits.
    pub phase: &'a Phase,
    /// What pointers look into.
    pub context: &'a Value,
    /// The idempotency key.
    pub key: &'a str,
}

impl CallOut<'_> {
    fn with<'a>(&'a self, prepared: &'a Value) -> ExternalCall<'a> {
        ExternalCall {
            phase: self.phase,
            context: self.context,
            key: self.key,
            act_key: self.key,
            prepared,
            undo: &Value::Null,
            artefacts: None,
            limit: Duration::from_millis(self.phase.timeout_ms),
        }
    }

    fn in_doubt(&self, why: String) -> Error {
        Error::InDoubt {
            phase: self.phase.name.to_string(),
            what: "the call",
            why,
        }
    }
}

impl Engine {
    fn called(&self, phase: &Phase) -> Result<&dyn ExternalAdapter, Error> {
        let adapter = self.inner.external(phase);
        let adapter = adapter.ok_or_else(|| Error::UnknownAdapter(phase.adapter.to_string()))?;
        let findings = adapter.check(phase);
        crate::engine::refuse(findings)?;
        Ok(adapter.as_ref())
    }

    /// What has to be known before the act, for its intent's record.
    ///
    /// # Errors
    /// [`Error::UnknownAdapter`], [`Error::Definition`] for a `with` that the adapter refuses, and what it says.
    pub async fn prepare_call(&self, call: &CallOut<'_>) -> Result<Value, Error> {
        let adapter = self.called(call.phase)?;
        let nothing = Value::Null;
        let call_now = call.with(&nothing);
        let limit = call_now.limit;
        match awaited(limit, adapter.prepare(&call_now)).await {
            Ok(prepared) => Ok(tamed(prepared?)),
            Err(unanswered) => {
                Err(crate::adapter::AdapterError::Transient(unanswered.why()).into())
            }
        }
    }

    /// Acts; where the adapter does not say what came of it, its probe does.
    ///
    /// # Errors
    /// What the adapter says when nothing was done; [`Error::InDoubt`] when nobody can tell.
    pub async fn call_out(&self, call: &CallOut<'_>, prepared: &Value) -> Result<Applied, Error> {
        let adapter = self.called(call.phase)?;
        let call_now = call.with(prepared);
        let limit = call_now.limit;
        match awaited(limit, adapter.act(&call_now)).await {
            Ok(Ok(applied)) => Ok(tame(applied)),
            Ok(Err(ActError::NotDone(error))) => Err(error.into()),
            Ok(Err(ActError::Unknown(_))) | Err(_) => {
                match self.probe_call(call, prepared).await? {
                    Some(applied) => Ok(applied),
                    None => Err(crate::adapter::AdapterError::Transient(
                        "it did not say what it did, and nothing was done".to_owned(),
                    )
                    .into()),
                }
            }
        }
    }

    /// What became of a call whose outcome was not recorded: done, or nothing.
    ///
    /// # Errors
    /// [`Error::InDoubt`] when the probe cannot tell.
    pub async fn probe_call(
        &self,
        call: &CallOut<'_>,
        prepared: &Value,
    ) -> Result<Option<Applied>, Error> {
        let adapter = self.called(call.phase)?;
        let call_now = call.with(prepared);
        match asked(call.phase, || adapter.probe(&call_now)).await {
            Probe::Done(applied) => Ok(Some(tame(applied))),
            Probe::NotDone => Ok(None),
            Probe::Unknown(why) => Err(call.in_doubt(why)),
        }
    }

    /// The basis of a run: the last record that changes what a plan would say.
    ///
    /// # Errors
    /// [`Error::UnknownRun`], [`Error::Archived`].
    pub async fn basis(&self, run: uuid::Uuid) -> Result<redress_ledger::decision::Basis, Error> {
        let session = self.inner.session().await?;
        let row = self.inner.hot_row(&session, run).await?;
        let (seq, hash) = row.basis;
        Ok(redress_ledger::decision::Basis { seq, hash })
    }
}

fn tame(applied: Applied) -> Applied {
    Applied {
        output: tamed_fields(applied.output),
        undo: tamed(applied.undo),
        touched: tamed_fields(applied.touched),
    }
}
