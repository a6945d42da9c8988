//! Decides which definitions are refused when they are registered, as far as that can be judged without a database.
//!
//! **Invariant:** all findings are returned, in the order of the file, and each names the value it is about.
//!
//! How *planned across the pivot* is read: once the pivot has committed, the phases up to and including it are
//! never changed again, so the planner refuses to revert them then. Before it has committed they are reverted as
//! they declare. What a file can get wrong is therefore a phase that runs **after** the pivot and declares
//! `soft_revert`, `restore` or `hard_delete`; a rewind from after the pivot to it or to a phase before it; and a
//! second pivot. "After" means later in the order of the phases, which is also the order of their commits.
//!
//! **Not here:** statements, guards and result types (they need the database), and the shape of `with` (the
//! adapter's).

use std::collections::{BTreeMap, BTreeSet};

use redress_ledger::key::Role;
use redress_ledger::quorum::Quorum;

use crate::name::shown;
use crate::pointer::{Pointer, escape};

use super::error::{Finding, Problem};
use super::input::InputSchema;
use super::model::{
    Authority, Compensation, Definition, HoldScope, OnFailure, Phase, SnapshotQuery,
};
use super::order;

/// The most phases of a saga.
pub const PHASES_MAX: usize = 256;
const QUERIES_MAX: usize = 256;
const RELATIONS_MAX: usize = 256;
const ATTEMPTS_MAX: u32 = 1_000;
const REWINDS_MAX: u32 = 1_000;
const SIGNERS_MAX: u32 = 100;
const TEXT_BYTES_MAX: usize = 4_096;
const SQL_BYTES_MAX: usize = 65_536;
/// One day: a phase holds a transaction open for as long.
const TIMEOUT_MS_MAX: u64 = 86_400_000;
const IDENTIFIER_BYTES_MAX: usize = 63;

/// Judges a definition; an empty list means that it may be registered.
///
/// `adapters` are the names of the adapters that are registered; without it their names are not judged.
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
    judge.order();
    judge.canonical();
    judge.findings
}

struct Judge<'d> {
    definition: &'d Definition,
    adapters: Option<&'d BTreeSet<String>>,
    findings: Vec<Finding>,
}

impl<'d> Judge<'d> {
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

    fn snapshot(&mut self) {
        let queries = &self.definition.snapshot;
        if queries.len() > QUERIES_MAX {
            let max = QUERIES_MAX as u64;
            self.find(
                "/snapshot",
                Problem::Limit {
                    what: "too many snapshot queries",
                    max,
                },
            );
        }
        let mut seen = BTreeSet::new();
        for (at, query) in queries.iter().enumerate() {
            let path = format!("/snapshot/{at}");
            if !seen.insert(&query.name) {
                let name = query.name.to_string();
                self.find(
                    format!("{path}/name"),
                    Problem::Duplicate {
                        what: "snapshot query",
                        name,
                    },
                );
            }
            self.query(&path, query);
        }
    }

    fn query(&mut self, path: &str, query: &SnapshotQuery) {
        if query.sql.trim().is_empty() {
            self.setting(format!("{path}/sql"), "the query is empty");
        }
        if query.sql.len() > SQL_BYTES_MAX {
            self.setting(
                format!("{path}/sql"),
                format!("a query has at most {SQL_BYTES_MAX} bytes"),
            );
        }
        if let Some(role) = &query.role {
            self.role(format!("{path}/role"), role);
        }
        for (at, pointer) in query.params.iter().enumerate() {
            if !is_known_before_the_run(pointer) {
                let allowed = "`/input` and `/run/{id,saga,version,subject}`";
                self.pointer_root(format!("{path}/params/{at}"), allowed, pointer);
            }
        }
        if query.baseline {
            self.baseline(path, query);
        }
    }

    /// A baseline that other runs move would make every compensation stuck.
    fn baseline(&mut self, path: &str, query: &SnapshotQuery) {
        let subject_of_run = Pointer::from_tokens(["run", "subject"]);
        let problem = match &self.definition.subject {
            Some(subject)
                if query.params.contains(subject) || query.params.contains(&subject_of_run) =>
            {
                return;
            }
            Some(_) => {
                "the baseline is not bound to the subject: give the subject's pointer as a parameter"
            }
            None if self.definition.exclusive => return,
            None => {
                "a baseline needs a `subject` to be bound to, or a saga that runs one at a time (`exclusive: true` without a subject)"
            }
        };
        self.find(format!("{path}/baseline"), Problem::Baseline(problem));
    }

    fn authority(&mut self) {
        for (action, authority) in &self.definition.authority {
            let path = format!("/authority/{}", escape(action));
            let Some(rule) = RULES.iter().find(|rule| rule.action == action) else {
                let known: Vec<&str> = RULES.iter().map(|rule| rule.action).collect();
                let message = format!(
                    "unknown action (known: {}): {}",
                    known.join(", "),
                    shown(action)
                );
                self.find(path, Problem::Authority(message));
                continue;
            };
            match authority {
                Authority::Auto if rule.needs == Needs::Nobody => {}
                Authority::Auto => {
                    let message =
                        format!("this action needs a signature and cannot be `auto`: {action}");
                    self.find(path, Problem::Authority(message));
                }
                Authority::Quorum(quorum) => {
                    if quorum.is_empty() {
                        let message = "name who must sign, or write `auto`".to_owned();
                        self.find(path.clone(), Problem::Authority(message));
                    } else if rule.needs == Needs::Sovereign
                        && !quorum.contains_key(&Role::Sovereign)
                    {
                        let message = format!("this action needs at least one sovereign: {action}");
                        self.find(path.clone(), Problem::Authority(message));
                    }
                    self.quorum(&path, quorum);
                }
            }
        }
    }

    fn quorum(&mut self, path: &str, quorum: &Quorum) {
        for (role, count) in quorum {
            let message = match (role, count) {
                (Role::Auditor, _) => {
                    "an auditor reads only; its signature never counts".to_owned()
                }
                (_, 0) => "a quorum of none is no quorum; leave the role out".to_owned(),
                (_, &count) if count > SIGNERS_MAX => {
                    format!("at most {SIGNERS_MAX} signers of a role")
                }
                _ => continue,
            };
            self.find(format!("{path}/{role}"), Problem::Authority(message));
        }
    }

    fn phases(&mut self) {
        let phases = &self.definition.phases;
        if phases.is_empty() {
            self.setting("/phases", "a saga has at least one phase");
        }
        if phases.len() > PHASES_MAX {
            let max = PHASES_MAX as u64;
            self.find(
                "/phases",
                Problem::Limit {
                    what: "too many phases",
                    max,
                },
            );
        }
        let mut seen = BTreeSet::new();
        for (at, phase) in phases.iter().enumerate() {
            let path = format!("/phases/{at}");
            if !seen.insert(&phase.name) {
                let name = phase.name.to_string();
                self.find(
                    format!("{path}/name"),
                    Problem::Duplicate {
                        what: "phase",
                        name,
                    },
                );
            }
            self.adapter(&path, phase);
            self.relations(&format!("{path}/writes"), &phase.writes);
            self.relations(&format!("{path}/residue"), &phase.residue);
            if let Some(role) = &phase.role {
                self.role(format!("{path}/role"), role);
            }
            self.limits(&path, phase);
            self.quorum(&format!("{path}/approvals"), &phase.approvals);
            self.way_back(&path, phase);
            if !phase.with.is_object() {
                self.setting(format!("{path}/with"), "`with` is a mapping");
            }
        }
    }

    fn adapter(&mut self, path: &str, phase: &Phase) {
        let Some(adapters) = self.adapters else {
            return;
        };
        if !adapters.contains(phase.adapter.as_str()) {
            let known: Vec<&str> = adapters.iter().map(String::as_str).collect();
            let known = if known.is_empty() {
                "none".to_owned()
            } else {
                known.join(", ")
            };
            let adapter = phase.adapter.to_string();
            self.find(
                format!("{path}/adapter"),
                Problem::UnknownAdapter { known, adapter },
            );
        }
    }

    fn limits(&mut self, path: &str, phase: &Phase) {
        let retry = phase.retry;
        if retry.attempts == 0 || retry.attempts > ATTEMPTS_MAX {
            self.setting(
                format!("{path}/retry/attempts"),
                format!("attempts are counted with the first one, from 1 to {ATTEMPTS_MAX}"),
            );
        }
        if retry.max_ms < retry.backoff_ms {
            self.setting(
                format!("{path}/retry/max"),
                "the longest pause is shorter than the first one",
            );
        }
        if retry.max_ms > TIMEOUT_MS_MAX {
            self.setting(format!("{path}/retry/max"), "a pause is at most 24h");
        }
        if phase.timeout_ms == 0 || phase.timeout_ms > TIMEOUT_MS_MAX {
            self.setting(format!("{path}/timeout"), "a timeout is from 1ms to 24h");
        }
    }

    /// P12: what changes rows says how it is undone, or that it is not.
    fn way_back(&mut self, path: &str, phase: &Phase) {
        if phase.compensation != Compensation::None {
            return;
        }
        let left = left_behind(phase);
        if !left.is_empty() {
            let relations = left.join(", ");
            self.find(
                format!("{path}/compensation"),
                Problem::NoWayBack { relations },
            );
        }
    }

    fn relations(&mut self, path: &str, relations: &[String]) {
        if relations.len() > RELATIONS_MAX {
            let max = RELATIONS_MAX as u64;
            self.find(
                path,
                Problem::Limit {
                    what: "too many relations",
                    max,
                },
            );
        }
        let mut seen = BTreeSet::new();
        for (at, relation) in relations.iter().enumerate() {
            let path = format!("{path}/{at}");
            if !is_relation(relation) {
                let why = "a relation is written as `schema.table`, as the catalogue spells it, without quotes";
                self.find(
                    path,
                    Problem::DatabaseName {
                        why,
                        name: shown(relation),
                    },
                );
            } else if !seen.insert(relation) {
                let name = relation.clone();
                self.find(
                    path,
                    Problem::Duplicate {
                        what: "relation",
                        name,
                    },
                );
            }
        }
    }

    fn role(&mut self, path: String, role: &str) {
        if !is_identifier(role) {
            let why = "a database role is written as the catalogue spells it, without quotes";
            self.find(
                path,
                Problem::DatabaseName {
                    why,
                    name: shown(role),
                },
            );
        }
    }

    /// What depends on the order: `after`, rewinds and the pivot.
    fn order(&mut self) {
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

    /// Only the builder can bring such values; the file's reader has refused them with their place.
    fn canonical(&mut self) {
        if let Err(problem) = self.definition.canonical() {
            self.find("", problem);
        }
    }
}

/// What an entry of `authority` may say.
struct Rule {
    action: &'static str,
    needs: Needs,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Needs {
    /// May be `auto`.
    Nobody,
    /// A statement that somebody must sign.
    Somebody,
    /// P5: a hard delete needs a sovereign quorum.
    Sovereign,
}

const RULES: [Rule; 8] = [
    Rule {
        action: "discard",
        needs: Needs::Nobody,
    },
    Rule {
        action: "soft_revert",
        needs: Needs::Nobody,
    },
    Rule {
        action: "restore",
        needs: Needs::Nobody,
    },
    Rule {
        action: "rewind",
        needs: Needs::Nobody,
    },
    Rule {
        action: "decide",
        needs: Needs::Somebody,
    },
    Rule {
        action: "release",
        needs: Needs::Somebody,
    },
    Rule {
        action: "resolve",
        needs: Needs::Somebody,
    },
    Rule {
        action: "hard_delete",
        needs: Needs::Sovereign,
    },
];

/// The relations that a phase changes and does not declare as residue.
pub(crate) fn left_behind(phase: &Phase) -> Vec<&str> {
    let residue: BTreeSet<&String> = phase.residue.iter().collect();
    phase
        .writes
        .iter()
        .filter(|relation| !residue.contains(relation))
        .map(String::as_str)
        .collect()
}

/// The snapshot is taken before the first phase, so nothing of the phases is there yet.
fn is_known_before_the_run(pointer: &Pointer) -> bool {
    let tokens: Vec<&str> = pointer.tokens().iter().map(String::as_str).collect();
    matches!(
        tokens.as_slice(),
        ["input", ..] | ["run", "id" | "saga" | "version" | "subject"]
    )
}

fn is_relation(text: &str) -> bool {
    match text.split_once('.') {
        Some((schema, table)) => is_identifier(schema) && is_identifier(table),
        None => false,
    }
}

/// An identifier as the catalogue has it. Names go to the server only as parameters; the rule keeps out what
/// is a typing error (quotes, blanks, dots) or would act on a terminal.
fn is_identifier(text: &str) -> bool {
    let first = |c: char| c.is_alphabetic() || c == '_';
    text.len() <= IDENTIFIER_BYTES_MAX
        && text.starts_with(first)
        && text
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '_' | '$' | '-'))
}
