//! `work`: a worker that stops gracefully on SIGTERM and SIGINT.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use redress::Engine;
use redress::notify::Notifier;
use redress::telemetry::Told;
use redress_adapters::{Config, ConfigError, NotifyConfig};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::commands::Length;
use crate::exit::Exit;
use crate::fail::Fail;
use crate::place::{Needs, Place};
use crate::settings::list::{LEASE_MS_MIN, POLL_MS_MIN};
use crate::telemetry::{Address, serve};

/// How to work.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Runs that are driven at once [env: REDRESS_WORK_CONCURRENCY]
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=512))]
    pub concurrency: u16,
    /// End when nothing is left that this worker could do now
    #[arg(long)]
    pub until_idle: bool,
    /// How long a claim is good without a heartbeat [env: REDRESS_WORK_LEASE]
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = lease)]
    pub lease: Length,
    /// How long an idle worker waits before it looks for work again [env: REDRESS_WORK_POLL]
    #[arg(long, value_name = "TIME", default_value = "200ms", value_parser = poll)]
    pub poll: Length,
    /// A program that gets every alert as JSON on its standard input; no shell is involved [env:
    /// REDRESS_WORK_ALERT_COMMAND]
    #[arg(long, value_name = "PROGRAM")]
    pub alert_command: Option<PathBuf>,
    /// Serve figures for Prometheus at /metrics, and /healthz and /readyz; a bare port is loopback's [env:
    /// REDRESS_WORK_METRICS]
    #[arg(long, value_name = "ADDR")]
    pub metrics: Option<Address>,
}

fn lease(text: &str) -> Result<Length, String> {
    Length::at_least(text, LEASE_MS_MIN)
}

fn poll(text: &str) -> Result<Length, String> {
    Length::at_least(text, POLL_MS_MIN)
}

/// Works until it is told to stop, or until nothing is left.
///
/// # Errors
/// [`Fail::Engine`] when the worker cannot announce itself.
pub async fn work(place: &Place, args: &Args) -> Result<Exit, Fail> {
    let concurrency = usize::from(args.concurrency);
    let config = place.config();
    let engine = place
        .engine_with(Needs {
            // A run may need a second session while it holds one; claim and heartbeat need theirs, and whoever is told.
            sessions: 2 * concurrency + 4 + config.notify.len(),
            lease: args.lease.0,
            alert: args.alert_command.clone(),
            ..Needs::default()
        })
        .await?;
    let (stop, stopping) = watch::channel(false);
    let stop = Arc::new(stop);
    let stopped = Arc::clone(&stop);
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
    let served = serve(place, &engine, args.metrics.as_ref()).await?;
    let telling = tell(&engine, &config, &stopping)?;
    let mut worker = engine.worker().concurrency(concurrency).poll(args.poll.0);
    if args.until_idle {
        worker = worker.until_idle();
    }
    let worked = worker.run(stopping).await;
    stopped.send_replace(true);
    for task in telling {
        if let Err(error) = task.await {
            tracing::error!(%error, "a notifier");
        }
    }
    worked?;
    if let Some(served) = served {
        served.end();
    }
    if args.until_idle {
        tell_the_rest(&engine, &config).await?;
        place
            .say
            .notice("nothing is left to work on; `redress status` says whether a person must act");
    }
    Ok(Exit::Done)
}

/// Begins to tell everybody whom the configuration names.
fn tell(
    engine: &Engine,
    config: &Config,
    stopping: &watch::Receiver<bool>,
) -> Result<Vec<JoinHandle<()>>, Fail> {
    let notifiers = notifiers(engine, config)?.into_iter();
    Ok(notifiers
        .map(|notifier| tokio::spawn(notifier.run(stopping.clone())))
        .collect())
}

/// What this worker's own runs gave to tell, before it ends; a sink that takes too long is told next time.
async fn tell_the_rest(engine: &Engine, config: &Config) -> Result<(), Fail> {
    for notifier in notifiers(engine, config)? {
        match notifier.run_once_within(TELLING_MAX).await {
            Ok(true) => {}
            Ok(false) => tracing::warn!("not everybody was told in time; the next worker goes on"),
            Err(error) => tracing::warn!(error = %Told(&error), code = error.code(), "telling"),
        }
    }
    Ok(())
}

fn notifiers(engine: &Engine, config: &Config) -> Result<Vec<Notifier>, Fail> {
    let wrong = |error: ConfigError| Fail::own(error.code(), error.to_string());
    let one = |told: &NotifyConfig| {
        let sink = told.sink(&config.http).map_err(wrong)?;
        let topics = told.topics().map_err(wrong)?;
        Ok(engine.notifier(&told.name, sink).topics(topics))
    };
    config.notify.iter().map(one).collect()
}

/// How long a worker that ends by itself waits for those who are told.
const TELLING_MAX: Duration = Duration::from_secs(10);

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
