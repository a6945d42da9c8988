//! What a worker allows definitions to reach: programs, hosts and secrets. A definition lives in the database and must
//! not choose them.
//!
//! **Invariant:** what is not listed here is refused; without a configuration nothing is listed.

use std::path::{Component, Path, PathBuf};

use redress_ledger::Class;
use schemars::JsonSchema;
use serde::Deserialize;
use thiserror::Error;

use crate::file::File;
use crate::fileset;
use crate::told::NotifyConfig;

/// A worker's own configuration: the part of a `redress.toml` that says what definitions may reach.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Config {
    /// What `command` may run.
    pub command: CommandConfig,
    /// What `http` may reach.
    pub http: HttpConfig,
    /// What `fileset` may touch.
    pub fileset: fileset::Config,
    /// Who is told of what happens.
    pub notify: Vec<NotifyConfig>,
}

/// What `command` may run.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct CommandConfig {
    /// Executables, as absolute paths.
    pub allow: Vec<PathBuf>,
    /// Names of the worker's environment variables that a definition may hand on.
    pub env: Vec<String>,
}

/// What `http` may reach.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    /// Hosts: `api.example` (any port), `api.example:8443`, or `http://intern.example:8080` without TLS. A loopback
    /// address needs no TLS.
    pub hosts: Vec<String>,
    /// Environment variables whose values may be sent as secrets.
    pub secret_env: Vec<String>,
    /// Files whose content may be sent as a secret.
    pub secret_files: Vec<PathBuf>,
    /// Certificates (PEM) that are trusted beside those of the system.
    pub ca: Option<PathBuf>,
}

/// A configuration that cannot be used.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
#[non_exhaustive]
pub enum ConfigError {
    /// Not TOML, an unknown key, or a value of another type.
    #[error("line {line}, column {column}: {message}")]
    Shape {
        /// The line, from 1.
        line: u32,
        /// The column, from 1.
        column: u32,
        /// What is wrong.
        message: String,
    },
    /// A path that another working folder would turn into another one.
    #[error("{key} lists absolute paths without `..`, this is none: {path}")]
    Path {
        /// The key.
        key: &'static str,
        /// The path.
        path: String,
    },
    /// A host that is none.
    #[error("http.hosts lists hosts, with a port if only that one is meant, this is none: {0}")]
    Host(String),
    /// Somebody to be told who cannot be.
    #[error("notify {name:?}: {why}")]
    Notify {
        /// Its name.
        name: String,
        /// Why not.
        why: String,
    },
    /// A certificate file that cannot be used.
    #[error("http.ca cannot be used: {0}")]
    Ca(String),
}

impl ConfigError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        "RD0927"
    }

    /// What must be done.
    pub fn class(&self) -> Class {
        match self {
            Self::Shape { .. }
            | Self::Path { .. }
            | Self::Host(_)
            | Self::Notify { .. }
            | Self::Ca(_) => Class::Refused,
        }
    }
}

impl Config {
    /// Reads this part of a `redress.toml`; what the command goes by may stand beside it.
    ///
    /// # Errors
    /// [`ConfigError`], with line and column where the text is at fault.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        Ok(File::parse(text)?.adapters())
    }

    /// Judges what was read or built.
    ///
    /// # Errors
    /// [`ConfigError::Path`], [`ConfigError::Host`].
    pub fn check(&self) -> Result<(), ConfigError> {
        let files = self.http.secret_files.iter().chain(&self.http.ca);
        let lists = [
            ("command.allow", self.command.allow.iter().collect()),
            ("http.secret_files and http.ca", files.collect::<Vec<_>>()),
            ("fileset", self.fileset.paths().collect()),
        ];
        for (key, paths) in lists {
            for path in paths {
                if !is_plain(path) {
                    let path = path.display().to_string();
                    return Err(ConfigError::Path { key, path });
                }
            }
        }
        for host in &self.http.hosts {
            if crate::http::Host::parse(host).is_none() {
                return Err(ConfigError::Host(host.clone()));
            }
        }
        for (at, told) in self.notify.iter().enumerate() {
            let same = |other: &NotifyConfig| other.name == told.name;
            if told.name.is_empty() || told.name.len() > 200 || self.notify[..at].iter().any(same) {
                return Err(told.wrong("a name has 1 to 200 bytes and stands once".to_owned()));
            }
            told.topics()?;
            told.sink(&self.http)?;
        }
        Ok(())
    }
}

/// Whether a path means the same file wherever it is read from.
pub(crate) fn is_plain(path: &Path) -> bool {
    let parts = || path.components();
    path.is_absolute()
        && parts().all(|part| matches!(part, Component::RootDir | Component::Normal(_)))
        && parts().count() > 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_understood_is_refused() {
        let check = |text: &str, good: bool| {
            let read = Config::parse(text);
            assert_eq!(read.is_ok(), good, "{text}: {read:?}");
        };
        check("", true);
        check("[command]\nallow = ['/usr/bin/true']\nenv = ['HOME']", true);
        check(
            "[http]\nhosts = ['api.example', '127.0.0.1:8080', 'http://intern.example:80', '[::1]:8080']",
            true,
        );
        check("[command]\nallows = []", false);
        check("[commands]", false);
        check("[command]\nallow = ['true']", false);
        check("[command]\nallow = ['/usr/../bin/true']", false);
        check("[command]\nallow = ['/']", false);
        check("[http]\nhosts = ['https://api.example/path']", false);
        check("[http]\nhosts = ['']", false);
        check("[http]\nhosts = ['*']", false);
        check("[http]\nhosts = ['user@api.example']", false);
        check("[http]\nsecret_files = ['token']", false);
    }
}
