//! Whose keys count: the keyring as its records in the database say, held against the local trust file.
//!
//! **Invariant:** before the ledger is opened the trust file alone counts; from then on the keyring does, and only one
//! whose root the trust file names. A keyring that cannot be read or is not ours is an error, never "nobody opened it".
//!
//! **Invariant:** a decision is recorded with the number of the keyring's record that it was judged by; the database
//! refuses another (RD0219), so whoever revokes a key and whoever uses it know who was first.
//!
//! **Not here:** what the records of the keys must hold (`redress_ledger::keyring`), and changing them (`ceremony`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use redress_ledger::decision::DecisionError;
use redress_ledger::keyring::{KeyRole, Keyring, KeyringError};
use redress_ledger::trust::Trust;
use redress_ledger::{Envelope, Hash, Record, Verified, leaf_hash};
use redress_sql as sql;
use serde_json::Value;
use uuid::Uuid;

use crate::db::{DbError, Session};
use crate::engine::{Engine, Inner};
use crate::error::Error;
use crate::log::LogError;

/// Whose signatures count, as of one record of the keyring.
#[derive(Debug)]
pub(crate) struct Trusted {
    /// The number of the keyring's last record; 0 before the ledger is opened.
    pub seq: i64,
    keyring: Option<Keyring>,
    /// Those of the generations before, by generation, each continued by the next.
    older: BTreeMap<i64, Keyring>,
    file: Trust,
}

impl Trusted {
    /// Checks the signatures on a decision by the keys that count now.
    pub fn verify(&self, envelope: &Envelope) -> Result<Verified, DecisionError> {
        match &self.keyring {
            Some(keyring) => keyring.verify(envelope),
            None => envelope.verify(&self.file),
        }
    }

    /// The same for a decision that is about to be recorded: its id must not be that of an act of the root, in whatever
    /// generation. That no other decision has it is the database's to refuse.
    pub fn verify_new(&self, envelope: &Envelope) -> Result<Verified, Error> {
        let verified = self.verify(envelope)?;
        let id = verified.decision.id;
        let mut keyrings = self.older.values().chain(&self.keyring);
        match keyrings.any(|keyring| keyring.is_used(id)) {
            true => Err(Error::Replayed(id)),
            false => Ok(verified),
        }
    }

    /// Checks the signatures on a decision that stands in a record, by the keys that counted there.
    pub fn verify_in(
        &self,
        record: &Record,
        envelope: &Envelope,
    ) -> Result<Verified, DecisionError> {
        let stamp = record.body.get("keyring").and_then(Value::as_u64);
        let keyring = self.older.get(&record.generation);
        match (keyring.or(self.keyring.as_ref()), stamp) {
            (Some(keyring), Some(stamp)) if stamp > 0 => keyring.verify_at(envelope, stamp),
            _ => envelope.verify(&self.file),
        }
    }

    /// Every person's key that counts or once counted: for whoever reads what was decided in the past.
    pub fn ever(&self) -> Trust {
        let mut trust = self.file.clone();
        let keyrings = self.older.values().chain(&self.keyring);
        for key in keyrings.flat_map(Keyring::keys) {
            if let KeyRole::Person(role) = key.role() {
                // A key of the file is known already.
                let _ = trust.add(role, key.vkey().clone());
            }
        }
        trust
    }
}

/// The keyring that was read last.
pub(crate) type Cached = Mutex<Option<Arc<Trusted>>>;

impl Inner {
    /// Whose signatures count now.
    pub(crate) async fn trusted(&self, session: &Session) -> Result<Arc<Trusted>, Error> {
        let file = self.trust.as_ref().ok_or(Error::NoTrust)?;
        let heads = self.prepare(session, sql::SYSTEM_HEADS).await?;
        let rows = session.query(&heads, &[]).await.map_err(DbError::from)?;
        let keys_run = self.installation.keys_run;
        let seq = rows
            .iter()
            .find(|row| row.get::<_, Uuid>(0) == keys_run)
            .map(|row| row.get::<_, i64>(1))
            .ok_or_else(|| Error::Inconsistent("the row of the keyring is missing".to_owned()))?;
        let cached = self
            .keys
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(trusted) = cached.filter(|trusted| trusted.seq == seq) {
            return Ok(trusted);
        }
        let keyring = self.read_keyring(session, file).await?;
        let older = self.older_keyrings(session, keyring.as_ref()).await?;
        let trusted = Arc::new(Trusted {
            seq,
            keyring,
            older,
            file: file.clone(),
        });
        *self.keys.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&trusted));
        Ok(trusted)
    }

    /// The same; `None` when no roots are configured here.
    pub(crate) async fn trusted_if_any(
        &self,
        session: &Session,
    ) -> Result<Option<Arc<Trusted>>, Error> {
        match self.trust {
            Some(_) => self.trusted(session).await.map(Some),
            None => Ok(None),
        }
    }

    /// The keyring as its records say; `None` before the ledger is opened.
    pub(crate) async fn read_keyring(
        &self,
        session: &Session,
        file: &Trust,
    ) -> Result<Option<Keyring>, Error> {
        let (generation, run) = (self.installation.generation, self.installation.keys_run);
        let mut keyring = Keyring::with_trust(generation, file.clone());
        for (record, hash) in self.keyring_records(session, run).await? {
            keyring.push_unplaced(&record, hash)?;
        }
        if keyring.root().is_none() {
            // A later generation is opened in the transaction that begins it: an empty one was tampered with.
            if self.installation.generation > 1 {
                return Err(KeyringError::NotOpened.into());
            }
            return Ok(None);
        }
        keyring.check_roots(file)?;
        Ok(Some(keyring))
    }

    /// The keyrings of the generations before: what was decided by them goes on counting. One that the next did not go
    /// on with is not ours.
    async fn older_keyrings(
        &self,
        session: &Session,
        newest: Option<&Keyring>,
    ) -> Result<BTreeMap<i64, Keyring>, Error> {
        let mut older = BTreeMap::new();
        for run in &self.installation.old_keys {
            let records = self.keyring_records(session, *run).await?;
            let generation = records.first().map(|(record, _)| record.generation);
            let generation = generation.ok_or(KeyringError::NotOpened)?;
            let mut keyring = Keyring::new(generation);
            for (record, hash) in &records {
                keyring.push_unplaced(record, *hash)?;
            }
            older.insert(generation, keyring);
        }
        let newer = older.values().skip(1).chain(newest);
        for (newer, older) in newer.zip(older.values()) {
            newer.check_continues(older)?;
        }
        Ok(older)
    }

    async fn keyring_records(
        &self,
        session: &Session,
        run: Uuid,
    ) -> Result<Vec<(Record, Hash)>, Error> {
        let read = self.prepare(session, sql::RECORDS_OF_RUN).await?;
        let rows = session
            .query(&read, &[&run, &0_i64])
            .await
            .map_err(DbError::from)?;
        let mut records = Vec::with_capacity(rows.len());
        for row in &rows {
            let bytes: &[u8] = row.try_get("bytes").map_err(DbError::from)?;
            let seq = row.get(0);
            let decoded = Record::decode(bytes);
            let record = decoded.map_err(|source| LogError::Record { seq, run, source })?;
            records.push((record, leaf_hash(bytes)));
        }
        Ok(records)
    }
}

impl Engine {
    /// The keyring as the ledger says, verified against the trust file; `None` before the ledger is opened.
    ///
    /// # Errors
    /// [`Error::NoTrust`]; [`Error::Keyring`] when a record of the keys does not hold, or the roots are not those of
    /// the trust file.
    pub async fn keyring(&self) -> Result<Option<Keyring>, Error> {
        let session = self.inner.session().await?;
        let file = self.inner.trust.as_ref().ok_or(Error::NoTrust)?;
        self.inner.read_keyring(&session, file).await
    }
}
