//! Seals the ledger: gives each committed record its position in one log, signs the head, and publishes both.
//!
//! ```text
//! committed records -> positions, tree -> anchor compared -> head signed -> COMMIT -> anchor -> static files
//! ```
//!
//! **Invariant:** one sealer at a time extends the log: lease, fence, and the head repeated in the write.
//! **Invariant:** nothing is published that is not committed (with every standby that is required) and anchored; what
//! was committed is published at the latest by the next sealer that starts.
//! **Invariant:** before each signature the database's head is compared with the anchor outside it. Smaller or different
//! is a FORK: nothing is signed until people decide (a new generation).
//!
//! **What can go wrong:** a death or a lost answer at any point leaves the log as it was before or after one batch; the
//! next batch reads the head again.
//!
//! **Not here:** whether what the records say was allowed: that is the verifier's.

mod anchor;
mod batch;
mod carry;
mod error;
mod publish;
mod read;
mod step;

use std::path::PathBuf;
use std::time::Duration;

use redress_ledger::keyring::Keyring;
use redress_ledger::{Checkpoint, Hash, SigningKey, log_origin};
use redress_sql as sql;
use tokio::sync::watch;
use tracing::{Instrument, field};
use uuid::Uuid;

use crate::archive::Archives;
use crate::db::{DbError, Session};
use crate::engine::{Engine, Inner};
use crate::error::Error;
use crate::metric;
use crate::telemetry::Told;
use crate::tx::{Commit, end};

pub use anchor::{Anchor, FileAnchor};
pub use error::SealError;
use publish::Publisher;

/// Records of one batch, unless they are of one transaction that has more.
pub const BATCH_RECORDS: usize = 8_192;
/// Pause of a sealer that found nothing new.
const IDLE: Duration = Duration::from_millis(100);
/// Pause while another sealer has the lease.
const STAND_BY: Duration = Duration::from_secs(1);
/// Longest pause after an error.
const ERROR_PAUSE_MAX: Duration = Duration::from_secs(2);

/// Seals one installation's ledger with the log's key.
pub struct Sealer {
    engine: Engine,
    key: SigningKey,
    anchor: Box<dyn Anchor>,
    folder: PathBuf,
    limit: usize,
    owner: Uuid,
    name: String,
    first_anchor: bool,
    archives: Archives,
    fence: Option<i64>,
    known: Option<Known>,
}

/// What a sealer knows from batch to batch; read again when it does not fit.
struct Known {
    publisher: Publisher,
    keyring: Keyring,
    /// Records of the keyring that have a position.
    keys_sealed: i64,
    /// Records that opened the keyring, in one transaction.
    opening: i64,
}

/// What was sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// How many records got a position.
    pub records: u64,
    /// The head that is signed and published.
    pub head: Checkpoint,
}

impl Engine {
    /// A sealer that signs with the log's key, remembers heads in `anchor` and publishes into `folder`.
    pub fn sealer(
        &self,
        key: SigningKey,
        anchor: impl Anchor + 'static,
        folder: impl Into<PathBuf>,
    ) -> Sealer {
        Sealer {
            engine: self.clone(),
            key,
            anchor: Box::new(anchor),
            folder: folder.into(),
            limit: BATCH_RECORDS,
            owner: Uuid::now_v7(),
            name: self.inner.actor.clone(),
            first_anchor: false,
            archives: Archives::none(),
            fence: None,
            known: None,
        }
    }
}

impl Sealer {
    /// Sets how many records a batch has at most.
    #[must_use]
    pub fn batch(mut self, records: usize) -> Self {
        self.limit = records.max(1);
        self
    }

    /// Believes the database's head where there is no anchor yet: for a person who has compared it otherwise.
    #[must_use]
    pub fn first_anchor(mut self) -> Self {
        self.first_anchor = true;
        self
    }

    /// Names archives for records that have left the database: needed only where published files were lost.
    #[must_use]
    pub fn archives(mut self, archives: Archives) -> Self {
        self.archives = archives;
        self
    }

    /// Seals everything that is committed and publishes it.
    ///
    /// # Errors
    /// [`Error::Seal`] when nothing may be signed, [`Error::Db`]; [`Error::Unknown`] when the answer to COMMIT was lost:
    /// call it again, the next batch finds out.
    pub async fn seal(&mut self) -> Result<Sealed, Error> {
        let mut records = 0;
        let mut limit = self.limit;
        loop {
            let step = self.batch_seen(limit).await?;
            records += step.records;
            if !step.more {
                let head = step.head;
                return Ok(Sealed { records, head });
            }
            // Everything of a batch that was cut off waits for what was cut off.
            limit = if step.records == 0 {
                limit.saturating_mul(2)
            } else {
                self.limit
            };
        }
    }

    /// One batch inside its span.
    async fn batch_seen(&mut self, limit: usize) -> Result<step::Step, Error> {
        let span = tracing::info_span!(
            "seal",
            generation = self.engine.inner.installation.generation,
            records = field::Empty,
            size = field::Empty,
        );
        let since = metric::Since::now();
        let step = self.step(limit).instrument(span.clone()).await;
        if let Ok(step) = &step {
            span.record("records", step.records)
                .record("size", step.head.size);
        }
        metric::batch_ended(step.as_ref().map(|step| step.records), since);
        step
    }

    /// Seals until `shutdown` becomes true (or its sender is gone); `sealed` hears of each new head. While another sealer
    /// has the lease it stands by.
    ///
    /// # Errors
    /// [`Error::Seal`] when nothing may be signed any more. A database that is away is waited for.
    pub async fn follow(
        &mut self,
        mut shutdown: watch::Receiver<bool>,
        mut sealed: impl FnMut(&Sealed),
    ) -> Result<(), Error> {
        let mut pause = IDLE;
        loop {
            // A batch is never dropped half-way by a shutdown: it would be found again, and wait for its session.
            match self.seal().await {
                Ok(done) => {
                    pause = IDLE;
                    if done.records > 0 {
                        sealed(&done);
                    }
                }
                // The one before may have died with its lease: whoever waits takes over.
                Err(Error::Seal(error @ SealError::Busy { .. })) => {
                    tracing::info!(%error, code = error.code(), "standing by");
                    pause = STAND_BY;
                }
                Err(error) if is_passing(&error) => {
                    tracing::warn!(error = %Told(&error), code = error.code(), "sealing; tried again");
                    pause = (pause * 2).min(ERROR_PAUSE_MAX);
                }
                Err(error) => return Err(error),
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = shutdown.wait_for(|stop| *stop) => break,
            }
        }
        self.leave().await
    }

    /// Gives the lease back, so that another sealer may begin at once.
    ///
    /// # Errors
    /// [`Error::Db`]: then the lease runs out by itself.
    pub async fn leave(&mut self) -> Result<(), Error> {
        self.fence = None;
        let inner = &self.engine.inner;
        let session = inner.session().await?;
        let leave = inner.prepare(&session, sql::LEAVE_SEAL).await?;
        session
            .query_one(&leave, &[&self.owner])
            .await
            .map_err(DbError::from)?;
        Ok(())
    }

    /// The key that it signs with: a bundle's manifest is signed by the same.
    pub fn key(&self) -> &SigningKey {
        &self.key
    }

    fn origin(&self) -> String {
        let installation = &self.engine.inner.installation;
        log_origin(&installation.origin, installation.generation)
    }

    /// Takes or renews the lease.
    async fn hold_lease(&mut self, session: &Session) -> Result<i64, Error> {
        let inner = &self.engine.inner;
        let take = inner.prepare(session, sql::TAKE_SEAL).await?;
        let lease_ms = i64::try_from(inner.lease.as_millis()).unwrap_or(i64::MAX);
        session.take_warning();
        session
            .batch_execute("begin; set local synchronous_commit = on")
            .await
            .map_err(DbError::from)?;
        let row = session
            .query_one(&take, &[&self.owner, &self.name, &lease_ms])
            .await;
        let row = match row {
            Ok(row) => row,
            Err(error) => {
                inner.rollback(session).await;
                return Err(DbError::from(error).into());
            }
        };
        // What was committed before this is with every standby that is required, or this is in doubt too: so nothing is
        // published that only this server has.
        match end(session, async { Ok(()) }).await {
            Commit::Done(()) => {}
            Commit::Aborted(error) => return Err(error.into()),
            Commit::InDoubt(error) => return Err(Error::Unknown(error)),
        }
        let (taken, fence): (bool, i64) = (row.get(0), row.get(1));
        if !taken {
            let name: Option<String> = row.get(2);
            let name = name.unwrap_or_default();
            let until = row.get(3);
            return Err(SealError::Busy { name, until }.into());
        }
        if self.fence != Some(fence) {
            // Somebody else may have sealed in between.
            self.known = None;
            self.fence = Some(fence);
        }
        Ok(fence)
    }
}

/// Whether the same may succeed a little later, without a person.
fn is_passing(error: &Error) -> bool {
    match error {
        Error::Unknown(_) => true,
        Error::Db(error) => error.class() == redress_ledger::Class::Retry,
        _ => false,
    }
}

impl Inner {
    /// The root of the first leaves of the log, from the table of leaves.
    pub(crate) async fn root_of_leaves(
        &self,
        session: &Session,
        generation: i64,
        size: u64,
    ) -> Result<Hash, Error> {
        const LEAVES_A_PAGE: i64 = 10_000;
        let mut frontier = redress_ledger::Frontier::new();
        let read = self.prepare(session, sql::LEAVES_FROM).await?;
        while frontier.size() < size {
            let from = i64::try_from(frontier.size()).unwrap_or(i64::MAX);
            let left = i64::try_from(size - frontier.size()).unwrap_or(i64::MAX);
            let limit = LEAVES_A_PAGE.min(left);
            let rows = session
                .query(&read, &[&generation, &from, &limit])
                .await
                .map_err(DbError::from)?;
            if rows.is_empty() {
                let text = format!("leaf {from} is missing and the head says {size}");
                return Err(SealError::Fork(text).into());
            }
            for (position, row) in (from..).zip(&rows) {
                if row.get::<_, i64>(0) != position {
                    let text = format!("leaf {position} is missing");
                    return Err(SealError::Fork(text).into());
                }
                frontier
                    .push(crate::tx::hash_at(row, 1)?)
                    .map_err(SealError::from)?;
            }
        }
        Ok(frontier.root())
    }
}
