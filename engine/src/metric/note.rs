//! Counts what happens, where it happens. Without the feature every function here is empty.

use std::time::Duration;

use redress_ledger::Class;

use super::{self as list, Metric};
use crate::error::Error;

/// Sagas that have a label of their own in one process.
#[cfg(feature = "metrics")]
const SAGAS_MAX: usize = 200;

/// A moment, where something is measured; nothing otherwise.
#[derive(Clone, Copy)]
pub(crate) struct Since(#[cfg(feature = "metrics")] std::time::Instant);

impl Since {
    pub fn now() -> Self {
        Self(
            #[cfg(feature = "metrics")]
            std::time::Instant::now(),
        )
    }

    fn elapsed(self) -> Duration {
        #[cfg(feature = "metrics")]
        return self.0.elapsed();
        #[cfg(not(feature = "metrics"))]
        Duration::ZERO
    }
}

/// An attempt of a phase has ended.
pub(crate) fn phase_ended(saga: &str, phase: &str, outcome: &'static str, since: Since) {
    let (saga, phase) = bounded(saga, phase);
    let labels = [("saga", saga), ("phase", phase), ("outcome", outcome)];
    observe(&list::PHASE_DURATION, &labels, since.elapsed());
}

/// A failure of a phase was recorded, and this follows.
pub(crate) fn phase_failed(saga: &str, code: &str, class: Class, next: &'static str) {
    let (saga, _) = bounded(saga, "");
    let class = class_word(class);
    let labels = [
        ("saga", saga),
        ("code", code),
        ("class", class),
        ("next", next),
    ];
    count(&list::PHASE_FAILURES, &labels, 1);
    if next == "again" {
        begun_anew("phase", code);
    }
}

/// Something is begun anew.
pub(crate) fn begun_anew(what: &'static str, code: &str) {
    count(&list::RETRIES, &[("what", what), ("code", code)], 1);
}

/// A commit in doubt was looked up.
pub(crate) fn doubt_resolved(fate: &'static str) {
    count(&list::IN_DOUBT, &[("fate", fate)], 1);
}

/// A probe has answered about an act in doubt.
pub(crate) fn act_probed(answer: &'static str) {
    count(&list::ACTS_IN_DOUBT, &[("answer", answer)], 1);
}

/// A run was opened here.
pub(crate) fn run_started(saga: &str) {
    let (saga, _) = bounded(saga, "");
    count(&list::RUNS_STARTED, &[("saga", saga)], 1);
}

/// A run came to rest here.
pub(crate) fn run_settled(saga: &str, state: &'static str) {
    let (saga, _) = bounded(saga, "");
    let labels = [("saga", saga), ("state", state)];
    count(&list::RUNS_SETTLED, &labels, 1);
}

/// A driver has let go of a run.
pub(crate) fn let_go(why: &'static str) {
    count(&list::LET_GO, &[("why", why)], 1);
}

/// A plan was carried out, or not; `actions` are those of a plan that came to its end.
pub(crate) fn unwound<'a>(
    saga: &str,
    result: &Result<(), Error>,
    actions: impl Iterator<Item = &'a str>,
    since: Since,
) {
    let outcome = match result {
        Ok(()) => "done",
        Err(Error::StalePlan(_)) => "stale",
        Err(Error::Stuck { .. }) => "stuck",
        Err(error) if crate::drive::is_fenced(error) => "fenced",
        Err(error) if crate::compensate::is_gate(error) => "held",
        Err(error) if error.class() == Class::Refused => "refused",
        Err(_) => "error",
    };
    let (saga, _) = bounded(saga, "");
    let labels = [("saga", saga), ("outcome", outcome)];
    observe(&list::COMPENSATION_DURATION, &labels, since.elapsed());
    if result.is_ok() {
        for action in actions {
            count(&list::ACTIONS, &[("action", action)], 1);
        }
    }
}

/// A plan was refused.
pub(crate) fn plan_refused(error: &Error) {
    match error {
        Error::StalePlan(_) => count(&list::PLANS_STALE, &[], 1),
        Error::ApprovalsMissing(_) => unsigned("plan"),
        _ => {}
    }
}

/// Signatures are missing.
pub(crate) fn unsigned(what: &'static str) {
    count(&list::APPROVALS_MISSING, &[("what", what)], 1);
}

/// A run was held as poison.
pub(crate) fn poison() {
    count(&list::POISON, &[], 1);
}

/// A run was claimed; `tries` counts the claims since it last moved, with this one.
pub(crate) fn claimed(tries: i32) {
    let kind = if tries > 1 { "again" } else { "first" };
    count(&list::CLAIMS, &[("kind", kind)], 1);
}

/// A heartbeat has ended.
pub(crate) fn heartbeat(ok: bool) {
    let outcome = if ok { "ok" } else { "failed" };
    count(&list::HEARTBEATS, &[("outcome", outcome)], 1);
    #[cfg(feature = "metrics")]
    if ok {
        super::sample::beat_now();
    }
}

/// How many runs a worker drives at once.
pub(crate) fn worker_slots(slots: usize) {
    gauge(&list::WORKER_SLOTS, &[], slots as f64);
}

/// How many runs a worker drives now.
pub(crate) fn worker_busy(busy: usize) {
    gauge(&list::WORKER_BUSY, &[], busy as f64);
}

/// A sink did not take an alert.
pub(crate) fn alert_failed(sink: &'static str) {
    count(&list::ALERTS_FAILED, &[("sink", sink)], 1);
}

/// A sink did not take a notification.
pub(crate) fn notification_failed(notifier: &str) {
    let labels = [("notifier", notifier)];
    count(&list::NOTIFICATIONS_FAILED, &labels, 1);
}

/// A batch of the sealer has ended.
pub(crate) fn batch_ended(result: Result<u64, &Error>, since: Since) {
    let outcome = match result {
        Ok(0) => "nothing",
        Ok(_) => "sealed",
        Err(Error::Seal(crate::seal::SealError::Busy { .. })) => "busy",
        Err(_) => "failed",
    };
    let labels = [("outcome", outcome)];
    observe(&list::SEAL_DURATION, &labels, since.elapsed());
    count(&list::SEALED_RECORDS, &[], result.unwrap_or(0));
}

/// A class as a label says it.
fn class_word(class: Class) -> &'static str {
    match class {
        Class::Retry => "retry",
        Class::InDoubt => "in_doubt",
        Class::Refused => "refused",
        Class::Business => "business",
        Class::Hold => "hold",
        Class::Kill => "kill",
    }
}

#[cfg(feature = "metrics")]
pub(super) use on::gauge;
#[cfg(feature = "metrics")]
use on::{bounded, count, observe};

#[cfg(feature = "metrics")]
mod on {
    use std::collections::HashSet;
    use std::sync::{LazyLock, PoisonError, RwLock};
    use std::time::Duration;

    use ::metrics::{Key, Label, Level, Metadata, with_recorder};

    use super::{Metric, SAGAS_MAX};

    static WHERE: Metadata<'static> = Metadata::new("redress", Level::INFO, None);
    static SAGAS: LazyLock<RwLock<HashSet<String>>> = LazyLock::new(RwLock::default);

    /// Whoever registers sagas without end does not fill the memory of whoever scrapes.
    pub(super) fn bounded<'a>(saga: &'a str, phase: &'a str) -> (&'a str, &'a str) {
        let known = SAGAS.read().unwrap_or_else(PoisonError::into_inner);
        if known.contains(saga) {
            return (saga, phase);
        }
        drop(known);
        let mut known = SAGAS.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= SAGAS_MAX && !known.contains(saga) {
            return ("other", "other");
        }
        known.insert(saga.to_owned());
        (saga, phase)
    }

    pub(super) fn count(metric: &Metric, labels: &[(&'static str, &str)], by: u64) {
        let key = key(metric, labels);
        with_recorder(|to| to.register_counter(&key, &WHERE).increment(by));
    }

    pub(super) fn observe(metric: &Metric, labels: &[(&'static str, &str)], took: Duration) {
        let key = key(metric, labels);
        with_recorder(|to| {
            to.register_histogram(&key, &WHERE)
                .record(took.as_secs_f64())
        });
    }

    pub(in super::super) fn gauge(metric: &Metric, labels: &[(&'static str, &str)], value: f64) {
        let key = key(metric, labels);
        with_recorder(|to| to.register_gauge(&key, &WHERE).set(value));
    }

    fn key(metric: &Metric, labels: &[(&'static str, &str)]) -> Key {
        if labels.is_empty() {
            return Key::from_static_name(metric.name);
        }
        let labels = labels.iter();
        let labels: Vec<Label> = labels
            .map(|(name, value)| Label::new(*name, (*value).to_owned()))
            .collect();
        Key::from_parts(metric.name, labels)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_flood_of_sagas_ends_as_other() {
            let names: Vec<String> = (0..2 * SAGAS_MAX).map(|n| format!("flood-{n}")).collect();
            for name in &names {
                bounded(name, "book");
            }
            assert_eq!(bounded(&names[0], "book"), (names[0].as_str(), "book"));
            let last = &names[names.len() - 1];
            assert_eq!(bounded(last, "book"), ("other", "other"));
        }
    }
}

#[cfg(not(feature = "metrics"))]
use off::{bounded, count, gauge, observe};

#[cfg(not(feature = "metrics"))]
mod off {
    use std::time::Duration;

    use super::Metric;

    pub(super) fn bounded<'a>(saga: &'a str, phase: &'a str) -> (&'a str, &'a str) {
        (saga, phase)
    }

    pub(super) fn count(_: &Metric, _: &[(&'static str, &str)], _: u64) {}

    pub(super) fn observe(_: &Metric, _: &[(&'static str, &str)], _: Duration) {}

    pub(super) fn gauge(_: &Metric, _: &[(&'static str, &str)], _: f64) {}
}
