//! The relay's own promises, tried with two drivers against a real server.

use std::time::{Duration, Instant};

use postgres::{Client, NoTls};

use super::{Fault, Relay, Trigger};
use crate::children::eventually;
use crate::cluster::TestCluster;
use crate::database::TestDatabase;

const LIMIT: Duration = Duration::from_secs(20);

/// A relay before the shared server, and a database with an empty table.
fn scene() -> (Relay, TestDatabase) {
    let database = TestCluster::shared().fresh_database();
    database.query_text("create table effect (n int)");
    (Relay::before(TestCluster::shared()), database)
}

fn connect(relay: &Relay, database: &TestDatabase) -> Client {
    Client::connect(&relay.url(database.name()), NoTls).expect("the relay leads to the server")
}

/// One transaction as a driver makes it: extended statements, COMMIT as a simple query.
fn transact(client: &mut Client, n: i32) -> Result<(), postgres::Error> {
    let mut transaction = client.transaction()?;
    transaction.execute("insert into effect values ($1)", &[&n])?;
    transaction.commit()
}

fn effects(database: &TestDatabase) -> String {
    database.query_text("select coalesce(string_agg(n::text, ',' order by n), '') from effect")
}

/// Sessions of the database other than the one that asks.
fn sessions(database: &TestDatabase) -> String {
    database.query_text(
        "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()",
    )
}

/// Meets a fault at the second COMMIT; gives how long the failing transaction took.
fn second_commit_fails(fault: Fault, relay: &Relay, database: &TestDatabase) -> Duration {
    let mut client = connect(relay, database);
    relay.arm_commit(fault, 2);
    transact(&mut client, 1).expect("the first COMMIT is not met");
    let start = Instant::now();
    let error = transact(&mut client, 2).expect_err("the second COMMIT is met");
    assert!(
        error.is_closed() || error.as_db_error().is_none(),
        "{error}"
    );
    assert_eq!(relay.fired(), 1);
    start.elapsed()
}

#[test]
fn without_faults_everything_passes() {
    let (relay, database) = scene();
    let mut client = connect(&relay, &database);
    for n in 1..=3 {
        transact(&mut client, n).unwrap();
    }
    let long = "x".repeat(3_000_000);
    let row = client.query_one("select $1::text", &[&long]).unwrap();
    assert_eq!(row.get::<_, &str>(0).len(), long.len());
    assert_eq!(effects(&database), "1,2,3");
    assert_eq!(
        (relay.fired(), relay.commits(), relay.connections()),
        (0, 3, 1)
    );
}

/// F24
#[test]
fn a_cut_before_commit_leaves_a_transaction_that_is_already_rolled_back() {
    let (relay, database) = scene();
    second_commit_fails(Fault::Cut, &relay, &database);
    // No waiting: the server had ended the session before the client was cut.
    assert_eq!(sessions(&database), "0");
    assert_eq!(effects(&database), "1");
}

/// F24
#[test]
fn a_cut_can_come_before_any_statement() {
    let (relay, database) = scene();
    let mut client = connect(&relay, &database);
    relay.arm(
        Trigger::Sql("insert into effect".into()),
        Fault::Cut,
        1,
        false,
    );
    assert!(transact(&mut client, 1).is_err());
    assert_eq!((relay.fired(), relay.commits()), (1, 0));
    assert_eq!(effects(&database), "");
}

/// F25
#[test]
fn a_swallowed_commit_never_reaches_the_server() {
    let (relay, database) = scene();
    second_commit_fails(Fault::Swallow, &relay, &database);
    eventually(LIMIT, "the server ends the session", || {
        sessions(&database) == "0"
    });
    assert_eq!(effects(&database), "1");
}

/// F25, F29
#[test]
fn a_swallowed_commit_can_leave_the_servers_transaction_open() {
    let (relay, database) = scene();
    second_commit_fails(Fault::SwallowOpen, &relay, &database);
    assert_eq!(
        database.query_text("select state from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"),
        "idle in transaction"
    );
    relay.resume();
    eventually(LIMIT, "the server learns of it", || {
        sessions(&database) == "0"
    });
    assert_eq!(effects(&database), "1");
}

/// F26
#[test]
fn a_swallowed_answer_leaves_a_committed_transaction() {
    let (relay, database) = scene();
    second_commit_fails(Fault::SwallowAnswer, &relay, &database);
    // No waiting: the server had answered before the client was cut.
    assert_eq!(effects(&database), "1,2");
}

/// F26
#[test]
fn an_answer_that_is_no_commit_passes_and_the_fault_stays_armed() {
    let (relay, database) = scene();
    database.query_text(
        "alter table effect add constraint once unique (n) deferrable initially deferred",
    );
    let mut client = connect(&relay, &database);
    transact(&mut client, 1).unwrap();
    relay.arm_commit(Fault::SwallowAnswer, 1);
    let error = transact(&mut client, 1).unwrap_err();
    assert_eq!(
        error.code().map(postgres::error::SqlState::code),
        Some("23505")
    );
    assert_eq!(relay.fired(), 0);
    let mut transaction = client.transaction().unwrap();
    transaction.execute("select 1/0", &[]).unwrap_err();
    // The driver ignores that the answer is ROLLBACK.
    transaction.commit().unwrap();
    assert_eq!(relay.fired(), 0);
    assert!(transact(&mut client, 2).is_err());
    assert_eq!(relay.fired(), 1);
    assert_eq!(effects(&database), "1,2");
}

/// F29
#[test]
fn a_stalled_commit_goes_on_after_the_silence() {
    for (fault, during) in [(Fault::Stall, ""), (Fault::StallAnswer, "1")] {
        let (relay, database) = scene();
        relay.arm_commit(fault, 1);
        std::thread::scope(|scope| {
            let run = scope.spawn(|| transact(&mut connect(&relay, &database), 1));
            assert!(relay.wait_fired(1, LIMIT));
            assert_eq!(effects(&database), during);
            assert!(!run.is_finished());
            relay.resume();
            run.join().unwrap().unwrap();
        });
        assert_eq!(effects(&database), "1");
    }
}

/// F29
#[test]
fn a_silent_relay_lets_nothing_through_until_it_resumes() {
    let (relay, database) = scene();
    let mut client = connect(&relay, &database);
    relay.stall();
    std::thread::scope(|scope| {
        let run = scope.spawn(|| transact(&mut client, 1));
        let other = scope.spawn(|| transact(&mut connect(&relay, &database), 2));
        eventually(LIMIT, "the second client connects", || {
            relay.connections() == 2
        });
        assert!(!run.is_finished() && !other.is_finished());
        assert_eq!(effects(&database), "");
        relay.resume();
        run.join().unwrap().unwrap();
        other.join().unwrap().unwrap();
    });
    assert_eq!(effects(&database), "1,2");
}

/// F30
#[test]
fn dribbled_bytes_are_still_the_protocol_and_faults_still_meet_their_message() {
    let (relay, database) = scene();
    relay.dribble(1, Duration::ZERO);
    second_commit_fails(Fault::SwallowAnswer, &relay, &database);
    assert_eq!(effects(&database), "1,2");
}

#[test]
fn a_fault_armed_again_meets_every_nth_commit() {
    let (relay, database) = scene();
    relay.arm(Trigger::Commit, Fault::SwallowAnswer, 3, true);
    let mut client = connect(&relay, &database);
    for n in 1..=9 {
        if transact(&mut client, n).is_err() {
            client = connect(&relay, &database);
        }
    }
    assert_eq!(
        (relay.fired(), relay.commits(), relay.connections()),
        (3, 9, 4)
    );
    relay.disarm();
    for n in 10..=13 {
        transact(&mut client, n).unwrap();
    }
    assert_eq!(relay.fired(), 3);
    assert_eq!(effects(&database), "1,2,3,4,5,6,7,8,9,10,11,12,13");
}

#[test]
fn connections_can_be_cut_and_refused() {
    let (relay, database) = scene();
    let mut client = connect(&relay, &database);
    relay.refuse(true);
    relay.cut_all();
    assert!(transact(&mut client, 1).is_err());
    assert!(Client::connect(&relay.url(database.name()), NoTls).is_err());
    relay.refuse(false);
    transact(&mut connect(&relay, &database), 2).unwrap();
    assert_eq!(effects(&database), "2");
}

#[test]
fn a_server_that_ends_is_seen_through_the_relay() {
    let cluster = TestCluster::own();
    let database = cluster.fresh_database();
    database.query_text("create table effect (n int)");
    let relay = Relay::before(&cluster);
    let mut client = connect(&relay, &database);
    transact(&mut client, 1).unwrap();
    cluster.stop_immediate();
    assert!(transact(&mut client, 2).is_err());
    assert!(Client::connect(&relay.url(database.name()), NoTls).is_err());
    cluster.start();
    transact(&mut connect(&relay, &database), 3).unwrap();
    assert_eq!(effects(&database), "1,3");
}

/// F25, F26: COMMIT prepared, executed in one flight with the statement before it.
#[tokio::test]
async fn a_pipelined_extended_commit_is_found_inside_its_flight() {
    for (fault, after) in [
        (Fault::Cut, "1"),
        (Fault::Swallow, "1"),
        (Fault::SwallowAnswer, "1,2"),
    ] {
        let (relay, database) = scene();
        let (client, connection) =
            tokio_postgres::connect(&relay.url(database.name()), tokio_postgres::NoTls)
                .await
                .unwrap();
        let driver = tokio::spawn(connection);
        let insert = client
            .prepare("insert into effect values ($1)")
            .await
            .unwrap();
        let commit = client.prepare("commit").await.unwrap();
        relay.arm_commit(fault, 2);
        for n in [1, 2] {
            client.batch_execute("begin").await.unwrap();
            let params: [&(dyn tokio_postgres::types::ToSql + Sync); 1] = [&n];
            // Polled together, both are sent before either is answered.
            let (inserted, committed) = tokio::join!(
                client.execute(&insert, &params),
                client.execute(&commit, &[])
            );
            assert_eq!(committed.is_ok(), n == 1, "{fault:?} {inserted:?}");
        }
        assert_eq!((relay.fired(), relay.commits()), (1, 2));
        let _ = driver.await.unwrap();
        eventually(LIMIT, "the session ends", || sessions(&database) == "0");
        assert_eq!(effects(&database), after, "{fault:?}");
    }
}
