//! Judges a typed `with` without a database: names, pointers, and whether a declared compensation has statements.
//!
//! **Not here:** whether `/phases/X` names a phase that comes before (the definition knows that), and whatever only
//! the database can say (`survey`).

use std::collections::BTreeSet;

use redress::adapter::Finding;
use redress::definition::{Compensation, Phase};
use redress::phase_tx::refused_verb;
use redress::pointer::Pointer;

use super::compile::List;
use super::with::{Form, Stmt, With};
use crate::finding::{DUPLICATE, NO_WAY_BACK, POINTER_ROOT, REFUSED, SHAPE, finding, read_with};

/// Everything that is wrong with a phase's `with`; empty when nothing is.
pub(super) fn check(phase: &Phase) -> Vec<Finding> {
    match read_with::<With>(&phase.with) {
        Err(finding) => vec![finding],
        Ok(with) => {
            let mut judge = Judge {
                phase,
                with: &with,
                findings: Vec::new(),
            };
            judge.lists();
            judge.statements();
            judge.findings
        }
    }
}

struct Judge<'a> {
    phase: &'a Phase,
    with: &'a With,
    findings: Vec<Finding>,
}

impl Judge<'_> {
    fn find(&mut self, path: impl Into<String>, code: &'static str, message: impl Into<String>) {
        self.findings.push(finding(path, code, message));
    }

    /// Whether the lists that the declared compensation needs are there.
    fn lists(&mut self) {
        let with = self.with;
        if with.apply.is_empty() && with.verify.is_empty() {
            self.find(
                "",
                SHAPE,
                "the phase does nothing: give `apply` or `verify`",
            );
        }
        let needed = match self.phase.compensation {
            Compensation::SoftRevert | Compensation::Restore => {
                Some((List::Revert, with.revert.is_empty()))
            }
            Compensation::Decide => Some((List::Decide, with.decide.is_empty())),
            Compensation::HardDelete => Some((List::HardDelete, with.hard_delete.is_empty())),
            Compensation::None | Compensation::Irreversible => None,
        };
        if let Some((list, true)) = needed {
            let (word, list) = (self.phase.compensation.as_str(), list.as_str());
            self.find(
                "",
                NO_WAY_BACK,
                format!("compensation `{word}` needs statements under `{list}`"),
            );
        }
        if !with.hard_delete.is_empty() && with.guard.is_empty() {
            let message =
                "a hard delete needs a `guard`: under lock, every row must still be a draft";
            self.find("/hard_delete", NO_WAY_BACK, message);
        }
    }

    fn statements(&mut self) {
        let mut names = BTreeSet::new();
        let mut captured = BTreeSet::new();
        let mut kept = BTreeSet::new();
        for list in List::ALL {
            // What `apply` keeps is known to every later list; what a compensation keeps, to itself.
            let mut own = kept.clone();
            for (at, stmt) in list.of(self.with).iter().enumerate() {
                let path = format!("/{}/{at}", list.as_str());
                self.statement(&path, list, stmt, &own, &captured);
                let Some(name) = stmt.keep_as.as_ref().map(ToString::to_string) else {
                    continue;
                };
                if !names.insert(name.clone()) {
                    self.find(
                        format!("{path}/as"),
                        DUPLICATE,
                        format!("a second `as` of the same name: {name}"),
                    );
                }
                let into = if list == List::Capture {
                    &mut captured
                } else {
                    &mut own
                };
                into.insert(name);
            }
            if list == List::Apply {
                kept = own;
            }
        }
    }

    fn statement(
        &mut self,
        path: &str,
        list: List,
        stmt: &Stmt,
        kept: &BTreeSet<String>,
        captured: &BTreeSet<String>,
    ) {
        if stmt.sql.trim().is_empty() {
            self.find(format!("{path}/sql"), SHAPE, "the statement is empty");
        }
        if let Some(verb) = refused_verb(&stmt.sql) {
            let message =
                format!("`{verb}` is refused inside a phase: the engine owns the transaction");
            self.find(format!("{path}/sql"), REFUSED, message);
        }
        if stmt.form == Form::Keys && stmt.keep_as.is_none() {
            self.find(
                format!("{path}/form"),
                SHAPE,
                "`form` says how rows are kept: it needs `as`",
            );
        }
        match (list, &stmt.keep_as) {
            (List::Capture, None) => self.find(
                path,
                SHAPE,
                "a capture needs `as`: its rows are the undo data",
            ),
            (List::Verify | List::Guard, Some(_)) => {
                let message = format!("the rows of `{}` are judged and not kept", list.as_str());
                self.find(format!("{path}/as"), SHAPE, message);
            }
            _ => {}
        }
        for (at, pointer) in stmt.params.iter().enumerate() {
            if let Some(message) = self.misdirected(list, pointer, kept, captured) {
                self.find(
                    format!("{path}/params/{at}"),
                    POINTER_ROOT,
                    format!("{message}: {pointer}"),
                );
            }
        }
    }

    /// Why a pointer cannot lead to anything here.
    fn misdirected(
        &self,
        list: List,
        pointer: &Pointer,
        kept: &BTreeSet<String>,
        captured: &BTreeSet<String>,
    ) -> Option<&'static str> {
        let backward = matches!(
            list,
            List::Guard | List::Revert | List::Decide | List::HardDelete
        );
        let tokens: Vec<&str> = pointer.tokens().iter().map(String::as_str).collect();
        match tokens.as_slice() {
            ["phases", phase, rest @ ..] if *phase == self.phase.name.as_str() => match rest {
                [name, ..] if !kept.contains(*name) => {
                    Some("no statement before this one keeps rows under that name")
                }
                [] => Some("point to rows that the phase keeps with `as`"),
                _ => None,
            },
            ["undo", "capture", name, ..] if captured.contains(*name) => None,
            ["undo", ..] => Some("no statement before this one captures rows under that name"),
            ["run" | "input" | "phases" | "approvals", ..] => None,
            ["plan" | "decision", ..] if backward => None,
            ["plan" | "decision", ..] => {
                Some("a plan and a decision exist only in guard, revert, decide and hard_delete")
            }
            _ => Some(
                "a pointer begins with /run, /input, /phases, /approvals or /undo, and going back /plan or /decision",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn findings(compensation: &str, with: Value) -> Vec<(String, &'static str)> {
        let phase = crate::sql::tests::phase(compensation, with);
        check(&phase)
            .into_iter()
            .map(|f| (f.path, f.code))
            .collect()
    }

    #[test]
    fn a_sound_with_has_no_findings() {
        let with = json!({
            "capture": [{"sql": "select 1 as n", "as": "was"}],
            "apply": [
                {"sql": "insert into s.a values ($1) returning id", "params": ["/run/id"], "rows": 1, "as": "a"},
                {"sql": "insert into s.a values ($1)", "params": ["/phases/p/a/0/id"]},
            ],
            "guard": [{"sql": "select true from s.a for update", "params": ["/phases/p/a/0/id"]}],
            "revert": [{"sql": "update s.a set n = $1", "params": ["/undo/capture/was/0/n", "/plan/reason"], "as": "b"},
                       {"sql": "select $1", "params": ["/phases/p/b/0/id"]}],
            "decide": [{"sql": "insert into s.b values ($1)", "params": ["/decision/id"]}],
            "hard_delete": [{"sql": "delete from s.a"}],
            "verify": [{"sql": "select $1 = 1", "params": ["/phases/p/a/0/id"]}],
        });
        assert_eq!(findings("soft_revert", with), []);
    }

    #[test]
    fn what_is_wrong_is_found_with_its_place_and_code() {
        let check = |compensation: &str, with: Value, expected: &[(&str, &str)]| {
            let found = findings(compensation, with.clone());
            let found: Vec<(&str, &str)> = found
                .iter()
                .map(|(path, code)| (path.as_str(), *code))
                .collect();
            assert_eq!(found, expected, "{with}");
        };
        let ok = json!([{"sql": "select 1"}]);
        check("none", json!({}), &[("", "RD0110")]);
        check("none", json!({"aply": []}), &[("/aply", "RD0110")]);
        check("soft_revert", json!({"apply": ok}), &[("", "RD0116")]);
        check(
            "restore",
            json!({"apply": ok, "decide": ok}),
            &[("", "RD0116")],
        );
        check(
            "decide",
            json!({"apply": ok, "revert": ok}),
            &[("", "RD0116")],
        );
        check(
            "hard_delete",
            json!({"apply": ok, "revert": ok}),
            &[("", "RD0116")],
        );
        check(
            "none",
            json!({"apply": ok, "hard_delete": ok}),
            &[("/hard_delete", "RD0116")],
        );
        check(
            "none",
            json!({"apply": [{"sql": " "}]}),
            &[("/apply/0/sql", "RD0110")],
        );
        check(
            "none",
            json!({"apply": [{"sql": "commit"}]}),
            &[("/apply/0/sql", "RD0307")],
        );
        check(
            "none",
            json!({"apply": ok, "capture": ok}),
            &[("/capture/0", "RD0110")],
        );
        check(
            "none",
            json!({"apply": ok, "verify": [{"sql": "x", "as": "y"}]}),
            &[("/verify/0/as", "RD0110")],
        );
        check(
            "none",
            json!({"apply": [{"sql": "x", "as": "y"}, {"sql": "x", "as": "y"}]}),
            &[("/apply/1/as", "RD0112")],
        );
        let pointers = |list: &str, params: Value| {
            let mut with = json!({"apply": [{"sql": "x"}]});
            with[list] = json!([{"sql": "x", "params": params}]);
            with
        };
        check(
            "none",
            pointers("apply", json!(["/inptu/x", ""])),
            &[
                ("/apply/0/params/0", "RD0123"),
                ("/apply/0/params/1", "RD0123"),
            ],
        );
        check(
            "none",
            pointers("apply", json!(["/phases/p/a", "/phases/q/a"])),
            &[("/apply/0/params/0", "RD0123")],
        );
        check(
            "none",
            pointers("verify", json!(["/plan/reason"])),
            &[("/verify/0/params/0", "RD0123")],
        );
        check(
            "none",
            pointers("apply", json!(["/decision/id"])),
            &[("/apply/0/params/0", "RD0123")],
        );
        check(
            "none",
            pointers("revert", json!(["/undo/capture/x", "/decision/id"])),
            &[("/revert/0/params/0", "RD0123")],
        );
    }
}
