//! Pointers: each leads to something that is there when it is looked up.

use std::collections::{BTreeMap, BTreeSet};

use redress::name::Name;
use redress::pointer::Pointer;

use crate::error::{Finding, Problem};
use crate::model::{Runbook, Step, Transaction};
use crate::text::{nearest, quoted};

use super::Judge;

/// What steps have given where a pointer is looked up: by step, the names; `None`: names that only the execution knows.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    steps: BTreeMap<Name, Option<BTreeSet<String>>>,
}

impl Seen {
    /// When planning: nothing yet.
    pub(super) fn plan() -> Self {
        Self::default()
    }

    /// When all is done: every step.
    pub(super) fn after(book: &Runbook) -> Self {
        let mut seen = Self::default();
        for step in &book.steps {
            seen.done(step);
        }
        seen
    }

    /// A step has been done.
    pub(super) fn done(&mut self, step: &Step) {
        self.steps.insert(step.id.clone(), gives(step));
    }

    /// A statement of the step that runs has given rows under this name.
    pub(super) fn given(&mut self, step: &Name, name: &Name) {
        if let Some(names) = self
            .steps
            .entry(step.clone())
            .or_insert_with(|| Some(BTreeSet::new()))
        {
            names.insert(name.to_string());
        }
    }
}

/// The names that a step gives.
fn gives(step: &Step) -> Option<BTreeSet<String>> {
    if let Some(Transaction {
        lock,
        capture,
        acts,
        append,
        verify,
        ..
    }) = &step.transaction
    {
        let lists = [lock, capture, acts, append, verify];
        let named = lists
            .into_iter()
            .flatten()
            .filter_map(|one| one.name.as_ref());
        return Some(named.map(Name::to_string).collect());
    }
    if let Some(snapshot) = &step.snapshot {
        return Some(
            snapshot
                .queries
                .iter()
                .map(|one| one.name.to_string())
                .collect(),
        );
    }
    // Evidence stands in the record; nothing is bound to it. Time gives nothing.
    if step.manual.is_some() || step.wait.is_some() {
        return Some(BTreeSet::new());
    }
    // What the engine or an adapter gives is theirs to name.
    None
}

impl Judge<'_> {
    pub(super) fn pointers(&mut self, path: &str, pointers: &[Pointer], seen: &Seen) {
        for (at, pointer) in pointers.iter().enumerate() {
            self.pointer(format!("{path}/{at}"), pointer, seen);
        }
    }

    pub(super) fn pointer(&mut self, path: String, pointer: &Pointer, seen: &Seen) {
        if let Err((why, meant)) = self.leads(pointer, seen) {
            let why = format!("{why}: {}", quoted(&pointer.to_string()));
            self.findings
                .push(Finding::new(path, Problem::Pointer(why)).meant(meant));
        }
    }

    fn leads(&self, pointer: &Pointer, seen: &Seen) -> Result<(), (String, Option<String>)> {
        let tokens: Vec<&str> = pointer.tokens().iter().map(String::as_str).collect();
        let plain = |why: &str| Err((why.to_owned(), None));
        match tokens.as_slice() {
            ["run", field, ..] => one_of("the run has no such part", "/run", field, RUN),
            ["execution", field, ..] => one_of(
                "the execution has no such part",
                "/execution",
                field,
                EXECUTION,
            ),
            ["plan", ..] | ["input", _, ..] | ["input"] | ["approvals", ..] => Ok(()),
            ["phases", phase, ..] if Name::new(*phase).is_ok() => Ok(()),
            ["phases", ..] => plain("this names no phase"),
            ["params", name] => {
                let params = &self.runbook.params;
                let known = params.keys().map(Name::as_str);
                if params.contains_key(*name) {
                    return Ok(());
                }
                let meant = nearest(name, known).map(|name| format!("/params/{name}"));
                Err(("the runbook has no such parameter".into(), meant))
            }
            ["params", ..] => plain("a parameter is /params/NAME"),
            ["steps", step, rest @ ..] => self.leads_to_step(step, rest, seen),
            ["steps"] => plain("a step's result is /steps/STEP/NAME/ROW/COLUMN"),
            [root, ..] => {
                let meant = nearest(root, ROOTS.iter().copied());
                let why = "a pointer begins with /run, /input, /phases, /params, /steps, /approvals, /plan or /execution";
                Err((why.into(), meant.map(|root| format!("/{root}"))))
            }
            [] => plain("the whole context cannot be bound"),
        }
    }

    fn leads_to_step(
        &self,
        step: &str,
        rest: &[&str],
        seen: &Seen,
    ) -> Result<(), (String, Option<String>)> {
        let Some(given) = seen.steps.get(step) else {
            if self.runbook.steps.iter().any(|one| one.id == *step) {
                return Err((
                    "this step has given nothing yet when the pointer is looked up".into(),
                    None,
                ));
            }
            let known = self.runbook.steps.iter().map(|one| one.id.as_str());
            let meant = nearest(step, known).map(|step| format!("/steps/{step}"));
            return Err(("the runbook has no such step".into(), meant));
        };
        let (Some(names), Some(name)) = (given, rest.first()) else {
            return Ok(());
        };
        if names.contains(*name) {
            return Ok(());
        }
        let meant = nearest(name, names.iter().map(String::as_str));
        Err((
            "nothing of that step has this name here".into(),
            meant.map(|name| format!("/steps/{step}/{name}")),
        ))
    }
}

fn one_of(
    why: &str,
    root: &str,
    field: &str,
    known: &[&str],
) -> Result<(), (String, Option<String>)> {
    if known.contains(&field) {
        return Ok(());
    }
    let meant = nearest(field, known.iter().copied()).map(|field| format!("{root}/{field}"));
    Err((why.to_owned(), meant))
}

const ROOTS: &[&str] = &[
    "run",
    "input",
    "phases",
    "params",
    "steps",
    "approvals",
    "plan",
    "execution",
];
/// What `/run` has.
const RUN: &[&str] = &["id", "saga", "version", "subject"];
/// What `/execution` has.
const EXECUTION: &[&str] = &["id", "runbook", "person", "reason"];
