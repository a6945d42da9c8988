//! `hold`, `holds`, `release`, `kill`: stop, and go on by a signed decision.

use redress::definition::HoldScope;
use redress::{Error, Hold, Killed, Released};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::commands::status::print_stray;
use crate::commands::{Length, find_run};
use crate::exit::Exit;
use crate::fail::Fail;
use crate::files::Stray;
use crate::place::{Needs, Place};
use crate::text::{local, short_id};

/// What to hold.
#[derive(Debug, clap::Args)]
pub struct HoldArgs {
    /// all, saga:NAME, subject:TEXT or run:RUN
    pub scope: String,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// Wait until the phases that had entered before have ended
    #[arg(long)]
    pub wait: bool,
}

/// What to release.
#[derive(Debug, clap::Args)]
pub struct ReleaseArgs {
    /// The hold's id (or the end or beginning of it), what it is on when it is the only one there (`subject:TEXT`, as
    /// `redress holds` lists it), or `kill` for the switch
    #[arg(value_name = "HOLD|SCOPE|kill")]
    pub what: String,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}

/// How to kill.
#[derive(Debug, clap::Args)]
pub struct KillArgs {
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// How long to wait for earlier entrants; after half of it they are terminated [env:
    /// REDRESS_KILL_DEADLINE]
    #[arg(long, value_name = "TIME", default_value = "10s")]
    pub deadline: Length,
    /// Stop the application of approved plans too
    #[arg(long)]
    pub freeze: bool,
}

/// Sets a hold.
///
/// # Errors
/// RD0924 for a scope that is none; [`Fail::Engine`].
pub async fn hold(place: &Place, args: &HoldArgs) -> Result<Exit, Fail> {
    let (scope, target) = scope_of(&args.scope)?;
    let engine = place.engine().await?;
    let target = match (scope, target) {
        (HoldScope::Run, Some(run)) => Some(find_run(&engine, run).await?.to_string()),
        (_, target) => target.map(str::to_owned),
    };
    let hold = engine
        .hold(scope, target.as_deref(), &args.reason, args.wait)
        .await?;
    if place.say.is_json() {
        place.say.value(
            &json!({"schema": 1, "hold": hold_json(&hold), "drained": args.wait, "errors": []}),
        )?;
    } else {
        place.say.data(hold.id)?;
        let text = match (scope, args.wait) {
            (HoldScope::Run, _) => "in force",
            (_, true) => "in force, and what had entered before has ended",
            (_, false) => {
                "in force for all who enter from now on; `--wait` also waits for those inside"
            }
        };
        place.say.notice(text);
    }
    Ok(Exit::Done)
}

fn scope_of(text: &str) -> Result<(HoldScope, Option<&str>), Fail> {
    let (word, target) = match text.split_once(':') {
        Some((word, target)) => (word, Some(target)),
        None => (text, None),
    };
    match (word, target) {
        ("all", None) => Ok((HoldScope::All, None)),
        ("saga", Some(target)) if !target.is_empty() => Ok((HoldScope::Saga, Some(target))),
        ("subject", Some(target)) if !target.is_empty() => Ok((HoldScope::Subject, Some(target))),
        ("run", Some(target)) if !target.is_empty() => Ok((HoldScope::Run, Some(target))),
        _ => Err(Fail::own(
            "RD0924",
            format!("a hold is on all, saga:NAME, subject:TEXT or run:RUN, not on {text}"),
        )),
    }
}

/// Lists the holds in force and the switch.
///
/// # Errors
/// [`Fail::Engine`].
pub async fn holds(place: &Place) -> Result<Exit, Fail> {
    let engine = place.engine().await?;
    let switch = engine.switch().await?;
    let holds = engine.holds().await?;
    let strays = place.strays(&holds)?;
    if place.say.is_json() {
        let files: Vec<Value> = strays.iter().map(Stray::json).collect();
        let switch = switch.map(|s| {
            json!({"state": s.state, "switch_no": s.switch_no, "reason": s.reason, "by": s.by, "at": s.at})
        });
        let list: Vec<Value> = holds.iter().map(hold_json).collect();
        place.say.value(
            &json!({"schema": 1, "switch": switch, "holds": list, "files": files, "errors": []}),
        )?;
        return Ok(Exit::Done);
    }
    match &switch {
        None => place.say.line("switch: missing, which counts as killed")?,
        Some(s) if s.state == "run" => place.say.line("switch: run")?,
        Some(s) => {
            place.say.line(&format!(
                "switch: {} since {} by {} (switch_no {}): {}",
                s.state,
                local(&s.at),
                s.by,
                s.switch_no,
                s.reason
            ))?;
        }
    }
    for stray in &strays {
        print_stray(place, stray)?;
    }
    if holds.is_empty() {
        place.say.notice("no hold is in force");
        return Ok(Exit::Done);
    }
    let rows: Vec<Vec<String>> = holds
        .iter()
        .map(|hold| {
            vec![
                hold.id.to_string(),
                scope_text(hold),
                format!("{}: {}", hold.code, hold.reason),
            ]
        })
        .collect();
    place.say.table(&["hold", "on", "why"], &[0], &rows)?;
    Ok(Exit::Done)
}

fn scope_text(hold: &Hold) -> String {
    match &hold.target {
        Some(target) => format!("{}:{target}", hold.scope),
        None => hold.scope.clone(),
    }
}

fn hold_json(hold: &Hold) -> Value {
    json!({
        "id": hold.id,
        "scope": hold.scope,
        "target": hold.target,
        "run": hold.run,
        "reason": hold.reason,
        "code": hold.code,
        "by": hold.by,
        "at": hold.at,
    })
}

/// Releases a hold or the switch.
///
/// # Errors
/// [`Fail`]: it stays in force.
pub async fn release(place: &Place, args: &ReleaseArgs) -> Result<Exit, Fail> {
    let engine = place.engine().await?;
    let released = if args.what == "kill" {
        let switch = engine.switch().await?;
        place.expect_signer()?;
        match &switch {
            Some(s) if engine.is_released(s).await? => {
                place.say.notice("the switch runs already");
            }
            Some(s) => {
                place.say.notice(&format!(
                    "release the switch, {} since {} by {}: {}. Reason: {}",
                    s.state,
                    local(&s.at),
                    s.by,
                    s.reason,
                    args.reason
                ));
                place.confirm("the release", &format!("kill {}", s.switch_no))?;
            }
            None => {
                place.say.notice(&format!(
                    "release the switch, whose row is missing. Reason: {}",
                    args.reason
                ));
                place.confirm("the release", "kill 0")?;
            }
        }
        let signer = place.signing_key()?;
        engine.release_kill(&signer.key, &args.reason).await?
    } else {
        let mut holds = engine.holds().await?;
        if let Err(fail) = one_of(&holds, &args.what) {
            // One that was lifted without a decision still holds here.
            holds = engine.holds_unproven().await?;
            one_of(&holds, &args.what).map_err(|_| fail)?;
        }
        let hold = one_of(&holds, &args.what)?;
        place.expect_signer()?;
        place.say.notice(&format!(
            "release hold {} on {} since {} by {}: {}. Reason: {}",
            hold.id,
            scope_text(hold),
            local(&hold.at),
            hold.by,
            hold.reason,
            args.reason
        ));
        place.confirm("the release", &short_id(hold.id))?;
        let signer = place.signing_key()?;
        engine
            .release_hold(hold.id, &signer.key, &args.reason)
            .await?
    };
    let (done, missing) = match &released {
        Released::Done => (true, None),
        Released::Missing(text) => (false, Some(text)),
    };
    if place.say.is_json() {
        place
            .say
            .value(&json!({"schema": 1, "released": done, "missing": missing, "errors": []}))?;
    } else if let Some(missing) = missing {
        place
            .say
            .line(&format!("signed; still in force, {missing}"))?;
    } else {
        place.say.line("released")?;
    }
    Ok(if done { Exit::Done } else { Exit::Approvals })
}

/// The hold that is meant: its id, a beginning or an end of it that only it has, or what only it is on.
fn one_of<'h>(holds: &'h [Hold], text: &str) -> Result<&'h Hold, Fail> {
    let unknown = || Fail::from(Error::UnknownHold(text.to_owned()));
    let matching: Vec<&Hold> = match text.parse::<Uuid>() {
        Ok(id) => holds.iter().filter(|hold| hold.id == id).collect(),
        Err(_) if text == "all" || text.contains(':') => holds
            .iter()
            .filter(|hold| scope_text(hold) == text)
            .collect(),
        Err(_) if text.len() < PREFIX_CHARS_MIN => Vec::new(),
        Err(_) => {
            let fits = |hold: &&Hold| {
                let id = hold.id.to_string();
                id.starts_with(text) || id.ends_with(text)
            };
            holds.iter().filter(fits).collect()
        }
    };
    match matching.as_slice() {
        [hold] => Ok(hold),
        [] => Err(unknown()),
        _ => Err(Fail::own(
            "RD0919",
            format!("several holds have this in common, give more of the id: {text}"),
        )),
    }
}

/// Kills: publishes, then waits until earlier entrants have ended.
///
/// # Errors
/// RD0214 when some have not, or when that could not be found out. Any other failure: this machine stops by a file, and
/// the failure says that the database is not stopped.
pub async fn kill(place: &Place, args: &KillArgs) -> Result<Exit, Fail> {
    let killed = match killed(place, args).await {
        Ok(killed) => killed,
        // Published: the database is stopped. A reason that is too long: nothing was tried.
        Err(fail) if ["RD0214", "RD0196"].contains(&fail.code()) => return Err(fail),
        Err(fail) => return Err(stop_here(place, args, fail)),
    };
    if place.say.is_json() {
        place.say.value(&json!({
            "schema": 1,
            "state": if args.freeze { "frozen" } else { "killed" },
            "switch_no": killed.switch_no,
            "drained_ms": killed.drained_ms,
            "errors": [],
        }))?;
    } else {
        let word = if args.freeze { "frozen" } else { "killed" };
        place.say.line(&format!(
            "{word}, switch_no {}, drained in {} ms",
            killed.switch_no, killed.drained_ms
        ))?;
    }
    Ok(Exit::Done)
}

async fn killed(place: &Place, args: &KillArgs) -> Result<Killed, Fail> {
    // No signature is judged here: trust roots that cannot be read do not stand in the way.
    let target = place.target().await?;
    let engine = place.engine_at(target, Needs::default(), None).await?;
    Ok(engine
        .kill(&args.reason, args.deadline.0, args.freeze)
        .await?)
}

/// The database was not told: a hold file stops this machine, and the failure says what it does not stop.
///
/// Whatever the reason is (nobody answers, a standby, no schema, no right): whoever kills wants a stop, so it is as wide
/// as it can be made from here.
fn stop_here(place: &Place, args: &KillArgs, fail: Fail) -> Fail {
    let told = match &fail {
        Fail::Engine(Error::Unknown(_)) => "it is NOT KNOWN whether the DATABASE IS STOPPED",
        _ => "the DATABASE IS NOT STOPPED: it could not be told",
    };
    let written = place.state().and_then(|state| {
        let hold = redress::files::HoldFile {
            id: Uuid::nil(),
            scope: "all".to_owned(),
            target: None,
            run: None,
            reason: args.reason.clone(),
            code: "kill".to_owned(),
            at: redress_ledger::time::format_utc(jiff::Timestamp::now()),
            by: crate::place::actor(),
        };
        let dir = redress::files::StateDir::new(state);
        Ok(dir.write_hold(&hold).map_err(Error::from)?)
    });
    match written {
        Ok(path) => place.say.notice(&format!(
            "{told}. Workers that use this state folder stop by {}; workers on other machines go on. Repeat \
             `redress kill` when the database can be told",
            path.display()
        )),
        Err(error) => place.say.notice(&format!(
            "{told}, and no hold file could be written: {error}. Nothing is stopped here"
        )),
    }
    fail
}

const PREFIX_CHARS_MIN: usize = 8;
