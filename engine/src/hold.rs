//! Hold, kill, freeze and release, in the database and as files.
//!
//! **Invariant:** kill publishes, then drains: from the commit of the switch on every entrant is refused; it returns
//! only when the earlier entrants have ended, or says who has not. A release needs a signed decision, bound to the
//! hold or to the switch_no in force, verified here against the local trust roots before it is committed.
//!
//! **What can go wrong:** the database is down: a hold file is written, this machine stops, and the error says that
//! the database is not stopped. A hold file that cannot be read holds everything.

use std::time::{Duration, Instant};

use redress_ledger::decision::{Decision, Expected, Purpose};
use redress_ledger::key::SigningKey;
use redress_ledger::quorum::{Quorum, Signer, one_sovereign, quorum_missing};
use redress_ledger::{Envelope, Kind, Record, sign};
use redress_sql as sql;
use serde_json::json;
use uuid::Uuid;

use crate::crash;
use crate::db::{DbError, Session};
use crate::definition::{Authority, Definition, HoldScope};
use crate::engine::{Engine, Inner};
use crate::error::Error;
use crate::failure::hold_body;
use crate::files::HoldFile;
use crate::release::stands_released;
use crate::run::Live;

/// How long one attempt to drain waits before it looks who is in the way.
const DRAIN_SLICE: Duration = Duration::from_millis(500);
/// How long a decision that is made and used at once stays valid.
pub(crate) const DECISION_VALID: jiff::SignedDuration = jiff::SignedDuration::from_hours(24);

/// The switch as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Switch {
    /// `run`, `killed` or `frozen`; anything else counts as killed.
    pub state: String,
    /// Raised by each kill and each release.
    pub switch_no: i64,
    /// Why.
    pub reason: String,
    /// By whom.
    pub by: String,
    /// Since when.
    pub at: String,
}

/// A hold in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Its id.
    pub id: Uuid,
    /// `all`, `saga`, `subject` or `run`.
    pub scope: String,
    /// What the scope names.
    pub target: Option<String>,
    /// The run whose failure set it.
    pub run: Option<Uuid>,
    /// Why.
    pub reason: String,
    /// The error's code, or `manual`.
    pub code: String,
    /// By whom.
    pub by: String,
    /// Since when.
    pub at: String,
}

/// A kill that was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Killed {
    /// The number of the switch.
    pub switch_no: i64,
    /// How long the drain took, in milliseconds.
    pub drained_ms: u64,
}

/// What came of a signature on a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Released {
    /// It is released.
    Done,
    /// The signature counts; these are still missing.
    Missing(String),
}

impl Engine {
    /// Stops forward phases and automatic compensation everywhere, and waits until earlier entrants have ended.
    ///
    /// After half of `deadline` whoever is still in the gate is terminated.
    ///
    /// # Errors
    /// [`Error::NotDrained`] when the deadline passes: published, nobody new gets in, but those named may still commit.
    /// [`Error::Db`] when the database cannot be told; the hold file is in force on this machine then.
    pub async fn kill(
        &self,
        reason: &str,
        deadline: Duration,
        freeze: bool,
    ) -> Result<Killed, Error> {
        let inner = &self.inner;
        let started = Instant::now();
        let switch_no = inner.publish_kill(reason, freeze).await?;
        crash::point("switch.after_publish");
        inner.drain(deadline, started).await?;
        Ok(Killed {
            switch_no,
            drained_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        })
    }

    /// The switch; `None` when its row is missing, which counts as killed.
    ///
    /// # Errors
    /// [`Error::Db`].
    pub async fn switch(&self) -> Result<Option<Switch>, Error> {
        let session = self.inner.session().await?;
        self.inner.read_switch(&session).await
    }

    /// Holds; only those in force unless `all`.
    ///
    /// # Errors
    /// [`Error::Db`].
    pub async fn holds(&self) -> Result<Vec<Hold>, Error> {
        let session = self.inner.session().await?;
        let holds = self.inner.all_holds(&session).await?;
        Ok(holds
            .into_iter()
            .filter_map(|(hold, released)| (!released).then_some(hold))
            .collect())
    }

    /// Holds that stand as released without a decision that is verified here: their runs stay held on this machine,
    /// and they can be released like holds in force.
    ///
    /// # Errors
    /// [`Error::Db`].
    pub async fn holds_unproven(&self) -> Result<Vec<Hold>, Error> {
        let inner = &self.inner;
        let session = inner.session().await?;
        let mut unproven = Vec::new();
        for (hold, released) in inner.all_holds(&session).await? {
            if released && !stands_released(inner.prove_holds(&session, &[hold.id]).await)? {
                unproven.push(hold);
            }
        }
        Ok(unproven)
    }

    /// Whether the switch lets work go on, by a release that is verified here.
    ///
    /// # Errors
    /// [`Error::Db`].
    pub async fn is_released(&self, switch: &Switch) -> Result<bool, Error> {
        if switch.state != "run" {
            return Ok(false);
        }
        let session = self.inner.session().await?;
        stands_released(self.inner.prove_switch(&session, switch.switch_no).await)
    }

    /// Sets a hold. One on a run is in force when this returns; a wider one binds later entrants, and with `wait`
    /// this returns when the earlier ones have ended.
    ///
    /// # Errors
    /// [`Error::UnknownRun`], [`Error::Db`].
    pub async fn hold(
        &self,
        scope: HoldScope,
        target: Option<&str>,
        reason: &str,
        wait: bool,
    ) -> Result<Hold, Error> {
        let inner = &self.inner;
        let session = inner.session().await?;
        let run = match (scope, target) {
            (HoldScope::Run, Some(target)) => Some(
                target
                    .parse::<Uuid>()
                    .map_err(|_| Error::UnknownRun(target.to_owned()))?,
            ),
            _ => None,
        };
        let result = inner.hold_in(&session, scope, target, run, reason).await;
        if result.is_err() {
            inner.rollback(&session).await;
        }
        let file = result?;
        if let Some(dir) = &inner.state_dir {
            dir.write_hold(&file)?;
        }
        if wait {
            inner
                .drain(Duration::from_secs(3_600), Instant::now())
                .await?;
        }
        Ok(Hold {
            id: file.id,
            scope: file.scope,
            target: file.target,
            run: file.run,
            reason: file.reason,
            code: file.code,
            by: file.by,
            at: file.at,
        })
    }

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

struct Release {
    purpose: Purpose,
    hold: Option<Uuid>,
    /// The hold is lifted already, by somebody who had no decision for it.
    lifted: bool,
    switch_no: Option<i64>,
    quorum: Quorum,
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
    async fn publish_kill(&self, reason: &str, freeze: bool) -> Result<i64, Error> {
        let state = if freeze { "frozen" } else { "killed" };
        let session = match self.apart().await {
            Ok(session) => session,
            Err(error) => {
                self.write_kill_file(reason)?;
                return Err(error.into());
            }
        };
        let result = async {
            session
                .batch_execute("begin; set local synchronous_commit = on")
                .await
                .map_err(DbError::from)?;
            let switch_no = self.publish_switch(&session, state, reason).await?;
            let body = json!({"switch_no": switch_no, "state": state, "reason": reason});
            let records = vec![(Kind::SwitchKilled, body)];
            crash::point("switch.before_publish");
            self.with_system_log(&session, Some(switch_no), records, switch_no)
                .await
        }
        .await;
        if result.is_err() {
            self.rollback(&session).await;
            self.write_kill_file(reason)?;
        }
        result
    }

    /// Stops this machine while the database cannot be told.
    fn write_kill_file(&self, reason: &str) -> Result<(), Error> {
        if let Some(dir) = &self.state_dir {
            let hold = HoldFile {
                id: Uuid::nil(),
                scope: "all".to_owned(),
                target: None,
                run: None,
                reason: reason.to_owned(),
                code: "kill".to_owned(),
                at: jiff::Timestamp::now().to_string(),
                by: self.actor.clone(),
            };
            dir.write_hold(&hold)?;
        }
        Ok(())
    }

    fn remove_kill_files(&self) -> Result<(), Error> {
        if let Some(dir) = &self.state_dir {
            dir.remove_hold(&dir.hold_path(Uuid::nil()))?;
        }
        Ok(())
    }

    /// Waits until nobody is in the gate who entered before.
    pub(crate) async fn drain(&self, deadline: Duration, started: Instant) -> Result<(), Error> {
        loop {
            let session = self.apart().await?;
            let left = deadline.saturating_sub(started.elapsed());
            let slice = left.min(DRAIN_SLICE).max(Duration::from_millis(1));
            let wait_ms = i32::try_from(slice.as_millis()).unwrap_or(i32::MAX);
            session
                .batch_execute("begin")
                .await
                .map_err(DbError::from)?;
            let drain = self.prepare(&session, sql::DRAIN_GATE).await?;
            let drained = session.query_one(&drain, &[&wait_ms]).await;
            self.rollback(&session).await;
            match drained.map_err(DbError::from) {
                Ok(_) => return Ok(()),
                Err(error) if error.sqlstate() == Some("55P03") => {}
                Err(error) => return Err(error.into()),
            }
            if started.elapsed() >= deadline / 2 {
                self.terminate_holders(&session).await?;
            }
            if started.elapsed() >= deadline {
                let holders = self.holders(&session).await?;
                if !holders.is_empty() {
                    let names: Vec<String> = holders
                        .iter()
                        .map(|(pid, user, state)| format!("pid {pid} ({user}, {state})"))
                        .collect();
                    return Err(Error::NotDrained(names.join(", ")));
                }
            }
        }
    }

    async fn holders(&self, session: &Session) -> Result<Vec<(i32, String, String)>, Error> {
        let list = self.prepare(session, sql::GATE_HOLDERS).await?;
        let rows = session.query(&list, &[]).await.map_err(DbError::from)?;
        rows.iter()
            .map(|row| {
                let user: Option<String> = row.try_get(1)?;
                let state: Option<String> = row.try_get(2)?;
                Ok((
                    row.try_get(0)?,
                    user.unwrap_or_default(),
                    state.unwrap_or_default(),
                ))
            })
            .collect::<Result<_, DbError>>()
            .map_err(Error::from)
    }

    async fn terminate_holders(&self, session: &Session) -> Result<(), Error> {
        let terminate = self.prepare(session, sql::TERMINATE).await?;
        for (pid, user, _) in self.holders(session).await? {
            // Another role's backend may be beyond our right; it is named in the end if it stays.
            match session.query_one(&terminate, &[&pid]).await {
                Ok(_) => tracing::warn!(
                    pid,
                    user,
                    "terminated: it held the gate past half of the deadline"
                ),
                Err(error) => tracing::warn!(pid, user, %error, "cannot terminate"),
            }
        }
        Ok(())
    }

    pub(crate) async fn read_switch(&self, session: &Session) -> Result<Option<Switch>, Error> {
        let read = self.prepare(session, sql::READ_SWITCH).await?;
        let row = session.query_opt(&read, &[]).await.map_err(DbError::from)?;
        row.map(|row| {
            Ok(Switch {
                state: row.try_get(0)?,
                switch_no: row.try_get(1)?,
                reason: row.try_get(2)?,
                by: row.try_get(3)?,
                at: row.try_get(4)?,
            })
        })
        .transpose()
        .map_err(|error: tokio_postgres::Error| error.into())
    }

    /// Every hold, and whether it stands as released.
    pub(crate) async fn all_holds(&self, session: &Session) -> Result<Vec<(Hold, bool)>, Error> {
        let list = self.prepare(session, sql::LIST_HOLDS).await?;
        let rows = session
            .query(&list, &[&false])
            .await
            .map_err(DbError::from)?;
        rows.iter()
            .map(|row| {
                let hold = Hold {
                    id: row.try_get(0)?,
                    scope: row.try_get(1)?,
                    target: row.try_get(2)?,
                    run: row.try_get(3)?,
                    reason: row.try_get(4)?,
                    code: row.try_get(5)?,
                    by: row.try_get(6)?,
                    at: row.try_get(7)?,
                };
                Ok((hold, row.try_get(8)?))
            })
            .collect::<Result<_, DbError>>()
            .map_err(Error::from)
    }

    async fn hold_in(
        &self,
        session: &Session,
        scope: HoldScope,
        target: Option<&str>,
        run: Option<Uuid>,
        reason: &str,
    ) -> Result<HoldFile, Error> {
        let at = match run {
            // The row lock: whoever is inside a phase of this run ends first.
            Some(run) => self.enter_run(session, run, None, false).await?.at,
            None => {
                session
                    .batch_execute("begin")
                    .await
                    .map_err(DbError::from)?;
                self.now(session).await?
            }
        };
        let hold = HoldFile {
            id: Uuid::now_v7(),
            scope: scope.as_str().to_owned(),
            target: target.map(str::to_owned),
            run: None,
            reason: reason.to_owned(),
            code: "manual".to_owned(),
            at,
            by: self.actor.clone(),
        };
        self.put_hold(session, &hold).await?;
        crash::point("hold.before_commit");
        self.with_system_log(session, None, vec![(Kind::HoldSet, hold_body(&hold))], hold)
            .await
    }

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
        let trust = self.trust.as_ref().ok_or(Error::NoTrust)?;
        let envelope = sign(decision, key)?;
        let verified = envelope.verify(trust)?;
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
            "quorum": release.quorum,
        });
        session
            .batch_execute("begin")
            .await
            .map_err(DbError::from)?;
        let result = async {
            if missing.is_ok() {
                match release.hold {
                    Some(_) if release.lifted => {}
                    Some(hold) => self.lift(session, hold).await?,
                    None => {
                        let current = self.read_switch(session).await?;
                        let is = current.map_or(0, |s| s.switch_no);
                        if Some(is) != release.switch_no {
                            return Err(Error::Decision(
                                redress_ledger::decision::DecisionError::OtherSwitch(decision.id),
                            ));
                        }
                        let next = self
                            .publish_switch(session, "run", &decision.reason)
                            .await?;
                        body["released_as"] = json!(next);
                    }
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
        let trust = self.trust.as_ref().ok_or(Error::NoTrust)?;
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
            let bytes: Vec<u8> = row.try_get(9).map_err(DbError::from)?;
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
            if let Ok(verified) = envelope.verify(trust)
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
        let at: jiff::Timestamp = now
            .parse()
            .map_err(|_| Error::Inconsistent(format!("time {now}")))?;
        let until = at
            .checked_add(DECISION_VALID)
            .map_err(|error| Error::Inconsistent(error.to_string()))?;
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
            not_after: until.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string(),
            requester: requester.to_owned(),
        })
    }

    /// The database's time.
    pub(crate) async fn now(&self, session: &Session) -> Result<String, Error> {
        let row = session
            .query_one(self.sql.text(sql::NOW), &[])
            .await
            .map_err(DbError::from)?;
        Ok(row.try_get(0).map_err(DbError::from)?)
    }

    /// Refuses when a file on this machine holds everything, this saga or this subject.
    pub(crate) fn heed_files(
        &self,
        saga: Option<&str>,
        subject: Option<&str>,
    ) -> Result<(), Error> {
        self.heed(|hold| match hold.scope.as_str() {
            "saga" => saga.is_some() && hold.target.as_deref() == saga,
            "subject" => subject.is_some() && hold.target.as_deref() == subject,
            "run" => false,
            _ => true,
        })
    }

    /// Refuses when a file on this machine holds this run.
    pub(crate) fn heed_files_for(&self, live: &Live) -> Result<(), Error> {
        let run = live.row.id.to_string();
        self.heed(|hold| match hold.scope.as_str() {
            "saga" => hold.target.as_deref() == Some(live.row.saga.as_str()),
            "subject" => live.row.subject.is_some() && hold.target == live.row.subject,
            "run" => hold.target.as_deref() == Some(run.as_str()),
            _ => true,
        })
    }

    fn heed(&self, binds: impl Fn(&HoldFile) -> bool) -> Result<(), Error> {
        let Some(dir) = &self.state_dir else {
            return Ok(());
        };
        for local in dir.holds()? {
            match &local.file {
                None => {
                    return Err(Error::Held(format!(
                        "the hold file {} cannot be read: held",
                        local.path.display()
                    )));
                }
                Some(hold) if binds(hold) => {
                    return Err(Error::Held(format!(
                        "held by {}: {}",
                        local.path.display(),
                        hold.reason
                    )));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Removes hold files whose release the database proves.
    pub(crate) async fn sweep_hold_files(&self) -> Result<(), Error> {
        let Some(dir) = &self.state_dir else {
            return Ok(());
        };
        let local = dir.holds()?;
        if local.is_empty() {
            return Ok(());
        }
        let session = self.session().await?;
        let rows = session
            .query(self.sql.text(sql::ALL_HOLDS_STATE), &[])
            .await
            .map_err(DbError::from)?;
        for hold in local {
            let Some(file) = &hold.file else { continue };
            let released = rows.iter().any(|row| {
                row.try_get::<_, Uuid>(0).is_ok_and(|id| id == file.id)
                    && row.try_get(1).unwrap_or(false)
            });
            // Marked as released is not released: it needs the decision too.
            if released && stands_released(self.prove_holds(&session, &[file.id]).await)? {
                dir.remove_hold(&hold.path)?;
            }
        }
        Ok(())
    }

    /// Holds a run that was claimed too often without moving, so that others go on.
    pub(crate) async fn hold_poison(&self, session: &Session, live: &Live) -> Result<(), Error> {
        let reason = format!(
            "claimed {} times without moving: phase {} stops or kills its worker",
            live.row.claims,
            live.row.phase.as_deref().unwrap_or("none")
        );
        let run = live.row.id;
        let entered = self
            .enter_run(session, run, Some(live.row.epoch), false)
            .await?;
        let hold = HoldFile {
            id: Uuid::now_v7(),
            scope: HoldScope::Run.as_str().to_owned(),
            target: Some(run.to_string()),
            run: Some(run),
            reason,
            code: "RD0216".to_owned(),
            at: entered.at.clone(),
            by: self.actor.clone(),
        };
        let result = async {
            self.put_hold(session, &hold).await?;
            let mut pages = crate::log::Pages::after(
                self.common(live, &entered),
                entered.seq,
                entered.head,
                entered.state,
            );
            pages.push(Kind::HoldSet, None, hold_body(&hold))?;
            let moved = crate::tx::Moved {
                keep_claims: false,
                ..crate::tx::Moved::nothing(entered.phase.as_deref())
            };
            self.settle(session, &entered, &pages, &moved).await
        }
        .await;
        if result.is_err() {
            self.rollback(session).await;
        }
        result?;
        self.aftermath(live, &hold).await;
        Ok(())
    }
}
