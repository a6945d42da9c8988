//! `status`: what needs a person, equal failures as one entry, each with its next act.

use redress::view::{Attention, Fingerprint, Group, Next, Waiting};
use serde_json::{Value, json};

use crate::commands::guide::{Guide, print_runbook, with_runbook};
use crate::exit::Exit;
use crate::fail::Fail;
use crate::files::Stray;
use crate::place::Place;
use crate::text::{age, local, plain, short};

/// What needs a person.
///
/// # Errors
/// [`Fail::Engine`].
pub async fn status(place: &Place) -> Result<Exit, Fail> {
    let engine = place.engine().await?;
    let found = engine.waiting().await?;
    let strays = place.strays(&engine.holds().await?)?;
    let quiet = found.waiting.is_empty() && strays.is_empty();
    if place.say.is_json() {
        place.say.value(&as_json(place, &found, &strays)?)?;
    } else if quiet {
        place.say.line("nothing needs a person")?;
    } else {
        print(place, &found)?;
        for stray in &strays {
            print_stray(place, stray)?;
        }
    }
    Ok(if quiet { Exit::Done } else { Exit::Person })
}

fn as_json(place: &Place, found: &Waiting, strays: &[Stray]) -> Result<Value, Fail> {
    let guide = Guide::read(place);
    let waiting: Result<Vec<Value>, Fail> = found
        .waiting
        .iter()
        .map(|one| with_runbook(one, best(&guide, one)))
        .collect();
    let groups: Result<Vec<Value>, Fail> = found
        .groups
        .iter()
        .map(|group| {
            with_runbook(
                group,
                oldest(found, group).and_then(|one| best(&guide, one)),
            )
        })
        .collect();
    let files: Vec<Value> = strays.iter().map(Stray::json).collect();
    Ok(json!({
        "schema": 1,
        "waiting": waiting?,
        "files": files,
        "groups": groups?,
        "errors": [],
    }))
}

/// The runbook that fits something that waits; a switch, or a hold that is left, has none of its own.
fn best(guide: &Guide, one: &Attention) -> Option<String> {
    guide.best(one.view.as_deref()?)
}

/// The run of a group that has waited longest.
fn oldest<'w>(found: &'w Waiting, group: &Group) -> Option<&'w Attention> {
    let first = group.runs.first().copied();
    found
        .waiting
        .iter()
        .find(|one| one.run == first && one.view.is_some())
}

/// Prints each thing where its oldest stands; what is equal to one that was printed is counted there.
fn print(place: &Place, found: &Waiting) -> Result<(), Fail> {
    let group_of = |fingerprint: Option<Fingerprint>| {
        let same = |group: &&Group| Some(group.fingerprint) == fingerprint;
        found
            .groups
            .iter()
            .find(same)
            .filter(|group| group.count > 1)
    };
    let guide = Guide::read(place);
    let mut holds = Vec::new();
    for one in &found.waiting {
        match group_of(one.fingerprint) {
            Some(group) if group.runs.first().copied() == one.run => print_group(place, group)?,
            Some(_) => continue,
            None if one.run.is_some() && one.state == "held" => {
                holds.push(one);
                continue;
            }
            None => print_attention(place, one)?,
        }
        if let (Some(name), Some(run)) = (best(&guide, one), one.run) {
            print_runbook(place, "    or     ", &name, run)?;
        }
    }
    for one in holds.iter().take(HOLDS_MAX) {
        print_attention(place, one)?;
    }
    if holds.len() > HOLDS_MAX {
        let more = holds.len() - HOLDS_MAX;
        place.say.line(&format!(
            "{more} more holds of runs that have ended: redress holds"
        ))?;
    }
    Ok(())
}

fn print_group(place: &Place, group: &Group) -> Result<(), Fail> {
    let say = &place.say;
    let phase = group
        .phase
        .as_ref()
        .map(|phase| format!(" at {phase}"))
        .unwrap_or_default();
    say.item(
        "",
        &format!(
            "{} runs of {}{phase} alike: {}, the oldest since {}",
            group.count,
            plain(&group.saga),
            group.state,
            since(&group.oldest)
        ),
    )?;
    say.item("    why    ", &format!("[{}] {}", group.code, group.reason))?;
    let mut subjects: Vec<String> = group
        .subjects
        .iter()
        .take(SUBJECTS_MAX)
        .map(|subject| short(subject, SUBJECT_CHARS))
        .collect();
    if !subjects.is_empty() {
        let more = group.count - subjects.len();
        if more > 0 {
            subjects.push(format!("and {more} more"));
        }
        say.item("    on     ", &subjects.join(", "))?;
    }
    let short = group.fingerprint.short();
    say.item(
        "    match  ",
        &format!("{short} (redress runs --match {short})"),
    )?;
    print_next(place, "    next   ", &group.next)
}

fn print_attention(place: &Place, one: &Attention) -> Result<(), Fail> {
    let what = match (&one.run, &one.saga) {
        (Some(run), Some(saga)) => format!("run {run} of {}", plain(saga)),
        (Some(run), None) => format!("run {run}"),
        (None, _) => match one.holds.as_slice() {
            [hold] => format!("hold {hold}"),
            _ => "kill switch".to_owned(),
        },
    };
    let subject = one
        .subject
        .as_ref()
        .map(|subject| format!(" on {}", plain(subject)))
        .unwrap_or_default();
    let state = format!("{}, since {}", one.state, since(&one.since));
    place.say.item("", &format!("{what}{subject}: {state}"))?;
    place
        .say
        .item("    why    ", &format!("[{}] {}", one.code, one.reason))?;
    for hold in one.holds.iter().filter(|_| one.run.is_some()) {
        place.say.item("    held   ", &hold.to_string())?;
    }
    if let Some(fingerprint) = one.fingerprint {
        place.say.item("    match  ", &fingerprint.short())?;
    }
    print_next(place, "    next   ", &one.next)
}

/// Prints the next act, who can do it, and its command.
///
/// # Errors
/// [`Fail`] when standard output cannot be written.
pub fn print_next(place: &Place, head: &str, next: &Next) -> Result<(), Fail> {
    let who: Vec<String> = next.who.iter().map(ToString::to_string).collect();
    let who = if who.is_empty() {
        String::new()
    } else {
        format!(" ({})", who.join(", "))
    };
    place.say.item(head, &format!("{}{who}", next.what))?;
    place.say.command(&" ".repeat(head.len()), &next.command)
}

/// Prints a hold file that stops this machine.
///
/// # Errors
/// [`Fail`] when standard output cannot be written.
pub fn print_stray(place: &Place, stray: &Stray) -> Result<(), Fail> {
    let path = stray.path.display().to_string();
    let say = &place.say;
    say.item("", &format!("this machine is stopped by {path}"))?;
    say.item("    why    ", &stray.reason())?;
    say.item("    next   ", &stray.next())
}

/// A time of the ledger and how long ago that is.
pub fn since(utc: &str) -> String {
    match age(utc) {
        Some(age) => format!("{} ({age})", local(utc)),
        None => local(utc),
    }
}

/// Subjects of a group that are named.
const SUBJECTS_MAX: usize = 4;
const SUBJECT_CHARS: usize = 24;
/// Holds of runs that have ended which are shown one by one.
const HOLDS_MAX: usize = 5;
