//! Opens a run inside the caller's own transaction: the run exists when, and only when, the caller commits.
//!
//! **Invariant:** what is refused here leaves the caller's transaction as it was: everything is done behind a savepoint,
//! and settings are put back. The run's first phase is not run; whoever drives runs takes it up after the commit.
//!
//! **What can go wrong:** the caller's transaction keeps the gate until it ends, so a kill waits for it (or says "not
//! drained" and names it). A transaction that rolls back leaves nothing, the key included.
//!
//! **Not here:** the caller's COMMIT, and doubt about it: the caller asks the same start again, by its key.

use redress_ledger::Hash;
use redress_ledger::state::State;
use redress_sql as sql;
use serde_json::{Map, Value};
use tokio_postgres::{Row, Transaction};
use uuid::Uuid;

use crate::db::DbError;
use crate::engine::{Engine, Inner};
use crate::error::Error;
use crate::log::Pages;
use crate::phase::Limits;
use crate::phase_tx::values_in;
use crate::run::{Blob, Live};
use crate::snapshot::{check_expectations, resolve};
use crate::start::{OPEN_MS, Opened, Opening, Start, Started, push_opened, same_run, start_error};
use crate::tx::{AppendValues, Moved};

/// The savepoint behind which everything is done.
const BEGIN: &str = "savepoint redress_start";
const KEEP: &str = "release savepoint redress_start";
const UNDO: &str = "rollback to savepoint redress_start; release savepoint redress_start";

impl Engine {
    /// Describes the start of a saga's newest version inside the caller's own transaction; await it.
    ///
    /// The transaction must be at READ COMMITTED, in the database of the installation, by a role that may act as the
    /// engine.
    pub fn start_in<'a>(
        &'a self,
        transaction: &'a Transaction<'a>,
        saga: &str,
        input: Value,
    ) -> StartIn<'a> {
        StartIn {
            start: self.start(saga, input),
            transaction,
        }
    }
}

/// A start inside a transaction that is being described.
pub struct StartIn<'a> {
    start: Start<'a>,
    transaction: &'a Transaction<'a>,
}

impl<'a> StartIn<'a> {
    /// Sets the idempotency key: same key and input, same run; other input, [`Error::Conflict`].
    #[must_use]
    pub fn key(self, key: impl Into<String>) -> Self {
        Self {
            start: self.start.key(key),
            ..self
        }
    }

    /// Starts one version instead of the newest.
    #[must_use]
    pub fn version(self, version: i32) -> Self {
        Self {
            start: self.start.version(version),
            ..self
        }
    }

    /// Opens the run.
    ///
    /// # Errors
    /// As [`Start::open`]; the transaction goes on as if nothing had been asked.
    pub async fn open(self) -> Result<Started, Error> {
        let inner = self.start.inner();
        // Definition, input and releases are looked at outside: they are committed facts.
        let session = inner.session().await?;
        let opening = Opening::new(&session, &self.start, None).await?;
        let transaction = self.transaction;
        let read = inner.sql.text(sql::READ_SETTINGS);
        let settings = transaction.query_one(read, &[]).await;
        let settings = settings.map_err(DbError::from)?;
        transaction
            .batch_execute(BEGIN)
            .await
            .map_err(DbError::from)?;
        let result = async {
            let opened = inner.enter_start(transaction, &opening).await?;
            if let Some(existing) = opened.existing {
                return same_run(&opening, existing);
            }
            inner
                .prove_switch(&session, opened.entered.switch_no)
                .await?;
            inner.write_start(transaction, &opening, &opened).await
        }
        .await;
        let (end, result) = match result {
            Ok(started) if started.opened => (KEEP, Ok(started)),
            Ok(existing) => (UNDO, Ok(existing)),
            Err(error) => (UNDO, Err(start_error(&opening, error))),
        };
        transaction
            .batch_execute(end)
            .await
            .map_err(DbError::from)?;
        restore(inner, transaction, &settings).await?;
        result
    }
}

impl<'a> IntoFuture for StartIn<'a> {
    type Output = Result<Uuid, Error>;
    type IntoFuture = std::pin::Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    /// As [`StartIn::open`], and gives the run.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async { Ok(self.open().await?.run) })
    }
}

async fn restore(
    inner: &Inner,
    transaction: &Transaction<'_>,
    settings: &Row,
) -> Result<(), Error> {
    let values: Vec<String> = (0..settings.len())
        .map(|column| settings.try_get(column))
        .collect::<Result<_, _>>()
        .map_err(DbError::from)?;
    let params: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> = values
        .iter()
        .map(|value| value as &(dyn tokio_postgres::types::ToSql + Sync))
        .collect();
    let restore = inner.sql.text(sql::RESTORE_SETTINGS);
    let restored = transaction.query_one(restore, &params).await;
    restored.map_err(DbError::from)?;
    Ok(())
}

impl Inner {
    async fn enter_start(
        &self,
        transaction: &Transaction<'_>,
        opening: &Opening,
    ) -> Result<Opened, Error> {
        let limits = Limits::of(OPEN_MS, self.lease);
        let values = opening.entry(&self.actor, limits);
        let row = transaction
            .query_one(self.sql.text(sql::ENTER_START), &values.params())
            .await
            .map_err(DbError::from)?;
        Ok(opening.entered(&row)?)
    }

    /// The first record, with the snapshot before the run, as the caller's transaction sees it.
    async fn write_start(
        &self,
        transaction: &Transaction<'_>,
        opening: &Opening,
        opened: &Opened,
    ) -> Result<Started, Error> {
        let live = opening.live(self)?;
        let pre = self.snapshot_in(transaction, &live).await?;
        check_expectations(live.definition(), &pre)?;
        let mut pages = Pages::after(
            self.common(&live, &opened.entered),
            0,
            Hash::ZERO,
            State::Running,
        );
        let mut blobs = Vec::new();
        push_opened(&mut pages, opening, &live, pre, &mut blobs)?;
        for blob in &blobs {
            self.put_blob_in(transaction, opening, blob).await?;
        }
        let moved = Moved::nothing(Some(opening.first.name.as_str()));
        let values = AppendValues::new(&opened.entered, &pages, &moved);
        transaction
            .query_one(self.sql.text(sql::APPEND), &values.params())
            .await
            .map_err(DbError::from)?;
        Ok(Started {
            run: opening.run,
            opened: true,
        })
    }

    async fn snapshot_in(
        &self,
        transaction: &Transaction<'_>,
        live: &Live,
    ) -> Result<Map<String, Value>, Error> {
        let mut values = Map::new();
        for query in &live.definition().snapshot {
            let params = resolve(&query.params, &live.context)?;
            let set_role = self.sql.text(sql::SET_ROLE);
            if let Some(role) = &query.role {
                let set = transaction.query_one(set_role, &[role]).await;
                set.map_err(DbError::from)?;
            }
            let rows = values_in(transaction, &query.sql, &params).await;
            let rows = rows.map_err(|error| Error::Adapter(error.into()))?;
            if query.role.is_some() {
                let set = transaction.query_one(set_role, &[&"none"]).await;
                set.map_err(DbError::from)?;
            }
            values.insert(query.name.to_string(), Value::Array(rows));
        }
        Ok(values)
    }

    async fn put_blob_in(
        &self,
        transaction: &Transaction<'_>,
        opening: &Opening,
        one: &Blob,
    ) -> Result<(), Error> {
        let commitment = one.commitment.as_bytes().as_slice();
        transaction
            .query_one(
                self.sql.text(sql::PUT_BLOB),
                &[
                    &one.id,
                    &opening.run,
                    &one.salt.as_slice(),
                    &one.content,
                    &commitment,
                ],
            )
            .await
            .map_err(DbError::from)?;
        Ok(())
    }
}
