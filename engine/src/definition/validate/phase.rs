//! Refuses phases that could not run, or that could not be undone (P12).

use std::collections::BTreeSet;

use crate::definition::error::Problem;
use crate::definition::model::{Compensation, Phase};
use crate::name::shown;

use super::{Judge, PHASES_MAX};

const RELATIONS_MAX: usize = 256;
const ATTEMPTS_MAX: u32 = 1_000;
/// One day: a phase holds a transaction open for as long.
const TIMEOUT_MS_MAX: u64 = 86_400_000;
const IDENTIFIER_BYTES_MAX: usize = 63;

impl Judge<'_> {
    pub(super) fn phases(&mut self) {
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
            self.relations(&format!("{path}/locks"), &phase.locks);
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

    pub(super) fn role(&mut self, path: String, role: &str) {
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
}

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

fn is_relation(text: &str) -> bool {
    match text.split_once('.') {
        Some((schema, table)) => is_identifier(schema) && is_identifier(table),
        None => false,
    }
}

/// An identifier as the catalogue has it. Names go to the server only as parameters; the rule keeps
/// out what is a typing error (quotes, blanks, dots) or would act on a terminal.
fn is_identifier(text: &str) -> bool {
    let first = |c: char| c.is_alphabetic() || c == '_';
    text.len() <= IDENTIFIER_BYTES_MAX
        && text.starts_with(first)
        && text
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '_' | '$' | '-'))
}
