//! `approve --match`, `apply --match`: one confirmation over a set, and a decision, checks and a report for each run.
//!
//! **Invariant:** a partial result never exits 0, whoever reads the report or does not.
//!
//! **What can go wrong:** it is interrupted: what is in flight is finished, what was not begun is said to be so. Run again:
//! what is done is not in the set any more.

use std::sync::Arc;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use redress::ledger::keyfile::KeyFile;
use redress::ledger::state::State;
use redress::{Engine, EqualSet, Recovered};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::commands::look::quorum_text;
use crate::commands::set::{self, SetArgs};
use crate::exit::Exit;
use crate::fail::Fail;
use crate::place::Place;

/// What is asked for of each run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Act {
    Approve,
    Apply,
}

/// What became of one run.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Fate {
    /// What was asked for is done.
    Done,
    /// Signed, and others must sign too.
    Waiting,
    /// It is not what it was when the set was collected.
    MovedOn,
    /// Its plan is not the one of the set any more.
    Stale,
    /// Nothing was changed.
    Refused,
    /// Rolled back; a person must act.
    Stuck,
    /// Neither done nor for certain undone.
    Failed,
    /// It was interrupted before its turn.
    NotBegun,
}

impl Fate {
    const ALL: [Self; 8] = [
        Self::Done,
        Self::Waiting,
        Self::MovedOn,
        Self::Stale,
        Self::Refused,
        Self::Stuck,
        Self::Failed,
        Self::NotBegun,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Waiting => "waiting",
            Self::MovedOn => "moved_on",
            Self::Stale => "stale",
            Self::Refused => "refused",
            Self::Stuck => "stuck",
            Self::Failed => "failed",
            Self::NotBegun => "not_begun",
        }
    }

    fn in_words(self) -> &'static str {
        match self {
            Self::Waiting => "signed, waiting",
            Self::MovedOn => "moved on",
            Self::NotBegun => "not begun",
            other => other.as_str(),
        }
    }
}

/// A line of the report.
#[derive(Clone, Debug)]
struct Line {
    member: usize,
    fate: Fate,
    code: Option<&'static str>,
    why: String,
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
    run(place, args, confirm, reason, Act::Approve).await
}

/// Brings every run of a set back.
///
/// # Errors
/// [`Fail`]: nothing was changed.
pub async fn apply(
    place: &Place,
    args: &SetArgs,
    confirm: Option<&str>,
    reason: Option<&str>,
) -> Result<Exit, Fail> {
    run(place, args, confirm, reason, Act::Apply).await
}

async fn run(
    place: &Place,
    args: &SetArgs,
    confirm: Option<&str>,
    reason: Option<&str>,
    act: Act,
) -> Result<Exit, Fail> {
    let engine = place.engine().await?;
    let set = set::collect(&engine, args).await?;
    if set.unsigned().is_some() && place.globals.signer.is_none() {
        return Err(Fail::own("RD0913", "signatures are missing: give --as KEY"));
    }
    if !place.say.is_json() {
        set::tell(place, &set);
    }
    place.confirm_code("this set", &set.code(), confirm)?;
    let key = match set.unsigned() {
        Some(_) => {
            let key = place.signing_key()?;
            // A key that does not count is refused once, not for every run.
            engine.would_sign(&set, &key.key).await?;
            Some(key)
        }
        None => None,
    };
    let work = Arc::new(Work {
        reason: set.reason(reason.unwrap_or(REASON)),
        engine,
        set,
        key,
        act,
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
        (Act::Apply, key) => {
            let signing = key.map(|key| (key, work.reason.as_str()));
            work.engine.recover(member, signing).await
        }
        (Act::Approve, Some(key)) => work.engine.sign_member(member, key, &work.reason).await,
        (Act::Approve, None) => Ok(Recovered::Missing(member.missing.clone())),
    };
    let (fate, code, why) = match result {
        Ok(Recovered::Done(_)) => (Fate::Done, None, String::new()),
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
    }
}

fn lacking(missing: &redress::ledger::quorum::Quorum) -> String {
    format!("still missing: {}", quorum_text(missing))
}

/// The code of the whole, none when everything is done, and the exit status.
fn verdict(lines: &[Line]) -> (Option<&'static str>, Exit) {
    if lines.iter().all(|line| line.fate == Fate::Done) {
        return (None, Exit::Done);
    }
    let stuck = lines.iter().find(|line| line.fate == Fate::Stuck);
    let first = lines.first().and_then(|line| line.code);
    let one = first.filter(|code| lines.iter().all(|line| line.code == Some(code)));
    let code = match (stuck, one) {
        (Some(_), _) => STUCK,
        (None, Some(code)) => code,
        (None, None) => PARTIAL,
    };
    (Some(code), Exit::of_code(code).unwrap_or(Exit::Failed))
}

fn report(
    place: &Place,
    args: &SetArgs,
    work: &Work,
    lines: &[Line],
    code: Option<&'static str>,
) -> Result<(), Fail> {
    let counts: Vec<(Fate, usize)> = Fate::ALL
        .into_iter()
        .map(|fate| (fate, lines.iter().filter(|line| line.fate == fate).count()))
        .filter(|(_, count)| *count > 0)
        .collect();
    let told: Vec<String> = counts
        .iter()
        .map(|(fate, count)| format!("{count} {}", fate.in_words()))
        .collect();
    let message = format!("of {} runs: {}", lines.len(), told.join(", "));
    if place.say.is_json() {
        return place
            .say
            .value(&as_json(work, lines, &counts, code, &message)?);
    }
    let rows: Vec<Vec<String>> = lines
        .iter()
        .map(|line| {
            let code = line
                .code
                .map(|code| format!("[{code}] "))
                .unwrap_or_default();
            vec![
                work.set.members[line.member].run.to_string(),
                line.fate.in_words().to_owned(),
                format!("{code}{}", line.why),
            ]
        })
        .collect();
    place.say.table(&["run", "result", "why"], &[0, 1], &rows)?;
    place.say.line(&message)?;
    match (work.act, code) {
        (Act::Approve, None) => {
            let missing = lines.iter().any(|line| !line.why.is_empty());
            place.say.notice(&format!(
                "next: {}",
                set::next_command(&work.set, args, missing)
            ));
        }
        (_, Some("RD0560")) => {
            place.say.notice(&format!(
                "next: {}",
                set::next_command(&work.set, args, true)
            ));
        }
        (Act::Apply, None) => place
            .say
            .notice("their holds stay until they are released: redress status"),
        _ => place
            .say
            .notice("next: redress status; what is done is not repeated"),
    }
    if let Some(code) = code {
        place.say.error(code, &message);
    }
    Ok(())
}

fn as_json(
    work: &Work,
    lines: &[Line],
    counts: &[(Fate, usize)],
    code: Option<&'static str>,
    message: &str,
) -> Result<Value, Fail> {
    let run_of = |line: &Line| work.set.members[line.member].run;
    let results: Vec<Value> = lines
        .iter()
        .map(|line| {
            let why = (!line.why.is_empty()).then_some(&line.why);
            json!({
                "run": run_of(line),
                "plan": work.set.members[line.member].stored.digest,
                "result": line.fate.as_str(),
                "code": line.code,
                "message": why,
            })
        })
        .collect();
    let page = code.and_then(redress_runbooks::page);
    let error = code.map(|code| {
        json!({
            "code": code,
            "message": message,
            "stands": page.map(|page| page.stands),
            "next": page.map(|page| page.next),
        })
    });
    let of_runs = lines.iter().filter_map(|line| {
        let code = line.code?;
        Some(json!({"code": code, "message": line.why, "run": run_of(line)}))
    });
    let errors: Vec<Value> = error.iter().cloned().chain(of_runs).collect();
    let summary: serde_json::Map<String, Value> = counts
        .iter()
        .map(|(fate, count)| (fate.as_str().to_owned(), json!(count)))
        .collect();
    Ok(json!({
        "schema": 1,
        "match": work.set.group.fingerprint,
        "set": set::value(&work.set)?,
        "results": results,
        "summary": summary,
        "error": error,
        "errors": errors,
    }))
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
/// A compensation could not finish.
const STUCK: &str = "RD0424";
/// Some runs of a set are done and some are not.
const PARTIAL: &str = "RD0431";

#[cfg(test)]
mod tests {
    use super::*;

    fn line(fate: Fate, code: Option<&'static str>) -> Line {
        Line {
            member: 0,
            fate,
            code,
            why: String::new(),
        }
    }

    #[test]
    fn a_partial_result_never_exits_0() {
        let check = |lines: &[(Fate, Option<&'static str>)], code: Option<&str>, exit: Exit| {
            let lines: Vec<Line> = lines
                .iter()
                .map(|(fate, code)| line(*fate, *code))
                .collect();
            assert_eq!(verdict(&lines), (code, exit), "{lines:?}");
        };
        let done = (Fate::Done, None);
        let refused = (Fate::Refused, Some("RD0421"));
        let stale = (Fate::Stale, Some("RD0420"));
        let waiting = (Fate::Waiting, Some("RD0560"));
        let stuck = (Fate::Stuck, Some("RD0424"));
        check(&[done, done], None, Exit::Done);
        check(&[done, refused], Some("RD0431"), Exit::Failed);
        check(&[refused, refused], Some("RD0421"), Exit::Refused);
        check(&[stale, stale], Some("RD0420"), Exit::Stale);
        check(&[waiting, waiting], Some("RD0560"), Exit::Approvals);
        check(&[stale, refused], Some("RD0431"), Exit::Failed);
        check(&[done, stuck, refused], Some("RD0424"), Exit::Person);
        check(
            &[done, (Fate::NotBegun, None)],
            Some("RD0431"),
            Exit::Failed,
        );
        check(&[(Fate::NotBegun, None)], Some("RD0431"), Exit::Failed);
    }
}
