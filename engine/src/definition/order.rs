//! Decides in which order the phases run, and finds the ones that never could.
//!
//! **Invariant:** the order depends on the definition alone, so every worker and every planner has
//! the same one.

use std::collections::{BTreeSet, HashMap};

use super::model::Phase;

/// The order of the phases that can run: by `after`, file order among free ones.
pub(super) fn order(phases: &[Phase]) -> Vec<usize> {
    runnable(phases, Unknown::Blocks)
}

/// What a name in `after` that no phase has does to the phase that waits for it.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Unknown {
    Blocks,
    IsIgnored,
}

fn runnable(phases: &[Phase], unknown: Unknown) -> Vec<usize> {
    let index = index_of(phases);
    let mut waits: Vec<usize> = vec![0; phases.len()];
    let mut frees: Vec<Vec<usize>> = vec![Vec::new(); phases.len()];
    for (at, phase) in phases.iter().enumerate() {
        for before in &phase.after {
            match index.get(before.as_str()) {
                Some(&before) => {
                    waits[at] += 1;
                    frees[before].push(at);
                }
                None if unknown == Unknown::Blocks => waits[at] += 1,
                None => {}
            }
        }
    }
    let mut free: BTreeSet<usize> = (0..phases.len()).filter(|&at| waits[at] == 0).collect();
    let mut order = Vec::with_capacity(phases.len());
    while let Some(at) = free.pop_first() {
        order.push(at);
        for &next in &frees[at] {
            waits[next] -= 1;
            if waits[next] == 0 {
                free.insert(next);
            }
        }
    }
    order
}

/// One cycle among the phases, in waiting order, beginning with its first phase in the file.
pub(super) fn cycle(phases: &[Phase]) -> Option<Vec<usize>> {
    let index = index_of(phases);
    let free: BTreeSet<usize> = runnable(phases, Unknown::IsIgnored).into_iter().collect();
    let stuck = |at: &usize| !free.contains(at);
    let mut path = vec![(0..phases.len()).find(stuck)?];
    // A stuck phase waits for a stuck phase, so following them comes round.
    loop {
        let at = *path.last()?;
        let next = phases[at]
            .after
            .iter()
            .filter_map(|name| index.get(name.as_str()).copied())
            .find(stuck)?;
        if let Some(begin) = path.iter().position(|&seen| seen == next) {
            let mut round = path.split_off(begin);
            let first = (0..round.len()).min_by_key(|&turn| round[turn])?;
            round.rotate_left(first);
            return Some(round);
        }
        path.push(next);
    }
}

/// The first phase of each name; duplicates are refused elsewhere.
fn index_of(phases: &[Phase]) -> HashMap<&str, usize> {
    let mut index = HashMap::with_capacity(phases.len());
    for (at, phase) in phases.iter().enumerate() {
        index.entry(phase.name.as_str()).or_insert(at);
    }
    index
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Phases as `name:after,after`.
    fn phases(text: &str) -> Vec<Phase> {
        let list: Vec<_> = text
            .split_whitespace()
            .map(|item| {
                let (name, after) = item.split_once(':').unwrap();
                let after: Vec<&str> = after.split(',').filter(|name| !name.is_empty()).collect();
                json!({"name": name, "adapter": "sql", "after": after})
            })
            .collect();
        let whole = json!({"saga": "s", "version": 1, "phases": list});
        serde_json::from_value::<super::super::Definition>(whole)
            .unwrap()
            .phases
    }

    fn names(phases: &[Phase], order: &[usize]) -> String {
        let names: Vec<&str> = order.iter().map(|&at| phases[at].name.as_str()).collect();
        names.join(" ")
    }

    #[test]
    fn after_decides_and_the_file_breaks_ties() {
        let cases = [
            ("a: b:a c:b", "a b c"),
            ("c:b b:a a:", "a b c"),
            ("a: b: c:", "a b c"),
            ("d:b,c a: c:a b:a", "a c b d"),
            ("z:a a: y:", "a z y"),
            ("a: b:c c:b d:a", "a d"),
            ("a: b:nobody c:a", "a c"),
        ];
        for (text, expected) in cases {
            let phases = phases(text);
            assert_eq!(names(&phases, &order(&phases)), expected, "{text}");
        }
    }

    #[test]
    fn a_cycle_is_named_in_waiting_order() {
        let cases = [
            ("a: b:c c:b", "b c"),
            ("a:a", "a"),
            ("a:d b:a c:b d:c", "a d c b"),
            ("x:a a:b b:a", "a b"),
            ("a:u,b u:nobody b:a", "a b"),
        ];
        for (text, expected) in cases {
            let phases = phases(text);
            let found = cycle(&phases).expect(text);
            assert_eq!(names(&phases, &found), expected, "{text}");
        }
        for text in ["a: b:a", "a: b:nobody c:b"] {
            assert_eq!(cycle(&phases(text)), None, "{text}");
        }
    }
}
