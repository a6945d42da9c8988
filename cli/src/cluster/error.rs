//! Says what a private server could not do, what stands, and what to do next.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::binaries::Version;

/// A private server could not be found, made, started or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// `REDRESS_PG_BIN` names a folder without a usable server.
    #[error(
        "REDRESS_PG_BIN does not name a folder with postgres and initdb of version 15 or newer ({reason}); nothing was changed; correct or unset it: {}",
        .bin.display()
    )]
    NamedBinaries {
        /// The folder that was named.
        bin: PathBuf,
        /// Why it does not serve.
        reason: String,
    },
    /// No server is installed, and none could be provisioned.
    #[error(
        "no PostgreSQL server of version 15 or newer was found and none could be provisioned ({tried}); nothing was changed; install the package \"postgresql\" of your system, or name a folder in REDRESS_PG_BIN, or give --database URL"
    )]
    NoServer {
        /// What was tried, and how each way ended.
        tried: String,
    },
    /// As root there is no account under which the server could run.
    #[error(
        "PostgreSQL refuses to run as root and neither the account \"postgres\" nor \"nobody\" exists; nothing was changed; create one of them or run as an ordinary user"
    )]
    NoAccount,
    /// `initdb` failed.
    #[error("initdb failed ({output}); the half-made data folder was removed; correct the cause and try again: {}", .data.display())]
    Init {
        /// The data folder.
        data: PathBuf,
        /// What initdb printed last.
        output: String,
    },
    /// The server ended while it was starting.
    #[error("the server ended while starting ({tail}); the data folder is unchanged; read the log and try again: {}", .log.display())]
    Start {
        /// The server's log.
        log: PathBuf,
        /// The log's last lines.
        tail: String,
    },
    /// The server did not become ready within the deadline.
    #[error(
        "the server was not ready within {} s; it was stopped and the data folder is as the server left it; read the log and try again: {}",
        .limit.as_secs(), .log.display()
    )]
    StartDeadline {
        /// The server's log.
        log: PathBuf,
        /// The deadline.
        limit: Duration,
    },
    /// The server did not stop within the deadline.
    #[error(
        "the server was told to stop and still runs after {} s; its data is safe; end its sessions, or try again with an immediate stop; process {pid}",
        .limit.as_secs()
    )]
    StopDeadline {
        /// The server's process.
        pid: i32,
        /// The deadline.
        limit: Duration,
    },
    /// The postmaster is gone and its children still use the data folder.
    #[error(
        "server processes without their postmaster still use the data folder; nothing was started; wait for them or end them: {}", Pids(.pids)
    )]
    Leftovers {
        /// The processes.
        pids: Vec<i32>,
    },
    /// The data folder was written by another major version.
    #[error(
        "the data folder was written by PostgreSQL {written} and the server found is {found}; nothing was changed; name the older server in REDRESS_PG_BIN or choose another folder: {}",
        .data.display()
    )]
    OtherVersion {
        /// The data folder.
        data: PathBuf,
        /// The major version in its `PG_VERSION`.
        written: u32,
        /// The version that would run.
        found: Version,
    },
    /// The folder holds something that is not a private server.
    #[error("the folder is not empty and holds no private server; nothing was changed; choose another folder: {}", .dir.display())]
    NotOurs {
        /// The folder.
        dir: PathBuf,
    },
    /// Another process works on the same folder.
    #[error(
        "another process has been working on this folder for more than {} s; nothing was changed; try again when it has ended: {}",
        .limit.as_secs(), .dir.display()
    )]
    Busy {
        /// The folder.
        dir: PathBuf,
        /// How long was waited.
        limit: Duration,
    },
    /// The file that describes a private server cannot be understood.
    #[error("line {line} of the server's description is not understood; nothing was changed; move the folder away and start a new one: {}", .path.display())]
    Handle {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// No folder for the socket has a path short enough.
    #[error(
        "the path of the server's socket would be longer than 107 bytes; nothing was changed; set TMPDIR to a shorter path: {}",
        .dir.display()
    )]
    LongSocket {
        /// The folder that was too long.
        dir: PathBuf,
    },
    /// A setting has a name or a value that cannot stand in a configuration file.
    #[error(
        "a server setting needs a name of letters, digits, dots and underscores and a value on one line; nothing was changed: {name}"
    )]
    Setting {
        /// The setting's name.
        name: String,
    },
    /// The operating system refused something.
    #[error("could not {what} ({source}); what was there before stands: {}", .path.display())]
    Io {
        /// What was being done.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// The reason given by the system.
        #[source]
        source: io::Error,
    },
}

impl ClusterError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NamedBinaries { .. } => "RD0850",
            Self::NoServer { .. } => "RD0851",
            Self::NoAccount => "RD0852",
            Self::Init { .. } => "RD0853",
            Self::Start { .. } => "RD0854",
            Self::StartDeadline { .. } => "RD0855",
            Self::StopDeadline { .. } => "RD0856",
            Self::Leftovers { .. } => "RD0857",
            Self::OtherVersion { .. } => "RD0858",
            Self::Setting { .. } => "RD0859",
            Self::NotOurs { .. } => "RD0950",
            Self::Busy { .. } => "RD0951",
            Self::Handle { .. } => "RD0952",
            Self::LongSocket { .. } => "RD0953",
            Self::Io { .. } => "RD0954",
        }
    }

    /// The exit status of a command that ends with this error: 75 where trying again may help,
    /// 78 where somebody must change the surroundings first.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Start { .. }
            | Self::StartDeadline { .. }
            | Self::StopDeadline { .. }
            | Self::Leftovers { .. }
            | Self::Busy { .. } => 75,
            Self::NamedBinaries { .. }
            | Self::NoServer { .. }
            | Self::NoAccount
            | Self::Init { .. }
            | Self::OtherVersion { .. }
            | Self::Setting { .. }
            | Self::NotOurs { .. }
            | Self::Handle { .. }
            | Self::LongSocket { .. }
            | Self::Io { .. } => 78,
        }
    }

    /// Wraps a refusal of the operating system; made for `map_err`.
    pub(super) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { what, path, source }
    }
}

/// Shows process numbers with commas between them.
struct Pids<'a>(&'a [i32]);

impl std::fmt::Display for Pids<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, pid) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{pid}")?;
        }
        Ok(())
    }
}
