//! `show`: one run at a glance: its story as a timeline, then phases, holds, plan and the next act.
//!
//! **Invariant:** no line of the timeline is wider than the terminal; what is shortened stands whole in `--json` and `log`.

use redress::view::{LogLine, RunView};
use serde_json::Value;

use crate::commands::find_run;
use crate::commands::guide::{Guide, print_runbook, with_runbook};
use crate::commands::look::{quorum_text, to_value};
use crate::commands::status::{print_next, since};
use crate::exit::Exit;
use crate::fail::Fail;
use crate::place::Place;
use crate::text::{cells, fit, local, plain, span};

/// Which run.
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    /// The run: its id, or the beginning or end of it
    pub run: String,
}

/// Shows a run.
///
/// # Errors
/// [`Fail::Engine`].
pub async fn show(place: &Place, args: &ShowArgs) -> Result<Exit, Fail> {
    let engine = place.engine().await?;
    let run = find_run(&engine, &args.run).await?;
    let view = engine.show(run).await?;
    if place.say.is_json() {
        place.say.value(&json_of(place, &view)?)?;
        return Ok(Exit::Done);
    }
    let mut log = engine.log(run, 0).await?;
    // What was written since the view was read belongs to the next look.
    log.retain(|line| line.seq <= view.head.seq);
    print_head(place, &view)?;
    place.say.line("")?;
    for line in timeline(&log, place.say.width()) {
        place.say.line(&line)?;
    }
    place.say.line("")?;
    print_rest(place, &view)?;
    Ok(Exit::Done)
}

/// Prints a run as JSON or for people.
///
/// # Errors
/// [`Fail`] when standard output cannot be written.
pub fn print_run(place: &Place, view: &RunView) -> Result<(), Fail> {
    if place.say.is_json() {
        return place.say.value(&json_of(place, view)?);
    }
    print_head(place, view)?;
    print_rest(place, view)
}

fn json_of(place: &Place, view: &RunView) -> Result<Value, Fail> {
    let runbook = Guide::read(place).best(view);
    with_runbook(view, runbook)
}

fn print_head(place: &Place, view: &RunView) -> Result<(), Fail> {
    let say = &place.say;
    say.item("run      ", &view.run.to_string())?;
    let saga = format!("{} version {}", view.saga, view.version);
    say.item("saga     ", &saga)?;
    if let Some(subject) = &view.subject {
        say.item("subject  ", subject)?;
    }
    say.item("state    ", view.state.as_str())?;
    let opened = format!("{} by {}", since(&view.opened_at), view.requester);
    say.item("opened   ", &opened)?;
    if let Some(ended) = &view.ended_at {
        say.item("ended    ", &local(ended))?;
    }
    if let Some(error) = &view.error {
        say.item("error    ", &format!("[{}] {}", error.code, error.message))?;
    }
    for hold in &view.held {
        let text = format!("{} ({}): {}", hold.id, hold.scope, hold.reason);
        say.item("held     ", &text)?;
    }
    if view.switch != "run" {
        say.item("switch   ", &view.switch)?;
    }
    if let Some(fingerprint) = view.fingerprint {
        say.item("match    ", &fingerprint.short())?;
    }
    let head = format!("record {}, {}", view.head.seq, view.head.hash);
    say.item("head     ", &head)
}

fn print_rest(place: &Place, view: &RunView) -> Result<(), Fail> {
    print_phases(place, view)?;
    print_plan(place, view)?;
    let Some(next) = &view.next else {
        return Ok(());
    };
    print_next(place, "next     ", next)?;
    match Guide::read(place).best(view) {
        Some(name) => print_runbook(place, "or       ", &name, view.run),
        None => Ok(()),
    }
}

fn print_phases(place: &Place, view: &RunView) -> Result<(), Fail> {
    let rows: Vec<Vec<String>> = view
        .phases
        .iter()
        .map(|phase| {
            let record = phase.record.map(|record| record.seq.to_string());
            let error = phase
                .error
                .as_ref()
                .map(|error| format!("[{}] {}", error.code, error.message));
            vec![
                phase.name.to_string(),
                match phase.in_doubt {
                    true => format!("{}, in doubt", phase.state),
                    false => phase.state.to_owned(),
                },
                phase.attempts.to_string(),
                record.unwrap_or_default(),
                error.unwrap_or_default(),
            ]
        })
        .collect();
    let header = ["phase", "state", "tries", "record", "error"];
    place.say.table(&header, &[0, 1], &rows)
}

fn print_plan(place: &Place, view: &RunView) -> Result<(), Fail> {
    let Some(plan) = &view.plan else {
        return Ok(());
    };
    let say = &place.say;
    let state = to_value(&plan.state)?;
    let state = state.as_str().unwrap_or_default().to_owned();
    say.item("plan     ", &plan.digest.to_string())?;
    let made = format!(
        "{state}, made on record {}, to sign: {}",
        plan.basis.seq,
        quorum_text(&plan.quorum)
    );
    say.item("         ", &made)?;
    for approval in &plan.approvals {
        let counts = if approval.counts {
            ""
        } else {
            ", does not count"
        };
        let text = format!(
            "signed by {} ({}){counts}",
            approval.principal, approval.role
        );
        say.item("         ", &text)?;
    }
    let rows: Vec<Vec<String>> = plan
        .actions
        .iter()
        .map(|action| {
            vec![
                action.phase.to_string(),
                action.action.as_str().to_owned(),
                action.why.clone(),
            ]
        })
        .collect();
    say.table(&["phase", "action", "why"], &[0, 1], &rows)
}

/// The records worth seeing, one line each: when since the opening, a mark, what, and who when that changes.
fn timeline(log: &[LogLine], width: usize) -> Vec<String> {
    let opened = log.first().and_then(|line| at(&line.at));
    let mut lines: Vec<(String, &'static str, String, u32)> = Vec::new();
    let mut actor = "";
    for one in log.iter().filter(|one| is_worth_seeing(one)) {
        let when = match (opened, at(&one.at)) {
            (Some(opened), Some(at)) => after(at.duration_since(opened)),
            _ => String::new(),
        };
        let who = match one.actor == actor {
            true => String::new(),
            false => format!("  ({})", short_actor(&one.actor)),
        };
        actor = &one.actor;
        let room = width.saturating_sub(WHEN_CELLS + 4 + cells(&who));
        let text = format!("{}{who}", fit(&told(one), room));
        match lines.last_mut() {
            // A phase that is tried many times is one line.
            Some((_, mark, last, times))
                if *mark == AGAIN && mark_of(one) == AGAIN && *last == text =>
            {
                *times += 1;
            }
            _ => lines.push((when, mark_of(one), text, 1)),
        }
    }
    let told = lines.into_iter().map(|(when, mark, text, times)| {
        let times = if times > 1 {
            format!("{times} × ")
        } else {
            String::new()
        };
        let text = fit(
            &format!("{times}{text}"),
            width.saturating_sub(WHEN_CELLS + 4),
        );
        format!("{when:>WHEN_CELLS$} {mark} {text}")
    });
    told.collect()
}

/// The record in one line; long names are shortened, so that what happened is still read.
fn told(line: &LogLine) -> String {
    let saga = line.record.pointer("/body/saga").and_then(Value::as_str);
    let names = [line.phase.as_deref(), saga];
    let mut text = line.summary.clone();
    for name in names.into_iter().flatten() {
        if cells(name) > NAME_CELLS {
            text = text.replace(name, &fit(name, NAME_CELLS));
        }
    }
    text
}

fn is_worth_seeing(line: &LogLine) -> bool {
    let body = line.record.get("body");
    let said = |name: &str| body.and_then(|body| body.get(name));
    match line.kind {
        "snapshot.taken" => said("error").is_some_and(|error| !error.is_null()),
        "plan.started" => said("automatic") == Some(&Value::Bool(true)),
        _ => true,
    }
}

/// What a glance tells the records apart by.
fn mark_of(line: &LogLine) -> &'static str {
    let last = line.record.pointer("/body/final") == Some(&Value::Bool(true));
    match line.kind {
        "run.opened" | "run.resumed" => ">",
        "phase.committed" | "run.sealed" | "plan.finished" => "✓",
        "phase.failed" if !last => AGAIN,
        "phase.failed" | "compensation.failed" | "refused" | "plan.refused" | "run.cancelled" => {
            "✗"
        }
        "hold.set" | "switch.killed" => "‖",
        "hold.released" | "switch.released" => "|",
        "compensation.committed" => "<",
        "plan.approved" | "decision" | "resolved" => "@",
        _ => "·",
    }
}

fn at(utc: &str) -> Option<jiff::Timestamp> {
    utc.parse().ok()
}

/// A time since the opening: tenths while that says something.
fn after(length: jiff::SignedDuration) -> String {
    let tenths = length.as_millis() / 100;
    match u64::try_from(length.as_secs()) {
        Ok(seconds) if seconds >= 10 => format!("+{}", span(seconds)),
        _ => format!("+{}.{} s", tenths / 10, (tenths % 10).abs()),
    }
}

/// Who, without what every actor of this system has.
fn short_actor(actor: &str) -> String {
    let actor = actor.strip_prefix("os:").unwrap_or(actor);
    fit(&plain(actor), ACTOR_CELLS)
}

/// A failed attempt that is repeated.
const AGAIN: &str = "~";
const WHEN_CELLS: usize = 12;
const ACTOR_CELLS: usize = 22;
const NAME_CELLS: usize = 24;

#[cfg(test)]
mod tests {
    use redress_ledger::Hash;
    use serde_json::json;

    use super::*;

    fn line(seq: i64, kind: &'static str, second: u32, summary: &str, body: Value) -> LogLine {
        LogLine {
            run: uuid::Uuid::nil(),
            seq,
            kind,
            at: format!("2026-01-01T00:{:02}:{:02}Z", second / 60, second % 60),
            actor: if seq < 3 {
                "os:a@host".to_owned()
            } else {
                "os:worker@host".to_owned()
            },
            phase: None,
            hash: Hash::ZERO,
            summary: summary.to_owned(),
            record: json!({"body": body}),
        }
    }

    #[test]
    fn a_timeline_reads_at_a_glance() {
        let wide = "失敗".repeat(60);
        let log = [
            line(1, "run.opened", 0, "shop v1 opened on o-1", json!({})),
            line(
                2,
                "snapshot.taken",
                0,
                "pre snapshot",
                json!({"error": null}),
            ),
            line(3, "phase.failed", 1, "book failed", json!({"final": false})),
            line(4, "phase.failed", 2, "book failed", json!({"final": false})),
            line(5, "phase.failed", 3, "book failed", json!({"final": false})),
            line(6, "phase.failed", 200, &wide, json!({"final": true})),
        ];
        let lines = timeline(&log, 80);
        assert_eq!(lines[0], "      +0.0 s > shop v1 opened on o-1  (a@host)");
        assert!(lines[1].contains("book failed  (worker@host)"), "{lines:?}");
        assert!(
            lines.iter().any(|line| line.contains("2 × book failed")),
            "{lines:?}"
        );
        let last = lines.last().unwrap();
        assert!(last.starts_with("      +3 min ✗ 失敗"), "{last}");
        assert!(lines.iter().all(|line| cells(line) <= 80), "{lines:?}");
    }
}
