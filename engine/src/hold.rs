//! Holds, in the database and as files on this machine.
//!
//! **Invariant:** a hold on a run is in force when it returns; a wider one binds every later entrant.
//!
//! **What can go wrong:** a hold file that cannot be read holds everything.

use std::time::{Duration, Instant};

use redress_ledger::Kind;
use redress_sql as sql;
use uuid::Uuid;

use crate::aftermath::hold_body;
use crate::bound::check_text;
use crate::crash;
use crate::db::{DbError, Session};
use crate::definition::HoldScope;
use crate::engine::{Engine, Inner};
use crate::error::Error;
use crate::files::HoldFile;
use crate::metric;
use crate::release::stands_released;
use crate::run::Live;

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

impl Hold {
    /// The run after whose recovery nothing needs this hold any more: the one that it names, or the one whose failure
    /// set it on its subject. A hold on a saga or on everything stops others as well and ends with no run.
    pub fn ends_with(&self) -> Option<Uuid> {
        match self.scope.as_str() {
            "run" => self.target.as_deref()?.parse().ok(),
            "subject" => self.run,
            _ => None,
        }
    }
}

impl Engine {
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
        check_text("the reason", reason)?;
        check_text("what the hold is on", target.unwrap_or_default())?;
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
}

impl Inner {
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
        metric::poison();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_ends_with_its_run_unless_it_is_on_a_saga_or_on_everything() {
        let (own, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let check = |scope: &str, target: Option<&str>, run: Option<Uuid>, expected| {
            let hold = Hold {
                id: Uuid::nil(),
                scope: scope.to_owned(),
                target: target.map(str::to_owned),
                run,
                reason: String::new(),
                code: String::new(),
                by: String::new(),
                at: String::new(),
            };
            assert_eq!(hold.ends_with(), expected, "{scope} {target:?} {run:?}");
        };
        check("run", Some(&own.to_string()), Some(own), Some(own));
        // A person's, and one that another run's failure set: it is the run that it names.
        check("run", Some(&own.to_string()), None, Some(own));
        check("run", Some(&own.to_string()), Some(other), Some(own));
        check("run", Some("no run"), Some(own), None);
        check("subject", Some("o-1"), Some(own), Some(own));
        check("subject", Some("o-1"), None, None);
        for scope in ["saga", "all", "whatever"] {
            check(scope, Some("shop"), Some(own), None);
        }
    }
}
