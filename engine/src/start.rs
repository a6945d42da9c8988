//! Opens runs: one key, one run. Opening and the first phase may share one transaction (eager start), which makes a
//! saga of n local phases n commits, the least possible.
//!
//! **Invariant:** the input fits its schema and every snapshot expectation holds before anything stands.
//!
//! **What can go wrong:** an eager start in doubt has no row to lock yet: it is resolved by opening the run again
//! with the same id and key, which waits for the other transaction; a retry is never eager, so attempts are counted.

use std::collections::BTreeSet;
use std::sync::Arc;

use redress_ledger::state::State;
use redress_ledger::{Hash, Kind, canonical};
use redress_sql as sql;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::adapter::{Call, Coverage};
use crate::crash;
use crate::db::{DbError, Session};
use crate::definition::{Definition, Phase};
use crate::engine::{Engine, Inner, Loaded, Loan};
use crate::error::Error;
use crate::log::{Pages, Story};
use crate::phase::{Attempt, Limits, concluded, push_committed};
use crate::run::{Blob, Live, RunRow, context_of, keep};
use crate::snapshot::check_expectations;
use crate::tx::{Commit, Entered, Fate, Moved, finish};

/// Longest key.
pub const KEY_BYTES_MAX: usize = 512;
/// Longest subject.
pub const SUBJECT_BYTES_MAX: usize = 1_024;
/// Time limit of the transaction that opens a run.
const OPEN_MS: u64 = 30_000;

/// A start that is being described.
pub struct Start<'e> {
    engine: &'e Engine,
    saga: String,
    version: Option<i32>,
    input: Value,
    key: Option<String>,
}

/// A run was opened, or found by its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Started {
    /// The run.
    pub run: Uuid,
    /// Whether this call opened it.
    pub opened: bool,
}

impl Engine {
    /// Describes the start of a saga's newest version; await [`Start::open`] or drive it at once.
    pub fn start(&self, saga: &str, input: Value) -> Start<'_> {
        Start {
            engine: self,
            saga: saga.to_owned(),
            version: None,
            input,
            key: None,
        }
    }
}

impl Start<'_> {
    /// Sets the idempotency key: same key and input, same run; other input, [`Error::Conflict`].
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Starts one version instead of the newest.
    #[must_use]
    pub fn version(mut self, version: i32) -> Self {
        self.version = Some(version);
        self
    }

    /// Opens the run and leaves it to workers.
    ///
    /// # Errors
    /// [`Error::Input`], [`Error::Conflict`], [`Error::SubjectBusy`], [`Error::Expectation`]; held and killed.
    pub async fn open(self) -> Result<Started, Error> {
        let inner = &self.engine.inner;
        let session = inner.session().await?;
        let opening = Opening::new(&session, &self, None).await?;
        inner.open_run(&session, &opening).await
    }

    /// Judges the start without opening anything: the phases in the order in which they would run.
    ///
    /// # Errors
    /// As [`Start::open`], as far as they can be told without opening.
    pub async fn dry_run(self) -> Result<Vec<Phase>, Error> {
        let session = self.engine.inner.session().await?;
        let opening = Opening::new(&session, &self, None).await?;
        let definition = &opening.loaded.definition;
        Ok(definition
            .order()
            .into_iter()
            .map(|index| definition.phases[index].clone())
            .collect())
    }

    /// Opens the run together with its first phase, owned by `worker`; what comes next is the driver's.
    pub(crate) async fn open_owned(
        self,
        session: &mut Loan,
        worker: Uuid,
    ) -> Result<(Started, Option<Live>), Error> {
        let inner = &self.engine.inner;
        let opening = Opening::new(session, &self, Some(worker)).await?;
        match inner.open_eagerly(session, &opening).await? {
            Eager::Committed(live) => Ok((
                Started {
                    run: live.row.id,
                    opened: true,
                },
                Some(*live),
            )),
            Eager::Existing(started) => Ok((started, None)),
            Eager::Not => {
                if session.is_closed() {
                    inner.reopen(session).await?;
                }
                inner
                    .open_run(session, &opening)
                    .await
                    .map(|started| (started, None))
            }
        }
    }
}

/// A start that was checked and has its ids.
struct Opening {
    loaded: Arc<Loaded>,
    run: Uuid,
    key: String,
    input: Value,
    input_hash: Hash,
    subject: Option<String>,
    first: Phase,
    owner: Option<Uuid>,
}

enum Eager {
    Committed(Box<Live>),
    Existing(Started),
    /// It did not commit; open the run first and count the attempts.
    Not,
}

impl Opening {
    async fn new(session: &Session, start: &Start<'_>, owner: Option<Uuid>) -> Result<Self, Error> {
        let inner = &start.engine.inner;
        inner.heed_files(None, None)?;
        let loaded = inner
            .load_by_name(session, &start.saga, start.version)
            .await?;
        if let Err(errors) = loaded.input.check(&start.input) {
            let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
            return Err(Error::Input(texts.join("; ")));
        }
        let bytes = canonical::to_canonical(&start.input)
            .map_err(|error| Error::Input(error.to_string()))?;
        let run = Uuid::now_v7();
        let key = start.key.clone().unwrap_or_else(|| run.to_string());
        if key.is_empty() || key.len() > KEY_BYTES_MAX || key.contains('\0') {
            return Err(Error::Input(format!(
                "a key has 1 to {KEY_BYTES_MAX} bytes and no NUL"
            )));
        }
        let subject = subject_of(&loaded, &start.input)?;
        let first = loaded
            .definition
            .next_phase(&BTreeSet::new())
            .cloned()
            .ok_or_else(|| Error::Inconsistent("a saga without phases".to_owned()))?;
        let saga = loaded.definition.saga.as_str();
        inner.heed_files(Some(saga), subject.as_deref())?;
        inner
            .heed_releases(session, run, saga, subject.as_deref())
            .await?;
        Ok(Self {
            run,
            key,
            input_hash: Hash::of(&bytes),
            input: start.input.clone(),
            subject,
            first,
            owner,
            loaded,
        })
    }

    /// The run's row as it will be; head and times are filled in by the entry.
    fn row(&self, inner: &Inner) -> RunRow {
        let definition = &self.loaded.definition;
        RunRow {
            id: self.run,
            saga: definition.saga.to_string(),
            version: i32::try_from(definition.version).unwrap_or(i32::MAX),
            definition: self.loaded.digest,
            subject: self.subject.clone(),
            key: self.key.clone(),
            input_hash: self.input_hash,
            requester: inner.actor.clone(),
            opened_at: String::new(),
            state: State::Running,
            phase: Some(self.first.name.to_string()),
            epoch: 1,
            seq: 0,
            head: Hash::ZERO,
            basis: (0, Hash::ZERO),
            attempts: 0,
            claims: 1,
            ended_at: None,
            failed_phase: None,
            error: None,
            plan: None,
        }
    }

    fn live(&self, inner: &Inner) -> Result<Live, Error> {
        let row = self.row(inner);
        let mut story = Story::read(self.run, std::iter::empty())?;
        story.input = self.input.clone();
        let context = context_of(&row, &story);
        Ok(Live {
            row,
            loaded: Arc::clone(&self.loaded),
            story,
            context,
        })
    }
}

fn subject_of(loaded: &Loaded, input: &Value) -> Result<Option<String>, Error> {
    let Some(pointer) = &loaded.definition.subject else {
        // Exclusive without a subject: one active run of the saga.
        let whole = loaded
            .definition
            .exclusive
            .then(|| format!("saga:{}", loaded.definition.saga));
        return Ok(whole);
    };
    let context = json!({ "input": input });
    match pointer.resolve(&context) {
        Some(Value::String(text))
            if !text.is_empty() && text.len() <= SUBJECT_BYTES_MAX && !text.contains('\0') =>
        {
            Ok(Some(text.clone()))
        }
        _ => Err(Error::Input(format!(
            "the subject {pointer} must be a string of 1 to {SUBJECT_BYTES_MAX} bytes without NUL"
        ))),
    }
}

/// What the entry of a start returns.
struct Opened {
    existing: Option<(Uuid, Hash)>,
    entered: Entered,
}

impl Inner {
    async fn enter_start(
        &self,
        session: &Session,
        opening: &Opening,
        limits: Limits,
    ) -> Result<Opened, DbError> {
        let enter = self.prepare(session, sql::ENTER_START).await?;
        let digest = opening.loaded.digest;
        let row = session
            .query_one(
                &enter,
                &[
                    &opening.run,
                    &digest.as_bytes().as_slice(),
                    &opening.subject,
                    &opening.loaded.definition.exclusive,
                    &opening.key,
                    &opening.input_hash.as_bytes().as_slice(),
                    &self.actor,
                    &opening.first.name.as_str(),
                    &opening.owner,
                    &limits.statement_ms,
                    &limits.lock_ms,
                    &limits.idle_ms,
                ],
            )
            .await?;
        let existing: Option<Uuid> = row.try_get(0)?;
        let existing = match existing {
            Some(run) => Some((run, crate::tx::hash_at(&row, 1)?)),
            None => None,
        };
        let entered = Entered {
            xid: row.try_get(2)?,
            seq: 0,
            head: Hash::ZERO,
            at: row.try_get(3)?,
            switch_no: row.try_get(4)?,
            epoch: 1,
            state: State::Running,
            phase: Some(opening.first.name.to_string()),
            basis: (0, Hash::ZERO),
        };
        Ok(Opened { existing, entered })
    }

    /// Opens a run in a transaction of its own.
    async fn open_run(&self, session: &Session, opening: &Opening) -> Result<Started, Error> {
        let live = opening.live(self)?;
        let limits = Limits::of(OPEN_MS, self.lease);
        // Prepared before BEGIN leaves, so that nothing overtakes it.
        self.prepare(session, sql::ENTER_START).await?;
        let result = async {
            let (begin, opened) = futures_util::join!(
                session.batch_execute("begin"),
                self.enter_start(session, opening, limits),
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
                tracing::warn!(%error, run = %opening.run, "start in doubt");
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
                    Fate::Committed => Ok(Started {
                        run: opening.run,
                        opened: true,
                    }),
                    Fate::Not { .. } => Err(Error::Inconsistent(format!(
                        "run {} has another first record",
                        opening.run
                    ))),
                }
            }
            other => other,
        }
    }

    /// Opens a run and commits its first phase in the same transaction.
    async fn open_eagerly(&self, session: &Session, opening: &Opening) -> Result<Eager, Error> {
        let mut live = opening.live(self)?;
        let phase = &opening.first;
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
                        tracing::debug!(error = %other, run = %opening.run, "eager start");
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
                tracing::warn!(%error, run = %opening.run, "eager start in doubt");
                let session = self.apart().await?;
                let started = Box::pin(self.open_run(&session, opening)).await;
                match started {
                    // The other one did not commit; this one opened the run.
                    Ok(started) if started.opened => return Ok(Eager::Existing(started)),
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
        let index = live
            .definition()
            .phases
            .iter()
            .position(|p| p.name == phase.name)
            .unwrap_or(usize::MAX);
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
            let entry = self.enter_start(session, opening, limits);
            let (opened, applied) = self.apply(session, true, entry, &call).await?;
            (opened, Map::new(), applied)
        } else {
            let (begin, opened) = futures_util::join!(
                session.batch_execute("begin"),
                self.enter_start(session, opening, limits),
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
        let mut moved = Moved {
            attempts: Some(0),
            keep_claims: false,
            ..Moved::nothing(next.as_ref().map(crate::name::Name::as_str))
        };
        if let Coverage::Proven(oids) = &coverage {
            moved.checked = Some(oids);
        }
        let end = finish(self, session, &opened.entered, &pages, &moved).await;
        self.heed_proof(&live.loaded, index, &end);
        Ok(Ok(concluded(end, pages, output)))
    }

    /// Reads and judges the snapshot before a run.
    async fn pre(&self, session: &Session, live: &Live) -> Result<Map<String, Value>, Error> {
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

fn push_opened(
    pages: &mut Pages<'_>,
    opening: &Opening,
    live: &Live,
    pre: Map<String, Value>,
    blobs: &mut Vec<Blob>,
) -> Result<(), Error> {
    let mut body = json!({
        "saga": live.row.saga,
        "version": live.row.version,
        "definition": opening.loaded.digest.to_string(),
        "subject": opening.subject,
        "key": opening.key,
        "input": keep(opening.input.clone(), blobs),
        "input_hash": opening.input_hash.to_string(),
        "requester": live.row.requester,
    });
    if let (false, Some(fields)) = (pre.is_empty(), body.as_object_mut()) {
        fields.insert("pre".to_owned(), keep(Value::Object(pre), blobs));
    }
    pages.push(Kind::RunOpened, Some(opening.key.clone()), body)?;
    Ok(())
}

fn same_run(opening: &Opening, (run, input): (Uuid, Hash)) -> Result<Started, Error> {
    if input == opening.input_hash {
        Ok(Started { run, opened: false })
    } else {
        Err(Error::Conflict {
            key: opening.key.clone(),
            run,
        })
    }
}

fn start_error(opening: &Opening, error: Error) -> Error {
    match &error {
        Error::Db(db) if db.constraint() == Some("subject_has_one_active_run") => {
            Error::SubjectBusy(opening.subject.clone().unwrap_or_default())
        }
        _ => error,
    }
}
