//! The saga of `examples/pipeline`, embedded: a deployment, one that does not work and goes back by itself, and whoever is told.
//!
//! ```text
//! DATABASE_URL=postgresql://… cargo run -p redress-adapters --example pipeline
//! ```
//!
//! The database gets the schema `redress`, and a schema of the example's own that is dropped in the end. The programs and
//! the environment are in a temporary folder.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use async_trait::async_trait;
use redress::alert::AlertSink;
use redress::definition::{Definition, read_yaml};
use redress::view::RewindFilter;
use redress::{Engine, Outcome, SchemaName};
use redress_adapters::Config;
use serde_json::{Value, json};
use uuid::Uuid;

const DROP: &str = "drop schema if exists pipeline_embedded cascade";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::var("DATABASE_URL").map_err(|_| "DATABASE_URL names no database")?;
    run(&url).await
}

/// All of it, against the database of this URL.
pub async fn run(url: &str) -> Result<(), Box<dyn Error>> {
    let session = redress::db::connect(&url.parse()?).await?;
    redress::schema::migrate(&session, &SchemaName::default(), "pipeline.example").await?;

    let temp = tempfile::tempdir()?;
    let home = temp.path().join("pipeline");
    copy(&example(), &home)?;
    session.batch_execute(DROP).await?;
    session.batch_execute(&text(&home, "schema.sql")?).await?;

    // What a saga may run stands in the worker's own configuration, and not in the saga.
    let config = Config::parse(&text(&home, "redress.toml")?)?;
    let saga = pipeline(&home)?;
    let name = saga.saga.clone();
    let engine = Engine::builder(redress::db::pool(url, 4)?)
        .adapters(redress_adapters::standard())
        .externals(redress_adapters::external(&config))
        .register(saga)?
        .build()
        .await?;
    // Who is told gets a place in the log, and hears from there on.
    let pager = || engine.notifier("pipeline-embedded", Arc::new(Printed));
    pager().run_once().await?;

    for version in ["1.0.0", "1.2.0"] {
        let input = json!({"environment": "embedded", "version": version});
        let start = engine.start(name.as_str(), input);
        let (started, outcome) = engine.start_and_drive(start).await?;
        match &outcome {
            Outcome::Completed(run) => println!("{version}: run {} completed", run.id),
            other => println!("{version}: {} {:?}", other.run().state, other.run().error),
        }
        let run = Some(started.run);
        let filter = RewindFilter {
            run,
            ..RewindFilter::default()
        };
        for line in engine.rewinds(&filter).await? {
            let (trigger, status) = (line.trigger.as_str(), line.status.as_str());
            println!("  back to {}: {trigger}, {status}", line.to);
        }
        show(&home)?;
        if !matches!(outcome, Outcome::Completed(_)) {
            // It went back to `backend` and stopped there; nobody mends it, so the rest is taken back too.
            let plan = engine
                .plan(started.run, BTreeMap::new(), "withdrawn")
                .await?;
            let ended = engine.apply(&plan).await?;
            println!("{version}: {}", ended.run().state);
        }
    }
    pager().run_once().await?;
    session.batch_execute(DROP).await?;
    Ok(())
}

/// Somebody who is told: here whoever reads the terminal.
struct Printed;

#[async_trait]
impl AlertSink for Printed {
    async fn deliver(&self, notification: &Value) -> Result<(), String> {
        println!("told: {} {}", notification["what"], notification["id"]);
        Ok(())
    }
}

/// The example's saga. Its programs stand in another folder at each start, so each start has a saga of its own.
fn pipeline(home: &Path) -> Result<Definition, Box<dyn Error>> {
    let (mut saga, _places) = read_yaml(text(home, "saga.yaml")?.as_bytes(), "saga.yaml")?;
    saga.saga = format!("pipeline-{}", Uuid::now_v7().simple()).parse()?;
    Ok(saga)
}

/// A file of the example, for this folder and a schema of our own.
fn text(home: &Path, file: &str) -> Result<String, Box<dyn Error>> {
    let text = fs::read_to_string(home.join(file))?;
    let text = text.replace("/tmp/pipeline-try", &home.display().to_string());
    let text = text.replace("schema pipeline;", "schema pipeline_embedded;");
    let text = text.replace("'staging'", "'embedded'");
    Ok(text.replace("pipeline.", "pipeline_embedded."))
}

fn show(home: &Path) -> Result<(), Box<dyn Error>> {
    let program = home.join("bin/environment");
    let output = Command::new(program).args(["show", "embedded"]).output()?;
    for line in String::from_utf8(output.stdout)?.lines() {
        println!("  {line}");
    }
    Ok(())
}

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/pipeline")
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
