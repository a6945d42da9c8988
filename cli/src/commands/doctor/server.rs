//! The server: its version, whether it may be written, whether a commit there lasts, and how many may connect.

use redress::db::Session;
use redress_sql as sql;

use super::ask::{Fields, row, rows};
use super::model::Check;
use crate::place::{Place, redress_sql};

/// Looks at the server.
pub async fn look(place: &Place, session: &Session) -> Vec<Check> {
    let statements = redress_sql(&place.globals.schema);
    let mut checks = Vec::new();
    let asked_at = jiff::Timestamp::now();
    match row(session, &statements, sql::SERVER_STATE).await {
        Ok(state) => {
            checks.push(version(&state));
            checks.push(writable(&state));
            checks.push(clock(place, &state, asked_at));
            checks.push(login(&state));
        }
        Err(why) => checks.push(Check::unknown("server", why, "ask again")),
    }
    match rows(session, &statements, sql::SERVER_SETTINGS).await {
        Ok(settings) => {
            let of = |name: &str| -> String {
                let mut rows = settings.iter();
                let row = rows.find(|row| row.text("name") == name);
                row.map_or(String::new(), |row| row.text("setting").to_owned())
            };
            checks.push(durability(&of));
            checks.push(damage(&of));
            checks.push(isolation(&of));
            checks.push(idle(&of));
            checks.push(vacuum(&of));
            let archiver = row(session, &statements, sql::ARCHIVER).await;
            checks.push(archiving(&of, archiver));
            let open = row(session, &statements, sql::CONNECTIONS).await;
            checks.push(connections(place, &of, open));
        }
        Err(why) => checks.push(Check::unknown("server.settings", why, "ask again")),
    }
    checks
}

fn version(state: &Fields) -> Check {
    let (name, found) = ("server.version", state.text("version_text"));
    if state.number("version") < VERSION_MIN {
        return Check::fail(
            name,
            found,
            "this version is not supported",
            "move to PostgreSQL 15 or newer",
        )
        .code("RD0706");
    }
    Check::ok(name, found)
}

fn writable(state: &Fields) -> Check {
    let name = "server.writable";
    let why = match (state.is("recovery"), state.is("read_only")) {
        (true, _) => "the server is a standby or in recovery",
        (_, true) => "transactions are read only here",
        _ => return Check::ok(name, "yes"),
    };
    Check::fail(
        name,
        why,
        "no run goes on: nothing can be recorded",
        "name the primary in the URL (several hosts and target_session_attrs=read-write), or end default_transaction_read_only",
    )
    .code("RD0804")
}

fn clock(place: &Place, state: &Fields, asked_at: jiff::Timestamp) -> Check {
    let name = "clock.machine";
    let answered_at = jiff::Timestamp::now();
    let millis = |at: jiff::Timestamp| at.as_millisecond() as f64;
    let now = state.real("now") * 1_000.0;
    // The server read its clock somewhere between question and answer.
    let skew = if now < millis(asked_at) {
        now - millis(asked_at)
    } else {
        (now - millis(answered_at)).max(0.0)
    };
    let max = place.settings.number("doctor.clock_skew_ms_max") as f64;
    let found = format!("the server's clock differs by {skew:.0} ms");
    if skew.abs() > max {
        return Check::warn(
            name,
            found,
            format!(
                "more than {max:.0} ms: ages that are shown here, and files' times, do not fit the ledger's"
            ),
            "let a time service set both clocks; leases and order do not rest on them",
        );
    }
    Check::ok(name, found)
}

fn login(state: &Fields) -> Check {
    let name = "server.login";
    let login = state.text("login");
    if state.is("superuser") {
        return Check::warn(
            name,
            format!("{login} is a superuser"),
            "no right and no trigger stops it: whoever takes over this process may change every record",
            "work with a role that has only what `redress check` and `redress saga grants` name",
        );
    }
    Check::ok(name, format!("{login}, no superuser"))
}

fn durability(of: &impl Fn(&str) -> String) -> Check {
    let name = "server.durability";
    let (fsync, pages) = (of("fsync"), of("full_page_writes"));
    let commit = of("synchronous_commit");
    let found = format!("fsync {fsync}, full_page_writes {pages}, synchronous_commit {commit}");
    if fsync == "off" || pages == "off" {
        return Check::fail(
            name,
            found,
            "a crash of the machine loses or damages what was committed, and effects outside stand without a record",
            "set fsync and full_page_writes to on, and reload the server",
        );
    }
    if commit == "off" {
        return Check::warn(
            name,
            found,
            "a crash may forget the last commits: an act outside the database may stand without its record",
            "set synchronous_commit to on, at least for this role",
        );
    }
    Check::ok(name, found)
}

fn damage(of: &impl Fn(&str) -> String) -> Check {
    let name = "server.damage";
    let on = ["zero_damaged_pages", "ignore_checksum_failure"];
    let on: Vec<&str> = on.into_iter().filter(|name| of(name) == "on").collect();
    if on.is_empty() {
        return Check::ok(name, "damaged pages are refused");
    }
    Check::fail(
        name,
        format!("{} is on", on.join(" and ")),
        "damage is passed over in silence, and rows are lost with it",
        "turn it off; restore from a backup what is damaged",
    )
    .code("RD0808")
}

fn isolation(of: &impl Fn(&str) -> String) -> Check {
    let name = "server.isolation";
    let found = of("default_transaction_isolation");
    if found == "read committed" {
        return Check::ok(name, found);
    }
    Check::warn(
        name,
        found,
        "phases are written for read committed; they will be refused and tried again more often",
        "alter role ... set default_transaction_isolation = 'read committed'",
    )
}

fn idle(of: &impl Fn(&str) -> String) -> Check {
    let name = "server.idle_in_transaction";
    let found = of("idle_in_transaction_session_timeout");
    if found != "0" {
        return Check::ok(name, format!("ended after {found} ms"));
    }
    Check::warn(
        name,
        "idle_in_transaction_session_timeout is 0: never ended",
        "somebody's forgotten transaction may hold locks and the vacuum for ever",
        "alter system set idle_in_transaction_session_timeout = '10min', or for the roles that are not ours",
    )
}

fn vacuum(of: &impl Fn(&str) -> String) -> Check {
    let name = "server.autovacuum";
    if of("autovacuum") == "on" {
        return Check::ok(name, "on");
    }
    Check::fail(
        name,
        "off",
        "tables grow and transaction numbers run out",
        "set autovacuum to on",
    )
}

fn archiving(of: &impl Fn(&str) -> String, archiver: Result<Fields, String>) -> Check {
    let name = "backup.archiving";
    let (level, mode) = (of("wal_level"), of("archive_mode"));
    if mode == "off" {
        return Check::warn(
            name,
            format!("archive_mode is off, wal_level {level}"),
            "unless another service takes backups (a managed server, pg_receivewal), a restore goes back to the last dump",
            "set archive_mode and archive_command, or make sure that somebody else does it; the anchor tells after a restore what is missing",
        );
    }
    match archiver {
        Ok(archiver) if archiver.is("failing") => Check::fail(
            name,
            format!(
                "the last attempt failed: {} ({} failures)",
                archiver.text("last_failed"),
                archiver.text("failed")
            ),
            "WAL stays on the disk until it is archived, and a restore does not reach the present",
            "look into the server's log for archive_command, and repair it before the disk is full",
        ),
        Ok(archiver) => Check::ok(
            name,
            format!("{} segments archived", archiver.text("archived")),
        ),
        Err(why) => Check::unknown(name, why, "ask as a role of pg_monitor"),
    }
}

fn connections(place: &Place, of: &impl Fn(&str) -> String, open: Result<Fields, String>) -> Check {
    let name = "server.connections";
    let open = match open {
        Ok(open) => open,
        Err(why) => return Check::unknown(name, why, "ask again"),
    };
    let number = |name: &str| of(name).parse::<i64>().unwrap_or_default();
    let concurrency = place.settings.number("work.concurrency");
    let telling = place.settings.adapters().notify.len() as i64;
    // As `redress work` counts them, with the few beside its pool.
    let wanted = 2 * i64::try_from(concurrency).unwrap_or(512) + 4 + telling + SIDE_SESSIONS;
    let left =
        number("max_connections") - number("superuser_reserved_connections") - open.number("open");
    let mut left = vec![("max_connections", left)];
    for (what, limit, used) in [
        ("the role's limit", "role_limit", "of_role"),
        ("the database's limit", "database_limit", "of_database"),
    ] {
        if open.number(limit) >= 0 {
            left.push((what, open.number(limit) - open.number(used)));
        }
    }
    let (what, least) = left
        .into_iter()
        .min_by_key(|(_, left)| *left)
        .unwrap_or(("max_connections", 0));
    let found =
        format!("{least} left by {what}; a worker with {concurrency} runs at once wants {wanted}");
    if least < wanted {
        return Check::warn(
            name,
            found,
            "a worker that is started now may wait for connections or be refused some",
            "raise the limit, lower work.concurrency, or put a pooler between (pooler=transaction in the URL)",
        )
        .code("RD0806");
    }
    Check::ok(name, found)
}

const VERSION_MIN: i64 = 150_000;
/// Sessions that an engine opens beside its pool.
const SIDE_SESSIONS: i64 = 4;
