//! Private servers tried for real: every test makes, breaks and removes its own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use super::postmaster::{PID_FILE, is_alive, signal};
use super::*;

/// A folder for one private server, which is stopped and removed at the end.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // As root the server runs under another account, which has to come in.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self { folder }
    }

    fn dir(&self) -> PathBuf {
        self.folder.path().join("server")
    }

    fn up(&self) -> PrivateCluster {
        up(&self.dir(), &options()).unwrap_or_else(|error| panic!("{error}"))
    }

    fn pid(&self) -> i32 {
        match status(&self.dir()).unwrap() {
            Status::Running { pid, ready, .. } => {
                assert!(ready);
                pid
            }
            other => panic!("{other:?}"),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let removed = remove(&self.dir(), Stop::Immediate);
        assert!(removed.is_ok() || std::thread::panicking(), "{removed:?}");
    }
}

fn options() -> Options {
    Options::default().set("fsync", "off")
}

fn wait(what: &str, condition: impl Fn() -> bool) {
    let limit = Duration::from_secs(20);
    assert!(
        until(limit, || condition().then_some(())).is_some(),
        "{what}"
    );
}

#[test]
fn up_finds_what_runs_and_down_stops_it() {
    let place = Place::new();
    assert_eq!(status(&place.dir()).unwrap(), Status::Missing);
    assert!(!down(&place.dir()).unwrap());
    let first = place.up();
    assert_eq!(first.pid().unwrap(), Some(place.pid()));
    assert!(UnixStream::connect(first.socket()).is_ok());
    assert!(first.socket().as_os_str().len() <= 107);
    let again = place.up();
    assert_eq!(again.pid().unwrap(), first.pid().unwrap());
    assert_eq!(again.url("a b", "c"), first.url("a b", "c"));
    assert!(again.url("a b", "c").starts_with("postgres://a%20b@%2F"));
    // The parent that must collect it is `first`, so that its end is seen here.
    drop(again);
    let pid = place.pid();
    assert!(down(&place.dir()).unwrap());
    // The server has ended; its children may still be leaving.
    let stopped = || matches!(status(&place.dir()).unwrap(), Status::Stopped { .. }).then_some(());
    until(Duration::from_secs(10), stopped).expect("everything of the server ends");
    assert!(!down(&place.dir()).unwrap());
    drop(first);
    let third = place.up();
    assert_ne!(third.pid().unwrap(), Some(pid));
}

#[test]
fn the_server_runs_under_its_own_account_and_only_that_reaches_it() {
    use std::os::unix::fs::MetadataExt;
    let place = Place::new();
    let server = place.up();
    let account = server.account();
    assert_ne!(account.uid(), 0);
    assert_eq!(
        fs::metadata(server.data_dir()).unwrap().uid(),
        account.uid()
    );
    let socket = fs::metadata(server.socket_dir()).unwrap();
    assert_eq!(
        (socket.uid(), socket.mode() & 0o777),
        (account.uid(), 0o700)
    );
    let file = fs::read_to_string(server.data_dir().join(PID_FILE)).unwrap();
    assert_eq!(file.lines().nth(5), Some(""), "no address is listened on");
}

#[test]
fn two_at_once_make_and_start_one_server() {
    let place = Place::new();
    let dir = place.dir();
    let pids: Vec<i32> = std::thread::scope(|scope| {
        let both: Vec<_> = (0..2)
            .map(|_| scope.spawn(|| up(&dir, &options()).unwrap().pid().unwrap().unwrap()))
            .collect();
        both.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert_eq!(pids, [place.pid(), place.pid()]);
}

/// F22
#[test]
fn a_killed_server_is_started_again() {
    let place = Place::new();
    let mut server = place.up();
    server.stop(Stop::Kill).unwrap();
    assert!(server.data_dir().join(PID_FILE).exists());
    server.start().unwrap();
    place.pid();
}

#[test]
fn a_process_file_with_the_number_of_a_stranger_does_not_stop_a_start() {
    let place = Place::new();
    let mut server = place.up();
    server.stop(Stop::Kill).unwrap();
    let file = server.data_dir().join(PID_FILE);
    let text = fs::read_to_string(&file).unwrap();
    let stranger = std::process::id().to_string();
    let rest: Vec<&str> = text.lines().skip(1).collect();
    fs::write(&file, format!("{stranger}\n{}\n", rest.join("\n"))).unwrap();
    wait("the children leave", || {
        matches!(status(&place.dir()), Ok(Status::Stopped { .. }))
    });
    server.start().unwrap();
    assert_ne!(place.pid().to_string(), stranger);
}

#[test]
fn a_frozen_server_can_be_stopped() {
    let place = Place::new();
    let mut server = place.up();
    let pid = place.pid();
    signal(pid, Signal::STOP).unwrap();
    server.stop(Stop::Fast).unwrap();
    assert!(!is_alive(pid));
}

#[test]
fn a_server_whose_socket_was_swept_away_is_restarted() {
    let place = Place::new();
    let server = place.up();
    let pid = place.pid();
    let old = server.socket_dir().to_path_buf();
    fs::remove_dir_all(&old).unwrap();
    drop(server);
    let server = place.up();
    assert_ne!(place.pid(), pid);
    assert_ne!(server.socket_dir(), old);
    assert!(UnixStream::connect(server.socket()).is_ok());
}

#[test]
fn a_half_made_data_folder_is_made_anew() {
    let place = Place::new();
    let server = place.up();
    let data = server.data_dir().to_path_buf();
    drop(server);
    down(&place.dir()).unwrap();
    // As after a kill inside initdb: files, but not the line that is written last.
    fs::write(data.join("postgresql.conf"), "").unwrap();
    fs::write(data.join("left over"), "").unwrap();
    place.up();
    assert!(!data.join("left over").exists());
}

#[test]
fn a_folder_with_other_things_is_refused_and_left_as_it_was() {
    let place = Place::new();
    for (folder, file) in [("", "thesis"), ("data", "thesis")] {
        let dir = place.folder.path().join(format!("mine{folder}"));
        let inner = dir.join(folder);
        fs::create_dir_all(&inner).unwrap();
        fs::write(inner.join(file), "mine").unwrap();
        let error = up(&dir, &options()).unwrap_err();
        assert_eq!((error.code(), error.exit_code()), ("RD0950", 78));
        assert_eq!(fs::read_to_string(inner.join(file)).unwrap(), "mine");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        remove(&dir, Stop::Fast).unwrap();
        assert!(inner.join(file).exists());
    }
}

#[test]
fn data_of_another_version_is_refused_and_left_as_it_was() {
    let place = Place::new();
    let data = place.up().data_dir().to_path_buf();
    down(&place.dir()).unwrap();
    fs::write(data.join("PG_VERSION"), "14\n").unwrap();
    let error = up(&place.dir(), &options()).unwrap_err();
    assert_eq!(error.code(), "RD0858");
    assert!(data.join("base").exists());
}

#[test]
fn a_server_that_does_not_start_says_why() {
    let place = Place::new();
    let error = up(&place.dir(), &options().set("fsync", "perhaps")).unwrap_err();
    assert_eq!((error.code(), error.exit_code()), ("RD0854", 75));
    let text = error.to_string();
    assert!(text.contains("requires a Boolean value"), "{text}");
    place.up();
}

/// Tries again while somebody has the folder's lock.
fn unless_busy<T>(mut act: impl FnMut() -> Result<T, ClusterError>) -> Result<T, ClusterError> {
    for _ in 0..1_000 {
        match act() {
            Err(ClusterError::Busy { .. }) => std::thread::sleep(Duration::from_millis(5)),
            other => return other,
        }
    }
    act()
}

#[test]
fn a_start_that_takes_too_long_is_given_up_and_leaves_nothing_running() {
    let place = Place::new();
    let mut options = options();
    let mut server = PrivateCluster::open(&place.dir(), &options).unwrap();
    options.limit = Duration::ZERO;
    // Without patience even the folder's lock may be taken for a moment, by a child of another test that is being made.
    let mut hasty = unless_busy(|| PrivateCluster::open(&place.dir(), &options)).unwrap();
    let error = unless_busy(|| hasty.start()).unwrap_err();
    assert!(["RD0855", "RD0856"].contains(&error.code()), "{error}");
    drop(hasty);
    server.start().unwrap();
    place.pid();
}

#[test]
fn a_folder_that_the_server_cannot_reach_has_its_data_apart() {
    let place = Place::new();
    fs::set_permissions(place.folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let server = place.up();
    let other = server.account().is_other();
    let data = server.data_dir().to_path_buf();
    assert_eq!(data.starts_with("/var/lib/redress"), other);
    place.pid();
    remove(&place.dir(), Stop::Immediate).unwrap();
    assert!(!data.exists() && !place.dir().exists());
    assert!(!other || !data.parent().is_some_and(Path::exists));
}

#[test]
fn a_loopback_port_is_opened_only_when_asked_for() {
    let place = Place::new();
    let probe = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = probe.local_addr().unwrap().port();
    drop(probe);
    let mut options = options();
    options.tcp_port = Some(port);
    let server = up(&place.dir(), &options).unwrap();
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    assert!(UnixStream::connect(server.socket()).is_ok());
    assert!(server.url("u", "d").ends_with(&format!(":{port}/d")));
    let url = format!("postgres://u@127.0.0.1:{port}/d?sslmode=disable");
    assert_eq!(server.tcp_url("u", "d"), Some(url));
}
