//! Installs and upgrades the schema, and refuses one that is not exactly this version.
//!
//! **Invariant:** each migration is one transaction under a lock on the list of migrations; a migrator that dies
//! leaves the schema fully old or fully new. A text that differs from the one applied is a divergence, not an update.
//!
//! **What can go wrong:** two migrators meet: the second waits for the lock and finds nothing left to do. The
//! installing role lacks a right: PostgreSQL says which, nothing stands.
//!
//! **Not here:** drift of triggers, grants and functions after the installation (`check`).

use redress_ledger::checkpoint::log_origin;
use redress_ledger::key::{KEY_NAME_BYTES_MAX, check_name};
use redress_ledger::{Class, Hash};
use redress_sql::{self as sql, Migration, Part, SchemaName, Sql};
use thiserror::Error;
use uuid::Uuid;

use crate::crash;
use crate::db::{DbError, Session};

/// The schema version that this engine reads and writes; no other is accepted.
pub const SCHEMA_VERSION: i32 = sql::MIGRATIONS.len() as i32;
/// Oldest server that is supported.
pub const SERVER_VERSION_MIN: i32 = 150_000;
/// Most bytes of a ledger's name: `/gen/` and the largest generation stand behind it in the log's name.
pub const ORIGIN_BYTES_MAX: usize = KEY_NAME_BYTES_MAX - "/gen/9223372036854775807".len();
/// Two migrators may both try to make the foundation; the loser tries again this often.
const FOUNDATION_TRIES_MAX: u32 = 5;

/// The schema is not one that this engine may work on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SchemaError {
    /// No installation there.
    #[error("there is no schema `{0}` in this database: run `redress db migrate`")]
    Missing(String),
    /// The schema is older than this engine.
    #[error(
        "the schema is version {found}, this engine needs {SCHEMA_VERSION}: run `redress db migrate`"
    )]
    Older {
        /// The version found.
        found: i32,
    },
    /// The schema is newer than this engine.
    #[error(
        "the schema is version {found}, this engine knows only {SCHEMA_VERSION}: install a newer redress"
    )]
    Newer {
        /// The version found.
        found: i32,
    },
    /// An applied migration has another text than this engine's.
    #[error("migration {version} ({name}) was applied with another text: this is not our schema")]
    Divergent {
        /// Its number.
        version: i32,
        /// Its name.
        name: String,
    },
    /// The installation belongs to another server.
    #[error(
        "the installation belongs to server {expected}, this is {found}: a restored or moved copy is refused"
    )]
    OtherServer {
        /// As stored.
        expected: String,
        /// As answered.
        found: String,
    },
    /// A ledger cannot have this name.
    #[error(
        "a ledger's name has 1 to {ORIGIN_BYTES_MAX} bytes without spaces, controls and `+`, not {0:?}: it holds once and for all"
    )]
    Origin(String),
    /// The installation has another name than the one that was asked for.
    #[error("the ledger here is named {stands:?}, once and for all, and not {asked:?}")]
    OtherOrigin {
        /// Its name.
        stands: String,
        /// The name that was asked for.
        asked: String,
    },
    /// The server refuses writes.
    #[error(
        "the server is read-only (a standby, or default_transaction_read_only): nothing was written"
    )]
    ReadOnly,
    /// The server is too old.
    #[error("the server is version {0}, at least 15 is needed")]
    ServerVersion(i32),
    /// The database's own answer.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl SchemaError {
    /// What must be done.
    pub fn class(&self) -> Class {
        match self {
            Self::Db(error) => error.class(),
            Self::Missing(_)
            | Self::Older { .. }
            | Self::Newer { .. }
            | Self::Divergent { .. }
            | Self::OtherServer { .. }
            | Self::Origin(_)
            | Self::OtherOrigin { .. }
            | Self::ReadOnly
            | Self::ServerVersion(_) => Class::Refused,
        }
    }

    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing(_) => "RD0701",
            Self::Older { .. } => "RD0702",
            Self::Newer { .. } => "RD0703",
            Self::Divergent { .. } => "RD0704",
            Self::OtherServer { .. } => "RD0705",
            Self::ReadOnly => "RD0804",
            Self::ServerVersion(_) => "RD0706",
            Self::Origin(_) => "RD0707",
            Self::OtherOrigin { .. } => "RD0708",
            Self::Db(error) => error.code_outside(),
        }
    }
}

impl From<tokio_postgres::Error> for SchemaError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Db(error.into())
    }
}

/// What a schema says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    /// Names this ledger; part of every record and decision.
    pub origin: String,
    /// Raised when the ledger is continued after a restore or fork.
    pub generation: i64,
    /// The server that it was installed on.
    pub system_identifier: String,
    /// The id of the system log.
    pub system_run: Uuid,
    /// The id of the log that tells whose keys count.
    pub keys_run: Uuid,
    /// The ids of that log in the generations before.
    pub old_keys: Vec<Uuid>,
}

impl Installation {
    /// Every log that belongs to no run.
    pub fn system_runs(&self) -> impl Iterator<Item = Uuid> + '_ {
        let old = self.old_keys.iter().copied();
        [self.system_run, self.keys_run].into_iter().chain(old)
    }

    /// Whether these records belong to no run: what people did, or whose keys count.
    pub fn is_system(&self, run: Uuid) -> bool {
        self.system_runs().any(|system| system == run)
    }
}

/// Reads the installation and refuses whatever this engine may not work on.
///
/// # Errors
/// Every variant of [`SchemaError`]; nothing is written.
pub async fn inspect(session: &Session, sql: &Sql) -> Result<Installation, SchemaError> {
    let (installation, server) = inspect_moved(session, sql).await?;
    if server != installation.system_identifier {
        return Err(SchemaError::OtherServer {
            expected: installation.system_identifier,
            found: server,
        });
    }
    Ok(installation)
}

/// The same for a copy that may have been restored on another server; gives that server too.
pub(crate) async fn inspect_moved(
    session: &Session,
    sql: &Sql,
) -> Result<(Installation, String), SchemaError> {
    let row = session
        .query_one(sql.text(sql::SURROUNDINGS), &[&sql.schema().as_str()])
        .await?;
    let (has_schema, read_only, server_version): (bool, bool, i32) =
        (row.get(0), row.get(1), row.get(2));
    if server_version < SERVER_VERSION_MIN {
        return Err(SchemaError::ServerVersion(server_version / 10_000));
    }
    if !has_schema {
        return Err(SchemaError::Missing(sql.schema().as_str().to_owned()));
    }
    if read_only {
        return Err(SchemaError::ReadOnly);
    }
    check_versions(session, sql).await?;
    let row = session.query_opt(sql.text(sql::INSTALLATION), &[]).await?;
    let Some(row) = row else {
        return Err(SchemaError::Missing(sql.schema().as_str().to_owned()));
    };
    let heads = session.query(sql.text(sql::SYSTEM_HEADS), &[]).await?;
    let named = |name: &str| {
        let found = heads.iter().find(|row| row.get::<_, &str>(3) == name);
        let found = found.map(|row| row.get::<_, Uuid>(0));
        found.ok_or_else(|| SchemaError::Missing(sql.schema().as_str().to_owned()))
    };
    let old_keys = heads
        .iter()
        .filter(|row| row.get::<_, &str>(3).contains('/'));
    let installation = Installation {
        origin: row.get(0),
        generation: row.get(1),
        system_identifier: row.get(2),
        system_run: named("system")?,
        keys_run: named("keys")?,
        old_keys: old_keys.map(|row| row.get(0)).collect(),
    };
    let found: String = row.get(3);
    Ok((installation, found))
}

async fn check_versions(session: &Session, sql: &Sql) -> Result<(), SchemaError> {
    let applied = applied(session, sql).await?;
    for (version, name, hash) in &applied {
        match sql::MIGRATIONS.iter().find(|m| m.version == *version) {
            Some(migration) if checksum(migration).as_bytes()[..] != hash[..] => {
                return Err(SchemaError::Divergent {
                    version: *version,
                    name: name.clone(),
                });
            }
            Some(_) => {}
            None => return Err(SchemaError::Newer { found: *version }),
        }
    }
    let found = applied
        .iter()
        .map(|(version, ..)| *version)
        .max()
        .unwrap_or(0);
    if found < SCHEMA_VERSION {
        return Err(SchemaError::Older { found });
    }
    Ok(())
}

type Applied = Vec<(i32, String, Vec<u8>)>;

async fn applied(session: &Session, sql: &Sql) -> Result<Applied, SchemaError> {
    let rows = match session.query(sql.text(sql::APPLIED_MIGRATIONS), &[]).await {
        Ok(rows) => rows,
        // The schema exists, the list does not: somebody else's schema, or a foundation that never finished.
        Err(error) if error.code().is_some_and(|c| c.code() == "42P01") => {
            return Err(SchemaError::Missing(sql.schema().as_str().to_owned()));
        }
        Err(error) => return Err(error.into()),
    };
    Ok(rows
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2)))
        .collect())
}

/// Judges the name of a ledger: with any generation behind it, it must be able to name the log's key.
///
/// # Errors
/// [`SchemaError::Origin`].
pub fn check_origin(origin: &str) -> Result<(), SchemaError> {
    check_name(&log_origin(origin, i64::MAX))
        .ok()
        .filter(|()| !origin.is_empty())
        .ok_or_else(|| SchemaError::Origin(origin.to_owned()))
}

/// The name of the ledger that stands there, of whichever version; `None` where nothing is installed.
///
/// # Errors
/// [`SchemaError::Db`].
pub async fn origin_of(
    session: &Session,
    schema: &SchemaName,
) -> Result<Option<String>, SchemaError> {
    let sql = Sql::for_schema(schema.clone());
    match session.query_opt(sql.text(sql::INSTALLATION), &[]).await {
        Ok(row) => Ok(row.map(|row| row.get(0))),
        Err(error) if error.code().is_some_and(|c| c.code() == "42P01") => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Brings the schema to this engine's version and returns the numbers of the migrations that it applied.
///
/// `origin` names the ledger of a new installation; an existing one keeps its own.
///
/// # Errors
/// [`SchemaError::Origin`], [`SchemaError::Newer`] and [`SchemaError::Divergent`] before anything is written;
/// [`SchemaError::Db`] otherwise.
pub async fn migrate(
    session: &Session,
    schema: &SchemaName,
    origin: &str,
) -> Result<Vec<i32>, SchemaError> {
    check_origin(origin)?;
    let sql = Sql::for_schema(schema.clone());
    let row = session
        .query_one(sql.text(sql::SURROUNDINGS), &[&schema.as_str()])
        .await?;
    if row.get::<_, bool>(1) {
        return Err(SchemaError::ReadOnly);
    }
    if row.get::<_, i32>(2) < SERVER_VERSION_MIN {
        return Err(SchemaError::ServerVersion(row.get::<_, i32>(2) / 10_000));
    }
    let foundation = format!("begin;\n{}\ncommit;", schema.render(sql::FOUNDATION));
    for attempt in 1.. {
        match session.batch_execute(&foundation).await {
            Ok(()) => break,
            Err(error) => {
                session.batch_execute("rollback").await?;
                let raced = error.code().is_some_and(|c| {
                    ["23505", "42710", "42P06", "42P07", "XX000"].contains(&c.code())
                });
                if !raced || attempt == FOUNDATION_TRIES_MAX {
                    return Err(error.into());
                }
            }
        }
    }
    let mut done = Vec::new();
    for migration in sql::MIGRATIONS {
        if in_transaction(session, schema, &sql, Work::Migration(migration)).await? {
            done.push(migration.version);
        }
    }
    in_transaction(session, schema, &sql, Work::Repeatable(origin)).await?;
    Ok(done)
}

enum Work<'a> {
    Migration(&'a Migration),
    /// Triggers, grants and the installation's first rows: idempotent.
    Repeatable(&'a str),
}

async fn in_transaction(
    session: &Session,
    schema: &SchemaName,
    sql: &Sql,
    work: Work<'_>,
) -> Result<bool, SchemaError> {
    let result = async {
        session.batch_execute("begin").await?;
        session
            .query(
                "select set_config('role', $1, true)",
                &[&schema.role(Part::Owner)],
            )
            .await?;
        session
            .query(sql.text(sql::SET_SEARCH_PATH), &[&schema.as_str()])
            .await?;
        session.execute(sql.text(sql::LOCK_MIGRATION), &[]).await?;
        let did = match work {
            Work::Migration(migration) => apply(session, schema, sql, migration).await?,
            Work::Repeatable(origin) => {
                session.batch_execute(&schema.render(sql::TRIGGERS)).await?;
                session.batch_execute(&schema.render(sql::GRANTS)).await?;
                session
                    .execute(
                        sql.text(sql::FOUND_INSTALLATION),
                        &[&origin, &Uuid::now_v7(), &Uuid::now_v7()],
                    )
                    .await?;
                let owner = schema.role(Part::Owner);
                session
                    .execute(sql.text(sql::GUARDED), &[&schema.as_str(), &owner])
                    .await?;
                // As whoever installs: only a superuser may, and the function must not be the owner's.
                session.batch_execute("reset role").await?;
                session.batch_execute(&schema.render(sql::GUARD)).await?;
                true
            }
        };
        crash::point("migrate.before_commit");
        session.batch_execute("commit").await?;
        crash::point("migrate.after_commit");
        Ok(did)
    }
    .await;
    if result.is_err() && !session.is_closed() {
        session.batch_execute("rollback").await?;
    }
    result
}

async fn apply(
    session: &Session,
    schema: &SchemaName,
    sql: &Sql,
    migration: &Migration,
) -> Result<bool, SchemaError> {
    let applied = applied(session, sql).await?;
    let hash = checksum(migration);
    if let Some((version, ..)) = applied.iter().find(|(v, ..)| *v > SCHEMA_VERSION) {
        return Err(SchemaError::Newer { found: *version });
    }
    if let Some((version, name, found)) = applied.iter().find(|(v, ..)| *v == migration.version) {
        if found[..] != hash.as_bytes()[..] {
            return Err(SchemaError::Divergent {
                version: *version,
                name: name.clone(),
            });
        }
        return Ok(false);
    }
    session
        .batch_execute(&schema.render(migration.text))
        .await?;
    session
        .execute(
            sql.text(sql::NOTE_MIGRATION),
            &[
                &migration.version,
                &migration.name,
                &hash.as_bytes().as_slice(),
            ],
        )
        .await?;
    Ok(true)
}

fn checksum(migration: &Migration) -> Hash {
    Hash::of(migration.text.as_bytes())
}
