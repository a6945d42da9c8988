//! Turns a `with` into what a transaction runs: statements in order, their parameters resolved to sources, cut into
//! flights.
//!
//! **Invariant:** a statement is in a flight only if none of its parameters comes from a row that the same flight
//! reads; statements are never reordered.
//!
//! **Not here:** what is wrong with a `with` (`check`); compiling never fails.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

use redress::pointer::Pointer;

use super::with::{Budget, Form, RowCount, Stmt, With};
use crate::inspect::lexer::Tokens;

/// More statements are not sent without looking at an answer. `join_all` polls up to 30 futures strictly in order.
const FLIGHT_STATEMENTS_MAX: usize = 24;

/// Which list of the `with` a statement stands in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum List {
    Capture,
    Apply,
    Verify,
    Guard,
    Revert,
    Decide,
    HardDelete,
}

impl List {
    pub const ALL: [Self; 7] = [
        Self::Capture,
        Self::Apply,
        Self::Verify,
        Self::Guard,
        Self::Revert,
        Self::Decide,
        Self::HardDelete,
    ];

    /// The word of the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Capture => "capture",
            Self::Apply => "apply",
            Self::Verify => "verify",
            Self::Guard => "guard",
            Self::Revert => "revert",
            Self::Decide => "decide",
            Self::HardDelete => "hard_delete",
        }
    }

    /// Its statements.
    pub fn of(self, with: &With) -> &[Stmt] {
        match self {
            Self::Capture => &with.capture,
            Self::Apply => &with.apply,
            Self::Verify => &with.verify,
            Self::Guard => &with.guard,
            Self::Revert => &with.revert,
            Self::Decide => &with.decide,
            Self::HardDelete => &with.hard_delete,
        }
    }

    /// Whether its rows are judged: every one must be true.
    pub const fn judges(self) -> bool {
        matches!(self, Self::Verify | Self::Guard)
    }
}

/// Which statement is meant: `apply 1`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Place {
    pub list: List,
    pub number: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.list.as_str(), self.number)
    }
}

/// Where a parameter's value is found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Source {
    /// In the run's context.
    Context(Pointer),
    /// In rows that an earlier statement of this transaction kept.
    Kept { name: String, rest: Pointer },
    /// In rows that this transaction captured.
    Captured { name: String, rest: Pointer },
    /// In what `apply` captured, seen from a compensation.
    Undo(Pointer),
}

/// One statement, ready to be sent.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub place: Place,
    pub sql: String,
    pub params: Vec<Param>,
    pub rows: Option<RowCount>,
    pub keep_as: Option<String>,
    pub form: Form,
    /// The relation it changes as far as its text says so, else its place.
    pub touches: String,
}

/// A parameter: how it was written, and where it is found.
#[derive(Clone, Debug)]
pub(super) struct Param {
    pub pointer: Pointer,
    pub source: Source,
}

/// The statements of one call, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Sequence {
    pub steps: Vec<Step>,
    pub flights: Vec<Range<usize>>,
}

/// A phase's `with`, ready to be run.
#[derive(Clone, Debug, Default)]
pub(super) struct Compiled {
    pub budget: Budget,
    /// capture, apply, verify
    pub apply: Sequence,
    pub guard: Sequence,
    /// revert, verify
    pub revert: Sequence,
    pub decide: Sequence,
    /// guard, hard_delete: what cannot be taken back is judged beside the statements too.
    pub hard_delete: Sequence,
}

/// Compiles a phase's `with`; `writes` gives names to what is touched.
pub(super) fn compile(phase: &str, writes: &[String], with: &With) -> Compiled {
    let sequence = |lists: &[List]| {
        let mut builder = Builder::new(phase, writes);
        for list in lists {
            for (at, stmt) in list.of(with).iter().enumerate() {
                builder.push(
                    Place {
                        list: *list,
                        number: at + 1,
                    },
                    stmt,
                );
            }
        }
        builder.done()
    };
    Compiled {
        budget: with.budget.unwrap_or_default(),
        apply: sequence(&[List::Capture, List::Apply, List::Verify]),
        guard: sequence(&[List::Guard]),
        revert: sequence(&[List::Revert, List::Verify]),
        decide: sequence(&[List::Decide]),
        hard_delete: sequence(&[List::Guard, List::HardDelete]),
    }
}

struct Builder<'a> {
    phase: &'a str,
    writes: &'a [String],
    sequence: Sequence,
    kept: BTreeSet<String>,
    captured: BTreeSet<String>,
    /// The names that the open flight keeps.
    open: BTreeSet<String>,
    /// Where the open flight begins.
    begin: usize,
}

impl<'a> Builder<'a> {
    fn new(phase: &'a str, writes: &'a [String]) -> Self {
        Self {
            phase,
            writes,
            sequence: Sequence::default(),
            kept: BTreeSet::new(),
            captured: BTreeSet::new(),
            open: BTreeSet::new(),
            begin: 0,
        }
    }

    fn push(&mut self, place: Place, stmt: &Stmt) {
        let params: Vec<Param> = stmt
            .params
            .iter()
            .map(|pointer| Param {
                pointer: pointer.clone(),
                source: self.source(pointer),
            })
            .collect();
        let at = self.sequence.steps.len();
        let waits = params.iter().any(|param| match &param.source {
            Source::Kept { name, .. } | Source::Captured { name, .. } => self.open.contains(name),
            Source::Context(_) | Source::Undo(_) => false,
        });
        // What deletes is not sent before the guard beside it has answered.
        let judged = place.list == List::HardDelete
            && self
                .sequence
                .steps
                .last()
                .is_some_and(|last| last.place.list == List::Guard);
        if waits || judged || at - self.begin >= FLIGHT_STATEMENTS_MAX {
            self.close(at);
        }
        let keep_as = stmt.keep_as.as_ref().map(ToString::to_string);
        if let Some(name) = &keep_as {
            let names = if place.list == List::Capture {
                &mut self.captured
            } else {
                &mut self.kept
            };
            names.insert(name.clone());
            self.open.insert(name.clone());
        }
        let touches = touched_name(place, &stmt.sql, self.writes);
        self.sequence.steps.push(Step {
            place,
            sql: stmt.sql.clone(),
            params,
            rows: stmt.rows,
            keep_as,
            form: stmt.form,
            touches,
        });
    }

    fn source(&self, pointer: &Pointer) -> Source {
        let tokens: Vec<&str> = pointer.tokens().iter().map(String::as_str).collect();
        let rest = |from: usize| Pointer::from_tokens(tokens[from..].iter().copied());
        match tokens.as_slice() {
            ["phases", phase, name, ..] if *phase == self.phase && self.kept.contains(*name) => {
                Source::Kept {
                    name: (*name).to_owned(),
                    rest: rest(3),
                }
            }
            ["undo", "capture", name, ..] if self.captured.contains(*name) => Source::Captured {
                name: (*name).to_owned(),
                rest: rest(3),
            },
            ["undo", ..] => Source::Undo(rest(1)),
            _ => Source::Context(pointer.clone()),
        }
    }

    fn close(&mut self, at: usize) {
        if at > self.begin {
            self.sequence.flights.push(self.begin..at);
        }
        self.begin = at;
        self.open.clear();
    }

    fn done(mut self) -> Sequence {
        self.close(self.sequence.steps.len());
        self.sequence
    }
}

/// A declared relation when the text names it or when there is only one; the statement's place otherwise.
fn touched_name(place: Place, sql: &str, writes: &[String]) -> String {
    let Some(target) = Tokens::read(sql).target() else {
        return place.to_string();
    };
    let named = |relation: &&String| {
        **relation == target || relation.split_once('.').is_some_and(|(_, r)| r == target)
    };
    match (writes.iter().find(named), writes) {
        (Some(relation), _) | (None, [relation]) => relation.clone(),
        (None, _) => place.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::read_with;
    use serde_json::json;

    fn bounds(sequence: &Sequence) -> Vec<(usize, usize)> {
        sequence
            .flights
            .iter()
            .map(|flight| (flight.start, flight.end))
            .collect()
    }

    fn compiled(with: serde_json::Value) -> Compiled {
        let with: With = read_with(&with).expect("a valid with");
        compile("p", &["s.a".to_owned(), "s.b".to_owned()], &with)
    }

    #[test]
    fn a_flight_ends_where_something_must_be_read_first() {
        let check = |with: serde_json::Value, flights: &[(usize, usize)]| {
            assert_eq!(bounds(&compiled(with).apply), flights)
        };
        check(json!({}), &[]);
        check(
            json!({"apply": [{"sql": "a"}, {"sql": "b", "params": ["/input/x"]}], "verify": [{"sql": "c"}]}),
            &[(0, 3)],
        );
        check(
            json!({"apply": [{"sql": "a", "as": "r"}, {"sql": "b"}, {"sql": "c", "params": ["/phases/p/r/0/id"]},
                             {"sql": "d", "params": ["/phases/p/r/0/id"]}]}),
            &[(0, 2), (2, 4)],
        );
        // Another phase's rows and rows that nobody keeps here are in the context already.
        check(
            json!({"apply": [{"sql": "a", "as": "r"}, {"sql": "b", "params": ["/phases/q/r/0/id", "/phases/p/s/0/id"]}]}),
            &[(0, 2)],
        );
        check(
            json!({"capture": [{"sql": "a", "as": "r"}], "apply": [{"sql": "b", "params": ["/undo/capture/r"]}]}),
            &[(0, 1), (1, 2)],
        );
        let many: Vec<_> = (0..25).map(|_| json!({"sql": "a"})).collect();
        check(json!({"apply": many}), &[(0, 24), (24, 25)]);
    }

    #[test]
    fn rows_of_apply_are_in_the_context_when_it_is_reverted() {
        let with = json!({
            "capture": [{"sql": "a", "as": "was"}],
            "apply": [{"sql": "b", "as": "r"}],
            "revert": [{"sql": "c", "params": ["/phases/p/r/0/id", "/undo/capture/was/0/n"]}],
        });
        let sources: Vec<_> = compiled(with).revert.steps[0]
            .params
            .iter()
            .map(|p| p.source.clone())
            .collect();
        let pointer = |text: &str| Pointer::parse(text).expect("valid");
        assert_eq!(
            sources,
            [
                Source::Context(pointer("/phases/p/r/0/id")),
                Source::Undo(pointer("/capture/was/0/n"))
            ]
        );
    }

    #[test]
    fn nothing_is_deleted_before_the_guard_has_answered() {
        let with = json!({"guard": [{"sql": "g"}, {"sql": "h"}], "hard_delete": [{"sql": "d"}, {"sql": "e"}]});
        assert_eq!(bounds(&compiled(with).hard_delete), [(0, 2), (2, 4)]);
    }

    #[test]
    fn what_is_touched_has_the_relation_s_name_where_the_text_says_so() {
        let check = |sql: &str, writes: &[&str], name: &str| {
            let writes: Vec<String> = writes.iter().map(|w| (*w).to_owned()).collect();
            assert_eq!(
                touched_name(
                    Place {
                        list: List::Apply,
                        number: 2
                    },
                    sql,
                    &writes
                ),
                name,
                "{sql}"
            );
        };
        check("insert into s.a values (1)", &["s.a", "s.b"], "s.a");
        check("update b set x = 1", &["s.a", "s.b"], "s.b");
        check("update c set x = 1", &["s.a", "s.b"], "apply 2");
        check("update c set x = 1", &["s.a"], "s.a");
        check("select f()", &["s.a"], "apply 2");
    }
}
