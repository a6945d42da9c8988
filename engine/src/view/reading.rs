//! One moment of the database: a REPEATABLE READ READ ONLY transaction on a session of its own.
//!
//! **Invariant:** nothing is written, and what is read in several statements agrees.
//!
//! **What can go wrong:** the caller drops it half-way: the session is marked, so the pool ends the transaction before
//! anybody else gets it.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;

use redress_ledger::Hash;
use redress_ledger::quorum::{Quorum, one_sovereign};
use redress_sql::{self as sql, Statement};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::db::{DbError, Session};
use crate::definition::{Authority, Definition};
use crate::engine::{Inner, Loan};
use crate::error::Error;
use crate::hold::Hold;

/// A read-only transaction that sees one moment.
pub(crate) struct Reading<'i> {
    pub inner: &'i Inner,
    session: Loan,
    definitions: HashMap<Hash, Arc<Definition>>,
}

impl Deref for Reading<'_> {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.session
    }
}

impl<'i> Reading<'i> {
    /// Begins the transaction.
    pub async fn begin(inner: &'i Inner) -> Result<Self, Error> {
        let session = inner.session().await?;
        session.mark_used();
        session
            .batch_execute("begin isolation level repeatable read read only")
            .await
            .map_err(DbError::from)?;
        Ok(Self {
            inner,
            session,
            definitions: HashMap::new(),
        })
    }

    /// Ends it.
    pub async fn end(self) {
        self.inner.rollback(&self.session).await;
    }

    /// Runs one of our own statements.
    pub async fn query(
        &self,
        statement: Statement,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        let statement = self.inner.prepare(&self.session, statement).await?;
        let rows = self.session.query(&statement, params).await;
        Ok(rows.map_err(DbError::from)?)
    }

    /// Holds in force, oldest first.
    pub async fn holds(&self) -> Result<Vec<Hold>, Error> {
        let rows = self.query(sql::LIST_HOLDS, &[&true]).await?;
        rows.iter()
            .map(|row| {
                Ok(Hold {
                    id: row.try_get(0)?,
                    scope: row.try_get(1)?,
                    target: row.try_get(2)?,
                    run: row.try_get(3)?,
                    reason: row.try_get(4)?,
                    code: row.try_get(5)?,
                    by: row.try_get(6)?,
                    at: row.try_get(7)?,
                })
            })
            .collect()
    }

    /// A definition, from this very transaction: no second session is taken while this one is held.
    pub async fn definition(&mut self, digest: Hash) -> Result<Arc<Definition>, Error> {
        if let Some(definition) = self.definitions.get(&digest) {
            return Ok(Arc::clone(definition));
        }
        let bytes = digest.as_bytes().as_slice();
        let rows = self.query(sql::DEFINITION_BY_DIGEST, &[&bytes]).await?;
        let row = rows
            .first()
            .ok_or_else(|| Error::UnknownSaga(digest.to_string()))?;
        let canonical: &[u8] = row.try_get(2)?;
        let definition = Definition::from_canonical(canonical)
            .map_err(|problem| Error::Inconsistent(problem.to_string()))?;
        let definition = Arc::new(definition);
        self.definitions.insert(digest, Arc::clone(&definition));
        Ok(definition)
    }

    /// Who must sign the release of a hold: what the saga of the run that set it lists, else one sovereign.
    pub async fn release_quorum(&mut self, hold: &Hold) -> Result<Quorum, Error> {
        let Some(run) = hold.run else {
            return Ok(one_sovereign());
        };
        let row = self.inner.run_row(&self.session, run).await?;
        let definition = self.definition(row.definition).await?;
        Ok(authority(&definition, "release"))
    }
}

/// Who must sign an act that always needs a signature.
pub(crate) fn authority(definition: &Definition, action: &str) -> Quorum {
    match definition.authority.get(action) {
        Some(Authority::Quorum(quorum)) => quorum.clone(),
        Some(Authority::Auto) | None => one_sovereign(),
    }
}
