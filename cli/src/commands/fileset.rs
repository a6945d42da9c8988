//! `fileset`: the snapshots of the adapter `fileset`, listed, verified, and collected.

use redress_adapters::fileset::{Collected, FilesetError, Listed, Store, collect};
use serde_json::json;

use crate::commands::look::to_value;
use crate::exit::Exit;
use crate::fail::Fail;
use crate::place::Place;

/// What to do with the snapshots of files.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// The snapshots, oldest first, and what the store holds
    List {
        /// Only those of this directory
        #[arg(long, value_name = "PATH")]
        directory: Option<String>,
    },
    /// Read every snapshot again and compare it with its hash
    Verify,
    /// Remove the snapshots that the configuration does not keep and no open run needs
    Collect,
}

/// Carries it out.
///
/// # Errors
/// [`Fail`]: what was asked was not done.
pub async fn run(place: &Place, command: &Command) -> Result<Exit, Fail> {
    let config = place.config().fileset;
    let artefacts = place.state()?.join("artefacts");
    let path = config.store_path(Some(&artefacts)).map_err(refused)?;
    let store = Store::open(path).map_err(refused)?;
    match command {
        Command::List { directory } => list(place, &store, directory.as_deref()),
        Command::Verify => verify(place, &store),
        Command::Collect => {
            let engine = place.engine().await?;
            let collected = collect(&engine, &store, &config.retention()).await;
            say_collected(place, &collected.map_err(refused)?)
        }
    }
}

fn list(place: &Place, store: &Store, directory: Option<&str>) -> Result<Exit, Fail> {
    let listed = store.list(directory).map_err(refused)?;
    let usage = store.usage().map_err(refused)?;
    if place.say.is_json() {
        place.say.value(&json!({
            "schema": 1, "snapshots": to_value(&listed)?, "usage": to_value(&usage)?, "errors": [],
        }))?;
        return Ok(Exit::Done);
    }
    for one in &listed {
        place.say.line(&row(one))?;
    }
    place.say.notice(&format!(
        "{} snapshots, {} contents, {} bytes on disk",
        usage.snapshots, usage.objects, usage.bytes_on_disk
    ));
    Ok(Exit::Done)
}

/// One line a snapshot, never broken, so that ids and paths can be copied.
fn row(one: &Listed) -> String {
    let run = one
        .owner
        .run
        .map_or_else(|| "-".to_owned(), |run| run.to_string());
    let second = one.taken_at.split('.').next().unwrap_or_default();
    format!(
        "{}  {second}Z  {} files  {} bytes  {} alone  run {run}  {}",
        one.id, one.files, one.bytes, one.bytes_alone, one.directory
    )
}

fn verify(place: &Place, store: &Store) -> Result<Exit, Fail> {
    let wrong = store.verify().map_err(refused)?;
    let snapshots = store.ids().map_err(refused)?.len();
    if place.say.is_json() {
        let errors = wrong.iter();
        let errors: Vec<_> = errors
            .map(|error| json!({"code": error.code(), "message": error.to_string()}))
            .collect();
        let value =
            json!({"schema": 1, "ok": errors.is_empty(), "snapshots": snapshots, "errors": errors});
        place.say.value(&value)?;
    } else {
        for error in &wrong {
            place.say.line(&format!("{} {error}", error.code()))?;
        }
        if wrong.is_empty() {
            let text = format!("{snapshots} snapshots hold: every content has its hash");
            place.say.line(&text)?;
        }
    }
    Ok(if wrong.is_empty() {
        Exit::Done
    } else {
        Exit::Verification
    })
}

fn say_collected(place: &Place, collected: &Collected) -> Result<Exit, Fail> {
    if place.say.is_json() {
        let value = json!({"schema": 1, "collected": to_value(collected)?, "errors": []});
        place.say.value(&value)?;
    } else {
        place.say.line(&format!(
            "{} snapshots, {} contents and {} notes of acts are gone, {} bytes; {} older ones are kept for open runs",
            collected.snapshots.len(),
            collected.objects,
            collected.acts,
            collected.bytes,
            collected.needed.len()
        ))?;
    }
    Ok(Exit::Done)
}

fn refused(error: FilesetError) -> Fail {
    Fail::own(error.code(), error.to_string())
}
