//! Opens a run in a transaction of its own, or together with its first phase (eager).
//!
//! **Invariant:** every snapshot expectation holds before anything stands, and nothing is opened under a switch whose
//! release is not proven.
//!
//! **What can go wrong:** an eager start in doubt has no row to lock yet: it is resolved by opening the run again
//! with the same id and key, which waits for the other transaction; a retry is never eager, so attempts are counted.

use redress_ledger::Hash;
use redress_ledger::state::State;
use redress_sql as sql;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::adapter::Call;
use crate::crash;
use crate::db::{DbError, Session};
use crate::definition::Definition;
use crate::engine::Inner;
use crate::error::Error;
use crate::fate::Fate;
use crate::log::Pages;
use crate::metric;
use crate::phase::{Attempt, Limits, concluded, index_of, moved_on, push_committed};
use crate::run::{Live, RunRow};
use crate::snapshot::check_expectations;
use crate::start::{OPEN_MS, Opening, Started, push_opened, same_run, start_error};
use crate::telemetry::DbTold;
use crate::tx::{Commit, Moved, finish};

pub(crate) enum Eager {
    Committed(Box<Live>),
    Existing(Started),
    /// It did not commit; open the run first and count the attempts.
    Not,
}

impl Inner {
    /// Opens a run in a transaction of its own.
    pub(crate) async fn open_run(
        &self,
        session: &Session,
        opening: &Opening,
    ) -> Result<Started, Error> {
        let live = opening.live(self)?;
        let limits = Limits::of(OPEN_MS, self.lease);
        // Prepared before BEGIN leaves, so that nothing overtakes it.
        self.prepare(session, sql::ENTER_START).await?;
        let result = async {
            let (begin, opened) = futures_util::join!(
                session.batch_execute("begin"),
                self.enter_opening(session, opening, limits),
            );
            begin.map_err(DbError::from)?;
            let opened = opened?;
            if let Some(existing) = opened.existing {
                self.rollback(session).await;
                return Ok(Err(existing));
            }
            self.prove_switch(session, opened.entered.switch_no).await?;
            let pre = self.pre(session, &live).await?;
            let mut pages = Pages::after(
                self.common(&live, &opened.entered),
                0,
                Hash::ZERO,
                State::Running,
            );
            let mut blobs = Vec::new();
            push_opened(&mut pages, opening, &live, pre, &mut blobs)?;
            self.put_blobs(session, opening.run, &blobs).await?;
            let moved = Moved::nothing(Some(opening.first.name.as_str()));
            let end = finish(self, session, &opened.entered, &pages, &moved).await;
            Ok(Ok((end, pages.seq, pages.head)))
        }
        .await;
        let (end, seq, head) = match result {
            Ok(Ok(end)) => end,
            Ok(Err(existing)) => return same_run(opening, existing),
            Err(error) => {
                self.rollback(session).await;
                return self.refused_start(session, opening, error).await;
            }
        };
        match end {
            Commit::Done(()) => {
                crash::point("start.after_commit");
                metric::run_started(opening.loaded.definition.saga.as_str());
                let pre = self
                    .written_pre(&opening.loaded.definition, opening.run)
                    .await;
                pre.map(|()| Started {
                    run: opening.run,
                    opened: true,
                })
            }
            Commit::Aborted(error) => Err(start_error(opening, error.into())),
            Commit::InDoubt(error) => {
                tracing::warn!(error = %DbTold(&error), code = error.code(), run = %opening.run, "start in doubt");
                Box::pin(self.open_again(opening, seq, head)).await
            }
        }
    }

    /// What a start that failed is answered. A subject may be taken by the very run that has the key: the two unique
    /// rules are judged one after the other, and another start of the same key may come between them.
    async fn refused_start(
        &self,
        session: &Session,
        opening: &Opening,
        error: Error,
    ) -> Result<Started, Error> {
        let error = start_error(opening, error);
        if matches!(error, Error::SubjectBusy(_)) {
            let find = self.prepare(session, sql::RUN_BY_KEY).await?;
            let saga = opening.loaded.definition.saga.as_str();
            let found = session
                .query_opt(&find, &[&saga, &opening.key])
                .await
                .map_err(DbError::from)?;
            if let Some(row) = found {
                let row = RunRow::read(&row)?;
                return same_run(opening, (row.id, row.input_hash));
            }
        }
        Err(error)
    }

    /// Resolves an opening in doubt: the same id and key again waits for the other transaction.
    async fn open_again(&self, opening: &Opening, seq: i64, head: Hash) -> Result<Started, Error> {
        let session = self.apart().await?;
        match self.open_run(&session, opening).await {
            Err(Error::Db(error)) if error.constraint() == Some("run_pkey") => {
                match self.fate(opening.run, 1, seq, head).await? {
                    Fate::Committed => {
                        metric::run_started(opening.loaded.definition.saga.as_str());
                        Ok(Started {
                            run: opening.run,
                            opened: true,
                        })
                    }
                    Fate::Not { .. } => Err(Error::Inconsistent(format!(
                        "run {} has another first record",
                        opening.run
                    ))),
                }
            }
            other => {
                // The other one did not commit, or another run has the key.
                if other.is_ok() {
                    metric::doubt_resolved("not_committed");
                }
                other
            }
        }
    }

    /// Opens a run and commits its first phase in the same transaction.
    pub(crate) async fn open_eagerly(
        &self,
        session: &Session,
        opening: &Opening,
    ) -> Result<Eager, Error> {
        let mut live = opening.live(self)?;
        let phase = &opening.first;
        if !phase.approvals.is_empty() {
            return Ok(Eager::Not);
        }
        if self.external(phase).is_some() {
            // Its intent must stand before it acts, and needs a run to stand in.
            return Ok(Eager::Not);
        }
        let attempt = match self.eager_attempt(session, opening, &live).await {
            Ok(Ok(attempt)) => attempt,
            Ok(Err(existing)) => {
                self.rollback(session).await;
                return same_run(opening, existing).map(Eager::Existing);
            }
            Err(error) => {
                self.rollback(session).await;
                return match start_error(opening, error) {
                    busy @ Error::SubjectBusy(_) => self
                        .refused_start(session, opening, busy)
                        .await
                        .map(Eager::Existing),
                    refused @ (Error::Expectation { .. } | Error::ReleaseUnproven { .. }) => {
                        Err(refused)
                    }
                    // The gate said no: another try would hear the same.
                    gate if gate.sqlstate().is_some_and(|code| code.starts_with("RDG")) => {
                        Err(gate)
                    }
                    other => {
                        tracing::debug!(code = other.code(), sqlstate = other.sqlstate(), run = %opening.run, "not opened eagerly");
                        Ok(Eager::Not)
                    }
                };
            }
        };
        let (records, output) = match attempt {
            Attempt::Committed { records, output } => (records, output),
            Attempt::Failed(_) => return Ok(Eager::Not),
            Attempt::InDoubt {
                records,
                output,
                seq,
                head,
                error,
            } => {
                tracing::warn!(error = %DbTold(&error), code = error.code(), run = %opening.run, "eager start in doubt");
                let session = self.apart().await?;
                let started = Box::pin(self.open_run(&session, opening)).await;
                match started {
                    // The other one did not commit; this one opened the run.
                    Ok(started) if started.opened => {
                        metric::doubt_resolved("not_committed");
                        return Ok(Eager::Existing(started));
                    }
                    Ok(started) if started.run != opening.run => {
                        return Ok(Eager::Existing(started));
                    }
                    Ok(_) => {}
                    Err(Error::Db(error)) if error.constraint() == Some("run_pkey") => {}
                    Err(error) => return Err(error),
                }
                match self.fate(opening.run, 1, seq, head).await? {
                    Fate::Committed => (records, output),
                    Fate::Not { .. } => return Ok(Eager::Not),
                }
            }
        };
        self.written_pre(&opening.loaded.definition, opening.run)
            .await?;
        self.advance(&mut live, phase, records, output)?;
        Ok(Eager::Committed(Box::new(live)))
    }

    async fn eager_attempt(
        &self,
        session: &Session,
        opening: &Opening,
        live: &Live,
    ) -> Result<Result<Attempt, (Uuid, Hash)>, Error> {
        let phase = &opening.first;
        let index = index_of(live, phase);
        let coverage = self.coverage(&live.loaded, index).await?;
        self.prepare(session, sql::ENTER_START).await?;
        let limits = Limits::of(phase.timeout_ms, self.lease);
        let artefacts = self.artefacts()?;
        let call = Call {
            phase,
            context: &live.context,
            undo: &Value::Null,
            artefacts: artefacts.as_deref(),
        };
        // With a snapshot the effect must not overtake its queries: they are awaited inside the entry.
        let (opened, pre, applied) = if live.definition().snapshot.is_empty() {
            let entry = self.enter_opening(session, opening, limits);
            let (opened, applied) = self.apply(session, true, entry, &call).await?;
            (opened, Map::new(), applied)
        } else {
            let (begin, opened) = futures_util::join!(
                session.batch_execute("begin"),
                self.enter_opening(session, opening, limits),
            );
            begin.map_err(DbError::from)?;
            let opened = opened?;
            if let Some(existing) = opened.existing {
                return Ok(Err(existing));
            }
            let pre = self.pre(session, live).await?;
            let (opened, applied) = self
                .apply(session, false, async { Ok(opened) }, &call)
                .await?;
            (opened, pre, applied)
        };
        if let Some(existing) = opened.existing {
            return Ok(Err(existing));
        }
        self.cover(session, phase, &coverage).await?;
        self.prove_switch(session, opened.entered.switch_no).await?;
        let mut pages = Pages::after(
            self.common(live, &opened.entered),
            0,
            Hash::ZERO,
            State::Running,
        );
        let mut blobs = Vec::new();
        push_opened(&mut pages, opening, live, pre, &mut blobs)?;
        let output = Value::Object(applied.output.clone());
        let next = push_committed(&mut pages, live, phase, applied, &mut blobs)?;
        self.put_blobs(session, opening.run, &blobs).await?;
        let moved = moved_on(next.as_ref(), &coverage);
        let end = finish(self, session, &opened.entered, &pages, &moved).await;
        self.heed_proof(&live.loaded, index, &end);
        Ok(Ok(concluded(end, pages, output)))
    }

    /// Reads and judges the snapshot before a run.
    pub(crate) async fn pre(
        &self,
        session: &Session,
        live: &Live,
    ) -> Result<Map<String, Value>, Error> {
        if live.definition().snapshot.is_empty() {
            return Ok(Map::new());
        }
        let pre = self
            .take_snapshot(session, live.definition().snapshot.iter(), &live.context)
            .await?;
        check_expectations(live.definition(), &pre)?;
        let wrote = self.written_beyond(session, &[]).await?;
        if !wrote.is_empty() {
            return Err(Error::Coverage {
                phase: "snapshot".to_owned(),
                relations: wrote.join(", "),
            });
        }
        Ok(pre)
    }

    /// Writes `pre.json` from the record; done again by whoever finds it missing.
    pub(crate) async fn written_pre(
        &self,
        definition: &Definition,
        run: Uuid,
    ) -> Result<(), Error> {
        let Some(dir) = &self.state_dir else {
            return Ok(());
        };
        if definition.snapshot.is_empty() || dir.snapshot_path(run, "pre").exists() {
            return Ok(());
        }
        let session = self.side().await?;
        let live = self.live(&session, run).await?;
        let value = json!({"run": run.to_string(), "saga": live.row.saga, "which": "pre", "values": live.story.pre});
        dir.write_snapshot(run, "pre", &value)?;
        Ok(())
    }
}
