//! Decides which runbooks are right for a run, the most specific first, and says of each other one why it is not.
//!
//! **Invariant:** pure: the same facts give the same order.

use serde::Serialize;

use crate::facts::{Facts, why_not};
use crate::model::{Match, Risk, Runbook};

/// A runbook that is right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fitting {
    /// Its name.
    pub name: String,
    /// Its title.
    pub title: String,
    /// What it can do at worst.
    pub risk: Risk,
    /// How specific it is; more is better.
    pub score: u32,
    /// What of it fits.
    pub why: Vec<String>,
}

/// A runbook that is not right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Other {
    /// Its name.
    pub name: String,
    /// Why not, in one line.
    pub why_not: String,
}

/// Every runbook, judged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ranked {
    /// Those that are right, the most specific first.
    pub fitting: Vec<Fitting>,
    /// The others, in the order of their names.
    pub others: Vec<Other>,
}

/// Judges every runbook for a run.
pub fn suggest<'b>(books: impl IntoIterator<Item = &'b Runbook>, facts: &Facts) -> Ranked {
    let mut ranked = Ranked::default();
    for book in books {
        let name = book.runbook.to_string();
        match why_not(&book.matches, facts) {
            None => {
                let (score, why) = fits(&book.matches, facts);
                ranked.fitting.push(Fitting {
                    name,
                    title: book.title.clone(),
                    risk: book.risk,
                    score,
                    why,
                });
            }
            Some(why_not) => ranked.others.push(Other { name, why_not }),
        }
    }
    let key = |one: &Fitting| (std::cmp::Reverse(one.score), one.risk, one.name.clone());
    ranked.fitting.sort_by_key(key);
    ranked.others.sort_by(|a, b| a.name.cmp(&b.name));
    ranked
}

/// How well it fits, and what of it.
fn fits(matches: &Match, facts: &Facts) -> (u32, Vec<String>) {
    let (mut score, mut why) = (0, Vec::new());
    if let Some(phase) = &matches.failed_phase {
        score += PHASE;
        why.push(format!("it failed at {phase}"));
    }
    if let Some(code) = matches
        .codes
        .iter()
        .find(|code| facts.codes.contains(*code))
    {
        // A runbook for one code knows more than one for a hundred.
        score += CODE - u32::try_from(matches.codes.len()).map_or(CODE, |codes| codes.min(CODE));
        why.push(format!("error {code}"));
    }
    if let Some(saga) = &matches.saga {
        score += SAGA;
        why.push(format!("a run of {saga}"));
    }
    if !matches.versions.is_empty() {
        score += VERSION;
        why.push(format!("version {}", facts.version));
    }
    if !matches.committed.is_empty() {
        score += COMMITTED * u32::try_from(matches.committed.len()).unwrap_or(1);
        let phases: Vec<&str> = matches.committed.iter().map(|one| one.as_str()).collect();
        why.push(format!("{} stand", phases.join(", ")));
    }
    if !matches.states.is_empty() {
        score += STATE;
        why.push(format!("it is {}", facts.state));
    }
    if why.is_empty() {
        why.push("it is for every run".to_owned());
    }
    (score, why)
}

const PHASE: u32 = 200;
const CODE: u32 = 150;
const SAGA: u32 = 100;
const VERSION: u32 = 50;
const COMMITTED: u32 = 10;
const STATE: u32 = 5;

#[cfg(test)]
mod tests {
    use redress_ledger::state::State;

    use super::*;
    use crate::library::Shelf;

    fn facts(
        saga: &str,
        state: State,
        failed: Option<&str>,
        committed: &[&str],
        codes: &[&str],
    ) -> Facts {
        let set = |items: &[&str]| -> Vec<String> {
            items.iter().map(|item| (*item).to_owned()).collect()
        };
        Facts {
            saga: saga.to_owned(),
            version: 1,
            state,
            failed_phase: failed.map(str::to_owned),
            committed: set(committed),
            codes: set(codes),
        }
    }

    #[track_caller]
    fn check(facts: &Facts, first: &[&str]) {
        let shelf = Shelf::shipped().unwrap();
        let books = shelf.books().iter().map(|book| &book.runbook);
        let ranked = suggest(books, facts);
        let names: Vec<&str> = ranked.fitting.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(&names[..first.len().min(names.len())], first, "{names:?}");
        assert_eq!(
            ranked.fitting.len() + ranked.others.len(),
            shelf.books().len()
        );
        assert!(ranked.others.iter().all(|other| !other.why_not.is_empty()));
        assert!(ranked.fitting.iter().all(|one| !one.why.is_empty()));
    }

    #[test]
    fn the_most_specific_runbook_comes_first() {
        let cut = ["pre_write_backup", "cut_leg_a", "leg_b_record"];
        check(
            &facts(
                "cutover",
                State::Failed,
                Some("write_verify"),
                &cut,
                &["RD0311", "RD0203"],
            ),
            &[
                "cutover-failed-at-write-verify",
                "release-kill",
                "compensate-failed-run",
            ],
        );
        check(
            &facts(
                "cutover",
                State::Failed,
                Some("cut_leg_a"),
                &cut[..1],
                &["RD0310"],
            ),
            &["cutover-failed-at-cut-leg-a", "compensate-failed-run"],
        );
        check(
            &facts(
                "shop",
                State::Stuck,
                Some("book"),
                &["reserve"],
                &["RD0421"],
            ),
            &["stuck-compensation"],
        );
        check(
            &facts(
                "shop",
                State::Stuck,
                Some("book"),
                &["reserve"],
                &["RD0422"],
            ),
            &["baseline-mismatch"],
        );
        check(
            &facts("shop", State::Failed, Some("pay"), &[], &["RD0317"]),
            &["in-doubt-effect"],
        );
        check(
            &facts("shop", State::Running, None, &[], &["RD0216"]),
            &["poison-run", "hold-run"],
        );
        check(
            &facts("shop", State::Failed, Some("book"), &[], &["RD0806"]),
            &["disk-full"],
        );
    }

    #[test]
    fn it_says_why_one_is_not_right() {
        let shelf = Shelf::shipped().unwrap();
        let books = shelf.books().iter().map(|book| &book.runbook);
        let run = facts("shop", State::Failed, Some("book"), &[], &["RD0303"]);
        let ranked = suggest(books, &run);
        let why = |name: &str| {
            let other = ranked.others.iter().find(|other| other.name == name);
            other
                .map(|other| other.why_not.as_str())
                .unwrap_or_default()
        };
        assert_eq!(
            why("cutover-failed-at-write-verify"),
            "it is for saga cutover, the run is of shop"
        );
        assert_eq!(
            why("stuck-compensation"),
            "it is for runs that are stuck, this one is failed"
        );
        assert_eq!(why("coverage-miss"), "it is for RD0302, the run has RD0303");
    }
}
