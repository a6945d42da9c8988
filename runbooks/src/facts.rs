//! What is known of a run that a runbook may be for, and why one is not.

use redress::view::RunView;
use redress_ledger::state::State;
use serde_json::Value;

use crate::model::{Match, Runbook, Step};

/// What is known of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its saga.
    pub saga: String,
    /// The saga's version.
    pub version: u32,
    /// Its state.
    pub state: State,
    /// The phase that failed.
    pub failed_phase: Option<String>,
    /// The phases that stand.
    pub committed: Vec<String>,
    /// The codes of its errors, of the holds that bear on it, and of the switch.
    pub codes: Vec<String>,
}

impl Facts {
    /// What a run shows.
    pub fn of(view: &RunView) -> Self {
        let standing = view
            .phases
            .iter()
            .filter(|phase| phase.state == "committed");
        let mut codes: Vec<String> = view.error.iter().map(|error| error.code.clone()).collect();
        codes.extend(view.errors.iter().map(|fault| fault.code.clone()));
        codes.extend(view.held.iter().map(|hold| hold.code.clone()));
        codes.extend(match view.switch.as_str() {
            "killed" => Some("RD0203".to_owned()),
            "frozen" => Some("RD0205".to_owned()),
            "missing" => Some("RD0202".to_owned()),
            _ => None,
        });
        codes.dedup();
        Self {
            saga: view.saga.clone(),
            version: u32::try_from(view.version).unwrap_or_default(),
            state: view.state,
            failed_phase: view
                .error
                .as_ref()
                .and_then(|error| error.phase.as_ref())
                .map(ToString::to_string),
            committed: standing.map(|phase| phase.name.to_string()).collect(),
            codes,
        }
    }
}

/// Why a runbook is not for a run; nothing when it is.
pub fn why_not(matches: &Match, facts: &Facts) -> Option<String> {
    if let Some(saga) = &matches.saga
        && saga.as_str() != facts.saga
    {
        return Some(format!(
            "it is for saga {saga}, the run is of {}",
            facts.saga
        ));
    }
    if !matches.versions.is_empty() && !matches.versions.contains(&facts.version) {
        return Some(format!(
            "it is for version {} of the saga, the run is of version {}",
            listed(&matches.versions),
            facts.version
        ));
    }
    if !matches.states.is_empty() && !matches.states.contains(&facts.state) {
        return Some(format!(
            "it is for runs that are {}, this one is {}",
            listed(&matches.states),
            facts.state
        ));
    }
    if let Some(phase) = &matches.failed_phase
        && facts.failed_phase.as_deref() != Some(phase.as_str())
    {
        let failed = facts.failed_phase.as_deref().unwrap_or("none");
        return Some(format!(
            "it is for a failure of phase {phase}, this run's is {failed}"
        ));
    }
    let lacking = matches
        .committed
        .iter()
        .find(|phase| !facts.committed.iter().any(|one| one == phase.as_str()));
    if let Some(phase) = lacking {
        return Some(format!("phase {phase} does not stand"));
    }
    let coded = matches.codes.iter().any(|code| facts.codes.contains(code));
    if !matches.codes.is_empty() && !coded {
        let codes = match facts.codes.is_empty() {
            true => "none".to_owned(),
            false => facts.codes.join(", "),
        };
        // A long list would hide what the run has.
        let wanted = match matches.codes.as_slice() {
            few if few.len() <= CODES_SHOWN_MAX => few.join(", "),
            many => format!("{} other error codes", many.len()),
        };
        return Some(format!("it is for {wanted}, the run has {codes}"));
    }
    None
}

const CODES_SHOWN_MAX: usize = 8;

fn listed<T: ToString>(all: &[T]) -> String {
    let all: Vec<String> = all.iter().map(ToString::to_string).collect();
    all.join(" or ")
}

impl Step {
    /// Which kind it is, as in the file.
    pub fn kind(&self) -> &'static str {
        let kinds = [
            ("compensate", self.compensate.is_some()),
            ("rewind", self.rewind.is_some()),
            ("transaction", self.transaction.is_some()),
            ("hold", self.hold.is_some()),
            ("release", self.release.is_some()),
            ("resume", self.resume.is_some()),
            ("resolve", self.resolve.is_some()),
            ("snapshot", self.snapshot.is_some()),
            ("call", self.call.is_some()),
            ("wait", self.wait.is_some()),
            ("manual", self.manual.is_some()),
        ];
        kinds
            .iter()
            .find(|(_, is)| *is)
            .map_or("nothing", |(kind, _)| kind)
    }

    /// Whether it changes something.
    pub fn acts(&self) -> bool {
        !matches!(self.kind(), "snapshot" | "wait" | "manual" | "nothing")
    }
}

impl Runbook {
    /// Whether it is about a run.
    pub fn needs_a_run(&self) -> bool {
        let about = self.matches.saga.is_some()
            || self.matches.failed_phase.is_some()
            || !self.matches.states.is_empty();
        let points = serde_json::to_value(self).is_ok_and(|value| points_at_run(&value));
        about
            || points
            || self
                .steps
                .iter()
                .any(|step| matches!(step.kind(), "compensate" | "rewind" | "resume" | "resolve"))
    }
}

/// Whether a parameter of some statement is a value of the run.
fn points_at_run(value: &Value) -> bool {
    let of_run = |text: &str| {
        ["/run/", "/input", "/phases"]
            .iter()
            .any(|root| text.starts_with(root))
    };
    match value {
        Value::Object(fields) => fields.iter().any(|(name, value)| match value {
            Value::Array(params) if name == "params" => {
                params.iter().filter_map(Value::as_str).any(of_run)
            }
            other => points_at_run(other),
        }),
        Value::Array(list) => list.iter().any(points_at_run),
        _ => false,
    }
}
