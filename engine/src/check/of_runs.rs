//! Plans and refusals of a page of runs, each both ways.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use redress_ledger::Hash;
use redress_sql as sql;
use serde_json::{Value, json};
use uuid::Uuid;

use super::model::{Fault, Findings};
use super::tale::Tale;
use crate::error::Error;
use crate::plan::Plan;
use crate::view::Reading;

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
