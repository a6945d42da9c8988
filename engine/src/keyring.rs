//! Whose keys count: the keyring as its records in the database say, held against the local trust file.
//!
//! **Invariant:** before the ledger is opened the trust file alone counts; from then on the keyring does, and only one
//! whose root the trust file names. A keyring that cannot be read or is not ours is an error, never "nobody opened it".
//!
//! **Invariant:** a decision is recorded with the number of the keyring's record that it was judged by; the database
//! refuses another (RD0219), so whoever revokes a key and whoever uses it know who was first.
//!
//! **Not here:** what the records of the keys must hold (`redress_ledger::keyring`).

use std::sync::{Arc, Mutex, PoisonError};

use redress_ledger::decision::DecisionError;
use redress_ledger::keyring::{KeyRole, Keyring, KeyringError, Root, Standing, Terms, body};
use redress_ledger::trust::Trust;
use redress_ledger::{Envelope, Kind, Record, SigningKey, Verified, Vkey, leaf_hash};
use redress_sql as sql;
use serde_json::Value;
use uuid::Uuid;

use crate::crash;
use crate::db::{DbError, Session};
use crate::engine::{Engine, Inner};
use crate::error::Error;
use crate::log::LogError;
use crate::tx::{Commit, LogHead, end};

/// The log of whose keys count.
pub(crate) const KEYS_LOG: &str = "keys";

/// Whose signatures count, as of one record of the keyring.
#[derive(Debug)]
pub(crate) struct Trusted {
    /// The number of the keyring's last record; 0 before the ledger is opened.
    pub seq: i64,
    /// The keys that count now.
    pub now: Trust,
    keyring: Option<Keyring>,
    file: Trust,
}

impl Trusted {
    /// Checks the signatures on a decision that stands in a record, by the keys that counted there.
    pub fn verify_in(
        &self,
        record: &Record,
        envelope: &Envelope,
    ) -> Result<Verified, DecisionError> {
        let stamp = record.body.get("keyring").and_then(Value::as_u64);
        match (&self.keyring, stamp) {
            (Some(keyring), Some(stamp)) if stamp > 0 => keyring.verify_at(envelope, stamp),
            _ => envelope.verify(&self.file),
        }
    }

    /// Every person's key that counts or once counted: for whoever reads what was decided in the past.
    pub fn ever(&self) -> Trust {
        let mut trust = self.file.clone();
        for key in self.keyring.iter().flat_map(Keyring::keys) {
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
        let trusted = Arc::new(Trusted {
            seq,
            now: keyring.as_ref().map_or_else(|| file.clone(), valid_people),
            keyring,
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
        let read = self.prepare(session, sql::RECORDS_OF_RUN).await?;
        let rows = session
            .query(&read, &[&self.installation.keys_run, &0_i64])
            .await
            .map_err(DbError::from)?;
        let mut keyring = Keyring::with_trust(self.installation.generation, file.clone());
        for row in &rows {
            let bytes: &[u8] = row.try_get("bytes").map_err(DbError::from)?;
            let record = Record::decode(bytes).map_err(|source| LogError::Record {
                seq: row.get(0),
                run: self.installation.keys_run,
                source,
            })?;
            keyring.push_unplaced(&record, leaf_hash(bytes))?;
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

    /// Adds root acts to the keyring's log in one transaction; `next` gives them one by one, each behind the last.
    async fn add_acts(
        &self,
        session: &Session,
        erased: Option<Uuid>,
        next: impl Fn(&Keyring, usize) -> Result<Option<(Kind, Value)>, Error>,
    ) -> Result<Keyring, Error> {
        let file = self.trust.as_ref().ok_or(Error::NoTrust)?;
        session
            .batch_execute("begin")
            .await
            .map_err(DbError::from)?;
        let result = async {
            let entered: LogHead = self.enter_log(session, KEYS_LOG).await?;
            let found = self.read_keyring(session, file).await?;
            let mut keyring = found
                .unwrap_or_else(|| Keyring::with_trust(self.installation.generation, file.clone()));
            let (mut head, mut bytes) = (entered.clone(), Vec::new());
            while let Some((kind, body)) = next(&keyring, bytes.len())? {
                let (record, encoded) = self.next_of(&mut head, kind, body)?;
                keyring.push_unplaced(&record, encoded.hash)?;
                bytes.push(encoded.bytes);
            }
            keyring.check_roots(file)?;
            if let Some(blob) = erased {
                self.erase(session, blob).await?;
            }
            self.append_bytes(session, KEYS_LOG, entered.seq, &bytes)
                .await?;
            crash::point("keyring.before_commit");
            match end(session, async { Ok(()) }).await {
                Commit::Done(()) => Ok(keyring),
                Commit::Aborted(error) | Commit::InDoubt(error) => Err(Error::Unknown(error)),
            }
        }
        .await;
        if result.is_err() {
            self.rollback(session).await;
        }
        result
    }
}

fn valid_people(keyring: &Keyring) -> Trust {
    let mut trust = Trust::new();
    for key in keyring.keys() {
        if let (KeyRole::Person(role), Standing::Valid(_)) =
            (key.role(), keyring.standing(key.vkey().id()))
        {
            // A keyring has no key twice.
            let _ = trust.add(role, key.vkey().clone());
        }
    }
    trust
}

/// A change of the keyring and the kind of its record.
pub struct KeyChange {
    /// The kind of the record.
    pub kind: Kind,
    /// Its body, from [`redress_ledger::keyring::body`].
    pub body: Value,
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

    /// Opens the ledger: states its root and its log's key, and registers the others, in one transaction.
    ///
    /// Every key of `signers` signs each act; they must be keys of the root and meet its threshold. What was decided
    /// before must have been signed by the root or by one of `others`, or nobody could verify it ever after.
    ///
    /// # Errors
    /// [`Error::Keyring`] when the ledger is open already or the signers are not enough; [`Error::NoTrust`].
    pub async fn open_ledger(
        &self,
        root: &Root,
        log: &Vkey,
        others: &[(Vkey, KeyRole)],
        signers: &[&SigningKey],
        reason: &str,
    ) -> Result<Keyring, Error> {
        let inner = &self.inner;
        let session = inner.session().await?;
        let now = inner.now(&session).await?;
        inner
            .add_acts(&session, None, |keyring, index| {
                let (kind, body) = match index.checked_sub(1) {
                    None => (Kind::KeyRegistered, body::opening(root, log)),
                    Some(index) => match others.get(index) {
                        Some((vkey, role)) => (Kind::KeyRegistered, body::register(vkey, *role)),
                        None => return Ok(None),
                    },
                };
                let change = KeyChange { kind, body };
                Ok(Some((
                    kind,
                    inner.sign_act(keyring, change, signers, reason, &now)?,
                )))
            })
            .await
    }

    /// Changes the keyring by one act that these keys sign.
    ///
    /// # Errors
    /// [`Error::Keyring`] when the act is not possible or the threshold of the root is not met: nothing was written.
    pub async fn change_keyring(
        &self,
        change: KeyChange,
        signers: &[&SigningKey],
        reason: &str,
    ) -> Result<Keyring, Error> {
        self.change(change, None, signers, reason).await
    }

    /// Erases a blob and its salt by a decision of the root, in one transaction with the record of it. What was
    /// committed to stays provable; what it said is gone.
    ///
    /// # Errors
    /// As [`Engine::change_keyring`]; [`Error::UnknownBlob`] when it is not there: nothing was written.
    pub async fn erase_blob(
        &self,
        blob: Uuid,
        signers: &[&SigningKey],
        reason: &str,
    ) -> Result<(), Error> {
        let change = KeyChange {
            kind: Kind::BlobErased,
            body: body::blob_erased(blob),
        };
        self.change(change, Some(blob), signers, reason).await?;
        Ok(())
    }

    async fn change(
        &self,
        change: KeyChange,
        erased: Option<Uuid>,
        signers: &[&SigningKey],
        reason: &str,
    ) -> Result<Keyring, Error> {
        let inner = &self.inner;
        let session = inner.session().await?;
        let now = inner.now(&session).await?;
        inner
            .add_acts(&session, erased, |keyring, index| {
                if index > 0 {
                    return Ok(None);
                }
                let change = KeyChange {
                    kind: change.kind,
                    body: change.body.clone(),
                };
                let kind = change.kind;
                Ok(Some((
                    kind,
                    inner.sign_act(keyring, change, signers, reason, &now)?,
                )))
            })
            .await
    }
}

impl Inner {
    async fn erase(&self, session: &Session, blob: Uuid) -> Result<(), Error> {
        let erase = self.prepare(session, sql::ERASE_BLOB).await?;
        let row = session
            .query_one(&erase, &[&blob])
            .await
            .map_err(DbError::from)?;
        match row.get(0) {
            true => Ok(()),
            false => Err(Error::UnknownBlob(blob)),
        }
    }

    fn sign_act(
        &self,
        keyring: &Keyring,
        change: KeyChange,
        signers: &[&SigningKey],
        reason: &str,
        now: &str,
    ) -> Result<Value, Error> {
        let terms = Terms {
            id: Uuid::now_v7(),
            origin: self.installation.origin.clone(),
            not_after: self.valid_until(now)?,
            reason: reason.to_owned(),
        };
        let act = keyring.act(change.kind, change.body, terms)?;
        let envelope = act.sign(signers)?;
        Ok(act.record_body(&envelope))
    }
}
