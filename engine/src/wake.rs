//! Wakes idle workers as soon as there is work, where a connection without a pooler between was given.
//!
//! **Invariant:** a wake-up is a hint: polling stands behind it, nothing is decided by it, and whoever sends too many
//! only makes idle workers look more often.
//!
//! **What can go wrong:** the listening session is lost: it is made anew, and until then polling finds the work.

use std::sync::Arc;
use std::time::Duration;

use redress_sql as sql;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::db::{DbError, Session};
use crate::engine::{Engine, Inner};
use crate::telemetry::Told;

/// Work that is opened in one go wakes an idle worker this often, no more.
const BETWEEN: Duration = Duration::from_millis(5);
/// Pause before a lost session is made anew, doubled up to the longest.
const RETRY: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(30);

impl Engine {
    /// Wakes the workers that listen; does nothing on an engine without [`Builder::direct`](crate::Builder::direct).
    ///
    /// Acts of the engine that give work to workers do it by themselves. It is for runs that were opened in a
    /// transaction of the caller ([`Engine::start_in`]), after its COMMIT. A failure is logged: polling finds the work.
    pub async fn wake_workers(&self) {
        self.inner.wake_workers().await;
    }
}

impl Inner {
    pub(crate) async fn wake_workers(&self) {
        if self.direct.is_none() {
            return;
        }
        let told = async {
            let session = self.side().await?;
            let tell = self.prepare(&session, sql::TELL_OF_WORK).await?;
            session.query(&tell, &[]).await.map_err(DbError::from)?;
            Ok::<(), crate::error::Error>(())
        };
        if let Err(error) = told.await {
            tracing::debug!(error = %Told(&error), "workers are not woken; they poll");
        }
    }

    /// Begins to listen, where there is a way to.
    pub(crate) fn listen(self: &Arc<Self>) -> Ear {
        let heard = Arc::new(Notify::new());
        let task = self.direct.is_some().then(|| {
            let (inner, heard) = (Arc::clone(self), Arc::clone(&heard));
            tokio::spawn(async move { inner.keep_listening(&heard).await }).abort_handle()
        });
        Ear { heard, task }
    }

    async fn keep_listening(&self, heard: &Notify) {
        let mut pause = RETRY;
        loop {
            match self.ear().await {
                Ok(session) => {
                    pause = RETRY;
                    // What was opened before the session listened.
                    heard.notify_one();
                    while session.notified().await {
                        heard.notify_one();
                        tokio::time::sleep(BETWEEN).await;
                    }
                    tracing::info!(
                        "the listening session is lost; until it is made anew, workers poll"
                    );
                }
                Err(error) => {
                    let error = error.into();
                    tracing::warn!(error = %Told(&error), code = error.code(), "nobody listens; workers poll");
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_MAX);
        }
    }

    async fn ear(&self) -> Result<Session, DbError> {
        let Some(direct) = &self.direct else {
            return Err(DbError::Lost("no direct connection".to_owned()));
        };
        let session = direct.manager().open().await?;
        session
            .batch_execute(self.sql.text(sql::LISTEN_FOR_WORK))
            .await?;
        Ok(session)
    }
}

/// What a worker hears; listening ends with it.
pub(crate) struct Ear {
    heard: Arc<Notify>,
    task: Option<AbortHandle>,
}

impl Ear {
    /// Waits until there may be work; for ever where nobody listens.
    pub async fn work(&self) {
        self.heard.notified().await;
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}
