//! What is not as it was, judged by what the definition declares.
//!
//! **Invariant:** a difference is named with the phase at whose point it showed first: every shorter way back was without
//! it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::model::{Difference, Point, Residue, What};
use super::rows::{Moved, Relation, Row, short};
use super::stage::{Stage, written_by};
use crate::error::Error;
use crate::name::Name;
use crate::plan::{Action, Plan, PlannedAction};

/// Differences of one kind in one relation that are told row by row; the others are counted.
const ROWS_TOLD_MAX: usize = 10;

/// What the way back did to the rows that phases had added, by phase and relation.
#[derive(Default)]
struct Marks {
    left: BTreeMap<(Name, String), usize>,
    moved: BTreeMap<(Name, String), usize>,
    /// Relations to which it added rows of its own.
    appended: BTreeSet<String>,
}

impl Marks {
    fn note(&mut self, relation: &str, by: Option<&(Name, bool)>) {
        let Some((by, left)) = by else {
            self.appended.insert(relation.to_owned());
            return;
        };
        let counts = if *left {
            &mut self.left
        } else {
            &mut self.moved
        };
        *counts.entry((by.clone(), relation.to_owned())).or_default() += 1;
    }
}

impl Stage<'_> {
    /// Every relation, row by row.
    pub async fn compare(&mut self, plan: &Plan, point: &mut Point) -> Result<(), Error> {
        let mut marks = Marks::default();
        for relation in self.relations.clone() {
            let moved = self
                .inner
                .moved_rows(self.session, self.beside, &relation)
                .await?;
            self.judge_rows(plan, &relation, &moved, &mut marks, point);
        }
        self.judge_marks(plan, &marks, point);
        Ok(())
    }

    fn judge_rows(
        &mut self,
        plan: &Plan,
        relation: &Relation,
        moved: &Moved,
        marks: &mut Marks,
        point: &mut Point,
    ) {
        let mut told = Vec::new();
        for (before, after) in &moved.changed {
            told.push((
                What::Changed,
                before.difference(after),
                relation.key_of(before),
                None,
            ));
        }
        for row in &moved.gone {
            let text = "the row was there before and is gone".to_owned();
            told.push((What::Changed, text, relation.key_of(row), None));
        }
        let mut residue = 0;
        for row in &moved.added {
            let by = self.writer(relation, row);
            marks.note(&relation.name, by.as_ref());
            let by = by.map(|(by, _)| by);
            if self.is_residue(plan, relation, by.as_ref()) {
                residue += 1;
            } else {
                let text = format!(
                    "the row was added and is no declared residue: {}",
                    line(row)
                );
                told.push((What::Added, text, relation.key_of(row), by));
            }
        }
        for (key, by) in self.erased(plan, relation, moved) {
            *marks
                .moved
                .entry((by.clone(), relation.name.clone()))
                .or_default() += 1;
            let text =
                "the soft revert deleted a row that its phase wrote; it keeps rows and marks them"
                    .to_owned();
            let key = serde_json::from_str(&key).unwrap_or(Value::String(key));
            told.push((What::Erased, text, key, Some(by)));
        }
        if residue > 0 {
            point.residue.push(Residue {
                relation: relation.name.clone(),
                rows: residue,
            });
        }
        let more = told.len().saturating_sub(ROWS_TOLD_MAX);
        if more > 0 {
            point
                .notes
                .push(format!("{}: {more} more rows differ", relation.name));
        }
        for (what, difference, row, by) in told.into_iter().take(ROWS_TOLD_MAX) {
            let seen = self.first_seen(what, format!("{} {row}", relation.name));
            point.findings.push(Difference {
                what,
                phase: by.or(seen),
                relation: Some(relation.name.clone()),
                difference,
                code: None,
                row: Some(row),
            });
        }
    }

    /// Rows that phases wrote and that the soft revert of theirs has deleted.
    fn erased(&self, plan: &Plan, relation: &Relation, moved: &Moved) -> Vec<(String, Name)> {
        if !relation.has_key() {
            return Vec::new();
        }
        let keys = |row: &Row| relation.key_of(row).to_string();
        let mut there: BTreeSet<String> = moved.added.iter().map(keys).collect();
        there.extend(moved.changed.iter().map(|(_, after)| keys(after)));
        let reverted = |phase: &Name| {
            let action = plan.actions.iter().find(|a| a.phase == *phase);
            action.is_some_and(|a| a.action == Action::SoftRevert)
        };
        let of_relation = self.written.iter().filter(|((name, key), (phase, _))| {
            *name == relation.name && !there.contains(key) && reverted(phase)
        });
        of_relation
            .map(|((_, key), (phase, _))| (key.clone(), phase.clone()))
            .collect()
    }

    /// The phase that added a row, and whether the way back has left it as it was.
    fn writer(&self, relation: &Relation, row: &Row) -> Option<(Name, bool)> {
        let key = (relation.name.clone(), relation.key_of(row).to_string());
        let (by, whole) = self.written.get(&key)?;
        Some((by.clone(), *whole == row.whole))
    }

    /// A soft revert that neither changed nor deleted nor added a row has done nothing about those of its phase.
    fn judge_marks(&self, plan: &Plan, marks: &Marks, point: &mut Point) {
        let reverts = |a: &&PlannedAction| a.action == Action::SoftRevert;
        for action in plan.actions.iter().filter(reverts) {
            let Some(phase) = self.live.definition().phase(action.phase.as_str()) else {
                continue;
            };
            let of = |counts: &BTreeMap<(Name, String), usize>| -> usize {
                let own = counts.iter().filter(|((name, _), _)| *name == phase.name);
                own.map(|(_, count)| count).sum()
            };
            let appended = phase
                .writes
                .iter()
                .any(|name| marks.appended.contains(name));
            if of(&marks.left) > 0 && of(&marks.moved) == 0 && !appended {
                let left = of(&marks.left);
                point.findings.push(Difference {
                    what: What::Untouched,
                    phase: Some(phase.name.clone()),
                    relation: written_by(phase),
                    difference: format!(
                        "the soft revert left every row as its phase wrote it: {left} rows"
                    ),
                    code: None,
                    row: None,
                });
                continue;
            }
            for ((name, relation), moved) in &marks.moved {
                let left = marks.left.get(&(name.clone(), relation.clone()));
                if let (true, Some(left)) = (*name == phase.name, left) {
                    point.notes.push(format!(
                        "{relation}: of the rows that {name} wrote, {moved} were changed and {left} were left as they were"
                    ));
                }
            }
        }
    }

    /// Rows of a decided phase rightly stay; otherwise the phase that wrote a row says whether it may.
    fn is_residue(&self, plan: &Plan, relation: &Relation, by: Option<&Name>) -> bool {
        plan.actions.iter().any(|action| {
            let Some(phase) = self.live.definition().phase(action.phase.as_str()) else {
                return false;
            };
            let mine = by.is_none_or(|by| *by == action.phase);
            let stays = phase.residue.contains(&relation.name)
                || (action.action == Action::Decide && phase.writes.contains(&relation.name));
            mine && stays
        })
    }

    /// The baseline queries of the plan, against what they gave before anything was done.
    pub async fn compare_baseline(&mut self, plan: &Plan, point: &mut Point) -> Result<(), Error> {
        let queries = self.live.definition().snapshot.clone();
        let queries = queries.iter().filter(|query| query.baseline);
        let now = self
            .inner
            .take_snapshot(self.session, queries, &self.live.context)
            .await?;
        for name in &plan.baseline {
            let before = self.live.story.pre.get(name.as_str()).cloned();
            let after = now.get(name.as_str()).cloned();
            if before.is_some() && before == after {
                continue;
            }
            let text =
                |value: Option<Value>| value.map_or_else(|| "nothing".to_owned(), |v| short(&v));
            let phase = self.first_seen(What::Baseline, name.to_string());
            let blamed = phase
                .as_ref()
                .and_then(|name| self.live.definition().phase(name.as_str()));
            let relation = blamed.and_then(written_by);
            let rows: Vec<String> = point
                .residue
                .iter()
                .filter(|r| blamed.is_some_and(|phase| phase.writes.contains(&r.relation)))
                .map(|r| format!("{} in {}", r.rows, r.relation))
                .collect();
            let left = match rows.is_empty() {
                true => String::new(),
                false => format!("; rows that were left: {}", rows.join(", ")),
            };
            point.findings.push(Difference {
                what: What::Baseline,
                phase,
                relation,
                difference: format!(
                    "baseline {name} was {} and is {}{left}",
                    text(before),
                    text(after)
                ),
                code: Some("RD0422".to_owned()),
                row: None,
            });
        }
        Ok(())
    }

    /// The phase at whose point this was seen first: every shorter way back was without it.
    fn first_seen(&mut self, what: What, which: String) -> Option<Name> {
        let newest = self.newest();
        self.first_seen
            .entry((what, which))
            .or_insert(newest)
            .clone()
    }

    /// The phase that committed last.
    pub fn newest(&self) -> Option<Name> {
        self.live.story.committed.last().map(|c| c.phase.clone())
    }
}

/// A row in one line.
fn line(row: &Row) -> String {
    let fields = row
        .fields
        .iter()
        .map(|(name, value)| format!("{name}={}", short(value)));
    fields.collect::<Vec<_>>().join(" ")
}
