//! Continues a ledger whose log cannot go on: after a restore, a move to another server, or a fork.
//!
//! **Invariant:** one transaction: the generation rises, the keyring begins anew with the root and the keys that were
//! valid, and its first record, signed by that root, names the last head that somebody outside remembered. What was
//! recorded before is carried into the new log; what the old one signed beyond it stays provable from its own files.
//!
//! **What can go wrong:** workers of the old generation that still run. On another server they cannot connect; on the
//! same one they are stopped first (kill switch), since the records that they would write would pass for carried ones.

use redress_ledger::keyring::{KeyRole, Keyring, Root, Standing, Terms, body};
use redress_ledger::note::Note;
use redress_ledger::{Checkpoint, Kind, SigningKey, Vkey, log_origin};
use redress_sql as sql;
use uuid::Uuid;

use crate::ceremony::KEYS_LOG;
use crate::crash;
use crate::db::DbError;
use crate::engine::Engine;
use crate::error::Error;
use crate::seal::SealError;
use crate::tx::{Commit, end};

impl Engine {
    /// Opens the next generation behind `remembered`, the exact bytes of the last head that was anchored or that anybody
    /// outside holds. `log` is the new log's key, named for that generation; `signers` are keys of the root in force.
    ///
    /// Every engine of the old generation must be built anew afterwards, this one too.
    ///
    /// # Errors
    /// [`Error::Seal`] when the ledger was never opened or the head is not one that its log signed; [`Error::Keyring`]
    /// when the root's threshold is not met: nothing was written.
    pub async fn open_generation(
        &self,
        remembered: &[u8],
        log: &Vkey,
        signers: &[&SigningKey],
        reason: &str,
    ) -> Result<i64, Error> {
        let inner = &self.inner;
        let file = inner.trust.as_ref().ok_or(Error::NoTrust)?;
        let session = inner.session().await?;
        let old = inner.read_keyring(&session, file).await?;
        let old = old.ok_or(SealError::NotOpened)?;
        let note = pinned(
            &inner.installation.origin,
            inner.installation.generation,
            &old,
            remembered,
        )?;
        let generation = inner.installation.generation + 1;
        let now = inner.now(&session).await?;
        let (root, others) = (in_force(&old)?, others(&old));
        let body = body::generation_opened(generation, &note, root, log, &others);
        let mut keyring = Keyring::with_trust(generation, file.clone());
        let terms = Terms {
            id: Uuid::now_v7(),
            origin: inner.installation.origin.clone(),
            not_after: inner.valid_until(&now)?,
            reason: reason.to_owned(),
        };
        let act = keyring.act(Kind::GenerationOpened, body, terms)?;
        let body = act.record_body(&act.sign(signers)?);
        session
            .batch_execute("begin")
            .await
            .map_err(DbError::from)?;
        let result = async {
            let open = inner.prepare(&session, sql::OPEN_GENERATION).await?;
            session
                .query_one(&open, &[&generation, &Uuid::now_v7()])
                .await
                .map_err(DbError::from)?;
            let mut head = inner.enter_log(&session, KEYS_LOG).await?;
            head.generation = generation;
            let seq = head.seq;
            let (record, encoded) = inner.next_of(&mut head, Kind::GenerationOpened, body)?;
            keyring.push_unplaced(&record, encoded.hash)?;
            keyring.check_roots(file)?;
            inner
                .append_bytes(&session, KEYS_LOG, seq, &[encoded.bytes])
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

fn in_force(keyring: &Keyring) -> Result<&Root, Error> {
    Ok(keyring.root().ok_or(SealError::NotOpened)?)
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
