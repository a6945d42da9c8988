//! `drill`: a practice ground of its own, with a prepared failure in it, and what came of the practice.
//!
//! **Invariant:** a drill never touches a database that somebody named: it has a private server in its own folder.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use redress::Engine;
use redress::step::ExecutionState;
use redress::view::Attention;
use redress_ledger::key::{Role, SigningKey};
use redress_ledger::keyfile::write_key;
use redress_ledger::state::State;
use redress_ledger::verify::Verdict;
use redress_runbooks::facts::Facts;
use redress_runbooks::fixture::Fixture;
use redress_runbooks::library::Shelf;
use redress_runbooks::suggest::suggest;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::args::Globals;
use crate::cluster::{self, Stop};
use crate::drill::{Ground, prepare, repair};
use crate::exit::Exit;
use crate::fail::Fail;
use crate::place::{Place, read_trust};
use crate::read::read_file;
use crate::settings::{Settings, variables};
use crate::text::span;

/// What to do with a drill.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List the failures that can be practised
    List,
    /// Prepare one, in a private server of its own
    Start {
        /// Which one
        #[arg(value_name = "SCENE")]
        scene: String,
        /// The folder of the drill
        #[arg(long, value_name = "DIR", default_value = "drill")]
        dir: PathBuf,
    },
    /// Let a colleague mend the cause outside, where the scene has one
    Repair {
        /// The folder of the drill
        #[arg(long, value_name = "DIR", default_value = "drill")]
        dir: PathBuf,
    },
    /// Say how it went (exit 0 when a safe end was reached, 3 otherwise)
    Check {
        /// The folder of the drill
        #[arg(long, value_name = "DIR", default_value = "drill")]
        dir: PathBuf,
    },
    /// Stop the server and remove the folder
    End {
        /// The folder of the drill
        #[arg(long, value_name = "DIR", default_value = "drill")]
        dir: PathBuf,
    },
}

/// What a drill began with.
#[derive(Debug, Serialize, Deserialize)]
struct Begun {
    scene: String,
    run: Option<Uuid>,
    /// Seconds since the epoch.
    at: i64,
    /// The runbooks that fitted then, the best first.
    right: Vec<String>,
}

/// Carries it out.
///
/// # Errors
/// [`Fail`]: the scene could not be prepared, or there is no drill in this folder.
pub async fn run(place: &Place, command: &Command) -> Result<Exit, Fail> {
    match command {
        Command::List => list(place),
        Command::Start { scene, dir } => start(place, scene, dir).await,
        Command::Repair { dir } => {
            let (own, begun) = found(place, dir)?;
            let scene = fixture(&begun.scene)?;
            let url = own.private_up().await?;
            place.say.line(repair(scene, &url).await?)?;
            Ok(Exit::Done)
        }
        Command::Check { dir } => {
            let (own, begun) = found(place, dir)?;
            check(place, &own, &begun).await
        }
        Command::End { dir } => {
            let (own, _) = found(place, dir)?;
            cluster::remove(&own.cluster_dir()?, Stop::Fast)?;
            fs::remove_dir_all(dir).map_err(|error| unwritten(&error, dir))?;
            place.say.notice(&format!("{} is gone", dir.display()));
            Ok(Exit::Done)
        }
    }
}

fn list(place: &Place) -> Result<Exit, Fail> {
    let scenes = Fixture::ALL.into_iter().filter(practised);
    if place.say.is_json() {
        let scenes: Vec<Value> = scenes
            .map(|scene| json!({"scene": scene.as_str(), "about": scene.about()}))
            .collect();
        place
            .say
            .value(&json!({"schema": 1, "scenes": scenes, "errors": []}))?;
        return Ok(Exit::Done);
    }
    let rows: Vec<Vec<String>> = scenes
        .map(|scene| vec![scene.as_str().to_owned(), scene.about().to_owned()])
        .collect();
    place.say.table(&["scene", "what happened"], &[0], &rows)?;
    place
        .say
        .notice("redress drill start SCENE prepares one in a private server of its own");
    Ok(Exit::Done)
}

/// What a person can practise: something is wrong, and nobody has mended it yet.
fn practised(scene: &Fixture) -> bool {
    !matches!(
        scene,
        Fixture::Nothing
            | Fixture::CutoverCompleted
            | Fixture::StuckRepaired
            | Fixture::BaselineRepaired
    )
}

fn fixture(name: &str) -> Result<Fixture, Fail> {
    Fixture::parse(name).filter(practised).ok_or_else(|| {
        Fail::own(
            "RD0924",
            format!("no such scene: {name}; `redress drill list` shows them"),
        )
    })
}

async fn start(place: &Place, scene: &str, dir: &Path) -> Result<Exit, Fail> {
    let fixture = fixture(scene)?;
    fs::create_dir(dir).map_err(|error| unwritten(&error, dir))?;
    let dir = dir.canonicalize().map_err(|error| unwritten(&error, dir))?;
    let own = own_place(place, &dir);
    let sovereign = keys(&dir)?;
    let url = own.private_up().await?;
    let trust = read_trust(&dir.join("state/trust"))?;
    let state = own.state()?;
    let ground = Ground {
        url: &url,
        schema: own.globals.schema.clone(),
        state: &state,
        trust: &trust,
        sovereign: &sovereign,
    };
    let run = prepare(fixture, &ground).await?;
    let engine = own.engine().await?;
    let begun = Begun {
        scene: fixture.as_str().to_owned(),
        run,
        at: jiff::Timestamp::now().as_second(),
        right: right(&engine, run).await?,
    };
    let text = serde_json::to_string_pretty(&begun)
        .map_err(|error| Fail::own("RD0921", error.to_string()))?;
    write(&dir.join("drill.json"), &text, 0o600)?;
    tell(place, &dir, &begun, fixture)
}

/// The names of the runbooks that fit a run, the best first.
async fn right(engine: &Engine, run: Option<Uuid>) -> Result<Vec<String>, Fail> {
    let Some(run) = run else {
        return Ok(Vec::new());
    };
    let facts = Facts::of(&engine.show(run).await?);
    let shelf = Shelf::shipped().map_err(|error| Fail::own(error.code(), error.to_string()))?;
    let ranked = suggest(shelf.books().iter().map(|book| &book.runbook), &facts);
    Ok(ranked.fitting.into_iter().map(|one| one.name).collect())
}

fn tell(place: &Place, dir: &Path, begun: &Begun, scene: Fixture) -> Result<Exit, Fail> {
    if place.say.is_json() {
        place.say.value(&json!({
            "schema": 1,
            "scene": begun.scene,
            "about": scene.about(),
            "run": begun.run,
            "dir": dir,
            "errors": [],
        }))?;
        return Ok(Exit::Done);
    }
    let say = &place.say;
    say.line("It is three in the morning, and you were called.")?;
    say.item("", scene.about())?;
    say.line("")?;
    say.line("Your keys are sofia (sovereign), rene (reviewer) and otto (operator).")?;
    say.line("Begin in this shell:")?;
    say.line(&format!("    . {}", dir.join("env").display()))?;
    say.line("    redress status                   what needs a person")?;
    say.line("    redress runbook suggest RUN      which runbook is right for it")?;
    say.line("")?;
    say.line("If a cause outside has to be mended: redress drill repair --dir DIR")?;
    say.line("When you believe that all is safe:   redress drill check --dir DIR")?;
    say.line("When you are done with it:           redress drill end --dir DIR")?;
    say.line(&format!("    DIR is {}", dir.display()))?;
    Ok(Exit::Done)
}

/// How a drill went.
struct Went {
    safe: bool,
    seconds: i64,
    state: Option<State>,
    waiting: Vec<Attention>,
    ledger: bool,
    done: Vec<String>,
    refused: usize,
    open: usize,
    /// The run has not ended, and nobody has to do anything but let a worker go on.
    goes_on: bool,
}

async fn check(place: &Place, own: &Place, begun: &Begun) -> Result<Exit, Fail> {
    let engine = own.engine().await?;
    let went = judge(&engine, begun).await?;
    if place.say.is_json() {
        place.say.value(&json!({
            "schema": 1,
            "scene": begun.scene,
            "safe": went.safe,
            "took_s": went.seconds,
            "run_state": went.state,
            "waiting": went.waiting,
            "ledger_ok": went.ledger,
            "runbooks_done": went.done,
            "runbooks_refused": went.refused,
            "runbooks_open": went.open,
            "right": begun.right,
            "errors": [],
        }))?;
    } else {
        print(place, begun, &went)?;
    }
    Ok(if went.safe { Exit::Done } else { Exit::Person })
}

async fn judge(engine: &Engine, begun: &Begun) -> Result<Went, Fail> {
    let waiting = engine.status().await?;
    let report = engine.check().await?;
    let audit = engine.audit_verify().await?;
    // Nothing is sealed in a drill, so a whole verdict is not to be had.
    let verified = matches!(
        audit.verdict,
        Verdict::Verified | Verdict::Incomplete { .. }
    );
    let ledger = report.ok && verified;
    let executions = engine.executions(None, false, 1_000).await?;
    let of = |state: ExecutionState| executions.iter().filter(move |one| one.state == state);
    let open = of(ExecutionState::Begun).count();
    let state = match begun.run {
        Some(run) => Some(engine.show(run).await?.state),
        None => None,
    };
    // Nobody here can ask the courier, so his run goes on without an end.
    let ends = begun.scene != Fixture::InDoubt.as_str();
    let goes_on = ends && state.is_some_and(|state| !state.is_terminal());
    Ok(Went {
        safe: waiting.is_empty() && ledger && open == 0 && !goes_on,
        seconds: jiff::Timestamp::now().as_second() - begun.at,
        state,
        ledger,
        done: of(ExecutionState::Done)
            .map(|one| one.runbook.clone())
            .collect(),
        refused: of(ExecutionState::Refused).count(),
        open,
        goes_on: goes_on && waiting.is_empty(),
        waiting,
    })
}

fn print(place: &Place, begun: &Begun, went: &Went) -> Result<(), Fail> {
    let say = &place.say;
    say.item("scene     ", &begun.scene)?;
    let took = span(u64::try_from(went.seconds).unwrap_or_default());
    say.item("took      ", &took)?;
    if let Some(state) = went.state {
        say.item("run       ", state.as_str())?;
    }
    let ledger = match went.ledger {
        true => "agrees with the tables, and verifies",
        false => "does NOT agree: redress check",
    };
    say.item("ledger    ", ledger)?;
    for one in &went.waiting {
        say.item("waits     ", &format!("[{}] {}", one.code, one.reason))?;
        say.command("          ", &one.next.command)?;
    }
    if went.open > 0 {
        let text = format!("{} runbooks were begun and not finished:", went.open);
        say.item("open      ", &text)?;
        say.command("          ", "redress runbook executions --open")?;
    }
    if went.goes_on {
        say.item(
            "goes on   ",
            "the run has not ended yet; a worker takes it there:",
        )?;
        say.command("          ", "redress work --until-idle")?;
    }
    let used = match went.done.is_empty() {
        true => "no runbook".to_owned(),
        false => went.done.join(", "),
    };
    say.item("you used  ", &used)?;
    if went.refused > 0 {
        let text = format!(
            "{} runbooks said no, and nothing was changed by them",
            went.refused
        );
        say.item("refused   ", &text)?;
    }
    if let Some(best) = begun.right.first() {
        say.item("best fit  ", best)?;
    }
    say.line("")?;
    say.line(if went.safe {
        "A safe end: nothing needs a person, and everything that was done is signed."
    } else {
        "Not yet: this is not the end."
    })
}

fn own_place(place: &Place, dir: &Path) -> Place {
    let globals = Globals {
        database: None,
        state_dir: Some(dir.join("state")),
        trust: None,
        passphrase_file: Some(dir.join("passphrase")),
        schema: redress::SchemaName::default(),
        ..place.globals.clone()
    };
    // A drill goes by nothing that is in force elsewhere.
    Place::new(globals, Settings::default())
}

fn found(place: &Place, dir: &Path) -> Result<(Place, Begun), Fail> {
    let dir = dir.canonicalize().map_err(|error| unwritten(&error, dir))?;
    let path = dir.join("drill.json");
    let bytes = read_file(&path, BEGUN_BYTES_MAX)?;
    let begun = serde_json::from_slice(&bytes)
        .map_err(|error| Fail::own("RD0917", format!("no drill: {error}, {}", path.display())))?;
    Ok((own_place(place, &dir), begun))
}

/// Keys of three people, a trust file that names them, and the shell's settings.
fn keys(dir: &Path) -> Result<SigningKey, Fail> {
    let state = dir.join("state");
    let keys = state.join("keys");
    fs::create_dir_all(&keys).map_err(|error| unwritten(&error, &keys))?;
    let passphrase = Uuid::new_v4().to_string();
    write(&dir.join("passphrase"), &passphrase, 0o600)?;
    let secret = SecretString::from(passphrase);
    let mut trust = String::new();
    let mut sovereign = None;
    for (name, role) in [
        ("sofia", Role::Sovereign),
        ("rene", Role::Reviewer),
        ("otto", Role::Operator),
    ] {
        let key = SigningKey::generate(name)?;
        write_key(&keys, &key, role, &secret, DRILL_ITERATIONS)?;
        trust.push_str(&format!("key {role} {}\n", key.vkey()));
        if role == Role::Sovereign {
            sovereign = Some(key);
        }
    }
    write(&state.join("trust"), &trust, 0o600)?;
    // It is found before any file of the machine, and says nothing.
    write(&state.join("redress.toml"), "# of this drill", 0o600)?;
    let env = format!(
        "unset {}\nexport REDRESS_STATE_DIR='{}' REDRESS_KEY_PASSPHRASE_FILE='{}'\n",
        variables().join(" "),
        state.display().to_string().replace('\'', "'\\''"),
        dir.join("passphrase")
            .display()
            .to_string()
            .replace('\'', "'\\''"),
    );
    write(&dir.join("env"), &env, 0o600)?;
    sovereign.ok_or_else(|| Fail::own("RD0922", "the drill has no sovereign"))
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), Fail> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| writeln!(file, "{}", text.trim_end()))
        .map_err(|error| unwritten(&error, path))
}

fn unwritten(error: &std::io::Error, path: &Path) -> Fail {
    Fail::own("RD0921", format!("{error}, {}", path.display()))
}

const BEGUN_BYTES_MAX: usize = 1 << 20;
/// Keys of a drill protect nothing; the usual count would make its beginning slow.
const DRILL_ITERATIONS: u32 = 1_000;
