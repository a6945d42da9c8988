//! Describes and checks starts: one key, one run. Opening and the first phase may share one transaction (`open`),
//! which makes a saga of n local phases n commits, the least possible.
//!
//! **Invariant:** the input fits its schema, and key and subject are bounded, before anything is asked of the gate.

use std::collections::BTreeSet;
use std::sync::Arc;

use redress_ledger::state::State;
use redress_ledger::{Hash, Kind, canonical};
use redress_sql as sql;
use serde_json::{Map, Value, json};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::db::{DbError, Session};
use crate::definition::Phase;
use crate::engine::{Engine, Inner, Loaded, Loan};
use crate::error::Error;
use crate::log::Pages;
use crate::open::Eager;
use crate::phase::Limits;
use crate::run::{Blob, Live, RunRow, context_of, keep};
use crate::story::Story;
use crate::tx::Entered;

/// Longest key.
pub const KEY_BYTES_MAX: usize = 512;
/// Longest subject.
pub const SUBJECT_BYTES_MAX: usize = 1_024;
/// Time limit of the transaction that opens a run.
pub(crate) const OPEN_MS: u64 = 30_000;

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

impl<'e> IntoFuture for Start<'e> {
    type Output = Result<Uuid, Error>;
    type IntoFuture = std::pin::Pin<Box<dyn Future<Output = Self::Output> + Send + 'e>>;

    /// As [`Start::open`], and gives the run.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async { Ok(self.open().await?.run) })
    }
}

impl Start<'_> {
    pub(crate) fn inner(&self) -> &Inner {
        &self.engine.inner
    }

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
        let started = inner.open_run(&session, &opening).await?;
        drop(session);
        inner.wake_workers().await;
        Ok(started)
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
        match inner.opened_eagerly(session, &opening).await? {
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
pub(crate) struct Opening {
    pub loaded: Arc<Loaded>,
    pub run: Uuid,
    pub key: String,
    pub input: Value,
    pub input_hash: Hash,
    pub subject: Option<String>,
    pub first: Phase,
    pub owner: Option<Uuid>,
}

impl Opening {
    pub async fn new(
        session: &Session,
        start: &Start<'_>,
        owner: Option<Uuid>,
    ) -> Result<Self, Error> {
        let inner = &start.engine.inner;
        inner.heed_files(None, None)?;
        let loaded = inner
            .load_by_name(session, &start.saga, start.version)
            .await?;
        let key = start.key.as_deref();
        Self::of(inner, session, loaded, &start.input, key, owner).await
    }

    /// Checks a start of a definition that is at hand.
    pub(crate) async fn of(
        inner: &Inner,
        session: &Session,
        loaded: Arc<Loaded>,
        input: &Value,
        key: Option<&str>,
        owner: Option<Uuid>,
    ) -> Result<Self, Error> {
        if let Err(errors) = loaded.input.check(input) {
            let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
            return Err(Error::Input(texts.join("; ")));
        }
        let bytes =
            canonical::to_canonical(input).map_err(|error| Error::Input(error.to_string()))?;
        let run = Uuid::now_v7();
        let key = key.map_or_else(|| run.to_string(), str::to_owned);
        if key.is_empty() || key.len() > KEY_BYTES_MAX || key.contains('\0') {
            return Err(Error::Input(format!(
                "a key has 1 to {KEY_BYTES_MAX} bytes and no NUL"
            )));
        }
        let subject = subject_of(&loaded, input)?;
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
            input: input.clone(),
            subject,
            first,
            owner,
            loaded,
        })
    }

    /// The run's row as it will be; head and times are filled in by the entry.
    pub fn row(&self, inner: &Inner) -> RunRow {
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
            archived: false,
        }
    }

    pub fn live(&self, inner: &Inner) -> Result<Live, Error> {
        let row = self.row(inner);
        let mut story = Story::read(self.run, std::iter::empty())?;
        story.input = self.input.clone();
        let context = context_of(&row, &story);
        Ok(Live {
            row,
            loaded: Arc::clone(&self.loaded),
            story,
            context,
            consents: Vec::new(),
        })
    }
}

pub(crate) fn subject_of(loaded: &Loaded, input: &Value) -> Result<Option<String>, Error> {
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
pub(crate) struct Opened {
    pub existing: Option<(Uuid, Hash)>,
    pub entered: Entered,
}

/// What `enter_start` is called with, in its order.
pub(crate) struct EntryValues<'a> {
    opening: &'a Opening,
    digest: &'a [u8],
    input_hash: &'a [u8],
    exclusive: bool,
    actor: &'a str,
    first: &'a str,
    limits: Limits,
}

impl EntryValues<'_> {
    pub fn params(&self) -> [&(dyn ToSql + Sync); 12] {
        [
            &self.opening.run,
            &self.digest,
            &self.opening.subject,
            &self.exclusive,
            &self.opening.key,
            &self.input_hash,
            &self.actor,
            &self.first,
            &self.opening.owner,
            &self.limits.statement_ms,
            &self.limits.lock_ms,
            &self.limits.idle_ms,
        ]
    }
}

impl Opening {
    pub fn entry<'a>(&'a self, actor: &'a str, limits: Limits) -> EntryValues<'a> {
        EntryValues {
            opening: self,
            digest: self.loaded.digest.as_bytes().as_slice(),
            input_hash: self.input_hash.as_bytes().as_slice(),
            exclusive: self.loaded.definition.exclusive,
            actor,
            first: self.first.name.as_str(),
            limits,
        }
    }

    /// Reads what `enter_start` answered.
    pub fn entered(&self, row: &Row) -> Result<Opened, DbError> {
        let existing: Option<Uuid> = row.try_get(0)?;
        let existing = match existing {
            Some(run) => Some((run, crate::tx::hash_at(row, 1)?)),
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
            phase: Some(self.first.name.to_string()),
            basis: (0, Hash::ZERO),
        };
        Ok(Opened { existing, entered })
    }
}

impl Inner {
    pub(crate) async fn enter_opening(
        &self,
        session: &Session,
        opening: &Opening,
        limits: Limits,
    ) -> Result<Opened, DbError> {
        let enter = self.prepare(session, sql::ENTER_START).await?;
        let values = opening.entry(&self.actor, limits);
        let row = session.query_one(&enter, &values.params()).await?;
        opening.entered(&row)
    }
}

pub(crate) fn push_opened(
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

pub(crate) fn same_run(opening: &Opening, (run, input): (Uuid, Hash)) -> Result<Started, Error> {
    if input == opening.input_hash {
        Ok(Started { run, opened: false })
    } else {
        Err(Error::Conflict {
            key: opening.key.clone(),
            run,
        })
    }
}

pub(crate) fn start_error(opening: &Opening, error: Error) -> Error {
    match &error {
        Error::Db(db) if db.constraint() == Some("subject_has_one_active_run") => {
            Error::SubjectBusy(opening.subject.clone().unwrap_or_default())
        }
        _ => error,
    }
}
