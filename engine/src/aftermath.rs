//! What an unrecovered failure leaves behind: hold and switch in its transaction, then file, post snapshot and alert.
//!
//! **Invariant:** what follows outside the transaction never undoes or delays what is in force in the database.

use redress_ledger::{Class, Kind};
use redress_sql as sql;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::db::{DbError, Session};
use crate::definition::HoldScope;
use crate::engine::Inner;
use crate::error::Error;
use crate::files::HoldFile;
use crate::log::Pages;
use crate::run::Live;
use crate::telemetry::Told;
use crate::tx::Moved;

impl Inner {
    /// Sets the hold that the definition wants on an unrecovered failure, inside the open transaction.
    pub(crate) async fn push_hold(
        &self,
        session: &Session,
        live: &Live,
        pages: &mut Pages<'_>,
        reason: &str,
        code: &str,
        at: &str,
    ) -> Result<HoldFile, Error> {
        let scope = live.definition().on_unrecovered.hold;
        let target = match (scope, &live.row.subject) {
            (HoldScope::All, _) => None,
            (HoldScope::Saga, _) => Some(live.row.saga.clone()),
            (HoldScope::Subject, Some(subject)) => Some(subject.clone()),
            // Without a subject the narrowest hold that stops this run is the run's own.
            (HoldScope::Subject, None) | (HoldScope::Run, _) => Some(live.row.id.to_string()),
        };
        let scope = match (scope, &live.row.subject) {
            (HoldScope::Subject, None) => HoldScope::Run,
            (scope, _) => scope,
        };
        let hold = HoldFile {
            id: Uuid::now_v7(),
            scope: scope.as_str().to_owned(),
            target,
            run: Some(live.row.id),
            reason: reason.to_owned(),
            code: code.to_owned(),
            at: at.to_owned(),
            by: self.actor.clone(),
        };
        self.put_hold(session, &hold).await?;
        pages.push(Kind::HoldSet, None, hold_body(&hold))?;
        Ok(hold)
    }

    pub(crate) async fn put_hold(&self, session: &Session, hold: &HoldFile) -> Result<(), Error> {
        let put = self.prepare(session, sql::PUT_HOLD).await?;
        session
            .query_one(
                &put,
                &[
                    &hold.id,
                    &hold.scope,
                    &hold.target,
                    &hold.run,
                    &hold.reason,
                    &hold.code,
                    &hold.by,
                ],
            )
            .await
            .map_err(DbError::from)?;
        Ok(())
    }

    /// Publishes the kill switch when the definition or the error wants it; it is drained afterwards, never in here.
    pub(crate) async fn publish_for_failure(
        &self,
        session: &Session,
        live: &Live,
        reason: &str,
        class: Class,
    ) -> Result<(), Error> {
        if !live.definition().on_unrecovered.kill && class != Class::Kill {
            return Ok(());
        }
        let switch_no = self.publish_switch(session, "killed", reason).await?;
        let body = json!({"switch_no": switch_no, "state": "killed", "reason": reason, "run": live.row.id.to_string()});
        self.append_system(session, Some(switch_no), vec![(Kind::SwitchKilled, body)])
            .await
    }

    pub(crate) async fn publish_switch(
        &self,
        session: &Session,
        state: &str,
        reason: &str,
    ) -> Result<i64, Error> {
        let publish = self.prepare(session, sql::PUBLISH_SWITCH).await?;
        let row = session
            .query_one(&publish, &[&state, &reason, &self.actor])
            .await
            .map_err(DbError::from)?;
        Ok(row.try_get(0).map_err(DbError::from)?)
    }

    /// What follows an unrecovered failure outside its transaction: hold file, post snapshot, alert.
    pub(crate) async fn aftermath(&self, live: &Live, hold: &HoldFile) {
        if let Some(dir) = &self.state_dir
            && let Err(error) = dir.write_hold(hold)
        {
            tracing::error!(%error, hold = %hold.id, run = %live.row.id, "hold file; the hold in the database is in force");
        }
        let post = self.record_post(live).await;
        if let Err(error) = &post {
            tracing::error!(error = %Told(error), code = error.code(), run = %live.row.id, "post snapshot");
        }
        let path = |which: &str| {
            self.state_dir
                .as_ref()
                .map(|dir| dir.snapshot_path(live.row.id, which).display().to_string())
        };
        let alert = json!({
            "id": hold.id.to_string(),
            "run": live.row.id.to_string(),
            "saga": live.row.saga,
            "subject": live.row.subject,
            "reason": hold.reason,
            "code": hold.code,
            "hold": {"id": hold.id.to_string(), "scope": hold.scope, "target": hold.target},
            "at": hold.at,
            "pre": path("pre"),
            "post": path("post"),
        });
        self.alert(&alert).await;
    }

    /// Reads the post snapshot and records it, even when it could not be read.
    pub(crate) async fn record_post(&self, live: &Live) -> Result<(), Error> {
        if live.definition().snapshot.is_empty() {
            return Ok(());
        }
        let taken = self.post_snapshot(live).await;
        let body = match &taken {
            Ok(values) => json!({"which": "post", "values": values}),
            Err(error) => {
                json!({"which": "post", "error": error.to_string(), "code": error.code()})
            }
        };
        let session = self.side().await?;
        let entered = self.enter_run(&session, live.row.id, None, false).await?;
        let mut blobs = Vec::new();
        let mut pages = Pages::after(
            self.common(live, &entered),
            entered.seq,
            entered.head,
            entered.state,
        );
        pages.push(
            Kind::SnapshotTaken,
            None,
            kept_values(body.clone(), &mut blobs),
        )?;
        // A closed run stays provably complete: the last seal counts what came after the first one.
        if entered.state.is_terminal() {
            crate::phase::seal(&mut pages, None, entered.state.as_str())?;
        }
        self.put_blobs(&session, live.row.id, &blobs).await?;
        self.settle(
            &session,
            &entered,
            &pages,
            &Moved::nothing(entered.phase.as_deref()),
        )
        .await?;
        if let Some(dir) = &self.state_dir {
            let mut file = body;
            file["run"] = json!(live.row.id.to_string());
            file["saga"] = json!(live.row.saga);
            dir.write_snapshot(live.row.id, "post", &file)?;
        }
        Ok(())
    }
}

fn kept_values(mut body: Value, blobs: &mut Vec<crate::run::Blob>) -> Value {
    if let Some(values) = body.get_mut("values") {
        *values = crate::run::keep(values.take(), blobs);
    }
    body
}

pub(crate) fn hold_body(hold: &HoldFile) -> Value {
    json!({
        "hold": hold.id.to_string(),
        "scope": hold.scope,
        "target": hold.target,
        "run": hold.run.map(|run| run.to_string()),
        "reason": hold.reason,
        "code": hold.code,
    })
}
