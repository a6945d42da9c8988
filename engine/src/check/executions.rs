//! Executions of runbooks, both ways: each row as its records say, and each planned execution a row.
//!
//! **What can go wrong:** memory: a few words for each execution are kept until the end.

use std::collections::BTreeMap;

use redress_ledger::Record;
use redress_sql as sql;
use serde_json::Value;
use uuid::Uuid;

use super::model::{Fault, Findings};
use crate::error::Error;
use crate::view::{PAGE_MAX, Reading};

/// What the records say of one execution.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    log: Uuid,
    plan: String,
    state: String,
    done: i32,
    /// The last record that says so.
    seq: i64,
}

/// Gathers what the records say.
#[derive(Default)]
pub(super) struct Executions(BTreeMap<Uuid, Said>);

impl Executions {
    /// Takes what a record says; one that says nothing of an execution is for others to judge.
    pub fn take(&mut self, record: &Record) {
        let text = |name: &str| record.body.get(name).and_then(Value::as_str);
        let id = text("execution").and_then(|id| id.parse::<Uuid>().ok());
        let (Some(id), Some(plan), Some(state)) = (id, text("plan"), text("state")) else {
            return;
        };
        let said = self.0.entry(id).or_insert_with(|| Said {
            log: record.run,
            plan: plan.to_owned(),
            state: String::new(),
            done: 0,
            seq: record.seq,
        });
        state.clone_into(&mut said.state);
        said.done += i32::from(text("event") == Some("step"));
        said.seq = record.seq;
    }

    /// Compares with the table.
    pub async fn finish(
        &mut self,
        reading: &Reading<'_>,
        findings: &mut Findings,
    ) -> Result<(), Error> {
        let mut after = Uuid::nil();
        loop {
            let limit = i64::from(PAGE_MAX);
            let rows = reading
                .query(sql::CHECK_EXECUTIONS, &[&after, &limit])
                .await?;
            let Some(last) = rows.last() else { break };
            after = last.try_get(0)?;
            for row in &rows {
                let id: Uuid = row.try_get(0)?;
                let log: Uuid = row.try_get(1)?;
                let Some(said) = self.0.remove(&id) else {
                    let text = format!("execution {id} has no record");
                    findings.add(Fault::Execution, Some(log), None, text);
                    continue;
                };
                let stands = Said {
                    log,
                    plan: row.try_get(2)?,
                    state: row.try_get(3)?,
                    done: row.try_get(4)?,
                    seq: said.seq,
                };
                if said != stands {
                    let text = format!(
                        "execution {id} is {} with {} steps done, its records say {} with {}",
                        stands.state, stands.done, said.state, said.done
                    );
                    findings.add(Fault::Execution, Some(said.log), Some(said.seq), text);
                }
            }
        }
        for (id, said) in std::mem::take(&mut self.0) {
            let text = format!("execution {id} has records and no row");
            findings.add(Fault::Execution, Some(said.log), Some(said.seq), text);
        }
        Ok(())
    }
}
