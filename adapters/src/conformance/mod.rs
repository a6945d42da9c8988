//! Walks that the phases of any adapter must pass, shipped or somebody's own: against a real database, with a saga that
//! uses them.
//!
//! | walk | what is done | what must be |
//! |---|---|---|
//! | `repeat` | the same key again | the same run, and nothing moves |
//! | `undo twice` | a completed run is taken back, and once more | as before; the second time is refused |
//! | `fail` | something fails behind each phase | compensated, as before |
//! | `kill` | a driver is given up at several moments | another one completes it, and it can be taken back |
//! | `verify` | what a phase verifies is false, going forth ([`Walks::falsify`]) | nothing of it commits, the rest is compensated |
//! | `verify back` | the same on its way back | stuck and not compensated; put right, it is finished |
//! | `guard` | somebody does what forbids the way back ([`Walks::spoil`]) | not taken back, nothing moves |
//!
//! For an author of an adapter: give the engine your adapter, write a saga that uses it, and say what the world looks like. Put
//! the phase under test last when it acts outside the database, since such a plan goes step by step. This is a whole test:
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use async_trait::async_trait;
//! use redress::Engine;
//! use redress::adapter::{Adapter, AdapterError, Applied, Call, Finding};
//! use redress::definition::builder::{Phase, Saga};
//! use redress::definition::{self, Authority, Compensation};
//! use redress::phase_tx::PhaseTx;
//! use redress::plan::Action;
//! use redress_adapters::conformance::{Looking, Walks};
//! use serde_json::{Map, Value, json};
//!
//! /// An adapter of one's own: a seat is taken, and given back.
//! struct Seats;
//!
//! #[async_trait]
//! impl Adapter for Seats {
//!     fn name(&self) -> &str {
//!         "seats"
//!     }
//!
//!     fn check(&self, _phase: &definition::Phase) -> Vec<Finding> {
//!         Vec::new()
//!     }
//!
//!     async fn apply(&self, tx: &PhaseTx<'_>, call: &Call<'_>) -> Result<Applied, AdapterError> {
//!         let sql = "update hall.seat set taken_by = $1 where no = $2 and taken_by is null";
//!         let values = [call.context["run"]["id"].clone(), call.context["input"]["no"].clone()];
//!         match tx.query_values(sql, &values).await?.count {
//!             1 => Ok(Applied::default()),
//!             _ => Err(AdapterError::Business("the seat is taken".to_owned())),
//!         }
//!     }
//!
//!     async fn guard(&self, tx: &PhaseTx<'_>, call: &Call<'_>, _: Action) -> Result<(), AdapterError> {
//!         let sql = "select from hall.seat where taken_by = $1 and not used for update";
//!         match tx.query_values(sql, &[call.context["run"]["id"].clone()]).await?.count {
//!             1 => Ok(()),
//!             _ => Err(AdapterError::Guard("somebody sits there".to_owned())),
//!         }
//!     }
//!
//!     async fn revert(&self, tx: &PhaseTx<'_>, call: &Call<'_>, _: Action) -> Result<Map<String, Value>, AdapterError> {
//!         let sql = "update hall.seat set taken_by = null where taken_by = $1";
//!         tx.query_values(sql, &[call.context["run"]["id"].clone()]).await?;
//!         Ok(Map::new())
//!     }
//! }
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let pool = redress::db::pool("postgres:///hall", 10)?;
//! let engine = Engine::builder(pool.clone()).adapters(redress_adapters::standard()).adapter(Arc::new(Seats)).build().await?;
//! let seat = Phase::new("seat", "seats").writes(["hall.seat"]).compensation(Compensation::SoftRevert);
//! let saga = Saga::new("evening", 1).authority("soft_revert", Authority::Auto).phase(seat).build()?;
//! let (hall, connection) = redress::tokio_postgres::connect("postgres:///hall", redress::tokio_postgres::NoTls).await?;
//! tokio::spawn(connection);
//!
//! // What must be again as it was after a way back; rows that rightly stay behind are left out of it.
//! let look = || -> Looking<'_> {
//!     Box::pin(async {
//!         let sql = "select string_agg(no::text, ' ' order by no) from hall.seat where taken_by is not null";
//!         let row = hall.query_one(sql, &[]).await;
//!         json!(row.map(|row| row.get::<_, Option<String>>(0)).map_err(|error| error.to_string()).ok())
//!     })
//! };
//! let breaks = Walks::new(&engine, saga, |n| json!({"no": n}), look)
//!     .spoil(|run| {
//!         let hall = &hall;
//!         Box::pin(async move {
//!             let _ = hall.execute("update hall.seat set used = true where taken_by = $1", &[&run]).await;
//!         })
//!     })
//!     .all()
//!     .await?;
//! assert!(breaks.is_empty(), "{breaks:#?}");
//! # Ok(())
//! # }
//! ```
//!
//! **Invariant:** a walk judges by what is seen from outside: the run's outcome, and the look of the world before and after.
//!
//! **What can go wrong:** a look that leaves too much out passes what it should not; a saga that shares its rows with somebody
//! who works meanwhile breaks for no reason. A driver that was given up is followed when its lease has run out: build the
//! engine with a short one.
//!
//! **Not here:** death of the whole process; a walk gives a driver up in the middle, as its death would, but for what the
//! process itself still does. Kill real processes too, as `tests/promises` does.

mod verification;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::time::{Duration, Instant};

use redress::definition::{Authority, Definition, OnFailure};
use redress::{Engine, Error, Outcome};
use serde_json::{Value, json};
use uuid::Uuid;

/// A look at the world.
pub type Looking<'a> = Pin<Box<dyn Future<Output = Value> + Send + 'a>>;
/// What somebody else does to a completed run, so that its guards must say no.
pub type Spoiling<'a> =
    Box<dyn Fn(Uuid) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> + Send + Sync + 'a>;

/// A verification that is to say no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lie {
    /// Of this phase.
    pub phase: String,
    /// On this way.
    pub way: Way,
}

/// The way that a phase goes when it verifies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Behind its work.
    Forth,
    /// Behind its compensation.
    Back,
}

/// Brings it about that a verification says no, or (`None`) that all of them tell the truth; false where there is none to
/// say no.
pub type Falsifying<'a> =
    Box<dyn Fn(Option<Lie>) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>> + Send + Sync + 'a>;

/// At how many moments of a run its driver is given up, evenly over the time that a run takes.
const GIVEN_UP: u32 = 6;

/// Something that an adapter must not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Break {
    /// Which walk found it.
    pub walk: &'static str,
    /// The phase up to which the walk went.
    pub phase: String,
    /// What was wrong.
    pub what: String,
}

/// The walks over one saga.
pub struct Walks<'a> {
    engine: &'a Engine,
    saga: Definition,
    input: Box<dyn Fn(u32) -> Value + Send + Sync + 'a>,
    look: Box<dyn Fn() -> Looking<'a> + Send + Sync + 'a>,
    spoil: Option<Spoiling<'a>>,
    falsify: Option<Falsifying<'a>>,
    took: Duration,
    count: u32,
    breaks: Vec<Break>,
}

impl<'a> Walks<'a> {
    /// Prepares the walks: `input` gives another input for each number, `look` what a way back must restore.
    pub fn new(
        engine: &'a Engine,
        saga: Definition,
        input: impl Fn(u32) -> Value + Send + Sync + 'a,
        look: impl Fn() -> Looking<'a> + Send + Sync + 'a,
    ) -> Self {
        Self {
            engine,
            saga,
            input: Box::new(input),
            look: Box::new(look),
            spoil: None,
            falsify: None,
            took: Duration::ZERO,
            count: 0,
            breaks: Vec::new(),
        }
    }

    /// Adds the walk of the guards: what is done to a completed run so that it may no longer be undone.
    #[must_use]
    pub fn spoil(
        mut self,
        spoil: impl Fn(Uuid) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> + Send + Sync + 'a,
    ) -> Self {
        self.spoil = Some(Box::new(spoil));
        self
    }

    /// Adds the walks of the verifications: how one phase's is made to say no, for a while.
    #[must_use]
    pub fn falsify(
        mut self,
        falsify: impl Fn(Option<Lie>) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>>
        + Send
        + Sync
        + 'a,
    ) -> Self {
        self.falsify = Some(Box::new(falsify));
        self
    }

    /// Walks everything and gives what was found; nothing is good.
    ///
    /// # Errors
    /// [`Error`] when a walk cannot be made at all: the database is away, or the saga is not accepted.
    pub async fn all(mut self) -> Result<Vec<Break>, Error> {
        self.saga.authority.extend(
            ["soft_revert", "restore", "discard"]
                .map(|action| (action.to_owned(), Authority::Auto)),
        );
        self.repeated().await?;
        self.undone_twice().await?;
        for upto in 1..=self.saga.phases.len() {
            self.failed_behind(upto).await?;
        }
        for moment in 1..=GIVEN_UP {
            self.given_up(self.took * moment / (GIVEN_UP + 1)).await?;
        }
        self.verified().await?;
        self.guarded().await?;
        Ok(self.breaks)
    }

    /// The same key again is the same run, and changes nothing.
    async fn repeated(&mut self) -> Result<(), Error> {
        let saga = self.named("all", self.saga.phases.len(), false);
        self.engine.register(&saga).await?;
        let input = self.next_input();
        let start = || {
            let start = self.engine.start(saga.saga.as_str(), input.clone());
            start.key(format!("conformance-{}", saga.saga))
        };
        let begun = Instant::now();
        let (first, outcome) = self.engine.start_and_drive(start()).await?;
        self.took = begun.elapsed();
        let seen = (self.look)().await;
        let (second, _) = self.engine.start_and_drive(start()).await?;
        let again = (self.look)().await;
        if !matches!(outcome, Outcome::Completed(_)) {
            self.found(
                "repeat",
                "",
                format!("the saga does not complete: {}", told(&outcome)),
            );
        }
        if first.run != second.run || seen != again {
            self.found("repeat", "", differs(&seen, &again));
        }
        Ok(())
    }

    /// A completed run is undone to what was before; a second time nothing happens.
    async fn undone_twice(&mut self) -> Result<(), Error> {
        let before = (self.look)().await;
        let Some(run) = self.completed("undo twice").await? else {
            return Ok(());
        };
        let plan = self
            .engine
            .plan(run, BTreeMap::new(), "conformance")
            .await?;
        match self.engine.apply(&plan).await {
            Ok(Outcome::Compensated(_)) => {}
            Ok(other) => self.found("undo twice", "", format!("not undone: {}", told(&other))),
            Err(error) => self.found("undo twice", "", format!("not undone: {error}")),
        }
        self.same("undo twice", "", &before).await;
        if let Ok(outcome) = self.engine.apply(&plan).await {
            self.found(
                "undo twice",
                "",
                format!("undone again: {}", told(&outcome)),
            );
        }
        self.same("undo twice", "", &before).await;
        Ok(())
    }

    /// A failure behind so many phases undoes them all.
    async fn failed_behind(&mut self, upto: usize) -> Result<(), Error> {
        let saga = self.named(&format!("fail-{upto}"), upto, true);
        let phase = self.saga.phases[upto - 1].name.to_string();
        self.engine.register(&saga).await?;
        let before = (self.look)().await;
        let input = self.next_input();
        let start = self.engine.start(saga.saga.as_str(), input);
        let (_, outcome) = self.engine.start_and_drive(start).await?;
        if !matches!(outcome, Outcome::Compensated(_)) {
            let what = format!("a failure behind it is not compensated: {}", told(&outcome));
            self.found("fail", &phase, what);
        }
        self.same("fail", &phase, &before).await;
        Ok(())
    }

    /// A driver that is given up in the middle is followed by another, and nothing is done twice or half.
    async fn given_up(&mut self, after: Duration) -> Result<(), Error> {
        let before = (self.look)().await;
        let saga = self.named("all", self.saga.phases.len(), false);
        let input = self.next_input();
        let run = self.engine.start(saga.saga.as_str(), input).await?;
        let engine = self.engine.clone();
        let driving = tokio::spawn(async move { engine.drive(run).await });
        tokio::time::sleep(after).await;
        driving.abort();
        // Its claim ends with its lease; a driver here waits for that.
        let outcome = self.engine.drive(run).await?;
        if !matches!(outcome, Outcome::Completed(_)) {
            let what = format!(
                "not completed after its driver was given up: {}",
                told(&outcome)
            );
            self.found("kill", "", what);
            return Ok(());
        }
        let plan = self
            .engine
            .plan(run, BTreeMap::new(), "conformance")
            .await?;
        if let Err(error) = self.engine.apply(&plan).await {
            self.found("kill", "", format!("not undone: {error}"));
        }
        self.same("kill", "", &before).await;
        Ok(())
    }

    /// What may no longer be undone is not undone.
    async fn guarded(&mut self) -> Result<(), Error> {
        let Some(spoil) = self.spoil.take() else {
            return Ok(());
        };
        let Some(run) = self.completed("guard").await? else {
            return Ok(());
        };
        spoil(run).await;
        let before = (self.look)().await;
        let plan = self
            .engine
            .plan(run, BTreeMap::new(), "conformance")
            .await?;
        if let Ok(Outcome::Compensated(_)) = self.engine.apply(&plan).await {
            self.found(
                "guard",
                "",
                "undone although it may not be any more".to_owned(),
            );
        }
        self.same("guard", "", &before).await;
        Ok(())
    }

    async fn completed(&mut self, walk: &'static str) -> Result<Option<Uuid>, Error> {
        let saga = self.named("all", self.saga.phases.len(), false);
        let input = self.next_input();
        let start = self.engine.start(saga.saga.as_str(), input);
        let (started, outcome) = self.engine.start_and_drive(start).await?;
        if matches!(outcome, Outcome::Completed(_)) {
            return Ok(Some(started.run));
        }
        self.found(
            walk,
            "",
            format!("the saga does not complete: {}", told(&outcome)),
        );
        Ok(None)
    }

    /// The saga under a name of its own, cut behind some phases, perhaps with one that fails.
    fn named(&self, end: &str, upto: usize, fails: bool) -> Definition {
        let mut saga = json!(self.saga);
        saga["saga"] = json!(format!("{}-{end}", self.saga.saga));
        // What a walk brings about is nobody else's trouble.
        saga["on_unrecovered"] = json!({"hold": "run", "kill": false});
        if let Some(phases) = saga["phases"].as_array_mut() {
            phases.truncate(upto);
            if fails {
                phases.push(json!({
                    "name": "conformance_fails",
                    "adapter": "sql",
                    "retry": {"attempts": 1},
                    "with": {"apply": [{"sql": "select 1 / 0"}]},
                }));
            }
        }
        let mut saga: Definition =
            serde_json::from_value(saga).unwrap_or_else(|_| self.saga.clone());
        for phase in &mut saga.phases {
            phase.on_failure = OnFailure::Compensate;
        }
        saga
    }

    fn next_input(&mut self) -> Value {
        self.count += 1;
        (self.input)(self.count)
    }

    async fn same(&mut self, walk: &'static str, phase: &str, before: &Value) {
        let now = (self.look)().await;
        if now != *before {
            self.found(walk, phase, differs(before, &now));
        }
    }

    fn found(&mut self, walk: &'static str, phase: &str, what: String) {
        let phase = phase.to_owned();
        self.breaks.push(Break { walk, phase, what });
    }
}

fn told(outcome: &Outcome) -> String {
    let run = outcome.run();
    let error = run
        .error
        .as_ref()
        .map(|(code, message)| format!(" ({code} {message})"));
    format!("{}{}", run.state, error.unwrap_or_default())
}

fn differs(before: &Value, now: &Value) -> String {
    format!("the world was {before} and is {now}")
}
