//! The rewinds of all runs: what was asked, what set it off, and what became of it.
//!
//! **Invariant:** read from the plans and the records of their way, so a rewind that was made is never missing here.
//!
//! **Not here:** runs whose records have left the tables.

use redress_sql as sql;
use serde::Serialize;
use tokio_postgres::Row;
use uuid::Uuid;

use super::FaultView;
use super::reading::Reading;
use crate::db::DbError;
use crate::definition::Then;
use crate::engine::Engine;
use crate::error::Error;
use crate::name::Name;
use crate::plan::{Action, CauseKind, Plan, Trigger};
use crate::tx::hash_at;
use redress_ledger::Hash;

/// Where a rewind stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RewindStatus {
    /// Planned and not begun: it waits for signatures or for somebody to apply it.
    Pending,
    /// Begun and not ended.
    Running,
    /// The run went back to its target.
    Succeeded,
    /// It was refused, got stuck, or the run moved on before it was begun.
    Failed,
}

impl RewindStatus {
    /// Every status.
    pub const ALL: [Self; 4] = [Self::Pending, Self::Running, Self::Succeeded, Self::Failed];

    /// The word in lists.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        }
    }
}

/// Which rewinds to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RewindFilter {
    /// Of this run.
    pub run: Option<Uuid>,
    /// With this status.
    pub status: Option<RewindStatus>,
    /// Back to this phase.
    pub to: Option<Name>,
    /// Planned at this time or later, as PostgreSQL reads it.
    pub since: Option<String>,
    /// Planned before this time.
    pub until: Option<String>,
    /// At most so many, the youngest; [`REWINDS_LIMIT_DEFAULT`] if none is given.
    pub limit: Option<u32>,
}

/// How many rewinds are listed unless the filter says otherwise.
pub const REWINDS_LIMIT_DEFAULT: u32 = 100;
/// How many plans are read to find those of one status.
const PLANS_MAX: i64 = 100_000;

/// One rewind.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RewindLine {
    /// The run.
    pub run: Uuid,
    /// Its saga.
    pub saga: String,
    /// What it acts on.
    pub subject: Option<String>,
    /// Where the rewind stands.
    pub status: RewindStatus,
    /// The phase that the run was at.
    pub from: Option<Name>,
    /// The phase that is undone last and runs next.
    pub to: Name,
    /// Whether the run goes on by itself.
    pub then: Then,
    /// What set it off.
    pub trigger: Trigger,
    /// The phases that are undone, in order.
    pub phases: Vec<Name>,
    /// Why.
    pub reason: String,
    /// Who asked, or the engine's own name.
    pub by: String,
    /// When it was planned, RFC 3339 UTC.
    pub made_at: String,
    /// When it was begun.
    pub started_at: Option<String>,
    /// When it ended.
    pub ended_at: Option<String>,
    /// Why it failed.
    pub error: Option<FaultView>,
    /// The digest of its plan.
    pub plan: Hash,
}

impl Engine {
    /// Lists rewinds, youngest first.
    ///
    /// # Errors
    /// [`Error::Db`] (a time that PostgreSQL cannot read, too); [`Error::Plan`] when a stored plan cannot be read.
    pub async fn rewinds(&self, filter: &RewindFilter) -> Result<Vec<RewindLine>, Error> {
        let reading = Reading::begin(&self.inner).await?;
        let to = filter.to.as_ref().map(Name::as_str);
        let rows = reading
            .query(
                sql::LIST_REWINDS,
                &[&filter.run, &to, &filter.since, &filter.until, &PLANS_MAX],
            )
            .await?;
        reading.end().await;
        let mut lines: Vec<RewindLine> = Vec::new();
        for row in &rows {
            let digest = hash_at(row, 4)?;
            let run: Uuid = row.try_get(0).map_err(DbError::from)?;
            if lines
                .last()
                .is_none_or(|last| last.plan != digest || last.run != run)
            {
                lines.push(planned(row, digest)?);
            }
            if let Some(line) = lines.last_mut() {
                take_record(line, row)?;
            }
        }
        let limit = filter.limit.unwrap_or(REWINDS_LIMIT_DEFAULT) as usize;
        let wanted = |line: &RewindLine| filter.status.is_none_or(|status| line.status == status);
        Ok(lines.into_iter().filter(wanted).take(limit).collect())
    }
}

/// A rewind as its plan tells it, before any record.
fn planned(row: &Row, digest: Hash) -> Result<RewindLine, Error> {
    let bytes: Vec<u8> = row.try_get(5).map_err(DbError::from)?;
    let plan = Plan::from_canonical(&bytes)?;
    let CauseKind::RewindTo {
        phase,
        then,
        from,
        trigger,
    } = plan.cause.kind
    else {
        return Err(Error::Inconsistent(format!(
            "a plan that stops at a phase and is no rewind: {digest}"
        )));
    };
    let refused = plan.actions.iter().find(|a| a.action == Action::Refuse);
    let basis: i64 = row.try_get(3).map_err(DbError::from)?;
    let error = match refused {
        Some(action) => Some(FaultView {
            code: action
                .code
                .map_or("RD0423", |code| code.as_str())
                .to_owned(),
            message: action.why.clone(),
        }),
        None if basis != plan.basis.seq => Some(FaultView {
            code: "RD0420".to_owned(),
            message: "the run moved on before it was begun".to_owned(),
        }),
        None => None,
    };
    let made_at: String = row.try_get(6).map_err(DbError::from)?;
    Ok(RewindLine {
        run: plan.run,
        saga: row.try_get(1).map_err(DbError::from)?,
        subject: row.try_get(2).map_err(DbError::from)?,
        status: match &error {
            Some(_) => RewindStatus::Failed,
            None => RewindStatus::Pending,
        },
        from,
        to: phase,
        then,
        trigger,
        phases: plan
            .actions
            .into_iter()
            .map(|action| action.phase)
            .collect(),
        reason: plan.cause.reason,
        by: plan.cause.requester,
        ended_at: refused_at(&error, &made_at),
        made_at,
        started_at: None,
        error,
        plan: digest,
    })
}

/// A refused plan ended when it was made; when a run moved on is not known here.
fn refused_at(error: &Option<FaultView>, made_at: &str) -> Option<String> {
    let refused = error.as_ref().is_some_and(|error| error.code != "RD0420");
    refused.then(|| made_at.to_owned())
}

fn take_record(line: &mut RewindLine, row: &Row) -> Result<(), Error> {
    let kind: Option<&str> = row.try_get(7).map_err(DbError::from)?;
    let at: Option<String> = row.try_get(8).map_err(DbError::from)?;
    match kind {
        Some("plan.started") => {
            line.status = RewindStatus::Running;
            line.started_at = at;
            line.ended_at = None;
            line.error = None;
        }
        Some("plan.finished") => {
            line.status = RewindStatus::Succeeded;
            line.ended_at = at;
        }
        Some("compensation.failed") => {
            let text = |at: usize| -> Result<String, Error> {
                let text: Option<String> = row.try_get(at).map_err(DbError::from)?;
                Ok(text.unwrap_or_default())
            };
            line.status = RewindStatus::Failed;
            line.ended_at = at;
            line.error = Some(FaultView {
                code: text(9)?,
                message: text(10)?,
            });
        }
        _ => {}
    }
    Ok(())
}
