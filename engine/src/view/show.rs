//! One run as a view: its replayed log, its holds and its plan.

use redress_ledger::quorum::Quorum;
use redress_ledger::state::State;
use redress_ledger::{Hash, Kind};
use serde_json::Value;

use super::next::{Situation, next_act};
use super::reading::{Reading, authority};
use super::signed::{Judge, plan_view};
use super::{FaultView, HeldView, PhaseView, PlanView, RecordView, RunError, RunView, SCHEMA};
use crate::consent::Consents;
use crate::definition::{Definition, Phase};
use crate::error::Error;
use crate::hold::Hold;
use crate::log::LogError;
use crate::planning::StoredPlan;
use crate::run::RunRow;
use crate::story::Story;

/// Whether a hold in force stops this run.
pub(super) fn bears(hold: &Hold, row: &RunRow) -> bool {
    match hold.scope.as_str() {
        "saga" => hold.target.as_deref() == Some(row.saga.as_str()),
        "subject" => hold.target.is_some() && hold.target == row.subject,
        "run" => hold.target.as_deref() == Some(row.id.to_string().as_str()),
        // `all`, and whatever is not known: it stops.
        _ => true,
    }
}

impl Reading<'_> {
    /// Builds the view of a run.
    pub(super) async fn view(
        &mut self,
        row: &RunRow,
        story: &Story,
        holds: &[Hold],
    ) -> Result<RunView, Error> {
        let definition = self.definition(row.definition).await?;
        let switch = self.inner.read_switch(self).await?;
        let stored = match row.plan {
            Some(digest) => Some(StoredPlan {
                digest,
                plan: self.inner.plan_by_digest(self, digest).await?,
            }),
            None => None,
        };
        let (plan, missing) = match &stored {
            Some(stored) => {
                let (view, missing) = self.plan_of(row, story, stored).await?;
                (Some(view), missing)
            }
            None => (None, Quorum::new()),
        };
        let recovery = self
            .inner
            .recovery(row, story, &definition, stored.as_ref())?;
        let bearing: Vec<&Hold> = holds.iter().filter(|hold| bears(hold, row)).collect();
        let mut released_by = Vec::with_capacity(bearing.len());
        for hold in &bearing {
            released_by.push((*hold, self.release_quorum(hold).await?));
        }
        let phase = row.phase.as_deref().and_then(|name| definition.phase(name));
        let unsigned = self.unsigned(row, story, phase).await?;
        let waits = phase.filter(|_| !unsigned.is_empty());
        let next = next_act(&Situation {
            waits: waits.map(|phase| (&phase.name, &unsigned)),
            run: row.id,
            state: story.state,
            switch: switch.as_ref(),
            holds: &released_by,
            plan: plan.as_ref(),
            missing: &missing,
            in_doubt: story.in_doubt().map(|(phase, _)| phase),
            resolve: &authority(&definition, "resolve"),
        });
        Ok(RunView {
            schema: SCHEMA,
            run: row.id,
            saga: row.saga.clone(),
            version: row.version,
            subject: row.subject.clone(),
            state: story.state,
            held: bearing.into_iter().map(held_view).collect(),
            phases: phases_of(&definition, story),
            plan,
            head: place((row.seq, row.head)),
            error: error_of(story),
            errors: Vec::new(),
            key: row.key.clone(),
            requester: row.requester.clone(),
            opened_at: row.opened_at.clone(),
            ended_at: row.ended_at.clone(),
            definition: row.definition,
            phase: row.phase.clone(),
            switch: switch.map_or_else(|| "missing".to_owned(), |s| s.state),
            waits_for: waits.map(|phase| format!("phase {} waits for signatures", phase.name)),
            next,
            fingerprint: recovery.map(|found| found.0),
            recoverable: recovery.is_some_and(|found| found.1),
        })
    }

    /// The last plan of a run, and which signatures it still lacks.
    async fn plan_of(
        &self,
        row: &RunRow,
        story: &Story,
        stored: &StoredPlan,
    ) -> Result<(PlanView, Quorum), Error> {
        let now = self.inner.now(self).await?;
        let trusted = self.inner.trusted_if_any(self).await?;
        let judge = Judge {
            trusted: trusted.as_deref(),
            installation: &self.inner.installation,
            now: &now,
        };
        plan_view(&judge, row, story, stored.digest, &stored.plan)
    }

    /// Signatures without which the phase that is next does not run.
    async fn unsigned(
        &self,
        row: &RunRow,
        story: &Story,
        phase: Option<&Phase>,
    ) -> Result<Quorum, Error> {
        match phase {
            Some(phase) if story.state == State::Running && !phase.approvals.is_empty() => {
                let now = self.inner.now(self).await?;
                let asked = Consents { row, story, phase };
                Ok(self.inner.consents(self, &asked, &now).await?.1)
            }
            _ => Ok(Quorum::new()),
        }
    }

    /// Replays a run's log and compares it with the row that was read in the same transaction.
    pub(super) async fn story_of(&self, row: &RunRow) -> Result<Story, Error> {
        let story = self.inner.story(self, row.id).await?;
        if story.head == row.head && story.state == row.state {
            return Ok(story);
        }
        Err(LogError::Disagree {
            logged: format!("{} {}", story.state, story.head),
            stored: format!("{} {}", row.state, row.head),
            run: row.id,
        }
        .into())
    }
}

fn place((seq, hash): (i64, Hash)) -> RecordView {
    RecordView { seq, hash }
}

fn held_view(hold: &Hold) -> HeldView {
    HeldView {
        id: hold.id,
        scope: hold.scope.clone(),
        reason: hold.reason.clone(),
        at: hold.at.clone(),
        by: hold.by.clone(),
        code: hold.code.clone(),
        run: hold.run,
    }
}

fn phases_of(definition: &Definition, story: &Story) -> Vec<PhaseView> {
    let stands = matches!(story.state, State::Stuck | State::Resolved);
    let view = |phase: &Phase| {
        let trace = story.traces.get(&phase.name);
        let state = trace.map_or("pending", |trace| trace.state);
        PhaseView {
            name: phase.name.clone(),
            state: match state {
                // Nobody will go on by himself: what is committed stays.
                "committed" if stands => "standing",
                state => state,
            },
            attempts: trace.map_or(0, |trace| trace.attempts),
            record: trace.map(|trace| place(trace.record)),
            error: trace.and_then(|trace| trace.error.clone()).map(fault),
            in_doubt: story.undos.contains_key(&phase.name)
                || story.intents.get(&phase.name).is_some_and(|i| i.open),
        }
    };
    definition.phases.iter().map(view).collect()
}

fn fault((code, message): (String, String)) -> FaultView {
    FaultView { code, message }
}

/// Why a run stopped, from its log: an attempt that was repeated, a failure that was allowed and one that was
/// resumed are no reason.
pub(super) fn error_of(story: &Story) -> Option<RunError> {
    let mut error = None;
    for entry in &story.entries {
        let body = &entry.record.body;
        let text = |name: &str| {
            let text = body.get(name).and_then(Value::as_str);
            text.unwrap_or_default().to_owned()
        };
        let is = |name: &str| body.get(name) == Some(&Value::Bool(true));
        match entry.record.kind {
            Kind::PhaseFailed if is("final") && !is("continue") => {
                error = Some(RunError {
                    code: text("code"),
                    message: text("message"),
                    phase: text("phase").parse().ok(),
                });
            }
            Kind::RunCancelled => {
                error = Some(RunError {
                    code: CANCELLED.to_owned(),
                    message: text("reason"),
                    phase: None,
                });
            }
            Kind::CompensationFailed if body.get("code").is_some() => {
                error = Some(RunError {
                    code: text("code"),
                    message: text("message"),
                    phase: text("phase").parse().ok(),
                });
            }
            Kind::RunResumed => error = None,
            // A rewind that goes on has recovered from it.
            Kind::PlanFinished
                if body.pointer("/rewind/then").and_then(Value::as_str) == Some("resume") =>
            {
                error = None;
            }
            _ => {}
        }
    }
    error.filter(|_| story.state != State::Completed)
}

/// The code of a cancellation, as it stands in the run's row.
const CANCELLED: &str = "RD0217";
