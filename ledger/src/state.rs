//! Decides which moves of a run are legal: one enum of states, one of events, one function.
//!
//! **Invariant:** [`transition`] is the only place that knows a legal move. Live writes, replay
//! and the verifier call it, and the CHECK in the schema is compared with [`triples`] by a test.
//!
//! **Not here:** "held". Holds are rows of their own, and a run may be running and held.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::class::Class;

/// The state of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Phases go forward.
    Running,
    /// A phase failed for good, or the run was cancelled; nothing moves until somebody decides.
    Failed,
    /// A plan is being executed.
    Compensating,
    /// Every effect that the plan named was undone.
    Compensated,
    /// A compensation could not finish; a person must act.
    Stuck,
    /// Every phase is committed or was allowed to fail.
    Completed,
    /// A person closed the run by a signed decision, with what stands named in it.
    Resolved,
}

impl State {
    /// Every state, in the order of the flow.
    pub const ALL: [State; 7] = [
        State::Running,
        State::Failed,
        State::Compensating,
        State::Compensated,
        State::Stuck,
        State::Completed,
        State::Resolved,
    ];

    /// The name in records, tables and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Running => "running",
            State::Failed => "failed",
            State::Compensating => "compensating",
            State::Compensated => "compensated",
            State::Stuck => "stuck",
            State::Completed => "completed",
            State::Resolved => "resolved",
        }
    }

    /// Whether the run has an end time; a completed run can still be reopened by a plan.
    pub fn is_terminal(self) -> bool {
        match self {
            State::Completed | State::Compensated | State::Resolved => true,
            State::Running | State::Failed | State::Compensating | State::Stuck => false,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for State {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<State, UnknownState> {
        State::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| UnknownState(text.to_owned()))
    }
}

/// What happened to a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A phase committed and others follow.
    PhaseCommitted,
    /// One attempt of a phase failed and the run goes on: another attempt, or `continue`.
    AttemptFailed,
    /// A phase failed for good.
    PhaseFailed,
    /// An operator cancelled the run.
    Cancelled,
    /// The last phase committed or was allowed to fail.
    RunCompleted,
    /// Execution of a plan began.
    PlanStarted,
    /// One action of the plan committed.
    ActionCommitted,
    /// One attempt of an action failed and another will follow.
    ActionFailed,
    /// The plan has no action left.
    PlanFinished(After),
    /// An action failed for good.
    CompensationFailed,
    /// A failed run goes forward again.
    ForwardResumed,
    /// A person closed the run.
    Resolved,
}

/// Where a finished plan leaves its run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum After {
    /// Everything is undone: the run ends.
    Compensated,
    /// A rewind with `then: resume`: the named phase runs next.
    Running,
    /// A rewind that stops.
    Failed,
}

impl Event {
    /// Every event, `PlanFinished` once for each end.
    pub const ALL: [Event; 14] = [
        Event::PhaseCommitted,
        Event::AttemptFailed,
        Event::PhaseFailed,
        Event::Cancelled,
        Event::RunCompleted,
        Event::PlanStarted,
        Event::ActionCommitted,
        Event::ActionFailed,
        Event::PlanFinished(After::Compensated),
        Event::PlanFinished(After::Running),
        Event::PlanFinished(After::Failed),
        Event::CompensationFailed,
        Event::ForwardResumed,
        Event::Resolved,
    ];

    /// The name in records and tables; the state after it tells the three `plan_finished` apart.
    pub fn as_str(self) -> &'static str {
        match self {
            Event::PhaseCommitted => "phase_committed",
            Event::AttemptFailed => "attempt_failed",
            Event::PhaseFailed => "phase_failed",
            Event::Cancelled => "cancelled",
            Event::RunCompleted => "run_completed",
            Event::PlanStarted => "plan_started",
            Event::ActionCommitted => "action_committed",
            Event::ActionFailed => "action_failed",
            Event::PlanFinished(_) => "plan_finished",
            Event::CompensationFailed => "compensation_failed",
            Event::ForwardResumed => "forward_resumed",
            Event::Resolved => "resolved",
        }
    }

    /// Finds the event that has this name and can lead to `to`.
    pub fn from_parts(name: &str, to: State) -> Option<Event> {
        Event::ALL.into_iter().find(|event| {
            event.as_str() == name
                && match event {
                    Event::PlanFinished(after) => after.state() == to,
                    _ => true,
                }
        })
    }
}

impl After {
    /// The state that the run is in afterwards.
    pub fn state(self) -> State {
        match self {
            After::Compensated => State::Compensated,
            After::Running => State::Running,
            After::Failed => State::Failed,
        }
    }
}

/// Moves a run from one state to the next, or says that it may not.
pub fn transition(state: State, event: &Event) -> Result<State, Illegal> {
    let illegal = Err(Illegal {
        from: state,
        event: *event,
    });
    match (state, event) {
        (State::Running, Event::PhaseCommitted | Event::AttemptFailed) => Ok(State::Running),
        (State::Running, Event::PhaseFailed | Event::Cancelled) => Ok(State::Failed),
        (State::Running, Event::RunCompleted) => Ok(State::Completed),
        (State::Failed | State::Stuck | State::Completed, Event::PlanStarted) => {
            Ok(State::Compensating)
        }
        (State::Compensating, Event::ActionCommitted | Event::ActionFailed) => {
            Ok(State::Compensating)
        }
        (State::Compensating, Event::PlanFinished(after)) => Ok(after.state()),
        (State::Compensating, Event::CompensationFailed) => Ok(State::Stuck),
        (State::Failed, Event::ForwardResumed) => Ok(State::Running),
        (State::Failed | State::Stuck, Event::Resolved) => Ok(State::Resolved),

        (
            State::Failed
            | State::Compensating
            | State::Compensated
            | State::Stuck
            | State::Completed
            | State::Resolved,
            Event::PhaseCommitted
            | Event::AttemptFailed
            | Event::PhaseFailed
            | Event::Cancelled
            | Event::RunCompleted,
        )
        | (
            State::Running | State::Compensating | State::Compensated | State::Resolved,
            Event::PlanStarted,
        )
        | (
            State::Running
            | State::Failed
            | State::Compensated
            | State::Stuck
            | State::Completed
            | State::Resolved,
            Event::ActionCommitted
            | Event::ActionFailed
            | Event::PlanFinished(_)
            | Event::CompensationFailed,
        )
        | (
            State::Running
            | State::Compensating
            | State::Compensated
            | State::Stuck
            | State::Completed
            | State::Resolved,
            Event::ForwardResumed,
        )
        | (
            State::Running
            | State::Compensating
            | State::Compensated
            | State::Completed
            | State::Resolved,
            Event::Resolved,
        ) => illegal,
    }
}

/// Lists every legal `(from, event, to)`, sorted, for the comparison with the schema's CHECK.
pub fn triples() -> Vec<(&'static str, &'static str, &'static str)> {
    let mut all: Vec<_> = State::ALL
        .into_iter()
        .flat_map(|from| Event::ALL.into_iter().map(move |event| (from, event)))
        .filter_map(|(from, event)| {
            let to = transition(from, &event).ok()?;
            Some((from.as_str(), event.as_str(), to.as_str()))
        })
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// A move that no run may make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a run that is {from} cannot take the event {}", event.as_str())]
pub struct Illegal {
    /// The state that the run was in.
    pub from: State,
    /// The event that came.
    pub event: Event,
}

impl Illegal {
    /// The stable code of the error.
    pub fn code(&self) -> &'static str {
        "RD0620"
    }

    /// What the caller must do.
    pub fn class(&self) -> Class {
        Class::Hold
    }
}

/// A text that names no state; whoever meets it must stop.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("unknown run state {0:?}")]
pub struct UnknownState(pub String);

impl UnknownState {
    /// The stable code of the error.
    pub fn code(&self) -> &'static str {
        "RD0621"
    }

    /// What the caller must do.
    pub fn class(&self) -> Class {
        Class::Kill
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(from: &str, event: Event, expected: Option<&str>) {
        let from: State = from.parse().unwrap();
        let got = transition(from, &event).ok().map(State::as_str);
        assert_eq!(got, expected, "{from} {event:?}");
    }

    #[test]
    fn moves_are_those_of_the_drawing() {
        check("running", Event::PhaseFailed, Some("failed"));
        check("running", Event::Cancelled, Some("failed"));
        check("running", Event::RunCompleted, Some("completed"));
        check("running", Event::PlanStarted, None);
        check("completed", Event::PlanStarted, Some("compensating"));
        check("compensated", Event::PlanStarted, None);
        check("stuck", Event::PlanStarted, Some("compensating"));
        check("stuck", Event::Resolved, Some("resolved"));
        check("stuck", Event::ForwardResumed, None);
        check("failed", Event::ForwardResumed, Some("running"));
        check("compensating", Event::CompensationFailed, Some("stuck"));
        for after in [After::Compensated, After::Running, After::Failed] {
            let to = after.state().as_str();
            check("compensating", Event::PlanFinished(after), Some(to));
        }
    }

    #[test]
    fn the_table_has_exactly_seventeen_moves() {
        let triples = triples();
        assert_eq!(triples.len(), 17);
        assert!(triples.contains(&("compensating", "plan_finished", "running")));
        assert!(!triples.iter().any(|(from, _, _)| *from == "compensated"));
        assert!(!triples.iter().any(|(from, _, _)| *from == "resolved"));
    }

    #[test]
    fn names_are_read_back_and_unknown_ones_refused() {
        for state in State::ALL {
            assert_eq!(state.as_str().parse(), Ok(state));
            let json = serde_json::to_string(&state).unwrap();
            assert_eq!(json, format!("\"{state}\""));
        }
        for event in Event::ALL {
            let to = match event {
                Event::PlanFinished(after) => after.state(),
                _ => State::Running,
            };
            assert_eq!(Event::from_parts(event.as_str(), to), Some(event));
        }
        assert!("held".parse::<State>().is_err());
        assert_eq!(Event::from_parts("plan_finished", State::Stuck), None);
    }
}
