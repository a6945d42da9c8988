//! The `backup` adapter: rows that are about to be touched, as a compressed artefact named by its content's hash.
//!
//! **Invariant:** it reads. A query whose plan writes is refused before any run; whatever a function writes unseen is
//! refused by the coverage check of the phase.
//!
//! **What can go wrong:** the file is written before COMMIT, so a phase that rolls back may leave one. It is named by
//! its content: the next attempt on the same rows takes it up, and nothing refers to one that is left.
//!
//! **Not here:** collecting artefacts that were discarded.

use std::path::Path;

use async_trait::async_trait;
use redress::adapter::{Adapter, AdapterError, Applied, Call, Finding, Survey};
use redress::definition::Phase;
use redress::name::Name;
use redress::phase_tx::{PhaseTx, TxError};
use redress::plan::Action;
use redress::pointer::Pointer;
use redress_ledger::canonical::to_canonical;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

mod artefact;

pub use artefact::{ArtefactError, Line, read_artefact};

use crate::finding::{DUPLICATE, POINTER_ROOT, REFUSED, SHAPE, WRITES, finding, read_with};
use crate::inspect::locks::Locks;
use crate::inspect::plan::explain;
use crate::inspect::proof::Case;
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
            Ok(with) => check(&with),
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
        _: &Call<'_>,
        action: Action,
    ) -> Result<(), AdapterError> {
        match action {
            Action::Discard | Action::Nothing => Ok(()),
            _ => Err(unsupported(action)),
        }
    }

    async fn revert(
        &self,
        _: &PhaseTx<'_>,
        call: &Call<'_>,
        action: Action,
    ) -> Result<Map<String, Value>, AdapterError> {
        match action {
            Action::Nothing => Ok(Map::new()),
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

fn check(with: &With) -> Vec<Finding> {
    let mut findings = Vec::new();
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
    findings.extend(kept_columns(path, prepared.columns()));
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
        let rows = tx
            .query_values(&query.sql, &params)
            .await
            .map_err(|source| AdapterError::Statement {
                place: place(),
                source,
            })?
            .rows;
        lines += rows.len();
        if lines > ROWS_MAX {
            return Err(AdapterError::Business(format!(
                "a backup holds at most {ROWS_MAX} rows; these are {lines}"
            )));
        }
        for row in rows {
            let line = json!({"name": query.name.as_str(), "row": row});
            let line = to_canonical(&line)
                .map_err(|error| AdapterError::Business(format!("{}: {error}", place())))?;
            content.extend_from_slice(&line);
            content.push(b'\n');
            if content.len() > CONTENT_BYTES_MAX {
                let message =
                    format!("a backup holds at most {CONTENT_BYTES_MAX} bytes before compression");
                return Err(AdapterError::Business(message));
            }
        }
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
                Ok(with) => check(&with),
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
