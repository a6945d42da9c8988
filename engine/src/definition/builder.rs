//! Builds a definition in Rust: the same [`Definition`] as from YAML, with the same digest.
//!
//! **Invariant:** nothing is judged before [`Saga::build`]; it returns all findings at once, as the
//! file does.
//!
//! ```
//! use redress::definition::Authority;
//! use redress::definition::builder::{Phase, Saga};
//! use redress::definition::Compensation;
//! use serde_json::json;
//!
//! let restock = Saga::new("restock", 1)
//!     .subject("/input/order")
//!     .authority("soft_revert", Authority::Auto)
//!     .phase(
//!         Phase::new("reserve", "sql")
//!             .writes(["shop.reservation"])
//!             .compensation(Compensation::SoftRevert)
//!             .with(json!({"apply": [{"sql": "insert into shop.reservation default values"}]})),
//!     )
//!     .build()?;
//! assert_eq!(restock.phases.len(), 1);
//! # Ok::<(), redress::definition::Invalid>(())
//! ```

use std::time::Duration;

use redress_ledger::quorum::Quorum;
use serde_json::{Map, Value, json};

use super::error::Invalid;
use super::model::{Authority, Compensation, Definition, HoldScope, OnFailure, Retry};
use super::{duration, raw, validate, yaml};

/// A saga in the making; each method sets the field of the saga file that has its name.
#[derive(Clone, Debug)]
pub struct Saga {
    fields: Map<String, Value>,
    snapshot: Vec<Value>,
    phases: Vec<Value>,
}

impl Saga {
    /// Begins a saga.
    pub fn new(name: &str, version: u32) -> Self {
        let mut fields = Map::new();
        fields.insert("saga".into(), name.into());
        fields.insert("version".into(), version.into());
        Self {
            fields,
            snapshot: Vec::new(),
            phases: Vec::new(),
        }
    }

    /// Says what the saga is for.
    pub fn description(self, text: &str) -> Self {
        self.set("description", text)
    }

    /// Sets the JSON Schema of the input.
    pub fn input(self, schema: Value) -> Self {
        self.set("input", schema)
    }

    /// Sets where the subject stands, such as `/input/order`.
    pub fn subject(self, pointer: &str) -> Self {
        self.set("subject", pointer)
    }

    /// Allows one active run a subject; without a subject, one active run of this saga.
    pub fn exclusive(self) -> Self {
        self.set("exclusive", true)
    }

    /// Adds a query of the pre and post snapshots.
    pub fn snapshot(mut self, query: Query) -> Self {
        self.snapshot.push(Value::Object(query.fields));
        self
    }

    /// Says who must sign for an action.
    pub fn authority(mut self, action: &str, authority: Authority) -> Self {
        let authority = match authority {
            Authority::Auto => json!("auto"),
            Authority::Quorum(quorum) => signers(&quorum),
        };
        let entry = self.fields.entry("authority").or_insert_with(|| json!({}));
        if let Value::Object(actions) = entry {
            actions.insert(action.to_owned(), authority);
        }
        self
    }

    /// Says what stops when a failure is not recovered.
    pub fn on_unrecovered(self, hold: HoldScope, kill: bool) -> Self {
        self.set(
            "on_unrecovered",
            json!({"hold": hold.as_str(), "kill": kill}),
        )
    }

    /// Says how often one rewind target may be used in a run.
    pub fn max_rewinds(self, times: u32) -> Self {
        self.set("max_rewinds", times)
    }

    /// Adds a phase; it runs after the one before, unless it says otherwise.
    pub fn phase(mut self, phase: Phase) -> Self {
        self.phases.push(Value::Object(phase.fields));
        self
    }

    /// Makes and judges the definition; names of adapters are judged when it is registered.
    pub fn build(self) -> Result<Definition, Invalid> {
        let one = |finding| Invalid {
            findings: vec![finding],
        };
        let tree = Value::Object(self.tree());
        let definition: Definition = yaml::decode(&tree).map_err(one)?;
        if let Some(finding) = raw::misshapen(&definition, &tree) {
            return Err(one(finding));
        }
        let findings = validate(&definition, None);
        if findings.is_empty() {
            Ok(definition)
        } else {
            Err(Invalid { findings })
        }
    }

    fn tree(self) -> Map<String, Value> {
        let mut tree = self.fields;
        tree.insert("snapshot".into(), Value::Array(self.snapshot));
        tree.insert("phases".into(), Value::Array(self.phases));
        tree
    }

    fn set(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(field.into(), value.into());
        self
    }
}

/// A phase in the making.
#[derive(Clone, Debug)]
pub struct Phase {
    fields: Map<String, Value>,
}

impl Phase {
    /// Begins a phase that an adapter does.
    pub fn new(name: &str, adapter: &str) -> Self {
        let mut fields = Map::new();
        fields.insert("name".into(), name.into());
        fields.insert("adapter".into(), adapter.into());
        Self { fields }
    }

    /// Begins a phase whose adapter is said later.
    pub fn named(name: &str) -> Self {
        let mut fields = Map::new();
        fields.insert("name".into(), name.into());
        Self { fields }
    }

    /// Says which adapter does it.
    pub fn adapter(self, adapter: &str) -> Self {
        self.set("adapter", adapter)
    }

    /// The phase's name.
    pub(crate) fn name(&self) -> &str {
        self.fields
            .get("name")
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// Sets the relations that the phase may change, as `schema.table`.
    pub fn writes<'n>(self, relations: impl IntoIterator<Item = &'n str>) -> Self {
        self.set("writes", texts(relations))
    }

    /// Sets the relations whose rows the phase may read for update and not change, as `schema.table`.
    pub fn locks<'n>(self, relations: impl IntoIterator<Item = &'n str>) -> Self {
        self.set("locks", texts(relations))
    }

    /// Sets the database role of the statements.
    pub fn role(self, role: &str) -> Self {
        self.set("role", role)
    }

    /// Says how the committed phase is undone.
    pub fn compensation(self, compensation: Compensation) -> Self {
        self.set("compensation", compensation.as_str())
    }

    /// Makes this phase the pivot.
    pub fn pivot(self) -> Self {
        self.set("pivot", true)
    }

    /// Says how a failed attempt is repeated.
    pub fn retry(self, retry: Retry) -> Self {
        let fields = json!({
            "attempts": retry.attempts,
            "backoff": duration::format(retry.backoff_ms),
            "max": duration::format(retry.max_ms),
        });
        self.set("retry", fields)
    }

    /// Sets the longest time of one attempt, in whole milliseconds.
    pub fn timeout(self, timeout: Duration) -> Self {
        let ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        self.set("timeout", duration::format(ms))
    }

    /// Says who must sign before the phase may run.
    pub fn approvals(self, quorum: &Quorum) -> Self {
        self.set("approvals", signers(quorum))
    }

    /// Sets the relations in which a revert rightly leaves rows.
    pub fn residue<'n>(self, relations: impl IntoIterator<Item = &'n str>) -> Self {
        self.set("residue", texts(relations))
    }

    /// Sets the phases that must be done before this one.
    pub fn after<'n>(self, phases: impl IntoIterator<Item = &'n str>) -> Self {
        self.set("after", texts(phases))
    }

    /// Says what happens when the phase has failed for good.
    pub fn on_failure(self, on_failure: OnFailure) -> Self {
        let value = match on_failure {
            OnFailure::Compensate => json!("compensate"),
            OnFailure::Hold => json!("hold"),
            OnFailure::Continue => json!("continue"),
            OnFailure::RewindTo { phase, then } => json!({"rewind_to": phase, "then": then}),
        };
        self.set("on_failure", value)
    }

    /// Sets what the adapter reads: an object.
    pub fn with(self, with: Value) -> Self {
        self.set("with", with)
    }

    fn set(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(field.into(), value.into());
        self
    }
}

/// A snapshot query in the making.
#[derive(Clone, Debug)]
pub struct Query {
    fields: Map<String, Value>,
}

impl Query {
    /// Begins a query.
    pub fn new(name: &str, sql: &str) -> Self {
        let mut fields = Map::new();
        fields.insert("name".into(), name.into());
        fields.insert("sql".into(), sql.into());
        Self { fields }
    }

    /// Sets the pointers that are bound to `$1`, `$2`, …
    pub fn params<'n>(self, pointers: impl IntoIterator<Item = &'n str>) -> Self {
        self.set("params", texts(pointers))
    }

    /// Sets the value that the query must give.
    pub fn expect(self, value: impl Into<Value>) -> Self {
        self.set("expect", value)
    }

    /// Requires the same value again after a compensation.
    pub fn baseline(self) -> Self {
        self.set("baseline", true)
    }

    /// Sets the database role of the query.
    pub fn role(self, role: &str) -> Self {
        self.set("role", role)
    }

    fn set(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(field.into(), value.into());
        self
    }
}

fn texts<'n>(items: impl IntoIterator<Item = &'n str>) -> Value {
    items.into_iter().map(Value::from).collect()
}

fn signers(quorum: &Quorum) -> Value {
    quorum
        .iter()
        .map(|(role, count)| (role.to_string(), Value::from(*count)))
        .collect()
}
