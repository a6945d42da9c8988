//! Walks that the phases of any adapter must pass, shipped or somebody's own: against a real database, with a saga that
//! uses them.
//!
//! ```no_run
//! # async fn example(engine: &redress::Engine, saga: redress::definition::Definition) -> Result<(), Box<dyn std::error::Error>> {
//! use redress_adapters::conformance::Walks;
//! use serde_json::json;
//!
//! // What must be again as it was after a way back: rows that rightly stay behind are left out of it.
//! let look = || Box::pin(async { json!({"live": 3}) }) as redress_adapters::conformance::Looking<'_>;
//! let breaks = Walks::new(engine, saga, |n| json!({"order": format!("order-{n}")}), look).all().await?;
//! assert!(breaks.is_empty(), "{breaks:#?}");
//! # Ok(())
//! # }
//! ```
//!
//! **Invariant:** a walk judges by what is seen from outside: the run's outcome, and the look of the world before and after.
//!
//! **What can go wrong:** a look that leaves too much out passes what it should not; a saga that shares its rows with somebody
//! who works meanwhile breaks for no reason.
//!
//! **Not here:** death of the whole process; a walk gives a driver up in the middle, as its death would, but for what the
//! process itself still does. Kill real processes too, as `tests/promises` does.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::time::Duration;

use redress::definition::{Authority, Definition, OnFailure};
use redress::{Engine, Error, Outcome};
use serde_json::{Value, json};
use uuid::Uuid;

/// A look at the world.
pub type Looking<'a> = Pin<Box<dyn Future<Output = Value> + Send + 'a>>;
/// What somebody else does to a completed run, so that its guards must say no.
pub type Spoiling<'a> =
    Box<dyn Fn(Uuid) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> + Send + Sync + 'a>;

/// How long after its start a driver is given up, one after the other.
const GIVEN_UP: [Duration; 6] = [
    Duration::from_millis(1),
    Duration::from_millis(3),
    Duration::from_millis(6),
    Duration::from_millis(10),
    Duration::from_millis(20),
    Duration::from_millis(40),
];

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
        for after in GIVEN_UP {
            self.given_up(after).await?;
        }
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
        let (first, outcome) = self.engine.start_and_drive(start()).await?;
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
