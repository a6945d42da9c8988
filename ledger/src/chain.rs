//! Decides whether the records of one run are all there, in order, and tell a legal story.
//!
//! **Invariant:** what passes is dense from 1, each record names the hash of the one before it,
//! run and origin never change, generation and epoch never fall, and every move of the state is
//! one that `transition` allows for this kind of record. An act outside the database has its outcome
//! before anything else goes forward. One record at a time, in flat memory.
//!
//! **Not here:** whether bytes and stored hash agree and whether decisions allow what happened
//! (`verify`). Records cut off at the end are found only against a head that somebody remembers.

mod kept;

use serde_json::Value;
use thiserror::Error;
use uuid::Uuid;

use crate::class::Class;
use crate::hash::Hash;
use crate::record::{Kind, Record};
use crate::state::{After, Event, State, transition};

pub(crate) use kept::KeptChain;

/// Follows the records of one run.
#[derive(Clone, Debug)]
pub struct Chain {
    run: Uuid,
    origin: String,
    generation: i64,
    epoch: i64,
    system: bool,
    /// The phase whose act outside the database stands without an outcome.
    acting: Option<String>,
    end: End,
}

/// Where a run's records end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// How many records there are; also the last one's `seq`.
    pub count: i64,
    /// The hash of the last one, [`Hash::ZERO`] if there is none.
    pub head: Hash,
    /// The state that they lead to.
    pub state: State,
    /// The count that the last `run.sealed` stated.
    pub sealed: Option<i64>,
}

impl End {
    /// Whether nothing follows the last seal, so that the run is provably complete.
    pub fn is_sealed(&self) -> bool {
        self.sealed == Some(self.count)
    }
}

impl Chain {
    /// Starts before the first record.
    pub fn new(run: Uuid) -> Chain {
        Chain {
            run,
            origin: String::new(),
            generation: 0,
            epoch: 0,
            system: false,
            acting: None,
            end: End {
                count: 0,
                head: Hash::ZERO,
                state: State::Running,
                sealed: None,
            },
        }
    }

    /// Takes the next record and its hash.
    pub fn push(&mut self, record: &Record, hash: Hash) -> Result<(), ChainError> {
        let seq = self.end.count + 1;
        match self.judge(record, seq) {
            Ok((state, acting)) => {
                self.acting = acting;
                self.origin.clone_from(&record.origin);
                self.generation = record.generation;
                self.epoch = record.epoch;
                self.system = self.begins_system(record.kind, seq);
                self.end.count = seq;
                self.end.head = hash;
                self.end.state = state;
                if record.kind == Kind::RunSealed {
                    self.end.sealed = Some(seq);
                }
                Ok(())
            }
            Err(fault) => Err(ChainError {
                run: self.run,
                seq,
                fault,
            }),
        }
    }

    /// Whether this is a system run: it began with something else than its opening.
    pub fn is_system(&self) -> bool {
        self.system
    }

    /// Whether something must still follow: the story of a run has begun and is not sealed.
    pub fn is_open(&self) -> bool {
        self.end.count > 0 && !self.system && !self.end.is_sealed()
    }

    /// Where the records end so far.
    pub fn end(&self) -> &End {
        &self.end
    }

    fn judge(&self, record: &Record, seq: i64) -> Result<(State, Option<String>), Fault> {
        if record.run != self.run {
            return Err(Fault::OtherRun(record.run));
        }
        if record.seq != seq {
            return Err(Fault::Seq(record.seq));
        }
        if record.prev != self.end.head {
            return Err(Fault::Prev(record.prev));
        }
        if seq > 1 && record.origin != self.origin {
            return Err(Fault::Origin);
        }
        if record.generation < self.generation {
            return Err(Fault::Generation(record.generation));
        }
        if record.epoch < self.epoch {
            return Err(Fault::Epoch(record.epoch));
        }
        self.check_place(record.kind, seq)?;
        let state = next_state(self.end.state, record)?;
        if record.kind == Kind::RunSealed {
            check_seal(state, &record.body, seq)?;
        }
        let acting = acting(self.acting.as_deref(), self.end.state, record)?;
        if state == State::Completed && acting.is_some() {
            return Err(Fault::Acting);
        }
        Ok((state, acting))
    }

    /// A run begins with `run.opened` and has no other; the system run has no record of a run.
    fn check_place(&self, kind: Kind, seq: i64) -> Result<(), Fault> {
        let good = match seq {
            1 => kind == Kind::RunOpened || !kind.is_of_a_run(),
            _ => kind != Kind::RunOpened && !(self.system && kind.is_of_a_run()),
        };
        if good {
            Ok(())
        } else {
            Err(Fault::Opening(kind))
        }
    }

    fn begins_system(&self, kind: Kind, seq: i64) -> bool {
        match seq {
            1 => kind != Kind::RunOpened,
            _ => self.system,
        }
    }
}

fn check_seal(state: State, body: &Value, seq: i64) -> Result<(), Fault> {
    if !state.is_terminal() {
        return Err(Fault::SealOpen(state));
    }
    match body.get("count").and_then(Value::as_i64) {
        Some(count) if count == seq => Ok(()),
        _ => Err(Fault::SealCount),
    }
}

/// The phase whose act outside is open behind a record: one at a time, and nothing else goes on beside it.
fn acting(open: Option<&str>, state: State, record: &Record) -> Result<Option<String>, Fault> {
    let text = |name: &str| record.body.get(name).and_then(Value::as_str);
    let phase = text("phase");
    let of_another = open.is_some() && open != phase;
    match record.kind {
        Kind::PhaseIntended => {
            let back = text("way") == Some("back");
            let place = match back {
                true => State::Compensating,
                false => State::Running,
            };
            match phase {
                Some(_) if state != place || (!back && of_another) => Err(Fault::Acting),
                Some(_) if back => Ok(open.map(str::to_owned)),
                Some(phase) => Ok(Some(phase.to_owned())),
                None => Err(Fault::Acting),
            }
        }
        Kind::PhaseCommitted | Kind::PhaseFailed if of_another => Err(Fault::Acting),
        Kind::PhaseCommitted => Ok(None),
        Kind::PhaseFailed if matches!(text("outside"), Some("not_done" | "probed")) => Ok(None),
        Kind::CompensationCommitted if !of_another => Ok(None),
        _ => Ok(open.map(str::to_owned)),
    }
}

/// Replays one record on a state.
pub fn next_state(state: State, record: &Record) -> Result<State, Fault> {
    let event = match record.body.get("transition") {
        Some(stated) => Some(stated_event(state, record.kind, stated)?),
        None => implied_event(record.kind)?,
    };
    if record.kind == Kind::PhaseIntended && !matches!(state, State::Running | State::Compensating)
    {
        return Err(Fault::Illegal {
            state,
            event: record.kind.as_str().to_owned(),
        });
    }
    let Some(event) = event else {
        return Ok(state);
    };
    transition(state, &event).map_err(|illegal| Fault::Illegal {
        state: illegal.from,
        event: illegal.event.as_str().to_owned(),
    })
}

/// Writes `body.transition` for a move.
pub fn transition_value(from: State, event: &Event, to: State) -> Value {
    serde_json::json!({"from": from, "event": event.as_str(), "to": to})
}

fn stated_event(state: State, kind: Kind, stated: &Value) -> Result<Event, Fault> {
    let word = |name: &str| stated.get(name).and_then(Value::as_str);
    let three = stated.as_object().is_some_and(|members| members.len() == 3);
    let (Some(from), Some(event), Some(to), true) =
        (word("from"), word("event"), word("to"), three)
    else {
        return Err(Fault::Transition);
    };
    if from != state.as_str() {
        return Err(Fault::From(from.to_owned()));
    }
    let illegal = || Fault::Illegal {
        state,
        event: event.to_owned(),
    };
    let to: State = to.parse().map_err(|_| Fault::Transition)?;
    let event = Event::from_parts(event, to).ok_or_else(illegal)?;
    if !may_state(kind, &event) {
        return Err(Fault::Kind(kind, event.as_str()));
    }
    if transition(state, &event) != Ok(to) {
        return Err(illegal());
    }
    Ok(event)
}

/// What a record without `body.transition` means for the state.
fn implied_event(kind: Kind) -> Result<Option<Event>, Fault> {
    match kind {
        Kind::PhaseCommitted => Ok(Some(Event::PhaseCommitted)),
        Kind::PhaseFailed => Ok(Some(Event::AttemptFailed)),
        Kind::CompensationCommitted => Ok(Some(Event::ActionCommitted)),
        Kind::CompensationFailed => Ok(Some(Event::ActionFailed)),
        Kind::PlanStarted
        | Kind::PlanFinished
        | Kind::RunCancelled
        | Kind::RunResumed
        | Kind::Resolved => Err(Fault::NoTransition(kind)),
        Kind::RunOpened
        | Kind::PhaseIntended
        | Kind::PlanMade
        | Kind::PlanApproved
        | Kind::PlanRefused
        | Kind::RunSealed
        | Kind::Decision
        | Kind::HoldSet
        | Kind::HoldReleased
        | Kind::SwitchKilled
        | Kind::SwitchReleased
        | Kind::SnapshotTaken
        | Kind::Refused
        | Kind::RunbookStep
        | Kind::KeyRegistered
        | Kind::KeyRotated
        | Kind::KeyRevoked
        | Kind::KeyCompromised
        | Kind::PolicySet
        | Kind::PolicyRetired
        | Kind::BlobErased
        | Kind::RunsArchived
        | Kind::GenerationOpened => Ok(None),
    }
}

/// Which kinds of record may state which event.
fn may_state(kind: Kind, event: &Event) -> bool {
    match event {
        Event::PhaseCommitted => kind == Kind::PhaseCommitted,
        Event::AttemptFailed | Event::PhaseFailed => kind == Kind::PhaseFailed,
        // The last phase may be one that was allowed to fail; the seal of its transaction may say it for both.
        Event::RunCompleted => {
            matches!(
                kind,
                Kind::PhaseCommitted | Kind::PhaseFailed | Kind::RunSealed
            )
        }
        Event::Cancelled => kind == Kind::RunCancelled,
        Event::PlanStarted => kind == Kind::PlanStarted,
        Event::ActionCommitted => kind == Kind::CompensationCommitted,
        Event::ActionFailed | Event::CompensationFailed => kind == Kind::CompensationFailed,
        Event::PlanFinished(After::Compensated | After::Running | After::Failed) => {
            matches!(kind, Kind::PlanFinished | Kind::CompensationCommitted)
        }
        Event::ForwardResumed => kind == Kind::RunResumed,
        Event::Resolved => kind == Kind::Resolved,
    }
}

/// The first record of a run that does not fit.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("record {seq}: {fault}, run {run}")]
pub struct ChainError {
    /// The run.
    pub run: Uuid,
    /// The place at which the fault was found.
    pub seq: i64,
    /// What is wrong there.
    pub fault: Fault,
}

/// What is wrong with a record behind the ones before it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Fault {
    /// Another run's record.
    #[error("the record belongs to the run {0}")]
    OtherRun(Uuid),
    /// A gap, a duplicate or another order.
    #[error("the record that stands here has the sequence {0}")]
    Seq(i64),
    /// It does not name the hash of the record before it.
    #[error("it names another record before it: {0}")]
    Prev(Hash),
    /// The origin changed within the run.
    #[error("the origin differs from that of the record before it")]
    Origin,
    /// The generation fell.
    #[error("the generation falls back to {0}")]
    Generation(i64),
    /// The epoch fell: a worker wrote that had lost its lease.
    #[error("the epoch falls back to {0}")]
    Epoch(i64),
    /// A run that does not begin with its opening or is opened twice, or a run's record elsewhere.
    #[error(
        "a run is opened by its first record and only there; a record of kind {0} is out of place"
    )]
    Opening(Kind),
    /// A transition that does not have exactly `from`, `event` and `to`.
    #[error("the transition is malformed")]
    Transition,
    /// A transition that starts from another state.
    #[error("the transition starts from another state than the run is in: {0:?}")]
    From(String),
    /// A kind of record that does not move a run this way.
    #[error("a record of kind {0} does not move a run by {1}")]
    Kind(Kind, &'static str),
    /// A kind of record that always moves a run, without its transition.
    #[error("a record of kind {0} needs its transition")]
    NoTransition(Kind),
    /// A move that the state does not allow.
    #[error("a run that is {state} cannot take {event:?}")]
    Illegal {
        /// The state before.
        state: State,
        /// The event.
        event: String,
    },
    /// An act outside the database whose outcome is missing, or that begins where it must not.
    #[error(
        "an act outside the database is open, and this goes on without its outcome; or it begins out of place"
    )]
    Acting,
    /// A seal on a run that has not ended.
    #[error("a run that is {0} cannot be sealed")]
    SealOpen(State),
    /// A seal that states another count.
    #[error("the seal states another count than there are records")]
    SealCount,
}

impl ChainError {
    /// The stable code of the error.
    pub fn code(&self) -> &'static str {
        self.fault.code()
    }

    /// What the caller must do.
    pub fn class(&self) -> Class {
        self.fault.class()
    }
}

impl Fault {
    /// The stable code of the error.
    pub fn code(&self) -> &'static str {
        match self {
            Fault::OtherRun(_) => "RD0630",
            Fault::Seq(_) => "RD0631",
            Fault::Prev(_) => "RD0632",
            Fault::Origin => "RD0633",
            Fault::Generation(_) => "RD0634",
            Fault::Epoch(_) => "RD0635",
            Fault::Opening(_) => "RD0636",
            Fault::Transition | Fault::From(_) | Fault::Kind(..) | Fault::NoTransition(_) => {
                "RD0637"
            }
            Fault::Illegal { .. } => "RD0620",
            Fault::Acting => "RD0619",
            Fault::SealOpen(_) | Fault::SealCount => "RD0638",
        }
    }

    /// What the caller must do: a log that cannot be true stops everything that rests on it.
    pub fn class(&self) -> Class {
        Class::Kill
    }
}

#[cfg(test)]
mod tests;
