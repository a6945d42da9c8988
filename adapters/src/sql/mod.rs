//! The `sql` adapter: a phase's work, its guard and its way back as statements of a saga file.
//!
//! * `apply`: `capture` (rows kept as undo data), `apply`, then `verify`.
//! * `guard`: `guard`, for soft revert, restore and hard delete; for a decision where the phase declares `decide`.
//! * `revert`: `revert` then `verify` for a soft revert or restore, `decide`, or `guard` again and `hard_delete`.
//!
//! Every row of `guard` and `verify` must be true in its first column. No row at all passes: say `rows: {min: 1}`
//! where that would be wrong. Statements without a parameter that a statement before them reads leave in one flight.
//!
//! Rows are read one at a time. For many rows capture their keys (`form: keys`) and go back by them: a hundred thousand
//! whole numbers in a row are one range.
//!
//! ```yaml
//! with:
//!   budget: {rows: 100000, lock: 2s}     # of apply, all statements together; the longest wait for one lock
//!   capture:
//!     - {sql: select id from shop.item where state = 'old' order by id for update, as: old, form: keys}
//!   apply:
//!     - {sql: "update shop.item set state = 'new' where id <@ $1::int8multirange", params: [/undo/capture/old/0/keys]}
//!   revert:
//!     - {sql: "update shop.item set state = 'old' where id <@ $1::int8multirange", params: [/undo/capture/old/0/keys]}
//! ```
//!
//! **Invariant:** values are bound parameters of the type that the server infers; nothing is put into a text.
//!
//! **Not here:** BEGIN, the role, the record, COMMIT, retries: the engine's.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use redress::adapter::{Adapter, AdapterError, Applied, Call, Finding, Survey};
use redress::definition::{Compensation, Phase};
use redress::phase_tx::PhaseTx;
use redress::plan::Action;
use serde_json::{Map, Value, json};

mod check;
mod compile;
mod keep;
mod run;
mod survey;
pub mod with;

pub use with::{Budget, Form, RowCount, Stmt, Wait, With};

use crate::finding::read_with;
use compile::{Compiled, compile};

/// The name that saga files use.
pub const NAME: &str = "sql";
/// When so many phases are compiled, the cache starts anew.
const COMPILED_MAX: usize = 1_024;

/// Runs statements of a saga file.
#[derive(Debug, Default)]
pub struct SqlAdapter {
    hasher: RandomState,
    compiled: RwLock<HashMap<u64, Arc<Cached>>>,
}

/// A compiled phase beside what it was compiled from: a hash alone proves nothing.
#[derive(Debug)]
struct Cached {
    name: String,
    writes: Vec<String>,
    with: Value,
    compiled: Compiled,
}

impl Cached {
    fn is_of(&self, phase: &Phase) -> bool {
        self.name == phase.name.as_str() && self.with == phase.with && self.writes == phase.writes
    }
}

impl SqlAdapter {
    /// The phase's statements, compiled once a process.
    fn compiled(&self, phase: &Phase) -> Result<Arc<Cached>, AdapterError> {
        let key = self.hasher.hash_one((phase.name.as_str(), &phase.with));
        let found = self
            .compiled
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&key)
            .map(Arc::clone);
        if let Some(cached) = found.filter(|cached| cached.is_of(phase)) {
            return Ok(cached);
        }
        let with: With = read_with(&phase.with).map_err(|finding| {
            AdapterError::Hold(format!("`with{}`: {}", finding.path, finding.message))
        })?;
        let cached = Arc::new(Cached {
            name: phase.name.to_string(),
            writes: phase.writes.clone(),
            with: phase.with.clone(),
            compiled: compile(phase.name.as_str(), &phase.writes, &with),
        });
        let mut all = self
            .compiled
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if all.len() >= COMPILED_MAX {
            all.clear();
        }
        all.insert(key, Arc::clone(&cached));
        Ok(cached)
    }
}

fn unsupported(action: Action) -> AdapterError {
    AdapterError::Unsupported {
        adapter: NAME.to_owned(),
        action: action.as_str(),
    }
}

/// The statements of a compensation, when the phase has any.
fn way_back(compiled: &compile::Compiled, action: Action) -> Option<&compile::Sequence> {
    let (sequence, list) = match action {
        Action::SoftRevert | Action::Restore => (&compiled.revert, compile::List::Revert),
        Action::Decide => (&compiled.decide, compile::List::Decide),
        Action::HardDelete => (&compiled.hard_delete, compile::List::HardDelete),
        Action::Nothing | Action::Discard | Action::Refuse => return None,
    };
    let has_any = sequence.steps.iter().any(|step| step.place.list == list);
    has_any.then_some(sequence)
}

#[async_trait]
impl Adapter for SqlAdapter {
    fn name(&self) -> &str {
        NAME
    }

    fn check(&self, phase: &Phase) -> Vec<Finding> {
        check::check(phase)
    }

    async fn survey(&self, tx: &PhaseTx<'_>, phase: &Phase) -> Result<Survey, AdapterError> {
        match read_with::<With>(&phase.with) {
            Ok(with) => survey::survey(tx, phase, &with).await,
            Err(finding) => Ok(Survey {
                findings: vec![finding],
                ..Survey::default()
            }),
        }
    }

    async fn apply(&self, tx: &PhaseTx<'_>, call: &Call<'_>) -> Result<Applied, AdapterError> {
        let cached = self.compiled(call.phase)?;
        let done = run::within(&cached.compiled, tx, call).await?;
        // Never null: a record without undo data is an older engine's, and its revert is refused.
        let undo = json!({"capture": done.captured});
        Ok(Applied {
            output: done.kept,
            undo,
            touched: done.touched,
        })
    }

    async fn guard(
        &self,
        tx: &PhaseTx<'_>,
        call: &Call<'_>,
        action: Action,
    ) -> Result<(), AdapterError> {
        match action {
            Action::SoftRevert | Action::Restore | Action::HardDelete => {}
            // Where rows are to be reverted, the guard protects those rows; a decision changes none of them and is
            // the way out when that guard says no.
            Action::Decide => {}
            Action::Nothing => return Ok(()),
            Action::Discard | Action::Refuse => return Err(unsupported(action)),
        }
        let cached = self.compiled(call.phase)?;
        // Found now, before anything is begun, and not when the run would be stuck by it.
        if way_back(&cached.compiled, action).is_none() {
            return Err(AdapterError::Guard(format!(
                "the phase has no statements for {}",
                action.as_str()
            )));
        }
        if action == Action::Decide && call.phase.compensation != Compensation::Decide {
            return Ok(());
        }
        if action == Action::HardDelete && cached.compiled.guard.steps.is_empty() {
            return Err(AdapterError::Guard(
                "a hard delete needs a guard, and the phase declares none".to_owned(),
            ));
        }
        run::run(&cached.compiled.guard, tx, call).await.map(|_| ())
    }

    async fn revert(
        &self,
        tx: &PhaseTx<'_>,
        call: &Call<'_>,
        action: Action,
    ) -> Result<Map<String, Value>, AdapterError> {
        let cached = self.compiled(call.phase)?;
        let compiled = &cached.compiled;
        if action == Action::Nothing {
            return Ok(Map::new());
        }
        if action == Action::HardDelete && compiled.guard.steps.is_empty() {
            return Err(unsupported(action));
        }
        let sequence = way_back(compiled, action).ok_or_else(|| unsupported(action))?;
        Ok(run::run(sequence, tx, call).await?.touched)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use redress::definition::Definition;

    /// A phase `p` of its own saga, as a file would give it.
    pub(crate) fn phase(compensation: &str, with: Value) -> Phase {
        let saga = json!({
            "saga": "s", "version": 1, "description": "", "input": {},
            "phases": [{"name": "p", "adapter": "sql", "writes": ["s.a"], "compensation": compensation, "with": with}],
        });
        let definition: Definition = serde_json::from_value(saga).expect("a definition");
        definition.phases[0].clone()
    }

    #[test]
    fn a_phase_is_compiled_once_and_again_when_it_differs() {
        let adapter = SqlAdapter::default();
        let first = phase("none", json!({"apply": [{"sql": "select 1"}]}));
        let other = phase("none", json!({"apply": [{"sql": "select 2"}]}));
        let a = adapter.compiled(&first).expect("compiles");
        let b = adapter.compiled(&first.clone()).expect("compiles");
        let c = adapter.compiled(&other).expect("compiles");
        assert!(Arc::ptr_eq(&a, &b) && !Arc::ptr_eq(&a, &c));
        assert_eq!(c.compiled.apply.steps[0].sql, "select 2");
    }
}
