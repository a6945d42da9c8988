//! Continues a ledger whose log cannot go on: after a restore, a move to another server, or a fork.
//!
//! **Invariant:** one transaction: the generation rises, the keyring begins anew with the root and the keys that were
//! valid, and its first record, signed by that root, names the last head that somebody outside remembered. What was
//! recorded before is carried into the new log, whole and in its order, and the root signs for it; what the old one
//! signed beyond it stays provable from its own files.
//!
//! **What can go wrong:** workers of the old generation that still run. On another server they cannot connect; on the
//! same one the database waits for what they are writing and refuses what they write later.
//!
//! **What can go wrong:** a database that is no part of the log that is to be remembered: that is a fork, and no root
//! can open a generation behind a head that this database contradicts.

use redress_ledger::keyring::{Carried, KeyRole, Keyring, Standing, Terms, body};
use redress_ledger::note::Note;
use redress_ledger::{Checkpoint, Hash, Kind, SigningKey, Vkey, log_origin};
use redress_sql as sql;
use uuid::Uuid;

use crate::ceremony::KEYS_LOG;
use crate::crash;
use crate::db::{DbError, Session};
use crate::engine::{Engine, Inner};
use crate::error::Error;
use crate::schema::Installation;
use crate::seal::SealError;
use crate::tx::{Commit, end, hash_at};

impl Engine {
    /// Opens the next generation behind `remembered`, the exact bytes of the last head that was anchored or that anybody
    /// outside holds. `log` is the new log's key, named for that generation; `signers` are keys of the root in force.
    ///
    /// Every engine of the old generation must be built anew afterwards, this one too.
    ///
    /// # Errors
    /// [`Error::Seal`] when the ledger was never opened, the head is not one that its log signed, or the records are not
    /// those that were signed; [`Error::Keyring`] when the root's threshold is not met: nothing was written.
    pub async fn open_generation(
        &self,
        remembered: &[u8],
        log: &Vkey,
        signers: &[&SigningKey],
        reason: &str,
    ) -> Result<i64, Error> {
        let inner = &self.inner;
        let session = inner.session().await?;
        session
            .batch_execute("begin")
            .await
            .map_err(DbError::from)?;
        let result = async {
            let (generation, seq, bytes) = inner
                .next_generation(&session, remembered, log, signers, reason)
                .await?;
            inner
                .append_bytes(&session, KEYS_LOG, seq, &[bytes])
                .await?;
            crash::point("generation.before_commit");
            match end(&session, async { Ok(()) }).await {
                Commit::Done(()) => Ok(generation),
                Commit::Aborted(error) | Commit::InDoubt(error) => Err(Error::Unknown(error)),
            }
        }
        .await;
        if result.is_err() {
            inner.rollback(&session).await;
        }
        result
    }
}

impl Inner {
    /// Ends the old log and makes the record that opens the next one: its generation, its place before, its bytes.
    async fn next_generation(
        &self,
        session: &Session,
        remembered: &[u8],
        log: &Vkey,
        signers: &[&SigningKey],
        reason: &str,
    ) -> Result<(i64, i64, Vec<u8>), Error> {
        let file = self.trust.as_ref().ok_or(Error::NoTrust)?;
        let Installation {
            origin,
            generation: before,
            keys_run,
            ..
        } = &self.installation;
        let generation = before + 1;
        let open = self.prepare(session, sql::OPEN_GENERATION).await?;
        let row = session
            .query_one(&open, &[&generation, &Uuid::now_v7()])
            .await
            .map_err(DbError::from)?;
        let sealed = u64::try_from(row.get::<_, i64>(0)).unwrap_or_default();
        let sealed = (sealed, hash_at(&row, 1)?);
        // Nobody writes any more for the old generation: what there is now is all that there will be.
        let old = self.read_keyring(session, file).await?;
        let old = old.ok_or(SealError::NotOpened)?;
        let note = pinned(origin, *before, &old, remembered)?;
        let size = self.end_log(session, *before, *keys_run).await?;
        let carried = self
            .carried_root(session, *before, &note, sealed, size)
            .await?;
        let root = old.root().ok_or(SealError::NotOpened)?;
        let body = body::generation_opened(generation, &note, &carried, root, log, &others(&old));
        let mut keyring = Keyring::with_trust(generation, file.clone());
        let terms = Terms {
            id: Uuid::now_v7(),
            origin: origin.clone(),
            not_after: self.valid_until(&self.now(session).await?)?,
            reason: reason.to_owned(),
        };
        let act = keyring.act(Kind::GenerationOpened, body, terms)?;
        let body = act.record_body(&act.sign(signers)?);
        let mut head = self.enter_log(session, KEYS_LOG).await?;
        head.generation = generation;
        let seq = head.seq;
        let (record, encoded) = self.next_of(&mut head, Kind::GenerationOpened, body)?;
        keyring.push_unplaced(&record, encoded.hash)?;
        keyring.check_continues(&old)?;
        keyring.check_roots(file)?;
        Ok((generation, seq, encoded.bytes))
    }

    /// What the root signs about the old log: it must be the one that was signed, as far as it was.
    async fn carried_root(
        &self,
        session: &Session,
        generation: i64,
        pinned: &Note,
        (sealed, root): (u64, Hash),
        size: u64,
    ) -> Result<Carried, Error> {
        let pinned = Checkpoint::peek(&pinned.to_bytes()).map_err(SealError::from)?;
        for (at, expected, whose) in [
            (sealed, root, "that the database remembers"),
            (pinned.size, pinned.root, "that is to be remembered"),
        ] {
            if at <= sealed && self.root_of_leaves(session, generation, at).await? != expected {
                return Err(SealError::Fork(format!(
                    "the first {at} leaves of this database are not those of the head {whose}"
                ))
                .into());
            }
        }
        let root = self.root_of_leaves(session, generation, size).await?;
        Ok(Carried { size, sealed, root })
    }
}

/// The head that is to be remembered: one that the old log signed.
fn pinned(origin: &str, generation: i64, keyring: &Keyring, bytes: &[u8]) -> Result<Note, Error> {
    let name = log_origin(origin, generation);
    let mut found = Err(SealError::Nothing);
    for key in keyring.keys().filter(|key| key.role() == KeyRole::Log) {
        found = Checkpoint::verify(bytes, key.vkey())
            .map(|signed| signed.note().clone())
            .map_err(SealError::from);
        if found.is_ok() && key.vkey().name() == name {
            break;
        }
    }
    Ok(found?)
}

/// Every valid key but the root's and the log's.
fn others(keyring: &Keyring) -> Vec<(Vkey, KeyRole)> {
    let root = keyring.root();
    keyring
        .keys()
        .filter(|key| matches!(keyring.standing(key.vkey().id()), Standing::Valid(_)))
        .filter(|key| key.role() != KeyRole::Log)
        .filter(|key| root.is_none_or(|root| root.key(key.vkey().id()).is_none()))
        .map(|key| (key.vkey().clone(), key.role()))
        .collect()
}
