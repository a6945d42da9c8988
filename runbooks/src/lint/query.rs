//! Statements: one each, reading where only reading is meant, and never the transaction's own control.

use std::collections::BTreeSet;

use redress::definition::Problem as FileProblem;
use redress::phase_tx::refused_verb;

use crate::error::Problem;
use crate::model::{Check, Query};
use crate::statement::Words;

use super::{Judge, LIST_MAX};

impl Judge<'_> {
    /// Checks, baseline and scope: read when planning and again before acting.
    pub(super) fn queries(&mut self) {
        let book = self.runbook;
        let mut seen = BTreeSet::new();
        for (list, checks) in [("checks", &book.checks), ("after", &book.after)] {
            for (at, check) in checks.iter().enumerate() {
                let path = format!("/{list}/{at}");
                if !seen.insert(&check.id) {
                    self.duplicate(format!("{path}/id"), "check", &check.id);
                }
                self.check(&path, check, list == "after");
            }
        }
        self.named_queries("/baseline", &book.baseline);
        if let Some(scope) = &book.scope {
            self.relations("/scope/relations", &scope.relations);
            self.reading("/scope/rows", &scope.rows, false);
            self.pointers("/scope/params", &scope.params, &super::point::Seen::plan());
            if scope.max == 0 || scope.max > ROWS_MAX {
                self.setting("/scope/max", format!("from 1 to {ROWS_MAX} rows"));
            }
        }
    }

    fn check(&mut self, path: &str, check: &Check, after: bool) {
        self.reading(&format!("{path}/sql"), &check.sql, false);
        let seen = if after {
            super::point::Seen::after(self.runbook)
        } else {
            super::point::Seen::plan()
        };
        self.pointers(&format!("{path}/params"), &check.params, &seen);
        if let Some(fail) = &check.on_fail {
            self.on_fail(&format!("{path}/on_fail"), fail);
        }
        if check
            .expect
            .as_ref()
            .is_some_and(|value| value.is_array() || value.is_object())
        {
            self.setting(
                format!("{path}/expect"),
                "one value: a text, a whole number, true, false or null",
            );
        }
    }

    /// Queries with names of their own, read before anything is done.
    fn named_queries(&mut self, path: &str, queries: &[Query]) {
        let mut seen = BTreeSet::new();
        for (at, query) in queries.iter().enumerate() {
            let path = format!("{path}/{at}");
            if !seen.insert(&query.name) {
                self.duplicate(format!("{path}/name"), "query", &query.name);
            }
            self.reading(&format!("{path}/sql"), &query.sql, false);
            self.pointers(
                &format!("{path}/params"),
                &query.params,
                &super::point::Seen::plan(),
            );
        }
    }

    pub(super) fn relations(&mut self, path: &str, relations: &[String]) {
        if relations.is_empty() || relations.len() > LIST_MAX {
            self.setting(path, format!("from 1 to {LIST_MAX} relations"));
        }
        for (at, relation) in relations.iter().enumerate() {
            let parts: Vec<&str> = relation.split('.').collect();
            let named = |part: &&str| !part.is_empty() && part.len() <= 63;
            if parts.len() != 2 || !parts.iter().all(named) {
                let why = "a relation is written as schema.table";
                let name = crate::text::plain(relation);
                self.find(
                    format!("{path}/{at}"),
                    Problem::File(FileProblem::DatabaseName { why, name }),
                );
            }
        }
    }

    /// A statement that only reads; `locks`: it may lock what it reads.
    pub(super) fn reading(&mut self, path: &str, sql: &str, locks: bool) {
        let Some(words) = self.statement(path, sql) else {
            return;
        };
        if !words.reads() {
            let why = "only reading is meant here: it begins with select, with, table or values, and changes nothing";
            self.find(path, Problem::Statement(why.into()));
        } else if !locks && words.locks() {
            let why = "this is read in a READ ONLY transaction, where no row can be locked; lock it in the `lock` of the transaction's step";
            self.find(path, Problem::Statement(why.into()));
        }
    }

    /// What holds for every statement; `None` when there is nothing more to judge.
    pub(super) fn statement(&mut self, path: &str, sql: &str) -> Option<Words> {
        if sql.len() > SQL_BYTES_MAX {
            let why = format!("a statement has at most {SQL_BYTES_MAX} bytes");
            self.find(path, Problem::Statement(why));
            return None;
        }
        let words = Words::of(sql);
        let why = if words.words.is_empty() {
            "this statement is empty".to_owned()
        } else if words.open {
            "a string, a quoted name or a comment in this statement does not end".to_owned()
        } else if words.several {
            "one statement each: something follows the semicolon".to_owned()
        } else if let Some(verb) = refused_verb(sql) {
            format!("`{verb}` is refused: the transaction belongs to the engine")
        } else {
            return Some(words);
        };
        self.find(path, Problem::Statement(why));
        None
    }
}

const SQL_BYTES_MAX: usize = 16_384;
const ROWS_MAX: u64 = 1_000_000_000;
