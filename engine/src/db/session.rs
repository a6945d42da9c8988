//! One connection, straight to the server or through a pooler that hands out another server process each transaction.
//!
//! Straight, statements are prepared by name and kept. Through a pooler ([`Pooler::Transaction`]) nothing may be left in
//! a server process: a statement is described once inside a transaction, its types are kept here, and from then on
//! it is sent whole, unnamed, with those types; what an adapter left is cleaned away in the message that ends the
//! transaction.
//!
//! **Invariant:** behind a pooler no named statement, setting, temporary table or lock of ours outlives a transaction.
//!
//! **Not here:** making the connection ([`super::connect`]), lending it (the pool).

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use deadpool_postgres::ClientWrapper;
use rand_core::{OsRng, RngCore};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Error, Row, RowStream, SimpleQueryMessage};

use super::statement::{Asked, Kind, Question, Statement, Typed};

/// Statements whose types are kept a session, behind a pooler.
const DESCRIBED_MAX: usize = 4_096;
/// Undoes what an adapter may have left; keeps prepared statements. The BEGIN is for ROLLBACK's sake: alone it would
/// write a warning into the server's log each time.
const RESET: &str = "begin; rollback; reset session authorization; reset all; unlisten *; close all; \
                     discard sequences; discard temp; select pg_advisory_unlock_all()";
/// The same, in the message that ends a transaction: behind a pooler the next message may meet another process.
const RESET_AFTER_COMMIT: &str = "commit; reset session authorization; reset all; unlisten *; close all; \
                                  discard sequences; discard temp; select pg_advisory_unlock_all()";
/// What ROLLBACK does not undo.
const RESET_AFTER_ROLLBACK: &str = "rollback; discard sequences; select pg_advisory_unlock_all()";
/// A short transaction in which statements are described.
const DESCRIBE: &str = "begin; set local idle_in_transaction_session_timeout = '5s'";
/// Drops the statements by which the driver asked for types it did not know. By name: a pooler of a newer kind keeps
/// statements of its own there.
const FORGET_DRIVERS: &str = "do $redress$ declare one text; begin for one in select name from \
    pg_catalog.pg_prepared_statements where name ~ '^s[0-9]+$' loop execute pg_catalog.format('deallocate %I', one); \
    end loop; end $redress$";

/// What a described text ends with, when it is not 0. A pooler that carries named statements itself (pgbouncer from 1.21)
/// prepares a text once for all its clients and keeps it after their Close; when the type of a column changed under it,
/// every later description of that text is refused. Of another text it knows nothing.
static OTHERWISE: AtomicU64 = AtomicU64::new(0);

/// What stands between us and the server.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Pooler {
    /// Nothing, or something that lends a server process for as long as we are connected.
    #[default]
    None,
    /// One that lends a server process for a transaction (pgbouncer's `pool_mode = transaction`).
    Transaction,
}

/// One connection with its statements and the warnings that came on it.
pub struct Session {
    client: ClientWrapper,
    pooler: Pooler,
    warnings: Arc<Mutex<Vec<String>>>,
    used: AtomicBool,
    abandoned: AtomicBool,
    /// By our own words: BEGIN was sent, and neither COMMIT nor ROLLBACK yet.
    inside: AtomicBool,
    /// A short transaction of [`Session::described`] is open.
    describing: AtomicBool,
    /// The driver left named statements behind: they are dropped with the transaction, and the session after it.
    tainted: AtomicBool,
    described: tokio::sync::Mutex<HashMap<Box<str>, Arc<Typed>>>,
    heard: Arc<Notify>,
    wire: AbortHandle,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("pooler", &self.pooler)
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

impl Session {
    pub(super) fn new(
        client: ClientWrapper,
        pooler: Pooler,
        warnings: Arc<Mutex<Vec<String>>>,
        heard: Arc<Notify>,
        wire: AbortHandle,
    ) -> Self {
        Self {
            client,
            pooler,
            warnings,
            used: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
            inside: AtomicBool::new(false),
            describing: AtomicBool::new(false),
            tainted: AtomicBool::new(false),
            described: tokio::sync::Mutex::new(HashMap::new()),
            heard,
            wire,
        }
    }

    /// Waits for the next notification of a channel that was listened to; false when the session is lost.
    pub(crate) async fn notified(&self) -> bool {
        if !self.is_closed() {
            self.heard.notified().await;
        }
        !self.is_closed()
    }

    /// Makes a statement ready without keeping it.
    ///
    /// # Errors
    /// The server's answer.
    pub async fn prepare(&self, sql: &str) -> Result<Statement, Error> {
        match self.pooler {
            Pooler::None => Ok(Statement(Kind::Named(self.client.prepare(sql).await?))),
            Pooler::Transaction => self.prepare_cached(sql).await,
        }
    }

    /// Makes a statement ready, or takes it from those that this session has ready.
    ///
    /// # Errors
    /// The server's answer.
    pub async fn prepare_cached(&self, sql: &str) -> Result<Statement, Error> {
        match self.pooler {
            Pooler::None => {
                let statement = self.client.prepare_cached(sql).await?;
                Ok(Statement(Kind::Named(statement)))
            }
            Pooler::Transaction => {
                let typed = Box::pin(self.described(sql)).await?;
                Ok(Statement(Kind::Typed(typed)))
            }
        }
    }

    /// Prepares a statement by name for as long as the value lives, which must end with the transaction: only so does
    /// `pg_prepared_statements` know it behind a pooler too.
    ///
    /// # Errors
    /// The server's answer.
    pub(crate) async fn hold(&self, sql: &str) -> Result<Held, Error> {
        match self.pooler {
            Pooler::None => Ok(Held(self.client.prepare_cached(sql).await?)),
            Pooler::Transaction => Ok(Held(self.client.prepare(sql).await?)),
        }
    }

    /// Runs a statement and returns its rows.
    ///
    /// # Errors
    /// The server's answer.
    pub async fn query<Q>(
        &self,
        question: &Q,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error>
    where
        Q: Question + ?Sized,
    {
        match self.ready(question, params.len()).await? {
            Ready::Text(sql) => self.client.query(sql, params).await,
            Ready::Named(statement) => self.client.query(statement, params).await,
            Ready::Typed(one) => {
                // Boxed, here and below: without a pooler the futures stay small.
                let typed = async {
                    let params = typed(&one, params);
                    let rows = self.client.query_typed(&one.sql, &params).await;
                    self.heed(&one, rows).await
                };
                Box::pin(typed).await
            }
        }
    }

    /// Runs a statement that returns one row.
    ///
    /// # Errors
    /// The server's answer; another number of rows.
    pub async fn query_one<Q>(
        &self,
        question: &Q,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Row, Error>
    where
        Q: Question + ?Sized,
    {
        match self.ready(question, params.len()).await? {
            Ready::Text(sql) => self.client.query_one(sql, params).await,
            Ready::Named(statement) => self.client.query_one(statement, params).await,
            Ready::Typed(one) => {
                let typed = async {
                    let params = typed(&one, params);
                    let row = self.client.query_typed_one(&one.sql, &params).await;
                    self.heed(&one, row).await
                };
                Box::pin(typed).await
            }
        }
    }

    /// Runs a statement that returns one row or none.
    ///
    /// # Errors
    /// The server's answer; more than one row.
    pub async fn query_opt<Q>(
        &self,
        question: &Q,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>, Error>
    where
        Q: Question + ?Sized,
    {
        match self.ready(question, params.len()).await? {
            Ready::Text(sql) => self.client.query_opt(sql, params).await,
            Ready::Named(statement) => self.client.query_opt(statement, params).await,
            Ready::Typed(one) => {
                let typed = async {
                    let params = typed(&one, params);
                    let row = self.client.query_typed_opt(&one.sql, &params).await;
                    self.heed(&one, row).await
                };
                Box::pin(typed).await
            }
        }
    }

    /// Runs a statement and hands its rows over as they come.
    ///
    /// # Errors
    /// The server's answer.
    pub async fn query_raw<Q>(
        &self,
        question: &Q,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<RowStream, Error>
    where
        Q: Question + ?Sized,
    {
        let given = params.iter().copied();
        match self.ready(question, params.len()).await? {
            Ready::Text(sql) => self.client.query_raw(sql, given).await,
            Ready::Named(statement) => self.client.query_raw(statement, given).await,
            Ready::Typed(one) => {
                let typed = async {
                    let params = typed(&one, params);
                    let rows = self.client.query_typed_raw(&one.sql, params).await;
                    self.heed(&one, rows).await
                };
                Box::pin(typed).await
            }
        }
    }

    /// Runs a statement and returns how many rows it touched.
    ///
    /// # Errors
    /// The server's answer.
    pub async fn execute<Q>(
        &self,
        question: &Q,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, Error>
    where
        Q: Question + ?Sized,
    {
        match self.ready(question, params.len()).await? {
            Ready::Text(sql) => self.client.execute(sql, params).await,
            Ready::Named(statement) => self.client.execute(statement, params).await,
            Ready::Typed(one) => {
                let typed = async {
                    let params = typed(&one, params);
                    let count = self.client.execute_typed(&one.sql, &params).await;
                    self.heed(&one, count).await
                };
                Box::pin(typed).await
            }
        }
    }

    /// Runs statements without parameters in one message; BEGIN, COMMIT and ROLLBACK come this way.
    ///
    /// # Errors
    /// The server's answer.
    pub async fn batch_execute(&self, sql: &str) -> Result<(), Error> {
        if self.describing.load(Ordering::Relaxed) {
            Box::pin(self.undescribe()).await?;
        }
        self.client.batch_execute(&self.follow(sql)).await
    }

    /// Runs statements without parameters in one message and returns their rows as text.
    ///
    /// # Errors
    /// The server's answer.
    pub async fn simple_query(&self, sql: &str) -> Result<Vec<SimpleQueryMessage>, Error> {
        self.client.simple_query(sql).await
    }

    /// What stands between us and the server.
    pub fn pooler(&self) -> Pooler {
        self.pooler
    }

    /// The first warning since the last call, with its SQLSTATE in brackets.
    pub fn take_warning(&self) -> Option<String> {
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        let first = warnings.first().cloned();
        warnings.clear();
        first
    }

    /// Ends the connection without waiting for an answer; the server notices or ends the session by its own limits.
    pub(crate) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Relaxed);
        self.wire.abort();
    }

    /// Whether the connection is gone.
    pub fn is_closed(&self) -> bool {
        self.abandoned.load(Ordering::Relaxed) || self.client.is_closed()
    }

    /// Marks that statements of somebody else ran here: the session is cleaned before its next use.
    pub(crate) fn mark_used(&self) {
        self.used.store(true, Ordering::Relaxed);
    }

    /// Makes the session fit for somebody else; false when it had better be made anew.
    pub(super) async fn clean(&self) -> Result<bool, Error> {
        if self.is_closed() || self.tainted.load(Ordering::Relaxed) {
            return Ok(false);
        }
        // Whoever had it may have been dropped inside a transaction.
        let inside = self.inside.swap(false, Ordering::Relaxed);
        self.describing.store(false, Ordering::Relaxed);
        if self.used.swap(false, Ordering::Relaxed) || inside {
            self.client.batch_execute(RESET).await?;
            self.take_warning();
        }
        Ok(true)
    }

    /// Whether this session had better not be used for a next transaction: the driver would ask for types by names that
    /// are gone.
    pub(crate) fn is_spent(&self) -> bool {
        self.tainted.load(Ordering::Relaxed) && !self.inside.load(Ordering::Relaxed)
    }

    /// Forgets every statement that was made ready: a result changed under one of them.
    pub(crate) async fn forget_statements(&self) {
        self.client.statement_cache.clear();
        self.described.lock().await.clear();
    }

    async fn ready<'a, Q>(&self, question: &'a Q, given: usize) -> Result<Ready<'a>, Error>
    where
        Q: Question + ?Sized,
    {
        let one = match (question.asked(), self.pooler) {
            (Asked::Text(sql), Pooler::None) => return Ok(Ready::Text(sql)),
            (Asked::Text(sql), Pooler::Transaction) => Box::pin(self.described(sql)).await?,
            (Asked::Ready(Statement(Kind::Named(named))), _) => return Ok(Ready::Named(named)),
            (Asked::Ready(Statement(Kind::Typed(typed))), _) => Arc::clone(typed),
        };
        if self.describing.load(Ordering::Relaxed) {
            Box::pin(self.undescribe()).await?;
        }
        if one.params.len() != given {
            // The driver's own words for it, without sending anything; the server's would look like a broken wire.
            let say = async {
                let statement = self.client.prepare(&one.sql).await?;
                self.client.query(&statement, &[]).await
            };
            Box::pin(say).await?;
        }
        Ok(Ready::Typed(one))
    }

    /// The types of a statement, asked once a session.
    async fn described(&self, sql: &str) -> Result<Arc<Typed>, Error> {
        // Held while the server is asked: two askers would end each other's transactions.
        let mut described = self.described.lock().await;
        if let Some(known) = described.get(sql) {
            return Ok(Arc::clone(known));
        }
        self.end_describing().await?;
        let outside = !self.inside.load(Ordering::Relaxed);
        let mut typed = self.ask_types(sql, outside).await;
        if is_stale(&typed) {
            OTHERWISE.store(OsRng.next_u64() | 1, Ordering::Relaxed);
            if outside {
                typed = self.ask_types(sql, outside).await;
            }
        }
        let typed = Arc::new(typed?);
        if described.len() >= DESCRIBED_MAX {
            described.clear();
        }
        described.insert(sql.into(), Arc::clone(&typed));
        Ok(typed)
    }

    async fn ask_types(&self, sql: &str, outside: bool) -> Result<Typed, Error> {
        if outside {
            // Who asks may be dropped here: then the next asker, the pool or the server ends this transaction.
            self.describing.store(true, Ordering::Relaxed);
            self.inside.store(true, Ordering::Relaxed);
            self.client.batch_execute(DESCRIBE).await?;
        }
        let statement = self.client.prepare(&otherwise(sql)).await;
        // Dropping it sends its Close now, while the same server process still listens to us.
        let typed = statement.map(|statement| Typed::of(sql, &statement));
        if typed.as_ref().is_ok_and(Typed::has_foreign_types) {
            self.tainted.store(true, Ordering::Relaxed);
        }
        if outside {
            self.end_describing().await?;
        }
        typed
    }

    /// Ends the short transaction of [`Session::described`]; whoever holds the lock calls this.
    async fn end_describing(&self) -> Result<(), Error> {
        if self.describing.load(Ordering::Relaxed) {
            self.client.batch_execute(&self.follow("rollback")).await?;
            self.describing.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Nothing of anybody else may be sent while a statement is described outside: it would be rolled back with it.
    async fn undescribe(&self) -> Result<(), Error> {
        let _described = self.described.lock().await;
        self.end_describing().await
    }

    /// A statement whose types no longer fit (a column was altered) is described anew by who asks next.
    async fn heed<T>(&self, one: &Typed, answer: Result<T, Error>) -> Result<T, Error> {
        if let Err(error) = &answer
            && let Some(code) = error.code()
            && code.code().starts_with("42")
        {
            self.described.lock().await.remove(&one.sql);
        }
        answer
    }

    /// Keeps track of the transaction, and cleans in the message that ends it.
    fn follow<'a>(&self, sql: &'a str) -> Cow<'a, str> {
        let text = sql.trim_start();
        let word = text.split(|c: char| !c.is_ascii_alphabetic()).next();
        match word.unwrap_or_default() {
            // A migration's foundation begins and ends in one message.
            "begin" => {
                let ends = text.trim_end().ends_with("commit;");
                self.inside.store(!ends, Ordering::Relaxed);
            }
            "commit" => return self.ended("commit", sql),
            "rollback" if !text.starts_with("rollback to") => return self.ended("rollback", sql),
            _ => {}
        }
        Cow::Borrowed(sql)
    }

    fn ended<'a>(&self, word: &'static str, sql: &'a str) -> Cow<'a, str> {
        self.inside.store(false, Ordering::Relaxed);
        if sql == word && self.pooler == Pooler::Transaction {
            self.ending(word)
        } else {
            Cow::Borrowed(sql)
        }
    }

    fn ending(&self, word: &'static str) -> Cow<'static, str> {
        let used = self.used.swap(false, Ordering::Relaxed);
        let end = match (word, used) {
            ("commit", true) => RESET_AFTER_COMMIT,
            ("rollback", true) => RESET_AFTER_ROLLBACK,
            (word, _) => word,
        };
        if self.tainted.load(Ordering::Relaxed) {
            Cow::Owned(format!("{end}; {FORGET_DRIVERS}"))
        } else {
            Cow::Borrowed(end)
        }
    }
}

/// A statement that the server knows by name; dropping it behind a pooler sends its Close.
pub struct Held(#[expect(dead_code, reason = "held for its drop")] tokio_postgres::Statement);

/// How a statement is sent.
enum Ready<'a> {
    Text(&'a str),
    Named(&'a tokio_postgres::Statement),
    Typed(Arc<Typed>),
}

fn otherwise(sql: &str) -> Cow<'_, str> {
    match OTHERWISE.load(Ordering::Relaxed) {
        0 => Cow::Borrowed(sql),
        mark => Cow::Owned(format!("{sql}\n-- {mark:x}")),
    }
}

/// Whether the server refused a plan that was made before a column's type changed.
fn is_stale<T>(answer: &Result<T, Error>) -> bool {
    let code = answer.as_ref().err().and_then(Error::code);
    code == Some(&SqlState::FEATURE_NOT_SUPPORTED)
}

fn typed<'a>(
    one: &Typed,
    params: &[&'a (dyn ToSql + Sync)],
) -> Vec<(&'a (dyn ToSql + Sync), Type)> {
    params
        .iter()
        .copied()
        .zip(one.params.iter().cloned())
        .collect()
}
