//! A real server for tests: copied from a template, started in a fraction of a second.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use redress_cli::cluster::{Account, Binaries, ClusterError, Options, PrivateCluster, Stop};

use crate::database::{self, TestDatabase};
use crate::ground::{Ground, Plot};
use crate::template;
use crate::warden::Warden;

/// How a server of a test's own is made.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    settings: Vec<(String, String)>,
    tcp: bool,
    durable: bool,
    /// Socket's folder and port of the primary that it follows.
    primary: Option<(PathBuf, u16)>,
}

impl Setup {
    /// The usual server: socket only, `fsync` off.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a server setting.
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Gives the server a loopback port.
    pub fn tcp(mut self) -> Self {
        self.tcp = true;
        self
    }

    /// Leaves `fsync` on and lies on the disk, as benches need it.
    pub fn durable(mut self) -> Self {
        self.durable = true;
        self
    }

    /// Makes it a hot standby that follows another test server.
    pub fn standby_of(mut self, primary: &TestCluster) -> Self {
        let socket = primary.socket();
        let folder = socket.parent().expect("a socket lies in a folder");
        self.primary = Some((folder.to_owned(), primary.tcp_port.unwrap_or(USUAL_PORT)));
        self
    }

    /// Starts the server.
    pub fn start(self) -> TestCluster {
        TestCluster::started(self, false)
    }

    fn settings(&self) -> Vec<(String, String)> {
        let mut all = Vec::new();
        if !self.durable {
            // Killed processes lose nothing that was written, only a killed machine would; so
            // every crash that tests cause keeps its meaning. `synchronous_commit` must stay on.
            all.push(("fsync".to_owned(), "off".to_owned()));
        }
        all.extend(self.settings.iter().cloned());
        all
    }
}

/// A running test server; dropping it ends the server and removes its folder.
#[derive(Debug)]
pub struct TestCluster {
    inner: Mutex<PrivateCluster>,
    warden: Warden,
    shared: bool,
    tcp_port: Option<u16>,
    plot: Plot,
}

impl TestCluster {
    /// The server that all light tests of this process share. It cannot be stopped by a test.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<TestCluster> = OnceLock::new();
        SHARED.get_or_init(|| Self::started(Setup::new(), true))
    }

    /// A server of the test's own, with the usual setup.
    pub fn own() -> Self {
        Setup::new().start()
    }

    /// The binaries that all test servers use; provisioned if there are none.
    pub fn binaries() -> &'static Binaries {
        static BINARIES: OnceLock<Binaries> = OnceLock::new();
        BINARIES.get_or_init(|| {
            let account = must(Account::for_server());
            must(Options::default().binaries(account))
        })
    }

    fn started(setup: Setup, shared: bool) -> Self {
        let binaries = Self::binaries();
        let account = must(Account::for_server());
        let ground = if setup.durable {
            Ground::Disk
        } else {
            Ground::Memory
        };
        let plot = Plot::claim(ground);
        let dir = plot.server();
        fs::create_dir(&dir).expect("the folder of a new test server is empty");
        match &setup.primary {
            Some((socket, port)) => {
                follow(&dir.join("data"), socket, *port, binaries, account);
            }
            None => template::copy_to(&dir.join("data"), ground, binaries, account),
        }
        let mut options = Options::default();
        options.search.named = Some(binaries.bin.clone());
        options.settings = setup.settings();
        for attempt in 1.. {
            options.tcp_port = setup.tcp.then(free_port);
            let mut server = must(PrivateCluster::open(&dir, &options));
            let warden = Warden::over(plot.path(), server.data_dir(), server.socket_dir());
            match server.start() {
                Ok(()) => {
                    return Self {
                        inner: Mutex::new(server),
                        warden,
                        shared,
                        tcp_port: options.tcp_port,
                        plot,
                    };
                }
                // Somebody else took the port between our look and the server's.
                Err(ClusterError::Start { .. }) if setup.tcp && attempt < PORT_TRIES_MAX => {
                    let mut warden = warden;
                    warden.dismiss();
                }
                Err(error) => panic!("{} {error}", error.code()),
            }
        }
        unreachable!("the loop ends by a server or a panic")
    }

    /// A superuser's URL for a database, through the socket.
    pub fn url(&self, database: &str) -> String {
        self.url_as("postgres", database)
    }

    /// A URL for a database as a role, through the socket.
    pub fn url_as(&self, role: &str, database: &str) -> String {
        self.server().url(role, database)
    }

    /// A superuser's URL through the loopback port; only with [`Setup::tcp`].
    pub fn tcp_url(&self, database: &str) -> String {
        let url = self.server().tcp_url("postgres", database);
        url.expect("the server was set up with a loopback port")
    }

    /// The loopback port; only with [`Setup::tcp`].
    pub fn tcp_port(&self) -> Option<u16> {
        self.tcp_port
    }

    /// The server's Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.server().socket()
    }

    /// The server's data folder.
    pub fn data_dir(&self) -> PathBuf {
        self.server().data_dir().to_path_buf()
    }

    /// A folder beside the server's, removed with it; made for a test's own files.
    pub fn scratch(&self) -> PathBuf {
        let path = self.plot.path().join("scratch");
        fs::create_dir_all(&path).expect("a folder beside the server can be made");
        path
    }

    /// What the server has logged.
    pub fn log(&self) -> String {
        let path = self.server().log_path();
        let bytes = fs::read(path).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The postmaster's process.
    pub fn postmaster(&self) -> i32 {
        must(self.server().pid()).expect("the test server runs")
    }

    /// A new database with a name of its own.
    pub fn fresh_database(&self) -> TestDatabase {
        TestDatabase::create(self.url("postgres"), |name| self.url(name))
    }

    /// Runs statements in a database as superuser; gives rows as lines, columns split by `|`.
    #[track_caller]
    pub fn query_text(&self, database: &str, sql: &str) -> String {
        database::query_text(&self.url(database), sql)
    }

    /// Stops with a checkpoint and starts again.
    pub fn restart(&self) {
        self.stop(Stop::Fast);
        self.start();
    }

    /// Stops at once as in a crash (`pg_ctl stop -m immediate`).
    pub fn stop_immediate(&self) {
        self.stop(Stop::Immediate);
    }

    /// Kills the postmaster with SIGKILL; its children leave by themselves.
    pub fn kill_postmaster(&self) {
        self.stop(Stop::Kill);
    }

    /// Stops the server.
    pub fn stop(&self, how: Stop) {
        self.refuse_shared();
        must(self.server().stop(how));
    }

    /// Starts a stopped server; waits until the children of a killed postmaster have left.
    pub fn start(&self) {
        must(self.server().start());
    }

    /// Changes a setting by a restart; it stays for later restarts.
    pub fn set(&self, name: &str, value: &str) {
        self.refuse_shared();
        must(self.server().set(name, value));
        self.restart();
    }

    #[cfg(test)]
    pub(crate) fn warden_pid(&self) -> u32 {
        self.warden.pid()
    }

    fn refuse_shared(&self) {
        assert!(
            !self.shared,
            "the shared server serves other tests too: use TestCluster::own()"
        );
    }

    fn server(&self) -> MutexGuard<'_, PrivateCluster> {
        // A test that panicked while it held the server left it as it is.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for TestCluster {
    fn drop(&mut self) {
        // Stopped here, where it is our child and its end is collected.
        let stopped = self.server().stop(Stop::Immediate);
        let removed = stopped
            .and_then(|()| redress_cli::cluster::remove(&self.plot.server(), Stop::Immediate));
        if removed.is_ok() {
            let _ = fs::remove_dir_all(self.plot.path());
            self.warden.dismiss();
        }
        // Otherwise the warden tries when this process has ended, and the next sweep after it.
    }
}

/// Copies a running server into a data folder that will follow it.
fn follow(data: &Path, socket: &Path, port: u16, binaries: &Binaries, account: Account) {
    fs::create_dir(data).expect("the folder of a new test server is empty");
    fs::set_permissions(data, fs::Permissions::from_mode(0o700)).expect("a mode can be set");
    account.own(data).expect("the folder can be given away");
    let mut command = binaries.command("pg_basebackup");
    command
        .arg("--host")
        .arg(socket)
        .args(["--port", &port.to_string(), "--username", "postgres"])
        .arg("--pgdata")
        .arg(data)
        .args([
            "--checkpoint=fast",
            "--wal-method=stream",
            "--write-recovery-conf",
            "--no-sync",
        ])
        .current_dir("/");
    if account.is_other() {
        command.uid(account.uid());
    }
    let ran = command.output().expect("pg_basebackup runs");
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "pg_basebackup: {said}");
}

/// A port that is free now.
fn free_port() -> u16 {
    let probe = TcpListener::bind(("127.0.0.1", 0)).expect("the loopback address has a free port");
    let address = probe.local_addr().expect("a bound socket has an address");
    address.port()
}

#[track_caller]
fn must<T>(result: Result<T, ClusterError>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{} {error}", error.code()),
    }
}

const PORT_TRIES_MAX: u32 = 5;
const USUAL_PORT: u16 = 5432;
