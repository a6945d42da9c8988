//! `demo`: everything once, on a real document, in a private server of its own.
//!
//! **Invariant:** its assertions are real: when something is not as promised, it ends with exit 7 and says what.
//!
//! **Not here:** any database of anybody else. The demo changes a byte of a ledger, so it has its own server.

mod acts;
mod document;
mod sealed;
mod stage;

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::Instant;

use uuid::Uuid;

use self::document::Document;
use self::stage::Stage;
use crate::args::Globals;
use crate::cluster::{self, Options, Status};
use crate::commands::work::Ends;
use crate::exit::Exit;
use crate::fail::Fail;
use crate::place::Place;
use crate::settings::Settings;

/// What to show.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A document, Markdown or plain text [default: one that comes with the command]
    #[arg(long, value_name = "DOC.md")]
    pub file: Option<PathBuf>,
    /// Leave the server running at the end
    #[arg(long)]
    pub keep: bool,
}

/// Plays the demo.
///
/// # Errors
/// RD0922 when something is not as promised, RD0923 when the document cannot be cut.
pub async fn demo(place: &Place, args: &Args) -> Result<Exit, Fail> {
    let begun = Instant::now();
    let document = Document::read(args.file.as_deref())?;
    if place.given_url().is_some() {
        place
            .say
            .notice("the demo has a server of its own; the database that is named is left alone");
    }
    let mut stage = Stage::open(place)?;
    stage.tell(&format!(
        "Redress, shown on {} ({} bytes), in {}",
        document.file,
        document.bytes(),
        stage.folder.display()
    ))?;
    write_passphrase(&stage)?;
    stage.stand_apart()?;
    let globals = Globals {
        database: None,
        state_dir: Some(stage.state()),
        trust: None,
        schema: redress::SchemaName::default(),
        ..place.globals.clone()
    };
    let own = Place::new(globals, Settings::default());
    let result = played(&own, &mut stage, &document).await;
    stage.write_commands()?;
    if !args.keep {
        cluster::down(&own.cluster_dir()?)?;
    }
    result?;
    stage.tell(&format!(
        "\nAll of it was as promised, in {:.1} s.",
        begun.elapsed().as_secs_f64()
    ))?;
    let server = if args.keep {
        "the server still runs (`redress db down` stops it)"
    } else {
        "the server is stopped (any command starts it again)"
    };
    stage.tell(&format!(
        "Left to look at: {}; {server}.",
        stage.folder.display()
    ))?;
    if let Status::Stopped { data } | Status::Running { data, .. } =
        cluster::status(&own.cluster_dir()?)?
        && !data.starts_with(&stage.folder)
    {
        // Root's own folders are closed to the account that the server runs under.
        stage.tell(&format!("The server's data lies in {}.", data.display()))?;
    }
    stage.tell("    . ./env          makes the commands below yours, there")?;
    stage.tell("    commands.txt     the commands that you have seen")?;
    stage.tell("    redress runs; redress show RUN; redress audit log; redress explain RD0311")?;
    if place.say.is_json() {
        place.say.value(&stage.result())?;
    }
    Ok(Exit::Done)
}

async fn played(own: &Place, stage: &mut Stage, document: &Document) -> Result<(), Fail> {
    let mut ends = Ends::new()?;
    own.private_up().await?;
    let server = cluster::up(&own.cluster_dir()?, &Options::default())?;
    tokio::select! {
        played = acts::play(stage, document, &server) => played,
        _ = ends.next() => Err(Fail::own("RD0922", "the demo was told to end before it was through")),
    }
}

fn write_passphrase(stage: &Stage) -> Result<(), Fail> {
    let path = stage.folder.join("passphrase");
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut file| writeln!(file, "{}", Uuid::new_v4()))
        .map_err(|error| {
            Fail::own(
                "RD0921",
                format!("cannot write: {error}, {}", path.display()),
            )
        })
}
