//! A whole `redress.toml`: what the command goes by, and beside it what this machine allows definitions to reach.
//!
//! ```toml
//! database = "postgres://redress@db.example/redress?sslmode=verify-full"
//! trust = "trust"                     # relative to this file
//! [work]
//! concurrency = 16
//! [command]
//! allow = ["/usr/local/bin/deploy"]   # absolute: what may be run is said whole
//! ```
//!
//! **Invariant:** one file, one shape: whoever embeds the engine reads the same file and is told of the same mistakes.
//!
//! **Not here:** environment and flags, and which of them is stronger (the command).

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::Deserialize;
use serde_json::{Value, json};
use toml::de::{DeTable, DeValue};

use crate::config::{CommandConfig, Config, ConfigError, HttpConfig};
use crate::fileset;
use crate::told::NotifyConfig;

/// Everything that a `redress.toml` may say.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    /// The database, as a URL or as key and value pairs.
    pub database: Option<String>,
    /// The same database without a pooler between: migrations go there, unless `migrate` says otherwise.
    pub direct: Option<String>,
    /// The same database as the role that owns the schema, for `redress db migrate`.
    pub migrate: Option<String>,
    /// The schema of the installation.
    pub schema: Option<String>,
    /// The roles of the parts, where they are called otherwise than after the schema.
    pub roles: RolesConfig,
    /// The folder for snapshots, holds, keys and artefacts.
    pub state_dir: Option<PathBuf>,
    /// The trust file: whose signatures count.
    pub trust: Option<PathBuf>,
    /// Who signs: a key file, or the name of a key in STATE/keys.
    #[serde(rename = "as")]
    pub signer: Option<String>,
    /// The file with the key's passphrase.
    pub passphrase_file: Option<PathBuf>,
    /// When to colour.
    pub color: Option<ColorConfig>,
    /// How `redress work` works.
    pub work: WorkConfig,
    /// How `redress audit seal` seals, and where.
    pub seal: SealConfig,
    /// How `redress rehearse` is bounded.
    pub rehearse: RehearseConfig,
    /// How `redress kill` waits.
    pub kill: KillConfig,
    /// Runbooks of one's own.
    pub runbooks: RunbooksConfig,
    /// Where copies lie of what cannot be made anew, for `redress doctor`.
    pub backup: BackupConfig,
    /// From where on `redress doctor` says that something is wrong.
    pub doctor: DoctorConfig,
    /// What `command` may run.
    pub command: CommandConfig,
    /// What `http` may reach.
    pub http: HttpConfig,
    /// What `fileset` may touch.
    pub fileset: fileset::Config,
    /// Who is told of what happens.
    pub notify: Vec<NotifyConfig>,
}

/// When to colour.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum ColorConfig {
    /// On a terminal, unless the environment says otherwise.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The roles of the parts, where they are called otherwise than after the schema.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct RolesConfig {
    /// Who owns the schema.
    pub owner: Option<String>,
    /// Workers and embedding programs.
    pub engine: Option<String>,
    /// People who recover runs.
    pub operator: Option<String>,
    /// The sealing process.
    pub sealer: Option<String>,
    /// Who only reads.
    pub auditor: Option<String>,
}

/// How `redress work` works.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct WorkConfig {
    /// Runs that are driven at once.
    #[schemars(range(min = 1, max = 512))]
    pub concurrency: Option<u16>,
    /// How long a claim is good without a heartbeat, such as `10s`.
    pub lease: Option<String>,
    /// How long an idle worker waits before it looks for work again, such as `200ms`.
    pub poll: Option<String>,
    /// A program that gets every alert as JSON on its standard input.
    pub alert_command: Option<PathBuf>,
    /// Where figures for Prometheus are served, such as `9464` or `0.0.0.0:9464`.
    pub metrics: Option<String>,
}

/// How `redress audit seal` seals, and where.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct SealConfig {
    /// Where figures for Prometheus are served, such as `9465`.
    pub metrics: Option<String>,
    /// The file of the log's key.
    pub log_key: Option<PathBuf>,
    /// Where the last signed head is remembered, best on another disk.
    pub anchor: Option<PathBuf>,
    /// Where the log is published as static files.
    pub publish: Option<PathBuf>,
    /// Archives that have what left the database.
    pub archives: Vec<PathBuf>,
    /// After so many seconds an unsealed record is too old: `audit window` ends with 3, and `doctor` says so.
    pub window_max: Option<u64>,
}

/// How `redress rehearse` is bounded.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct RehearseConfig {
    /// The most rows of one relation that are compared.
    pub rows_max: Option<u64>,
    /// How long a lock is waited for, in milliseconds.
    #[schemars(range(min = 1, max = 600_000))]
    pub lock_ms: Option<u32>,
}

/// How `redress kill` waits.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct KillConfig {
    /// How long earlier entrants are waited for, such as `10s`.
    pub deadline: Option<String>,
}

/// Runbooks of one's own.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct RunbooksConfig {
    /// The folder that they stand in.
    pub dir: Option<PathBuf>,
}

/// Where copies lie of what cannot be made anew.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct BackupConfig {
    /// A folder with a copy of STATE/keys.
    pub keys: Option<PathBuf>,
    /// A folder with a copy of the anchor.
    pub anchor: Option<PathBuf>,
    /// After so many days a copy of the anchor is too old.
    #[schemars(range(min = 1, max = 3650))]
    pub max_age_days: Option<u32>,
}

/// From where on `redress doctor` says that something is wrong.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct DoctorConfig {
    /// The age of the oldest unfrozen row, in transactions or multixacts; from half of it on it is a warning.
    #[schemars(range(min = 1, max = 2_000_000_000))]
    pub xid_age_max: Option<u64>,
    /// How many seconds a transaction may be open or prepared.
    pub transaction_seconds_max: Option<u64>,
    /// How many MiB of WAL a slot may keep, and a standby may be behind.
    pub retained_wal_mib_max: Option<u64>,
    /// How many MiB must be free on a disk.
    pub disk_free_mib_min: Option<u64>,
    /// How many milliseconds two clocks may differ.
    pub clock_skew_ms_max: Option<u64>,
}

impl File {
    /// Reads the text of a `redress.toml`.
    ///
    /// # Errors
    /// [`ConfigError`], with line and column where the text is at fault.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let file: Self = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            let (line, column) = place(text, at);
            ConfigError::Shape {
                line,
                column,
                message: with_suggestion(error.message()),
            }
        })?;
        file.adapters().check()?;
        Ok(file)
    }

    /// What this machine allows definitions to reach.
    pub fn adapters(&self) -> Config {
        Config {
            command: self.command.clone(),
            http: self.http.clone(),
            fileset: self.fileset.clone(),
            notify: self.notify.clone(),
        }
    }

    /// The JSON Schema of the file, made from the types.
    pub fn json_schema() -> Value {
        let generator = SchemaSettings::draft2020_12().into_generator();
        let mut schema = generator.into_root_schema_for::<Self>().to_value();
        schema["$id"] = json!("https://redress-rs.github.io/schema/redress.toml.schema.json");
        schema["title"] = json!("redress.toml");
        schema
    }
}

/// One value of a file, and where it stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1.
    pub column: u32,
    /// The value; a list has one word for each of its entries.
    pub words: Vec<String>,
}

/// Every value of a file by its dotted key, such as `work.lease` and `notify.0.name`.
///
/// # Errors
/// [`ConfigError::Shape`] when the text is no TOML.
pub fn entries(text: &str) -> Result<BTreeMap<String, Entry>, ConfigError> {
    let table = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let (line, column) = place(text, at);
        ConfigError::Shape {
            line,
            column,
            message: error.message().to_owned(),
        }
    })?;
    let mut found = BTreeMap::new();
    walk(text, "", table.get_ref(), &mut found);
    Ok(found)
}

fn walk(text: &str, above: &str, table: &DeTable<'_>, found: &mut BTreeMap<String, Entry>) {
    for (key, value) in table {
        let name = match above {
            "" => key.get_ref().to_string(),
            above => format!("{above}.{}", key.get_ref()),
        };
        match value.get_ref() {
            DeValue::Table(inner) => walk(text, &name, inner, found),
            DeValue::Array(list) if list.iter().any(|one| one.get_ref().is_table()) => {
                for (at, one) in list.iter().enumerate() {
                    if let DeValue::Table(inner) = one.get_ref() {
                        walk(text, &format!("{name}.{at}"), inner, found);
                    }
                }
            }
            other => {
                let (line, column) = place(text, key.span().start);
                let words = match other {
                    DeValue::Array(list) => list.iter().map(|one| word(one.get_ref())).collect(),
                    one => vec![word(one)],
                };
                let entry = Entry {
                    line,
                    column,
                    words,
                };
                found.insert(name, entry);
            }
        }
    }
}

fn word(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) => number.as_str().replace('_', ""),
        DeValue::Float(number) => number.as_str().to_owned(),
        DeValue::Boolean(yes) => yes.to_string(),
        DeValue::Datetime(at) => at.to_string(),
        DeValue::Array(_) | DeValue::Table(_) => "...".to_owned(),
    }
}

/// Line and column of a byte, both from 1.
fn place(text: &str, at: usize) -> (u32, u32) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |l| l.chars().count()) + 1;
    let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    (small(line), small(column))
}

/// What the reader says of an unknown key, with the nearest of those that it names.
fn with_suggestion(message: &str) -> String {
    let mut words = message.split('`').skip(1).step_by(2);
    let (Some(unknown), true) = (words.next(), message.starts_with("unknown ")) else {
        return message.to_owned();
    };
    let far = (unknown.chars().count() / 3).max(1);
    let near = words
        .map(|known| (strsim::osa_distance(unknown, known), known))
        .filter(|(distance, _)| *distance <= far)
        .min();
    match near {
        Some((_, known)) => format!("{message}; did you mean `{known}`?"),
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_has_its_place_and_the_word_that_was_meant() {
        let check = |text: &str, line: u32, column: u32, says: &[&str]| {
            let error = File::parse(text).unwrap_err();
            let ConfigError::Shape {
                line: l,
                column: c,
                message,
            } = &error
            else {
                panic!("{error}");
            };
            assert_eq!((*l, *c), (line, column), "{error}");
            for word in says {
                assert!(message.contains(word), "{message}");
            }
        };
        check(
            "databse = 'x'",
            1,
            1,
            &["databse", "did you mean `database`"],
        );
        check(
            "\n[work]\nconcurency = 4",
            3,
            1,
            &["did you mean `concurrency`"],
        );
        check("[wrok]", 1, 2, &["did you mean `work`"]);
        check("[work]\nconcurrency = 'four'", 2, 15, &["string", "u16"]);
        check("[work]\nconcurrency = -1", 2, 15, &["-1"]);
        check("color = 'blue'", 1, 9, &["blue", "always"]);
        check("a = \n", 1, 5, &[]);
        check("[command]\nzzzz = 1", 2, 1, &["zzzz", "allow"]);
    }

    #[test]
    fn every_value_is_found_by_its_key_and_line() {
        let text = "database = 'd'\n[work]\nconcurrency = 1_6\n[command]\nallow = ['/a', '/b']\n\
                    [[notify]]\nname = 'n'\ncommand = '/c'\n";
        let found = entries(text).unwrap();
        let check = |key: &str, line: u32, words: &[&str]| {
            let entry = &found[key];
            assert_eq!(entry.line, line, "{key}");
            assert_eq!(entry.words, words, "{key}");
        };
        check("database", 1, &["d"]);
        check("work.concurrency", 3, &["16"]);
        check("command.allow", 5, &["/a", "/b"]);
        check("notify.0.name", 7, &["n"]);
        let file = File::parse(text).unwrap();
        assert_eq!(file.work.concurrency, Some(16));
        assert_eq!(Config::parse(text).unwrap(), file.adapters());
    }

    #[test]
    fn the_schema_of_the_file_knows_every_key_and_no_other() {
        let schema = File::json_schema();
        assert_eq!(schema["additionalProperties"], false);
        for key in ["database", "as", "work", "command", "notify", "backup"] {
            assert!(schema["properties"][key].is_object(), "{key}");
        }
    }
}
