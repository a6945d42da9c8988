//! Makes, starts and stops one private server: Unix socket only, its own data folder.
//!
//! **Invariant:** only processes of the server's account and root reach the server (the socket's
//! folder is closed to others), unless a loopback port was asked for; the server never listens
//! on another address.
//!
//! **What can go wrong:** killed while making the data folder: the half-made folder has no
//! `PG_VERSION` that counts and is made anew. Killed while starting: the server goes on and the
//! next `start` finds it. Killed server: its files are judged before anything is removed.
//!
//! **Not here:** passwords, TLS, replication, upgrades of data between major versions.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::account::Account;
use super::binaries::Binaries;
use super::error::ClusterError;
use super::folder::{self, Description, LOCK, LOG};
use super::options::{Options, Stop};
use super::postmaster::{self, Found};
use super::{config, make, wait};

/// A private server and the folder it lives in. Dropping the value leaves the server running.
#[derive(Debug)]
pub struct PrivateCluster {
    dir: PathBuf,
    account: Account,
    binaries: Binaries,
    description: Description,
    settings: Vec<(String, String)>,
    limit: Duration,
    /// The postmaster, if this value started it: as its parent we must collect its end.
    child: Option<Child>,
}

impl PrivateCluster {
    /// Opens the private server in `dir`; makes the folder and its data if they are missing.
    /// It does not start anything.
    pub fn open(dir: &Path, options: &Options) -> Result<Self, ClusterError> {
        config::check(&options.settings)?;
        let dir = folder::make(dir)?;
        if Description::read(&dir)?.is_none() {
            make::refuse_foreign(&dir)?;
        }
        let _lock = wait::lock(&dir.join(LOCK), options.limit)?;
        let binaries = options.binaries(Account::for_server()?)?;
        let (description, account) = describe(&dir, &binaries, options)?;
        let data = &description.data;
        if make::written_by(data).is_none() {
            make::init(&binaries, account, data, true)?;
        }
        if let Some(written) = make::written_by(data)
            && written != binaries.version.major
        {
            return Err(ClusterError::OtherVersion {
                data: data.clone(),
                written,
                found: binaries.version,
            });
        }
        Ok(Self {
            dir,
            account,
            binaries,
            description,
            settings: options.settings.clone(),
            limit: options.limit,
            child: None,
        })
    }

    /// Starts the server and waits until it takes connections; does nothing if it runs and can
    /// be reached. A running server whose socket was swept away is restarted.
    pub fn start(&mut self) -> Result<(), ClusterError> {
        let _lock = wait::lock(&self.dir.join(LOCK), self.limit)?;
        let end = Instant::now() + self.limit;
        if let Found::Running { pid, .. } = self.settled(end)? {
            let reachable = folder::socket_stands(&self.description.socket, self.account);
            if reachable && self.wait_ready(pid, end.min(Instant::now() + FOUND_LIMIT))? {
                return Ok(());
            }
            self.stop_locked(Stop::Fast)?;
        }
        postmaster::remove_stale(&self.description.data)?;
        if !folder::socket_stands(&self.description.socket, self.account) {
            self.description.socket = folder::make_socket(self.account)?;
            self.description.write(&self.dir)?;
        }
        config::write(&self.description, &self.settings, self.account)?;
        self.spawn()?;
        let pid = child_pid(self.child.as_ref());
        if self.wait_ready(pid, end)? {
            return Ok(());
        }
        // Waited for however short the limit: one that is given up must not meet the next one in the folder.
        let limit = self.limit.max(GIVE_UP_LIMIT);
        stop_server(
            &self.description.data,
            &mut self.child,
            Stop::Immediate,
            limit,
        )?;
        Err(ClusterError::StartDeadline {
            log: self.log_path(),
            limit: self.limit,
        })
    }

    /// Stops the server and waits until it has ended; does nothing if it does not run.
    pub fn stop(&mut self, how: Stop) -> Result<(), ClusterError> {
        let _lock = wait::lock(&self.dir.join(LOCK), self.limit)?;
        self.stop_locked(how)
    }

    /// The postmaster's process, if the server runs.
    pub fn pid(&self) -> Result<Option<i32>, ClusterError> {
        Ok(match postmaster::look(&self.description.data)? {
            Found::Running { pid, .. } => Some(pid),
            _ => None,
        })
    }

    /// A URL for `database` as `user`, through the socket.
    pub fn url(&self, user: &str, database: &str) -> String {
        self.description.url(user, database)
    }

    /// A URL through the loopback port, if the server has one.
    pub fn tcp_url(&self, user: &str, database: &str) -> Option<String> {
        let port = self.description.tcp_port?;
        Some(tcp_url(port, user, database))
    }

    /// The folder that was opened.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The data folder; not always inside `dir`.
    pub fn data_dir(&self) -> &Path {
        &self.description.data
    }

    /// The folder of the Unix socket.
    pub fn socket_dir(&self) -> &Path {
        &self.description.socket
    }

    /// The Unix socket itself.
    pub fn socket(&self) -> PathBuf {
        config::socket_file(&self.description)
    }

    /// The server's log.
    pub fn log_path(&self) -> PathBuf {
        self.dir.join(LOG)
    }

    /// The binaries that this value starts.
    pub fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// The account of the server's processes.
    pub fn account(&self) -> Account {
        self.account
    }

    /// Adds a setting; it holds from the next start.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), ClusterError> {
        let setting = (name.to_owned(), value.to_owned());
        config::check(std::slice::from_ref(&setting))?;
        self.settings.push(setting);
        Ok(())
    }

    /// Looks at the server; waits for the children of a killed postmaster to leave.
    fn settled(&mut self, end: Instant) -> Result<Found, ClusterError> {
        collect(&mut self.child);
        let left = end.saturating_duration_since(Instant::now());
        let settled = wait::until(left, || match postmaster::look(&self.description.data) {
            Ok(Found::Leftovers(_)) => None,
            other => Some(other),
        });
        match settled {
            Some(found) => found,
            None => match postmaster::look(&self.description.data)? {
                Found::Leftovers(pids) => Err(ClusterError::Leftovers { pids }),
                found => Ok(found),
            },
        }
    }

    fn spawn(&mut self) -> Result<(), ClusterError> {
        let log = self.log_path();
        let open = |path: &Path| OpenOptions::new().create(true).append(true).open(path);
        let out = open(&log).map_err(ClusterError::io("open the server's log", &log))?;
        let err = out
            .try_clone()
            .map_err(ClusterError::io("open the server's log", &log))?;
        let mut command = self.binaries.command("postgres");
        command
            .arg("-D")
            .arg(&self.description.data)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            // Ctrl-C at the terminal is meant for the caller, not for the server.
            .process_group(0);
        self.account.apply(&mut command);
        let child = command
            .spawn()
            .map_err(ClusterError::io("run the server", &self.binaries.bin))?;
        self.child = Some(child);
        Ok(())
    }

    /// Waits until the server takes connections; false when the deadline passes first.
    fn wait_ready(&mut self, pid: i32, end: Instant) -> Result<bool, ClusterError> {
        let data = self.description.data.clone();
        let socket = self.socket();
        let left = end.saturating_duration_since(Instant::now());
        let own = self.child.is_some();
        let child = &mut self.child;
        let ready = wait::until(left, || {
            if collect(child) {
                return Some(Ok(false));
            }
            match postmaster::look(&data) {
                Ok(Found::Running { pid: found, ready }) if found == pid && ready => {
                    UnixStream::connect(&socket).is_ok().then_some(Ok(true))
                }
                // Not ours to collect: another process started it, and it has ended since.
                Ok(Found::Nothing | Found::Stale) if !own => Some(Ok(false)),
                Ok(_) => None,
                Err(error) => Some(Err(error)),
            }
        });
        match ready {
            Some(Ok(false)) if own => Err(ClusterError::Start {
                log: self.log_path(),
                tail: log_tail(&self.log_path()),
            }),
            Some(result) => result,
            None => Ok(false),
        }
    }

    fn stop_locked(&mut self, how: Stop) -> Result<(), ClusterError> {
        stop_server(&self.description.data, &mut self.child, how, self.limit)
    }
}

/// A URL for a loopback port that speaks without TLS.
pub fn tcp_url(port: u16, user: &str, database: &str) -> String {
    let (user, database) = (config::percent(user), config::percent(database));
    format!("postgres://{user}@127.0.0.1:{port}/{database}?sslmode=disable")
}

/// Stops the server on `data`, the caller holding the lock, and collects it if it was a child.
pub(super) fn stop_server(
    data: &Path,
    child: &mut Option<Child>,
    how: Stop,
    limit: Duration,
) -> Result<(), ClusterError> {
    collect(child);
    let pid = match postmaster::look(data)? {
        Found::Running { pid, .. } => pid,
        // Started a moment ago: there is no file yet.
        _ if child.is_some() => child_pid(child.as_ref()),
        _ => return Ok(()),
    };
    let signal = match how {
        Stop::Fast => Signal::INT,
        Stop::Immediate => Signal::QUIT,
        Stop::Kill => Signal::KILL,
    };
    postmaster::signal(pid, signal)?;
    // A postmaster that somebody froze would not hear it.
    postmaster::signal(pid, Signal::CONT)?;
    let mut told = Instant::now();
    let gone = wait::until(limit, || {
        collect(child);
        // Nor one that has just begun, where whoever started us had the signal ignored; to hear it twice is no harm.
        if told.elapsed() > TELL_AGAIN && child.is_some() {
            let _ = postmaster::signal(pid, signal);
            told = Instant::now();
        }
        // Where nobody collects ended processes, the number stays; the file does not.
        let running =
            postmaster::look(data).is_ok_and(|found| matches!(found, Found::Running { .. }));
        (child.is_none() && !running).then_some(())
    });
    gone.ok_or(ClusterError::StopDeadline { pid, limit })
}

/// Says where everything of `dir` lies and writes it down, before anything is made: what a
/// crash leaves is then known to be ours. A running server keeps what it was started with.
fn describe(
    dir: &Path,
    binaries: &Binaries,
    options: &Options,
) -> Result<(Description, Account), ClusterError> {
    let (data, socket, account) = match Description::read(dir)? {
        Some(known) => {
            let account = Account::of_data(&known.data)?;
            if matches!(postmaster::look(&known.data)?, Found::Running { .. }) {
                return Ok((known, account));
            }
            (known.data, known.socket, account)
        }
        None => {
            // Asked for again: provisioning may have brought the server's own account.
            let account = Account::for_server()?;
            let data = folder::choose_data(dir, account)?;
            (data, folder::make_socket(account)?, account)
        }
    };
    let description = Description {
        data,
        socket,
        bin: binaries.bin.clone(),
        libraries: binaries.libraries.clone(),
        tcp_port: options.tcp_port,
    };
    description.write(dir)?;
    folder::make_data(&description.data, account)?;
    Ok((description, account))
}

/// Collects the end of a child; tells whether it ended just now.
fn collect(child: &mut Option<Child>) -> bool {
    let ended = child
        .as_mut()
        .is_some_and(|child| !matches!(child.try_wait(), Ok(None)));
    if ended {
        *child = None;
    }
    ended
}

fn child_pid(child: Option<&Child>) -> i32 {
    child
        .and_then(|child| i32::try_from(child.id()).ok())
        .unwrap_or(0)
}

fn log_tail(log: &Path) -> String {
    use std::io::{Read, Seek, SeekFrom};
    let read = || -> io::Result<String> {
        let mut file = File::open(log)?;
        let from = file.metadata()?.len().saturating_sub(LOG_TAIL_BYTES);
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().map_or_else(|error| error.to_string(), |text| wait::tail(&text))
}

const LOG_TAIL_BYTES: u64 = 4096;
/// How long a server that was found running may take to let us in.
const FOUND_LIMIT: Duration = Duration::from_secs(10);
/// How long a server that did not start in time may take to end.
const GIVE_UP_LIMIT: Duration = Duration::from_secs(10);
/// After so long a server that is to end is told so again.
const TELL_AGAIN: Duration = Duration::from_millis(500);
