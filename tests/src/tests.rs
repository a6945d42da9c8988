//! The harness's own promises: servers are fast, separate, restartable, and never outlive us.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, test_kill_process};

use crate::children::{Running, eventually, signal_process};
use crate::cluster::{Setup, TestCluster};
use crate::database::{fresh_database, try_query_text};
use crate::ground::{Ground, Plot};

const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn a_server_of_a_tests_own_starts_in_a_fraction_of_a_second() {
    drop(TestCluster::own());
    let times: Vec<Duration> = (0..5)
        .map(|_| {
            let start = Instant::now();
            let cluster = TestCluster::own();
            let took = start.elapsed();
            assert_eq!(cluster.query_text("postgres", "select 1"), "1");
            took
        })
        .collect();
    println!("copy and start: {times:?}");
    let start = Instant::now();
    drop(fresh_database());
    println!("fresh database, made and dropped: {:?}", start.elapsed());
    // The bound is loose because other tests share the machine; the figure is what is printed.
    assert!(
        times.iter().min() < Some(&Duration::from_secs(2)),
        "{times:?}"
    );
}

#[test]
fn fresh_databases_are_separate_and_go_with_their_value() {
    let (one, other) = (fresh_database(), fresh_database());
    one.query_text("create table t (n int); insert into t values (1), (null)");
    assert_eq!(one.query_text("select n, 'x' from t order by n"), "1|x\n|x");
    assert!(
        try_query_text(other.url(), "select * from t")
            .unwrap_err()
            .starts_with("42P01")
    );
    let name = one.name().to_owned();
    drop(one);
    let sql = format!("select count(*) from pg_database where datname = '{name}'");
    assert_eq!(TestCluster::shared().query_text("postgres", &sql), "0");
    assert_eq!(other.query_text("show server_encoding"), "UTF8");
}

#[tokio::test]
async fn the_small_psql_works_inside_an_async_test() {
    assert_eq!(fresh_database().query_text("select 1"), "1");
}

/// F20, F22
#[test]
fn committed_rows_survive_every_way_of_stopping() {
    let cluster = TestCluster::own();
    let database = cluster.fresh_database();
    database.query_text("create table t (n int)");
    let ways: [fn(&TestCluster); 3] = [
        TestCluster::restart,
        |cluster| {
            cluster.stop_immediate();
            cluster.start();
        },
        |cluster| {
            cluster.kill_postmaster();
            cluster.start();
        },
    ];
    for (count, way) in ways.iter().enumerate() {
        database.query_text("insert into t values (1)");
        way(&cluster);
        assert_eq!(
            database.query_text("select count(*) from t"),
            (count + 1).to_string()
        );
    }
}

#[test]
fn settings_and_a_loopback_port_are_given_when_asked_for() {
    let cluster = Setup::new()
        .set("track_commit_timestamp", "on")
        .tcp()
        .start();
    let show = |name: &str| cluster.query_text("postgres", &format!("show {name}"));
    assert_eq!(show("track_commit_timestamp"), "on");
    assert_eq!(
        (show("fsync"), show("synchronous_commit")),
        ("off".into(), "on".into())
    );
    assert_eq!(
        try_query_text(&cluster.tcp_url("postgres"), "select 1"),
        Ok("1".into())
    );
    assert_eq!(
        cluster.tcp_port().map(|port| port.to_string()),
        Some(show("port"))
    );
    cluster.set("max_prepared_transactions", "7");
    assert_eq!(show("max_prepared_transactions"), "7");
    assert_eq!(
        Setup::new()
            .durable()
            .start()
            .query_text("postgres", "show fsync"),
        "on"
    );
}

#[test]
fn dropping_a_server_ends_it_and_removes_its_folder() {
    let cluster = TestCluster::own();
    let (pid, data, socket) = (cluster.postmaster(), cluster.data_dir(), cluster.socket());
    fs::write(cluster.scratch().join("file"), "x").unwrap();
    drop(cluster);
    assert!(!is_alive(pid));
    assert!(!data.exists() && !socket.parent().is_some_and(Path::exists));
    assert!(!plot_of(&data).exists());
}

#[test]
fn a_server_ends_when_its_test_process_is_killed() {
    let (mut owner, server) = owner_process();
    owner.kill();
    eventually(LIMIT, "the warden ends the server", || {
        !is_alive(server.pid)
    });
    eventually(LIMIT, "the warden removes the folder", || {
        !plot_of(&server.data).exists()
    });
    assert!(!server.socket.exists());
}

#[test]
fn what_a_killed_warden_left_is_swept_at_the_next_start() {
    let (mut owner, server) = owner_process();
    signal_process(server.warden, Signal::KILL);
    owner.kill();
    assert!(is_alive(server.pid));
    next_start();
    eventually(LIMIT, "the sweep ends the server", || !is_alive(server.pid));
    assert!(!plot_of(&server.data).exists() && !server.socket.exists());
}

#[test]
fn a_server_whose_owner_lives_is_not_swept() {
    let (owner, server) = owner_process();
    next_start();
    assert!(is_alive(server.pid) && server.data.exists());
    drop(owner);
}

/// Not a test: the other process of the tests above. It owns a server until it is killed.
#[test]
#[ignore = "the other process of tests above, which run it: cargo test -p redress-tests --lib"]
fn owner_of_a_server() {
    if env::var_os(OWNER).is_none() {
        return;
    }
    let cluster = TestCluster::own();
    let socket = cluster.socket();
    println!("pid={}", cluster.postmaster());
    println!("warden={}", cluster.warden_pid());
    println!("data={}", cluster.data_dir().display());
    println!("socket={}", socket.parent().unwrap().display());
    println!("up.");
    loop {
        std::thread::park();
    }
}

struct Owned {
    pid: i32,
    warden: i32,
    data: PathBuf,
    socket: PathBuf,
}

/// Starts a process that owns a server.
fn owner_process() -> (Running, Owned) {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args([
            "--exact",
            "tests::owner_of_a_server",
            "--ignored",
            "--nocapture",
        ])
        .env(OWNER, "1");
    let mut owner = Running::start(&mut command);
    eventually(LIMIT, "the other process has a server", || {
        assert_eq!(owner.poll(), None, "{}{}", owner.stdout(), owner.stderr());
        owner.stdout().contains("up.")
    });
    let out = owner.stdout();
    let value = |key: &str| {
        let start = out.find(key).unwrap_or_else(|| panic!("{key} in {out}")) + key.len();
        out[start..].lines().next().unwrap().to_owned()
    };
    let owned = Owned {
        pid: value("pid=").parse().unwrap(),
        warden: value("warden=").parse().unwrap(),
        data: value("data=").into(),
        socket: value("socket=").into(),
    };
    assert!(is_alive(owned.pid) && owned.socket.exists());
    (owner, owned)
}

/// What the next test process does first.
fn next_start() {
    let plot = Plot::claim(Ground::Memory);
    fs::remove_dir_all(plot.path()).unwrap();
}

/// The folder in the base folder that holds this data.
fn plot_of(data: &Path) -> PathBuf {
    let plot = data.ancestors().nth(2).unwrap();
    assert_eq!(plot.parent(), Some(Ground::Memory.base().as_path()));
    plot.to_path_buf()
}

/// Tells whether a process runs; one that ended and was not collected does not.
fn is_alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(')').next().unwrap_or_default().trim_start();
    !state.starts_with('Z') && test_kill_process(Pid::from_raw(pid).unwrap()).is_ok()
}

#[test]
fn a_child_is_frozen_continued_and_ended() {
    let mut child = Running::start(Command::new("sh").args([
        "-c",
        "trap 'echo asked; exit 7' TERM; echo ready; while :; do sleep 0.01; done",
    ]));
    eventually(LIMIT, "it is ready", || child.stdout() == "ready\n");
    child.freeze();
    child.terminate();
    assert_eq!(child.poll(), None);
    child.thaw();
    assert_eq!(child.wait(LIMIT).code(), Some(7));
    assert_eq!(child.stdout(), "ready\nasked\n");
    // Nothing happens to whoever has the number next.
    child.kill();
}

#[test]
#[should_panic(expected = "not within 10ms: pigs fly")]
fn what_never_happens_ends_at_its_deadline() {
    eventually(Duration::from_millis(10), "pigs fly", || false);
}

const OWNER: &str = "REDRESS_TEST_OWNER";
