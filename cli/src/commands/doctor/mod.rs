//! `doctor`: the surroundings of an installation, each check with what was found, what it means and what to do.
//!
//! ```text
//! here (state folder, keys, trust, copies, programs, disk) -> server -> ages -> pooler -> ours (schema, work, log)
//! ```
//!
//! **Invariant:** it only looks: nothing is written, no server is brought up, no passphrase is asked for.
//!
//! **Invariant:** what could not be found out is told as that, never as well.
//!
//! **What can go wrong:** the database cannot be reached: what can be seen from here is told, and the exit status is 75.

mod age;
mod ask;
mod here;
mod keys;
mod model;
mod ours;
mod pooler;
mod server;

use redress::db::{Session, Target};
use serde_json::{Value, json};

use self::model::{Check, State};
use crate::cluster::{self, Status};
use crate::exit::Exit;
use crate::fail::Fail;
use crate::place::{Place, open, private_target, url_of};

/// What to look at.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Show what is as it should be, too
    #[arg(long)]
    pub all: bool,
}

/// Looks at everything.
///
/// # Errors
/// [`Fail`] when nothing can be printed.
pub async fn doctor(place: &Place, args: &Args) -> Result<Exit, Fail> {
    let mut checks = here::look(place);
    checks.extend(keys::look(place));
    let unreached = match reach(place).await {
        Ok(Some((target, session))) => {
            checks.extend(server::look(place, &session).await);
            checks.extend(age::look(place, &session).await);
            checks.push(pooler::look(&target, &session).await);
            checks.extend(ours::look(place, &target, &session).await);
            None
        }
        Ok(None) => {
            checks.push(Check::fail(
                "server",
                "no URL is given and no private server runs",
                "nothing works without a database",
                "give --database URL, or bring the private server up: redress db up",
            ));
            Some(Exit::Unreachable)
        }
        Err(fail) => {
            checks.push(unreachable(&fail));
            Some(fail.exit())
        }
    };
    tell(place, args, &checks)?;
    let worst = checks.iter().map(|check| check.state).max();
    Ok(match (unreached, worst) {
        (Some(exit), _) => exit,
        (None, Some(State::Fail)) => Exit::Person,
        (None, _) => Exit::Done,
    })
}

async fn reach(place: &Place) -> Result<Option<(Target, Session)>, Fail> {
    let Some(target) = at_hand(place)? else {
        return Ok(None);
    };
    let session = open(&target).await?;
    Ok(Some((target, session)))
}

/// The database that was given, or that of the private server if it runs: a look brings nothing up.
///
/// # Errors
/// [`Fail::Engine`] when the URL cannot be read; [`Fail::Cluster`] when the private server's folder cannot.
pub fn at_hand(place: &Place) -> Result<Option<Target>, Fail> {
    if let Some(target) = place.given()? {
        return Ok(Some(target));
    }
    let dir = place.cluster_dir()?;
    Ok(match cluster::status(&dir)? {
        Status::Running { ready: true, .. } => {
            let private = cluster::PrivateCluster::open(&dir, &cluster::Options::default())?;
            Some(private_target(&url_of(&private))?)
        }
        _ => None,
    })
}

fn unreachable(fail: &Fail) -> Check {
    let next = redress_runbooks::page(fail.code()).map_or("", |page| page.next);
    Check::fail("server", fail.to_string(), "no run goes on", next).code(fail.code())
}

fn tell(place: &Place, args: &Args, checks: &[Check]) -> Result<(), Fail> {
    let count = |state: State| checks.iter().filter(|check| check.state == state).count();
    let states = [State::Ok, State::Unknown, State::Warn, State::Fail];
    if place.say.is_json() {
        let counts: Vec<(String, Value)> = states
            .iter()
            .map(|state| (state.as_str().to_owned(), json!(count(*state))))
            .collect();
        let counts: serde_json::Map<String, Value> = counts.into_iter().collect();
        let list: Vec<Value> = checks.iter().map(Check::json).collect();
        return place.say.value(&json!({
            "schema": 1, "ok": count(State::Fail) == 0, "counts": counts, "checks": list, "errors": [],
        }));
    }
    let shown = checks
        .iter()
        .filter(|check| args.all || check.state != State::Ok);
    let rows: Vec<Vec<String>> = shown
        .clone()
        .map(|check| {
            let state = check.state.words().to_owned();
            vec![state, check.name.to_owned(), check.found.clone()]
        })
        .collect();
    if !rows.is_empty() {
        place
            .say
            .table(&["state", "check", "found"], &[0, 1], &rows)?;
    }
    for check in shown.filter(|check| check.state != State::Ok) {
        place.say.line("")?;
        place.say.line(check.name)?;
        let runbook = check
            .runbook()
            .map(|name| format!("redress runbook show {name}"));
        let lines = [
            ("  means    ", check.means.clone()),
            ("  next     ", check.next.clone()),
            ("  code     ", check.code.unwrap_or_default().to_owned()),
            ("  runbook  ", runbook.unwrap_or_default()),
        ];
        for (head, text) in lines.iter().filter(|(_, text)| !text.is_empty()) {
            place.say.item(head, text)?;
        }
    }
    let told: Vec<String> = states
        .iter()
        .map(|state| format!("{} {}", count(*state), state.words()))
        .collect();
    place
        .say
        .line(&format!("\n{} checks: {}", checks.len(), told.join(", ")))
}
