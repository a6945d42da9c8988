//! Judges a `with` against the database: statements prepare and are permitted, kept columns can be kept, guards lock,
//! and plans modify nothing undeclared.
//!
//! **Not here:** what a statement does beside its plan; where that is possible, each transaction is covered by its
//! locks (`Coverage::Locks`).

use redress::adapter::{AdapterError, Finding, Survey};
use redress::definition::Phase;
use redress::phase_tx::{PhaseTx, TxError};

use super::compile::List;
use super::keep::is_key;
use super::with::{Form, Stmt, With};
use crate::finding::{COLUMNS, COVERAGE, GUARD_LOCKS, NOT_ACCEPTED, WRITES, finding};
use crate::inspect::lexer::Tokens;
use crate::inspect::locks::Locks;
use crate::inspect::plan::{Plan, explain};
use crate::inspect::proof::{Case, modified};
use crate::inspect::rights::Needs;
use crate::inspect::{judgement, kept_columns, parameters, refused, unplanned};

/// Looks at every statement; stops at the first that the server refuses, whose transaction is dead.
pub(super) async fn survey(
    tx: &PhaseTx<'_>,
    phase: &Phase,
    with: &With,
) -> Result<Survey, AdapterError> {
    let mut survey = Survey::default();
    let mut case = Case::default();
    let mut locks = Locks::default();
    let mut needs = Needs::default();
    for list in List::ALL {
        for (at, stmt) in list.of(with).iter().enumerate() {
            let path = format!("/{}/{at}/sql", list.as_str());
            let judged = statement(
                tx,
                phase,
                (list, stmt, &path),
                &mut survey,
                &mut case,
                &mut needs,
            )
            .await;
            let locked = match judged {
                Ok(()) => locks.look(tx, phase, &path).await,
                Err(error) => Err(error),
            };
            match locked {
                Ok(findings) => survey.findings.extend(findings),
                Err(error) => {
                    survey.findings.push(refused(&path, error)?);
                    return Ok(survey);
                }
            }
        }
    }
    if survey.findings.is_empty() {
        // Before anything else reads the catalogue: the locks are still those of the statements alone.
        survey.rights = needs.rights(tx).await?;
        survey.coverage = case.judge(tx).await?;
    }
    Ok(survey)
}

async fn statement(
    tx: &PhaseTx<'_>,
    phase: &Phase,
    (list, stmt, path): (List, &Stmt, &str),
    survey: &mut Survey,
    case: &mut Case,
    needs: &mut Needs,
) -> Result<(), TxError> {
    let prepared = tx.prepare(&stmt.sql).await?;
    let findings = &mut survey.findings;
    findings.extend(parameters(path, &prepared, stmt.params.len()));
    match stmt.form {
        Form::Rows if stmt.keep_as.is_some() => {
            findings.extend(kept_columns(path, &prepared.columns()));
        }
        Form::Rows => {}
        Form::Keys => {
            let one = matches!(prepared.columns().as_slice(), [column] if is_key(column.type_()));
            if !one {
                let message = "`form: keys` keeps one column of integers, uuids or texts";
                findings.push(finding(path, COLUMNS, message));
            }
        }
    }
    if list.judges() {
        findings.extend(judgement(path, &prepared));
    }
    let plan = explain(tx, &stmt.sql).await?;
    findings.extend(unplanned(path, &plan));
    if list == List::Guard {
        findings.extend(guard(path, &stmt.sql, &plan));
    }
    let modified = modified(tx, &plan).await?;
    needs.add(&stmt.sql, &plan, &modified);
    for relation in modified
        .iter()
        .filter(|relation| !relation.is_declared(&phase.writes))
    {
        findings.push(finding(
            path,
            COVERAGE,
            format!(
                "the statement modifies what `writes` does not list: {}",
                relation.name
            ),
        ));
    }
    if matches!(list, List::Capture | List::Apply | List::Verify) {
        case.add(&stmt.sql, &plan, &modified);
    }
    Ok(())
}

/// A guard only reads, and holds what it read until the compensation has committed.
fn guard(path: &str, sql: &str, plan: &Plan) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some((sqlstate, message)) = &plan.refused {
        // It could never say yes; other refusals are findings of every list.
        let said = format!("the guard cannot be planned: {message} [{sqlstate}]");
        let new = unplanned(path, plan).is_none();
        return new
            .then(|| finding(path, NOT_ACCEPTED, said))
            .into_iter()
            .collect();
    }
    if !plan.modified.is_empty() {
        findings.push(finding(
            path,
            WRITES,
            "a guard only judges; this one modifies rows",
        ));
    }
    let tokens = Tokens::read(sql);
    if !plan.locks_rows {
        let message = "the guard does not lock the rows it judges: another session could change them before the revert; \
                       select the rows themselves `for update` (a function's own locks are not seen)";
        findings.push(finding(path, GUARD_LOCKS, message));
    } else if tokens.has_words(&["for", "key", "share"]) {
        let message = "`for key share` does not stop an update of the rows that the guard judges: say `for update`";
        findings.push(finding(path, GUARD_LOCKS, message));
    } else if tokens.has_words(&["skip", "locked"]) {
        let message = "`skip locked` passes over the very rows that somebody is changing";
        findings.push(finding(path, GUARD_LOCKS, message));
    }
    findings
}
