//! The engine: what an orchestrator builds once and shares, with the definitions and adapters that it can execute.
//!
//! **Invariant:** an engine exists only for a schema of exactly its version, on the server it was installed on.
//!
//! **Not here:** what is done with it: `start`, `phase`, `drive`, `compensate`, `hold`, `worker`, `view`, `check`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use deadpool::managed::{Object, PoolError};
use redress_ledger::trust::Trust;
use redress_ledger::{Hash, SigningKey};
use redress_sql::{self as sql, SchemaName, Sql};

use crate::adapter::{Adapter, Finding};
use crate::alert::AlertSink;
use crate::db::{DbError, Manager, Pool, Pooler, Session, Target, TargetError, pool_of, side_pool};
use crate::definition::input::InputSchema;
use crate::definition::{self, Definition, Phase};
use crate::error::Error;
use crate::external::ExternalAdapter;
use crate::files::StateDir;
use crate::release::Proven;
use crate::schema::{self, Installation};
use crate::survey::Surveyed;
use crate::telemetry::Told;

/// How long a claim is good without a heartbeat, unless the builder says otherwise.
pub const LEASE_DEFAULT: Duration = Duration::from_secs(10);

/// A session on loan from the pool.
pub(crate) type Loan = Object<Manager>;

/// The engine; cheap to clone.
#[derive(Clone)]
pub struct Engine {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub pool: Pool,
    side: Pool,
    /// The way without a pooler between, on which workers listen.
    pub direct: Option<Pool>,
    pub sql: Sql,
    pub installation: Installation,
    pub adapters: BTreeMap<String, Arc<dyn Adapter>>,
    pub externals: BTreeMap<String, Arc<dyn ExternalAdapter>>,
    pub trust: Option<Trust>,
    pub state_dir: Option<StateDir>,
    pub actor: String,
    pub lease: Duration,
    pub alerts: Vec<Arc<dyn AlertSink>>,
    /// Which releases this process has verified.
    pub proven: Proven,
    /// Who signs receipts, and who gets them.
    pub receipts: Option<crate::receipt::Giver>,
    /// The keyring that was read last.
    pub keys: crate::keyring::Cached,
    loaded: RwLock<HashMap<Hash, Arc<Loaded>>>,
}

/// A definition as this process holds it.
pub(crate) struct Loaded {
    pub definition: Definition,
    pub digest: Hash,
    pub input: InputSchema,
    /// How each phase's writes are covered; looked up once per process.
    pub(crate) coverage: Vec<Surveyed>,
}

/// Builds an [`Engine`].
pub struct Builder {
    pool: Pool,
    schema: SchemaName,
    adapters: BTreeMap<String, Arc<dyn Adapter>>,
    externals: BTreeMap<String, Arc<dyn ExternalAdapter>>,
    definitions: Vec<Definition>,
    trust: Option<Trust>,
    state_dir: Option<StateDir>,
    actor: Option<String>,
    lease: Duration,
    alerts: Vec<Arc<dyn AlertSink>>,
    signer: Option<SigningKey>,
    receipts: Vec<Arc<dyn crate::receipt::ReceiptSink>>,
    restored: bool,
    direct: Option<Target>,
}

impl Builder {
    /// Gives a way to the same database that leads through no pooler: workers of this engine listen there (`LISTEN`), and
    /// acts that give work to workers wake those that listen (`NOTIFY`). Without it workers find work by polling alone,
    /// which stands behind it in any case.
    #[must_use]
    pub fn direct(mut self, target: Target) -> Self {
        self.direct = Some(target);
        self
    }

    /// Accepts a database that was installed on another server: a restored copy, on which nothing but
    /// [`Engine::open_generation`] may be done.
    #[must_use]
    pub fn restored(mut self) -> Self {
        self.restored = true;
        self
    }

    /// Sets the key that signs receipts: the engine's own, registered in the ledger with the role `engine`; no person's and
    /// not the log's. Receipts are given to the sinks of [`Builder::receipts`], and by [`Engine::sign_receipts`].
    #[must_use]
    pub fn signer(mut self, key: SigningKey) -> Self {
        self.signer = Some(key);
        self
    }

    /// Gives a receipt for each record that this engine commits to the sink, signed by the key of [`Builder::signer`].
    #[must_use]
    pub fn receipts(mut self, sink: Arc<dyn crate::receipt::ReceiptSink>) -> Self {
        self.receipts.push(sink);
        self
    }

    /// Adds an adapter; the last one of a name counts.
    #[must_use]
    pub fn adapter(mut self, adapter: Arc<dyn Adapter>) -> Self {
        self.externals.remove(adapter.name());
        self.adapters.insert(adapter.name().to_owned(), adapter);
        self
    }

    /// Adds an adapter whose effect lies outside the database; the last one of a name counts, of either kind.
    #[must_use]
    pub fn external(mut self, adapter: Arc<dyn ExternalAdapter>) -> Self {
        self.adapters.remove(adapter.name());
        self.externals.insert(adapter.name().to_owned(), adapter);
        self
    }

    /// Adds several adapters whose effects lie outside the database.
    #[must_use]
    pub fn externals(self, adapters: impl IntoIterator<Item = Arc<dyn ExternalAdapter>>) -> Self {
        adapters.into_iter().fold(self, Self::external)
    }

    /// Adds several adapters.
    #[must_use]
    pub fn adapters(self, adapters: impl IntoIterator<Item = Arc<dyn Adapter>>) -> Self {
        adapters.into_iter().fold(self, Self::adapter)
    }

    /// Registers a definition when the engine is built.
    ///
    /// # Errors
    /// [`Error::Definition`] with every finding that needs no database.
    pub fn register(mut self, definition: Definition) -> Result<Self, Error> {
        refuse(
            definition::validate(&definition, None)
                .into_iter()
                .map(Into::into)
                .collect(),
        )?;
        self.definitions.push(definition);
        Ok(self)
    }

    /// Registers a saga whose phases are written in Rust, with the code behind them.
    ///
    /// # Errors
    /// As [`Builder::register`].
    pub fn saga(self, saga: crate::typed::Typed) -> Result<Self, Error> {
        let definition = saga.definition().clone();
        self.adapters(saga.locals)
            .externals(saga.externals)
            .register(definition)
    }

    /// Sets the trust roots, read from a local file: without them nothing that needs a signature is done.
    #[must_use]
    pub fn trust(mut self, trust: Trust) -> Self {
        self.trust = Some(trust);
        self
    }

    /// Sets the folder for snapshots, hold files and artefacts.
    #[must_use]
    pub fn state_dir(mut self, root: impl Into<PathBuf>) -> Self {
        self.state_dir = Some(StateDir::new(root));
        self
    }

    /// Names who acts; stands in every record. Default: user and host.
    #[must_use]
    pub fn actor(mut self, actor: impl Into<String>) -> Self {
        self.actor = Some(actor.into());
        self
    }

    /// Sets the schema of the installation; `redress` by default.
    #[must_use]
    pub fn schema(mut self, schema: SchemaName) -> Self {
        self.schema = schema;
        self
    }

    /// Sets how long a claim is good without a heartbeat.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Adds a sink that hears of every unrecovered failure.
    #[must_use]
    pub fn alert(mut self, sink: Arc<dyn AlertSink>) -> Self {
        self.alerts.push(sink);
        self
    }

    /// Connects, inspects the schema and registers the definitions.
    ///
    /// # Errors
    /// [`Error::Schema`] when the schema is missing, older, newer or of another server; [`Error::Definition`].
    pub async fn build(self) -> Result<Engine, Error> {
        let sql = Sql::for_schema(self.schema);
        let session = self.pool.get().await.map_err(pool_error)?;
        let (installation, server) = match self.restored {
            true => schema::inspect_moved(&session, &sql).await?,
            false => {
                let installation = schema::inspect(&session, &sql).await?;
                let server = installation.system_identifier.clone();
                (installation, server)
            }
        };
        drop(session);
        self.pool.manager().expect_server(&server);
        let side = side_pool(&self.pool)?;
        let direct = self.direct.map(straight).transpose()?;
        if let Some(direct) = &direct {
            direct.manager().expect_server(&server);
        }
        let inner = Inner {
            pool: self.pool,
            side,
            direct,
            sql,
            installation,
            adapters: self.adapters,
            externals: self.externals,
            trust: self.trust,
            state_dir: self.state_dir,
            actor: self.actor.unwrap_or_else(default_actor),
            lease: self.lease,
            alerts: self.alerts,
            proven: Proven::default(),
            receipts: self.signer.map(|key| crate::receipt::Giver {
                key,
                sinks: self.receipts,
            }),
            keys: crate::keyring::Cached::default(),
            loaded: RwLock::default(),
        };
        let engine = Engine {
            inner: Arc::new(inner),
        };
        for definition in &self.definitions {
            engine.register(definition).await?;
        }
        // A release may have been signed on another machine; the database proves it.
        if let Err(error) = engine.inner.sweep_hold_files().await {
            tracing::debug!(error = %Told(&error), "sweeping hold files");
        }
        Ok(engine)
    }
}

/// The pool that makes the listening session; a pooler that lends processes for a transaction would lose it.
fn straight(target: Target) -> Result<Pool, DbError> {
    if target.pooler() != Pooler::None {
        let text =
            "the direct connection says `pooler=transaction`: it must lead through no pooler";
        return Err(TargetError::Conflict(text.to_owned()).into());
    }
    pool_of(target, 1)
}

fn default_actor() -> String {
    let host = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    let user = std::env::var("USER")
        .or_else(|_| std::env::var("LOGNAME"))
        .unwrap_or_else(|_| "uid".to_owned());
    // No process id: the same person asking twice is one requester, and gets the same plan.
    format!("os:{user}@{host}")
}

pub(crate) fn pool_error(error: PoolError<DbError>) -> DbError {
    match error {
        PoolError::Backend(error) => error,
        other => DbError::Unreachable(other.to_string()),
    }
}

pub(crate) fn refuse(findings: Vec<Finding>) -> Result<(), Error> {
    if findings.is_empty() {
        Ok(())
    } else {
        Err(Error::Definition(findings))
    }
}

impl Engine {
    /// Begins an engine on a pool.
    pub fn builder(pool: Pool) -> Builder {
        Builder {
            pool,
            schema: SchemaName::default(),
            adapters: BTreeMap::new(),
            externals: BTreeMap::new(),
            definitions: Vec::new(),
            trust: None,
            state_dir: None,
            actor: None,
            lease: LEASE_DEFAULT,
            alerts: Vec::new(),
            signer: None,
            receipts: Vec::new(),
            restored: false,
            direct: None,
        }
    }

    /// What the schema says of itself.
    pub fn installation(&self) -> &Installation {
        &self.inner.installation
    }

    /// Everything that is wrong with a definition, judged without and with the database; nothing is written.
    ///
    /// # Errors
    /// [`Error::Db`] when the database cannot be asked.
    pub async fn check_definition(&self, definition: &Definition) -> Result<Vec<Finding>, Error> {
        self.inner.findings(definition).await
    }

    /// Registers a definition and returns its digest; one that stands already is left as it is.
    ///
    /// # Errors
    /// [`Error::Definition`], [`Error::VersionTaken`].
    pub async fn register(&self, definition: &Definition) -> Result<Hash, Error> {
        let inner = &self.inner;
        refuse(inner.findings(definition).await?)?;
        let canonical = definition
            .canonical()
            .map_err(|problem| Error::Input(problem.to_string()))?;
        let digest = Hash::of(&canonical);
        let session = inner.session().await?;
        let version = i32::try_from(definition.version).map_err(|e| Error::Input(e.to_string()))?;
        let put = session
            .query_one(
                inner.sql.text(sql::PUT_DEFINITION),
                &[
                    &digest.as_bytes().as_slice(),
                    &definition.saga.as_str(),
                    &version,
                    &canonical,
                    &inner.actor,
                ],
            )
            .await;
        match put.map_err(DbError::from) {
            Ok(_) => {
                inner.load(&session, digest).await?;
                Ok(digest)
            }
            Err(error) if error.constraint() == Some("definition_version_is_used_once") => {
                Err(Error::VersionTaken {
                    saga: definition.saga.to_string(),
                    version: definition.version,
                })
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl Inner {
    /// A clean session on the right server.
    pub async fn session(&self) -> Result<Loan, DbError> {
        self.pool.get().await.map_err(pool_error)
    }

    /// A session for short work of somebody who may hold one already, so that n holders never wait for each other.
    ///
    /// Whoever holds it asks for no other of either pool.
    pub async fn side(&self) -> Result<Loan, DbError> {
        self.side.get().await.map_err(pool_error)
    }

    /// The pool of those sessions.
    #[cfg(feature = "metrics")]
    pub fn side_pool(&self) -> &Pool {
        &self.side
    }

    /// A session of its own, for what must not wait behind work: a kill, and the fate of a commit in doubt.
    pub async fn apart(&self) -> Result<Session, DbError> {
        self.pool.manager().open().await
    }

    pub fn adapter(&self, name: &str) -> Result<&Arc<dyn Adapter>, Error> {
        self.adapters
            .get(name)
            .ok_or_else(|| Error::UnknownAdapter(name.to_owned()))
    }

    /// The adapter of a phase whose effect lies outside the database; `None` for every other one.
    pub fn external(&self, phase: &Phase) -> Option<&Arc<dyn ExternalAdapter>> {
        self.externals.get(phase.adapter.as_str())
    }

    /// Names of all adapters here.
    pub fn known_adapters(&self) -> BTreeSet<String> {
        let names = self.adapters.keys().chain(self.externals.keys());
        names.cloned().collect()
    }

    /// A definition by digest, from memory or from the database.
    pub async fn load(&self, session: &Session, digest: Hash) -> Result<Arc<Loaded>, Error> {
        if let Some(loaded) = self
            .loaded
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&digest)
        {
            return Ok(Arc::clone(loaded));
        }
        let row = session
            .query_opt(
                self.sql.text(sql::DEFINITION_BY_DIGEST),
                &[&digest.as_bytes().as_slice()],
            )
            .await
            .map_err(DbError::from)?
            .ok_or_else(|| Error::UnknownSaga(digest.to_string()))?;
        let canonical: Vec<u8> = row.try_get(2).map_err(DbError::from)?;
        let definition = Definition::from_canonical(&canonical)
            .map_err(|problem| Error::Inconsistent(problem.to_string()))?;
        let input = InputSchema::compile(&definition.input)
            .map_err(|problem| Error::Inconsistent(problem.to_string()))?;
        let coverage = definition
            .phases
            .iter()
            .map(|_| Surveyed::default())
            .collect();
        let loaded = Arc::new(Loaded {
            definition,
            digest,
            input,
            coverage,
        });
        self.loaded
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(digest, Arc::clone(&loaded));
        Ok(loaded)
    }

    /// The newest version of a saga, or the one named.
    pub async fn load_by_name(
        &self,
        session: &Session,
        saga: &str,
        version: Option<i32>,
    ) -> Result<Arc<Loaded>, Error> {
        let find = self.prepare(session, sql::DEFINITION_BY_NAME).await?;
        let row = session
            .query_opt(&find, &[&saga, &version])
            .await
            .map_err(DbError::from)?
            .ok_or_else(|| {
                Error::UnknownSaga(match version {
                    Some(version) => format!("{saga} version {version}"),
                    None => saga.to_owned(),
                })
            })?;
        let digest = crate::tx::hash_at(&row, 0)?;
        self.load(session, digest).await
    }

    /// Digests of the definitions whose every adapter is registered here.
    pub async fn executable(&self, session: &Session) -> Result<Vec<Hash>, Error> {
        let list = self.prepare(session, sql::DEFINITION_DIGESTS).await?;
        let rows = session.query(&list, &[]).await.map_err(DbError::from)?;
        let mut digests = Vec::new();
        for row in &rows {
            let digest = crate::tx::hash_at(row, 0)?;
            let loaded = self.load(session, digest).await?;
            let mut phases = loaded.definition.phases.iter();
            let here =
                |name: &str| self.adapters.contains_key(name) || self.externals.contains_key(name);
            if phases.all(|phase| here(phase.adapter.as_str())) {
                digests.push(digest);
            }
        }
        Ok(digests)
    }
}
