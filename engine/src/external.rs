//! What stands behind a phase whose effect lies outside the database: one atomic act, a probe, and a way back.
//!
//! ```text
//! prepare -> [intent recorded] -> act -> [outcome recorded]          undo: [intent recorded] -> undo -> [recorded]
//!                                  \-- died, late, or unclear: probe -> done | not done | unknown (held)
//! ```
//!
//! **Invariant:** nothing outside is changed before its intent stands in the log, with the idempotency key and what
//! the way back needs. The key is the same for every try of one phase in one round, and another one when the phase
//! was undone and runs again.
//!
//! **What can go wrong:** a worker that was frozen behind its intent acts late, when another one has probed "not done"
//! and acts too, or when a kill is in force. No database can stop that act; the switch is asked once more right before it,
//! and the commit of its outcome is refused. So whoever carries the act out (a server, a program) must do one key
//! once, and must not do a key any more whose undo it has done.
//!
//! **Not here:** what is recorded when, and who asks (`outside`, `undo`).

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value};
use thiserror::Error;

use crate::adapter::{AdapterError, Applied, Finding};
use crate::definition::{Compensation, Phase};

/// What an external adapter is called with.
#[derive(Clone, Copy, Debug)]
pub struct ExternalCall<'a> {
    /// The phase of the definition that the run is pinned to.
    pub phase: &'a Phase,
    /// The context that pointers look into: `/run`, `/input`, `/phases`, and in a compensation `/plan`, `/decision`.
    pub context: &'a Value,
    /// The idempotency key of what is done now: of the act, or of the undo.
    pub key: &'a str,
    /// The key of the act; in an undo the one that is undone.
    pub act_key: &'a str,
    /// What `prepare` gave before the act; null in `prepare` itself.
    pub prepared: &'a Value,
    /// What the act kept for the way back ([`Applied::undo`]); null while going forward.
    pub undo: &'a Value,
    /// Folder for artefacts, when the process has one.
    pub artefacts: Option<&'a Path>,
    /// When the engine gives this call up; one that can be ended (a process) is best ended a little before.
    pub limit: Duration,
}

/// What a probe found.
#[derive(Clone, Debug, PartialEq)]
pub enum Probe<T> {
    /// It was done, with this outcome.
    Done(T),
    /// It was not done.
    NotDone,
    /// It cannot be told; why not, in words. The run is held, and a person looks.
    Unknown(String),
}

impl<T> Probe<T> {
    /// The word for labels.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Done(_) => "done",
            Self::NotDone => "not_done",
            Self::Unknown(_) => "unknown",
        }
    }
}

/// An act or an undo did not say "done".
#[derive(Debug, Error)]
pub enum ActError {
    /// Nothing was done, for certain; the error's class says whether it is tried again.
    #[error(transparent)]
    NotDone(AdapterError),
    /// It may have been done: the probe is asked.
    #[error("{0}")]
    Unknown(String),
}

impl ActError {
    /// Nothing was done, and another try may succeed.
    pub fn again(why: impl Into<String>) -> Self {
        Self::NotDone(AdapterError::Transient(why.into()))
    }

    /// Nothing was done, and the answer is no.
    pub fn refused(why: impl Into<String>) -> Self {
        Self::NotDone(AdapterError::Business(why.into()))
    }

    /// It may have been done.
    pub fn unknown(why: impl Into<String>) -> Self {
        Self::Unknown(why.into())
    }
}

/// How a phase is taken back. There is no default: an adapter that does not say does not compile.
pub enum WayBack<'a> {
    /// By its own act, with its own probe.
    Undo(&'a dyn Undo),
    /// Not at all; the definition must say `irreversible` too.
    Irreversible,
    /// The phase changes nothing outside, so there is nothing to take back; `compensation: none`.
    Nothing,
}

/// The code behind phases that act outside the database. One adapter serves many phases; what differs stands in each
/// phase's `with`.
#[async_trait]
pub trait ExternalAdapter: Send + Sync {
    /// The name that definitions use.
    fn name(&self) -> &str;

    /// Judges a phase's `with`, without a database; paths are below `with`.
    fn check(&self, phase: &Phase) -> Vec<Finding>;

    /// How a phase with this `with` is taken back.
    fn way_back(&self, phase: &Phase) -> WayBack<'_>;

    /// Looks, without changing anything, and gives what the way back needs. Stored with the intent, before the act.
    async fn prepare(&self, call: &ExternalCall<'_>) -> Result<Value, AdapterError>;

    /// Does the one atomic act. May be called again with the same key, when the probe said that it was not done.
    async fn act(&self, call: &ExternalCall<'_>) -> Result<Applied, ActError>;

    /// Says, without changing anything, whether the act of this key was done.
    async fn probe(&self, call: &ExternalCall<'_>) -> Probe<Applied>;
}

/// The way back of an external phase.
#[async_trait]
pub trait Undo: Send + Sync {
    /// Judges, without changing anything, whether the undo may be done; [`AdapterError::Guard`] when not.
    async fn guard(&self, _call: &ExternalCall<'_>) -> Result<(), AdapterError> {
        Ok(())
    }

    /// Takes the act back, as one atomic act of its own; returns what was touched, for people.
    async fn undo(&self, call: &ExternalCall<'_>) -> Result<Map<String, Value>, ActError>;

    /// Says, without changing anything, whether the undo of this key was done.
    async fn probe_undo(&self, call: &ExternalCall<'_>) -> Probe<Map<String, Value>>;
}

/// What is wrong with a phase of an external adapter: it must declare the way back that its adapter has.
pub fn judge(index: usize, phase: &Phase, adapter: &dyn ExternalAdapter) -> Vec<Finding> {
    let finding = |below: &str, message: &str| Finding {
        path: format!("/phases/{index}{below}"),
        code: "RD0126",
        message: message.to_owned(),
    };
    let mut findings: Vec<Finding> = adapter
        .check(phase)
        .into_iter()
        .map(|below| Finding {
            path: format!("/phases/{index}/with{}", below.path),
            ..below
        })
        .collect();
    if let Some(pointer) = of_a_runbook(&phase.with) {
        let text = format!("only a step of a runbook has such a value: {pointer}");
        findings.push(Finding {
            code: "RD0123",
            ..finding("/with", &text)
        });
    }
    if !phase.writes.is_empty() {
        let text = "the phase acts outside the database and writes no relation";
        findings.push(finding("/writes", text));
    }
    if !phase.locks.is_empty() {
        let text = "the phase acts outside the database and locks no relation";
        findings.push(finding("/locks", text));
    }
    if phase.role.is_some() {
        let text = "the phase acts outside the database, where no database role counts";
        findings.push(finding("/role", text));
    }
    // How it is taken back is asked only of a sound `with`.
    if !findings.is_empty() {
        return findings;
    }
    let wrong = match (phase.compensation, adapter.way_back(phase)) {
        (Compensation::Irreversible, _)
        | (Compensation::Restore | Compensation::SoftRevert, WayBack::Undo(_))
        | (Compensation::None, WayBack::Nothing) => None,
        (Compensation::None, WayBack::Undo(_)) => {
            Some("the phase acts outside the database and has an undo: declare `restore`")
        }
        (Compensation::None, WayBack::Irreversible) => Some(
            "the phase acts outside the database and declares no way back: give it an undo and `restore`, or say `irreversible`",
        ),
        (Compensation::Restore | Compensation::SoftRevert, WayBack::Irreversible) => Some(
            "the phase declares a way back and has no undo: give it one, or say `irreversible`",
        ),
        (Compensation::Restore | Compensation::SoftRevert, WayBack::Nothing) => {
            Some("the phase changes nothing, so there is nothing to take back: declare `none`")
        }
        (Compensation::Decide | Compensation::HardDelete, _) => Some(
            "the phase acts outside the database: it is taken back by its undo (`restore`), or `irreversible`",
        ),
    };
    findings.extend(wrong.map(|text| finding("/compensation", text)));
    findings
}

/// The first pointer in a `with` that leads to what only a runbook's step has.
fn of_a_runbook(with: &Value) -> Option<&str> {
    match with {
        Value::Object(fields) => {
            let own = fields.get("pointer").and_then(Value::as_str);
            let roots = ["/params", "/steps", "/execution"];
            let own = own.filter(|text| roots.iter().any(|root| text.starts_with(root)));
            own.or_else(|| fields.values().find_map(of_a_runbook))
        }
        Value::Array(list) => list.iter().find_map(of_a_runbook),
        _ => None,
    }
}

/// Longest number that a record holds exactly.
const EXACT_MAX: u64 = (1 << 53) - 1;

/// Levels below which a value from outside is kept as text: a record has a few around it.
const DEPTH_MAX: usize = 40;

/// What comes from outside, as a record can hold it: numbers that are not exact, and text with NUL, become text.
pub(crate) fn tamed(value: Value) -> Value {
    tame(value, 0)
}

fn tame(value: Value, depth: usize) -> Value {
    match value {
        Value::Array(_) | Value::Object(_) if depth >= DEPTH_MAX => {
            Value::String(value.to_string().replace('\0', "\u{fffd}"))
        }
        Value::Number(number) => {
            let exact = number
                .as_i64()
                .is_some_and(|n| n.unsigned_abs() <= EXACT_MAX);
            if exact {
                Value::Number(number)
            } else {
                Value::String(number.to_string())
            }
        }
        Value::String(text) if text.contains('\0') => Value::String(text.replace('\0', "\u{fffd}")),
        Value::Array(list) => list.into_iter().map(|one| tame(one, depth + 1)).collect(),
        Value::Object(fields) => Value::Object(tame_fields(fields, depth)),
        other => other,
    }
}

/// As [`tamed`], for the fields of an object.
pub(crate) fn tamed_fields(fields: Map<String, Value>) -> Map<String, Value> {
    tame_fields(fields, 0)
}

fn tame_fields(fields: Map<String, Value>, depth: usize) -> Map<String, Value> {
    fields
        .into_iter()
        .map(|(name, value)| (name.replace('\0', "\u{fffd}"), tame(value, depth + 1)))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_record_cannot_hold_becomes_text() {
        let check = |given: Value, kept: Value| assert_eq!(tamed(given), kept);
        check(json!(1.5), json!("1.5"));
        check(
            json!(9_007_199_254_740_991_u64),
            json!(9_007_199_254_740_991_u64),
        );
        check(json!(9_007_199_254_740_992_u64), json!("9007199254740992"));
        check(
            json!(-9_007_199_254_740_992_i64),
            json!("-9007199254740992"),
        );
        check(
            json!({"a\u{0}": ["b\u{0}", null, true]}),
            json!({"a\u{fffd}": ["b\u{fffd}", null, true]}),
        );
    }
}
