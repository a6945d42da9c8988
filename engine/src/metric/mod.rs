//! What can be measured: the list, what is counted while work goes on, and what the database is asked.
//!
//! ```text
//! list -> note (counters and histograms, where things happen)  -> the recorder of the crate `metrics`, if there is one
//!      -> sample (gauges, one bounded statement when somebody reads) ->
//! ```
//!
//! **Invariant:** nothing of a run's content is a label: no input, no output, no subject, no key, no id. What labels may
//! say is bounded: names of sagas and phases (200 sagas a process), codes, words of lists.
//!
//! **Invariant:** without the feature `metrics` nothing of this costs anything, and nothing is asked of the database.
//!
//! **Not here:** how figures leave the process. An embedding installs a recorder of its own (the crate `metrics` has
//! many); the command `redress work --metrics ADDR` serves Prometheus.

mod list;
mod note;
#[cfg(feature = "metrics")]
mod sample;

pub use list::*;
pub(crate) use note::*;
#[cfg(feature = "metrics")]
pub use sample::{Sample, Sampler};

/// One metric.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Metric {
    /// Its name; the unit stands last in it.
    pub name: &'static str,
    /// What kind of figure it is.
    pub kind: Kind,
    /// Where the figure is from.
    pub source: Source,
    /// Names of its labels, and what they may say.
    pub labels: &'static [(&'static str, &'static str)],
    /// What it means.
    pub help: &'static str,
    /// When somebody should be told.
    pub alert: &'static str,
}

/// What kind of figure a metric is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Only grows, from the start of the process.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by size.
    Histogram,
}

/// Where a figure is from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Source {
    /// This process: what others did is not in it.
    Process,
    /// The database: every process that serves it says the same.
    Database,
}

/// Bounds of the buckets of every histogram, in seconds.
pub const BUCKETS_SECONDS: &[f64] = &[
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    60.0, 300.0,
];

impl Metric {
    /// The unit that its name ends with; `None` for a plain number.
    pub fn unit(&self) -> Option<&'static str> {
        let name = self.name.strip_suffix("_total").unwrap_or(self.name);
        ["seconds", "records"]
            .into_iter()
            .find(|unit| name.ends_with(unit))
    }
}

/// Tells the recorder that is installed what every metric means; once, after it was installed.
#[cfg(feature = "metrics")]
pub fn describe() {
    for metric in ALL {
        let unit = match metric.unit() {
            Some("seconds") => ::metrics::Unit::Seconds,
            _ => ::metrics::Unit::Count,
        };
        match metric.kind {
            Kind::Counter => {
                ::metrics::describe_counter!(metric.name, unit, metric.help);
                if metric.labels.is_empty() {
                    // There from the start, so that the first one is seen as a rise.
                    ::metrics::counter!(metric.name).increment(0);
                }
            }
            Kind::Gauge => ::metrics::describe_gauge!(metric.name, unit, metric.help),
            Kind::Histogram => ::metrics::describe_histogram!(metric.name, unit, metric.help),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_prometheus_names_with_their_unit_last_and_stand_once() {
        let mut seen = BTreeSet::new();
        for metric in ALL {
            let name = metric.name;
            assert!(seen.insert(name), "{name} stands twice");
            assert!(name.starts_with("redress_"), "{name}");
            let plain = |c: char| c.is_ascii_lowercase() || c == '_';
            assert!(name.chars().all(plain), "{name}");
            assert_eq!(
                name.ends_with("_total"),
                metric.kind == Kind::Counter,
                "{name}"
            );
            if metric.kind == Kind::Histogram {
                assert_eq!(metric.unit(), Some("seconds"), "{name}");
            }
            assert!(metric.help.ends_with('.'), "{name}");
            assert!(!metric.alert.is_empty(), "{name}");
            for (label, says) in metric.labels {
                assert!(label.chars().all(plain) && !says.is_empty(), "{name}");
            }
        }
    }

    #[test]
    fn no_label_is_a_runs_own_content() {
        for metric in ALL {
            for unwanted in ["run", "subject", "key", "input", "plan", "id"] {
                let has = metric.labels.iter().any(|(label, _)| *label == unwanted);
                assert!(!has, "{} has {unwanted}", metric.name);
            }
        }
    }
}
