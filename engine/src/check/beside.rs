//! What lies beside the records: holds, the switch, used decisions, blobs, plans and refusals, each both ways.
//!
//! **Invariant:** a row without its record and a record without its row are both found.
//!
//! **What can go wrong:** memory: the id and one hash of each hold, and the id of each decision, are kept until the end.
//! Everything else goes page by page.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use redress_ledger::blob::BlobRef;
use redress_ledger::{Hash, Kind, Record};
use redress_sql as sql;
use serde_json::{Value, json};
use tokio_postgres::Row;
use uuid::Uuid;

use super::model::{Fault, Findings};
use super::tale::Tale;
use crate::error::Error;
use crate::plan::Plan;
use crate::view::Reading;

/// Blobs that are asked for at once.
const BLOBS_A_PAGE: usize = 500;
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

/// A blob that a record names.
struct BlobSaid {
    blob: BlobRef,
    run: Uuid,
    seq: i64,
}

/// Gathers what records say about the tables beside them.
#[derive(Default)]
pub(super) struct Beside {
    holds: HashMap<Uuid, HoldSaid>,
    decisions: HashMap<Uuid, (Uuid, i64)>,
    blobs: Vec<BlobSaid>,
    blobs_found: i64,
    blobs_missing: Vec<BlobSaid>,
    erased: HashSet<Uuid>,
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
        for value in body
            .as_object()
            .into_iter()
            .flat_map(|fields| fields.values())
        {
            if let Ok(Some(blob)) = BlobRef::from_value(value) {
                self.blobs.push(BlobSaid {
                    blob,
                    run: record.run,
                    seq: record.seq,
                });
            }
        }
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
            Kind::BlobErased => self.erased.extend(id("blob")),
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

    /// Asks for the blobs that were named since the last time.
    pub async fn find_blobs(
        &mut self,
        reading: &Reading<'_>,
        all: bool,
        findings: &mut Findings,
    ) -> Result<(), Error> {
        if self.blobs.is_empty() || (!all && self.blobs.len() < BLOBS_A_PAGE) {
            return Ok(());
        }
        let said = std::mem::take(&mut self.blobs);
        for page in said.chunks(BLOBS_A_PAGE) {
            let ids: Vec<Uuid> = page.iter().map(|said| said.blob.id).collect();
            let rows = reading.query(sql::CHECK_BLOBS, &[&ids]).await?;
            let mut found = HashMap::with_capacity(rows.len());
            for row in &rows {
                found.insert(row.try_get::<_, Uuid>(0)?, row);
            }
            for said in page {
                match found.get(&said.blob.id) {
                    Some(row) => {
                        self.blobs_found += 1;
                        judge_blob(said, row, findings)?;
                    }
                    None => self.blobs_missing.push(BlobSaid {
                        blob: said.blob.clone(),
                        ..*said
                    }),
                }
            }
        }
        Ok(())
    }

    /// Compares with the tables what could only be compared once every record was read.
    pub async fn finish(
        mut self,
        reading: &Reading<'_>,
        findings: &mut Findings,
    ) -> Result<(), Error> {
        self.find_blobs(reading, true, findings).await?;
        self.finish_blobs(reading, findings).await?;
        self.finish_holds(reading, findings).await?;
        self.finish_decisions(reading, findings).await?;
        self.finish_switch(reading, findings).await?;
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

    async fn finish_blobs(
        &mut self,
        reading: &Reading<'_>,
        findings: &mut Findings,
    ) -> Result<(), Error> {
        for said in &self.blobs_missing {
            if !self.erased.contains(&said.blob.id) {
                let text = format!("blob {} is missing and was not erased", said.blob.id);
                findings.add(Fault::Blob, Some(said.run), Some(said.seq), text);
            }
        }
        let count = reading.query(sql::COUNT_BLOBS, &[]).await?;
        let count: i64 = count.first().map_or(Ok(0), |row| row.try_get(0))?;
        // Looking for them costs a search through each blob's run: only when the numbers say that there are any.
        if count == self.blobs_found {
            return Ok(());
        }
        let rows = reading
            .query(sql::UNREFERENCED_BLOBS, &[&ORPHANS_MAX])
            .await?;
        for row in &rows {
            let (id, run): (Uuid, Uuid) = (row.try_get(0)?, row.try_get(1)?);
            let text = format!("no record of its run names blob {id}");
            findings.add(Fault::BlobUnreferenced, Some(run), None, text);
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

fn judge_blob(
    said: &BlobSaid,
    row: &Row,
    findings: &mut Findings,
) -> Result<(), tokio_postgres::Error> {
    let run: Uuid = row.try_get("run")?;
    let len: i64 = row.try_get("len")?;
    let commitment: &[u8] = row.try_get("commitment")?;
    let fits: bool = row.try_get("fits")?;
    let same = commitment == said.blob.commitment.as_bytes().as_slice();
    let how = if run != said.run {
        "belongs to another run"
    } else if !fits || !same {
        "does not fit its commitment"
    } else if len != said.blob.len {
        "has another length"
    } else {
        return Ok(());
    };
    let text = format!("blob {} {how}", said.blob.id);
    findings.add(Fault::Blob, Some(said.run), Some(said.seq), text);
    Ok(())
}

/// The plans and refusals of a page of runs, as the tables have them.
#[derive(Default)]
pub(super) struct OfRuns {
    plans: HashMap<Uuid, BTreeMap<Hash, (i64, Vec<u8>)>>,
    refusals: HashMap<Uuid, BTreeSet<(String, String, Hash)>>,
}

impl OfRuns {
    /// Reads them.
    pub async fn read(reading: &Reading<'_>, runs: &[Uuid]) -> Result<Self, Error> {
        let mut of = Self::default();
        for row in &reading.query(sql::PLANS_OF_RUNS, &[&runs]).await? {
            let digest: Vec<u8> = row.try_get(1)?;
            let digest = Hash::try_from(digest.as_slice()).unwrap_or(Hash::ZERO);
            let plan = (row.try_get(2)?, row.try_get(3)?);
            of.plans
                .entry(row.try_get(0)?)
                .or_default()
                .insert(digest, plan);
        }
        for row in &reading.query(sql::REFUSALS_OF_RUNS, &[&runs]).await? {
            let basis: Vec<u8> = row.try_get(3)?;
            let basis = Hash::try_from(basis.as_slice()).unwrap_or(Hash::ZERO);
            let refusal = (row.try_get(1)?, row.try_get(2)?, basis);
            of.refusals
                .entry(row.try_get(0)?)
                .or_default()
                .insert(refusal);
        }
        Ok(of)
    }

    /// Compares one run's with what its records say.
    pub fn compare(&mut self, run: Uuid, tale: &Tale, findings: &mut Findings) {
        if !tale.is_whole() {
            return;
        }
        let plans = self.plans.remove(&run).unwrap_or_default();
        for (digest, (basis_seq, canonical)) in &plans {
            let fault = match tale.plans.get(digest) {
                None => Some((None, "no record made it".to_owned())),
                Some((seq, basis)) => {
                    misfit(run, *digest, *basis_seq, canonical, basis).map(|why| (Some(*seq), why))
                }
            };
            if let Some((seq, why)) = fault {
                findings.add(Fault::Plan, Some(run), seq, format!("plan {digest}: {why}"));
            }
        }
        for (digest, (seq, _)) in &tale.plans {
            if !plans.contains_key(digest) {
                let text = format!("plan {digest} was made and is not there");
                findings.add(Fault::Plan, Some(run), Some(*seq), text);
            }
        }
        let refusals = self.refusals.remove(&run).unwrap_or_default();
        for (actor, code, _) in refusals.symmetric_difference(&tale.refusals) {
            let text = format!("refusal {code} of {actor} is not both noted and recorded");
            findings.add(Fault::Refusal, Some(run), None, text);
        }
    }
}

/// Why a stored plan is not the one that the record names.
fn misfit(
    run: Uuid,
    digest: Hash,
    basis_seq: i64,
    canonical: &[u8],
    basis: &Value,
) -> Option<String> {
    if Hash::of(canonical) != digest {
        return Some("its bytes have another digest".to_owned());
    }
    let plan = match Plan::from_canonical(canonical) {
        Ok(plan) => plan,
        Err(error) => return Some(error.to_string()),
    };
    let stated = json!({"seq": plan.basis.seq, "hash": plan.basis.hash.to_string()});
    if plan.run != run {
        Some("it is of another run".to_owned())
    } else if plan.basis.seq != basis_seq || *basis != stated {
        Some("it has another basis".to_owned())
    } else {
        None
    }
}
