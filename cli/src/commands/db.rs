//! `db`: the private server, and the schema of any database.

use redress::schema::{self, SCHEMA_VERSION, SchemaError};
use serde_json::json;

use crate::cluster::{self, Options, PrivateCluster, Status, Stop};
use crate::commands::{query, roles};
use crate::exit::Exit;
use crate::fail::Fail;
use crate::place::{Place, default_origin, open, private_target, redress_sql, url_of};

/// What to do with a database.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Bring the private server up, with our schema in it, and print its URL
    Up,
    /// Stop the private server; its data stays
    Down,
    /// Remove the private server with all that is in it; no other database is touched
    Remove {
        /// Say that everything in it may go
        #[arg(long)]
        yes: bool,
    },
    /// Say which database would be used, and what stands there
    Status,
    /// Install or upgrade the schema in the database of --database
    Migrate {
        /// The name of a new ledger [default: redress.local/AN-ID]
        #[arg(long, value_name = "NAME")]
        origin: Option<String>,
    },
    /// Print what an administrator runs first where the installer may make no roles, and what each role is for
    Roles,
    /// Send your own statements and print what they give: one transaction, all of it or nothing
    Sql {
        /// The statements: a text, @FILE, or @- for standard input
        #[arg(value_name = "SQL|@FILE")]
        statements: String,
        /// Only the cells, separated by tabs: for scripts
        #[arg(long)]
        bare: bool,
    },
}

/// Carries it out.
///
/// # Errors
/// [`Fail`]: what was asked was not done.
pub async fn run(place: &Place, command: &Command) -> Result<Exit, Fail> {
    match command {
        Command::Up => up(place).await,
        Command::Down => down(place),
        Command::Remove { yes } => remove(place, *yes),
        Command::Status => status(place).await,
        Command::Migrate { origin } => migrate(place, origin.as_deref()).await,
        Command::Roles => roles::roles(place),
        Command::Sql { statements, bare } => query::query(place, statements, *bare).await,
    }
}

async fn up(place: &Place) -> Result<Exit, Fail> {
    let url = place.private_up().await?;
    // A schema that is newer or of another text is told here and not by the next command.
    let session = open(&private_target(&url)?).await?;
    let sql = redress_sql(&place.globals.schema);
    schema::inspect(&session, &sql)
        .await
        .map_err(redress::Error::from)?;
    if place.say.is_json() {
        place
            .say
            .value(&json!({"schema": 1, "url": url, "errors": []}))?;
    } else {
        place.say.data(&url)?;
    }
    Ok(Exit::Done)
}

fn down(place: &Place) -> Result<Exit, Fail> {
    let ran = cluster::down(&place.cluster_dir()?)?;
    if place.say.is_json() {
        place
            .say
            .value(&json!({"schema": 1, "stopped": ran, "errors": []}))?;
    } else {
        place.say.notice(if ran {
            "the private server is stopped"
        } else {
            "no private server was running"
        });
    }
    Ok(Exit::Done)
}

fn remove(place: &Place, yes: bool) -> Result<Exit, Fail> {
    let dir = place.cluster_dir()?;
    let was = !matches!(cluster::status(&dir)?, Status::Missing);
    if was && !yes {
        let text = "every row in the private server would be gone: say so with --yes";
        return Err(Fail::own("RD0913", text));
    }
    cluster::remove(&dir, Stop::Fast)?;
    if place.say.is_json() {
        place
            .say
            .value(&json!({"schema": 1, "removed": was, "errors": []}))?;
    } else {
        place.say.notice(if was {
            "the private server is gone"
        } else {
            "there is no private server"
        });
    }
    Ok(Exit::Done)
}

async fn status(place: &Place) -> Result<Exit, Fail> {
    let given = place.given()?;
    let dir = place.cluster_dir()?;
    let (server, target) = match given {
        Some(target) => ("given".to_owned(), Some(target)),
        None => match cluster::status(&dir)? {
            Status::Missing => ("no private server yet".to_owned(), None),
            Status::Stopped { data } => (
                format!("private, stopped, data in {}", data.display()),
                None,
            ),
            Status::Leaving { pids } => (format!("private, ending, processes {pids:?}"), None),
            Status::Running { pid, data, .. } => {
                let running = format!("private, process {pid}, data in {}", data.display());
                // Opened and not settled: a look changes nothing.
                let private = PrivateCluster::open(&dir, &Options::default())?;
                (running, Some(private_target(&url_of(&private))?))
            }
        },
    };
    let Some(target) = target else {
        if place.say.is_json() {
            place
                .say
                .value(&json!({"schema": 1, "server": server, "url": null, "errors": []}))?;
        } else {
            place.say.line(&server)?;
            place.say.notice("`redress db up` brings it up");
        }
        return Ok(Exit::Unreachable);
    };
    let sql = redress_sql(&place.globals.schema);
    let looked = async {
        let session = open(&target).await?;
        let found = schema::inspect(&session, &sql).await;
        Ok::<_, Fail>(found.map_err(redress::Error::from)?)
    };
    let found = looked.await.inspect_err(|_| {
        place.say.notice(&format!("the URL is {target}"));
    })?;
    if place.say.is_json() {
        place.say.value(&json!({
            "schema": 1,
            "server": server,
            "url": target.to_string(),
            "installation": {
                "name": place.globals.schema.as_str(),
                "version": SCHEMA_VERSION,
                "origin": found.origin,
                "generation": found.generation,
                "system_identifier": found.system_identifier,
            },
            "errors": [],
        }))?;
    } else {
        place.say.line(&format!("server      {server}"))?;
        place.say.line(&format!("url         {target}"))?;
        place.say.line(&format!(
            "schema      {} version {SCHEMA_VERSION}",
            place.globals.schema.as_str()
        ))?;
        place.say.line(&format!("origin      {}", found.origin))?;
        place
            .say
            .line(&format!("generation  {}", found.generation))?;
    }
    Ok(Exit::Done)
}

async fn migrate(place: &Place, origin: Option<&str>) -> Result<Exit, Fail> {
    let told = |error: SchemaError| Fail::from(redress::Error::from(error));
    if let Some(origin) = origin {
        schema::check_origin(origin).map_err(told)?;
    }
    let session = open(&place.migration_target(origin).await?).await?;
    if let Some(asked) = origin {
        let stands = schema::origin_of(&session, &place.globals.schema).await;
        named_so(stands.map_err(told)?.as_deref(), asked)?;
    }
    let asked = origin;
    let origin = origin.map_or_else(default_origin, str::to_owned);
    let migrating = place.migrate(&session, &origin);
    let done = place.say.while_doing("migrating", migrating).await?;
    let sql = redress_sql(&place.globals.schema);
    let found = schema::inspect(&session, &sql)
        .await
        .map_err(redress::Error::from)?;
    if let Some(asked) = asked {
        // Somebody else may have installed it in this moment.
        named_so(Some(&found.origin), asked)?;
    }
    if place.say.is_json() {
        place.say.value(&json!({
            "schema": 1,
            "applied": done,
            "version": SCHEMA_VERSION,
            "origin": found.origin,
            "errors": [],
        }))?;
    } else if done.is_empty() {
        place.say.line(&format!(
            "nothing to do: version {SCHEMA_VERSION}, origin {}",
            found.origin
        ))?;
    } else {
        let numbers: Vec<String> = done.iter().map(ToString::to_string).collect();
        let text = format!(
            "applied {}: version {SCHEMA_VERSION}, origin {}",
            numbers.join(", "),
            found.origin
        );
        place.say.line(&text)?;
    }
    Ok(Exit::Done)
}

/// Refuses another name than the ledger has.
fn named_so(stands: Option<&str>, asked: &str) -> Result<(), Fail> {
    match stands {
        Some(stands) if stands != asked => Err(redress::Error::from(SchemaError::OtherOrigin {
            stands: stands.to_owned(),
            asked: asked.to_owned(),
        })
        .into()),
        _ => Ok(()),
    }
}

/// The URL with its passwords masked; nothing of one that cannot be read.
pub(crate) fn without_password(url: &str) -> String {
    redress::db::masked(url).unwrap_or_else(|_| "(cannot be read)".to_owned())
}
