//! A run as it stands: its row, its replayed log, and the context that its pointers look into.
//!
//! **Invariant:** row and log are compared whenever a run is loaded; a difference stops everything for that run.

use std::sync::Arc;

use redress_ledger::state::State;
use redress_ledger::{Hash, blob};
use redress_sql::{self as sql, Statement};
use serde_json::{Value, json};
use tokio_postgres::Row;
use uuid::Uuid;

use crate::db::{DbError, Session};
use crate::definition::Definition;
use crate::engine::{Inner, Loaded};
use crate::error::Error;
use crate::log::LogError;
use crate::story::Story;
use crate::tx::state_of;

/// Values larger than this live in a blob beside their record.
const IN_RECORD_BYTES_MAX: usize = 16 * 1024;

/// A row of the table `run`.
#[derive(Clone, Debug)]
pub struct RunRow {
    /// Its id.
    pub id: Uuid,
    /// The saga's name.
    pub saga: String,
    /// The saga's version.
    pub version: i32,
    /// The digest of the definition that it is pinned to.
    pub definition: Hash,
    /// What it acts on.
    pub subject: Option<String>,
    /// Its idempotency key.
    pub key: String,
    /// Hash of the canonical input.
    pub input_hash: Hash,
    /// Who asked for it.
    pub requester: String,
    /// When, RFC 3339 UTC.
    pub opened_at: String,
    /// Its state.
    pub state: State,
    /// The phase that runs next.
    pub phase: Option<String>,
    /// Its fencing token.
    pub epoch: i64,
    /// The number of its last record.
    pub seq: i64,
    /// The hash of its last record.
    pub head: Hash,
    /// The last record that changes what a plan would say.
    pub basis: (i64, Hash),
    /// Failed attempts of the phase that runs next.
    pub attempts: i32,
    /// Claims since it last moved.
    pub claims: i32,
    /// When it ended.
    pub ended_at: Option<String>,
    /// The phase that failed last.
    pub failed_phase: Option<String>,
    /// Code and message of the last error.
    pub error: Option<(String, String)>,
    /// The digest of the last plan.
    pub plan: Option<Hash>,
    /// Whether only an archive has its records: nothing more can become of it.
    pub archived: bool,
}

impl RunRow {
    pub(crate) fn read(row: &Row) -> Result<Self, DbError> {
        let code: Option<String> = row.try_get("error_code")?;
        let message: Option<String> = row.try_get("error")?;
        let plan: Option<Vec<u8>> = row.try_get("plan")?;
        let hash = |name: &str| -> Result<Hash, DbError> {
            let bytes: Vec<u8> = row.try_get(name)?;
            Hash::try_from(bytes.as_slice()).map_err(|e| DbError::Value(e.to_string()))
        };
        Ok(Self {
            id: row.try_get("id")?,
            saga: row.try_get("saga")?,
            version: row.try_get("version")?,
            definition: hash("definition")?,
            subject: row.try_get("subject")?,
            key: row.try_get("key")?,
            input_hash: hash("input_hash")?,
            requester: row.try_get("requester")?,
            opened_at: row.try_get("opened_at")?,
            state: state_of(row.try_get("state")?)?,
            phase: row.try_get("phase")?,
            epoch: row.try_get("epoch")?,
            seq: row.try_get("seq")?,
            head: hash("head")?,
            basis: (row.try_get("basis_seq")?, hash("basis")?),
            attempts: row.try_get("attempts")?,
            claims: row.try_get("claims")?,
            ended_at: row.try_get("ended_at")?,
            failed_phase: row.try_get("failed_phase")?,
            error: code.map(|code| (code, message.unwrap_or_default())),
            plan: plan
                .map(|p| Hash::try_from(p.as_slice()))
                .transpose()
                .map_err(|e| DbError::Value(e.to_string()))?,
            archived: false,
        })
    }
}

/// A value beside a record.
pub(crate) struct Blob {
    pub id: Uuid,
    pub salt: [u8; 32],
    pub content: Vec<u8>,
    pub commitment: Hash,
}

/// Keeps a small value as it is; a large one becomes a reference with length and salted commitment.
pub(crate) fn keep(value: Value, blobs: &mut Vec<Blob>) -> Value {
    let content = value.to_string().into_bytes();
    // A value that looks like a reference itself goes into a blob too: read back, it must not be taken for one.
    if content.len() <= IN_RECORD_BYTES_MAX && value.get("$blob").is_none() {
        return value;
    }
    let mut salt = [0_u8; 32];
    rand_core::RngCore::fill_bytes(&mut rand_core::OsRng, &mut salt);
    let id = Uuid::now_v7();
    let commitment = blob::commit(&salt, &content);
    let reference = json!({"$blob": {"id": id.to_string(), "len": content.len(), "commitment": commitment.to_string()}});
    blobs.push(Blob {
        id,
        salt,
        content,
        commitment,
    });
    reference
}

/// A run loaded for work or for show.
pub(crate) struct Live {
    pub row: RunRow,
    pub loaded: Arc<Loaded>,
    pub story: Story,
    pub context: Value,
    /// The decisions that let the phase go on that runs next.
    pub consents: Vec<Uuid>,
}

impl Live {
    pub fn definition(&self) -> &Definition {
        &self.loaded.definition
    }
}

/// What pointers of a forward phase look into.
pub(crate) fn context_of(row: &RunRow, story: &Story) -> Value {
    json!({
        "run": {"id": row.id.to_string(), "saga": row.saga, "version": row.version, "subject": row.subject},
        "input": story.input,
        "phases": story.outputs,
        "approvals": [],
    })
}

impl Inner {
    /// Finds a run's row, or what is left of one that was archived.
    pub async fn run_row(&self, session: &Session, run: Uuid) -> Result<RunRow, Error> {
        let find = async |statement| {
            let statement = self.prepare(session, statement).await?;
            let row = session.query_opt(&statement, &[&run]).await?;
            row.map(|row| RunRow::read(&row)).transpose()
        };
        if let Some(row) = find(sql::RUN_BY_ID).await? {
            return Ok(row);
        }
        let row = find(sql::ARCHIVED_RUN_BY_ID).await?;
        let row = row.ok_or_else(|| Error::UnknownRun(run.to_string()))?;
        Ok(RunRow {
            archived: true,
            ..row
        })
    }

    /// Finds the row of a run whose records are here.
    pub async fn hot_row(&self, session: &Session, run: Uuid) -> Result<RunRow, Error> {
        let row = self.run_row(session, run).await?;
        match row.archived {
            true => Err(Error::Archived(run)),
            false => Ok(row),
        }
    }

    /// Prepares one of our own statements, once per session.
    pub async fn prepare(
        &self,
        session: &Session,
        statement: Statement,
    ) -> Result<crate::db::Statement, DbError> {
        Ok(session.prepare_cached(self.sql.text(statement)).await?)
    }

    /// Loads a run with its definition and its log, and compares row and log.
    pub async fn live(&self, session: &Session, run: Uuid) -> Result<Live, Error> {
        // Row and log are two reads: when a record slipped in between, read again.
        const READS_MAX: usize = 5;
        let mut last = None;
        for _ in 0..READS_MAX {
            let row = self.hot_row(session, run).await?;
            let mut story = self.story(session, run).await?;
            if story.head == row.head && story.state == row.state {
                let loaded = self.load(session, row.definition).await?;
                self.fetch_blobs(session, &mut story).await?;
                let context = context_of(&row, &story);
                return Ok(Live {
                    row,
                    loaded,
                    story,
                    context,
                    consents: Vec::new(),
                });
            }
            last = Some((story, row));
        }
        let (logged, stored) = last.map_or_else(Default::default, |(story, row)| {
            (
                format!("{} {}", story.state, story.head),
                format!("{} {}", row.state, row.head),
            )
        });
        Err(LogError::Disagree {
            logged,
            stored,
            run,
        }
        .into())
    }

    /// Reads and replays a run's log; blobs stay references.
    pub async fn story(&self, session: &Session, run: Uuid) -> Result<Story, Error> {
        let statement = self.prepare(session, sql::RECORDS_OF_RUN).await?;
        let rows = session
            .query(&statement, &[&run, &0_i64])
            .await
            .map_err(DbError::from)?;
        let mut records = Vec::with_capacity(rows.len());
        for row in &rows {
            records.push((
                row.try_get(0).map_err(DbError::from)?,
                row.try_get("bytes").map_err(DbError::from)?,
            ));
        }
        Ok(Story::read(run, records)?)
    }

    async fn fetch_blobs(&self, session: &Session, story: &mut Story) -> Result<(), Error> {
        self.fetch_blob(session, &mut story.input).await?;
        self.fetch_blob(session, &mut story.pre).await?;
        for output in story.outputs.values_mut() {
            self.fetch_blob(session, output).await?;
        }
        for committed in &mut story.committed {
            self.fetch_blob(session, &mut committed.undo).await?;
            if let Some(intent) = &mut committed.intent {
                self.fetch_blob(session, &mut intent.prepared).await?;
            }
        }
        let begun = story.intents.values_mut().chain(story.undos.values_mut());
        for intent in begun {
            self.fetch_blob(session, &mut intent.prepared).await?;
            self.fetch_blob(session, &mut intent.undo).await?;
        }
        Ok(())
    }

    pub(crate) async fn fetch_blob(
        &self,
        session: &Session,
        value: &mut Value,
    ) -> Result<(), Error> {
        let Some(id) = value.pointer("/$blob/id").and_then(Value::as_str) else {
            return Ok(());
        };
        let missing = |what: String| Error::Inconsistent(format!("blob {id}: {what}"));
        let uuid: Uuid = id.parse().map_err(|_| missing("no id".to_owned()))?;
        let statement = self.prepare(session, sql::BLOB_BY_ID).await?;
        let row = session
            .query_opt(&statement, &[&uuid])
            .await
            .map_err(DbError::from)?;
        let row = row.ok_or_else(|| missing("gone".to_owned()))?;
        let salt: Vec<u8> = row.try_get(1).map_err(DbError::from)?;
        let content: Vec<u8> = row.try_get(2).map_err(DbError::from)?;
        let salt: [u8; 32] = salt
            .try_into()
            .map_err(|_| missing("salt of another length".to_owned()))?;
        let commitment = blob::commit(&salt, &content).to_string();
        if value.pointer("/$blob/commitment").and_then(Value::as_str) != Some(commitment.as_str()) {
            return Err(missing("does not fit its commitment".to_owned()));
        }
        *value = serde_json::from_slice(&content).map_err(|e| missing(e.to_string()))?;
        Ok(())
    }

    /// Stores blobs inside the open transaction.
    pub async fn put_blobs(
        &self,
        session: &Session,
        run: Uuid,
        blobs: &[Blob],
    ) -> Result<(), DbError> {
        if blobs.is_empty() {
            return Ok(());
        }
        let put = self.prepare(session, sql::PUT_BLOB).await?;
        for blob in blobs {
            session
                .query_one(
                    &put,
                    &[
                        &blob.id,
                        &run,
                        &blob.salt.as_slice(),
                        &blob.content,
                        &blob.commitment.as_bytes().as_slice(),
                    ],
                )
                .await?;
        }
        Ok(())
    }
}
