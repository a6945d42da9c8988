//! Refuses snapshot queries that could not be run before the first phase, and baselines that other
//! runs move.

use std::collections::BTreeSet;

use crate::definition::error::Problem;
use crate::definition::model::SnapshotQuery;
use crate::pointer::Pointer;

use super::Judge;

const QUERIES_MAX: usize = 256;
const SQL_BYTES_MAX: usize = 65_536;

impl Judge<'_> {
    pub(super) fn snapshot(&mut self) {
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
}

/// The snapshot is taken before the first phase, so nothing of the phases is there yet.
fn is_known_before_the_run(pointer: &Pointer) -> bool {
    let tokens: Vec<&str> = pointer.tokens().iter().map(String::as_str).collect();
    matches!(
        tokens.as_slice(),
        ["input", ..] | ["run", "id" | "saga" | "version" | "subject"]
    )
}
