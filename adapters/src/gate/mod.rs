//! The `gate` adapter: a phase that waits for an instant, a time, or a condition in the database. For signatures any
//! phase waits that has `approvals`, a gate too.
//!
//! **Invariant:** a gate changes nothing. While it is shut the run is nobody's: it is looked at again when the time has come
//! or, for a condition, every so often; restarts change nothing about that.
//!
//! **What can go wrong:** a condition that never becomes true keeps the run waiting, unless `within` says how long.
//!
//! **Not here:** who owns a waiting run, and signatures (the engine).

use std::time::Duration;

use async_trait::async_trait;
use redress::adapter::{Adapter, AdapterError, Applied, Call, Finding, Survey};
use redress::db::TextParam;
use redress::definition::{Compensation, Phase};
use redress::phase_tx::{PhaseTx, TxError};
use redress::plan::Action;
use redress::pointer::Pointer;
use serde_json::{Map, Value, json};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

pub mod with;

pub use with::{Length, Query, With};

use crate::finding::{POINTER_ROOT, REFUSED, SHAPE, WRITES, finding, read_with};
use crate::inspect::plan::explain;
use crate::inspect::proof::Case;
use crate::inspect::{judgement, parameters, refused, unplanned};

/// The name that saga files use.
pub const NAME: &str = "gate";
/// How often a condition is looked at, unless the file says otherwise.
pub const EVERY_DEFAULT: Duration = Duration::from_secs(10);
/// The shortest pause between two looks.
pub const EVERY_MIN: Duration = Duration::from_millis(50);
/// The longest time after which a gate is looked at again; a clock that is set forward is noticed.
pub const LOOK_MAX: Duration = Duration::from_secs(3_600);

/// Where the context says since when the run has waited here.
const SINCE: &str = "/run/since";

/// Waits.
#[derive(Clone, Copy, Debug, Default)]
pub struct GateAdapter;

#[async_trait]
impl Adapter for GateAdapter {
    fn name(&self) -> &str {
        NAME
    }

    fn check(&self, phase: &Phase) -> Vec<Finding> {
        match read_with::<With>(&phase.with) {
            Err(finding) => vec![finding],
            Ok(with) => judge(phase, &with),
        }
    }

    async fn survey(&self, tx: &PhaseTx<'_>, phase: &Phase) -> Result<Survey, AdapterError> {
        let mut survey = Survey::default();
        let Ok(with) = read_with::<With>(&phase.with) else {
            return Ok(survey);
        };
        let mut case = Case::default();
        for (at, query) in with.when.iter().enumerate() {
            let path = format!("/when/{at}/sql");
            if let Err(error) = look(tx, query, &path, &mut survey.findings, &mut case).await {
                survey.findings.push(refused(&path, error)?);
                return Ok(survey);
            }
        }
        if survey.findings.is_empty() {
            survey.coverage = case.judge(tx).await?;
        }
        Ok(survey)
    }

    async fn apply(&self, tx: &PhaseTx<'_>, call: &Call<'_>) -> Result<Applied, AdapterError> {
        let with: With = read_with(&call.phase.with).map_err(|finding| {
            AdapterError::Hold(format!("`with{}`: {}", finding.path, finding.message))
        })?;
        let (wait, late) = time(tx, call, &with).await?;
        let shut = match wait {
            Duration::ZERO => condition(tx, call, &with).await?,
            wait => Some(("its time has not come".to_owned(), wait.min(LOOK_MAX))),
        };
        let Some((why, wait)) = shut else {
            let at = tx.query_values("select clock_timestamp()::text as at", &[]);
            let mut output = Map::new();
            output.insert("opened".to_owned(), Value::Array(at.await?.rows));
            return Ok(Applied {
                output,
                undo: json!({}),
                touched: Map::new(),
            });
        };
        match late {
            true => Err(AdapterError::Business(format!(
                "the gate stayed shut for longer than it may: {why}"
            ))),
            false => Err(AdapterError::NotYet { why, wait }),
        }
    }

    async fn guard(
        &self,
        _tx: &PhaseTx<'_>,
        _call: &Call<'_>,
        action: Action,
    ) -> Result<(), AdapterError> {
        Err(unsupported(action))
    }

    async fn revert(
        &self,
        _tx: &PhaseTx<'_>,
        _call: &Call<'_>,
        action: Action,
    ) -> Result<Map<String, Value>, AdapterError> {
        Err(unsupported(action))
    }
}

fn unsupported(action: Action) -> AdapterError {
    AdapterError::Unsupported {
        adapter: NAME.to_owned(),
        action: action.as_str(),
    }
}

/// What is wrong without asking the database.
fn judge(phase: &Phase, with: &With) -> Vec<Finding> {
    let mut findings = Vec::new();
    let waits = with.until.is_some() || with.after.is_some() || !with.when.is_empty();
    if !waits && phase.approvals.is_empty() {
        let message = "the gate waits for nothing: give `until`, `after` or `when`, or the phase its `approvals`";
        findings.push(finding("", SHAPE, message));
    }
    if with.every.is_some() && with.when.is_empty() {
        findings.push(finding(
            "/every",
            SHAPE,
            "`every` says how often `when` is looked at, and there is none",
        ));
    }
    if !phase.writes.is_empty() || phase.compensation != Compensation::None {
        findings.push(finding(
            "",
            WRITES,
            "a gate changes nothing: it has no `writes` and `compensation: none`",
        ));
    }
    if let Some(until) = &with.until {
        findings.extend(instant(until));
    }
    for (at, query) in with.when.iter().enumerate() {
        if let Some(verb) = redress::phase_tx::refused_verb(&query.sql) {
            let message = format!("a statement may not begin with {verb}");
            findings.push(finding(format!("/when/{at}/sql"), REFUSED, message));
        }
        for (index, pointer) in query.params.iter().enumerate() {
            findings.extend(rooted(&format!("/when/{at}/params/{index}"), pointer));
        }
    }
    findings
}

/// `until` is an instant or leads to one.
fn instant(until: &str) -> Option<Finding> {
    if until.starts_with('/') {
        return match Pointer::parse(until) {
            Ok(pointer) => rooted("/until", &pointer),
            Err(error) => Some(finding("/until", SHAPE, error.to_string())),
        };
    }
    let good = redress_ledger::time::is_instant(until);
    let message = format!("an instant such as 2026-12-01T08:00:00Z, or a pointer, not {until:?}");
    (!good).then(|| finding("/until", SHAPE, message))
}

fn rooted(path: &str, pointer: &Pointer) -> Option<Finding> {
    let known = matches!(pointer.root(), Some("run" | "input" | "phases"));
    let message = format!("nothing stands there when a gate is looked at: {pointer}");
    (!known).then(|| finding(path, POINTER_ROOT, message))
}

async fn look(
    tx: &PhaseTx<'_>,
    query: &Query,
    path: &str,
    findings: &mut Vec<Finding>,
    case: &mut Case,
) -> Result<(), TxError> {
    let prepared = tx.prepare(&query.sql).await?;
    findings.extend(parameters(path, &prepared, query.params.len()));
    findings.extend(judgement(path, &prepared));
    let plan = explain(tx, &query.sql).await?;
    findings.extend(unplanned(path, &plan));
    if !plan.modified.is_empty() {
        let message = "a gate only looks; this statement modifies rows";
        findings.push(finding(path, WRITES, message));
    }
    case.add(&query.sql, &plan, &[]);
    Ok(())
}

/// How long the clock says to wait, and whether it has been too long.
async fn time(
    tx: &PhaseTx<'_>,
    call: &Call<'_>,
    with: &With,
) -> Result<(Duration, bool), AdapterError> {
    let length =
        |length: Option<Length>| length.map_or(Value::Null, |one| json!(one.0.to_string()));
    let until = match &with.until {
        Some(text) if text.starts_with('/') => pointed(call, "until", text)?,
        Some(text) => json!(text),
        None => Value::Null,
    };
    let since = pointed(call, "since", SINCE)?;
    let params = [until, since, length(with.after), length(with.within)];
    let sql = include_str!("../../statements/gate_time.sql");
    let answer = tx.query_values(sql, &params).await?;
    let row = answer.rows.first();
    let wait = row.and_then(|row| row.get("wait_ms"));
    // An int8 is kept as text.
    let wait = wait.and_then(|wait| match wait {
        Value::String(text) => text.parse().ok(),
        other => other.as_u64(),
    });
    let late = row.and_then(|row| row.get("late")).and_then(Value::as_bool);
    let (Some(wait), Some(late)) = (wait, late) else {
        return Err(AdapterError::Hold("the clock gave no answer".to_owned()));
    };
    Ok((Duration::from_millis(wait), late))
}

/// Why the gate is still shut, and when to look again; nothing when it is open.
async fn condition(
    tx: &PhaseTx<'_>,
    call: &Call<'_>,
    with: &With,
) -> Result<Option<(String, Duration)>, AdapterError> {
    let every = with
        .every
        .map_or(EVERY_DEFAULT, |every| Duration::from_millis(every.0));
    let every = every.clamp(EVERY_MIN, LOOK_MAX);
    for (at, query) in with.when.iter().enumerate() {
        let place = format!("when {}", at + 1);
        let values: Result<Vec<Value>, _> = query
            .params
            .iter()
            .map(|pointer| pointed(call, &place, &pointer.to_string()))
            .collect();
        let values = values?;
        let bound: Vec<TextParam<'_>> = values.iter().map(TextParam).collect();
        let bound: Vec<&(dyn ToSql + Sync)> = bound
            .iter()
            .map(|value| value as &(dyn ToSql + Sync))
            .collect();
        let rows = tx.query(&query.sql, &bound).await;
        let rows = rows.map_err(|source| AdapterError::Statement {
            place: place.clone(),
            source,
        })?;
        if rows.is_empty() {
            return Ok(Some((format!("{place} has no row"), every)));
        }
        let open = |row: &Row| matches!(row.try_get::<_, Option<bool>>(0), Ok(Some(true)));
        if let Some(row) = rows.iter().position(|row| !open(row)) {
            return Ok(Some((
                format!("{place}, row {} is not true", row + 1),
                every,
            )));
        }
    }
    Ok(None)
}

fn pointed(call: &Call<'_>, place: &str, pointer: &str) -> Result<Value, AdapterError> {
    let found = Pointer::parse(pointer).ok();
    let found = found.and_then(|pointer| pointer.resolve(call.context).cloned());
    found.ok_or_else(|| AdapterError::Pointer(format!("{place}: nothing stands at {pointer}")))
}
