//! Believes a release only when those whom this machine trusts have signed it: the switch by number, a hold by id.
//!
//! **Invariant:** no COMMIT of a forward phase, a start or an automatic compensation is sent under a switch_no whose
//! release was not verified here, against the local trust roots; nor is a run driven past a released hold whose
//! release was not. What the database says of a release is only where its envelope is looked for.
//!
//! **What can go wrong:** no trust roots, or roots that do not know the key any more: nothing goes on here. A person
//! with a key that these roots know signs the release once more; that is possible although the database says "released".

use std::collections::HashSet;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};

use redress_ledger::decision::{Expected, Purpose};
use redress_ledger::quorum::{Quorum, Signer, one_sovereign, quorum_missing};
use redress_ledger::{Envelope, Kind, Record};
use redress_sql as sql;
use serde_json::Value;
use uuid::Uuid;

use crate::db::{DbError, Session};
use crate::engine::Inner;
use crate::error::Error;
use crate::hold::Hold;
use crate::keyring::Trusted;
use crate::lift::quorum_of;
use crate::run::Live;
use crate::telemetry::Told;

/// The switch as it was installed: nobody killed, so nobody had to release.
const INSTALLED: i64 = 1;

/// What this process has verified. A number is never used again and a hold is never set again, so nothing is forgotten.
pub(crate) struct Proven {
    switch_no: AtomicI64,
    holds: Mutex<HashSet<Uuid>>,
}

impl Default for Proven {
    fn default() -> Self {
        Self {
            switch_no: AtomicI64::new(INSTALLED),
            holds: Mutex::default(),
        }
    }
}

impl Proven {
    fn holds(&self) -> std::sync::MutexGuard<'_, HashSet<Uuid>> {
        self.holds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Refuses a switch_no whose release is not proven; asks the database only about a number that is new here.
    pub(crate) async fn prove_switch(
        &self,
        session: &Session,
        switch_no: i64,
    ) -> Result<(), Error> {
        if switch_no == INSTALLED || self.proven.switch_no.load(Ordering::Relaxed) == switch_no {
            return Ok(());
        }
        let records = self.system_records(session).await?;
        let trusted = self.trusted_if_any(session).await?;
        self.switch_proof(trusted.as_deref(), &records, switch_no)
            .map_err(|why| unproven(format!("switch {switch_no}"), why))?;
        self.proven.switch_no.store(switch_no, Ordering::Relaxed);
        tracing::info!(switch_no, "the switch's release is verified");
        Ok(())
    }

    /// Refuses a run while the switch or a released hold that would bear on it is not proven to be released.
    pub(crate) async fn heed_releases(
        &self,
        session: &Session,
        run: Uuid,
        saga: &str,
        subject: Option<&str>,
    ) -> Result<(), Error> {
        let released = self.prepare(session, sql::RELEASED_ON_RUN).await?;
        let row = session
            .query_one(&released, &[&saga, &subject, &run])
            .await
            .map_err(DbError::from)?;
        let switch_no: Option<i64> = row.try_get(0).map_err(DbError::from)?;
        let holds: Vec<Uuid> = row.try_get(1).map_err(DbError::from)?;
        if let Some(switch_no) = switch_no {
            self.prove_switch(session, switch_no).await?;
        }
        self.prove_holds(session, &holds).await
    }

    /// The same for a run that stands.
    pub(crate) async fn heed_releases_for(
        &self,
        session: &Session,
        live: &Live,
    ) -> Result<(), Error> {
        let row = &live.row;
        self.heed_releases(session, row.id, &row.saga, row.subject.as_deref())
            .await
    }

    /// Refuses when one of these released holds is not proven to be released.
    pub(crate) async fn prove_holds(&self, session: &Session, ids: &[Uuid]) -> Result<(), Error> {
        let new: Vec<Uuid> = {
            let known = self.proven.holds();
            ids.iter()
                .copied()
                .filter(|id| !known.contains(id))
                .collect()
        };
        if new.is_empty() {
            return Ok(());
        }
        let records = self.system_records(session).await?;
        let holds = self.all_holds(session).await?;
        let trusted = self.trusted_if_any(session).await?;
        for id in new {
            let hold = holds.iter().map(|(hold, _)| hold).find(|h| h.id == id);
            let hold = hold.ok_or_else(|| Error::Inconsistent(format!("hold {id} is gone")))?;
            let quorum = self.release_quorum(session, hold).await?;
            self.hold_proof(trusted.as_deref(), &records, hold, &quorum)
                .map_err(|why| unproven(format!("hold {id}"), why))?;
            self.proven.holds().insert(id);
        }
        Ok(())
    }

    /// Who must sign a hold's release: what the file of the run that set it lists, else one sovereign.
    pub(crate) async fn release_quorum(
        &self,
        session: &Session,
        hold: &Hold,
    ) -> Result<Quorum, Error> {
        let Some(run) = hold.run else {
            return Ok(one_sovereign());
        };
        let row = self.run_row(session, run).await?;
        let loaded = self.load(session, row.definition).await?;
        Ok(quorum_of(&loaded.definition, "release"))
    }

    /// The system log; what cannot be read in it proves nothing.
    async fn system_records(&self, session: &Session) -> Result<Vec<Record>, Error> {
        let read = self.prepare(session, sql::RECORDS_OF_RUN).await?;
        let rows = session
            .query(&read, &[&self.installation.system_run, &0_i64])
            .await
            .map_err(DbError::from)?;
        let mut records = Vec::with_capacity(rows.len());
        for row in &rows {
            let bytes: Vec<u8> = row.try_get("bytes").map_err(DbError::from)?;
            records.extend(Record::decode(&bytes));
        }
        Ok(records)
    }

    fn switch_proof(
        &self,
        trusted: Option<&Trusted>,
        records: &[Record],
        switch_no: i64,
    ) -> Result<(), String> {
        let named = |record: &Record| {
            record.kind == Kind::SwitchReleased && number(record, "released_as") == Some(switch_no)
        };
        self.any_proof(records, named, trusted, |trust, earlier, record| {
            let released = number(record, "released").unwrap_or_default();
            // 0: its row was missing; the number went on after the last one that any record names.
            if released != 0 && released + 1 != switch_no {
                return Err(format!("the decision is about switch {released}"));
            }
            let killer = earlier
                .iter()
                .rev()
                .find(|r| r.kind == Kind::SwitchKilled && number(r, "switch_no") == Some(released));
            let mut expected = self.expected(Purpose::SwitchRelease, record);
            expected.switch_no = Some(released);
            let by = killer.map(|r| r.actor.as_str());
            proof(trust, earlier, record, &expected, &one_sovereign(), by)
        })
    }

    fn hold_proof(
        &self,
        trusted: Option<&Trusted>,
        records: &[Record],
        hold: &Hold,
        quorum: &Quorum,
    ) -> Result<(), String> {
        let id = hold.id.to_string();
        let named = |record: &Record| {
            record.kind == Kind::HoldReleased
                && record.body.get("hold").and_then(Value::as_str) == Some(id.as_str())
        };
        self.any_proof(records, named, trusted, |trust, earlier, record| {
            let mut expected = self.expected(Purpose::HoldRelease, record);
            expected.hold = Some(hold.id);
            let by = Some(hold.by.as_str());
            proof(trust, earlier, record, &expected, quorum, by)
        })
    }

    /// What a decision must be made for; one of an older generation was, and is judged by its keys.
    fn expected<'a>(&'a self, purpose: Purpose, record: &'a Record) -> Expected<'a> {
        let installation = &self.installation;
        Expected::new(purpose, &installation.origin, record.generation, &record.at)
    }

    /// Whether any of the records that `named` picks is proven; else why the last one is not.
    fn any_proof(
        &self,
        records: &[Record],
        named: impl Fn(&Record) -> bool,
        trusted: Option<&Trusted>,
        judge: impl Fn(&Trusted, &[Record], &Record) -> Result<(), String>,
    ) -> Result<(), String> {
        let trust = trusted.ok_or(
            "no trust roots are configured here to verify it with, give --trust FILE or REDRESS_TRUST",
        )?;
        let mut verdict = Err("the system log has no signed decision for it".to_owned());
        for (index, record) in records.iter().enumerate() {
            if named(record) {
                verdict = judge(trust, &records[..index], record);
                if verdict.is_ok() {
                    break;
                }
            }
        }
        verdict
    }
}

fn number(record: &Record, field: &str) -> Option<i64> {
    record.body.get(field).and_then(Value::as_i64)
}

/// Whether the record's envelope, with those of decisions before it, is a quorum for the act. Neither who asked nor
/// `by`, who stopped the work, counts.
fn proof(
    trust: &Trusted,
    earlier: &[Record],
    record: &Record,
    expected: &Expected<'_>,
    quorum: &Quorum,
    by: Option<&str>,
) -> Result<(), String> {
    let (mut signers, requester) = signed(trust, record, expected)?;
    for record in earlier.iter().filter(|r| r.kind == Kind::Decision) {
        if let Ok((more, _)) = signed(trust, record, expected) {
            signers.extend(more);
        }
    }
    signers.retain(|signer| Some(signer.principal.as_str()) != by);
    quorum_missing(quorum, &signers, &requester).map_err(|missing| missing.to_string())
}

/// Who signed a record's decision on the act, and who asked for it. The decision must stand in the record under its
/// own id, which the database accepts once: so no envelope counts in two records.
fn signed(
    trust: &Trusted,
    record: &Record,
    expected: &Expected<'_>,
) -> Result<(Vec<Signer>, String), String> {
    let envelope = record.body.get("envelope").unwrap_or(&Value::Null);
    let envelope = Envelope::from_value(envelope).map_err(|error| error.to_string())?;
    let verified = trust
        .verify_in(record, &envelope)
        .map_err(|error| error.to_string())?;
    let decision = verified.decision;
    decision
        .check(expected)
        .map_err(|error| error.to_string())?;
    let id = decision.id.to_string();
    if record.body.get("decision_id").and_then(Value::as_str) != Some(id.as_str()) {
        return Err(format!("decision {id} stands in a record under another id"));
    }
    Ok((verified.signers, decision.requester))
}

fn unproven(what: String, why: String) -> Error {
    let error = Error::ReleaseUnproven { what, why };
    tracing::error!(code = error.code(), error = %Told(&error), "nothing goes on");
    error
}

/// Whether what stands as released is proven to be.
pub(crate) fn stands_released(proven: Result<(), Error>) -> Result<bool, Error> {
    match proven {
        Ok(()) => Ok(true),
        Err(Error::ReleaseUnproven { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}
