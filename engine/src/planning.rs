//! Plans a run's compensation for a person, stores the plan and finds it again.
//!
//! **Invariant:** what is stored under a digest is that plan, and equal circumstances give the equal plan.

use std::collections::BTreeMap;

use redress_ledger::Hash;
use redress_ledger::decision::Basis;
use redress_ledger::state::State;
use redress_sql as sql;
use uuid::Uuid;

use crate::bound::check_text;
use crate::crash;
use crate::db::{DbError, Session};
use crate::definition::Definition;
use crate::engine::{Engine, Inner};
use crate::error::Error;
use crate::log::Pages;
use crate::name::Name;
use crate::operate::{same_head, wrong_state};
use crate::plan::{self, Action, Cause, CauseKind, History, Plan, Policy};
use crate::run::{Live, RunRow};
use crate::story::Story;
use crate::tx::{Moved, hash_at};

/// A plan that is stored.
#[derive(Clone, Debug)]
pub struct StoredPlan {
    /// Its digest.
    pub digest: Hash,
    /// The plan.
    pub plan: Plan,
}

impl Engine {
    /// Plans the compensation of a run and stores the plan. Equal circumstances give the equal plan.
    ///
    /// # Errors
    /// [`Error::WrongState`] when nothing can be planned; [`Error::UnknownRun`].
    pub async fn plan(
        &self,
        run: Uuid,
        overrides: BTreeMap<Name, Action>,
        reason: &str,
    ) -> Result<StoredPlan, Error> {
        check_text("the reason", reason)?;
        let inner = &self.inner;
        let session = inner.session().await?;
        let live = inner.live(&session, run).await?;
        if !matches!(
            live.story.state,
            State::Failed | State::Stuck | State::Completed
        ) {
            return Err(wrong_state(
                &live,
                "a failed, stuck or completed run is planned for",
            ));
        }
        let policy = Policy {
            overrides,
            ..inner.policy()
        };
        let definition = live.definition();
        let plan = inner.plan_asked(&live.row, &live.story, definition, &policy, reason);
        inner.store_plan(&session, &live, plan).await
    }

    /// Finds a stored plan by its digest, by a prefix of it, or by its run's id.
    ///
    /// # Errors
    /// [`Error::UnknownPlan`].
    pub async fn find_plan(&self, text: &str) -> Result<StoredPlan, Error> {
        let inner = &self.inner;
        let session = inner.session().await?;
        if let Ok(run) = text.parse::<Uuid>() {
            let row = session
                .query_opt(inner.sql.text(sql::PLAN_OF_RUN), &[&run])
                .await
                .map_err(DbError::from)?
                .ok_or_else(|| Error::UnknownPlan(text.to_owned()))?;
            let digest = hash_at(&row, 0)?;
            let plan = inner.plan_by_digest(&session, digest).await?;
            return Ok(StoredPlan { digest, plan });
        }
        let unknown = || Error::UnknownPlan(text.to_owned());
        if text.len() < 8 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(unknown());
        }
        let rows = session
            .query(
                inner.sql.text(sql::PLANS_BY_PREFIX),
                &[&text.to_ascii_lowercase()],
            )
            .await
            .map_err(DbError::from)?;
        let [row] = rows.as_slice() else {
            return Err(unknown());
        };
        let digest = hash_at(row, 0)?;
        let plan = inner.plan_by_digest(&session, digest).await?;
        Ok(StoredPlan { digest, plan })
    }
}

impl Inner {
    /// The plan for a person who asks for a run to be undone, from its story as it stands.
    fn plan_asked(
        &self,
        row: &RunRow,
        story: &Story,
        definition: &Definition,
        policy: &Policy,
        reason: &str,
    ) -> Plan {
        let kind = match (&story.failed, &row.error) {
            (Some(phase), Some((code, message))) => CauseKind::Failure {
                phase: phase.clone(),
                code: code.clone(),
                message: message.clone(),
            },
            _ => CauseKind::Requested {},
        };
        let cause = Cause {
            kind,
            reason: reason.to_owned(),
            requester: self.actor.clone(),
        };
        let basis = Basis {
            seq: row.basis.0,
            hash: row.basis.1,
        };
        let history = history_of(row.id, story, basis, None);
        plan::plan(definition, &history, &cause, policy)
    }

    /// The plan that a person would be given who asks for nothing special; nothing is stored.
    pub(crate) fn plan_unasked(
        &self,
        row: &RunRow,
        story: &Story,
        definition: &Definition,
        reason: &str,
    ) -> Plan {
        self.plan_asked(row, story, definition, &self.policy(), reason)
    }

    /// Stores a plan with its record, unless it is the one that the run has.
    pub(crate) async fn store_plan(
        &self,
        session: &Session,
        live: &Live,
        plan: Plan,
    ) -> Result<StoredPlan, Error> {
        let digest = plan.digest()?;
        if live.row.plan == Some(digest) {
            return Ok(StoredPlan { digest, plan });
        }
        let entered = self.enter_run(session, live.row.id, None, false).await?;
        let result = async {
            same_head(live, &entered)?;
            let mut pages = Pages::after(
                self.common(live, &entered),
                entered.seq,
                entered.head,
                entered.state,
            );
            self.push_plan(session, &mut pages, &plan).await?;
            crash::point("plan.before_commit");
            let moved = Moved {
                plan: Some(digest),
                ..Moved::nothing(entered.phase.as_deref())
            };
            self.settle(session, &entered, &pages, &moved).await
        }
        .await;
        if result.is_err() {
            self.rollback(session).await;
        }
        result.map(|()| StoredPlan { digest, plan })
    }

    pub(crate) async fn plan_by_digest(
        &self,
        session: &Session,
        digest: Hash,
    ) -> Result<Plan, Error> {
        let read = self.prepare(session, sql::PLAN_BY_DIGEST).await?;
        let row = session
            .query_opt(&read, &[&digest.as_bytes().as_slice()])
            .await
            .map_err(DbError::from)?;
        let row = row.ok_or_else(|| Error::UnknownPlan(digest.to_string()))?;
        let bytes: Vec<u8> = row.try_get(2).map_err(DbError::from)?;
        let plan = Plan::from_canonical(&bytes)?;
        if Hash::of(&bytes) != digest {
            return Err(Error::Inconsistent(format!(
                "the stored plan is not the one of its digest {digest}"
            )));
        }
        Ok(plan)
    }

    /// Holds in force that bear on a run, with the run whose failure set each.
    pub(crate) async fn holds_on(
        &self,
        session: &Session,
        row: &RunRow,
    ) -> Result<Vec<(Uuid, Option<Uuid>)>, Error> {
        let list = self.prepare(session, sql::LIST_HOLDS).await?;
        let rows = session
            .query(&list, &[&true])
            .await
            .map_err(DbError::from)?;
        let id = row.id.to_string();
        let mut holds = Vec::new();
        for found in &rows {
            let scope: &str = found.try_get(1).map_err(DbError::from)?;
            let target: Option<&str> = found.try_get(2).map_err(DbError::from)?;
            let bears = match scope {
                "saga" => target == Some(row.saga.as_str()),
                "subject" => target.is_some() && target == row.subject.as_deref(),
                "run" => target == Some(id.as_str()),
                _ => true,
            };
            if bears {
                holds.push((
                    found.try_get(0).map_err(DbError::from)?,
                    found.try_get(3).map_err(DbError::from)?,
                ));
            }
        }
        Ok(holds)
    }
}

/// What the planner is told of a run; `failed` where the log does not say it yet.
pub(crate) fn history_of(run: Uuid, story: &Story, basis: Basis, failed: Option<&Name>) -> History {
    let committed = story.committed.iter().map(|c| plan::Committed {
        phase: c.phase.clone(),
        seq: c.seq,
        hash: c.hash,
        has_undo: !c.undo.is_null(),
        touched: c.touched.clone(),
    });
    History {
        run,
        basis,
        state: story.state,
        committed: committed.collect(),
        compensated: story.compensated.clone(),
        failed: failed.or(story.failed.as_ref()).cloned(),
        rewinds: story.rewinds.clone(),
        in_doubt: story.in_doubt().map(|(phase, intent)| plan::InDoubt {
            phase: phase.clone(),
            record: plan::RecordRef {
                seq: intent.seq,
                hash: intent.hash,
            },
        }),
    }
}
