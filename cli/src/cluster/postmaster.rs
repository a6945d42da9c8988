//! Judges from `postmaster.pid` and the process list whether a data folder's server runs.
//!
//! **Invariant:** the file of a dead server is removed only when no process works in the data
//! folder any more; two servers on one folder would destroy it.
//!
//! **What can go wrong:** the number in the file may belong to a stranger by now (a crash, then
//! reuse); the children of a killed postmaster may live on for a while.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::error::ClusterError;
use super::wait;

/// What is known about the server of a data folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// No process and no file.
    Nothing,
    /// A file without a living server.
    Stale,
    /// The server runs; `ready` once it takes connections.
    Running {
        /// Its process.
        pid: i32,
        /// Whether it takes connections.
        ready: bool,
    },
    /// The postmaster is gone, its children are not.
    Leftovers(Vec<i32>),
}

/// Looks at a data folder.
pub(super) fn look(data: &Path) -> Result<Found, ClusterError> {
    let Some(file) = PidFile::read(data)? else {
        let pids = processes_in(data);
        return Ok(if pids.is_empty() {
            Found::Nothing
        } else {
            Found::Leftovers(pids)
        });
    };
    if let Some(pid) = file.pid
        && is_alive(pid)
        && is_server_of(pid, data)
    {
        return Ok(Found::Running {
            pid,
            ready: file.ready,
        });
    }
    let pids = processes_in(data);
    Ok(if pids.is_empty() {
        Found::Stale
    } else {
        Found::Leftovers(pids)
    })
}

/// Removes the file of a server that `look` found to be dead.
pub(super) fn remove_stale(data: &Path) -> Result<(), ClusterError> {
    let path = data.join(PID_FILE);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(ClusterError::io(
            "remove the file of a dead server",
            &path,
        )(error)),
        _ => Ok(()),
    }
}

/// Sends a signal to a process; a process that has ended is no error.
pub(super) fn signal(pid: i32, signal: Signal) -> Result<(), ClusterError> {
    let Some(target) = server_pid(pid) else {
        return Ok(());
    };
    match kill_process(target, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(errno) => Err(ClusterError::io(
            "send a signal to the server",
            Path::new(&format!("process {pid}")),
        )(errno.into())),
    }
}

/// Tells whether a process exists; one that may not be signalled exists too.
pub(super) fn is_alive(pid: i32) -> bool {
    server_pid(pid).is_some_and(|target| test_kill_process(target) != Err(rustix::io::Errno::SRCH))
}

/// A number that can be a server's process: not all processes, not a group, not the first one.
fn server_pid(pid: i32) -> Option<Pid> {
    if pid > 1 { Pid::from_raw(pid) } else { None }
}

/// The two lines of `postmaster.pid` that matter here.
struct PidFile {
    pid: Option<i32>,
    ready: bool,
}

impl PidFile {
    fn read(data: &Path) -> Result<Option<Self>, ClusterError> {
        let path = data.join(PID_FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(None);
            }
            Err(error) => {
                return Err(ClusterError::io("read the server's process file", &path)(
                    error,
                ));
            }
        };
        let mut lines = text.lines().map(str::trim);
        // A standalone backend writes its number negative.
        let pid = lines.next().and_then(|line| line.parse::<i32>().ok());
        let status = lines.nth(STATUS_LINE - 2);
        Ok(Some(Self {
            pid: pid.map(i32::abs),
            ready: status == Some("ready"),
        }))
    }
}

/// Tells whether a living process is a server on `data`. A server works inside its data folder;
/// where that cannot be seen, its command line must name a postgres with this folder.
fn is_server_of(pid: i32, data: &Path) -> bool {
    if has_proc() {
        return works_in(pid, data);
    }
    let shown = wait::run(
        Command::new("ps").args(["-ww", "-o", "command=", "-p", &pid.to_string()]),
        PS_LIMIT,
    );
    shown.is_ok_and(|shown| {
        shown.out.contains("postgres") && shown.out.contains(&*data.to_string_lossy())
    })
}

/// Every process that works inside the folder; none are seen where there is no `/proc`, and the
/// server's own check of its shared memory is then the only one.
fn processes_in(data: &Path) -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let mut pids: Vec<i32> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| works_in(*pid, data))
        .collect();
    pids.sort_unstable();
    pids
}

fn works_in(pid: i32, data: &Path) -> bool {
    let process = PathBuf::from(format!("/proc/{pid}"));
    // An operator's shell may stand in the folder too; only postgres counts.
    fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd == data)
        && fs::read_to_string(process.join("comm")).is_ok_and(|name| name.starts_with("postgres"))
}

fn has_proc() -> bool {
    Path::new("/proc/self/cwd").exists()
}

/// The file in which a server says its process and its state.
pub(super) const PID_FILE: &str = "postmaster.pid";
/// The line, from 1, on which it says `ready`.
const STATUS_LINE: usize = 8;
const PS_LIMIT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_the_number_of_a_stranger_is_stale() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().canonicalize().unwrap();
        assert_eq!(look(&data).unwrap(), Found::Nothing);
        for text in [
            format!("{}\n/x\n", std::process::id()),
            "x".into(),
            String::new(),
        ] {
            fs::write(data.join(PID_FILE), text).unwrap();
            assert_eq!(look(&data).unwrap(), Found::Stale);
        }
        remove_stale(&data).unwrap();
        remove_stale(&data).unwrap();
        assert_eq!(look(&data).unwrap(), Found::Nothing);
    }

    #[test]
    fn nobody_is_signalled_by_an_odd_number() {
        for pid in [-7, 0, 1] {
            signal(pid, Signal::KILL).unwrap();
            assert!(!is_alive(pid));
        }
    }
}
