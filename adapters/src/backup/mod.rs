//! The `backup` adapter: rows that are about to be touched, as a compressed artefact named by its content's hash.
//!
//! **Invariant:** it reads. A query whose plan writes is refused before any run; whatever a function writes unseen is
//! refused by the coverage check of the phase.
//!
//! **What can go wrong:** the file is written before COMMIT, so a phase that rolls back may leave one. It is named by
//! its content: the next attempt on the same rows takes it up, and nothing refers to one that is left.
//!
//! With `compensation: restore` the rows are put back from the artefact and compared with it by hash ([`Restoring`]);
//! otherwise a compensation discards it, and [`collect`] removes what nobody needs.

use std::path::Path;

use async_trait::async_trait;
use redress::adapter::{Adapter, AdapterError, Applied, Call, Finding, Survey};
use redress::db::{TextParam, row_to_value};
use redress::definition::{Compensation, Phase};
use redress::name::Name;
use redress::phase_tx::{PhaseTx, TxError};
use redress::plan::Action;
use redress::pointer::Pointer;
use redress_ledger::canonical::to_canonical;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio_postgres::types::ToSql;

mod artefact;
pub mod collect;
mod restore;

pub use artefact::{ArtefactError, Line, read_artefact};

use crate::finding::{
    COVERAGE, DUPLICATE, NO_WAY_BACK, POINTER_ROOT, REFUSED, SHAPE, WRITES, finding, read_with,
};
use crate::inspect::locks::Locks;
use crate::inspect::plan::explain;
use crate::inspect::proof::{Case, modified};
use crate::inspect::rights::Needs;
use crate::inspect::{kept_columns, parameters, refused, unplanned};

/// The name that saga files use.
pub const NAME: &str = "backup";
/// The most rows of one artefact.
pub const ROWS_MAX: usize = 1_000_000;
/// The most bytes of one artefact, before compression.
pub const CONTENT_BYTES_MAX: usize = 1 << 30;

/// What a phase with `adapter: backup` gives under `with`.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct With {
    /// The queries, in the order of the artefact's lines.
    pub rows: Vec<Query>,
}

/// One query of a backup. Give it an `order by`, so that the same rows make the same artefact.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// The name that stands on each of its lines.
    pub name: Name,
    /// The text, with `$1`, `$2`, … for values.
    pub sql: String,
    /// Where the values stand in the context.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub params: Vec<Pointer>,
    /// What puts its rows back, with `compensation: restore`; in order, before the content is compared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restore: Vec<Restoring>,
}

/// A statement that puts rows back.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Restoring {
    /// The text. What has `/artefact/rows` as a parameter gets the rows as jsonb, some at a time, once or more often.
    pub sql: String,
    /// Where the values stand: `/artefact/rows`, or in the context.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub params: Vec<Pointer>,
}

/// Keeps rows as artefacts.
#[derive(Clone, Copy, Debug, Default)]
pub struct BackupAdapter;

#[async_trait]
impl Adapter for BackupAdapter {
    fn name(&self) -> &str {
        NAME
    }

    fn keeps_artefacts(&self) -> bool {
        true
    }

    fn check(&self, phase: &Phase) -> Vec<Finding> {
        match read_with::<With>(&phase.with) {
            Ok(with) => check(phase, &with),
            Err(finding) => vec![finding],
        }
    }

    async fn survey(&self, tx: &PhaseTx<'_>, phase: &Phase) -> Result<Survey, AdapterError> {
        let with = match read_with::<With>(&phase.with) {
            Ok(with) => with,
            Err(finding) => {
                return Ok(Survey {
                    findings: vec![finding],
                    ..Survey::default()
                });
            }
        };
        let mut survey = Survey::default();
        let mut case = Case::default();
        let mut locks = Locks::default();
        let mut needs = Needs::default();
        for (at, query) in with.rows.iter().enumerate() {
            let path = format!("/rows/{at}/sql");
            let looked = look(
                tx,
                query,
                &path,
                &mut survey.findings,
                &mut case,
                &mut needs,
            )
            .await;
            let locked = match looked {
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
            for (number, step) in query.restore.iter().enumerate() {
                let path = format!("/rows/{at}/restore/{number}/sql");
                let judged = look_back(tx, phase, step, &path, &mut needs).await;
                let judged = match judged {
                    Ok(findings) => locks
                        .look(tx, phase, &path)
                        .await
                        .map(|more| findings.into_iter().chain(more).collect::<Vec<_>>()),
                    Err(error) => Err(error),
                };
                match judged {
                    Ok(findings) => survey.findings.extend(findings),
                    Err(error) => {
                        survey.findings.push(refused(&path, error)?);
                        return Ok(survey);
                    }
                }
            }
        }
        if survey.findings.is_empty() {
            survey.rights = needs.rights(tx).await?;
            survey.coverage = case.judge(tx).await?;
        }
        Ok(survey)
    }

    async fn apply(&self, tx: &PhaseTx<'_>, call: &Call<'_>) -> Result<Applied, AdapterError> {
        let Some(folder) = call.artefacts else {
            return Err(AdapterError::Hold(
                "there is no folder for artefacts: start with a state folder".to_owned(),
            ));
        };
        let with: With = read_with(&call.phase.with).map_err(|finding| {
            AdapterError::Hold(format!("`with{}`: {}", finding.path, finding.message))
        })?;
        let (content, rows) = fetch(tx, &with, call.context).await?;
        let bytes = content.len();
        let hash = write(folder, content).await?;
        let file = artefact::file_name(&hash);
        let entry = json!({"sha256": hash.to_string(), "rows": rows, "bytes": bytes, "file": file});
        let output = Map::from_iter([("artefact".to_owned(), json!([entry]))]);
        let undo = json!({"artefact": [hash.to_string()]});
        let touched = Map::from_iter([(file, json!(rows))]);
        Ok(Applied {
            output,
            undo,
            touched,
        })
    }

    async fn guard(
        &self,
        _: &PhaseTx<'_>,
        call: &Call<'_>,
        action: Action,
    ) -> Result<(), AdapterError> {
        match action {
            Action::Restore => restore::guard(call).await,
            Action::Discard | Action::Nothing => Ok(()),
            _ => Err(unsupported(action)),
        }
    }

    async fn revert(
        &self,
        tx: &PhaseTx<'_>,
        call: &Call<'_>,
        action: Action,
    ) -> Result<Map<String, Value>, AdapterError> {
        match action {
            Action::Nothing => Ok(Map::new()),
            Action::Restore => {
                let with: With = read_with(&call.phase.with).map_err(|finding| {
                    AdapterError::Hold(format!("`with{}`: {}", finding.path, finding.message))
                })?;
                restore::restore(tx, call, &with).await
            }
            // Only noted: what the run keeps is collected after the compensation has committed.
            Action::Discard => {
                let hashes = call.undo.get("artefact").and_then(Value::as_array);
                Ok(Map::from_iter([(
                    "artefact".to_owned(),
                    json!(hashes.map_or(0, Vec::len)),
                )]))
            }
            _ => Err(unsupported(action)),
        }
    }
}

fn unsupported(action: Action) -> AdapterError {
    AdapterError::Unsupported {
        adapter: NAME.to_owned(),
        action: action.as_str(),
    }
}

fn check(phase: &Phase, with: &With) -> Vec<Finding> {
    let mut findings = Vec::new();
    let restores = with.rows.iter().any(|query| !query.restore.is_empty());
    match phase.compensation {
        Compensation::Restore if !restores => {
            let message = "compensation `restore` needs statements under `restore`";
            findings.push(finding("", NO_WAY_BACK, message));
        }
        Compensation::Restore | Compensation::None | Compensation::Irreversible => {}
        other => {
            let message = format!(
                "a backup is discarded or restored, not `{}`",
                other.as_str()
            );
            findings.push(finding("", NO_WAY_BACK, message));
        }
    }
    if with.rows.is_empty() {
        findings.push(finding("/rows", SHAPE, "the backup has no queries"));
    }
    for (at, query) in with.rows.iter().enumerate() {
        let path = format!("/rows/{at}");
        if with.rows[..at].iter().any(|other| other.name == query.name) {
            let message = format!("a second query of the same name: {}", query.name);
            findings.push(finding(format!("{path}/name"), DUPLICATE, message));
        }
        if query.sql.trim().is_empty() {
            findings.push(finding(
                format!("{path}/sql"),
                SHAPE,
                "the statement is empty",
            ));
        }
        if let Some(verb) = redress::phase_tx::refused_verb(&query.sql) {
            let message =
                format!("`{verb}` is refused inside a phase: the engine owns the transaction");
            findings.push(finding(format!("{path}/sql"), REFUSED, message));
        }
        for (at, step) in query.restore.iter().enumerate() {
            findings.extend(check_back(&format!("{path}/restore/{at}"), step));
        }
        for (number, pointer) in query.params.iter().enumerate() {
            if !matches!(
                pointer.root(),
                Some("run" | "input" | "phases" | "approvals")
            ) {
                let message =
                    format!("a pointer begins with /run, /input, /phases or /approvals: {pointer}");
                findings.push(finding(
                    format!("{path}/params/{number}"),
                    POINTER_ROOT,
                    message,
                ));
            }
        }
    }
    findings
}

fn check_back(path: &str, step: &Restoring) -> Vec<Finding> {
    let mut findings = Vec::new();
    if step.sql.trim().is_empty() {
        findings.push(finding(
            format!("{path}/sql"),
            SHAPE,
            "the statement is empty",
        ));
    }
    if let Some(verb) = redress::phase_tx::refused_verb(&step.sql) {
        let message =
            format!("`{verb}` is refused inside a phase: the engine owns the transaction");
        findings.push(finding(format!("{path}/sql"), REFUSED, message));
    }
    for (number, pointer) in step.params.iter().enumerate() {
        let known = matches!(
            pointer.root(),
            Some("run" | "input" | "phases" | "approvals" | "plan" | "decision")
        );
        if !known && !restore::is_rows(pointer) {
            let message = format!(
                "a pointer is /artefact/rows, or begins with /run, /input, /phases, /approvals, /plan or /decision: {pointer}"
            );
            findings.push(finding(
                format!("{path}/params/{number}"),
                POINTER_ROOT,
                message,
            ));
        }
    }
    findings
}

/// Judges a statement that puts rows back.
async fn look_back(
    tx: &PhaseTx<'_>,
    phase: &Phase,
    step: &Restoring,
    path: &str,
    needs: &mut Needs,
) -> Result<Vec<Finding>, TxError> {
    let prepared = tx.prepare(&step.sql).await?;
    let mut findings: Vec<Finding> = parameters(path, &prepared, step.params.len())
        .into_iter()
        .collect();
    let plan = explain(tx, &step.sql).await?;
    findings.extend(unplanned(path, &plan));
    let modified = modified(tx, &plan).await?;
    for relation in modified
        .iter()
        .filter(|one| !one.is_declared(&phase.writes))
    {
        let message = format!(
            "the statement modifies what `writes` does not list: {}",
            relation.name
        );
        findings.push(finding(path, COVERAGE, message));
    }
    needs.add(&step.sql, &plan, &modified);
    Ok(findings)
}

async fn look(
    tx: &PhaseTx<'_>,
    query: &Query,
    path: &str,
    findings: &mut Vec<Finding>,
    case: &mut Case,
    needs: &mut Needs,
) -> Result<(), TxError> {
    let prepared = tx.prepare(&query.sql).await?;
    findings.extend(parameters(path, &prepared, query.params.len()));
    findings.extend(kept_columns(path, &prepared.columns()));
    let plan = explain(tx, &query.sql).await?;
    findings.extend(unplanned(path, &plan));
    if !plan.modified.is_empty() {
        findings.push(finding(
            path,
            WRITES,
            "a backup only reads; this query modifies rows",
        ));
    }
    case.add(&query.sql, &plan, &[]);
    needs.add(&query.sql, &plan, &[]);
    Ok(())
}

/// The artefact's lines, canonical JSON each, and how many there are.
async fn fetch(
    tx: &PhaseTx<'_>,
    with: &With,
    context: &Value,
) -> Result<(Vec<u8>, usize), AdapterError> {
    let mut content = Vec::new();
    let mut lines = 0;
    for query in &with.rows {
        let place = || format!("rows {}", query.name);
        let mut params = Vec::with_capacity(query.params.len());
        for pointer in &query.params {
            let nothing =
                || AdapterError::Pointer(format!("{}: nothing stands at {pointer}", place()));
            params.push(pointer.resolve(context).ok_or_else(nothing)?.clone());
        }
        let bound: Vec<TextParam<'_>> = params.iter().map(TextParam).collect();
        let refs: Vec<&(dyn ToSql + Sync)> = bound.iter().map(|p| p as _).collect();
        // Each row becomes its line at once; none is held beside the content.
        let taken = tx.each_row(&query.sql, &refs, |row| {
            lines += 1;
            if lines > ROWS_MAX {
                return Err(TxError::TooMuch(format!(
                    "a backup holds at most {ROWS_MAX} rows"
                )));
            }
            let line = json!({"name": query.name.as_str(), "row": row_to_value(row)?});
            let line = to_canonical(&line).map_err(|error| TxError::TooMuch(error.to_string()))?;
            content.extend_from_slice(&line);
            content.push(b'\n');
            if content.len() > CONTENT_BYTES_MAX {
                let text =
                    format!("a backup holds at most {CONTENT_BYTES_MAX} bytes before compression");
                return Err(TxError::TooMuch(text));
            }
            Ok(())
        });
        taken.await.map_err(|source| AdapterError::Statement {
            place: place(),
            source,
        })?;
    }
    Ok((content, lines))
}

/// Writes on a thread of its own: compressing and fsync would hold up every other run of this process.
async fn write(folder: &Path, content: Vec<u8>) -> Result<redress_ledger::Hash, AdapterError> {
    let folder = folder.to_owned();
    tokio::task::spawn_blocking(move || artefact::write_artefact(&folder, &content))
        .await
        .map_err(|error| AdapterError::Hold(format!("the artefact was not written: {error}")))?
        .map_err(|error| AdapterError::Hold(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_found_with_its_place_and_code() {
        let findings = |with: Value| -> Vec<(String, &'static str)> {
            let found = match read_with::<With>(&with) {
                Ok(with) => check(&crate::sql::tests::phase("none", json!({})), &with),
                Err(finding) => vec![finding],
            };
            found.into_iter().map(|f| (f.path, f.code)).collect()
        };
        let check = |with: Value, path: &str, code: &str| {
            assert_eq!(
                findings(with.clone()),
                [(path.to_owned(), code)].map(|(p, c)| (p, c)),
                "{with}"
            );
        };
        assert_eq!(
            findings(json!({"rows": [{"name": "a", "sql": "select 1", "params": ["/input/x"]}]})),
            []
        );
        check(json!({}), "", "RD0110");
        check(json!({"rows": []}), "/rows", "RD0110");
        check(
            json!({"rows": [{"name": "A", "sql": "x"}]}),
            "/rows/0/name",
            "RD0110",
        );
        check(
            json!({"rows": [{"name": "a", "sql": ""}]}),
            "/rows/0/sql",
            "RD0110",
        );
        check(
            json!({"rows": [{"name": "a", "sql": "commit"}]}),
            "/rows/0/sql",
            "RD0307",
        );
        check(
            json!({"rows": [{"name": "a", "sql": "x", "params": ["/plan/x"]}]}),
            "/rows/0/params/0",
            "RD0123",
        );
        check(
            json!({"rows": [{"name": "a", "sql": "x"}, {"name": "a", "sql": "x"}]}),
            "/rows/1/name",
            "RD0112",
        );
    }
}
