//! Refuses what the order of the phases forbids: cycles, rewinds that could not work, and a way
//! back across the pivot.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::definition::error::Problem;
use crate::definition::model::{OnFailure, Phase};
use crate::definition::order;

use super::Judge;

/// Parts of a `with` that are for the way back: more has run by then, or less.
const BACK: [&str; 6] = [
    "guard",
    "revert",
    "decide",
    "hard_delete",
    "restore",
    "undo",
];

/// The pointers below `/phases` in a `with`, each with its path: lists `params`, and `{pointer: …}`.
fn of_phases(with: &Value, path: String) -> Vec<(String, &str)> {
    let leads = |value: &'_ Value| {
        value
            .as_str()
            .is_some_and(|text| text.starts_with("/phases/"))
    };
    match with {
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(name, value)| {
                let path = format!("{path}/{}", name.replace('~', "~0").replace('/', "~1"));
                match value {
                    Value::String(text) if name == "pointer" && leads(value) => {
                        vec![(path, text.as_str())]
                    }
                    Value::Array(list) if name == "params" => list
                        .iter()
                        .enumerate()
                        .filter(|(_, one)| leads(one))
                        .filter_map(|(nth, one)| Some((format!("{path}/{nth}"), one.as_str()?)))
                        .collect(),
                    other => of_phases(other, path),
                }
            })
            .collect(),
        Value::Array(list) => list
            .iter()
            .enumerate()
            .flat_map(|(nth, one)| of_phases(one, format!("{path}/{nth}")))
            .collect(),
        _ => Vec::new(),
    }
}

impl<'d> Judge<'d> {
    /// What depends on the order: `after`, rewinds and the pivot.
    pub(super) fn order(&mut self) {
        let phases = &self.definition.phases;
        let names: BTreeSet<&str> = phases.iter().map(|phase| phase.name.as_str()).collect();
        for (at, phase) in phases.iter().enumerate() {
            let mut seen = BTreeSet::new();
            for (nth, before) in phase.after.iter().enumerate() {
                let path = format!("/phases/{at}/after/{nth}");
                if !names.contains(before.as_str()) {
                    let phase = before.to_string();
                    self.find(path, Problem::UnknownPhase { phase });
                } else if !seen.insert(before) {
                    let name = before.to_string();
                    self.find(
                        path,
                        Problem::Duplicate {
                            what: "phase to wait for",
                            name,
                        },
                    );
                }
            }
        }
        if let Some(cycle) = order::cycle(phases) {
            self.cycle(&cycle);
        }
        let mut place = BTreeMap::new();
        for (nth, at) in self.definition.order().into_iter().enumerate() {
            place.entry(phases[at].name.as_str()).or_insert(nth);
        }
        let pivot = self.pivot();
        for (at, phase) in phases.iter().enumerate() {
            self.rewind(at, phase, &place, pivot);
            self.beyond_pivot(at, phase, &place, pivot);
            self.pointers(at, phase, &place);
        }
    }

    /// What a phase points to of other phases: each exists, and on the way forward has run by then.
    fn pointers(&mut self, at: usize, phase: &Phase, place: &BTreeMap<&str, usize>) {
        let here = place.get(phase.name.as_str());
        for (path, pointer) in of_phases(&phase.with, format!("/phases/{at}/with")) {
            let named = pointer.split('/').nth(2).unwrap_or_default();
            let there = place.get(named);
            let way_back = path
                .split('/')
                .nth(4)
                .is_some_and(|list| BACK.contains(&list));
            if self.definition.phase(named).is_none() {
                let phase = named.to_owned();
                self.find(path, Problem::UnknownPhase { phase });
            } else if !way_back && there > here && here.is_some() {
                let (phase, pointer) = (named.to_owned(), pointer.to_owned());
                self.find(path, Problem::PointerAhead { phase, pointer });
            }
        }
    }

    fn cycle(&mut self, cycle: &[usize]) {
        let phases = &self.definition.phases;
        let round = cycle.iter().chain(cycle.first());
        let names: Vec<&str> = round.map(|&at| phases[at].name.as_str()).collect();
        let first = cycle.first().copied().unwrap_or_default();
        let phases = names.join(" waits for ");
        self.find(format!("/phases/{first}/after"), Problem::Cycle { phases });
    }

    /// The first pivot of the file; each further one is a finding.
    fn pivot(&mut self) -> Option<&'d Phase> {
        let definition = self.definition;
        let mut pivots = definition
            .phases
            .iter()
            .enumerate()
            .filter(|(_, phase)| phase.pivot);
        let (_, first) = pivots.next()?;
        for (at, _) in pivots {
            let phase = first.name.to_string();
            self.find(
                format!("/phases/{at}/pivot"),
                Problem::SecondPivot { phase },
            );
        }
        Some(first)
    }

    fn rewind(
        &mut self,
        at: usize,
        phase: &Phase,
        place: &BTreeMap<&str, usize>,
        pivot: Option<&Phase>,
    ) {
        let OnFailure::RewindTo { phase: target, .. } = &phase.on_failure else {
            return;
        };
        let path = format!("/phases/{at}/on_failure/rewind_to");
        let exists = self.definition.phase(target.as_str()).is_some();
        let here = place.get(phase.name.as_str());
        let there = place.get(target.as_str());
        let why = match (here, there) {
            _ if *target == phase.name => "names the phase itself, which has not committed",
            _ if !exists => "names a phase that this saga does not have",
            (Some(here), Some(there)) if there > here => "names a later phase",
            (Some(here), Some(there)) => {
                let pivot_at = pivot.and_then(|pivot| place.get(pivot.name.as_str()));
                if let (Some(pivot), Some(pivot_at)) = (pivot, pivot_at)
                    && there <= pivot_at
                    && pivot_at < here
                {
                    let pivot = pivot.name.to_string();
                    self.find(
                        path,
                        Problem::AcrossPivot {
                            what: "a rewind",
                            pivot,
                        },
                    );
                }
                return;
            }
            // One of them waits in a cycle, which is a finding of its own.
            _ => return,
        };
        let phase = target.to_string();
        self.find(path, Problem::Rewind { why, phase });
    }

    fn beyond_pivot(
        &mut self,
        at: usize,
        phase: &Phase,
        place: &BTreeMap<&str, usize>,
        pivot: Option<&Phase>,
    ) {
        let Some(pivot) = pivot else {
            return;
        };
        let (Some(here), Some(pivot_at)) = (
            place.get(phase.name.as_str()),
            place.get(pivot.name.as_str()),
        ) else {
            return;
        };
        if here > pivot_at && phase.compensation.touches_rows() {
            let what = phase.compensation.as_str();
            let pivot = pivot.name.to_string();
            self.find(
                format!("/phases/{at}/compensation"),
                Problem::AcrossPivot { what, pivot },
            );
        }
    }
}
