//! Says what each phase's role needs, and nothing else: what `redress saga grants` prints.
//!
//! **Invariant:** it is the statements that ask, planned by the server as whoever asks here; the role itself may have no
//! right yet.
//!
//! **Not here:** granting. The script is read by a person and run as the owner of the tables.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::json;

use crate::adapter::{Finding, Right, Rights};
use crate::definition::{Definition, Phase};
use crate::engine::{Engine, Inner};
use crate::error::Error;
use crate::name::Name;

/// The adapter that judges a snapshot's queries.
const SQL: &str = "sql";

/// What the roles of a saga need.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Grants {
    /// The saga.
    pub saga: Name,
    /// Its version.
    pub version: u32,
    /// Each role, with what it needs.
    pub roles: Vec<RoleGrants>,
    /// Phases that name no role: they run with the rights of the engine's own.
    pub without_role: Vec<Name>,
}

/// What one role needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RoleGrants {
    /// The role.
    pub role: String,
    /// The phases and snapshot queries that run under it.
    pub phases: Vec<String>,
    /// What they need.
    pub rights: Vec<Right>,
    /// Routines that run with the caller's rights: what they do inside was not seen.
    pub unseen: Vec<String>,
}

impl Engine {
    /// What each phase's role of a registered saga needs.
    ///
    /// # Errors
    /// [`Error::UnknownSaga`]; [`Error::Definition`] when a statement is no longer sound here.
    pub async fn grants(&self, saga: &str) -> Result<Grants, Error> {
        let (definition, _) = self.definition(saga, None).await?;
        self.inner.grants(&definition).await
    }
}

impl Inner {
    async fn grants(&self, definition: &Definition) -> Result<Grants, Error> {
        let mut roles: BTreeMap<String, (Vec<String>, Rights)> = BTreeMap::new();
        let mut without_role = Vec::new();
        for phase in &definition.phases {
            match &phase.role {
                Some(role) => {
                    let rights = self.rights_of(phase).await?;
                    add(&mut roles, role, phase.name.to_string(), rights);
                }
                None => without_role.push(phase.name.clone()),
            }
        }
        let asking = definition.phases.first();
        for query in &definition.snapshot {
            let (Some(role), Some(like)) = (&query.role, asking) else {
                continue;
            };
            // A query of the snapshot is judged as a phase that only reads.
            let phase = Phase {
                adapter: SQL.parse().unwrap_or_else(|_| like.adapter.clone()),
                writes: Vec::new(),
                with: json!({"capture": [{"sql": query.sql, "params": query.params, "as": "rows"}]}),
                ..like.clone()
            };
            let rights = self.rights_of(&phase).await?;
            add(&mut roles, role, format!("snapshot {}", query.name), rights);
        }
        let roles = roles
            .into_iter()
            .map(|(role, (phases, rights))| RoleGrants {
                role,
                phases,
                rights: rights.needed.into_iter().collect(),
                unseen: rights.unseen.into_iter().collect(),
            });
        Ok(Grants {
            saga: definition.saga.clone(),
            version: definition.version,
            roles: roles.collect(),
            without_role,
        })
    }

    async fn rights_of(&self, phase: &Phase) -> Result<Rights, Error> {
        let asked = Phase {
            role: None,
            ..phase.clone()
        };
        let survey = self.survey_phase(&asked).await?;
        if survey.findings.is_empty() {
            return Ok(survey.rights);
        }
        let named = |finding: Finding| Finding {
            path: format!("{}{}", phase.name, finding.path),
            ..finding
        };
        Err(Error::Definition(
            survey.findings.into_iter().map(named).collect(),
        ))
    }
}

fn add(
    roles: &mut BTreeMap<String, (Vec<String>, Rights)>,
    role: &str,
    phase: String,
    rights: Rights,
) {
    let (phases, all) = roles.entry(role.to_owned()).or_default();
    phases.push(phase);
    all.needed.extend(rights.needed);
    all.unseen.extend(rights.unseen);
}
