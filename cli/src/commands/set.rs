//! `plan --match`, `approve --match`, `apply --match`: which runs are meant, shown and confirmed as one set.
//!
//! **Invariant:** what is confirmed is the set's digest; a set that has changed since somebody read it is refused.

use std::collections::BTreeMap;

use redress::ledger::quorum::Quorum;
use redress::{Engine, EqualSet};
use serde_json::{Value, json};

use crate::commands::look::{quorum_text, to_value};
use crate::exit::Exit;
use crate::fail::Fail;
use crate::place::Place;
use crate::text::short;

/// Which runs, and how they are confirmed.
#[derive(Clone, Debug, clap::Args)]
pub struct SetArgs {
    /// All runs that fail alike: a fingerprint of `redress status`, or its first 8 digits
    #[arg(long = "match", value_name = "FINGERPRINT")]
    pub fingerprint: Option<String>,
    /// Of those that fail alike at most so many, the oldest
    #[arg(long, value_name = "N", requires = "fingerprint", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: Option<u32>,
    /// Only if the set is still this one: its digest, or the first 8 digits
    #[arg(long, value_name = "DIGEST", requires = "fingerprint")]
    pub set: Option<String>,
}

/// Collects the set that is meant.
///
/// # Errors
/// RD0427 when it is another one than `--set` says; [`Fail::Engine`].
pub async fn collect(engine: &Engine, args: &SetArgs) -> Result<EqualSet, Fail> {
    let digits = args.fingerprint.as_deref().unwrap_or_default();
    let limit = args
        .limit
        .map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let set = engine.equal_set(digits, limit).await?;
    match &args.set {
        Some(meant) if !set.is(meant) => Err(Fail::own(
            "RD0427",
            format!(
                "the set has changed: it was {meant}, it is {} of {} runs now",
                set.digest,
                set.members.len()
            ),
        )),
        _ => Ok(set),
    }
}

/// Shows the set and its digest.
///
/// # Errors
/// [`Fail`]: no set.
pub async fn show(place: &Place, args: &SetArgs) -> Result<Exit, Fail> {
    let engine = place.engine().await?;
    let set = collect(&engine, args).await?;
    if place.say.is_json() {
        place.say.value(&json!({
            "schema": 1,
            "match": set.group.fingerprint,
            "set": value(&set)?,
            "errors": [],
        }))?;
        return Ok(Exit::Done);
    }
    for (head, text) in lines(&set) {
        place.say.item(head, &text)?;
    }
    place.say.notice("next:");
    place.say.notice(&next_command(&set, args, true));
    Ok(Exit::Done)
}

/// What recovers the set, as far as it is known here.
pub fn next_command(set: &EqualSet, args: &SetArgs, first: bool) -> String {
    let limit = limit_words(args);
    let fingerprint = set.group.fingerprint.short();
    let digest = set.digest.to_string();
    let (verb, key) = match (set.unsigned().is_some(), first) {
        (true, true) => ("apply", " --as KEY"),
        (true, false) => ("approve", " --as KEY"),
        (false, _) => ("apply", ""),
    };
    format!(
        "redress {verb} --match {fingerprint}{limit} --set {}{key}",
        &digest[..16]
    )
}

/// What shows the set, and the code that confirms it.
pub fn page_command(set: &EqualSet, args: &SetArgs) -> String {
    let fingerprint = set.group.fingerprint.short();
    format!("redress plan --match {fingerprint}{}", limit_words(args))
}

fn limit_words(args: &SetArgs) -> String {
    let words = args.limit.map(|n| format!(" --limit {n}"));
    words.unwrap_or_default()
}

/// Shows the set to whoever is about to confirm it: talk, not data, so that nothing hangs on who reads standard output.
pub fn tell(place: &Place, set: &EqualSet) {
    for (head, text) in lines(set) {
        place.say.tell(head, &text);
    }
}

/// The set for people: head and text of each line.
fn lines(set: &EqualSet) -> Vec<(&'static str, String)> {
    let group = &set.group;
    let phase = group.phase.as_ref().map(|phase| format!(" at {phase}"));
    let mut lines = vec![
        ("set      ", format!("{}, code {}", set.digest, set.code())),
        (
            "runs     ",
            format!(
                "{} of saga {}, {}{}",
                set.members.len(),
                group.saga,
                group.state,
                phase.unwrap_or_default()
            ),
        ),
    ];
    if group.count > set.members.len() {
        let left = group.count - set.members.len();
        lines.push((
            "         ",
            format!("{left} more fail alike and are not in it"),
        ));
    }
    lines.push(("why      ", format!("[{}] {}", group.code, group.reason)));
    let subjects: Vec<String> = set
        .members
        .iter()
        .filter_map(|one| one.subject.as_deref())
        .take(SUBJECTS_MAX)
        .map(|text| short(text, SUBJECT_CHARS))
        .collect();
    if !subjects.is_empty() {
        let more = set.members.len().saturating_sub(subjects.len());
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        lines.push(("on       ", format!("{}{more}", subjects.join(", "))));
    }
    for (action, count) in actions(set) {
        lines.push(("does     ", format!("{action}, in {count} runs")));
    }
    let quorums: BTreeMap<String, usize> = counted(set, |one| quorum_text(&one.stored.plan.quorum));
    for (quorum, count) in quorums {
        lines.push(("to sign  ", format!("{quorum}, for {count} runs")));
    }
    for (missing, count) in missing(set) {
        lines.push(("missing  ", format!("{missing}, for {count} runs")));
    }
    lines
}

fn actions(set: &EqualSet) -> BTreeMap<String, usize> {
    counted(set, |one| {
        let all: Vec<String> = one
            .stored
            .plan
            .actions
            .iter()
            .map(|action| format!("{} {}", action.action.as_str(), action.phase))
            .collect();
        if all.is_empty() {
            "nothing stands".to_owned()
        } else {
            all.join(", ")
        }
    })
}

fn missing(set: &EqualSet) -> BTreeMap<String, usize> {
    let mut found = counted(set, |one| quorum_text(&one.missing));
    found.remove(&quorum_text(&Quorum::new()));
    found
}

fn counted(set: &EqualSet, of: impl Fn(&redress::Member) -> String) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for member in &set.members {
        *counts.entry(of(member)).or_insert(0) += 1;
    }
    counts
}

/// The set as JSON.
///
/// # Errors
/// RD0921, which no set gives.
pub fn value(set: &EqualSet) -> Result<Value, Fail> {
    let members: Result<Vec<Value>, Fail> = set
        .members
        .iter()
        .map(|one| {
            Ok(json!({
                "run": one.run,
                "subject": one.subject,
                "plan": one.stored.digest,
                "missing": to_value(&one.missing)?,
            }))
        })
        .collect();
    let first = set.members.first();
    Ok(json!({
        "digest": set.digest,
        "code": set.code(),
        "count": set.members.len(),
        "left": set.group.count.saturating_sub(set.members.len()),
        "saga": set.group.saga,
        "phase": set.group.phase,
        "error": set.group.code,
        "actions": actions(set).keys().collect::<Vec<_>>(),
        "quorum": to_value(&first.map(|one| one.stored.plan.quorum.clone()).unwrap_or_default())?,
        "members": members?,
    }))
}

const SUBJECTS_MAX: usize = 5;
const SUBJECT_CHARS: usize = 24;
