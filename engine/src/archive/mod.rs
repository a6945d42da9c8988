//! Takes ended runs out of the hot tables, by a decision of the root, once an archive has everything.
//!
//! **Invariant:** no record leaves before it is sealed and exported; what leaves is exactly what the decision names, in
//! the transaction that records it. The log of leaves stays whole, so that proofs and heads need no archive; the records
//! themselves are read back from archives, each compared with its leaf.
//!
//! **What can go wrong:** a run moves on between the export and the decision (somebody reverts a completed one): the
//! digest differs, and nothing leaves. An archive that is lost takes the records with it: the log still proves that
//! there were some, and which hashes they had. So an archive is kept in more than one place.
//!
//! **Not here:** erasing what people may no longer have (`ceremony`): an archived blob is erased by the same decision, and
//! then its file is removed from the archives by hand.

mod folder;

use std::path::Path;

use redress_ledger::bundle::MANIFEST_NAME;
use redress_ledger::keyring::Archived;
use redress_ledger::{Hash, Kind, Record, SigningKey};
use redress_sql as sql;
use uuid::Uuid;

pub use folder::Archives;

use crate::ceremony::KeyChange;
use crate::db::{DbError, Session};
use crate::engine::{Engine, Inner};
use crate::error::Error;
use crate::export::Exported;

/// An archive that is written and a decision that waits to be signed.
#[derive(Debug)]
pub struct Archiving {
    /// The archive: the whole sealed ledger.
    pub exported: Exported,
    /// What leaves; `None` when nothing does.
    pub leaves: Option<Archived>,
}

impl Archiving {
    /// The act to sign, for [`Engine::prepare_act`] or [`Engine::change_keyring`].
    pub fn change(&self) -> Option<KeyChange> {
        self.leaves.as_ref().map(|archived| KeyChange {
            kind: Kind::RunsArchived,
            body: archived.to_body(),
        })
    }
}

impl Engine {
    /// How many runs could leave that ended before an instant (RFC 3339 UTC with microseconds).
    ///
    /// # Errors
    /// [`Error::Seal`] when nothing is sealed.
    pub async fn archivable(&self, before: &str) -> Result<u64, Error> {
        let session = self.inner.session().await?;
        let head = self.sealed_size().await?;
        let runs = self.inner.archivable(&session, before, head).await?;
        Ok(runs.len() as u64)
    }

    /// Writes an archive of the whole sealed ledger into a new folder and says what may leave behind it. Nothing leaves
    /// yet: verify the folder, then have the root sign [`Archiving::change`].
    ///
    /// `archives` are earlier ones, for what has left before.
    ///
    /// # Errors
    /// As [`Engine::export`].
    pub async fn archive(
        &self,
        folder: &Path,
        before: &str,
        log_key: &SigningKey,
        archives: &mut Archives,
    ) -> Result<Archiving, Error> {
        let exported = self.export(folder, None, log_key, archives).await?;
        let manifest = std::fs::read(folder.join(MANIFEST_NAME));
        let manifest = manifest.map_err(|error| Error::Archive {
            why: error.to_string(),
            path: folder.display().to_string(),
        })?;
        let session = self.inner.session().await?;
        let through = exported.head.size;
        let runs = self.inner.archivable(&session, before, through).await?;
        let ids: Vec<Uuid> = runs.iter().map(|(run, _)| *run).collect();
        let leaves = (!runs.is_empty()).then(|| Archived {
            before: before.to_owned(),
            through,
            runs: runs.len() as u64,
            records: runs.iter().map(|(_, count)| count).sum(),
            digest: Archived::digest_of(&ids),
            manifest: Hash::of(&manifest),
        });
        Ok(Archiving { exported, leaves })
    }
}

impl Inner {
    async fn archivable(
        &self,
        session: &Session,
        before: &str,
        through: u64,
    ) -> Result<Vec<(Uuid, u64)>, Error> {
        let list = self.prepare(session, sql::ARCHIVABLE).await?;
        let through = i64::try_from(through).unwrap_or(i64::MAX);
        let rows = session.query(&list, &[&before, &through]).await;
        let read = |row: &tokio_postgres::Row| {
            let count: i64 = row.try_get(1)?;
            Ok((row.try_get(0)?, u64::try_from(count).unwrap_or_default()))
        };
        let rows = rows.map_err(DbError::from)?;
        Ok(rows.iter().map(read).collect::<Result<_, DbError>>()?)
    }

    /// Takes out what a record of the keyring names, in that record's transaction.
    pub(crate) async fn take_out(&self, session: &Session, record: &Record) -> Result<(), Error> {
        let empty = serde_json::Map::new();
        let body = record.body.as_object().unwrap_or(&empty);
        let archived = Archived::from_body(body)?;
        let take = self.prepare(session, sql::ARCHIVE_RUNS).await?;
        let through = i64::try_from(archived.through).unwrap_or(i64::MAX);
        let digest = archived.digest.as_bytes().as_slice();
        let row = session
            .query_one(&take, &[&archived.before, &through, &digest, &record.seq])
            .await
            .map_err(DbError::from)?;
        let counted = |column: usize| -> Result<u64, DbError> {
            Ok(u64::try_from(row.try_get::<_, i64>(column)?).unwrap_or_default())
        };
        if (counted(0)?, counted(1)?) == (archived.runs, archived.records) {
            return Ok(());
        }
        let text = "the runs have another number of records than was decided about";
        Err(Error::Inconsistent(text.to_owned()))
    }
}
