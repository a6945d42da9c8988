//! The pool: deadpool over our own connector, which reads notices and knows the server it must meet.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use deadpool::Runtime;
use deadpool::managed::{self, Metrics, RecycleError, RecycleResult};
use deadpool_postgres::ClientWrapper;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio_postgres::{AsyncMessage, Client, Connection};

use super::dial::dial;
use super::{DbError, Pooler, Session, Target};

/// How long a caller waits for a session of a pool that is too small for what is going on.
const WAIT_TIMEOUT: Duration = Duration::from_secs(30);
/// Time to clean a session before its next use.
const RECYCLE_TIMEOUT: Duration = Duration::from_secs(5);
/// A message of the server that is older than this many others is dropped.
const WARNINGS_MAX: usize = 16;
/// Sessions beside the pool: for heartbeats and for short work of somebody who holds a session already.
const SIDE_SESSIONS_MAX: usize = 4;
/// What every transaction is set to (`set_limits`); a session that has it already needs not be told. Only a saving:
/// the transaction sets what it does not find.
const SETTINGS: &str = "-c TimeZone=UTC -c DateStyle=ISO,YMD -c IntervalStyle=iso_8601 \
                        -c bytea_output=hex -c extra_float_digits=1";
/// A pool of sessions.
pub type Pool = managed::Pool<Manager>;

/// Makes sessions for one database.
#[derive(Debug)]
pub struct Manager {
    target: Target,
    /// The server that every connection must reach; set once the installation is known.
    server: OnceLock<String>,
}

impl Manager {
    /// Where the sessions lead.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Fixes the server: a connection that reaches another one (a restored copy, a wrong URL) is refused from now on.
    pub(crate) fn expect_server(&self, system_identifier: &str) {
        let _ = self.server.set(system_identifier.to_owned());
    }

    /// Makes one session that belongs to no pool, on the right server.
    pub(crate) async fn open(&self) -> Result<Session, DbError> {
        // A pooler does not pass startup options on.
        let settings = (self.target.pooler() == Pooler::None).then_some(SETTINGS);
        // Boxed: a handshake's state is large, and this one stands in every future that takes a session.
        let session = Box::pin(dial(&self.target, settings)).await?;
        if let Some(expected) = self.server.get() {
            let row = session
                .query_one(
                    "select system_identifier::text from pg_control_system()",
                    &[],
                )
                .await?;
            let found: String = row.get(0);
            if &found != expected {
                return Err(DbError::Unreachable(format!(
                    "another server answers: this installation belongs to {expected}, found {found}"
                )));
            }
        }
        Ok(session)
    }
}

/// A second pool to the same server: for what must not wait for the sessions of the first.
///
/// # Errors
/// [`DbError::Unreachable`] when the pool cannot be built.
pub(crate) fn side_pool(pool: &Pool) -> Result<Pool, DbError> {
    let manager = Manager {
        target: pool.manager().target.clone(),
        server: pool.manager().server.clone(),
    };
    Pool::builder(manager)
        .max_size(SIDE_SESSIONS_MAX)
        .runtime(Runtime::Tokio1)
        .recycle_timeout(Some(RECYCLE_TIMEOUT))
        .build()
        .map_err(|error| DbError::Unreachable(error.to_string()))
}

impl managed::Manager for Manager {
    type Type = Session;
    type Error = DbError;

    async fn create(&self) -> Result<Session, DbError> {
        self.open().await
    }

    async fn recycle(&self, session: &mut Session, _: &Metrics) -> RecycleResult<DbError> {
        match session.clean().await {
            Ok(true) => Ok(()),
            Ok(false) => Err(RecycleError::message("closed")),
            Err(error) => Err(RecycleError::Backend(error.into())),
        }
    }
}

/// Makes a pool of at most `size` sessions; connects to nothing yet. Each run that is driven at once needs up to two.
///
/// `url` is a [`Target`].
///
/// # Errors
/// [`DbError::Target`] when the URL cannot be read or asks for what is not offered.
pub fn pool(url: &str, size: usize) -> Result<Pool, DbError> {
    pool_of(url.parse()?, size)
}

/// Makes a pool as [`pool`] does.
///
/// # Errors
/// [`DbError::Unreachable`] when the pool cannot be built.
pub fn pool_of(target: Target, size: usize) -> Result<Pool, DbError> {
    let manager = Manager {
        target,
        server: OnceLock::new(),
    };
    Pool::builder(manager)
        .max_size(size)
        .runtime(Runtime::Tokio1)
        .recycle_timeout(Some(RECYCLE_TIMEOUT))
        .wait_timeout(Some(WAIT_TIMEOUT))
        .build()
        .map_err(|error| DbError::Unreachable(error.to_string()))
}

/// Makes one connection and drives it in a task of its own.
///
/// # Errors
/// [`DbError::NotConnected`] when no connection could be made, [`DbError::Target`] when a file that it needs cannot be
/// used.
pub async fn connect(target: &Target) -> Result<Session, DbError> {
    Box::pin(dial(target, None)).await
}

/// Drives a connection in a task of its own.
pub(super) fn drive<S, T>(
    client: Client,
    mut connection: Connection<S, T>,
    pooler: Pooler,
) -> Session
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let warnings = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&warnings);
    let heard = Arc::new(Notify::new());
    let hears = Arc::clone(&heard);
    let task = tokio::spawn(async move {
        while let Some(message) = poll_fn(|cx| connection.poll_message(cx)).await {
            match message {
                Ok(AsyncMessage::Notice(notice)) if notice.severity() == "WARNING" => {
                    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                    if kept.len() < WARNINGS_MAX {
                        kept.push(format!("{} [{}]", notice.message(), notice.code().code()));
                    }
                }
                Ok(AsyncMessage::Notification(_)) => hears.notify_one(),
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(%error, "connection ended");
                    break;
                }
            }
        }
        // The client learns of the end only when this task's half of the channel is gone.
        drop(connection);
        hears.notify_one();
    });
    let wire = task.abort_handle();
    let client = ClientWrapper::new(client, task);
    Session::new(client, pooler, warnings, heard, wire)
}
