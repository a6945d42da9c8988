//! What lies beside the records: holds, the switch and used decisions, each both ways.
//!
//! **Invariant:** a row without its record and a record without its row are both found.
//!
//! **What can go wrong:** memory: the id and one hash of each hold, and the id of each decision, are kept until the end.
//! Everything else goes page by page.

use std::collections::HashMap;

use redress_ledger::keyring::Archived;
use redress_ledger::{Hash, Kind, Record};
use redress_sql as sql;
use serde_json::{Value, json};
use tokio_postgres::Row;
use uuid::Uuid;

use super::blobs::Blobs;
use super::executions::Executions;
use super::model::{Fault, Findings};
use crate::error::Error;
use crate::view::Reading;

/// Holds and decisions that are read at once.
const ROWS_A_PAGE: i64 = 1_000;
/// Rows without a run that are named.
const ORPHANS_MAX: i64 = 100;

/// What the records say of a hold.
#[derive(Default)]
struct HoldSaid {
    set: Option<(Uuid, i64, Hash)>,
    released: Option<(i64, String)>,
}

/// What the last record of the switch says.
struct SwitchSaid {
    seq: i64,
    state: String,
    switch_no: Option<i64>,
    by: String,
}

/// Gathers what records say about the tables beside them.
#[derive(Default)]
pub(super) struct Beside {
    holds: HashMap<Uuid, HoldSaid>,
    decisions: HashMap<Uuid, (Uuid, i64)>,
    pub blobs: Blobs,
    archived: HashMap<(i64, i64), Archived>,
    executions: Executions,
    switch: Option<SwitchSaid>,
    switch_no_max: i64,
}

impl Beside {
    /// Takes what a record says.
    pub fn take(&mut self, record: &Record, findings: &mut Findings) {
        let body = &record.body;
        let text = |name: &str| body.get(name).and_then(Value::as_str);
        let id = |name: &str| text(name).and_then(|id| id.parse::<Uuid>().ok());
        self.switch_no_max = self.switch_no_max.max(record.switch_no);
        if let Some(decision) = id("decision_id") {
            let place = (record.run, record.seq);
            if let Some(before) = self.decisions.insert(decision, place) {
                let text = format!(
                    "decision {decision} was used before, at {}",
                    place_text(before)
                );
                findings.add(Fault::DecisionUse, Some(place.0), Some(place.1), text);
            }
        }
        self.blobs.take(record);
        match record.kind {
            Kind::HoldSet => {
                if let Some(hold) = id("hold") {
                    let fields = hold_fields(
                        [text("scope"), text("target"), text("run")],
                        [text("reason"), text("code"), Some(&record.actor)],
                    );
                    self.holds.entry(hold).or_default().set =
                        Some((record.run, record.seq, fields));
                }
            }
            Kind::HoldReleased => {
                if let Some(hold) = id("hold") {
                    self.holds.entry(hold).or_default().released =
                        Some((record.seq, record.actor.clone()));
                }
            }
            Kind::SwitchKilled | Kind::SwitchReleased => self.take_switch(record),
            Kind::RunbookStep => self.executions.take(record),
            Kind::RunsArchived => {
                let act = body.as_object().map(Archived::from_body);
                if let Some(Ok(act)) = act {
                    self.archived.insert((record.generation, record.seq), act);
                }
            }
            _ => {}
        }
    }

    fn take_switch(&mut self, record: &Record) {
        let killed = record.kind == Kind::SwitchKilled;
        let number = if killed { "switch_no" } else { "released_as" };
        let state = record.body.get("state").and_then(Value::as_str);
        self.switch = Some(SwitchSaid {
            seq: record.seq,
            state: if killed {
                state.unwrap_or("killed")
            } else {
                "run"
            }
            .to_owned(),
            switch_no: record.body.get(number).and_then(Value::as_i64),
            by: record.actor.clone(),
        });
    }

    /// Compares with the tables what could only be compared once every record was read.
    pub async fn finish(
        mut self,
        reading: &Reading<'_>,
        findings: &mut Findings,
    ) -> Result<(), Error> {
        std::mem::take(&mut self.blobs)
            .finish(reading, findings)
            .await?;
        self.executions.finish(reading, findings).await?;
        self.finish_holds(reading, findings).await?;
        self.finish_decisions(reading, findings).await?;
        self.finish_switch(reading, findings).await?;
        self.finish_archived(reading, findings).await?;
        let orphans = reading
            .query(sql::PLANS_WITHOUT_RUN, &[&ORPHANS_MAX])
            .await?;
        for row in &orphans {
            let run = row.try_get(0)?;
            findings.add(
                Fault::Plan,
                Some(run),
                None,
                "a plan of a run that is not there",
            );
        }
        let orphans = reading
            .query(sql::REFUSALS_WITHOUT_RUN, &[&ORPHANS_MAX])
            .await?;
        for row in &orphans {
            let run = row.try_get(0)?;
            let text = "a refusal of a run that is not there";
            findings.add(Fault::Refusal, Some(run), None, text);
        }
        Ok(())
    }

    async fn finish_holds(
        &mut self,
        reading: &Reading<'_>,
        findings: &mut Findings,
    ) -> Result<(), Error> {
        let mut after = Uuid::nil();
        loop {
            let rows = reading
                .query(sql::CHECK_HOLDS, &[&after, &ROWS_A_PAGE])
                .await?;
            let Some(last) = rows.last() else { break };
            after = last.try_get(0)?;
            for row in &rows {
                let id: Uuid = row.try_get(0)?;
                let said = self.holds.remove(&id).unwrap_or_default();
                judge_hold(id, &said, row, findings)?;
            }
        }
        for (id, said) in &self.holds {
            let (run, seq) = match (&said.set, &said.released) {
                (Some((run, seq, _)), _) => (*run, *seq),
                (None, released) => (
                    reading.inner.installation.system_run,
                    released.as_ref().map_or(0, |(seq, _)| *seq),
                ),
            };
            let text = format!("hold {id} has a record and no row: it does not hold");
            findings.add(Fault::HoldMissing, Some(run), Some(seq), text);
        }
        Ok(())
    }

    async fn finish_decisions(
        &mut self,
        reading: &Reading<'_>,
        findings: &mut Findings,
    ) -> Result<(), Error> {
        let mut after = Uuid::nil();
        loop {
            let rows = reading
                .query(sql::CHECK_DECISIONS, &[&after, &ROWS_A_PAGE])
                .await?;
            let Some(last) = rows.last() else { break };
            after = last.try_get(0)?;
            for row in &rows {
                let id: Uuid = row.try_get(0)?;
                let place: (Uuid, i64) = (row.try_get(1)?, row.try_get(2)?);
                let said = self.decisions.remove(&id);
                // Where it was used is archived; that it was, is not forgotten.
                let gone: bool = row.try_get(3)?;
                if said.is_none() && gone {
                    continue;
                }
                if said != Some(place) {
                    let text = match said {
                        Some(said) => format!(
                            "decision {id} is noted elsewhere than used, at {}",
                            place_text(said)
                        ),
                        None => format!("decision {id} is noted as used, and no record has it"),
                    };
                    findings.add(Fault::DecisionUse, Some(place.0), Some(place.1), text);
                }
            }
        }
        for (id, (run, seq)) in &self.decisions {
            let text = format!("decision {id} is not noted as used: it could be used again");
            findings.add(Fault::DecisionUse, Some(*run), Some(*seq), text);
        }
        Ok(())
    }

    /// The runs that are gone are those that the root let go, and all of them are.
    async fn finish_archived(
        &mut self,
        reading: &Reading<'_>,
        findings: &mut Findings,
    ) -> Result<(), Error> {
        for row in &reading.query(sql::CHECK_ARCHIVED, &[]).await? {
            let (generation, seq): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
            let counted = |name: &str| -> Result<u64, tokio_postgres::Error> {
                Ok(u64::try_from(row.try_get::<_, i64>(name)?).unwrap_or_default())
            };
            let (runs, records) = (counted("runs")?, counted("records")?);
            findings.archived += runs;
            let digest: &[u8] = row.try_get("digest")?;
            match self.archived.remove(&(generation, seq)) {
                None => findings.add(
                    Fault::Archived,
                    None,
                    None,
                    format!("{runs} runs are gone, and no decision {seq} let them go"),
                ),
                Some(act)
                    if (act.runs, act.records) != (runs, records)
                        || digest != act.digest.as_bytes().as_slice() =>
                {
                    let text = format!(
                        "{runs} runs with {records} records are gone, and others were decided about"
                    );
                    findings.add(Fault::Archived, None, Some(seq), text);
                }
                Some(_) => {}
            }
            let (unsealed, back) = (counted("unsealed")?, counted("back")?);
            if unsealed > 0 || back > 0 {
                let text = format!(
                    "of the runs that left by decision {seq}, {unsealed} end otherwise than sealed and {back} are not gone"
                );
                findings.add(Fault::Archived, None, Some(seq), text);
            }
        }
        for ((generation, seq), act) in &self.archived {
            let text = format!(
                "{} runs were let go by decision {seq} of generation {generation}, and nothing says that they left",
                act.runs
            );
            findings.add(Fault::Archived, None, Some(*seq), text);
        }
        Ok(())
    }

    async fn finish_switch(
        &self,
        reading: &Reading<'_>,
        findings: &mut Findings,
    ) -> Result<(), Error> {
        let system = reading.inner.installation.system_run;
        let seq = self.switch.as_ref().map(|said| said.seq);
        let mut add = |text: String| findings.add(Fault::Switch, Some(system), seq, text);
        let Some(switch) = reading.inner.read_switch(reading).await? else {
            add("the switch row is missing, which counts as killed".to_owned());
            return Ok(());
        };
        let state = self
            .switch
            .as_ref()
            .map_or("run", |said| said.state.as_str());
        if switch.state != state {
            add(format!(
                "the switch is {:?}, the log says {state:?}",
                switch.state
            ));
        }
        // A switch that nobody ever moved is as it was installed.
        let number = self.switch.as_ref().map_or(Some(1), |said| said.switch_no);
        if number.is_some_and(|number| number != switch.switch_no)
            || switch.switch_no < self.switch_no_max
        {
            let should = number.unwrap_or(self.switch_no_max);
            add(format!(
                "switch_no is {}, the log says {should}",
                switch.switch_no
            ));
        }
        if let Some(said) = &self.switch
            && said.by != switch.by
        {
            add(format!(
                "the switch is by {:?}, the log says {:?}",
                switch.by, said.by
            ));
        }
        Ok(())
    }
}

fn place_text((run, seq): (Uuid, i64)) -> String {
    format!("record {seq} of run {run}")
}

/// The fields of a hold that never change, as one value.
fn hold_fields(target: [Option<&str>; 3], cause: [Option<&str>; 3]) -> Hash {
    Hash::of(json!([target, cause]).to_string().as_bytes())
}

fn judge_hold(
    id: Uuid,
    said: &HoldSaid,
    row: &Row,
    findings: &mut Findings,
) -> Result<(), tokio_postgres::Error> {
    let text = |name: &str| row.try_get::<_, Option<String>>(name);
    let run: Option<Uuid> = row.try_get("run")?;
    let run_text = run.map(|run| run.to_string());
    let fields = hold_fields(
        [
            text("scope")?.as_deref(),
            text("target")?.as_deref(),
            run_text.as_deref(),
        ],
        [
            text("reason")?.as_deref(),
            text("code")?.as_deref(),
            text("by")?.as_deref(),
        ],
    );
    let Some((of, seq, stated)) = said.set else {
        // The run that caused it is archived, which nothing in force allows.
        let by = said.released.as_ref().map(|(_, by)| by.clone());
        if row.try_get("archived")? && by.is_some() && by == text("released_by")? {
            return Ok(());
        }
        let text = format!("no record set hold {id}");
        findings.add(Fault::HoldWithoutRecord, run, None, text);
        return Ok(());
    };
    let mut add = |text: String| findings.add(Fault::HoldDiffers, Some(of), Some(seq), text);
    if fields != stated {
        add(format!("the row of hold {id} is not what its record says"));
    }
    let released_by = text("released_by")?;
    match (&said.released, row.try_get::<_, bool>("released")?) {
        (None, true) => add(format!("hold {id} is released, and no record released it")),
        (Some(_), false) => add(format!("hold {id} is in force, and a record released it")),
        (Some((_, by)), true) if released_by.as_ref() != Some(by) => {
            add(format!(
                "hold {id} is released by {released_by:?}, the log says {by:?}"
            ));
        }
        _ => {}
    }
    Ok(())
}
