//! `work`: a worker that stops gracefully on SIGTERM and SIGINT.

use std::path::PathBuf;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::commands::Length;
use crate::exit::Exit;
use crate::fail::Fail;
use crate::place::{Needs, Place};

/// How to work.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Runs that are driven at once
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=512))]
    pub concurrency: u16,
    /// End when nothing is left that this worker could do now
    #[arg(long)]
    pub until_idle: bool,
    /// How long a claim is good without a heartbeat
    #[arg(long, value_name = "TIME", default_value = "10s")]
    pub lease: Length,
    /// A program that gets every alert as JSON on its standard input; no shell is involved
    #[arg(long, value_name = "PROGRAM")]
    pub alert_command: Option<PathBuf>,
}

/// Works until it is told to stop, or until nothing is left.
///
/// # Errors
/// [`Fail::Engine`] when the worker cannot announce itself.
pub async fn work(place: &Place, args: &Args) -> Result<Exit, Fail> {
    let concurrency = usize::from(args.concurrency);
    let engine = place
        .engine_with(Needs {
            // A run may need a second session while it holds one; claim and heartbeat need theirs.
            sessions: 2 * concurrency + 4,
            lease: args.lease.0,
            alert: args.alert_command.clone(),
            restored: false,
        })
        .await?;
    let (stop, stopping) = watch::channel(false);
    let say = place.say.clone();
    let mut ends = Ends::new()?;
    tokio::spawn(async move {
        let first = ends.next().await;
        say.notice(&format!(
            "{first}: ending what is in flight, giving back the rest; once more ends at once"
        ));
        stop.send_replace(true);
        let second = ends.next().await;
        say.notice(&format!(
            "{second}: ending at once; what was in flight is taken over when its lease runs out"
        ));
        std::process::exit(i32::from(SECOND_SIGNAL));
    });
    place
        .say
        .notice(&format!("working, up to {concurrency} runs at once"));
    let mut worker = engine.worker().concurrency(concurrency);
    if args.until_idle {
        worker = worker.until_idle();
    }
    worker.run(stopping).await?;
    Ok(Exit::Done)
}

/// The signals that end a worker.
pub(super) struct Ends {
    terminate: Signal,
    interrupt: Signal,
}

impl Ends {
    pub fn new() -> Result<Self, Fail> {
        let listen = |kind| {
            signal(kind)
                .map_err(|error| Fail::own("RD0918", format!("signals cannot be heard: {error}")))
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// As a shell reports an end by SIGINT.
const SECOND_SIGNAL: u8 = 130;
