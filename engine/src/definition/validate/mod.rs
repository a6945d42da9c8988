//! Decides which definitions are refused when they are registered, as far as that can be judged
//! without a database.
//!
//! **Invariant:** all findings are returned, and each names the value it is about.
//!
//! How *planned across the pivot* is read: once the pivot has committed, the phases up to and
//! including it are never changed again, so the planner refuses to revert them then. Before it has
//! committed they are reverted as they declare. What a file can get wrong is therefore a phase that
//! runs **after** the pivot and declares `soft_revert`, `restore` or `hard_delete`; a rewind from
//! after the pivot to it or to a phase before it; and a second pivot. "After" means later in the
//! order of the phases, which is also the order of their commits.
//!
//! **Not here:** statements, guards and result types (they need the database), and the shape of
//! `with` (the adapter's).

use std::collections::BTreeSet;

use crate::name::shown;
use crate::pointer::Pointer;

use super::error::{Finding, Problem};
use super::input::InputSchema;
use super::model::{Definition, HoldScope};

mod authority;
mod flow;
mod phase;
mod snapshot;

pub(super) use authority::actions;
pub(crate) use phase::left_behind;

/// The most phases of a saga.
pub const PHASES_MAX: usize = 256;
const REWINDS_MAX: u32 = 1_000;
const TEXT_BYTES_MAX: usize = 4_096;

/// Judges a definition; an empty list means that it may be registered.
///
/// `adapters` are the names of the adapters that are registered; without it their names are not
/// judged.
pub fn validate(definition: &Definition, adapters: Option<&BTreeSet<String>>) -> Vec<Finding> {
    let mut judge = Judge {
        definition,
        adapters,
        findings: Vec::new(),
    };
    judge.head();
    judge.snapshot();
    judge.authority();
    judge.phases();
    // What depends on the order is judged only for a bounded number of phases.
    if definition.phases.len() <= PHASES_MAX {
        judge.order();
    }
    judge.canonical();
    judge.findings
}

struct Judge<'d> {
    definition: &'d Definition,
    adapters: Option<&'d BTreeSet<String>>,
    findings: Vec<Finding>,
}

impl Judge<'_> {
    fn find(&mut self, path: impl Into<String>, problem: Problem) {
        self.findings.push(Finding::new(path, problem));
    }

    fn setting(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.find(path, Problem::Setting(message.into()));
    }

    fn head(&mut self) {
        let definition = self.definition;
        if definition.version == 0 {
            self.setting("/version", "versions begin at 1");
        }
        if definition.description.len() > TEXT_BYTES_MAX {
            self.setting(
                "/description",
                format!("a description has at most {TEXT_BYTES_MAX} bytes"),
            );
        }
        if let Err(error) = InputSchema::compile(&definition.input) {
            let path = format!("/input{}", error.path());
            self.find(path, Problem::InputSchema(error.to_string()));
        }
        match &definition.subject {
            Some(pointer) if pointer.root() != Some("input") || pointer.tokens().len() < 2 => {
                self.pointer_root("/subject", "a value below `/input`", pointer);
            }
            None if definition.on_unrecovered.hold == HoldScope::Subject => {
                self.setting(
                    "/on_unrecovered/hold",
                    "a hold on the subject needs `subject`",
                );
            }
            _ => {}
        }
        if definition.max_rewinds > REWINDS_MAX {
            self.setting("/max_rewinds", format!("at most {REWINDS_MAX} rewinds"));
        }
    }

    fn pointer_root(&mut self, path: impl Into<String>, allowed: &'static str, pointer: &Pointer) {
        let pointer = shown(&pointer.to_string());
        self.find(path, Problem::PointerRoot { allowed, pointer });
    }

    /// Only the builder can bring such values; the file's reader has refused them with their place.
    fn canonical(&mut self) {
        if let Err(problem) = self.definition.canonical() {
            self.find("", problem);
        }
    }
}

#[cfg(test)]
mod tests;
