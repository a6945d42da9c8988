//! Tests of a runbook: from a prepared state, with an expectation that could be disappointed.

use std::collections::BTreeSet;

use redress::name::Name;

use crate::error::Problem;
use crate::fixture::Fixture;
use crate::model::{Outcome, Test};

use super::{Judge, is_number};

impl Judge<'_> {
    pub(super) fn trials(&mut self) {
        let book = self.runbook;
        if book.tests.is_empty() {
            self.find("/tests", Problem::Untested);
        }
        let mut names = BTreeSet::new();
        for (at, test) in book.tests.iter().enumerate() {
            let path = format!("/tests/{at}");
            if !names.insert(&test.name) {
                let why = "a second test of the same name".to_owned();
                self.find(format!("{path}/name"), Problem::Test(why));
            }
            self.trial(&path, test);
        }
    }

    fn trial(&mut self, path: &str, test: &Test) {
        if Fixture::parse(&test.fixture).is_none() {
            let known = Fixture::ALL.map(Fixture::as_str);
            self.unknown(format!("{path}/fixture"), "fixture", &test.fixture, known);
        }
        self.trial_params(path, test);
        self.trial_evidence(path, test);
        self.expectation(path, test);
    }

    fn trial_params(&mut self, path: &str, test: &Test) {
        let params = &self.runbook.params;
        for (name, value) in &test.params {
            let path = format!("{path}/params/{name}");
            match params.get(name) {
                None => {
                    let known = params.keys().map(Name::as_str);
                    self.unknown(path, "parameter", name.as_str(), known);
                }
                Some(param) => {
                    // A test may show that a value is refused.
                    if let Err(why) = param.fits(value)
                        && test.expect.outcome == Outcome::Done
                    {
                        self.find(path, Problem::Param(format!("this value {why}")));
                    }
                }
            }
        }
        for (name, param) in params {
            let left_out = param.default.is_none() && !test.params.contains_key(name);
            if left_out && test.expect.outcome == Outcome::Done {
                let why = format!("the test does not give the parameter `{name}`");
                self.find(path, Problem::Test(why));
            }
        }
    }

    fn trial_evidence(&mut self, path: &str, test: &Test) {
        let steps = self.runbook.steps.iter();
        let asked: BTreeSet<&Name> = steps
            .filter_map(|step| step.manual.as_ref())
            .flat_map(|manual| manual.evidence.keys())
            .collect();
        for name in test.evidence.keys() {
            if !asked.contains(name) {
                let known = asked.iter().map(|name| name.as_str());
                self.unknown(
                    format!("{path}/evidence/{name}"),
                    "evidence",
                    name.as_str(),
                    known,
                );
            }
        }
        for name in asked {
            if test.expect.outcome == Outcome::Done && !test.evidence.contains_key(name) {
                let why =
                    format!("the test does not give the evidence `{name}` that a step asks for");
                self.find(path, Problem::Test(why));
            }
        }
    }

    /// An expectation that nothing could disappoint shows nothing.
    fn expectation(&mut self, path: &str, test: &Test) {
        let path = format!("{path}/expect");
        let expect = &test.expect;
        match (expect.outcome, &expect.code) {
            (Outcome::Done, Some(_)) => {
                let why = "what is done was not refused: leave the code out".to_owned();
                self.find(format!("{path}/code"), Problem::Test(why));
            }
            (Outcome::Refused, None) => {
                let why = "name the code of the refusal, or any refusal would do".to_owned();
                self.find(path.clone(), Problem::Test(why));
            }
            (Outcome::Refused, Some(code)) => self.expected_code(format!("{path}/code"), code),
            (Outcome::Done, None) => {}
        }
        let moves = |kind: &&str| matches!(*kind, "compensate" | "rewind" | "resume" | "resolve");
        let moved = self
            .runbook
            .steps
            .iter()
            .any(|step| step.kinds().iter().any(moves));
        if moved && expect.outcome == Outcome::Done && expect.state.is_none() {
            let why =
                "the runbook moves the run: name the state that it is in afterwards".to_owned();
            self.find(path, Problem::Test(why));
        }
    }

    fn expected_code(&mut self, path: String, code: &str) {
        if is_number(code) {
            self.known_code(path, code);
            return;
        }
        let book = self.runbook;
        let checks = book.checks.iter().chain(&book.after);
        let given: BTreeSet<&str> = checks
            .filter_map(|check| check.on_fail.as_ref())
            .map(|fail| fail.refuse.as_str())
            .collect();
        if !given.contains(code) {
            self.unknown(path, "refusal of this runbook", code, given);
        }
    }
}
