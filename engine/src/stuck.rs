//! Records that a compensation could not finish.
//!
//! **Invariant:** failure, state, hold and switch commit together: a run is never held without saying why.

use redress_ledger::Kind;
use redress_ledger::state::Event;
use serde_json::json;

use crate::compensate::Unwind;
use crate::db::Session;
use crate::engine::Inner;
use crate::error::Error;
use crate::failure::Cutoff;
use crate::log::Pages;
use crate::run::Live;
use crate::tx::{Entered, Moved};
use crate::unwind::push_started;

impl Inner {
    /// Records that a compensation could not finish: the run is stuck and held, and somebody is told.
    pub(crate) async fn stick(
        &self,
        session: &Session,
        live: &mut Live,
        unwind: &Unwind<'_>,
        error: &Error,
    ) -> Result<Error, Error> {
        let cutoff = Cutoff::of(error);
        let started = live.story.running_plan == Some(unwind.digest);
        let entered = self
            .enter_run(
                session,
                live.row.id,
                started.then_some(live.row.epoch),
                !started,
            )
            .await?;
        let result = self
            .stick_entered(session, live, unwind, &cutoff, &entered, started)
            .await;
        match result {
            Ok(hold) => {
                *live = self.live(session, live.row.id).await?;
                self.aftermath(live, &hold).await;
                Ok(Error::Stuck {
                    run: live.row.id,
                    why: cutoff.message,
                    standing: standing(live),
                })
            }
            Err(error) => {
                self.rollback(session).await;
                Err(error)
            }
        }
    }

    async fn stick_entered(
        &self,
        session: &Session,
        live: &Live,
        unwind: &Unwind<'_>,
        cutoff: &Cutoff,
        entered: &Entered,
        started: bool,
    ) -> Result<crate::files::HoldFile, Error> {
        if !started && entered.basis != (unwind.plan.basis.seq, unwind.plan.basis.hash) {
            return Err(Error::StalePlan(live.row.id));
        }
        let mut pages = Pages::after(
            self.common(live, entered),
            entered.seq,
            entered.head,
            entered.state,
        );
        if !started {
            push_started(&mut pages, unwind)?;
        }
        let body = json!({
            "plan": unwind.digest.to_string(),
            "code": cutoff.code,
            "message": cutoff.message,
            "sqlstate": cutoff.sqlstate,
            "standing": live.story.committed.iter().map(|c| c.phase.as_str()).collect::<Vec<_>>(),
        });
        pages.push_event(
            Kind::CompensationFailed,
            &Event::CompensationFailed,
            None,
            body,
        )?;
        let reason = format!("the compensation failed: {}", cutoff.message);
        let hold = self
            .push_hold(
                session,
                live,
                &mut pages,
                &reason,
                &cutoff.code,
                &entered.at,
            )
            .await?;
        self.publish_for_failure(session, live, &reason, cutoff.class)
            .await?;
        let moved = Moved {
            keep_claims: false,
            error: Some((&cutoff.code, &cutoff.message)),
            plan: Some(unwind.digest),
            ..Moved::nothing(None)
        };
        self.settle(session, entered, &pages, &moved).await?;
        Ok(hold)
    }
}

/// The phases that still stand, for people.
pub(crate) fn standing(live: &Live) -> String {
    let names: Vec<&str> = live
        .story
        .committed
        .iter()
        .map(|c| c.phase.as_str())
        .collect();
    if names.is_empty() {
        "nothing".to_owned()
    } else {
        names.join(", ")
    }
}
