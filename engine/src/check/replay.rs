//! Walks run rows and records side by side, in the order of their ids.

use std::collections::HashMap;

use redress_ledger::Hash;
use redress_sql as sql;
use tokio_postgres::Row;
use uuid::Uuid;

use super::beside::Beside;
use super::model::{Fault, Findings};
use super::of_runs::OfRuns;
use super::stream::Records;
use super::tale::Tale;
use crate::definition::Definition;
use crate::error::Error;
use crate::run::RunRow;
use crate::view::Reading;

/// Runs whose rows, plans and refusals are in memory at once.
const RUNS_A_PAGE: i64 = 200;

/// Replays every log; gives how many runs and records there were.
pub(super) async fn replay(
    reading: &Reading<'_>,
    findings: &mut Findings,
) -> Result<(u64, u64), Error> {
    let definitions = definitions(reading, findings).await?;
    let mut walk = Walk {
        reading,
        records: Records::new(),
        beside: Beside::default(),
        system: HashMap::new(),
        count: 0,
    };
    let mut runs = 0;
    let mut after = Uuid::nil();
    loop {
        let rows = reading
            .query(sql::CHECK_RUNS, &[&after, &RUNS_A_PAGE])
            .await?;
        let mut ids: Vec<Uuid> = Vec::with_capacity(rows.len());
        for row in &rows {
            ids.push(row.try_get("id")?);
        }
        let Some(last) = ids.last() else { break };
        after = *last;
        let mut of_runs = OfRuns::read(reading, &ids).await?;
        for (row, id) in rows.iter().zip(&ids) {
            runs += 1;
            walk.pass_over(Some(*id), findings).await?;
            let tale = walk.tell(*id, findings).await?;
            compare(row, *id, &tale, &definitions, findings)?;
            of_runs.compare(*id, &tale, findings);
        }
        walk.beside.blobs.find(reading, true, findings).await?;
    }
    walk.pass_over(None, findings).await?;
    walk.finish(findings).await?;
    let count = walk.count;
    walk.beside.finish(reading, findings).await?;
    Ok((runs, count))
}

struct Walk<'w, 'i> {
    reading: &'w Reading<'i>,
    records: Records,
    beside: Beside,
    /// Where the logs of no run end, those that were read.
    system: HashMap<Uuid, Tale>,
    count: u64,
}

impl Walk<'_, '_> {
    /// Reads the records of one run.
    async fn tell(&mut self, run: Uuid, findings: &mut Findings) -> Result<Tale, Error> {
        let system = self.reading.inner.installation.is_system(run);
        let mut tale = Tale::new(run, system)?;
        while self
            .records
            .peek(self.reading)
            .await?
            .is_some_and(|stored| stored.run == run)
        {
            let Some(stored) = self.records.next(self.reading).await? else {
                break;
            };
            if let Some(record) = tale.take(&stored, findings) {
                self.beside.take(&record, findings);
            }
            self.beside
                .blobs
                .find(self.reading, false, findings)
                .await?;
        }
        self.count += tale.records;
        Ok(tale)
    }

    /// Reads records up to a run: the system log, and whatever belongs to no run.
    async fn pass_over(
        &mut self,
        until: Option<Uuid>,
        findings: &mut Findings,
    ) -> Result<(), Error> {
        while let Some(stored) = self.records.peek(self.reading).await? {
            let (run, seq) = (stored.run, stored.seq);
            if until.is_some_and(|until| run >= until) {
                return Ok(());
            }
            let tale = self.tell(run, findings).await?;
            if self.reading.inner.installation.is_system(run) {
                self.system.insert(run, tale);
            } else {
                let text = format!("{} records belong to no run", tale.records);
                findings.add(Fault::RecordsWithoutRun, Some(run), Some(seq), text);
            }
        }
        Ok(())
    }

    /// Compares the logs of no run with their heads.
    async fn finish(&self, findings: &mut Findings) -> Result<(), Error> {
        let rows = self.reading.query(sql::SYSTEM_HEADS, &[]).await?;
        let installation = &self.reading.inner.installation;
        for run in installation.system_runs() {
            let name = match run == installation.system_run {
                true => "system log",
                false => "keyring",
            };
            let Some(row) = rows.iter().find(|row| row.get::<_, Uuid>(0) == run) else {
                let text = format!("the row of the {name} is missing");
                findings.add(Fault::SystemHead, None, None, text);
                continue;
            };
            let seq: i64 = row.try_get(1)?;
            let head: &[u8] = row.try_get(2)?;
            let tale = self.system.get(&run);
            let whole = tale.is_none_or(Tale::is_whole);
            let (count, last) = tale.map_or((0, Hash::ZERO), Tale::head);
            if whole && (seq != count || head != last.as_bytes().as_slice()) {
                let text = format!("the head is {seq}, the last record {count} {last}, {name}");
                findings.add(Fault::SystemHead, Some(run), Some(count), text);
            }
        }
        Ok(())
    }
}

type Definitions = HashMap<Hash, Option<Definition>>;

/// Reads every definition and compares each with its digest and its columns.
async fn definitions(reading: &Reading<'_>, findings: &mut Findings) -> Result<Definitions, Error> {
    let mut definitions = HashMap::new();
    for row in &reading.query(sql::CHECK_DEFINITIONS, &[]).await? {
        let digest: &[u8] = row.try_get(0)?;
        let saga: &str = row.try_get(1)?;
        let version: i32 = row.try_get(2)?;
        let canonical: &[u8] = row.try_get(3)?;
        let mut add = |how: &str| {
            let text = format!("definition {saga} version {version} {how}");
            findings.add(Fault::Definition, None, None, text);
        };
        let Ok(digest) = Hash::try_from(digest) else {
            add("has no digest");
            continue;
        };
        let definition = match Definition::from_canonical(canonical) {
            _ if Hash::of(canonical) != digest => {
                add("has other bytes than its digest says");
                None
            }
            Err(problem) => {
                add(&format!("cannot be read: {problem}"));
                None
            }
            Ok(definition) => {
                if definition.saga.as_str() != saga
                    || i64::from(definition.version) != i64::from(version)
                {
                    add("has another name or version in its bytes");
                }
                Some(definition)
            }
        };
        definitions.insert(digest, definition);
    }
    Ok(definitions)
}

fn compare(
    row: &Row,
    run: Uuid,
    tale: &Tale,
    definitions: &Definitions,
    findings: &mut Findings,
) -> Result<(), Error> {
    let exclusive: bool = row.try_get("exclusive")?;
    let row = match RunRow::read(row) {
        Ok(row) => row,
        Err(error) => {
            findings.add(Fault::RunState, Some(run), None, error.to_string());
            return Ok(());
        }
    };
    let definition = match definitions.get(&row.definition) {
        Some(definition) => definition.as_ref(),
        None => {
            let text = format!("definition {} of the run is not there", row.definition);
            findings.add(Fault::Definition, Some(run), None, text);
            None
        }
    };
    tale.compare(&row, exclusive, definition, findings);
    Ok(())
}
