//! A saga as `examples/lockfile`, embedded: two directories updated together, then an update that fails and is brought back.
//!
//! ```text
//! DATABASE_URL=postgresql://… cargo run -p redress-adapters --example lockfile
//! ```
//!
//! The database gets the schema `redress`, and a table of the example's own that is dropped in the end. The directories
//! are in a temporary folder.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use redress::definition::builder::{Phase, Saga};
use redress::definition::{Authority, Compensation, Definition};
use redress::{Engine, Outcome, SchemaName};
use redress_adapters::fileset::{Config, FilesetAdapter};
use serde_json::{Value, json};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::var("DATABASE_URL").map_err(|_| "DATABASE_URL names no database")?;
    run(&url).await
}

/// All of it, against the database of this URL.
pub async fn run(url: &str) -> Result<(), Box<dyn Error>> {
    let session = redress::db::connect(&url.parse()?).await?;
    redress::schema::migrate(&session, &SchemaName::default(), "lockfile.example").await?;
    session.batch_execute(TABLE).await?;

    let temp = tempfile::tempdir()?;
    for project in ["web", "mirror"] {
        lay(&temp.path().join("projects").join(project), "1.0.0")?;
    }
    // What a saga may touch stands here, with the program, and not in the saga.
    let config =
        Config::new(temp.path().join("snapshots")).root("projects", temp.path().join("projects"));
    let files = Arc::new(FilesetAdapter::new(config));

    let engine = Engine::builder(redress::db::pool(url, 4)?)
        .adapters(redress_adapters::standard())
        .external(files.clone())
        .register(lockfile()?)?
        .build()
        .await?;

    for version in ["1.1.0", "0.2.0"] {
        let start = engine.start("lockfile-embedded", input(version));
        let (_, outcome) = engine.start_and_drive(start).await?;
        match outcome {
            Outcome::Completed(run) => println!("{version}: run {} completed", run.id),
            Outcome::Compensated(run) => {
                let (code, message) = run.error.unwrap_or_default();
                println!("{version}: brought back, because [{code}] {message}");
            }
            Outcome::Held(run) | Outcome::Stuck(run) => {
                println!("{version}: run {} needs a person: {:?}", run.id, run.error);
            }
        }
        for project in ["web", "mirror"] {
            let lock = temp.path().join("projects").join(project).join("app.lock");
            println!("  {project}/app.lock: {}", fs::read_to_string(lock)?.trim());
        }
    }
    let store = files.store(None)?;
    for snapshot in store.list(None)? {
        let (id, files, bytes) = (snapshot.id, snapshot.files, snapshot.bytes);
        println!(
            "snapshot {id}: {files} files, {bytes} bytes of {}",
            snapshot.directory
        );
    }
    println!("{}", serde_json::to_string(&store.metrics())?);
    session.batch_execute("drop table lockfile_release").await?;
    Ok(())
}

const TABLE: &str = "create table if not exists lockfile_release (
  run uuid not null constraint lockfile_release_pkey primary key,
  version text not null constraint lockfile_release_version check (version !~ '^0[.]'),
  state text not null default 'live')";

/// A phase that brings a directory to the input's files.
fn update(name: &str, directory: &str) -> Phase {
    Phase::new(name, "fileset")
        .compensation(Compensation::Restore)
        .with(json!({"root": "projects", "directory": directory, "write_from": "/input/files"}))
}

fn lockfile() -> Result<Definition, redress::definition::Invalid> {
    let record = json!({
        "apply": [{
            "sql": "insert into public.lockfile_release (run, version) values ($1, $2)",
            "params": ["/run/id", "/input/version"], "rows": 1,
        }],
        "guard": [{
            "sql": "select state = 'live' from public.lockfile_release where run = $1 for update",
            "params": ["/run/id"],
        }],
        "revert": [{
            "sql": "update public.lockfile_release set state = 'withdrawn' where run = $1",
            "params": ["/run/id"], "rows": 1,
        }],
    });
    Saga::new("lockfile-embedded", 1)
        .description(
            "Update manifest and lock of a project and its mirror, and record the release.",
        )
        .authority("restore", Authority::Auto)
        .authority("soft_revert", Authority::Auto)
        .phase(update("project", "web"))
        .phase(update("mirror", "mirror"))
        .phase(
            Phase::new("record", "sql")
                .writes(["public.lockfile_release"])
                .residue(["public.lockfile_release"])
                .compensation(Compensation::SoftRevert)
                .with(record),
        )
        .build()
}

fn files(version: &str) -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        ("app.toml", format!("app = \"{version}\"\n")),
        ("app.lock", format!("app {version} locked\n")),
    ])
}

fn input(version: &str) -> Value {
    let files = files(version).into_iter();
    let files: Vec<_> = files
        .map(|(path, content)| json!({"path": path, "content": content}))
        .collect();
    json!({"version": version, "files": files})
}

fn lay(folder: &Path, version: &str) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    for (name, content) in files(version) {
        fs::write(folder.join(name), content)?;
    }
    Ok(())
}
