//! What is ours in the database: the schema, who may what, the work, the sealed log and its anchor.

use std::path::PathBuf;

use base64ct::{Base64, Encoding};
use redress::Engine;
use redress::db::{Session, Target};
use redress::schema;
use redress::seal::{Anchor, FileAnchor};
use redress_ledger::checkpoint::Checkpoint;
use redress_sql::{self as sql, Part, Sql};

use super::ask::{Fields, row, rows};
use super::model::Check;
use crate::commands::key::open::log_stem;
use crate::fail::Fail;
use crate::place::{Needs, Place, redress_sql};
use crate::text::span;

/// Looks at what is ours.
pub async fn look(place: &Place, target: &Target, session: &Session) -> Vec<Check> {
    let statements = redress_sql(&place.globals.schema);
    let mut checks = vec![rights(place, session, &statements).await];
    if let Err(error) = schema::inspect(session, &statements).await {
        let fail = Fail::from(redress::Error::from(error));
        let next = redress_runbooks::page(fail.code()).map_or("", |page| page.next);
        let means = "no command that needs the database goes on";
        checks.push(Check::fail("schema", fail.to_string(), means, next).code(fail.code()));
        return checks;
    }
    checks.push(Check::ok(
        "schema",
        format!(
            "{} version {}",
            place.globals.schema.as_str(),
            schema::SCHEMA_VERSION
        ),
    ));
    checks.extend(work(session, &statements).await);
    checks.push(doubt(session, &statements).await);
    checks.push(recorded(place, session, &statements).await);
    let head = row(session, &statements, sql::SIGNED_HEAD).await;
    checks.push(anchor(place, &head));
    let trust = place.trust().ok().flatten();
    match place
        .engine_at(target.clone(), Needs::default(), trust)
        .await
    {
        Ok(engine) => {
            checks.push(drift(&engine).await);
            let opened = head.is_ok_and(|head| head.is("opened"));
            checks.push(window(place, &engine, opened).await);
        }
        Err(fail) => checks.push(
            Check::unknown(
                "schema.drift",
                fail.to_string(),
                "see the other checks, and ask again",
            )
            .code(fail.code()),
        ),
    }
    checks
}

async fn rights(place: &Place, session: &Session, statements: &Sql) -> Check {
    let name = "server.roles";
    let rows = match rows(session, statements, sql::LOGIN_RIGHTS).await {
        Ok(rows) => rows,
        Err(why) => return Check::unknown(name, why, "ask again"),
    };
    let named = |wanted: &dyn Fn(&Fields) -> bool| -> Vec<String> {
        let found = rows.iter().filter(|row| wanted(row));
        found.map(|row| row.text("role").to_owned()).collect()
    };
    let missing = named(&|row| !row.is("there"));
    if !missing.is_empty() {
        return Check::fail(
            name,
            format!("not there: {}", missing.join(", ")),
            "nobody can be given the rights of it",
            "redress db migrate makes them (the installer needs CREATEROLE), or an administrator: create role ... nologin",
        );
    }
    let usable = named(&|row| row.is("usable"));
    let lacks = named(&|row| !row.is("usable"));
    let found = match (usable.is_empty(), lacks.is_empty()) {
        (false, true) => format!("this login may act as {}", usable.join(", ")),
        (false, false) => format!(
            "this login may act as {}, not as {}",
            usable.join(", "),
            lacks.join(", ")
        ),
        (true, _) => format!("this login may act as none of {}", lacks.join(", ")),
    };
    if usable.is_empty() {
        return Check::fail(
            name,
            found,
            "every command that needs the database is refused",
            "grant it what it is for: a worker the engine's role, people the operator's, the sealer and the auditor theirs",
        );
    }
    let owns = place.globals.schema.role(Part::Owner);
    let owner = rows
        .iter()
        .any(|row| row.text("role") == owns && row.is("member"));
    if owner && place.given_url().is_some() {
        return Check::warn(
            name,
            found,
            "this login may become the owner: nothing in the database keeps it from changing records",
            "work with a login that is no member of the owner's role; only redress db migrate needs it (`migrate` in redress.toml)",
        );
    }
    Check::ok(name, found)
}

async fn work(session: &Session, statements: &Sql) -> Vec<Check> {
    let state = match row(session, statements, sql::WORK_STATE).await {
        Ok(state) => state,
        Err(why) => return vec![Check::unknown("work", why, "ask again")],
    };
    vec![workers(&state), leases(&state)]
}

fn workers(state: &Fields) -> Check {
    let name = "work.waiting";
    let (workers, waiting) = (state.number("workers"), state.number("waiting"));
    let seconds = span(u64::try_from(state.number("waiting_seconds")).unwrap_or(0));
    let found =
        format!("{workers} workers have a lease, {waiting} runs wait for more than a minute");
    if waiting == 0 {
        return Check::ok(name, found);
    }
    let means = match workers {
        0 => "nobody works: runs stay where they are",
        _ => "the workers are busy, or none of them knows these sagas",
    };
    Check::warn(
        name,
        format!("{found}, the oldest for {seconds}"),
        means,
        "start a worker (redress work), or one that has the adapters of these sagas; redress runs --state running",
    )
}

fn leases(state: &Fields) -> Check {
    let name = "work.leases";
    if state.number("beyond") > 0 || state.is("sealer_beyond") {
        return Check::fail(
            name,
            "a lease lasts until after tomorrow",
            "the server's clock was turned back, or somebody wrote that row: nobody takes over until then",
            "set the clock; then end that worker or sealer, so that it gives its lease back",
        );
    }
    let orphans = state.number("orphans");
    if orphans > 0 {
        return Check::warn(
            name,
            format!("{orphans} runs belong to workers whose lease is over"),
            "a worker died or is cut off; any other takes its runs over",
            "start a worker; redress status says what needs a person",
        );
    }
    Check::ok(name, "every run that is driven has a worker with a lease")
}

async fn doubt(session: &Session, statements: &Sql) -> Check {
    let name = "work.in_doubt";
    let rows = match rows(session, statements, sql::RUNS_IN_DOUBT).await {
        Ok(rows) => rows,
        Err(why) => return Check::unknown(name, why, "ask again"),
    };
    let Some(oldest) = rows.first() else {
        return Check::ok(name, "no act outside waits for its outcome");
    };
    let found = format!(
        "{} runs, the oldest {} at {}",
        rows.len(),
        oldest.text("id"),
        oldest.text("phase")
    );
    Check::warn(
        name,
        found,
        "an act outside the database was begun and nobody knows whether it was done",
        format!(
            "a worker asks the probe; then: redress show {}",
            oldest.text("id")
        ),
    )
    .code("RD0317")
}

async fn recorded(place: &Place, session: &Session, statements: &Sql) -> Check {
    let name = "clock.recorded";
    let ahead = match row(session, statements, sql::RECORDED_TIME).await {
        Ok(row) => row.real("ahead"),
        Err(why) => return Check::unknown(name, why, "ask again"),
    };
    let max = place.settings.number("doctor.clock_skew_ms_max") as f64 / 1_000.0;
    if ahead > max {
        return Check::warn(
            name,
            format!("the ledger has recorded a time {ahead:.1} s ahead of the server's clock"),
            "the server's clock was turned back: leases last longer and times in the ledger do not rise; order does not rest on them",
            "let a time service set the server's clock",
        );
    }
    Check::ok(name, "no recorded time lies ahead of the server's clock")
}

async fn drift(engine: &Engine) -> Check {
    let name = "schema.drift";
    let report = match engine.drift().await {
        Ok(report) => report,
        Err(error) => return Check::unknown(name, error.to_string(), "ask again"),
    };
    let Some(first) = report.findings.first() else {
        let note = report
            .notes
            .first()
            .map_or(String::new(), |note| format!("; {note}"));
        return Check::ok(
            name,
            format!("triggers, functions, rights and tables are as they were made{note}"),
        );
    };
    Check::fail(
        name,
        format!(
            "{} differences, the first: {}",
            report.findings.len() as u64 + report.more,
            first.message
        ),
        "something that keeps the ledger append-only is not as it was made",
        "redress check lists all; find out who changed it before it is mended",
    )
    .code(first.code)
}

async fn window(place: &Place, engine: &Engine, opened: bool) -> Check {
    let name = "log.window";
    if !opened {
        return Check::warn(
            name,
            "the ledger is not opened: nothing is sealed",
            "whoever may write the tables may change records, and nobody outside can tell",
            "redress key open, then redress audit seal --follow",
        )
        .code("RD0733");
    }
    let window = match engine.open_window().await {
        Ok(window) => window,
        Err(error) => return Check::unknown(name, error.to_string(), "ask again"),
    };
    let max = match place.settings.get("seal.window_max") {
        Some(_) => place.settings.number("seal.window_max"),
        None => WINDOW_SECONDS_MAX,
    };
    let found = format!(
        "{} records wait, the oldest for {}; {} are sealed",
        window.records,
        span(window.age.as_secs()),
        window.sealed
    );
    if window.age.as_secs() > max {
        return Check::fail(
            name,
            found,
            "what is not sealed could be changed without anybody finding it",
            "start the sealer where the log's key lies: redress audit seal --follow",
        );
    }
    Check::ok(name, found)
}

/// The newest head that was signed, and the one that this machine remembers.
fn anchor(place: &Place, head: &Result<Fields, String>) -> Check {
    let name = "log.anchor";
    let head = match head {
        Ok(head) => head,
        Err(why) => return Check::unknown(name, why, "ask again"),
    };
    let signed =
        Base64::decode_vec(&head.text("note").replace(['\n', ' '], "")).unwrap_or_default();
    if signed.is_empty() {
        return Check::ok(name, "no head was signed yet");
    }
    let generation = head.number("generation");
    let path: PathBuf = match (place.settings.path("seal.anchor"), place.state()) {
        (Some(path), _) => path,
        (None, Ok(state)) => state.join("anchor").join(log_stem(generation)),
        (None, Err(fail)) => return Check::unknown(name, fail.to_string(), "give --state-dir"),
    };
    let kept = match FileAnchor::new(&path).read() {
        Ok(kept) => kept,
        Err(error) => {
            let fail = Fail::from(redress::Error::from(error));
            let means = "the sealer signs nothing without it";
            return Check::fail(
                name,
                fail.to_string(),
                means,
                "redress runbook show mend-sealer",
            )
            .code(fail.code());
        }
    };
    let Some(kept) = kept else {
        return Check::unknown(
            name,
            format!("no anchor here: {}", path.display()),
            "look where the sealer works; only the anchor tells that a database was restored",
        );
    };
    judge(&signed, &kept, &path.display().to_string())
}

fn judge(signed: &[u8], kept: &[u8], path: &str) -> Check {
    let name = "log.anchor";
    let (signed, kept) = match (Checkpoint::peek(signed), Checkpoint::peek(kept)) {
        (Ok(signed), Ok(kept)) => (signed, kept),
        (_, Err(error)) | (Err(error), _) => {
            let means = "the sealer signs nothing while it cannot be read";
            return Check::fail(
                name,
                format!("{error}, {path}"),
                means,
                "redress runbook show mend-sealer",
            )
            .code("RD0737");
        }
    };
    let found = format!(
        "the database has a signed head of {}, the anchor one of {}",
        signed.size, kept.size
    );
    let fork = kept.size > signed.size || (kept.size == signed.size && kept.root != signed.root);
    if fork || kept.origin != signed.origin {
        return Check::fail(
            name,
            found,
            "FORK: the database is older than what was signed, or another one: something that was promised is not in it",
            "stop; nothing is signed. redress runbook show ledger-fork",
        )
        .code("RD0735");
    }
    if kept.size < signed.size {
        return Check::warn(
            name,
            found,
            "the sealer died behind its commit, or works elsewhere with another anchor",
            "redress audit seal brings it up to date where the log's key lies",
        );
    }
    Check::ok(name, format!("{found}, the same"))
}

/// So old may the oldest record without a place be, when nobody says otherwise.
const WINDOW_SECONDS_MAX: u64 = 3_600;

#[cfg(test)]
mod tests {
    use redress_ledger::Hash;

    use super::super::model::State;
    use super::*;

    #[test]
    fn an_anchor_that_is_ahead_of_the_database_is_a_fork() {
        let key = redress_ledger::key::SigningKey::generate("log").unwrap();
        let note = |size: u64, root: u8| {
            let head = Checkpoint {
                origin: "log".to_owned(),
                size,
                root: Hash::from_bytes([root; 32]),
            };
            head.sign(&key).unwrap().to_bytes()
        };
        let check = |signed: (u64, u8), kept: (u64, u8), state: State| {
            let found = judge(&note(signed.0, signed.1), &note(kept.0, kept.1), "x");
            assert_eq!(found.state, state, "{}", found.found);
        };
        check((5, 1), (5, 1), State::Ok);
        check((5, 1), (4, 9), State::Warn);
        check((5, 1), (6, 1), State::Fail);
        check((5, 1), (5, 2), State::Fail);
        assert_eq!(judge(&note(5, 1), b"nonsense", "x").state, State::Fail);
    }
}
