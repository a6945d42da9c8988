//! What became of each run of a set: the report, its code, and the exit status.
//!
//! **Invariant:** a partial result never exits 0; a run whose holds were to be released and are not is a part.

use serde_json::{Value, json};

use super::holds::{Left, release_command};
use super::{Act, Work};
use crate::commands::set::{self, SetArgs};
use crate::exit::Exit;
use crate::fail::Fail;
use crate::place::Place;

/// What became of one run.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Fate {
    /// What was asked for is done.
    Done,
    /// It is recovered, and a hold that was to be released is not.
    Held,
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
    const ALL: [Self; 9] = [
        Self::Done,
        Self::Held,
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
            Self::Held => "held",
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
            Self::Held => "done, held",
            Self::Waiting => "signed, waiting",
            Self::MovedOn => "moved on",
            Self::NotBegun => "not begun",
            other => other.as_str(),
        }
    }
}

/// A line of the report.
#[derive(Clone, Debug)]
pub struct Line {
    /// Which run of the set.
    pub member: usize,
    /// What became of it.
    pub fate: Fate,
    /// The code of what is not done.
    pub code: Option<&'static str>,
    /// In words.
    pub why: String,
    /// The holds of a recovered run.
    pub left: Vec<Left>,
}

impl Line {
    /// A run that was brought back, with what became of its holds.
    pub fn recovered(member: usize, left: Vec<Left>) -> Self {
        let refused = left.iter().any(Left::is_refused);
        let told: Vec<String> = left.iter().filter_map(Left::told).collect();
        Self {
            member,
            fate: if refused { Fate::Held } else { Fate::Done },
            code: refused.then_some(HOLDS_STAY),
            why: told.join("; "),
            left,
        }
    }
}

/// The code of the whole, none when everything is done, and the exit status.
pub fn verdict(lines: &[Line]) -> (Option<&'static str>, Exit) {
    if lines.iter().all(|line| line.fate == Fate::Done) {
        return (None, Exit::Done);
    }
    let stuck = lines.iter().find(|line| line.fate == Fate::Stuck);
    if lines
        .iter()
        .all(|line| matches!(line.fate, Fate::Done | Fate::Held))
    {
        return (Some(HOLDS_STAY), Exit::Approvals);
    }
    let first = lines.first().and_then(|line| line.code);
    let one = first.filter(|code| lines.iter().all(|line| line.code == Some(code)));
    let code = match (stuck, one) {
        (Some(_), _) => STUCK,
        (None, Some(code)) => code,
        (None, None) => PARTIAL,
    };
    (Some(code), Exit::of_code(code).unwrap_or(Exit::Failed))
}

/// Tells what became of each run and of the set.
///
/// # Errors
/// [`Fail`] when standard output cannot be written.
pub fn report(
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
    tell_next(place, args, work, lines, code);
    if let Some(code) = code {
        place.say.error(code, &message);
    }
    Ok(())
}

/// Holds of recovered runs that are still in force.
fn stay(lines: &[Line]) -> Vec<&Left> {
    let all = lines.iter().flat_map(|line| &line.left);
    all.filter(|left| !left.is_released()).collect()
}

fn tell_next(
    place: &Place,
    args: &SetArgs,
    work: &Work,
    lines: &[Line],
    code: Option<&'static str>,
) {
    let stay = stay(lines);
    if !stay.is_empty() {
        place.say.notice(&format!(
            "{} of their holds stay (redress holds); each is released by: {}",
            stay.len(),
            release_command(&stay)
        ));
    }
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
        (Act::Apply { .. }, None | Some(HOLDS_STAY)) => {}
        _ => place
            .say
            .notice("next: redress status; what is done is not repeated"),
    }
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
                "holds": line.left.iter().map(Left::json).collect::<Vec<_>>(),
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
    let stay = stay(lines);
    let all: usize = lines.iter().map(|line| line.left.len()).sum();
    let release = (!stay.is_empty()).then(|| release_command(&stay));
    let holds = json!({"released": all - stay.len(), "stay": stay.len(), "release": release});
    Ok(json!({
        "schema": 1,
        "match": work.set.group.fingerprint,
        "set": set::value(&work.set)?,
        "results": results,
        "summary": summary,
        "holds": holds,
        "error": error,
        "errors": errors,
    }))
}

/// A compensation could not finish.
const STUCK: &str = "RD0424";
/// Some runs of a set are done and some are not.
const PARTIAL: &str = "RD0431";
/// Every run is recovered, and holds that were to be released are in force.
const HOLDS_STAY: &str = "RD0432";

#[cfg(test)]
mod tests {
    use super::*;

    fn line(fate: Fate, code: Option<&'static str>) -> Line {
        Line {
            member: 0,
            fate,
            code,
            why: String::new(),
            left: Vec::new(),
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
        let held = (Fate::Held, Some("RD0432"));
        check(&[held, held], Some("RD0432"), Exit::Approvals);
        check(&[done, held], Some("RD0432"), Exit::Approvals);
        check(&[held, refused], Some("RD0431"), Exit::Failed);
        check(&[held, stuck], Some("RD0424"), Exit::Person);
        check(
            &[done, (Fate::NotBegun, None)],
            Some("RD0431"),
            Exit::Failed,
        );
        check(&[(Fate::NotBegun, None)], Some("RD0431"), Exit::Failed);
    }
}
