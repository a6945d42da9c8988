//! `postings`: the tables of the adapter `postings`, made, taken away, and replayed.

use redress::Engine;
use redress::db::{DbError, Session};
use redress::phase_tx::TxError;
use redress_adapters::postings::replay::{Ledger, Report, is_there, replay, stands};
use redress_adapters::postings::{NAME, PostingsError, Schema};
use serde_json::json;

use crate::commands::look::to_value;
use crate::exit::Exit;
use crate::fail::Fail;
use crate::place::{Place, open};

/// What to do with the tables of postings.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make the tables in a schema of their own
    Up(At),
    /// Take the tables away, with every row in them
    Down {
        /// Where.
        #[command(flatten)]
        at: At,
        /// Say that every row may go
        #[arg(long)]
        yes: bool,
    },
    /// Recompute balances and transactions from the postings, both ways
    Check(At),
    /// Print the script that makes the tables
    Script(At),
}

/// Where.
#[derive(Debug, clap::Args)]
pub struct At {
    /// The schema that has the tables, or is to have them
    #[arg(long = "in", value_name = "SCHEMA", default_value = "postings")]
    pub book: Schema,
}

/// Carries it out.
///
/// # Errors
/// [`Fail`]: what was asked was not done.
pub async fn run(place: &Place, command: &Command) -> Result<Exit, Fail> {
    match command {
        Command::Up(at) => up(place, &at.book).await,
        Command::Down { at, yes } => down(place, &at.book, *yes).await,
        Command::Check(at) => check(place, &at.book).await,
        Command::Script(at) => {
            for script in at.book.up() {
                place.say.data(script.trim_end())?;
            }
            Ok(Exit::Done)
        }
    }
}

async fn up(place: &Place, schema: &Schema) -> Result<Exit, Fail> {
    let session = open(&place.target().await?).await?;
    if stands(&session, schema).await.map_err(refused)? {
        return done(place, schema, "has the tables of postings already");
    }
    run_scripts(&session, &schema.up()).await?;
    done(place, schema, "has the tables of postings")
}

async fn down(place: &Place, schema: &Schema, yes: bool) -> Result<Exit, Fail> {
    if !yes {
        let text = format!("every row in schema {schema} would be gone: say so with --yes");
        return Err(Fail::own("RD0913", text));
    }
    let session = open(&place.target().await?).await?;
    if !is_there(&session, schema).await.map_err(refused)? {
        return done(place, schema, "has no tables of postings");
    }
    run_scripts(&session, &schema.down()).await?;
    done(place, schema, "is gone")
}

fn done(place: &Place, schema: &Schema, what: &str) -> Result<Exit, Fail> {
    if place.say.is_json() {
        place
            .say
            .value(&json!({"schema": 1, "postings": schema.as_str(), "errors": []}))?;
    } else {
        place.say.line(&format!("schema {schema} {what}"))?;
    }
    Ok(Exit::Done)
}

/// All or nothing: each script is one transaction.
async fn run_scripts(session: &Session, scripts: &[String]) -> Result<(), Fail> {
    for script in scripts {
        let ran = async {
            session.batch_execute("begin").await?;
            session.batch_execute(script).await?;
            session.batch_execute("commit").await
        };
        if let Err(error) = ran.await {
            // The session ends with this command, and with it what it had begun.
            return Err(redress::Error::from(DbError::from(error)).into());
        }
    }
    Ok(())
}

async fn check(place: &Place, schema: &Schema) -> Result<Exit, Fail> {
    let ledger = Ledger::read(&place.engine().await?).await?;
    let session = open(&place.target().await?).await?;
    let report = replay(&session, schema, &ledger).await.map_err(refused)?;
    let exit = if report.ok {
        Exit::Done
    } else {
        Exit::Verification
    };
    if place.say.is_json() {
        let mut value = to_value(&report)?;
        value["postings_in"] = value["schema"].take();
        value["schema"] = json!(1);
        value["errors"] = value["findings"].clone();
        place.say.value(&value)?;
    } else {
        print(place, &report)?;
    }
    Ok(exit)
}

/// Prints what a replay found.
///
/// # Errors
/// [`Fail`] when the output is closed.
pub fn print(place: &Place, report: &Report) -> Result<(), Fail> {
    for finding in &report.findings {
        place.say.line(&format!(
            "{} {}: {}",
            finding.code, finding.what, finding.message
        ))?;
    }
    if report.ok {
        place.say.line(&format!(
            "balances and postings in {} agree: {} transactions, {} postings",
            report.schema, report.transactions, report.postings
        ))?;
    }
    if !report.legacy_records.is_empty() {
        place.say.notice(&format!(
            "{} records are of an older format and captured no postings",
            report.legacy_records.len()
        ));
    }
    if !report.legacy.is_empty() {
        place.say.notice(&format!(
            "{} transactions are of an older format: they can be reversed by a receipt only",
            report.legacy.len()
        ));
    }
    Ok(())
}

/// Replays the postings of every schema that the ledger is about; what `redress check` adds to its findings.
///
/// # Errors
/// [`Fail`] when they cannot be read.
pub async fn replay_all(place: &Place, engine: &Engine) -> Result<Vec<Report>, Fail> {
    let mut used = false;
    for saga in engine.sagas().await? {
        let (definition, _) = engine.definition(&saga.saga, Some(saga.version)).await?;
        let names = definition.phases.iter().map(|phase| phase.adapter.as_str());
        used = used || names.into_iter().any(|name| name == NAME);
    }
    // Reading the whole ledger once more is for those who have postings.
    if !used {
        return Ok(Vec::new());
    }
    let ledger = Ledger::read(engine).await?;
    let schemas = ledger.schemas();
    let mut reports = Vec::with_capacity(schemas.len());
    if schemas.is_empty() {
        return Ok(reports);
    }
    let session = open(&place.target().await?).await?;
    for schema in &schemas {
        if is_there(&session, schema).await.map_err(refused)? {
            reports.push(replay(&session, schema, &ledger).await.map_err(refused)?);
        } else {
            place.say.notice(&format!(
                "the tables of postings in schema {schema} are gone"
            ));
        }
    }
    Ok(reports)
}

fn refused(error: PostingsError) -> Fail {
    match error {
        PostingsError::Statement {
            source: TxError::Db(error),
            ..
        } => redress::Error::from(error).into(),
        PostingsError::Statement { source, .. } => {
            redress::Error::Adapter(redress::adapter::AdapterError::from(source)).into()
        }
        other => Fail::own(other.code(), other.to_string()),
    }
}
