//! The holds that a recovered run's failure left: each released by a decision of its own, or counted.
//!
//! **Invariant:** only holds that were in force when the set was confirmed, and that are about this one run;
//! one on a saga or on everything is never released here.
//!
//! **What can go wrong:** death between the recovery and the release: the hold stays, and `redress status` shows it.

use std::collections::HashMap;

use redress::ledger::keyfile::KeyFile;
use redress::{Engine, EqualSet, Error, Hold, Released};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::fail::Fail;

/// A hold of a recovered run, and what became of it.
#[derive(Clone, Debug)]
pub struct Left {
    hold: Hold,
    /// Nothing when it was not to be released.
    result: Option<Result<Released, (&'static str, String)>>,
}

impl Left {
    /// Whether it is not in force any more.
    pub fn is_released(&self) -> bool {
        matches!(self.result, Some(Ok(Released::Done)))
    }

    /// Whether it was to be released and is not.
    pub fn is_refused(&self) -> bool {
        self.result.is_some() && !self.is_released()
    }

    /// What became of it, for people; nothing when nobody asked.
    pub fn told(&self) -> Option<String> {
        let (id, scope) = (self.hold.id, &self.hold.scope);
        Some(match self.result.as_ref()? {
            Ok(Released::Done) => format!("hold on the {scope} released"),
            Ok(Released::Missing(missing)) => {
                format!("hold {id} on the {scope} stays, signed: {missing}")
            }
            Err((code, why)) => format!("hold {id} on the {scope} stays: [{code}] {why}"),
        })
    }

    /// The same as JSON.
    pub fn json(&self) -> Value {
        let (missing, error) = match &self.result {
            Some(Ok(Released::Missing(missing))) => (Some(missing), None),
            Some(Err((code, why))) => (None, Some(json!({"code": code, "message": why}))),
            Some(Ok(Released::Done)) | None => (None, None),
        };
        json!({
            "id": self.hold.id,
            "scope": self.hold.scope,
            "released": self.is_released(),
            "missing": missing,
            "error": error,
        })
    }
}

/// The holds of each run of a set that end with it.
///
/// # Errors
/// [`Fail::Engine`].
pub async fn of_set(engine: &Engine, set: &EqualSet) -> Result<HashMap<Uuid, Vec<Hold>>, Fail> {
    let mut of_runs: HashMap<Uuid, Vec<Hold>> = set
        .members
        .iter()
        .map(|one| (one.run, Vec::new()))
        .collect();
    for hold in engine.holds().await? {
        let run = hold.ends_with();
        if let Some(holds) = run.and_then(|run| of_runs.get_mut(&run)) {
            holds.push(hold);
        }
    }
    Ok(of_runs)
}

/// Releases the holds of a recovered run with a key; without one they are counted. One that somebody else has released
/// meanwhile is released.
pub async fn let_go(
    engine: &Engine,
    holds: &[Hold],
    key: Option<&KeyFile>,
    reason: &str,
) -> Vec<Left> {
    let mut all = Vec::with_capacity(holds.len());
    for hold in holds {
        let result = match key {
            None => None,
            Some(key) => Some(match engine.release_hold(hold.id, &key.key, reason).await {
                Ok(released) => Ok(released),
                Err(Error::UnknownHold(_)) => Ok(Released::Done),
                Err(error) => {
                    let fail = Fail::from(error);
                    Err((fail.code(), fail.to_string()))
                }
            }),
        };
        all.push(Left {
            hold: hold.clone(),
            result,
        });
    }
    all
}

/// How holds that stay are released, once it is known which.
pub fn release_command(left: &[&Left]) -> String {
    let hold = match left {
        [one] => one.hold.id.to_string(),
        _ => "HOLD".to_owned(),
    };
    format!("redress release {hold} --as KEY --reason TEXT")
}
