//! How a transaction of the engine is entered and ended: the entry, the one flight that ends it, and its three outcomes.
//!
//! **Invariant:** nothing but success of `append` and of COMMIT counts as done. [`Commit`] is not a `Result`, so that
//! nobody can `?` past doubt.
//!
//! **What can go wrong:** the connection breaks after the last flight left: in doubt. COMMIT answers with an error or
//! with warning 01000: in doubt too. What became of it is found out by `fate`.
//!
//! **Not here:** logs that belong to no run (`system_log`).

use std::task::Poll;
use std::time::Duration;

use redress_ledger::Hash;
use redress_ledger::state::State;
use redress_sql as sql;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::crash;
use crate::db::{DbError, Session};
use crate::engine::Inner;
use crate::log::Pages;

/// Longest wait for a lock in a transaction that is no phase.
pub(crate) const RECORD_LOCK_MS: i32 = 5_000;
/// Longest statement in a transaction that is no phase.
pub(crate) const RECORD_STATEMENT_MS: i32 = 30_000;
/// Longest silence inside a transaction that is no phase.
pub(crate) const RECORD_IDLE_MS: i32 = 10_000;
/// How long the answers to a record and its COMMIT are waited for; then the commit is in doubt and the wire given up.
pub(crate) const COMMIT_ANSWER_MAX: Duration = Duration::from_secs(15);
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

    pub(crate) async fn enter_run_waiting(
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
}
