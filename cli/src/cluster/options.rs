//! Says how a private server is found, made, started and stopped.

use std::time::Duration;

use super::account::Account;
use super::binaries::{Binaries, Search};
use super::error::ClusterError;
use super::provision;

/// How a private server is found, made and started.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to look for binaries.
    pub search: Search,
    /// Whether missing binaries may be provisioned.
    pub provision: bool,
    /// A port on the loopback address; without one the server has its socket only. Any local
    /// account can come in through such a port, so it serves tests alone.
    pub tcp_port: Option<u16>,
    /// Server settings, name and value; they win over the defaults.
    pub settings: Vec<(String, String)>,
    /// How long a start or a stop may take.
    pub limit: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            search: Search::system(),
            provision: true,
            tcp_port: None,
            settings: Vec::new(),
            limit: START_LIMIT,
        }
    }
}

impl Options {
    /// Adds a server setting.
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Gives binaries: found, else provisioned if that is allowed.
    pub fn binaries(&self, account: Account) -> Result<Binaries, ClusterError> {
        match self.search.find(account)? {
            Some(found) => Ok(found),
            None if self.provision => provision::provision(&self.search, account),
            None => Err(ClusterError::NoServer {
                tried: "provisioning was not asked for".to_owned(),
            }),
        }
    }
}

/// How a server is told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Ends sessions, writes a checkpoint.
    Fast,
    /// Ends at once as in a crash; the next start recovers.
    Immediate,
    /// Kills the postmaster with SIGKILL; its children notice and leave.
    Kill,
}

const START_LIMIT: Duration = Duration::from_secs(60);
