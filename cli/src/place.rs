//! Finds what a command works with: state folder, trust roots, database, engine.
//!
//! **Invariant:** a given database is never migrated or changed by the way; only the private one is.
//!
//! **What can go wrong:** nothing is given and the private server cannot be brought up: the error says what to
//! install, and nothing else was tried in secret.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use redress::Engine;
use redress::alert::CommandSink;
use redress::db::{DbError, Session, Target, connect, pool_of};
use redress::schema::{self, SchemaError};
use redress_adapters::Config;
use redress_ledger::trust::{TRUST_BYTES_MAX, Trust};
use uuid::Uuid;

use crate::args::Globals;
use crate::cluster::{self, Options, PrivateCluster, Status};
use crate::fail::Fail;
use crate::read::read_bounded;
use crate::say::Say;
use crate::settings::Settings;

/// Where a command works, and how it speaks.
#[derive(Clone, Debug)]
pub struct Place {
    /// The flags of every command.
    pub globals: Globals,
    /// How it speaks.
    pub say: Say,
    /// What is in force beyond the flags.
    pub settings: Arc<Settings>,
    state: Option<PathBuf>,
}

/// What an engine needs beyond the flags of every command.
#[derive(Clone, Debug)]
pub struct Needs {
    /// Sessions in the pool.
    pub sessions: usize,
    /// Length of a lease.
    pub lease: Duration,
    /// A program that hears of every unrecovered failure.
    pub alert: Option<PathBuf>,
    /// The database may be a restored copy on another server.
    pub restored: bool,
    /// Who acts, where it is not the account.
    pub actor: Option<String>,
}

impl Default for Needs {
    fn default() -> Self {
        Self {
            sessions: SESSIONS,
            lease: redress::LEASE_DEFAULT,
            alert: None,
            restored: false,
            actor: None,
        }
    }
}

impl Place {
    /// Takes the flags, and what is in force beyond them; nothing is touched yet.
    pub fn new(globals: Globals, settings: Settings) -> Self {
        let state = globals.state_dir.clone().or_else(default_state);
        Self {
            say: Say::new(&globals),
            settings: Arc::new(settings),
            globals,
            state,
        }
    }

    /// The state folder, as an absolute path.
    ///
    /// # Errors
    /// RD0918 when nothing says where it is.
    pub fn state(&self) -> Result<PathBuf, Fail> {
        let state = self.state.as_ref().ok_or_else(|| {
            Fail::own("RD0918", "no state folder: neither --state-dir, REDRESS_STATE_DIR, XDG_STATE_HOME nor HOME is set")
        })?;
        std::path::absolute(state).map_err(|error| {
            Fail::own(
                "RD0918",
                format!("{error}, state folder {}", state.display()),
            )
        })
    }

    /// The folder of the private server.
    ///
    /// # Errors
    /// As [`Place::state`].
    pub fn cluster_dir(&self) -> Result<PathBuf, Fail> {
        Ok(self.state()?.join("postgres"))
    }

    /// The URL that was given, if one was.
    pub fn given_url(&self) -> Option<String> {
        let given = self.globals.database.clone();
        given.filter(|url| !url.trim().is_empty())
    }

    /// The database as whoever owns the schema reaches it, else without a pooler between, else as every command does; a
    /// private server that has no ledger yet gets one of this name.
    ///
    /// # Errors
    /// As [`Place::target`].
    pub async fn migration_target(&self, origin: Option<&str>) -> Result<Target, Fail> {
        let beside = ["migrate", "direct"].map(|key| self.settings.url_beside(key));
        match beside.into_iter().flatten().next() {
            Some(url) => read_url(url),
            None => self.target_named(origin).await,
        }
    }

    /// The trust file: the one that was named, else `STATE/trust`.
    ///
    /// # Errors
    /// As [`Place::state`].
    pub fn trust_path(&self) -> Result<PathBuf, Fail> {
        match &self.globals.trust {
            Some(path) => Ok(path.clone()),
            None => Ok(self.state()?.join("trust")),
        }
    }

    /// The trust roots; `None` when none was named and there is no `STATE/trust`.
    ///
    /// # Errors
    /// [`Fail::Trust`]; RD0920 when a named file cannot be read.
    pub fn trust(&self) -> Result<Option<Trust>, Fail> {
        let path = self.trust_path()?;
        if self.globals.trust.is_none() && !path.exists() {
            return Ok(None);
        }
        read_trust(&path).map(Some)
    }

    /// What definitions may reach from here: nothing that no `redress.toml` lists.
    pub fn config(&self) -> Config {
        self.settings.adapters()
    }

    /// The database that was given, its gaps filled from the environment.
    ///
    /// # Errors
    /// [`Fail::Engine`] when the URL cannot be read.
    pub fn given(&self) -> Result<Option<Target>, Fail> {
        self.given_url().as_deref().map(read_url).transpose()
    }

    /// The database that was given, else that of the private server, brought up if it does not run.
    ///
    /// # Errors
    /// [`Fail::Cluster`] when there is no server to be had; [`Fail::Engine`] when the URL cannot be read.
    pub async fn target(&self) -> Result<Target, Fail> {
        self.target_named(None).await
    }

    async fn target_named(&self, origin: Option<&str>) -> Result<Target, Fail> {
        match self.given()? {
            Some(target) => Ok(target),
            None => private_target(&self.private_up_named(origin).await?),
        }
    }

    /// Brings the private server up, with our role, our database and our schema in it; gives its URL.
    ///
    /// # Errors
    /// [`Fail::Cluster`]; [`Fail::Engine`] when the schema there is not ours.
    pub async fn private_up(&self) -> Result<String, Fail> {
        self.private_up_named(None).await
    }

    async fn private_up_named(&self, origin: Option<&str>) -> Result<String, Fail> {
        let dir = self.cluster_dir()?;
        let ran = matches!(cluster::status(&dir)?, Status::Running { ready: true, .. });
        let made = !ran && !dir.join("server").exists();
        if !ran {
            let doing = if made { "making" } else { "starting" };
            self.say.notice(&format!(
                "{doing} a private PostgreSQL in {}",
                dir.display()
            ));
        }
        let private = cluster::up(&dir, &Options::default())?;
        let url = url_of(&private);
        self.settle(&private, &url, origin).await?;
        Ok(url)
    }

    async fn settle(
        &self,
        private: &PrivateCluster,
        url: &str,
        origin: Option<&str>,
    ) -> Result<(), Fail> {
        let admin = open(&private_target(&private.url("postgres", "postgres"))?).await?;
        for (missing, make) in BOOTSTRAP {
            let row = admin.query_one(*missing, &[]).await.map_err(DbError::from);
            if row.map_err(redress::Error::from)?.get(0) {
                // Another command may have made it in this moment; what counts is that it is there.
                if let Err(error) = admin.batch_execute(make).await {
                    tracing::debug!(%error, "bootstrap");
                }
            }
        }
        let session = open(&private_target(url)?).await?;
        let sql = redress_sql(&self.globals.schema);
        let found = schema::inspect(&session, &sql).await;
        if let Err(SchemaError::Missing(_) | SchemaError::Older { .. }) = found {
            let origin = origin.map_or_else(default_origin, str::to_owned);
            self.migrate(&session, &origin).await?;
        }
        Ok(())
    }

    /// Brings a schema to this version; gives the numbers of the migrations that were applied.
    ///
    /// # Errors
    /// [`Fail::Engine`].
    pub async fn migrate(&self, session: &Session, origin: &str) -> Result<Vec<i32>, Fail> {
        schema::migrate(session, &self.globals.schema, origin)
            .await
            .map_err(|error| redress::Error::from(error).into())
    }

    /// An engine with the standard adapters.
    ///
    /// # Errors
    /// [`Fail::Engine`] when the database cannot be reached or its schema is not ours.
    pub async fn engine(&self) -> Result<Engine, Fail> {
        self.engine_with(Needs::default()).await
    }

    /// The same for an act that is asked for and not signed: the person of `--as` asks for it, else the account.
    ///
    /// # Errors
    /// As [`Place::engine`]; RD0915 when the key of `--as` is not here.
    pub async fn engine_asked(&self) -> Result<Engine, Fail> {
        let actor = self.asker()?;
        let needs = Needs {
            actor,
            ..Needs::default()
        };
        self.engine_with(needs).await
    }

    /// An engine with the standard adapters, for more than a moment.
    ///
    /// # Errors
    /// As [`Place::engine`].
    pub async fn engine_with(&self, needs: Needs) -> Result<Engine, Fail> {
        let trust = self.trust()?;
        let target = self.target().await?;
        self.engine_at(target, needs, trust).await
    }

    /// An engine on a database.
    ///
    /// # Errors
    /// As [`Place::engine`].
    pub async fn engine_at(
        &self,
        target: Target,
        needs: Needs,
        trust: Option<Trust>,
    ) -> Result<Engine, Fail> {
        let pool = pool_of(target, needs.sessions).map_err(redress::Error::from)?;
        let mut builder = Engine::builder(pool)
            .adapters(redress_adapters::standard())
            .externals(redress_adapters::external(&self.config()))
            .schema(self.globals.schema.clone())
            .state_dir(self.state()?)
            .actor(needs.actor.unwrap_or_else(actor))
            .lease(needs.lease);
        if let Some(direct) = self.settings.url_beside("direct") {
            builder = builder.direct(read_url(direct)?);
        }
        if needs.restored {
            builder = builder.restored();
        }
        if let Some(trust) = trust {
            builder = builder.trust(trust);
        }
        if let Some(program) = needs.alert {
            builder = builder.alert(Arc::new(CommandSink::new(program)));
        }
        Ok(builder.build().await?)
    }
}

/// Our URL in a private server.
pub fn url_of(private: &PrivateCluster) -> String {
    private.url(ROLE, DATABASE)
}

/// One session on a database.
///
/// # Errors
/// [`Fail::Engine`] when it cannot be reached.
pub async fn open(target: &Target) -> Result<Session, Fail> {
    Ok(connect(target).await.map_err(redress::Error::from)?)
}

fn read_url(url: &str) -> Result<Target, Fail> {
    let target = url.parse::<Target>().map_err(DbError::from);
    Ok(target.map_err(redress::Error::from)?)
}

/// Where a private server is: what the environment says of other servers does not touch it.
///
/// # Errors
/// [`Fail::Engine`] when the URL cannot be read.
pub fn private_target(url: &str) -> Result<Target, Fail> {
    let target = Target::alone(url).map_err(DbError::from);
    Ok(target.map_err(redress::Error::from)?)
}

/// Reads a trust file.
///
/// # Errors
/// [`Fail::Trust`]; RD0920 when it cannot be read.
pub fn read_trust(path: &Path) -> Result<Trust, Fail> {
    let bytes = read_bounded(path, TRUST_BYTES_MAX + 1).map_err(|error| {
        Fail::own(
            "RD0920",
            format!("the trust file cannot be read: {error}, {}", path.display()),
        )
    })?;
    let text = String::from_utf8(bytes).map_err(|_| {
        Fail::own(
            "RD0920",
            format!("the trust file is not UTF-8 text, {}", path.display()),
        )
    })?;
    Trust::parse(&text).map_err(|source| Fail::Trust {
        path: path.to_owned(),
        source,
    })
}

/// The name of a new ledger.
pub fn default_origin() -> String {
    format!("redress.local/{}", Uuid::now_v7())
}

/// The statements of a schema.
pub fn redress_sql(schema: &redress::SchemaName) -> redress_sql::Sql {
    redress_sql::Sql::for_schema(schema.clone())
}

/// Who acts, without the process: two commands of one person plan the same plan.
pub fn actor() -> String {
    let user = env::var("USER").or_else(|_| env::var("LOGNAME"));
    let user = user.unwrap_or_else(|_| format!("uid{}", rustix::process::geteuid().as_raw()));
    let host = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    format!("os:{user}@{host}")
}

/// The state folder when nobody names one.
pub fn default_state() -> Option<PathBuf> {
    let set = |name: &str| {
        env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    set("XDG_STATE_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".local/state")))
        .map(|base| base.join("redress"))
}

/// The role that commands use in the private server; not a superuser.
const ROLE: &str = "redress";
/// Our database in the private server.
const DATABASE: &str = "redress";
/// What a private server needs: whether it is missing, and what makes it.
const BOOTSTRAP: &[(&str, &str)] = &[
    (
        "select not exists (select from pg_roles where rolname = 'redress')",
        "create role redress login createrole",
    ),
    (
        "select not exists (select from pg_database where datname = 'redress')",
        "create database redress owner redress",
    ),
    (
        // The role is named like our schema: without this, tables without a schema would land in ours.
        "select not exists (select from pg_roles where rolname = 'redress' and rolconfig @> array['search_path=public'])",
        "alter role redress set search_path = public",
    ),
];
const SESSIONS: usize = 8;
