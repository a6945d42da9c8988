//! What grows old and holds others up: transaction numbers, open and prepared transactions, slots, standbys.

use redress::db::Session;
use redress_sql::{self as sql, Sql};

use super::ask::{Fields, rows};
use super::model::Check;
use crate::place::{Place, redress_sql};
use crate::text::span;

/// Looks at ages.
pub async fn look(place: &Place, session: &Session) -> Vec<Check> {
    let statements = redress_sql(&place.globals.schema);
    let max = Max {
        age: number(place, "doctor.xid_age_max"),
        seconds: number(place, "doctor.transaction_seconds_max"),
        wal_mib: number(place, "doctor.retained_wal_mib_max"),
    };
    vec![
        told(
            "age.transactions",
            session,
            &statements,
            sql::TRANSACTION_AGE,
            |rows| numbers(rows, &max),
        )
        .await,
        told(
            "age.open",
            session,
            &statements,
            sql::OLDEST_TRANSACTIONS,
            |rows| open(rows, &max),
        )
        .await,
        told(
            "age.prepared",
            session,
            &statements,
            sql::PREPARED_TRANSACTIONS,
            |rows| prepared(rows, &max),
        )
        .await,
        told(
            "age.slots",
            session,
            &statements,
            sql::REPLICATION_SLOTS,
            |rows| slots(rows, &max),
        )
        .await,
        told("standbys", session, &statements, sql::STANDBYS, |rows| {
            standbys(rows, &max)
        })
        .await,
    ]
}

/// From where on something is wrong.
struct Max {
    age: i64,
    seconds: i64,
    wal_mib: i64,
}

fn number(place: &Place, key: &str) -> i64 {
    i64::try_from(place.settings.number(key)).unwrap_or(i64::MAX)
}

async fn told(
    name: &'static str,
    session: &Session,
    statements: &Sql,
    asked: sql::Statement,
    judge: impl Fn(&[Fields]) -> Check,
) -> Check {
    match rows(session, statements, asked).await {
        Ok(rows) => judge(&rows),
        Err(why) => Check::unknown(name, why, "ask on the primary, as a role of pg_monitor"),
    }
}

fn numbers(rows: &[Fields], max: &Max) -> Check {
    let name = "age.transactions";
    let age = |row: &Fields| row.number("xid_age").max(row.number("mxid_age"));
    let Some(oldest) = rows.iter().max_by_key(|row| age(row)) else {
        return Check::unknown(name, "no database is shown", "ask again");
    };
    let found = format!(
        "{} is {} transactions and {} multixacts old, of 2147483648",
        oldest.text("database"),
        oldest.text("xid_age"),
        oldest.text("mxid_age")
    );
    let means = "when the numbers run out the server takes no more writes at all";
    let next = "end what holds the vacuum back (age.open, age.prepared, age.slots), then vacuum (freeze) that database";
    if age(oldest) >= max.age {
        Check::fail(name, found, means, next)
    } else if age(oldest) >= max.age / 2 {
        Check::warn(name, found, means, next)
    } else {
        Check::ok(name, found)
    }
}

fn seconds(row: &Fields) -> String {
    span(u64::try_from(row.number("seconds")).unwrap_or(0))
}

fn open(rows: &[Fields], max: &Max) -> Check {
    let name = "age.open";
    let Some(oldest) = rows.first() else {
        return Check::ok(name, "no other transaction is open");
    };
    let found = format!(
        "the oldest is open for {}: process {}, {} in {}, {} ({})",
        seconds(oldest),
        oldest.text("pid"),
        oldest.text("login"),
        oldest.text("database"),
        oldest.text("application"),
        oldest.text("state"),
    );
    if oldest.number("seconds") < max.seconds {
        return Check::ok(name, found);
    }
    Check::fail(
        name,
        found,
        "it holds back the vacuum of every table, and perhaps locks that a kill or a migration waits for",
        format!(
            "find out whose it is; select pg_terminate_backend({}) ends it",
            oldest.text("pid")
        ),
    )
}

fn prepared(rows: &[Fields], max: &Max) -> Check {
    let name = "age.prepared";
    let Some(oldest) = rows.first() else {
        return Check::ok(name, "none");
    };
    let found = format!(
        "{} prepared, the oldest for {}: {} of {} in {}",
        rows.len(),
        seconds(oldest),
        oldest.text("gid"),
        oldest.text("owner"),
        oldest.text("database"),
    );
    let means = "nobody's session holds its locks, and the vacuum with them, until somebody ends it; a restart does not";
    let next = format!(
        "ask its transaction manager; then in {}: commit prepared or rollback prepared '{}'",
        oldest.text("database"),
        oldest.text("gid").replace('\'', "''"),
    );
    if oldest.number("seconds") >= max.seconds {
        Check::fail(name, found, means, next)
    } else {
        Check::warn(name, found, means, next)
    }
}

fn slots(rows: &[Fields], max: &Max) -> Check {
    let name = "age.slots";
    if rows.is_empty() {
        return Check::ok(name, "none");
    }
    let mib = |row: &Fields| row.number("retained") >> 20;
    let tell = |row: &Fields| {
        format!(
            "{} ({}, {}) keeps {} MiB of WAL{}",
            row.text("slot"),
            row.text("type"),
            if row.is("active") {
                "read"
            } else {
                "read by nobody"
            },
            mib(row),
            match row.text("wal_status") {
                "lost" => ", and what it needs is lost",
                _ => "",
            }
        )
    };
    let means = "WAL is kept for it until the disk is full, and rows that only it may need are not vacuumed";
    let next = |row: &Fields| {
        let slot = row.text("slot").replace('\'', "''");
        format!("let its reader go on, or drop it: select pg_drop_replication_slot('{slot}')")
    };
    let stuck = |row: &&Fields| {
        mib(row) >= max.wal_mib
            || row.number("age") >= max.age / 2
            || row.text("wal_status") == "lost"
    };
    if let Some(row) = rows.iter().find(stuck) {
        return Check::fail(name, tell(row), means, next(row));
    }
    if let Some(row) = rows.iter().find(|row| !row.is("active")) {
        return Check::warn(name, tell(row), means, next(row));
    }
    Check::ok(name, format!("{}, all read", rows.len()))
}

fn standbys(rows: &[Fields], max: &Max) -> Check {
    let name = "standbys";
    let Some(last) = rows.first() else {
        return Check::ok(name, "none that this login can see");
    };
    let mib = last.number("bytes") >> 20;
    let found = format!(
        "{} connected; the last, {} ({}), is {mib} MiB and {:.1} s behind",
        rows.len(),
        last.text("standby"),
        last.text("sync"),
        last.real("seconds"),
    );
    if mib >= max.wal_mib {
        return Check::warn(
            name,
            found,
            "a failover to it forgets what it has not received; the anchor would say so",
            "look at the network and the load of that standby",
        );
    }
    Check::ok(name, found)
}

#[cfg(test)]
mod tests {
    use super::super::model::State;
    use super::*;

    fn row(cells: &[(&str, &str)]) -> Fields {
        Fields::of(cells)
    }

    const MAX: Max = Max {
        age: 1_000,
        seconds: 60,
        wal_mib: 10,
    };

    /// F42
    #[test]
    fn an_age_near_the_limit_is_named_with_its_database() {
        let check = |xid: &str, mxid: &str, state: State| {
            let rows = [row(&[
                ("database", "d"),
                ("xid_age", xid),
                ("mxid_age", mxid),
            ])];
            let found = numbers(&rows, &MAX);
            assert_eq!(found.state, state, "{xid} {mxid}");
            assert!(found.found.starts_with("d is"), "{}", found.found);
        };
        check("499", "1", State::Ok);
        check("500", "1", State::Warn);
        check("1", "1000", State::Fail);
        assert_eq!(numbers(&[], &MAX).state, State::Unknown);
    }

    /// F42
    #[test]
    fn a_slot_that_nobody_reads_is_told_and_one_that_fills_the_disk_fails() {
        let check = |active: &str, retained: &str, status: &str, state: State| {
            let rows = [row(&[
                ("slot", "it's"),
                ("active", active),
                ("retained", retained),
                ("wal_status", status),
            ])];
            let found = slots(&rows, &MAX);
            assert_eq!(found.state, state, "{active} {retained}");
            if state != State::Ok {
                assert!(found.next.contains("('it''s')"), "{}", found.next);
            }
        };
        check("t", "1048576", "reserved", State::Ok);
        check("f", "0", "reserved", State::Warn);
        check("t", "10485760", "extended", State::Fail);
        check("t", "0", "lost", State::Fail);
    }

    #[test]
    fn a_standby_that_is_far_behind_is_told() {
        let rows = |bytes: &str| [row(&[("standby", "s"), ("bytes", bytes)])];
        assert_eq!(standbys(&rows("1000"), &MAX).state, State::Ok);
        assert_eq!(standbys(&rows("10485760"), &MAX).state, State::Warn);
    }
}
