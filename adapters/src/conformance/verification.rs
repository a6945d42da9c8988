//! Walks in which a verification says no, phase by phase, forth and back.

use std::collections::BTreeMap;

use redress::{Error, Outcome};
use uuid::Uuid;

use super::{Lie, Walks, Way, told};

/// The names of the two walks.
const FORTH: &str = "verify";
const BACK: &str = "verify back";

impl Walks<'_> {
    /// Both ways of every phase that verifies.
    pub(super) async fn verified(&mut self) -> Result<(), Error> {
        if self.falsify.is_none() {
            return Ok(());
        }
        for upto in 1..=self.saga.phases.len() {
            self.false_forth(upto).await?;
            self.false_back(upto).await?;
        }
        Ok(())
    }

    /// A phase whose verification says no commits nothing.
    async fn false_forth(&mut self, upto: usize) -> Result<(), Error> {
        let saga = self.named(&format!("verify-{upto}"), upto, false);
        let phase = self.saga.phases[upto - 1].name.to_string();
        self.engine.register(&saga).await?;
        let before = (self.look)().await;
        if !self.lie(&phase, Way::Forth).await {
            return Ok(());
        }
        let start = self.engine.start(saga.saga.as_str(), self.next_input());
        let driven = self.engine.start_and_drive(start).await;
        self.truth().await;
        let (started, outcome) = driven?;
        let state = self.state_of(started.run, &phase).await?;
        match outcome {
            Outcome::Compensated(_) if state == "failed" => {}
            Outcome::Completed(_) => {
                let what = "committed although its verification says no".to_owned();
                self.found(FORTH, &phase, what);
            }
            other => {
                let what = format!("{}, and the phase is {state}", told(&other));
                self.found(FORTH, &phase, what);
            }
        }
        self.same(FORTH, &phase, &before).await;
        Ok(())
    }

    /// A compensation whose verification says no is not one: stuck, and finished when it says yes again.
    async fn false_back(&mut self, upto: usize) -> Result<(), Error> {
        let phase = self.saga.phases[upto - 1].name.to_string();
        let before = (self.look)().await;
        let Some(run) = self.completed(BACK).await? else {
            return Ok(());
        };
        let done = (self.look)().await;
        if self.lie(&phase, Way::Back).await {
            let first = self.taken_back(run).await?;
            let state = self.engine.show(run).await?.state;
            if matches!(first, Ok(Outcome::Compensated(_))) {
                let what = "compensated although its verification says no".to_owned();
                self.found(BACK, &phase, what);
            } else if state.as_str() != "stuck" {
                self.found(BACK, &phase, format!("it is {state} and not stuck"));
            }
            // What is undone first has moved nothing; of the others, those before it may stand undone already.
            if upto == self.saga.phases.len() {
                self.same(BACK, &phase, &done).await;
            }
            self.truth().await;
            if matches!(first, Ok(Outcome::Compensated(_))) {
                return Ok(());
            }
        }
        match self.taken_back(run).await? {
            Ok(Outcome::Compensated(_)) => {}
            Ok(other) => self.found(BACK, &phase, format!("not finished: {}", told(&other))),
            Err(error) => self.found(BACK, &phase, format!("not finished: {error}")),
        }
        self.same(BACK, &phase, &before).await;
        Ok(())
    }

    /// Plans and applies; the inner result is what the way back came to.
    async fn taken_back(&self, run: Uuid) -> Result<Result<Outcome, Error>, Error> {
        let plan = self
            .engine
            .plan(run, BTreeMap::new(), "conformance")
            .await?;
        Ok(self.engine.apply(&plan).await)
    }

    async fn state_of(&self, run: Uuid, phase: &str) -> Result<&'static str, Error> {
        let view = self.engine.show(run).await?;
        let found = view.phases.iter().find(|one| one.name.as_str() == phase);
        Ok(found.map_or("unknown", |one| one.state))
    }

    async fn lie(&self, phase: &str, way: Way) -> bool {
        let Some(falsify) = &self.falsify else {
            return false;
        };
        let phase = phase.to_owned();
        falsify(Some(Lie { phase, way })).await
    }

    async fn truth(&self) {
        if let Some(falsify) = &self.falsify {
            falsify(None).await;
        }
    }
}
