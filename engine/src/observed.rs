//! What is driven, seen from outside: a span and a figure for each run, each attempt of a phase, each plan.
//!
//! **Invariant:** nothing here decides anything; what it wraps is called once, with what it was given.
//!
//! **Invariant:** where nobody listens, no value is formatted: a span that is off looks at none of its fields.

use redress_ledger::state::State;
use tokio::sync::watch;
use tracing::{Instrument, Span, field};

use crate::compensate::Unwind;
use crate::definition::Phase;
use crate::drive::{Left, Step};
use crate::engine::{Inner, Loan};
use crate::error::Error;
use crate::metric::{self, Since};
use crate::open::Eager;
use crate::outside::Try;
use crate::run::Live;
use crate::start::Opening;

impl Inner {
    /// Drives an opened run inside its span.
    pub(crate) async fn driven(
        &self,
        session: &mut Loan,
        live: &mut Live,
        stopping: &watch::Receiver<bool>,
    ) -> Result<Left, Error> {
        let span = tracing::info_span!(
            "run",
            run = %live.row.id,
            saga = live.row.saga.as_str(),
            version = live.row.version,
            epoch = live.row.epoch,
            outcome = field::Empty,
        );
        let driving = self.drive_far(session, live, stopping);
        let left = match driving.instrument(span.clone()).await {
            Err(error) if error.is_lost() => {
                tracing::warn!(
                    parent: &span,
                    run = %live.row.id,
                    code = error.code(),
                    error = %crate::telemetry::Told(&error),
                    "let go, to be claimed again"
                );
                Left::Lost
            }
            Err(error) => {
                span.record("outcome", "error");
                return Err(error);
            }
            Ok(left) => left,
        };
        span.record("outcome", left.word());
        metric::let_go(left.word());
        if left == Left::Settled && live.story.state != State::Running {
            metric::run_settled(&live.row.saga, live.story.state.as_str());
        }
        Ok(left)
    }

    /// One attempt of a phase, wherever its effect lies, inside its span.
    pub(crate) async fn attempted(
        &self,
        session: &mut Loan,
        live: &mut Live,
        phase: &Phase,
    ) -> Result<Step, Error> {
        let span = phase_span(phase, live.row.attempts + 1);
        let since = Since::now();
        let attempt = async {
            match self.external(phase).cloned() {
                Some(adapter) => {
                    self.attempt_outside(session, live, phase, adapter.as_ref())
                        .await
                }
                None => self.attempt_here(session, live, phase, Try::Work).await,
            }
        };
        let step = attempt.instrument(span.clone()).await;
        let (outcome, code) = match &step {
            Ok(Step::Committed(..)) => ("committed", None),
            Ok(Step::Failed(error, _)) => ("failed", Some(error.code())),
            Ok(Step::Left(left)) => (left.word(), None),
            Err(error) if error.is_lost() => ("lost", Some(error.code())),
            Err(error) => ("error", Some(error.code())),
        };
        ended(&span, outcome, code);
        metric::phase_ended(&live.row.saga, phase.name.as_str(), outcome, since);
        step
    }

    /// Opens a run with its first phase, inside their spans.
    pub(crate) async fn opened_eagerly(
        &self,
        session: &crate::db::Session,
        opening: &Opening,
    ) -> Result<Eager, Error> {
        let definition = &opening.loaded.definition;
        let start = tracing::info_span!(
            "start",
            run = %opening.run,
            saga = definition.saga.as_str(),
            version = definition.version,
        );
        let span = start.in_scope(|| phase_span(&opening.first, 1));
        let since = Since::now();
        let opening_run = self.open_eagerly(session, opening);
        let eager = opening_run.instrument(span.clone()).await;
        if let Ok(Eager::Committed(_)) = &eager {
            ended(&span, "committed", None);
            metric::run_started(definition.saga.as_str());
            let phase = opening.first.name.as_str();
            metric::phase_ended(definition.saga.as_str(), phase, "committed", since);
        }
        eager
    }

    /// Carries out a plan, inside its span.
    pub(crate) async fn unwind(
        &self,
        session: &mut Loan,
        live: &mut Live,
        unwind: &Unwind<'_>,
    ) -> Result<(), Error> {
        let span = tracing::info_span!(
            "compensation",
            run = %live.row.id,
            saga = live.row.saga.as_str(),
            plan = %unwind.digest,
            outcome = field::Empty,
            code = field::Empty,
        );
        let since = Since::now();
        let unwinding = self.unwind_tried(session, live, unwind);
        let result = unwinding.instrument(span.clone()).await;
        match &result {
            Ok(()) => ended(&span, "done", None),
            Err(error) => ended(&span, "failed", Some(error.code())),
        }
        let actions = unwind.plan.actions.iter();
        let actions = actions.map(|action| action.action.as_str());
        metric::unwound(&live.row.saga, &result, actions, since);
        result
    }
}

fn phase_span(phase: &Phase, attempt: i32) -> Span {
    tracing::info_span!(
        "phase",
        phase = phase.name.as_str(),
        attempt,
        outcome = field::Empty,
        code = field::Empty,
    )
}

fn ended(span: &Span, outcome: &'static str, code: Option<&'static str>) {
    span.record("outcome", outcome);
    if let Some(code) = code {
        span.record("code", code);
    }
}

impl Left {
    /// The word for fields and labels.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Settled => "settled",
            Self::Held => "held",
            Self::Fenced => "fenced",
            Self::Stopped => "stopped",
            Self::Waiting(_) => "waiting",
            Self::Lost => "lost",
        }
    }
}
