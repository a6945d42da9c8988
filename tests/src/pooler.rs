//! A pooler before a server: pgbouncer in transaction mode, found or installed, or said loudly not to be there.
//!
//! With `REDRESS_TEST_POOLER=PATH` the engines and commands of the tests reach their server through the pgbouncer at
//! that path; what looks at the tables for a test still goes straight.

use std::collections::HashMap;
use std::env;
use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use redress_cli::cluster::{Account, until};
use tempfile::TempDir;
use tokio_postgres::Config;
use tokio_postgres::config::Host;

const LIMIT: Duration = Duration::from_secs(20);
const PORT: u16 = 6432;
/// Ends the pooler when our end of its standard input is gone: with us, however we die.
const TETHER: &str = "\"$0\" \"$1\" & pid=$!; cat >/dev/null; kill $pid; wait $pid";

/// A running pgbouncer; dropping it ends it.
#[derive(Debug)]
pub struct Pooler {
    child: Child,
    dir: TempDir,
}

impl Pooler {
    /// Starts a pgbouncer before the server of a URL, with lines of its configuration beside the usual ones.
    #[track_caller]
    pub fn before(program: &Path, url: &str, settings: &str) -> Self {
        let (socket, port) = server_of(url).expect("a server on a socket");
        let account = Account::for_server().expect("an account");
        let dir = tempfile::Builder::new()
            .prefix("rp-")
            .tempdir_in("/tmp")
            .expect("a folder");
        let text = format!(
            "[databases]\n* = host={} port={port} auth_user=postgres\n\
             [pgbouncer]\nlisten_addr =\nunix_socket_dir = {here}\nlisten_port = {PORT}\nunix_socket_mode = 0777\n\
             auth_type = trust\nauth_file = {here}/users\npool_mode = transaction\nmax_client_conn = 2000\n\
             default_pool_size = 150\nserver_login_retry = 1\nserver_idle_timeout = 10\nlogfile = {here}/log\n{settings}\n",
            socket.display(),
            here = dir.path().display(),
        );
        let file = dir.path().join("ini");
        fs::write(&file, text).expect("a file can be written");
        fs::write(dir.path().join("users"), "\"postgres\" \"\"\n").expect("a file can be written");
        account.own(dir.path()).expect("the folder is given away");
        let mut command = Command::new("/bin/sh");
        command.args(["-c", TETHER]).arg(program).arg(&file);
        command
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if account.is_other() {
            command.uid(account.uid());
        }
        let child = command.spawn().expect("a shell");
        let pooler = Self { child, dir };
        // It is bound a moment before it listens.
        let there = || UnixStream::connect(pooler.socket()).ok();
        until(LIMIT, there).unwrap_or_else(|| panic!("no pooler: {}", pooler.log()));
        pooler
    }

    /// The way of a URL through this pooler, told to whoever uses it.
    pub fn url(&self, direct: &str) -> String {
        format!("{}&pooler=transaction", self.silent_url(direct))
    }

    /// The way of a URL through this pooler, as if it went straight.
    pub fn silent_url(&self, direct: &str) -> String {
        let config: Config = direct.parse().expect("a URL that parses");
        format!(
            "postgresql://{}@/{}?host={}&port={PORT}",
            config.get_user().unwrap_or("postgres"),
            config.get_dbname().unwrap_or("postgres"),
            self.dir.path().display().to_string().replace('/', "%2F")
        )
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join(format!(".s.PGSQL.{PORT}"))
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// The URL by which an engine or a command of a test reaches a server: through a pooler when the tests were told so.
pub fn engine_url(direct: &str) -> String {
    static POOLERS: OnceLock<Mutex<HashMap<(PathBuf, u16), Pooler>>> = OnceLock::new();
    let Some(program) = env::var_os("REDRESS_TEST_POOLER") else {
        return direct.to_owned();
    };
    let Some(server) = server_of(direct) else {
        return direct.to_owned();
    };
    let mut poolers = POOLERS
        .get_or_init(Mutex::default)
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    poolers
        .entry(server)
        .or_insert_with(|| Pooler::before(Path::new(&program), direct, ""))
        .url(direct)
}

/// Whether the engines of the tests reach their servers through a pooler.
pub fn is_between() -> bool {
    env::var_os("REDRESS_TEST_POOLER").is_some()
}

/// A pgbouncer of this machine, after trying to install one.
pub fn find() -> Option<PathBuf> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOUND.get_or_init(look).clone()
}

fn look() -> Option<PathBuf> {
    let places = [
        "/usr/sbin/pgbouncer",
        "/usr/bin/pgbouncer",
        "/usr/local/bin/pgbouncer",
    ];
    let there = || places.iter().map(PathBuf::from).find(|path| path.exists());
    if let Some(named) = env::var_os("REDRESS_TEST_POOLER") {
        return Some(named.into());
    }
    there().or_else(|| {
        let root = rustix::process::geteuid().is_root();
        let install = ["install", "-y", "--no-install-recommends", "pgbouncer"];
        if root && (apt(&install) || (apt(&["update"]) && apt(&install))) {
            return there();
        }
        let line = "SKIPPED: no pooler was asked: pgbouncer is not installed, and only root may install it\n";
        let _ = std::io::stderr().write_all(line.as_bytes());
        None
    })
}

fn apt(arguments: &[&str]) -> bool {
    let mut command = Command::new("apt-get");
    command
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null());
    command.output().is_ok_and(|done| done.status.success())
}

/// The socket's folder and the port; nothing for a way that a test laid on purpose (a relay, another pooler).
fn server_of(url: &str) -> Option<(PathBuf, u16)> {
    let config: Config = url.parse().ok()?;
    match config.get_hosts() {
        [Host::Unix(path)] => {
            let port = config.get_ports().first().copied().unwrap_or(5432);
            Some((path.clone(), port))
        }
        _ => None,
    }
}
