//! The engine as a process of its own, for tests that kill it: one act a call, settings from the environment.

use std::env;
use std::error::Error as Fault;
use std::process::ExitCode;
use std::time::Duration;

use redress::definition::HoldScope;
use redress::ledger::{Hash, SigningKey, log_origin};
use redress::seal::{FileAnchor, SealError, Sealed, Sealer};
use redress::{Engine, Error, Released};
use redress_runbooks::execute;
use redress_tests::{bank, fileset, lab, worker};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// As the command's: published, not drained.
const NOT_DRAINED: u8 = 3;
/// Between two tries while another sealer has the lease.
const BUSY_PAUSE: Duration = Duration::from_millis(50);

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter("warn,redress=debug")
        .init();
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match act(&args).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn act(args: &[&str]) -> Result<ExitCode, Box<dyn Fault>> {
    if let ["files", ground, project, key, text] = *args {
        println!("{}", fileset::update(ground.as_ref(), project, key, text));
        return Ok(ExitCode::SUCCESS);
    }
    let url = env::var(worker::URL)?;
    if let ["migrate"] = args {
        lab::migrate(&url).await;
        return Ok(ExitCode::SUCCESS);
    }
    let engine = engine(&url).await?;
    match *args {
        ["work"] => work(&engine, false).await?,
        ["work", "until-idle"] => work(&engine, true).await?,
        ["seal", seed, anchor, folder, ref batch @ ..] => {
            let sealer = sealer(&engine, seed, anchor, folder)?;
            seal(sealer, batch.first().copied()).await?;
        }
        ["start", saga, key, input] => {
            let start = engine.start(saga, serde_json::from_str(input)?).key(key);
            println!("{}", start.open().await?.run);
        }
        ["drive", saga, key, input] => {
            let start = engine.start(saga, serde_json::from_str(input)?).key(key);
            let (started, outcome) = engine.start_and_drive(start).await?;
            println!("{} {}", started.run, outcome.run().state.as_str());
        }
        ["kill", ms] => {
            let deadline = Duration::from_millis(ms.parse()?);
            match engine.kill("the test says so", deadline, false).await {
                Ok(killed) => println!("{}", killed.switch_no),
                Err(error @ Error::NotDrained(_)) => {
                    println!("{error}");
                    return Ok(ExitCode::from(NOT_DRAINED));
                }
                Err(error) => return Err(error.into()),
            }
        }
        ["hold", run] => {
            let hold = engine
                .hold(HoldScope::Run, Some(run), "the test says so", false)
                .await?;
            println!("{}", hold.id);
        }
        ["release-kill"] => {
            let released = engine.release_kill(&bank::sovereign(), "done").await?;
            assert_eq!(released, Released::Done);
        }
        ["release-hold", hold] => {
            let released = engine
                .release_hold(hold.parse()?, &bank::sovereign(), "done")
                .await?;
            assert_eq!(released, Released::Done);
        }
        ["plan", run] => {
            let stored = engine
                .plan(run.parse()?, Default::default(), "the test says so")
                .await?;
            println!("{}", stored.digest);
        }
        ["approve", run] => {
            let stored = engine.find_plan(run).await?;
            engine
                .approve(&stored, &bank::sovereign(), "so be it")
                .await?;
        }
        ["apply", run] => {
            let stored = engine.find_plan(run).await?;
            let outcome = engine.apply(&stored).await?;
            println!("{}", outcome.run().state.as_str());
        }
        ["runbook-resume", execution] => {
            let key = bank::sovereign();
            let operator = execute::Operator {
                engine: &engine,
                key: &key,
                person: key.vkey().name().to_string(),
                host: "there".to_owned(),
            };
            let given = execute::Given::default();
            println!("ready");
            let applied = execute::apply(&operator, execution, &given, &|_, _| {}).await?;
            println!("{}", applied.execution.state.as_str());
        }
        ["rewind", run, to, then] => {
            let asked = redress::Rewind {
                to: to.parse()?,
                from: None,
                then: match then {
                    "resume" => redress::definition::Then::Resume,
                    _ => redress::definition::Then::Stop,
                },
                reason: "the test says so".to_owned(),
            };
            println!("ready");
            match engine.rewind(run.parse()?, &asked).await? {
                redress::Rewound::Done { row, .. } => println!("{}", row.state.as_str()),
                redress::Rewound::Nothing(_) => println!("nothing"),
            }
        }
        _ => return Err(format!("unknown act: {args:?}").into()),
    }
    Ok(ExitCode::SUCCESS)
}

async fn engine(url: &str) -> Result<Engine, Box<dyn Fault>> {
    let number = |name: &str, default: u64| {
        env::var(name)
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(default)
    };
    let mut builder = Engine::builder(redress::db::pool(url, 16)?)
        .adapters(redress_adapters::standard())
        .adapters(worker::adapters())
        .trust(bank::trust())
        .actor("test")
        .lease(Duration::from_millis(number(worker::LEASE_MS, 10_000)));
    if let Some(dir) = env::var_os(worker::STATE) {
        let depot = std::path::Path::new(&dir).join("depot");
        builder = builder.external(std::sync::Arc::new(redress_tests::Depot::new(depot)));
        let ground = std::path::Path::new(&dir).join("files");
        if ground.is_dir() {
            builder = builder.external(fileset::adapter(&ground));
        }
        builder = builder.state_dir(dir);
    }
    Ok(builder.build().await?)
}

/// Becomes true at SIGTERM.
fn stopping() -> Result<watch::Receiver<bool>, Box<dyn Fault>> {
    let (stop, stopping) = watch::channel(false);
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        terminate.recv().await;
        stop.send_replace(true);
        // Dropping the sender would stop a worker that should go on.
        std::future::pending::<()>().await;
    });
    Ok(stopping)
}

fn sealer(
    engine: &Engine,
    seed: &str,
    anchor: &str,
    folder: &str,
) -> Result<Sealer, Box<dyn Fault>> {
    let installation = engine.installation();
    let name = log_origin(&installation.origin, installation.generation);
    let key = SigningKey::from_seed(&name, seed.parse::<Hash>()?.as_bytes())?;
    Ok(engine.sealer(key, FileAnchor::new(anchor), folder))
}

/// Seals until it is told to stop, or everything once in batches of this size; waits for the lease of one that died.
async fn seal(mut sealer: Sealer, batch: Option<&str>) -> Result<(), Box<dyn Fault>> {
    let follow = batch.is_none();
    if let Some(batch) = batch {
        sealer = sealer.batch(batch.parse()?);
    }
    let stopping = stopping()?;
    println!("ready");
    loop {
        let done = if follow {
            let heard = |sealed: &Sealed| println!("{}", sealed.head.size);
            sealer.follow(stopping.clone(), heard).await
        } else {
            sealer.seal().await.map(drop)
        };
        match done {
            Err(Error::Seal(SealError::Busy { .. })) => {
                if *stopping.borrow() {
                    return Ok(());
                }
                tokio::time::sleep(BUSY_PAUSE).await;
            }
            Err(error) => return Err(error.into()),
            Ok(()) => break,
        }
    }
    if !follow {
        sealer.leave().await?;
    }
    Ok(())
}

async fn work(engine: &Engine, until_idle: bool) -> Result<(), Box<dyn Fault>> {
    let stopping = stopping()?;
    let concurrency = env::var(worker::CONCURRENCY)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(4);
    let mut worker = engine.worker().concurrency(concurrency);
    if until_idle {
        worker = worker.until_idle();
    }
    println!("ready");
    worker.run(stopping).await?;
    Ok(())
}
