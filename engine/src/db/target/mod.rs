//! Where the database is and how it is reached, read from a connection string as libpq reads it.
//!
//! A URL (`postgres://me@db.example/shop?sslmode=verify-full`) or `key=value` pairs. What it does not say is taken from
//! a service file, from libpq's environment variables, and then from libpq's defaults. `docs/connection.md` is the table.
//!
//! **Invariant:** a key that is not known, or not done as libpq does it, is refused by its name and never passed over.
//!
//! **Invariant:** passwords are never shown: neither by `Display`, nor by `Debug`, nor in an error.
//!
//! **Not here:** reading certificates (`tls`) and the password file, which happens anew for each connection, so that a
//! new one counts at once; connecting (`dial`).

mod keys;
mod passfile;
mod read;
mod secure;
mod surroundings;
mod text;

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use redress_ledger::Class;
use secrecy::SecretString;
use thiserror::Error;
use tokio_postgres::Config;

use super::Pooler;
use surroundings::Surroundings;

/// Why a connection string is not used.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum TargetError {
    /// It cannot be read.
    #[error("the connection string cannot be read: {0}")]
    Syntax(String),
    /// A key that nobody knows.
    #[error("unknown key `{key}` {place}{}", suggestion(*.near))]
    UnknownKey {
        /// The key.
        key: String,
        /// Where it stands.
        place: String,
        /// The key that may have been meant.
        near: Option<&'static str>,
    },
    /// A key of libpq that is not supported here.
    #[error("`{key}` {place} is not supported: {why}")]
    Unsupported {
        /// The key.
        key: String,
        /// Where it stands.
        place: String,
        /// Why it is not passed over.
        why: String,
    },
    /// A value that the key does not take.
    #[error("`{key}` {place}: {problem}")]
    Value {
        /// The key.
        key: String,
        /// Where it stands.
        place: String,
        /// What it takes.
        problem: String,
    },
    /// Keys that do not go together.
    #[error("{0}")]
    Conflict(String),
    /// The service cannot be used.
    #[error("{0}")]
    Service(String),
    /// A file that the connection needs cannot be used.
    #[error("{key}: {problem}, {}", path.display())]
    File {
        /// The key that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

impl TargetError {
    /// What must be done.
    pub fn class(&self) -> Class {
        match self {
            Self::Syntax(_)
            | Self::UnknownKey { .. }
            | Self::Unsupported { .. }
            | Self::Value { .. }
            | Self::Conflict(_)
            | Self::Service(_) => Class::Refused,
            // Read anew for each connection: a certificate that is being replaced may be back in a moment.
            Self::File { .. } => Class::Retry,
        }
    }

    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Syntax(_)
            | Self::UnknownKey { .. }
            | Self::Unsupported { .. }
            | Self::Value { .. }
            | Self::Conflict(_)
            | Self::Service(_) => "RD0810",
            Self::File { .. } => "RD0811",
        }
    }
}

fn suggestion(near: Option<&'static str>) -> String {
    near.map_or_else(String::new, |near| format!(": is `{near}` meant?"))
}

/// How much TLS is demanded, as libpq has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum SslMode {
    /// Never.
    Disable,
    /// Only when the server refuses the session without.
    Allow,
    /// When the server offers it.
    #[default]
    Prefer,
    /// Always; whose certificate it is does not matter, unless `sslrootcert` is there.
    Require,
    /// Always, by a certificate of a known authority.
    VerifyCa,
    /// Always, by a certificate of a known authority for this very name.
    VerifyFull,
}

/// What a session must be like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Attrs {
    #[default]
    Any,
    ReadWrite,
    ReadOnly,
    Primary,
    Standby,
    PreferStandby,
}

impl Attrs {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::ReadWrite => "read-write",
            Self::ReadOnly => "read-only",
            Self::Primary => "primary",
            Self::Standby => "standby",
            Self::PreferStandby => "prefer-standby",
        }
    }
}

/// Which authorities are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Roots {
    /// Nobody was named and there is no usual file.
    None,
    /// Those of the system.
    System,
    /// Those of a file.
    File {
        path: PathBuf,
        /// It was named, not found in its usual place.
        named: bool,
    },
}

/// What TLS needs.
#[derive(Clone, Debug)]
#[cfg_attr(
    not(feature = "tls"),
    expect(dead_code, reason = "judged all the same")
)]
pub(super) struct Tls {
    pub mode: SslMode,
    pub roots: Roots,
    /// Certificate and key of the client.
    pub client: Option<(PathBuf, PathBuf)>,
    pub sni: bool,
    /// The oldest and the newest version: 2 is TLS 1.2.
    pub versions: (u8, u8),
    /// TLS from the first byte.
    pub direct: bool,
}

/// One place where the server may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Host {
    /// A name, an address, or the folder of a socket.
    pub name: String,
    /// The address, when the name is not to be looked up.
    pub address: Option<IpAddr>,
    pub port: u16,
}

impl Host {
    pub fn is_socket(&self) -> bool {
        self.address.is_none() && self.name.starts_with('/')
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.contains(':') {
            write!(f, "[{}]:{}", self.name, self.port)
        } else {
            write!(f, "{}:{}", self.name, self.port)
        }
    }
}

/// Where the database is and how it is reached.
#[derive(Clone, Debug)]
pub struct Target {
    shown: String,
    /// What the driver is told, without hosts and passwords.
    pub(super) base: Config,
    pub(super) hosts: Vec<Host>,
    user: String,
    database: String,
    password: Option<SecretString>,
    passfile: Option<PathBuf>,
    pub(super) tls: Tls,
    pub(super) attrs: Attrs,
    /// The hosts are tried in an order of chance.
    pub(super) shuffled: bool,
    /// For each address, to the session's first question.
    pub(super) limit: Option<Duration>,
    pooler: Pooler,
}

impl Target {
    /// Reads a connection string and nothing else: the environment and the home folder fill no gap.
    ///
    /// # Errors
    /// [`TargetError`].
    pub fn alone(text: &str) -> Result<Self, TargetError> {
        read::target(text, &Surroundings::default())
    }

    /// What stands between us and the server.
    pub fn pooler(&self) -> Pooler {
        self.pooler
    }

    /// The role that logs in.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The database.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// How much TLS is demanded.
    pub fn ssl_mode(&self) -> SslMode {
        self.tls.mode
    }

    /// The hosts with their ports, in the order in which they were given.
    pub fn hosts(&self) -> Vec<String> {
        self.hosts.iter().map(Host::to_string).collect()
    }

    /// The password for a host: the one that was given, else that of the password file, which is read now.
    pub(super) fn password(&self, host: &Host) -> Option<SecretString> {
        if self.password.is_some() {
            return self.password.clone();
        }
        let local = if host.is_socket() {
            "localhost"
        } else {
            &host.name
        };
        let wanted = passfile::Wanted {
            hosts: [&host.name, local],
            port: host.port,
            database: &self.database,
            user: &self.user,
        };
        passfile::look_up(self.passfile.as_ref()?, &wanted)
    }
}

/// A connection string with its passwords masked; neither the environment nor a service is looked at.
///
/// # Errors
/// [`TargetError::Syntax`].
pub fn masked(text: &str) -> Result<String, TargetError> {
    text::read(text).map(|given| given.shown)
}

/// With the gaps filled from the environment of this process.
impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        read::target(text, &Surroundings::of_process())
    }
}

/// As it was given, passwords masked.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}
