//! Whether a plan may be begun: the same ledger, in time, nothing moved or grown, everybody has signed.

use std::time::Duration;

use redress::ask::{Question, Wanted};
use redress::{Error, step};
use redress_ledger::quorum::{Missing, Signer, quorum_missing};

use super::apply::Execution;
use super::document::Document;
use super::{ExecuteError, context, plan};

/// Who must still sign before an execution is begun; nobody when it is `None`.
///
/// # Errors
/// The engine's.
pub async fn missing(
    engine: &redress::Engine,
    execution: &step::Execution,
    document: &Document,
) -> Result<Option<Missing>, ExecuteError> {
    let approvals = &document.runbook.approvals;
    if approvals.quorum.values().all(|count| *count == 0) {
        return Ok(None);
    }
    let mut signers: Vec<Signer> = engine.execution_signers(execution).await?;
    let mut requester = execution.made_by.as_str();
    if !approvals.distinct {
        // Whoever planned it has signed the plan, and counts unless the runbook says otherwise.
        signers.extend(engine.execution_planner(execution).await?);
        requester = "";
    }
    Ok(quorum_missing(&approvals.quorum, &signers, requester).err())
}

impl Execution<'_> {
    /// Whether what was planned is still so, and was approved.
    pub(super) async fn may_begin(&self, execution: &step::Execution) -> Result<(), ExecuteError> {
        let (operator, document) = (self.operator, self.document);
        let installation = operator.engine.installation();
        if document.origin != installation.origin {
            return Err(ExecuteError::Environment {
                runbook: document.runbook.runbook.to_string(),
                meant: document.origin.clone(),
                here: installation.origin.clone(),
            });
        }
        let stale = |why: String| Err(ExecuteError::Stale(why));
        if document.generation != installation.generation {
            return stale("the ledger is of another generation now".to_owned());
        }
        if operator.engine.clock(Duration::ZERO).await?.0 > document.not_after {
            return stale(format!("it was good until {}", document.not_after));
        }
        if let Some(planned) = &document.run {
            let basis = operator.engine.basis(planned.id).await?;
            if basis != planned.basis {
                let text = "the run has moved on since record";
                return stale(format!(
                    "{text} {}, to record {}",
                    planned.basis.seq, basis.seq
                ));
            }
        }
        if let Some(scope) = &document.runbook.scope {
            let question = Question {
                name: "scope".to_owned(),
                sql: scope.rows.clone(),
                params: context::resolve(&scope.params, &self.context, "scope")?,
                wanted: Wanted::Anything,
            };
            let answers = operator.engine.ask(&self.asking, &[question]).await?;
            let now = answers.first().and_then(plan::counted);
            if now.is_none() || now > document.rows {
                let text = |n: Option<u64>| n.map_or_else(|| "?".to_owned(), |n| n.to_string());
                return stale(format!(
                    "it was about {} rows and would be about {}",
                    text(document.rows),
                    text(now)
                ));
            }
        }
        match missing(operator.engine, execution, document).await? {
            None => Ok(()),
            Some(missing) => Err(Error::ApprovalsMissing(format!(
                "{missing}; they sign with `redress approve {}`, execution {}",
                execution.id, execution.id
            ))
            .into()),
        }
    }
}
