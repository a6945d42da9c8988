//! How a transaction of the engine is entered and ended: the entry, the one flight that ends it, and its three outcomes.
//!
//! **Invariant:** nothing but success of `append` and of COMMIT counts as done. [`Commit`] is not a `Result`, so that
//! nobody can `?` past doubt.
//!
//! **What can go wrong:** the connection breaks after the last flight left: in doubt. COMMIT answers with an error or
//! with warning 01000: in doubt too. [`Inner::fate`] takes the run's row lock first and reads the log then; a plain
//! read would show nothing while the old backend still waits.

use std::task::Poll;
use std::time::Duration;

use redress_ledger::state::State;
use redress_ledger::{Encoded, Hash, Kind, Record};
use redress_sql as sql;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::crash;
use crate::db::{DbError, Session};
use crate::engine::Inner;
use crate::error::Error;
use crate::log::{LogError, Pages};
use crate::metric;
use crate::telemetry::DbTold;

/// Longest wait for a lock in a transaction that is no phase.
const RECORD_LOCK_MS: i32 = 5_000;
/// Longest statement in a transaction that is no phase.
const RECORD_STATEMENT_MS: i32 = 30_000;
/// Longest silence inside a transaction that is no phase.
const RECORD_IDLE_MS: i32 = 10_000;
/// How long the fate of a commit may stay unknown before the caller is told so.
const FATE_WAIT_MS: i32 = 60_000;
/// How long the answers to a record and its COMMIT are waited for; then the commit is in doubt and the wire given up.
pub(crate) const COMMIT_ANSWER_MAX: Duration = Duration::from_secs(15);
/// How often a lost connection may stand between us and a fate: ten seconds, enough for a server that restarts.
const FATE_TRIES_MAX: u32 = 100;
/// Pause before it is asked for again.
const FATE_PAUSE: Duration = Duration::from_millis(100);
/// How long the answer to ROLLBACK is waited for.
const ROLLBACK_MAX: Duration = Duration::from_secs(5);

/// The end of a transaction.
#[must_use = "a commit may be in doubt"]
#[derive(Debug)]
pub enum Commit<T> {
    /// It stands.
    Done(T),
    /// It does not stand, for certain.
    Aborted(DbError),
    /// Whether it stands is not known.
    InDoubt(DbError),
}

/// What became of a commit in doubt.
#[derive(Debug)]
pub(crate) enum Fate {
    Committed,
    /// It did not commit and cannot any more: the epoch was raised.
    Not {
        epoch: i64,
    },
}

/// What the entry functions return.
#[derive(Clone, Debug)]
pub(crate) struct Entered {
    pub xid: String,
    pub seq: i64,
    pub head: Hash,
    pub at: String,
    pub switch_no: i64,
    pub epoch: i64,
    pub state: State,
    pub phase: Option<String>,
    pub basis: (i64, Hash),
}

/// How a run's row changes with an `append`.
#[derive(Clone, Debug)]
pub(crate) struct Moved<'a> {
    pub phase: Option<&'a str>,
    pub attempts: Option<i32>,
    pub wait_ms: Option<i64>,
    /// Keeps the count of claims: no progress was made.
    pub keep_claims: bool,
    pub failed_phase: Option<&'a str>,
    pub error: Option<(&'a str, &'a str)>,
    pub plan: Option<Hash>,
    pub checked: Option<&'a [u32]>,
}

impl<'a> Moved<'a> {
    /// Nothing but the head moves.
    pub fn nothing(phase: Option<&'a str>) -> Self {
        Self {
            phase,
            attempts: None,
            wait_ms: None,
            keep_claims: true,
            failed_phase: None,
            error: None,
            plan: None,
            checked: None,
        }
    }
}

pub(crate) fn hash_at(row: &Row, index: usize) -> Result<Hash, DbError> {
    let bytes: Vec<u8> = row.try_get(index)?;
    Hash::try_from(bytes.as_slice()).map_err(|error| DbError::Value(error.to_string()))
}

pub(crate) fn state_of(text: &str) -> Result<State, DbError> {
    text.parse()
        .map_err(|_| DbError::Value(format!("unknown run state {text}")))
}

impl Entered {
    /// Reads a row of `enter_run` or `enter_compensation`.
    pub fn from_row(row: &Row) -> Result<Self, DbError> {
        Ok(Self {
            xid: row.try_get(0)?,
            seq: row.try_get(1)?,
            head: hash_at(row, 2)?,
            at: row.try_get(3)?,
            switch_no: row.try_get(4)?,
            epoch: row.try_get(5)?,
            state: state_of(row.try_get(6)?)?,
            phase: row.try_get(7)?,
            basis: (row.try_get(8)?, hash_at(row, 9)?),
        })
    }
}

/// What `append` is called with, in its order.
pub(crate) struct AppendValues<'a> {
    run: Uuid,
    entered: &'a Entered,
    head: &'a [u8],
    was: &'static str,
    bytes: Vec<&'a [u8]>,
    now: &'static str,
    moved: &'a Moved<'a>,
    code: Option<&'a str>,
    message: Option<&'a str>,
    plan: Option<Vec<u8>>,
    checked: Option<Vec<u32>>,
}

impl<'a> AppendValues<'a> {
    pub fn new(entered: &'a Entered, pages: &'a Pages<'_>, moved: &'a Moved<'a>) -> Self {
        let (code, message) = moved.error.unzip();
        Self {
            run: pages.run(),
            entered,
            head: entered.head.as_bytes().as_slice(),
            was: entered.state.as_str(),
            bytes: pages.bytes.iter().map(Vec::as_slice).collect(),
            now: pages.state().as_str(),
            moved,
            code,
            message,
            plan: moved.plan.map(|plan| plan.as_bytes().to_vec()),
            checked: moved.checked.map(<[u32]>::to_vec),
        }
    }

    pub fn params(&self) -> [&(dyn ToSql + Sync); 18] {
        [
            &self.run,
            &self.entered.epoch,
            &self.entered.xid,
            &self.entered.seq,
            &self.head,
            &self.was,
            &self.entered.phase,
            &self.bytes,
            &self.now,
            &self.moved.phase,
            &self.moved.attempts,
            &self.moved.wait_ms,
            &self.moved.keep_claims,
            &self.moved.failed_phase,
            &self.code,
            &self.message,
            &self.plan,
            &self.checked,
        ]
    }
}

/// Appends the records, moves the run and commits, in one flight; `role` says that the transaction runs under one.
pub(crate) async fn finish(
    inner: &Inner,
    session: &Session,
    entered: &Entered,
    pages: &Pages<'_>,
    moved: &Moved<'_>,
) -> Commit<()> {
    let append = match session.prepare_cached(inner.sql.text(sql::APPEND)).await {
        Ok(statement) => statement,
        // COMMIT was not sent.
        Err(error) => {
            roll_back(session).await;
            return Commit::Aborted(error.into());
        }
    };
    session.take_warning();
    let values = AppendValues::new(entered, pages, moved);
    let params = values.params();
    let run = values.run;
    let last = async { session.query_one(&append, &params).await.map(|_| ()) };
    // Signed while the server works, given only behind success of COMMIT.
    let (commit, receipts) = futures_util::join!(end(session, last), async {
        inner.make_receipts(run, entered.seq, &pages.bytes)
    });
    if matches!(commit, Commit::Done(())) {
        inner.give_receipts(&receipts);
    }
    commit
}

/// Sends the last statement and COMMIT in one flight and judges the two answers.
pub(crate) async fn end(
    session: &Session,
    last: impl Future<Output = Result<(), tokio_postgres::Error>>,
) -> Commit<()> {
    let mut last = std::pin::pin!(last);
    // The first poll sends. A statement that could not even be encoded must not be followed by COMMIT; one that the
    // server refused already, while this thread was not running, needs none. Both leave the transaction open.
    let sent = match futures_util::poll!(last.as_mut()) {
        Poll::Ready(Err(error)) => {
            roll_back(session).await;
            return Commit::Aborted(error.into());
        }
        Poll::Ready(Ok(())) => Some(()),
        Poll::Pending => None,
    };
    let last = async {
        match sent {
            Some(()) => Ok(()),
            None => last.await,
        }
    };
    let commit = session.batch_execute("commit");
    let answers = async {
        if crash::armed("phase.after_log") {
            let last = last.await;
            crash::point("phase.after_log");
            (last, commit.await)
        } else {
            let flight = std::pin::pin!(async { futures_util::join!(commit, last) });
            let (commit, last) = crash::after_sending("phase.commit_sent", flight).await;
            (last, commit)
        }
    };
    let Ok((last, commit)) = tokio::time::timeout(COMMIT_ANSWER_MAX, answers).await else {
        session.abandon();
        let text = format!("no answer to COMMIT within {COMMIT_ANSWER_MAX:?}");
        return Commit::InDoubt(DbError::Lost(text));
    };
    match (last.map_err(DbError::from), commit.map_err(DbError::from)) {
        // The transaction was already dead when COMMIT came: the server answered ROLLBACK.
        (Err(error @ DbError::Server { .. }), Ok(())) => Commit::Aborted(error),
        (Err(error), _) | (Ok(()), Err(error)) => Commit::InDoubt(error),
        (Ok(()), Ok(())) => match session.take_warning() {
            None => Commit::Done(()),
            Some(warning) => Commit::InDoubt(DbError::Lost(format!(
                "the server warned at COMMIT: {warning}"
            ))),
        },
    }
}

async fn roll_back(session: &Session) {
    if session.is_closed() {
        return;
    }
    match tokio::time::timeout(ROLLBACK_MAX, session.batch_execute("rollback")).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::debug!(sqlstate = error.code().map(|code| code.code()), "rollback")
        }
        // A wire that went silent: the server ends the session by its own limits.
        Err(_) => session.abandon(),
    }
}

impl Inner {
    /// Begins a transaction and locks a run in it, without the gate.
    pub(crate) async fn enter_run(
        &self,
        session: &Session,
        run: Uuid,
        epoch: Option<i64>,
        raise: bool,
    ) -> Result<Entered, DbError> {
        self.enter_run_waiting(session, run, epoch, raise, RECORD_LOCK_MS)
            .await
    }

    async fn enter_run_waiting(
        &self,
        session: &Session,
        run: Uuid,
        epoch: Option<i64>,
        raise: bool,
        lock_ms: i32,
    ) -> Result<Entered, DbError> {
        let enter = session
            .prepare_cached(self.sql.text(sql::ENTER_RUN))
            .await?;
        let set_limit = session
            .prepare_cached("select set_config('lock_timeout', $1, true)")
            .await?;
        let lock_text = lock_ms.to_string();
        let idle_ms = self.record_idle_ms();
        let statement_ms = RECORD_STATEMENT_MS.max(lock_ms + 1_000);
        let limit_params: [&(dyn ToSql + Sync); 1] = [&lock_text];
        let params: [&(dyn ToSql + Sync); 6] =
            [&run, &epoch, &raise, &statement_ms, &lock_ms, &idle_ms];
        // The function's own settings hold from its end on; its row lock must be bounded as well.
        let (begin, limit, row) = futures_util::join!(
            session.batch_execute("begin"),
            session.query_one(&set_limit, &limit_params),
            session.query_one(&enter, &params),
        );
        begin?;
        let entered = match (limit, row) {
            (Ok(_), Ok(row)) => Entered::from_row(&row),
            (Err(error), _) | (_, Err(error)) => Err(error.into()),
        };
        if entered.is_err() {
            self.rollback(session).await;
        }
        entered
    }

    /// As in a phase, the silence inside stays below the lease, or nobody could take over a stopped worker's run.
    fn record_idle_ms(&self) -> i32 {
        let half = i32::try_from(self.lease.as_millis() / 2).unwrap_or(i32::MAX);
        RECORD_IDLE_MS.min(half.max(1))
    }

    /// Rolls back; a broken connection has done so by itself.
    pub(crate) async fn rollback(&self, session: &Session) {
        roll_back(session).await;
    }

    /// Finds out what became of a commit in doubt that was made under an epoch.
    pub(crate) async fn fate(
        &self,
        run: Uuid,
        epoch: i64,
        seq: i64,
        hash: Hash,
    ) -> Result<Fate, Error> {
        let mut fate = self.fate_once(run, epoch, seq, hash).await;
        for _ in 1..FATE_TRIES_MAX {
            if !fate.as_ref().is_err_and(Error::is_lost) {
                break;
            }
            tokio::time::sleep(FATE_PAUSE).await;
            fate = self.fate_once(run, epoch, seq, hash).await;
        }
        metric::doubt_resolved(match &fate {
            Ok(Fate::Committed) => "committed",
            Ok(Fate::Not { .. }) => "not_committed",
            Err(_) => "unknown",
        });
        fate
    }

    /// The row lock first, then the log.
    async fn fate_once(&self, run: Uuid, epoch: i64, seq: i64, hash: Hash) -> Result<Fate, Error> {
        let session = self.apart().await?;
        let entered = self
            .enter_run_waiting(&session, run, None, false, FATE_WAIT_MS)
            .await;
        let entered = match entered {
            Err(error) if error.sqlstate() == Some("55P03") => return Err(Error::Unknown(error)),
            other => other?,
        };
        let fate = self
            .read_fate(&session, run, epoch, seq, hash, &entered)
            .await;
        if !matches!(fate, Ok(Fate::Not { .. })) {
            self.rollback(&session).await;
        }
        fate
    }

    async fn read_fate(
        &self,
        session: &Session,
        run: Uuid,
        epoch: i64,
        seq: i64,
        hash: Hash,
        entered: &Entered,
    ) -> Result<Fate, Error> {
        let at = session
            .query_opt(self.sql.text(sql::RECORD_HASH_AT), &[&run, &seq])
            .await
            .map_err(DbError::from)?;
        if let Some(row) = at
            && hash_at(&row, 0)? == hash
        {
            return Ok(Fate::Committed);
        }
        if entered.epoch > epoch {
            // Somebody else has the run by now: we are fenced already, and theirs is not ours to raise.
            self.rollback(session).await;
            return Ok(Fate::Not { epoch });
        }
        // It did not commit: fence whatever may still be on its way, in this same transaction.
        let raise = session
            .prepare_cached(self.sql.text(sql::ENTER_RUN))
            .await
            .map_err(DbError::from)?;
        let row = session
            .query_one(
                &raise,
                &[
                    &run,
                    &Some(entered.epoch),
                    &true,
                    &RECORD_STATEMENT_MS,
                    &RECORD_LOCK_MS,
                    &RECORD_IDLE_MS,
                ],
            )
            .await
            .map_err(DbError::from)?;
        let raised = Entered::from_row(&row)?;
        session
            .batch_execute("commit")
            .await
            .map_err(DbError::from)?;
        Ok(Fate::Not {
            epoch: raised.epoch,
        })
    }

    /// Ends a transaction that is no phase, and resolves doubt before it returns.
    pub(crate) async fn settle(
        &self,
        session: &Session,
        entered: &Entered,
        pages: &Pages<'_>,
        moved: &Moved<'_>,
    ) -> Result<(), Error> {
        match finish(self, session, entered, pages, moved).await {
            Commit::Done(()) => Ok(()),
            Commit::Aborted(error) => Err(error.into()),
            Commit::InDoubt(error) => {
                tracing::warn!(error = %DbTold(&error), code = error.code(), run = %pages.run(), "commit in doubt");
                let fate = self.fate(pages.run(), entered.epoch, pages.seq, pages.head);
                match fate.await? {
                    Fate::Committed => Ok(()),
                    Fate::Not { .. } => Err(error.into()),
                }
            }
        }
    }

    /// Locks the system log, lets `build` add records to it and to the tables, and commits.
    pub(crate) async fn with_system_log<T>(
        &self,
        session: &Session,
        at_switch: Option<i64>,
        records: Vec<(Kind, serde_json::Value)>,
        value: T,
    ) -> Result<T, Error> {
        self.append_system(session, at_switch, records).await?;
        match end(session, async { Ok(()) }).await {
            Commit::Done(()) => Ok(value),
            Commit::Aborted(error) => Err(Error::Unknown(error)),
            Commit::InDoubt(error) => {
                metric::doubt_resolved("unknown");
                Err(Error::Unknown(error))
            }
        }
    }

    /// Adds records to the system log inside the transaction that is open on the session.
    pub(crate) async fn append_system(
        &self,
        session: &Session,
        at_switch: Option<i64>,
        records: Vec<(Kind, serde_json::Value)>,
    ) -> Result<(), Error> {
        let mut head = self.enter_log(session, SYSTEM_LOG).await?;
        head.switch_no = at_switch.unwrap_or(head.switch_no);
        self.append_log(session, SYSTEM_LOG, &head, records).await
    }

    /// Locks a log that belongs to no run, inside the transaction that is open on the session.
    pub(crate) async fn enter_log(
        &self,
        session: &Session,
        log: &'static str,
    ) -> Result<LogHead, Error> {
        let enter = self.prepare(session, sql::ENTER_SYSTEM).await?;
        let limits: [&(dyn ToSql + Sync); 4] =
            [&log, &RECORD_STATEMENT_MS, &RECORD_LOCK_MS, &RECORD_IDLE_MS];
        let row = session
            .query_one(&enter, &limits)
            .await
            .map_err(DbError::from)?;
        Ok(LogHead {
            generation: self.installation.generation,
            run: row.try_get(0).map_err(DbError::from)?,
            seq: row.try_get(1).map_err(DbError::from)?,
            head: hash_at(&row, 2)?,
            at: row.try_get(3).map_err(DbError::from)?,
            switch_no: row.try_get(4).map_err(DbError::from)?,
        })
    }

    /// Adds records behind the head of a log that was entered.
    pub(crate) async fn append_log(
        &self,
        session: &Session,
        log: &'static str,
        entered: &LogHead,
        records: Vec<(Kind, serde_json::Value)>,
    ) -> Result<(), Error> {
        let mut next = entered.clone();
        let mut bytes = Vec::new();
        for (kind, body) in records {
            bytes.push(self.next_of(&mut next, kind, body)?.1.bytes);
        }
        self.append_bytes(session, log, entered.seq, &bytes).await
    }

    /// The next record of a log that was entered; its head moves on.
    pub(crate) fn next_of(
        &self,
        head: &mut LogHead,
        kind: Kind,
        body: serde_json::Value,
    ) -> Result<(Record, Encoded), Error> {
        let record = Record {
            v: redress_ledger::record::VERSION,
            origin: self.installation.origin.clone(),
            generation: head.generation,
            run: head.run,
            epoch: 0,
            switch_no: head.switch_no,
            seq: head.seq + 1,
            prev: head.head,
            kind,
            at: head.at.clone(),
            actor: self.actor.clone(),
            engine: crate::log::ENGINE.to_owned(),
            policy: None,
            idem: None,
            body,
        };
        let encoded = record.encode().map_err(|source| LogError::Record {
            seq: record.seq,
            run: record.run,
            source,
        })?;
        head.seq += 1;
        head.head = encoded.hash;
        Ok((record, encoded))
    }

    /// Adds encoded records behind the head of a log that was entered.
    pub(crate) async fn append_bytes(
        &self,
        session: &Session,
        log: &'static str,
        seq: i64,
        bytes: &[Vec<u8>],
    ) -> Result<(), Error> {
        let append = self.prepare(session, sql::APPEND_SYSTEM).await?;
        let slices: Vec<&[u8]> = bytes.iter().map(Vec::as_slice).collect();
        session
            .query_one(&append, &[&log, &seq, &slices])
            .await
            .map_err(DbError::from)?;
        Ok(())
    }
}

/// The log of what people did that belongs to no run.
const SYSTEM_LOG: &str = "system";

/// Where a log that belongs to no run ends, its row locked.
#[derive(Clone, Debug)]
pub(crate) struct LogHead {
    pub generation: i64,
    pub run: Uuid,
    pub seq: i64,
    pub head: Hash,
    pub at: String,
    pub switch_no: i64,
}
