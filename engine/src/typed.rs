//! A saga in Rust whose neighbouring phases fit by their types: what one gives is what the next one takes, or it does not
//! compile. Phases inside the database and acts outside of it are different traits.
//!
//! **Invariant:** it becomes an ordinary [`Definition`] with adapters of its own, so that everything said of sagas holds for
//! it: pinned by digest, planned, rehearsed, recorded.
//!
//! **What can go wrong:** a type that changed under a run that is pinned to the older version: the phase then fails with what
//! did not fit, and holds. Give a changed saga a new version. Numbers with a fraction cannot be recorded: use text.
//!
//! ```
//! use async_trait::async_trait;
//! use redress::adapter::AdapterError;
//! use redress::definition::{Authority, Compensation};
//! use redress::phase_tx::PhaseTx;
//! use redress::plan::Action;
//! use redress::typed::{LocalPhase, TypedSaga};
//! use redress::definition::builder::Phase;
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Order { sku: String, qty: i32 }
//! #[derive(Serialize, Deserialize)]
//! struct Reserved { id: i32 }
//!
//! struct Reserve;
//!
//! #[async_trait]
//! impl LocalPhase for Reserve {
//!     type Input = Order;
//!     type Output = Reserved;
//!
//!     fn declare(&self) -> Phase {
//!         Phase::named("reserve")
//!             .writes(["shop.reservation"])
//!             .residue(["shop.reservation"])
//!             .compensation(Compensation::SoftRevert)
//!     }
//!
//!     async fn apply(&self, tx: &PhaseTx<'_>, order: Order) -> Result<Reserved, AdapterError> {
//!         let sql = "insert into shop.reservation (sku, qty) values ($1, $2) returning id";
//!         let rows = tx.query(sql, &[&order.sku, &order.qty]).await?;
//!         Ok(Reserved { id: rows[0].get(0) })
//!     }
//!
//!     async fn revert(&self, tx: &PhaseTx<'_>, done: Reserved, _: Action) -> Result<(), AdapterError> {
//!         tx.execute("update shop.reservation set state = 'withdrawn' where id = $1", &[&done.id]).await?;
//!         Ok(())
//!     }
//! }
//!
//! let saga = TypedSaga::<Order>::new("restock", 1)
//!     .with(|saga| saga.authority("soft_revert", Authority::Auto))
//!     .then(Reserve)
//!     .build()?;
//! assert_eq!(saga.definition().phases.len(), 1);
//! # Ok::<(), redress::definition::Invalid>(())
//! ```

use std::marker::PhantomData;
use std::sync::Arc;

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::adapter::{Adapter, AdapterError, Applied, Call, Finding};
use crate::definition::builder::{Phase as Declared, Saga};
use crate::definition::{Definition, Invalid, Phase};
use crate::external::{ActError, ExternalAdapter, ExternalCall, Probe, WayBack};
use crate::phase_tx::PhaseTx;
use crate::plan::Action;

/// The name under which an output stands in the context: `/phases/PHASE/value/0`.
const VALUE: &str = "value";

/// A phase inside the database: one transaction that it cannot end.
#[async_trait]
pub trait LocalPhase: Send + Sync + 'static {
    /// What the phase before gives; the first phase takes the run's input.
    type Input: DeserializeOwned + Send;
    /// What this phase gives, to the next one and to its own way back.
    type Output: Serialize + DeserializeOwned + Send;

    /// Name, writes, compensation and whatever else the saga file would say; the adapter is filled in.
    fn declare(&self) -> Declared;

    /// Does the phase's work.
    async fn apply(
        &self,
        tx: &PhaseTx<'_>,
        input: Self::Input,
    ) -> Result<Self::Output, AdapterError>;

    /// Locks what the way back would touch and judges whether it may; [`AdapterError::Guard`] when not.
    async fn guard(
        &self,
        _tx: &PhaseTx<'_>,
        _done: Self::Output,
        _action: Action,
    ) -> Result<(), AdapterError> {
        Ok(())
    }

    /// Takes the phase back.
    async fn revert(
        &self,
        tx: &PhaseTx<'_>,
        done: Self::Output,
        action: Action,
    ) -> Result<(), AdapterError>;
}

/// A phase whose one atomic act lies outside the database; see [`ExternalAdapter`].
#[async_trait]
pub trait ExternalPhase: Send + Sync + 'static {
    /// What the phase before gives; the first phase takes the run's input.
    type Input: DeserializeOwned + Send;
    /// What this phase gives.
    type Output: Serialize + DeserializeOwned + Send;

    /// As [`LocalPhase::declare`].
    fn declare(&self) -> Declared;

    /// How it is taken back; there is no default.
    fn way_back(&self) -> WayBack<'_>;

    /// Looks, without changing anything, and gives what the way back needs.
    async fn prepare(
        &self,
        call: &ExternalCall<'_>,
        input: Self::Input,
    ) -> Result<Value, AdapterError>;

    /// Does the act, under the call's key.
    async fn act(
        &self,
        call: &ExternalCall<'_>,
        input: Self::Input,
    ) -> Result<Self::Output, ActError>;

    /// Says whether the act of this key was done.
    async fn probe(&self, call: &ExternalCall<'_>, input: Self::Input) -> Probe<Self::Output>;
}

/// A saga in the making whose next phase takes a `Next`.
pub struct TypedSaga<Next> {
    name: String,
    saga: Saga,
    locals: Vec<Arc<dyn Adapter>>,
    externals: Vec<Arc<dyn ExternalAdapter>>,
    last: Option<String>,
    next: PhantomData<fn() -> Next>,
}

/// A saga whose phases fit, with the code behind them: [`crate::Builder::saga`] takes it.
pub struct Typed {
    definition: Definition,
    pub(crate) locals: Vec<Arc<dyn Adapter>>,
    pub(crate) externals: Vec<Arc<dyn ExternalAdapter>>,
}

impl Typed {
    /// The definition as it is registered.
    pub fn definition(&self) -> &Definition {
        &self.definition
    }
}

impl<Input> TypedSaga<Input> {
    /// Begins a saga whose input is an `Input`.
    pub fn new(name: &str, version: u32) -> Self {
        Self {
            name: name.to_owned(),
            saga: Saga::new(name, version),
            locals: Vec::new(),
            externals: Vec::new(),
            last: None,
            next: PhantomData,
        }
    }
}

impl<Next> TypedSaga<Next> {
    /// Says what stands beside the phases: subject, authority, snapshot.
    #[must_use]
    pub fn with(self, say: impl FnOnce(Saga) -> Saga) -> Self {
        Self {
            saga: say(self.saga),
            ..self
        }
    }

    /// Adds a phase inside the database, which takes what the one before gives.
    #[must_use]
    pub fn then<P: LocalPhase<Input = Next>>(mut self, phase: P) -> TypedSaga<P::Output> {
        let (name, adapter, input) = self.place(&phase.declare());
        let declared = phase.declare().adapter(&adapter);
        let local = Local {
            phase,
            adapter,
            input,
        };
        self.locals.push(Arc::new(local));
        self.follow(name, declared)
    }

    /// Adds an act outside the database, which takes what the one before gives.
    #[must_use]
    pub fn then_outside<P: ExternalPhase<Input = Next>>(
        mut self,
        phase: P,
    ) -> TypedSaga<P::Output> {
        let (name, adapter, input) = self.place(&phase.declare());
        let declared = phase.declare().adapter(&adapter);
        let outside = Outside {
            phase,
            adapter,
            input,
        };
        self.externals.push(Arc::new(outside));
        self.follow(name, declared)
    }

    /// Makes and judges the definition.
    ///
    /// # Errors
    /// Every finding, as [`Saga::build`] gives them.
    pub fn build(self) -> Result<Typed, Invalid> {
        Ok(Typed {
            definition: self.saga.build()?,
            locals: self.locals,
            externals: self.externals,
        })
    }

    /// A phase's name, the name of its adapter, and where its input stands.
    fn place(&self, declared: &Declared) -> (String, String, String) {
        let name = declared.name().to_owned();
        let input = match &self.last {
            Some(before) => format!("/phases/{before}/{VALUE}/0"),
            None => "/input".to_owned(),
        };
        let adapter = format!("{}-{name}", self.name);
        (name, adapter, input)
    }

    fn follow<Output>(self, name: String, declared: Declared) -> TypedSaga<Output> {
        TypedSaga {
            name: self.name,
            saga: self.saga.phase(declared),
            locals: self.locals,
            externals: self.externals,
            last: Some(name),
            next: PhantomData,
        }
    }
}

/// Reads what stands in the context as the type that the phase takes.
fn taken<T: DeserializeOwned>(context: &Value, pointer: &str) -> Result<T, AdapterError> {
    let found = context.pointer(pointer);
    let found = found
        .ok_or_else(|| AdapterError::Pointer(format!("nothing stands at {pointer}")))?
        .clone();
    serde_json::from_value(found).map_err(|error| {
        AdapterError::Hold(format!("what stands at {pointer} does not fit: {error}"))
    })
}

fn given<T: Serialize>(output: &T) -> Result<Applied, AdapterError> {
    let value = serde_json::to_value(output)
        .map_err(|error| AdapterError::Hold(format!("what the phase gives is no JSON: {error}")))?;
    let mut map = Map::new();
    map.insert(VALUE.to_owned(), json!([value]));
    Ok(Applied {
        output: map,
        undo: json!({ VALUE: value }),
        touched: Map::new(),
    })
}

/// What the phase gave, from its undo data.
fn done<T: DeserializeOwned>(call: &Call<'_>) -> Result<T, AdapterError> {
    taken(call.undo, &format!("/{VALUE}"))
}

struct Local<P> {
    phase: P,
    adapter: String,
    input: String,
}

#[async_trait]
impl<P: LocalPhase> Adapter for Local<P> {
    fn name(&self) -> &str {
        &self.adapter
    }

    fn check(&self, _phase: &Phase) -> Vec<Finding> {
        Vec::new()
    }

    async fn apply(&self, tx: &PhaseTx<'_>, call: &Call<'_>) -> Result<Applied, AdapterError> {
        let input = taken(call.context, &self.input)?;
        given(&self.phase.apply(tx, input).await?)
    }

    async fn guard(
        &self,
        tx: &PhaseTx<'_>,
        call: &Call<'_>,
        action: Action,
    ) -> Result<(), AdapterError> {
        self.phase.guard(tx, done(call)?, action).await
    }

    async fn revert(
        &self,
        tx: &PhaseTx<'_>,
        call: &Call<'_>,
        action: Action,
    ) -> Result<Map<String, Value>, AdapterError> {
        self.phase.revert(tx, done(call)?, action).await?;
        Ok(Map::new())
    }
}

struct Outside<P> {
    phase: P,
    adapter: String,
    input: String,
}

#[async_trait]
impl<P: ExternalPhase> ExternalAdapter for Outside<P> {
    fn name(&self) -> &str {
        &self.adapter
    }

    fn check(&self, _phase: &Phase) -> Vec<Finding> {
        Vec::new()
    }

    fn way_back(&self, _phase: &Phase) -> WayBack<'_> {
        self.phase.way_back()
    }

    async fn prepare(&self, call: &ExternalCall<'_>) -> Result<Value, AdapterError> {
        let input = taken(call.context, &self.input)?;
        self.phase.prepare(call, input).await
    }

    async fn act(&self, call: &ExternalCall<'_>) -> Result<Applied, ActError> {
        let input = taken(call.context, &self.input).map_err(ActError::NotDone)?;
        let output = self.phase.act(call, input).await?;
        // It was done; an output that cannot be kept is the probe's to give again.
        given(&output).map_err(|error| ActError::unknown(error.to_string()))
    }

    async fn probe(&self, call: &ExternalCall<'_>) -> Probe<Applied> {
        let input = match taken(call.context, &self.input) {
            Ok(input) => input,
            Err(error) => return Probe::Unknown(error.to_string()),
        };
        match self.phase.probe(call, input).await {
            Probe::Done(output) => match given(&output) {
                Ok(applied) => Probe::Done(applied),
                Err(error) => Probe::Unknown(error.to_string()),
            },
            Probe::NotDone => Probe::NotDone,
            Probe::Unknown(why) => Probe::Unknown(why),
        }
    }
}
