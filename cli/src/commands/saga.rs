//! `saga`: files are judged with every finding and its place; what is registered is listed and shown.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redress::adapter::Finding;
use redress::definition::yaml::YAML_BYTES_MAX;
use redress::definition::{Definition, DefinitionError, SourceMap, load_yaml};
use redress::external::{self, ExternalAdapter};
use redress::{Engine, Error};
use redress_adapters::Config;
use redress_ledger::Hash;
use serde_json::json;

use crate::cluster::{self, Status};
use crate::commands::grants::grants;
use crate::commands::look::to_value;
use crate::exit::Exit;
use crate::fail::{Fail, Located};
use crate::place::Place;
use crate::read::read_bounded;
use crate::say::spread;
use crate::text::plain;

/// What to do with sagas.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Judge a saga file; against the database too, when one can be reached
    Check {
        /// The saga file
        file: PathBuf,
    },
    /// Register a saga file; one that stands already is left as it is
    Register {
        /// The saga file
        file: PathBuf,
    },
    /// List what is registered
    List,
    /// Print the SQL that gives each phase's role what its statements need, and nothing else
    Grants {
        /// Its name
        name: String,
    },
    /// Show a registered saga
    Show {
        /// Its name
        name: String,
    },
}

/// Carries it out.
///
/// # Errors
/// [`Fail`]: what was asked was not done.
pub async fn run(place: &Place, command: &Command) -> Result<Exit, Fail> {
    match command {
        Command::Check { file } => check(place, file).await,
        Command::Register { file } => register(place, file).await,
        Command::List => list(place).await,
        Command::Grants { name } => grants(place, name).await,
        Command::Show { name } => show(place, name).await,
    }
}

/// A saga file that was read and judged without a database.
pub struct SagaFile {
    /// The definition.
    pub definition: Definition,
    map: SourceMap,
}

impl SagaFile {
    /// Reads a saga file.
    ///
    /// # Errors
    /// RD0910 when it cannot be read; [`Fail::Saga`] with every finding.
    pub fn read(path: &Path) -> Result<Self, Fail> {
        let bytes = read_bounded(path, YAML_BYTES_MAX + 1).map_err(|error| {
            Fail::own(
                "RD0910",
                format!("cannot read the saga file: {error}, {}", path.display()),
            )
        })?;
        let known: BTreeSet<String> = redress_adapters::names().collect();
        let (definition, map) = load_yaml(&bytes, &path.display().to_string(), Some(&known))
            .map_err(|errors| Fail::Saga(errors.into_iter().map(Located::from).collect()))?;
        Ok(Self { definition, map })
    }

    /// Judges what needs no database: phases that act outside it, against this machine's configuration.
    ///
    /// # Errors
    /// [`Fail::Saga`] with every finding.
    pub fn judge_outside(&self, config: &Config) -> Result<(), Fail> {
        let adapters = redress_adapters::external(config);
        let judged = self.definition.phases.iter().enumerate();
        let findings: Vec<Finding> = judged
            .filter_map(|(index, phase)| {
                let of_phase = |a: &&Arc<dyn ExternalAdapter>| a.name() == phase.adapter.as_str();
                let adapter = adapters.iter().find(of_phase)?;
                Some(external::judge(index, phase, adapter.as_ref()))
            })
            .flatten()
            .collect();
        match findings.is_empty() {
            true => Ok(()),
            false => Err(self.refused(&findings)),
        }
    }

    /// Judges it with adapters and database.
    ///
    /// # Errors
    /// [`Fail::Saga`] with every finding.
    pub async fn judge(&self, engine: &Engine) -> Result<(), Fail> {
        let findings = engine.check_definition(&self.definition).await?;
        if findings.is_empty() {
            Ok(())
        } else {
            Err(self.refused(&findings))
        }
    }

    /// Registers it.
    ///
    /// # Errors
    /// [`Fail::Saga`] with every finding; [`Fail::Engine`].
    pub async fn register(&self, engine: &Engine) -> Result<Hash, Fail> {
        engine
            .register(&self.definition)
            .await
            .map_err(|error| match error {
                Error::Definition(findings) => self.refused(&findings),
                other => other.into(),
            })
    }

    /// Rehearses it without registering it.
    ///
    /// # Errors
    /// [`Fail::Saga`] with every finding; [`Fail::Engine`].
    pub async fn rehearse(
        &self,
        engine: &Engine,
        input: &serde_json::Value,
        options: redress::rehearse::Options,
    ) -> Result<redress::rehearse::Rehearsal, Fail> {
        let rehearsed = engine.rehearse(&self.definition, input, options).await;
        rehearsed.map_err(|error| match error {
            Error::Definition(findings) => self.refused(&findings),
            other => other.into(),
        })
    }

    fn refused(&self, findings: &[Finding]) -> Fail {
        let mut located: Vec<Located> = findings
            .iter()
            .map(|finding| self.locate(finding))
            .collect();
        located.sort_by_key(|one| (one.line, one.column));
        Fail::Saga(located)
    }

    fn locate(&self, finding: &Finding) -> Located {
        let at = self.map.locate(&finding.path);
        Located {
            place: format!("{}:{}:{}", self.map.file(), at.line, at.column),
            line: at.line,
            column: at.column,
            ..Located::nowhere(finding)
        }
    }

    /// Its digest.
    ///
    /// # Errors
    /// [`Fail::Saga`] when it has no canonical form.
    pub fn digest(&self) -> Result<Hash, Fail> {
        self.definition.digest().map_err(|problem| {
            let error: DefinitionError = self
                .map
                .place(redress::definition::Finding::new("", problem));
            Fail::Saga(vec![error.into()])
        })
    }
}

async fn check(place: &Place, file: &Path) -> Result<Exit, Fail> {
    let saga = SagaFile::read(file)?;
    let digest = saga.digest()?;
    saga.judge_outside(&place.config())?;
    // A check changes nothing: a private server that does not run is not brought up for it.
    let at_hand = place.given_url().is_some()
        || matches!(
            cluster::status(&place.cluster_dir()?)?,
            Status::Running { ready: true, .. }
        );
    let database = if at_hand {
        match place.engine().await {
            Ok(engine) => {
                saga.judge(&engine).await?;
                true
            }
            Err(fail) if fail.exit() == Exit::Unreachable => {
                place
                    .say
                    .notice(&format!("judged without the database: {fail}"));
                false
            }
            Err(fail) => return Err(fail),
        }
    } else {
        place
            .say
            .notice("judged without a database: none is given and the private one does not run");
        false
    };
    let (name, version) = (&saga.definition.saga, saga.definition.version);
    if place.say.is_json() {
        place.say.value(&json!({
            "schema": 1,
            "saga": name,
            "version": version,
            "digest": digest,
            "database": database,
            "errors": [],
        }))?;
    } else {
        place.say.line(&format!(
            "{name} version {version} is sound, digest {digest}"
        ))?;
    }
    Ok(Exit::Done)
}

async fn register(place: &Place, file: &Path) -> Result<Exit, Fail> {
    let saga = SagaFile::read(file)?;
    let engine = place.engine().await?;
    let digest = saga.register(&engine).await?;
    let (name, version) = (&saga.definition.saga, saga.definition.version);
    if place.say.is_json() {
        place.say.value(&json!({
            "schema": 1,
            "saga": name,
            "version": version,
            "digest": digest,
            "errors": [],
        }))?;
    } else {
        place.say.line(&format!(
            "{name} version {version} is registered, digest {digest}"
        ))?;
    }
    Ok(Exit::Done)
}

async fn list(place: &Place) -> Result<Exit, Fail> {
    let engine = place.engine().await?;
    let sagas = engine.sagas().await?;
    if place.say.is_json() {
        place
            .say
            .value(&json!({"schema": 1, "sagas": sagas, "errors": []}))?;
    } else if sagas.is_empty() {
        place
            .say
            .notice("nothing is registered; `redress saga register FILE` does it");
    } else {
        let rows: Vec<Vec<String>> = sagas
            .iter()
            .map(|saga| {
                let digest = saga.digest.to_string();
                vec![
                    saga.saga.clone(),
                    saga.version.to_string(),
                    saga.active.to_string(),
                    digest[..12].to_owned(),
                ]
            })
            .collect();
        place
            .say
            .table(&["saga", "version", "active", "digest"], &[0], &rows)?;
    }
    Ok(Exit::Done)
}

async fn show(place: &Place, name: &str) -> Result<Exit, Fail> {
    let engine = place.engine().await?;
    let (definition, digest) = engine.definition(name, None).await?;
    if place.say.is_json() {
        place.say.value(&json!({
            "schema": 1,
            "digest": digest,
            "definition": to_value(&definition)?,
            "errors": [],
        }))?;
        return Ok(Exit::Done);
    }
    let say = &place.say;
    say.line(&format!(
        "saga     {} version {}",
        definition.saga, definition.version
    ))?;
    say.line(&format!("digest   {digest}"))?;
    if !definition.description.is_empty() {
        say.line(&format!("what     {}", plain(&definition.description)))?;
    }
    let hold = definition.on_unrecovered.hold.as_str();
    let kill = if definition.on_unrecovered.kill {
        " and kill"
    } else {
        ""
    };
    say.line(&format!("failure  hold on {hold}{kill}"))?;
    let rows: Vec<Vec<String>> = definition
        .order()
        .into_iter()
        .map(|index| &definition.phases[index])
        .flat_map(|phase| {
            spread(
                &[
                    phase.name.as_str(),
                    phase.adapter.as_str(),
                    phase.compensation.as_str(),
                ],
                &phase.writes,
            )
        })
        .collect();
    say.table(&["phase", "adapter", "way back", "writes"], &[0], &rows)?;
    Ok(Exit::Done)
}
