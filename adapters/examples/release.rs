//! The saga of `examples/release`, embedded: a release that ships, goes back to a phase as one, and ships again.
//!
//! ```text
//! DATABASE_URL=postgresql://… cargo run -p redress-adapters --example release
//! ```
//!
//! The database gets the schemas `redress` and `release`, which stay: their steps may be run again. The project is another
//! one at each start.

use std::error::Error;

use redress::definition::{Then, read_yaml};
use redress::view::RewindFilter;
use redress::{Engine, Outcome, Rewind, Rewound, SchemaName};
use serde_json::{Value, json};
use uuid::Uuid;

/// The example's saga, schema and input, as the files have them.
const SAGA: &str = include_str!("../../examples/release/saga.yaml");
const INPUT: &str = include_str!("../../examples/release/input/one.json");
const SCHEMA: [&str; 2] = [
    include_str!("../../examples/release/sql/lifecycle/0001_tables.up.sql"),
    include_str!("../../examples/release/sql/lifecycle/0002_changes.up.sql"),
];

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::var("DATABASE_URL").map_err(|_| "DATABASE_URL names no database")?;
    run(&url).await
}

/// All of it, against the database of this URL.
pub async fn run(url: &str) -> Result<(), Box<dyn Error>> {
    let session = redress::db::connect(&url.parse()?).await?;
    redress::schema::migrate(&session, &SchemaName::default(), "release.example").await?;
    // The second step refuses a database that is further, so the first one is run only where nothing is.
    let there = session.query_one(
        "select to_regclass('release.schema_version') is not null",
        &[],
    );
    let steps = if there.await?.get(0) {
        &SCHEMA[1..]
    } else {
        &SCHEMA[..]
    };
    for step in steps {
        session.batch_execute(step).await?;
    }

    let (saga, _places) = read_yaml(SAGA.as_bytes(), "saga.yaml")?;
    let engine = Engine::builder(redress::db::pool(url, 4)?)
        .adapters(redress_adapters::standard())
        .register(saga)?
        .build()
        .await?;

    let mut input: Value = serde_json::from_str(INPUT)?;
    input["project"] = json!(format!("embedded-{}", Uuid::now_v7()));
    let (started, outcome) = engine
        .start_and_drive(engine.start("release", input))
        .await?;
    let Outcome::Completed(run) = outcome else {
        return Err(format!("it did not ship: {outcome:?}").into());
    };
    println!("run {} {}", run.id, run.state);

    // Four tables and the run's own row move in one transaction, or none does.
    let asked = Rewind {
        to: "execute".parse()?,
        from: Some("ship".parse()?),
        then: Then::Stop,
        reason: "the build was wrong".to_owned(),
    };
    if let Some(plan) = engine.plan_rewind(run.id, &asked).await? {
        let phases = plan.plan.actions.iter().map(|action| action.phase.as_str());
        println!("would undo: {}", phases.collect::<Vec<_>>().join(", "));
    }
    for _ in 0..2 {
        match engine.rewind(run.id, &asked).await? {
            Rewound::Done { row, .. } => println!("rewound: {}", row.state),
            Rewound::Nothing(row) => println!("nothing to do: {}", row.state),
        }
    }
    let live = "select string_agg(phase, ' ' order by created_at) from release.artefact \
                where run = $1 and status = 'live'";
    let row = session.query_one(live, &[&run.id]).await?;
    println!("live artefacts: {}", row.get::<_, &str>(0));

    engine.resume(run.id).await?;
    println!(
        "shipped again: {}",
        engine.drive(started.run).await?.run().state
    );
    let filter = RewindFilter {
        run: Some(run.id),
        ..RewindFilter::default()
    };
    for line in engine.rewinds(&filter).await? {
        let (trigger, status) = (line.trigger.as_str(), line.status.as_str());
        println!("back to {}: {trigger}, {status}, {}", line.to, line.reason);
    }
    Ok(())
}
