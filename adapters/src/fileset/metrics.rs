//! Counts and durations of snapshots and restorations of one process.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

/// How often something was done, and how long it took.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Series {
    /// How often it was done.
    pub done: u64,
    /// How often it failed.
    pub failed: u64,
    /// The time of all that were done, in milliseconds.
    pub ms_total: u64,
    /// The longest, in milliseconds.
    pub ms_max: u64,
    /// Files in all that were done.
    pub files: u64,
    /// Bytes added to the store (snapshots) or written to directories (switches, restorations).
    pub bytes: u64,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Metrics {
    /// Snapshots taken.
    pub snapshots: Series,
    /// Switches made.
    pub switches: Series,
    /// Restorations from a snapshot, by itself after a failure or by a compensation.
    pub restorations: Series,
    /// Unfinished switches that were finished or taken back.
    pub recoveries: Series,
}

/// Counts.
#[derive(Debug, Default)]
pub(super) struct Counter(Mutex<Metrics>);

impl Counter {
    pub(super) fn read(&self) -> Metrics {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one; `done` has files and bytes, `None` stands for a failure.
    pub(super) fn count(
        &self,
        which: fn(&mut Metrics) -> &mut Series,
        took: Duration,
        done: Option<(usize, u64)>,
    ) {
        let mut metrics = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let series = which(&mut metrics);
        let Some((files, bytes)) = done else {
            series.failed += 1;
            return;
        };
        let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        series.done += 1;
        series.ms_total = series.ms_total.saturating_add(ms);
        series.ms_max = series.ms_max.max(ms);
        series.files += files as u64;
        series.bytes += bytes;
    }
}
