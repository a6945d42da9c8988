//! Steps: each does one thing, within the risk that the runbook admits to.

use std::collections::BTreeSet;

use redress::name::Name;
use redress::plan::Action;
use redress::pointer::Pointer;

use crate::error::Problem;
use crate::model::{Risk, Statement, Step, Transaction, Wait};

use super::point::Seen;
use super::{DAY, HOUR, Judge, LIST_MAX};

impl Step {
    /// The words of the file for what a step can do.
    pub const KINDS: [&'static str; 11] = [
        "compensate",
        "rewind",
        "transaction",
        "hold",
        "release",
        "resume",
        "resolve",
        "snapshot",
        "call",
        "wait",
        "manual",
    ];

    /// The words of the file for what this step does; one in a good runbook.
    pub fn kinds(&self) -> Vec<&'static str> {
        let given = [
            self.compensate.is_some(),
            self.rewind.is_some(),
            self.transaction.is_some(),
            self.hold.is_some(),
            self.release.is_some(),
            self.resume.is_some(),
            self.resolve.is_some(),
            self.snapshot.is_some(),
            self.call.is_some(),
            self.wait.is_some(),
            self.manual.is_some(),
        ];
        let kinds = Self::KINDS.into_iter().zip(given);
        kinds
            .filter_map(|(kind, given)| given.then_some(kind))
            .collect()
    }
}

impl Judge<'_> {
    pub(super) fn steps(&mut self) {
        let book = self.runbook;
        if book.steps.is_empty() {
            self.find("/steps", Problem::Nothing);
        }
        let mut ids = BTreeSet::new();
        let mut seen = Seen::plan();
        for (at, step) in book.steps.iter().enumerate() {
            let path = format!("/steps/{at}");
            if !ids.insert(&step.id) {
                self.duplicate(format!("{path}/id"), "step", &step.id);
            }
            self.step(&path, step, &seen);
            seen.done(step);
        }
    }

    fn step(&mut self, path: &str, step: &Step, seen: &Seen) {
        let kinds = step.kinds();
        let [kind] = kinds.as_slice() else {
            let what = if kinds.is_empty() {
                "nothing; give one of compensate, rewind, transaction, hold, release, resume, resolve, snapshot, call, wait, manual".to_owned()
            } else {
                format!("{}; make steps of them", kinds.join(" and "))
            };
            self.find(path, Problem::Kinds(what));
            return;
        };
        let path = format!("{path}/{kind}");
        if self.runbook.risk == Risk::ReadOnly && !matches!(*kind, "snapshot" | "wait" | "manual") {
            let why = format!(
                "a runbook that is `read_only` has only snapshot, wait and manual steps, not `{kind}`"
            );
            self.find(path.clone(), Problem::Risk(why));
        }
        if let Some(compensate) = &step.compensate {
            for (phase, action) in &compensate.actions {
                let path = format!("{path}/actions/{phase}");
                if *action == Action::HardDelete && self.runbook.risk != Risk::Irreversible {
                    let why = "what is deleted does not come back: the risk is `irreversible`";
                    self.find(path, Problem::Risk(why.into()));
                } else if *action == Action::Refuse {
                    self.setting(
                        path,
                        "`refuse` is what a planner says, it cannot be asked for",
                    );
                }
            }
        }
        if let Some(back) = &step.rewind {
            self.name_or_pointer(format!("{path}/to"), &back.to, &[], seen);
        }
        if let Some(release) = &step.release {
            match &release.holds {
                Some(holds) => {
                    self.name_or_pointer(format!("{path}/holds"), holds, &["own", "run"], seen);
                }
                None if !release.switch => {
                    let why = "name what is released: `holds: own`, `holds: run`, a pointer to a hold's id, or `switch: true`";
                    self.setting(path.clone(), why);
                }
                None => {}
            }
        }
        if let Some(transaction) = &step.transaction {
            self.transaction(&path, &step.id, transaction, seen.clone());
        }
        if let Some(snapshot) = &step.snapshot {
            let count = snapshot.queries.len();
            if count == 0 || count > LIST_MAX {
                self.setting(
                    format!("{path}/queries"),
                    format!("from 1 to {LIST_MAX} queries"),
                );
            }
            let mut names = BTreeSet::new();
            for (at, query) in snapshot.queries.iter().take(LIST_MAX).enumerate() {
                let path = format!("{path}/queries/{at}");
                if !names.insert(&query.name) {
                    self.duplicate(format!("{path}/name"), "query", &query.name);
                }
                self.reading(&format!("{path}/sql"), &query.sql, false);
                self.pointers(&format!("{path}/params"), &query.params, seen);
            }
        }
        if let Some(call) = &step.call {
            self.length(format!("{path}/timeout"), call.timeout, 1, HOUR);
            if !call.with.is_object() {
                self.setting(format!("{path}/with"), "`with` is a mapping");
            }
        }
        if let Some(wait) = &step.wait {
            self.wait(&path, wait, seen);
        }
        if let Some(manual) = &step.manual
            && manual.evidence.len() > LIST_MAX
        {
            self.setting(
                format!("{path}/evidence"),
                format!("at most {LIST_MAX} pieces"),
            );
        }
    }

    /// A word that is allowed, a name of a phase where no words are, or a pointer.
    fn name_or_pointer(&mut self, path: String, text: &str, words: &[&str], seen: &Seen) {
        if text.starts_with('/') {
            match Pointer::parse(text) {
                Ok(pointer) => self.pointer(path, &pointer, seen),
                Err(error) => self.find(path, Problem::Pointer(error.to_string())),
            }
        } else if words.is_empty() {
            if let Err(error) = Name::new(text) {
                self.setting(path, error.to_string());
            }
        } else if !words.contains(&text) {
            self.unknown(path, "word", text, words.iter().copied());
        }
    }

    fn wait(&mut self, path: &str, wait: &Wait, seen: &Seen) {
        if wait.pause.is_some() == wait.until.is_some() {
            self.setting(
                path,
                "wait either `for` a length of time or `until` a query is true",
            );
        }
        if let Some(pause) = wait.pause {
            self.length(format!("{path}/for"), pause, 1, DAY);
        }
        if let Some(until) = &wait.until {
            self.reading(&format!("{path}/until/sql"), &until.sql, false);
            self.pointers(&format!("{path}/until/params"), &until.params, seen);
            self.length(format!("{path}/timeout"), wait.timeout, 1, DAY);
        }
    }

    fn transaction(&mut self, path: &str, id: &Name, transaction: &Transaction, mut seen: Seen) {
        let writes = !transaction.acts.is_empty() || !transaction.append.is_empty();
        if !writes {
            self.setting(
                path,
                "a transaction has statements in `do` or `append`; values are kept by `snapshot`",
            );
        } else if self.runbook.scope.is_none() {
            self.find(path, Problem::Scope);
        }
        self.recheck(path, transaction);
        let lists = [
            ("lock", &transaction.lock),
            ("capture", &transaction.capture),
            ("do", &transaction.acts),
            ("append", &transaction.append),
            ("verify", &transaction.verify),
        ];
        let mut names = BTreeSet::new();
        for (list, statements) in lists {
            if statements.len() > LIST_MAX {
                self.setting(
                    format!("{path}/{list}"),
                    format!("at most {LIST_MAX} statements"),
                );
            }
            for (at, statement) in statements.iter().take(LIST_MAX).enumerate() {
                let path = format!("{path}/{list}/{at}");
                self.in_transaction(&path, list, statement);
                self.pointers(&format!("{path}/params"), &statement.params, &seen);
                if let Some(name) = &statement.name {
                    if !names.insert(name) {
                        self.duplicate(format!("{path}/as"), "result", name);
                    }
                    seen.given(id, name);
                }
            }
        }
    }

    fn recheck(&mut self, path: &str, transaction: &Transaction) {
        let Some(listed) = &transaction.recheck else {
            return;
        };
        let checks = &self.runbook.checks;
        for (at, name) in listed.iter().enumerate() {
            if !checks.iter().any(|check| check.id == *name) {
                let known = checks.iter().map(|check| check.id.as_str());
                self.unknown(
                    format!("{path}/recheck/{at}"),
                    "check",
                    name.as_str(),
                    known,
                );
            }
        }
    }

    fn in_transaction(&mut self, path: &str, list: &str, statement: &Statement) {
        let sql = format!("{path}/sql");
        match list {
            "lock" => {
                self.reading(&sql, &statement.sql, true);
                let words = crate::statement::Words::of(&statement.sql);
                if words.reads() && !words.locks() {
                    let why = "this locks nothing: end it with `for update` or `for share`";
                    self.find(sql, Problem::Statement(why.into()));
                }
            }
            "capture" | "verify" => self.reading(&sql, &statement.sql, true),
            "append" => {
                if self
                    .statement(&sql, &statement.sql)
                    .is_some_and(|words| !words.inserts())
                {
                    let why = "what is appended is inserted, and nothing else is changed";
                    self.find(sql, Problem::Statement(why.into()));
                }
            }
            _ => {
                let words = self.statement(&sql, &statement.sql);
                if words.is_some_and(|words| !ACTS.contains(&words.first())) {
                    let why = "a step changes rows: it begins with insert, update, delete, merge, select, with or values";
                    self.find(sql, Problem::Statement(why.into()));
                }
            }
        }
        if let Some(crate::model::Rows::Between { min, max }) = statement.rows
            && min > max
        {
            self.setting(format!("{path}/rows"), "the least is more than the most");
        }
    }
}

/// What a step may do; changing tables themselves is a migration's business.
const ACTS: &[&str] = &[
    "insert", "update", "delete", "merge", "select", "with", "values",
];
