//! Judges a runbook before anybody needs it: what could not work, what could not be checked, what could mislead.
//!
//! **Invariant:** all findings are returned, each with the value it is about and a code; nothing is read but the runbook
//! and the names that are known.
//!
//! **Not here:** whether its statements prepare and its names exist in a database (`redress runbook check`).

mod point;
mod query;
mod shown;
mod step;
mod trial;
mod value;

use std::collections::BTreeSet;

use redress::definition::{Problem as FileProblem, SourceMap};
use redress::name::Name;
use redress_ledger::key::Role;

use crate::error::{Finding, Problem, RunbookError};
use crate::model::{OnFail, Risk, Runbook};
use crate::read::read_yaml;
use crate::text::nearest;

/// The names that a runbook may refer to.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The runbooks that exist besides the one that is judged.
    pub runbooks: BTreeSet<String>,
}

impl Known {
    /// The shipped runbooks.
    pub fn shipped() -> Self {
        let runbooks = crate::library::SHIPPED
            .iter()
            .map(|one| one.name.to_owned());
        Self {
            runbooks: runbooks.collect(),
        }
    }

    /// These as well.
    #[must_use]
    pub fn and(mut self, names: impl IntoIterator<Item = String>) -> Self {
        self.runbooks.extend(names);
        self
    }
}

/// Reads and judges a runbook's file; all findings come back, each with its place, in the order of the file.
///
/// # Errors
/// What is wrong with it; never empty.
pub fn load_yaml(
    bytes: &[u8],
    file: &str,
    known: &Known,
) -> Result<(Runbook, SourceMap), Vec<RunbookError>> {
    let (runbook, map) = read_yaml(bytes, file).map_err(|error| vec![*error])?;
    let mut findings = lint(&runbook, known);
    findings.extend(value::params_in_order(&runbook, &map));
    if findings.is_empty() {
        return Ok((runbook, map));
    }
    let placed = findings.into_iter().map(|finding| finding.placed(&map));
    let mut errors: Vec<RunbookError> = placed.collect();
    errors.sort_by_key(|error| (error.line, error.column));
    Err(errors)
}

/// Judges a runbook; an empty list means that it may be used.
pub fn lint(runbook: &Runbook, known: &Known) -> Vec<Finding> {
    let mut judge = Judge {
        runbook,
        known,
        findings: Vec::new(),
    };
    if judge.too_many() {
        return judge.findings;
    }
    judge.shown();
    judge.head();
    judge.matches();
    judge.params();
    judge.queries();
    judge.steps();
    judge.trials();
    judge.canonical();
    judge.findings
}

struct Judge<'r> {
    runbook: &'r Runbook,
    known: &'r Known,
    findings: Vec<Finding>,
}

impl Judge<'_> {
    fn find(&mut self, path: impl Into<String>, problem: Problem) {
        self.findings.push(Finding::new(path, problem));
    }

    fn setting(&mut self, path: impl Into<String>, why: impl Into<String>) {
        self.find(path, Problem::File(FileProblem::Setting(why.into())));
    }

    fn unknown<'k>(
        &mut self,
        path: impl Into<String>,
        what: &'static str,
        name: &str,
        known: impl IntoIterator<Item = &'k str>,
    ) {
        let name = name.to_owned();
        let meant = nearest(&name, known);
        let finding = Finding::new(path, Problem::Unknown { what, name }).meant(meant);
        self.findings.push(finding);
    }

    fn duplicate(&mut self, path: impl Into<String>, what: &'static str, name: &Name) {
        let name = name.to_string();
        self.find(path, Problem::File(FileProblem::Duplicate { what, name }));
    }

    /// Bounds first, so that the rest has a bounded amount to judge.
    fn too_many(&mut self) -> bool {
        let book = self.runbook;
        let lists = [
            ("/checks", book.checks.len(), LIST_MAX),
            ("/after", book.after.len(), LIST_MAX),
            ("/steps", book.steps.len(), LIST_MAX),
            ("/tests", book.tests.len(), LIST_MAX),
            ("/params", book.params.len(), LIST_MAX),
            ("/baseline", book.baseline.len(), LIST_MAX),
            ("/environments", book.environments.len(), LIST_MAX),
            ("/match/codes", book.matches.codes.len(), CODES_MAX),
            ("/match/versions", book.matches.versions.len(), LIST_MAX),
            ("/match/committed", book.matches.committed.len(), CODES_MAX),
        ];
        for (path, count, max) in lists {
            if count > max {
                let (what, max) = ("too many values", max as u64);
                self.find(path, Problem::File(FileProblem::Limit { what, max }));
            }
        }
        !self.findings.is_empty()
    }

    fn head(&mut self) {
        let book = self.runbook;
        if book.version == 0 {
            self.setting("/version", "versions begin at 1");
        }
        if let Some(role) = &book.role
            && (role.is_empty() || role.len() > IDENTIFIER_BYTES_MAX)
        {
            let why = "a role of PostgreSQL has 1 to 63 bytes";
            let name = crate::text::plain(role);
            self.find(
                "/role",
                Problem::File(FileProblem::DatabaseName { why, name }),
            );
        }
        let limits = book.limits;
        self.length("/limits/plan_ttl", limits.plan_ttl, MINUTE, DAY);
        self.length("/limits/lock", limits.lock, 1, 10 * MINUTE);
        self.length("/limits/statement", limits.statement, 1, HOUR);
        self.approvals();
    }

    /// A length of time and its bounds, in milliseconds.
    fn length(&mut self, path: impl Into<String>, ms: u64, min: u64, max: u64) {
        if !(min..=max).contains(&ms) {
            let write = redress::definition::duration::format;
            let why = format!(
                "this is from {} to {}, not {}",
                write(min),
                write(max),
                write(ms)
            );
            self.find(path, Problem::Duration(why));
        }
    }

    fn approvals(&mut self) {
        let approvals = &self.runbook.approvals;
        for (role, count) in &approvals.quorum {
            let path = format!("/approvals/{role}");
            if *role == Role::Auditor {
                let why = "an auditor reads only: its signature never counts".to_owned();
                self.find(path.clone(), Problem::Approvals(why));
            }
            if *count > SIGNERS_MAX {
                self.find(
                    path,
                    Problem::Approvals(format!("at most {SIGNERS_MAX} of a role")),
                );
            }
        }
        if self.runbook.risk != Risk::Irreversible {
            return;
        }
        let counted = approvals
            .quorum
            .iter()
            .filter(|(role, _)| **role != Role::Auditor);
        let signers: u64 = counted.map(|(_, count)| u64::from(*count)).sum();
        if signers < 2 || !approvals.distinct {
            let why = "what is irreversible needs the signatures of at least two people who are not the one that runs it, such as `{operator: 1, sovereign: 1, distinct: true}`";
            self.find("/approvals", Problem::Approvals(why.into()));
        }
    }

    fn matches(&mut self) {
        let matches = &self.runbook.matches;
        for (at, code) in matches.codes.iter().enumerate() {
            // A hold that a person set has this word instead of a code.
            if code != "manual" {
                self.known_code(format!("/match/codes/{at}"), code);
            }
        }
        let bound = !matches.committed.is_empty()
            || !matches.versions.is_empty()
            || matches.failed_phase.is_some();
        if matches.saga.is_none() && bound {
            let why = "phases and versions are those of a saga: name it";
            self.setting("/match", why);
        }
    }

    /// A code of Redress.
    fn known_code(&mut self, path: String, code: &str) {
        if crate::pages().all(|page| page.code != code) {
            let codes = crate::pages().map(|page| page.code);
            self.unknown(path, "error code", code, codes);
        }
    }

    fn on_fail(&mut self, path: &str, fail: &OnFail) {
        let refuse = &fail.refuse;
        if is_number(refuse) {
            self.known_code(format!("{path}/refuse"), refuse);
        } else if !is_word(refuse) {
            self.find(format!("{path}/refuse"), Problem::Refusal(refuse.clone()));
        }
        if let Some(next) = &fail.next {
            let is_known =
                self.known.runbooks.contains(next.as_str()) || *next == self.runbook.runbook;
            if !is_known {
                let known = self.known;
                let own = std::iter::once(self.runbook.runbook.as_str());
                let names = known.runbooks.iter().map(String::as_str).chain(own);
                self.unknown(format!("{path}/next"), "runbook", next.as_str(), names);
            }
        }
    }

    /// What the canonical form cannot hold; a file's reader has refused it with its place.
    fn canonical(&mut self) {
        if let Err(problem) = self.runbook.canonical() {
            self.find("", problem);
        }
    }
}

/// `RD` and four digits.
fn is_number(code: &str) -> bool {
    let digits = code.strip_prefix("RD").unwrap_or_default();
    digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// `[A-Z][A-Z0-9_]{2,63}`
fn is_word(code: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    (3..=64).contains(&code.len())
        && code.starts_with(|c: char| c.is_ascii_uppercase())
        && code.bytes().all(is_part)
}

const LIST_MAX: usize = 64;
const CODES_MAX: usize = 256;
const SIGNERS_MAX: u32 = 16;
const IDENTIFIER_BYTES_MAX: usize = 63;
const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

#[cfg(test)]
mod tests;
