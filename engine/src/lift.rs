//! Releases a hold or the switch by signed decisions, once those who signed are enough.
//!
//! **Invariant:** a release needs a signed decision, bound to the hold or to the switch_no in force, verified here
//! against the local trust roots before it is committed. Whether others believe it is theirs to judge (`release`).

use redress_ledger::decision::{Decision, Expected, Purpose};
use redress_ledger::key::SigningKey;
use redress_ledger::quorum::{Quorum, Signer, one_sovereign, quorum_missing};
use redress_ledger::{Envelope, Kind, Record, sign};
use redress_sql as sql;
use serde_json::json;
use uuid::Uuid;

use crate::bound::check_text;
use crate::crash;
use crate::db::{DbError, Session};
use crate::definition::{Authority, Definition};
use crate::engine::{Engine, Inner};
use crate::error::Error;
use crate::release::stands_released;
use crate::run::Live;

/// How long a decision that is made and used at once stays valid.
pub(crate) const DECISION_VALID: jiff::SignedDuration = jiff::SignedDuration::from_hours(24);

/// What came of a signature on a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Released {
    /// It is released.
    Done,
    /// The signature counts; these are still missing.
    Missing(String),
}

struct Release {
    purpose: Purpose,
    hold: Option<Uuid>,
    /// The hold is lifted already, by somebody who had no decision for it.
    lifted: bool,
    switch_no: Option<i64>,
    quorum: Quorum,
}

impl Engine {
    /// Signs the release of a hold and releases it when the quorum is complete.
    ///
    /// # Errors
    /// [`Error::UnknownHold`], [`Error::NoTrust`], [`Error::Decision`].
    pub async fn release_hold(
        &self,
        hold: Uuid,
        key: &SigningKey,
        reason: &str,
    ) -> Result<Released, Error> {
        let inner = &self.inner;
        let session = inner.session().await?;
        let holds = inner.all_holds(&session).await?;
        let Some((found, lifted)) = holds.iter().find(|(h, _)| h.id == hold) else {
            return Err(Error::UnknownHold(hold.to_string()));
        };
        if *lifted && stands_released(inner.prove_holds(&session, &[hold]).await)? {
            return Err(Error::UnknownHold(hold.to_string()));
        }
        let quorum = inner.release_quorum(&session, found).await?;
        let now = inner.now(&session).await?;
        let decision = Decision {
            hold: Some(hold),
            ..inner.decision(Purpose::HoldRelease, reason, &found.by, &now)?
        };
        let release = Release {
            purpose: Purpose::HoldRelease,
            hold: Some(hold),
            lifted: *lifted,
            switch_no: None,
            quorum,
        };
        let released = inner
            .sign_release(&session, &release, &decision, key, &found.by, &now)
            .await?;
        if released == Released::Done
            && let Some(dir) = &inner.state_dir
        {
            dir.remove_hold(&dir.hold_path(hold))?;
        }
        Ok(released)
    }

    /// Signs the release of the kill switch and releases it when the quorum is complete.
    ///
    /// # Errors
    /// [`Error::NoTrust`], [`Error::Decision`]; [`Error::WrongState`] is never returned: a switch that runs is done.
    pub async fn release_kill(&self, key: &SigningKey, reason: &str) -> Result<Released, Error> {
        let inner = &self.inner;
        let session = inner.session().await?;
        let switch = inner.read_switch(&session).await?;
        // One that runs without a decision is released as if it were a kill.
        if let Some(switch) = &switch
            && switch.state == "run"
            && stands_released(inner.prove_switch(&session, switch.switch_no).await)?
        {
            inner.remove_kill_files()?;
            return Ok(Released::Done);
        }
        let (switch_no, by) =
            switch.map_or_else(|| (0, "nobody".to_owned()), |s| (s.switch_no, s.by));
        let now = inner.now(&session).await?;
        let decision = Decision {
            switch_no: Some(switch_no),
            ..inner.decision(Purpose::SwitchRelease, reason, &by, &now)?
        };
        let release = Release {
            purpose: Purpose::SwitchRelease,
            hold: None,
            lifted: false,
            switch_no: Some(switch_no),
            quorum: one_sovereign(),
        };
        let released = inner
            .sign_release(&session, &release, &decision, key, &by, &now)
            .await?;
        if released == Released::Done {
            inner.remove_kill_files()?;
        }
        Ok(released)
    }
}

/// Who must sign an act of a run's saga: what the file lists, else one sovereign.
pub(crate) fn quorum_for(live: &Live, action: &str) -> Quorum {
    quorum_of(live.definition(), action)
}

/// The same by the file.
pub(crate) fn quorum_of(definition: &Definition, action: &str) -> Quorum {
    match definition.authority.get(action) {
        Some(Authority::Quorum(quorum)) => quorum.clone(),
        // A release always needs a signature: `auto` cannot mean that a hold lifts itself.
        Some(Authority::Auto) | None => one_sovereign(),
    }
}

impl Inner {
    /// Verifies and records one signature on a release; lifts what is to be released when the quorum is complete.
    async fn sign_release(
        &self,
        session: &Session,
        release: &Release,
        decision: &Decision,
        key: &SigningKey,
        requester: &str,
        now: &str,
    ) -> Result<Released, Error> {
        let trusted = self.trusted(session).await?;
        let envelope = sign(decision, key)?;
        let verified = trusted.verify(&envelope)?;
        let mut expected = Expected::new(
            release.purpose,
            &self.installation.origin,
            self.installation.generation,
            now,
        );
        expected.hold = release.hold;
        expected.switch_no = release.switch_no;
        verified.decision.check(&expected)?;
        let mut signers = self.earlier_signers(session, &expected).await?;
        signers.extend(verified.signers);
        let missing = quorum_missing(&release.quorum, &signers, requester);
        let kind = match (&missing, release.hold) {
            (Err(_), _) => Kind::Decision,
            (Ok(()), Some(_)) => Kind::HoldReleased,
            (Ok(()), None) => Kind::SwitchReleased,
        };
        let mut body = json!({
            "hold": release.hold.map(|hold| hold.to_string()),
            "released": release.switch_no,
            "decision_id": decision.id.to_string(),
            "envelope": envelope.to_value(),
            "keyring": trusted.seq,
            "quorum": release.quorum,
        });
        session
            .batch_execute("begin")
            .await
            .map_err(DbError::from)?;
        let result = async {
            if missing.is_ok() {
                let released_as = self.let_go(session, release, decision).await?;
                if let Some(number) = released_as {
                    body["released_as"] = json!(number);
                }
            }
            crash::point("release.before_commit");
            self.with_system_log(session, None, vec![(kind, body)], ())
                .await
        }
        .await;
        if result.is_err() {
            self.rollback(session).await;
        }
        result?;
        Ok(missing.map_or_else(
            |missing| Released::Missing(missing.to_string()),
            |()| Released::Done,
        ))
    }

    /// Lifts what is to be released, inside the open transaction. Returns the switch's new number.
    async fn let_go(
        &self,
        session: &Session,
        release: &Release,
        decision: &Decision,
    ) -> Result<Option<i64>, Error> {
        if let Some(hold) = release.hold {
            if !release.lifted {
                self.lift(session, hold).await?;
            }
            return Ok(None);
        }
        let current = self.read_switch(session).await?;
        let is = current.map_or(0, |s| s.switch_no);
        if Some(is) != release.switch_no {
            return Err(Error::Decision(
                redress_ledger::decision::DecisionError::OtherSwitch(decision.id),
            ));
        }
        self.publish_switch(session, "run", &decision.reason)
            .await
            .map(Some)
    }

    async fn lift(&self, session: &Session, hold: Uuid) -> Result<(), Error> {
        let lift = self.prepare(session, sql::LIFT_HOLD).await?;
        let row = session
            .query_one(&lift, &[&hold, &self.actor])
            .await
            .map_err(DbError::from)?;
        if row.try_get::<_, bool>(0).map_err(DbError::from)? {
            Ok(())
        } else {
            Err(Error::UnknownHold(hold.to_string()))
        }
    }

    /// Signers of earlier decisions in the system log that fit the same act and are still valid.
    async fn earlier_signers(
        &self,
        session: &Session,
        expected: &Expected<'_>,
    ) -> Result<Vec<Signer>, Error> {
        let trusted = self.trusted(session).await?;
        let read = self.prepare(session, sql::RECORDS_OF_RUN).await?;
        let rows = session
            .query(&read, &[&self.installation.system_run, &0_i64])
            .await
            .map_err(DbError::from)?;
        let mut signers = Vec::new();
        for row in &rows {
            let kind: &str = row.try_get(2).map_err(DbError::from)?;
            if kind != Kind::Decision.as_str() {
                continue;
            }
            let bytes: Vec<u8> = row.try_get("bytes").map_err(DbError::from)?;
            let Ok(record) = Record::decode(&bytes) else {
                continue;
            };
            let Some(envelope) = record
                .body
                .get("envelope")
                .and_then(|e| Envelope::from_value(e).ok())
            else {
                continue;
            };
            if let Ok(verified) = trusted.verify(&envelope)
                && verified.decision.check(expected).is_ok()
            {
                signers.extend(verified.signers);
            }
        }
        Ok(signers)
    }

    /// A decision with everything but its binding.
    pub(crate) fn decision(
        &self,
        purpose: Purpose,
        reason: &str,
        requester: &str,
        now: &str,
    ) -> Result<Decision, Error> {
        check_text("the reason", reason)?;
        Ok(Decision {
            id: Uuid::now_v7(),
            purpose,
            origin: self.installation.origin.clone(),
            generation: self.installation.generation,
            run: None,
            basis: None,
            switch_no: None,
            holds: Vec::new(),
            hold: None,
            plan: None,
            phase: None,
            reason_code: "operator".to_owned(),
            reason: reason.to_owned(),
            policy: None,
            not_after: self.valid_until(now)?,
            requester: requester.to_owned(),
        })
    }

    /// Until when what is signed now may be used.
    pub(crate) fn valid_until(&self, now: &str) -> Result<String, Error> {
        self.valid_for(now, DECISION_VALID)
    }

    /// The same for a length of time.
    pub(crate) fn valid_for(
        &self,
        now: &str,
        length: jiff::SignedDuration,
    ) -> Result<String, Error> {
        let at: jiff::Timestamp = now
            .parse()
            .map_err(|_| Error::Inconsistent(format!("time {now}")))?;
        let until = at
            .checked_add(length)
            .map_err(|error| Error::Inconsistent(error.to_string()))?;
        Ok(until.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string())
    }

    /// The database's time.
    pub(crate) async fn now(&self, session: &Session) -> Result<String, Error> {
        let row = session
            .query_one(self.sql.text(sql::NOW), &[])
            .await
            .map_err(DbError::from)?;
        Ok(row.try_get(0).map_err(DbError::from)?)
    }
}
