//! Judges a definition with the database's help, and how each phase's writes are covered.
//!
//! **Invariant:** nothing is written, and a proof that a transaction found void is given up for the rest of the process.

use std::sync::atomic::{AtomicBool, Ordering};

use redress_sql as sql;
use tokio::sync::OnceCell;

use crate::adapter::{Coverage, Finding};
use crate::db::DbError;
use crate::definition::{self, Definition};
use crate::engine::{Inner, Loaded};
use crate::error::Error;
use crate::external;
use crate::phase_tx::PhaseTx;
use crate::tx::Commit;

/// The SQLSTATE of an `append` that found a trigger, rule or child table where none was when the phase was surveyed.
pub(crate) const PROOF_VOID: &str = "RDR08";

/// What a survey said of a phase, and whether a transaction has found since that it holds no more.
#[derive(Default)]
pub(crate) struct Surveyed {
    coverage: OnceCell<Coverage>,
    voided: AtomicBool,
}

impl Inner {
    pub(crate) async fn findings(&self, definition: &Definition) -> Result<Vec<Finding>, Error> {
        let known = self.known_adapters();
        let mut findings: Vec<Finding> = definition::validate(definition, Some(&known))
            .into_iter()
            .map(Into::into)
            .collect();
        for (index, phase) in definition.phases.iter().enumerate() {
            if let Some(adapter) = self.adapters.get(phase.adapter.as_str()) {
                let below = adapter.check(phase);
                findings.extend(below.into_iter().map(|finding| under_with(index, finding)));
            }
            if let Some(adapter) = self.external(phase) {
                findings.extend(external::judge(index, phase, adapter.as_ref()));
            }
        }
        // The database is asked only about what can be asked: statements of a sound definition.
        if findings.is_empty() {
            findings = self.survey(definition).await?;
        }
        Ok(findings)
    }

    async fn survey(&self, definition: &Definition) -> Result<Vec<Finding>, Error> {
        let mut findings = Vec::new();
        for (index, phase) in definition.phases.iter().enumerate() {
            if self.external(phase).is_some() {
                continue;
            }
            let survey = self.survey_phase(phase).await?;
            findings.extend(
                survey
                    .findings
                    .into_iter()
                    .map(|finding| under_with(index, finding)),
            );
        }
        for (index, query) in definition.snapshot.iter().enumerate() {
            let session = self.side().await?;
            session
                .batch_execute("begin read only")
                .await
                .map_err(DbError::from)?;
            let prepared = PhaseTx::new(&session).prepare(&query.sql).await;
            self.rollback(&session).await;
            let path = format!("/snapshot/{index}/sql");
            match prepared {
                Err(error) if session.is_closed() => return Err(Error::Adapter(error.into())),
                Err(error) => findings.push(Finding {
                    path,
                    code: "RD0194",
                    message: error.to_string(),
                }),
                Ok(statement) => {
                    if statement.params().len() != query.params.len() {
                        let message = format!(
                            "the statement has {} parameters, {} are given",
                            statement.params().len(),
                            query.params.len()
                        );
                        findings.push(Finding {
                            path: path.clone(),
                            code: "RD0194",
                            message,
                        });
                    }
                    for column in statement.columns() {
                        if !crate::db::column_is_kept(column.type_()) {
                            let message = format!(
                                "column {} has type {}: cast it to text",
                                column.name(),
                                column.type_().name()
                            );
                            findings.push(Finding {
                                path: path.clone(),
                                code: "RD0194",
                                message,
                            });
                        }
                    }
                }
            }
        }
        Ok(findings)
    }

    pub(crate) async fn survey_phase(
        &self,
        phase: &definition::Phase,
    ) -> Result<crate::adapter::Survey, Error> {
        let adapter = self.adapter(phase.adapter.as_str())?;
        let session = self.side().await?;
        session
            .batch_execute("begin")
            .await
            .map_err(DbError::from)?;
        if let Some(role) = &phase.role {
            let set = session.query(self.sql.text(sql::SET_ROLE), &[role]).await;
            if let Err(error) = set {
                self.rollback(&session).await;
                return Ok(crate::adapter::Survey {
                    findings: vec![Finding {
                        path: "/role".to_owned(),
                        code: "RD0195",
                        message: format!("role {role}: {}", DbError::from(error)),
                    }],
                    ..crate::adapter::Survey::default()
                });
            }
        }
        let tx = PhaseTx::new(&session);
        let survey = adapter.survey(&tx, phase).await;
        self.rollback(&session).await;
        Ok(survey?)
    }

    /// How a phase's writes are covered, surveyed once per process.
    pub async fn coverage(&self, loaded: &Loaded, index: usize) -> Result<Coverage, Error> {
        let Some(surveyed) = loaded.coverage.get(index) else {
            return Ok(Coverage::Locks);
        };
        if surveyed.voided.load(Ordering::Relaxed) {
            return Ok(Coverage::Locks);
        }
        let survey = || async {
            let survey = self.survey_phase(&loaded.definition.phases[index]).await?;
            Ok::<_, Error>(if survey.findings.is_empty() {
                survey.coverage
            } else {
                Coverage::Locks
            })
        };
        surveyed.coverage.get_or_try_init(survey).await.cloned()
    }

    /// Gives up the proof for a phase whose commit found that it holds no more (RDR08): its locks are read from now on.
    pub fn heed_proof<T>(&self, loaded: &Loaded, index: usize, end: &Commit<T>) {
        if let Commit::Aborted(error) = end
            && error.sqlstate() == Some(PROOF_VOID)
            && let Some(surveyed) = loaded.coverage.get(index)
        {
            surveyed.voided.store(true, Ordering::Relaxed);
        }
    }
}

fn under_with(index: usize, finding: Finding) -> Finding {
    let path = match finding.path.as_str() {
        "/role" => format!("/phases/{index}/role"),
        path => format!("/phases/{index}/with{path}"),
    };
    Finding { path, ..finding }
}
