//! Changes whose keys count: opens the ledger, and records what its root signed, here or elsewhere.
//!
//! **Invariant:** an act is judged by the whole keyring, read behind the lock of its log, before it is written; what is
//! refused leaves nothing.
//!
//! **Not here:** what an act must hold (`redress_ledger::keyring`), and who counts for a decision (`keyring`).

use redress_ledger::decision::DecisionError;
use redress_ledger::keyring::{
    Act, DECISION_MEMBER, KeyRole, Keyring, KeyringError, Lack, Root, Terms, body,
};
use redress_ledger::trust::Trust;
use redress_ledger::{Envelope, Hash, Kind, SigningKey, Vkey};
use redress_sql as sql;
use serde_json::Value;
use uuid::Uuid;

use crate::bound::check_text;
use crate::crash;
use crate::db::{DbError, Session};
use crate::engine::{Engine, Inner};
use crate::error::Error;
use crate::system_log::LogHead;
use crate::tx::{Commit, end};

/// The log of whose keys count.
pub(crate) const KEYS_LOG: &str = "keys";

/// How long an act may wait for the signatures of people who do not sit together.
const ACT_VALID: jiff::SignedDuration = jiff::SignedDuration::from_hours(7 * 24);

/// A change of the keyring and the kind of its record.
pub struct KeyChange {
    /// The kind of the record.
    pub kind: Kind,
    /// Its body, from [`redress_ledger::keyring::body`].
    pub body: Value,
}

impl Engine {
    /// Opens the ledger: states its root and its log's key, and registers the others, in one transaction.
    ///
    /// Every key of `signers` signs each act; they must be keys of the root and meet its threshold. What was decided
    /// before must have been signed by the root or by one of `others`, or nobody could verify it ever after.
    ///
    /// # Errors
    /// [`Error::Act`] when the ledger is open already or the signers are not enough; [`Error::NoTrust`].
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
            .add_acts(&session, |keyring, index| {
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

    /// Writes an act behind the keyring as it is now and signs it with these keys, if any; nothing is recorded.
    ///
    /// Others may sign the envelope elsewhere; [`Engine::submit_act`] records it.
    ///
    /// # Errors
    /// [`Error::Act`] when the act is not possible, whoever signs it; [`Error::NoTrust`].
    pub async fn prepare_act(
        &self,
        change: KeyChange,
        signers: &[&SigningKey],
        reason: &str,
    ) -> Result<Envelope, Error> {
        let inner = &self.inner;
        let session = inner.session().await?;
        let now = inner.now(&session).await?;
        let keyring = inner.keyring_or_new(&session).await?;
        let act = inner.next_act(&keyring, change, reason, &now)?;
        let mut envelope = Envelope::unsigned_act(&act)?;
        for key in signers {
            envelope.countersign(key)?;
        }
        let sealed = inner.sealed_size(&session).await?;
        inner.try_act(&keyring, &act, &envelope, (&now, sealed))?;
        Ok(envelope)
    }

    /// Whose signatures an act still needs before it can be recorded; nothing is recorded.
    ///
    /// # Errors
    /// As [`Engine::submit_act`], but for signatures that are only missing.
    pub async fn act_lacks(&self, envelope: &Envelope) -> Result<Vec<Lack>, Error> {
        let inner = &self.inner;
        let session = inner.session().await?;
        let now = inner.now(&session).await?;
        let keyring = inner.keyring_or_new(&session).await?;
        let act = envelope.peek_act()?;
        let sealed = inner.sealed_size(&session).await?;
        inner.try_act(&keyring, &act, envelope, (&now, sealed))?;
        keyring.lacks(&act, envelope).map_err(Error::Act)
    }

    /// Records an act that was signed before, here or elsewhere.
    ///
    /// # Errors
    /// [`Error::Decision`] when the keyring has changed since it was written, or a signature does not hold;
    /// [`Error::Act`] when it is not possible or the threshold is not met. Nothing was written.
    pub async fn submit_act(&self, envelope: &Envelope) -> Result<Keyring, Error> {
        let inner = &self.inner;
        let session = inner.session().await?;
        let act = envelope.peek_act()?;
        inner
            .add_acts(&session, |keyring, index| {
                if index > 0 {
                    return Ok(None);
                }
                let kind = key_kind(keyring, &act)?;
                Ok(Some((kind, act.record_body(envelope))))
            })
            .await
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
        self.change_keyring(change, signers, reason).await?;
        Ok(())
    }

    /// Changes the keyring by one act that these keys sign.
    ///
    /// # Errors
    /// [`Error::Act`] when the act is not possible or the threshold of the root is not met: nothing was written.
    pub async fn change_keyring(
        &self,
        change: KeyChange,
        signers: &[&SigningKey],
        reason: &str,
    ) -> Result<Keyring, Error> {
        let inner = &self.inner;
        let session = inner.session().await?;
        let now = inner.now(&session).await?;
        inner
            .add_acts(&session, |keyring, index| {
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
    /// Adds root acts to the keyring's log in one transaction; `next` gives them one by one, each behind the last.
    async fn add_acts(
        &self,
        session: &Session,
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
            let mut keyring = found.unwrap_or_else(|| self.unopened(file));
            let sealed = self.sealed_size(session).await?;
            let (mut head, mut bytes) = (entered.clone(), Vec::new());
            while let Some((kind, body)) = next(&keyring, bytes.len())? {
                // A keyring passes over what changes no key; here nothing else is written.
                if !kind.is_root_act() {
                    return Err(Error::Inconsistent(format!("a {kind} among the keys")));
                }
                let (record, encoded) = self.next_of(&mut head, kind, body)?;
                keyring
                    .push_next(&record, encoded.hash, sealed)
                    .map_err(Error::Act)?;
                self.check_unused(session, &record.body).await?;
                if kind == Kind::BlobErased {
                    self.erase(session, &record.body).await?;
                }
                if kind == Kind::RunsArchived {
                    self.take_out(session, &record).await?;
                }
                bytes.push(encoded.bytes);
            }
            keyring.check_roots(file)?;
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

    /// Erases the blob that a record of the keyring names, in that record's transaction.
    async fn erase(&self, session: &Session, body: &Value) -> Result<(), Error> {
        let blob = body["blob"].as_str().and_then(|id| id.parse().ok());
        let blob: Uuid = blob.ok_or_else(|| Error::Inconsistent("a blob without id".to_owned()))?;
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
        let act = self.next_act(keyring, change, reason, now)?;
        let envelope = act.sign(signers)?;
        Ok(act.record_body(&envelope))
    }

    fn next_act(
        &self,
        keyring: &Keyring,
        change: KeyChange,
        reason: &str,
        now: &str,
    ) -> Result<Act, Error> {
        check_text("the reason", reason)?;
        let terms = Terms {
            id: Uuid::now_v7(),
            origin: self.installation.origin.clone(),
            not_after: self.valid_for(now, ACT_VALID)?,
            reason: reason.to_owned(),
        };
        Ok(keyring.act(change.kind, change.body, terms)?)
    }

    /// Whether an act could be recorded now but for signatures that are missing.
    fn try_act(
        &self,
        keyring: &Keyring,
        act: &Act,
        envelope: &Envelope,
        (now, sealed): (&str, u64),
    ) -> Result<(), Error> {
        let kind = key_kind(keyring, act)?;
        let basis = keyring.basis();
        let mut head = LogHead {
            generation: self.installation.generation,
            run: self.installation.keys_run,
            seq: basis.map_or(0, |basis| basis.seq),
            head: basis.map_or(Hash::ZERO, |basis| basis.hash),
            at: now.to_owned(),
            switch_no: 0,
        };
        let (record, encoded) = self.next_of(&mut head, kind, act.record_body(envelope))?;
        let unsigned = envelope.signatures.is_empty();
        match keyring.clone().push_next(&record, encoded.hash, sealed) {
            Ok(()) | Err(KeyringError::Threshold(_)) => Ok(()),
            Err(KeyringError::Act(DecisionError::SignatureCount(0))) if unsigned => Ok(()),
            Err(error) => Err(Error::Act(error)),
        }
    }

    /// No act has the id of a decision: each counts once among all. Whoever uses a decision waits for our lock.
    async fn check_unused(&self, session: &Session, body: &Value) -> Result<(), Error> {
        let signed = body.get(DECISION_MEMBER).unwrap_or(&Value::Null);
        let id = Envelope::from_value(signed)?.peek_act()?.id;
        let find = self.prepare(session, sql::IS_DECISION_USED).await?;
        let row = session
            .query_one(&find, &[&id])
            .await
            .map_err(DbError::from)?;
        match row.try_get(0).map_err(DbError::from)? {
            true => Err(Error::Act(KeyringError::UsedTwice(id))),
            false => Ok(()),
        }
    }

    /// How many records have a place in the log.
    async fn sealed_size(&self, session: &Session) -> Result<u64, Error> {
        let head = self.prepare(session, sql::SEALER_HEAD).await?;
        let row = session.query_one(&head, &[]).await.map_err(DbError::from)?;
        let size: i64 = row.try_get(1).map_err(DbError::from)?;
        Ok(u64::try_from(size).unwrap_or_default())
    }

    async fn keyring_or_new(&self, session: &Session) -> Result<Keyring, Error> {
        let file = self.trust.as_ref().ok_or(Error::NoTrust)?;
        let found = self.read_keyring(session, file).await?;
        Ok(found.unwrap_or_else(|| self.unopened(file)))
    }

    fn unopened(&self, file: &Trust) -> Keyring {
        Keyring::with_trust(self.installation.generation, file.clone())
    }
}

/// The kind of the record that an act allows, if that is one of the keys and the keyring has not changed meanwhile.
fn key_kind(keyring: &Keyring, act: &Act) -> Result<Kind, DecisionError> {
    let kind = act.act.parse().ok().filter(|kind: &Kind| {
        kind.is_key_act() || matches!(kind, Kind::BlobErased | Kind::RunsArchived)
    });
    let kind = kind.ok_or(DecisionError::OtherPurpose(act.id))?;
    if keyring.is_next(act) {
        Ok(kind)
    } else {
        Err(DecisionError::OtherBasis(act.id))
    }
}
