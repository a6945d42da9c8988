//! `approve --match`, `apply --match`: one confirmation over a set, and a decision, checks and a report for each run.
//!
//! **Invariant:** a partial result never exits 0, whoever reads the report or does not. A hold is released only for a run that
//! this very command recovered.
//!
//! **What can go wrong:** it is interrupted: what is in flight is finished, what was not begun is said to be so. Run again:
//! what is done is not in the set any more.

mod holds;
mod report;

use std::collections::HashMap;
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use redress::ledger::keyfile::KeyFile;
use redress::ledger::state::State;
use redress::{Engine, EqualSet, Hold, Recovered};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::commands::look::quorum_text;
use crate::commands::set::{self, SetArgs};
use crate::exit::Exit;
use crate::fail::Fail;
use crate::place::Place;
use report::{Fate, Line, report, verdict};

/// What is asked for of each run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Act {
    Approve,
    Apply { release: bool },
}

/// Signs every plan of a set.
///
/// # Errors
/// [`Fail`]: nothing was signed.
pub async fn approve(
    place: &Place,
    args: &SetArgs,
    confirm: Option<&str>,
    reason: Option<&str>,
) -> Result<Exit, Fail> {
    run(place, args, (confirm, reason), Act::Approve).await
}

/// Brings every run of a set back; with `release` the holds that are about such a run go with its failure.
///
/// # Errors
/// [`Fail`]: nothing was changed.
pub async fn apply(
    place: &Place,
    args: &SetArgs,
    confirm: Option<&str>,
    reason: Option<&str>,
    release: bool,
) -> Result<Exit, Fail> {
    run(place, args, (confirm, reason), Act::Apply { release }).await
}

async fn run(
    place: &Place,
    args: &SetArgs,
    (confirm, reason): (Option<&str>, Option<&str>),
    act: Act,
) -> Result<Exit, Fail> {
    let engine = place.engine().await?;
    let set = set::collect(&engine, args).await?;
    let release = act == (Act::Apply { release: true });
    let holds = match act {
        Act::Approve => HashMap::new(),
        Act::Apply { .. } => holds::of_set(&engine, &set).await?,
    };
    let signs = set.unsigned().is_some() || release;
    if signs && place.globals.signer.is_none() {
        return Err(Fail::own("RD0913", "signatures are missing: give --as KEY"));
    }
    place.may_confirm(confirm, &set::page_command(&set, args))?;
    if !place.say.is_json() {
        set::tell(place, &set);
        if release {
            let count: usize = holds.values().map(Vec::len).sum();
            let text = format!("each recovered run's own holds, {count} in all");
            place.say.tell("releases ", &text);
        }
    }
    place.confirm_code("this set", &set.code(), confirm)?;
    let key = match signs {
        true => {
            let key = place.signing_key()?;
            // A key that does not count is refused once, not for every run.
            engine.would_sign(&set, &key.key).await?;
            Some(key)
        }
        false => None,
    };
    let work = Arc::new(Work {
        reason: set.reason(reason.unwrap_or(REASON)),
        engine,
        set,
        key,
        act,
        holds,
    });
    let lines = carry_out(place, &work).await;
    let (code, exit) = verdict(&lines);
    match report(place, args, &work, &lines, code) {
        // Nobody reads on: what was done is done, and the exit status still says how much.
        Ok(()) | Err(Fail::ClosedPipe) => Ok(exit),
        Err(fail) => Err(fail),
    }
}

struct Work {
    engine: Engine,
    set: EqualSet,
    key: Option<KeyFile>,
    reason: String,
    act: Act,
    /// The holds in force that are about a run of the set.
    holds: HashMap<Uuid, Vec<Hold>>,
}

/// A few runs at a time; an interruption lets those in flight end and begins no more.
async fn carry_out(place: &Place, work: &Arc<Work>) -> Vec<Line> {
    let count = work.set.members.len();
    let bar = progress(place, count);
    let mut flying = JoinSet::new();
    let mut lines: Vec<Line> = Vec::with_capacity(count);
    let mut waiting = 0..count;
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    loop {
        while flying.len() < AT_ONCE {
            let Some(index) = waiting.next() else { break };
            let work = Arc::clone(work);
            flying.spawn(async move { one(&work, index).await });
        }
        tokio::select! {
            ended = flying.join_next() => match ended {
                None => break,
                Some(Ok(line)) => {
                    lines.push(line);
                    bar.inc(1);
                }
                Some(Err(error)) => tracing::error!(%error, "a run of the set ended without a report"),
            },
            _ = &mut interrupted, if !waiting.is_empty() => waiting = count..count,
        }
    }
    bar.finish_and_clear();
    for member in 0..count {
        if !lines.iter().any(|line| line.member == member) {
            lines.push(Line {
                member,
                fate: Fate::NotBegun,
                code: None,
                why: "interrupted before its turn".to_owned(),
                left: Vec::new(),
            });
        }
    }
    lines.sort_by_key(|line| line.member);
    lines
}

async fn one(work: &Work, index: usize) -> Line {
    let member = &work.set.members[index];
    let key = work.key.as_ref().map(|key| &key.key);
    let result = match (work.act, key) {
        (Act::Apply { .. }, key) => {
            let signing = key.map(|key| (key, work.reason.as_str()));
            work.engine.recover(member, signing).await
        }
        (Act::Approve, Some(key)) => work.engine.sign_member(member, key, &work.reason).await,
        (Act::Approve, None) => Ok(Recovered::Missing(member.missing.clone())),
    };
    let (fate, code, why) = match result {
        Ok(Recovered::Done(state)) => return recovered(work, index, state).await,
        Ok(Recovered::Missing(missing)) if work.act == Act::Approve => (
            Fate::Done,
            None,
            if missing.is_empty() {
                String::new()
            } else {
                lacking(&missing)
            },
        ),
        Ok(Recovered::Missing(missing)) => (Fate::Waiting, Some("RD0560"), lacking(&missing)),
        Ok(Recovered::MovedOn(State::Stuck)) => {
            (Fate::Stuck, Some("RD0424"), "it is stuck".to_owned())
        }
        Ok(Recovered::MovedOn(state)) => (
            Fate::MovedOn,
            Some("RD0420"),
            format!("it is {state} meanwhile"),
        ),
        Err(error) => {
            let fail = Fail::from(error);
            let fate = match fail.exit() {
                Exit::Stale => Fate::Stale,
                Exit::Refused | Exit::Approvals => Fate::Refused,
                Exit::Person if fail.code() == "RD0424" => Fate::Stuck,
                Exit::Person => Fate::Refused,
                _ => Fate::Failed,
            };
            (fate, Some(fail.code()), fail.to_string())
        }
    };
    Line {
        member: index,
        fate,
        code,
        why,
        left: Vec::new(),
    }
}

/// A run that was brought back, and its holds. One that was rewound goes on later: what stopped it still does.
async fn recovered(work: &Work, index: usize, state: State) -> Line {
    let run = work.set.members[index].run;
    let release = work.act == (Act::Apply { release: true }) && state.is_terminal();
    let key = work.key.as_ref().filter(|_| release);
    let held = work.holds.get(&run).map(Vec::as_slice).unwrap_or_default();
    let left = holds::let_go(&work.engine, held, key, &work.reason).await;
    Line::recovered(index, left)
}

fn lacking(missing: &redress::ledger::quorum::Quorum) -> String {
    format!("still missing: {}", quorum_text(missing))
}

fn progress(place: &Place, count: usize) -> ProgressBar {
    let target = match place.say.shows_progress() {
        true => ProgressDrawTarget::stderr(),
        false => ProgressDrawTarget::hidden(),
    };
    let bar = ProgressBar::with_draw_target(u64::try_from(count).ok(), target);
    match ProgressStyle::with_template("{pos}/{len} runs {bar:30} {eta}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Runs that are worked on at the same time: each takes up to two sessions.
const AT_ONCE: usize = 4;
/// What a decision says for whom gave no reason.
const REASON: &str = "approved";
