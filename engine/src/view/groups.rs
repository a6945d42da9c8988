//! Puts equal failures together: one entry, one next act, however many runs.

use redress_ledger::Role;
use serde::Serialize;
use uuid::Uuid;

use super::fingerprint::Fingerprint;
use super::{Attention, Next};
use crate::name::Name;

/// Failed runs of one fingerprint.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Group {
    /// What they share.
    pub fingerprint: Fingerprint,
    /// How many there are.
    pub count: usize,
    /// Their saga.
    pub saga: String,
    /// Their state.
    pub state: String,
    /// The phase that failed.
    pub phase: Option<Name>,
    /// The code of its error.
    pub code: String,
    /// Why, in the words of the oldest.
    pub reason: String,
    /// Since when the oldest waits, RFC 3339 UTC.
    pub oldest: String,
    /// The runs, oldest first.
    pub runs: Vec<Uuid>,
    /// What they act on, of those that act on something.
    pub subjects: Vec<String>,
    /// The next safe act for all of them.
    pub next: Next,
}

/// What waits for a person, one by one and by what is equal.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Waiting {
    /// Everything, oldest first.
    pub waiting: Vec<Attention>,
    /// The failed runs among them by fingerprint, the one with the oldest run first.
    pub groups: Vec<Group>,
}

impl Waiting {
    /// Groups what waits; it is given oldest first.
    pub(super) fn of(waiting: Vec<Attention>) -> Self {
        let mut groups: Vec<Group> = Vec::new();
        for one in &waiting {
            let (Some(fingerprint), Some(run)) = (one.fingerprint, one.run) else {
                continue;
            };
            let known = groups
                .iter()
                .position(|group| group.fingerprint == fingerprint);
            let at = known.unwrap_or_else(|| {
                groups.push(empty(fingerprint, one));
                groups.len() - 1
            });
            let group = &mut groups[at];
            group.count += 1;
            group.runs.push(run);
            group.subjects.extend(one.subject.clone());
            group.next = both(group, one);
        }
        Self { waiting, groups }
    }
}

fn empty(fingerprint: Fingerprint, first: &Attention) -> Group {
    Group {
        fingerprint,
        count: 0,
        saga: first.saga.clone().unwrap_or_default(),
        state: first.state.clone(),
        phase: first.phase.clone(),
        code: first.code.clone(),
        reason: first.reason.clone(),
        oldest: first.since.clone(),
        runs: Vec::new(),
        subjects: Vec::new(),
        next: first.next.clone(),
    }
}

/// The act for a group and one more run. Whoever has more to sign decides who is asked.
fn both(group: &Group, one: &Attention) -> Next {
    if group.count == 1 {
        return one.next.clone();
    }
    let short = group.fingerprint.short();
    if !one.recoverable {
        return Next {
            what: format!("{}; there are {} alike", one.next.what, group.count),
            command: format!("redress runs --match {short}"),
            who: one.next.who.clone(),
        };
    }
    let people = |who: &[Role]| who.iter().filter(|role| **role != Role::Operator).count();
    let who = if people(&one.next.who) > people(&group.next.who) {
        one.next.who.clone()
    } else {
        group.next.who.clone()
    };
    let key = if people(&who) > 0 { " --as KEY" } else { "" };
    Next {
        what: "read the set; whoever agrees recovers all of them with one confirmation".to_owned(),
        command: format!("redress apply --match {short}{key}"),
        who,
    }
}
