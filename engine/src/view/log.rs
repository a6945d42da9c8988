//! Records as lines: what a person reads in `redress log`.

use redress_ledger::{Kind, Record, canonical, leaf_hash};
use serde_json::Value;
use uuid::Uuid;

use super::LogLine;
use crate::log::LogError;

/// Characters of a text that a line shows.
const TEXT_CHARS_MAX: usize = 120;
/// Digits of a digest that a line shows.
const DIGEST_DIGITS: usize = 12;

/// Reads a record as a line.
pub(super) fn line(run: Uuid, seq: i64, bytes: &[u8]) -> Result<LogLine, LogError> {
    let refused = |source| LogError::Record { seq, run, source };
    let record = Record::decode(bytes).map_err(refused)?;
    let value = canonical::parse_canonical(bytes).map_err(|error| refused(error.into()))?;
    Ok(LogLine {
        run,
        seq,
        kind: record.kind.as_str(),
        phase: text(&record.body, "phase").map(str::to_owned),
        hash: leaf_hash(bytes),
        summary: summary(&record),
        at: record.at,
        actor: record.actor,
        record: value,
    })
}

fn text<'b>(body: &'b Value, name: &str) -> Option<&'b str> {
    body.get(name).and_then(Value::as_str)
}

/// A record in one line, without control characters: texts come from anywhere.
fn summary(record: &Record) -> String {
    let body = &record.body;
    let phase = text(body, "phase").unwrap_or("?");
    let said = |name: &str| said(body, name);
    match record.kind {
        Kind::RunOpened => opened(body),
        Kind::PhaseCommitted => format!("{phase} committed"),
        Kind::PhaseFailed => {
            let again = if is(body, "final") {
                ""
            } else {
                ", will be tried again"
            };
            format!("{phase} failed{again}: {}", why(body))
        }
        Kind::PhaseIntended if said("way") == "back" => {
            format!("{phase} is about to be taken back outside")
        }
        Kind::PhaseIntended => format!("{phase} is about to act outside"),
        Kind::PlanMade
        | Kind::PlanApproved
        | Kind::PlanRefused
        | Kind::PlanStarted
        | Kind::PlanFinished => of_plan(record),
        Kind::CompensationCommitted => format!("{phase}: {}", said("action")),
        Kind::CompensationFailed => format!("compensation failed: {}", why(body)),
        Kind::RunCancelled => format!("cancelled: {}", said("reason")),
        Kind::RunResumed => format!("goes forward again at {phase}"),
        Kind::Resolved => format!("closed: {}; standing: {}", said("reason"), said("standing")),
        Kind::RunSealed => {
            let count = body
                .get("count")
                .and_then(Value::as_i64)
                .unwrap_or_default();
            format!("ended {}, {count} records", said("outcome"))
        }
        Kind::HoldSet => format!("hold {}{}: {}", said("scope"), target(body), said("reason")),
        Kind::HoldReleased => format!("hold {} released", said("hold")),
        Kind::SwitchKilled => format!("{}: {}", said("state"), said("reason")),
        Kind::SwitchReleased => "the switch is released".to_owned(),
        Kind::SnapshotTaken => match text(body, "error") {
            Some(error) => format!(
                "{} snapshot could not be read: {}",
                said("which"),
                clipped(error)
            ),
            None => format!("{} snapshot", said("which")),
        },
        Kind::Refused => format!("refused: {}", why(body)),
        Kind::Decision
        | Kind::RunbookStep
        | Kind::KeyRegistered
        | Kind::KeyRotated
        | Kind::KeyRevoked
        | Kind::KeyCompromised
        | Kind::PolicySet
        | Kind::PolicyRetired
        | Kind::BlobErased
        | Kind::RunsArchived
        | Kind::GenerationOpened => other(record),
    }
}

fn of_plan(record: &Record) -> String {
    let body = &record.body;
    let plan = digest(text(body, "plan").unwrap_or("?"));
    match record.kind {
        Kind::PlanMade => format!("plan {plan}: {}", actions(body)),
        Kind::PlanApproved => {
            format!(
                "plan {plan} signed by {} ({})",
                said(body, "principal"),
                said(body, "role")
            )
        }
        Kind::PlanRefused => format!("plan {plan} refused: {}", why(body)),
        Kind::PlanStarted if is(body, "automatic") => format!("plan {plan} started by itself"),
        Kind::PlanStarted => format!("plan {plan} started"),
        _ => format!("plan {plan} finished"),
    }
}

fn said(body: &Value, name: &str) -> String {
    clipped(text(body, name).unwrap_or_default())
}

fn is(body: &Value, name: &str) -> bool {
    body.get(name) == Some(&Value::Bool(true))
}

/// Message and code.
fn why(body: &Value) -> String {
    format!("{} [{}]", said(body, "message"), said(body, "code"))
}

fn opened(body: &Value) -> String {
    let saga = text(body, "saga").unwrap_or("?");
    let version = body
        .get("version")
        .and_then(Value::as_i64)
        .unwrap_or_default();
    match text(body, "subject") {
        Some(subject) => format!("{saga} v{version} opened on {}", clipped(subject)),
        None => format!("{saga} v{version} opened"),
    }
}

fn actions(body: &Value) -> String {
    let list = body.get("actions").and_then(Value::as_array);
    let one = |action: &Value| {
        let phase = text(action, "phase").unwrap_or("?");
        format!("{} {phase}", text(action, "action").unwrap_or("?"))
    };
    let all: Vec<String> = list.into_iter().flatten().map(one).collect();
    clipped(&all.join(", "))
}

fn target(body: &Value) -> String {
    text(body, "target").map_or_else(String::new, |target| format!(" {}", clipped(target)))
}

/// Kinds without a line of their own: the first texts of the body.
fn other(record: &Record) -> String {
    let fields = record.body.as_object().into_iter().flatten();
    let texts: Vec<String> = fields
        .filter_map(|(name, value)| value.as_str().map(|text| format!("{name} {text}")))
        .collect();
    clipped(&texts.join(", "))
}

fn digest(text: &str) -> String {
    text.chars().take(DIGEST_DIGITS).collect()
}

fn clipped(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut clipped: String = plain.clone().take(TEXT_CHARS_MAX).collect();
    if plain.count() > TEXT_CHARS_MAX {
        clipped.push('…');
    }
    clipped
}

#[cfg(test)]
mod tests {
    use redress_ledger::Hash;
    use serde_json::json;

    use super::*;

    fn check(kind: Kind, body: Value, expected: &str) {
        let record = Record {
            v: redress_ledger::record::VERSION,
            origin: "test.example/log".to_owned(),
            generation: 1,
            run: Uuid::from_u128(7),
            epoch: 1,
            switch_no: 1,
            seq: 3,
            prev: Hash::ZERO,
            kind,
            at: "2026-01-02T03:04:05.000006Z".to_owned(),
            actor: "test".to_owned(),
            engine: "redress/0".to_owned(),
            policy: None,
            idem: None,
            body,
        };
        let bytes = record.encode().expect("a record").bytes;
        let line = line(record.run, 3, &bytes).expect("a line");
        assert_eq!(line.summary, expected);
        assert_eq!(line.record["kind"], json!(kind.as_str()));
    }

    #[test]
    fn each_record_is_one_line() {
        check(
            Kind::PhaseFailed,
            json!({"phase": "book", "code": "RD0303", "message": "no\nstock", "final": true}),
            "book failed: no stock [RD0303]",
        );
        check(
            Kind::PlanMade,
            json!({"plan": "ab".repeat(32), "actions": [{"phase": "book", "action": "soft_revert"}]}),
            "plan abababababab: soft_revert book",
        );
        check(
            Kind::RunSealed,
            json!({"count": 3, "outcome": "completed"}),
            "ended completed, 3 records",
        );
        check(
            Kind::KeyRevoked,
            json!({"key": "sofia", "n": 1}),
            "key sofia",
        );
        check(
            Kind::RunCancelled,
            json!({"reason": "x".repeat(500)}),
            &format!("cancelled: {}…", "x".repeat(120)),
        );
    }
}
