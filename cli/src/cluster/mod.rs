//! Gives a PostgreSQL server to somebody who has none running: found, else provisioned, and run
//! as a private server that only its owner can reach.
//!
//! `binaries -> provision` decide what runs, `account -> folder -> config -> postmaster ->
//! private` how. Everything here blocks, every wait has a deadline.
//!
//! **Invariant:** no server of anybody else is started, stopped or changed; a provisioned server
//! goes into the system's own package manager or into one cache folder, nowhere else.
//!
//! **Not here:** connections and SQL. A caller gets a URL.

mod account;
mod binaries;
mod config;
mod error;
mod folder;
mod make;
mod options;
mod postmaster;
mod private;
mod provision;
mod wait;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use account::Account;
pub use binaries::{Binaries, Search, Version, find_binaries};
pub use error::ClusterError;
pub use make::init;
pub use options::{Options, Stop};
pub use private::{PrivateCluster, tcp_url};
pub use provision::{Way, provision, provision_by};
pub use wait::{ended, until};

use folder::{Description, LOCK};
use postmaster::Found;

/// What is known about the private server of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// There is no private server in this folder.
    Missing,
    /// There is one and it does not run.
    Stopped {
        /// Its data folder.
        data: PathBuf,
    },
    /// It runs.
    Running {
        /// The postmaster's process.
        pid: i32,
        /// Whether it takes connections.
        ready: bool,
        /// Its data folder.
        data: PathBuf,
        /// The folder of its socket.
        socket_dir: PathBuf,
        /// A URL for the superuser's own database.
        url: String,
    },
    /// The postmaster is gone and its children still leave.
    Leaving {
        /// The children.
        pids: Vec<i32>,
    },
}

/// Makes sure that the private server of `dir` runs: makes, starts or finds it.
pub fn up(dir: &Path, options: &Options) -> Result<PrivateCluster, ClusterError> {
    let mut cluster = PrivateCluster::open(dir, options)?;
    cluster.start()?;
    Ok(cluster)
}

/// Makes sure that the private server of `dir` does not run; its data stays. Tells whether it ran.
pub fn down(dir: &Path) -> Result<bool, ClusterError> {
    let dir = match dir.canonicalize() {
        Ok(dir) => dir,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(ClusterError::io("find the server's folder", dir)(error)),
    };
    let Some(Description { data, .. }) = Description::read(&dir)? else {
        return Ok(false);
    };
    let _lock = wait::lock(&dir.join(LOCK), DOWN_LIMIT)?;
    let ran = matches!(postmaster::look(&data)?, Found::Running { .. });
    private::stop_server(&data, &mut None, Stop::Fast, DOWN_LIMIT)?;
    Ok(ran)
}

/// Stops the private server of `dir` and removes its data, its socket's folder and `dir` itself.
/// A folder without a private server is left alone.
pub fn remove(dir: &Path, how: Stop) -> Result<(), ClusterError> {
    let Some(Description { data, socket, .. }) = Description::read(dir)? else {
        return Ok(());
    };
    let lock = wait::lock(&dir.join(LOCK), DOWN_LIMIT)?;
    private::stop_server(&data, &mut None, how, DOWN_LIMIT)?;
    let apart = data.parent().filter(|_| folder::is_apart(&data));
    for path in [Some(data.as_path()), apart, Some(&socket), Some(dir)] {
        path.map_or(Ok(()), folder::remove)?;
    }
    drop(lock);
    Ok(())
}

/// Looks at the private server of `dir`; changes nothing.
pub fn status(dir: &Path) -> Result<Status, ClusterError> {
    let Some(description) = Description::read(dir)? else {
        return Ok(Status::Missing);
    };
    let url = description.url("postgres", "postgres");
    let Description { data, socket, .. } = description;
    Ok(match postmaster::look(&data)? {
        Found::Nothing | Found::Stale => Status::Stopped { data },
        Found::Running { pid, ready } => Status::Running {
            pid,
            ready,
            url,
            data,
            socket_dir: socket,
        },
        Found::Leftovers(pids) => Status::Leaving { pids },
    })
}

const DOWN_LIMIT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
