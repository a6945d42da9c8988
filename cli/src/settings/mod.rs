//! Standing settings: one value in force for each, from a flag, the environment, a file, or none of them.
//!
//! ```text
//! flag > variable > redress.toml > default
//! --config > REDRESS_CONFIG > STATE/redress.toml > /etc/redress/redress.toml: one file, the first that is there
//! ```
//!
//! **Invariant:** a command sees one value, whichever place it came from; it never looks at a variable or a file itself.
//!
//! **Invariant:** no file is taken from the current folder. It lists programs that may be run and a database that is
//! written to; whoever steps into a folder has not agreed to what lies there.
//!
//! **Invariant:** a file that anybody may write, that is not understood, or that names what is no setting, is refused
//! as a whole, with its place.

pub mod list;
mod load;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::ArgMatches;
use clap::parser::ValueSource;
use redress::{Part, SchemaName};
use redress_adapters::Config;
use redress_adapters::file::File;

use crate::args::{EMPTY_URL, Globals};
use crate::fail::Fail;
use crate::settings::list::{CONFIG, Kind, OTHER_VARIABLES, SETTINGS, Setting, by_key};

pub use load::Loaded;

/// Where a value comes from; a later one is stronger.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Source {
    /// Nobody said anything.
    Default,
    /// The file, by its line.
    File(u32),
    /// A variable.
    Variable(&'static str),
    /// A flag of this command line.
    Flag,
}

/// A value in force.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct InForce {
    /// The value; a list has one word for each of its entries.
    pub words: Vec<String>,
    /// Where it comes from.
    pub source: Source,
}

/// What is in force.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The file that is read, if one is.
    pub file: Option<Loaded>,
    values: Vec<(&'static str, InForce)>,
    unknown: Vec<String>,
}

impl Settings {
    /// Finds what is in force: the flags of a command line, the environment, and the file.
    ///
    /// # Errors
    /// RD0927 naming file, line and column, or the variable.
    pub fn gather(
        matches: &ArgMatches,
        globals: &Globals,
        environment: &[(String, String)],
    ) -> Result<Self, Fail> {
        let config = match flag(matches, &CONFIG) {
            true => globals.config.clone(),
            false => variable(environment, &CONFIG).map(|(_, text)| PathBuf::from(text)),
        };
        let state = match &globals.state_dir {
            Some(state) => Some(state.clone()),
            None => by_key("state_dir")
                .and_then(|setting| variable(environment, setting))
                .map(|(_, text)| PathBuf::from(text))
                .or_else(crate::place::default_state),
        };
        no_empty_database(matches, environment)?;
        let file = load::load(config.as_deref(), state.as_deref())?;
        let mut values = Vec::new();
        for setting in SETTINGS {
            if let Some(value) = one(setting, matches, globals, environment, file.as_ref())? {
                values.push((setting.key, value));
            }
        }
        if let Some(path) = config {
            let source = match flag(matches, &CONFIG) {
                true => Source::Flag,
                false => Source::Variable(CONFIG.variable),
            };
            let words = vec![path.display().to_string()];
            values.push((CONFIG.key, InForce { words, source }));
        }
        Ok(Self {
            file,
            values,
            unknown: unknown(environment),
        })
    }

    /// What is in force for a key; nothing where the default is.
    pub fn get(&self, key: &str) -> Option<&InForce> {
        let mut values = self.values.iter();
        values
            .find(|(name, _)| *name == key)
            .map(|(_, value)| value)
    }

    /// The value of a key that has one word.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.get(key)?.words.first().map(String::as_str)
    }

    /// The path of a key.
    pub fn path(&self, key: &str) -> Option<PathBuf> {
        self.text(key).map(PathBuf::from)
    }

    /// The number of a key, or its default.
    pub fn number(&self, key: &str) -> u64 {
        let default = by_key(key).map_or("", |setting| setting.default);
        let text = self.text(key).unwrap_or(default);
        text.parse().unwrap_or_default()
    }

    /// A second URL of the same database, unless `database` comes from a stronger place: then another one is meant.
    pub fn url_beside(&self, key: &str) -> Option<&str> {
        let strength = |key: &str| self.get(key).map_or(0, |value| value.source.strength());
        if strength(key) >= strength("database") {
            self.text(key)
        } else {
            None
        }
    }

    /// A schema with the names of its parts' roles.
    ///
    /// # Errors
    /// RD0927 when two parts would have one role.
    pub fn named(&self, schema: SchemaName) -> Result<SchemaName, Fail> {
        Part::ALL.into_iter().try_fold(schema, |schema, part| {
            let key = format!("roles.{}", part.as_str());
            match self.text(&key) {
                Some(role) => schema
                    .with_role(part, role)
                    .map_err(|why| Fail::own("RD0927", format!("{key}: {why}"))),
                None => Ok(schema),
            }
        })
    }

    /// What this machine allows definitions to reach.
    pub fn adapters(&self) -> Config {
        let file = self.file.as_ref();
        file.map(|loaded| loaded.file.adapters())
            .unwrap_or_default()
    }

    /// What a person should hear once: variables that nothing reads, a password that others can read.
    pub fn warnings(&self) -> Vec<String> {
        let file = self.file.iter().flat_map(|file| file.warnings.iter());
        self.unknown.iter().chain(file).cloned().collect()
    }

    /// The command line with these settings as the defaults of its flags.
    pub fn onto(&self, mut command: clap::Command) -> clap::Command {
        for setting in SETTINGS.iter().chain([&CONFIG]) {
            let Some(value) = self.get(setting.key) else {
                continue;
            };
            if value.source == Source::Flag {
                continue;
            }
            for (words, id) in setting.flags {
                command = with_default(command, words, id, &value.words);
            }
        }
        command
    }
}

impl Source {
    fn strength(&self) -> u8 {
        match self {
            Self::Default => 0,
            Self::File(_) => 1,
            Self::Variable(_) => 2,
            Self::Flag => 3,
        }
    }
}

/// The whole environment as text; what is no text is no setting of ours.
pub fn environment() -> Vec<(String, String)> {
    let text = |word: OsString| word.into_string().ok();
    std::env::vars_os()
        .filter_map(|(name, value)| Some((text(name)?, text(value)?)))
        .collect()
}

fn with_default(
    command: clap::Command,
    words: &[&str],
    id: &'static str,
    values: &[String],
) -> clap::Command {
    match words.split_first() {
        Some((first, rest)) => {
            let first = (*first).to_owned();
            command.mut_subcommand(first, |inner| with_default(inner, rest, id, values))
        }
        None => command.mut_arg(id, |arg| {
            arg.default_values(values.iter().cloned().map(clap::builder::OsStr::from))
        }),
    }
}

fn one(
    setting: &'static Setting,
    matches: &ArgMatches,
    globals: &Globals,
    environment: &[(String, String)],
    file: Option<&Loaded>,
) -> Result<Option<InForce>, Fail> {
    if flag(matches, setting) {
        let words = vec![of_globals(globals, setting.key)];
        let source = Source::Flag;
        return Ok(Some(InForce { words, source }));
    }
    if let Some((name, text)) = variable(environment, setting) {
        let words: Vec<String> = match setting.kind {
            Kind::Paths => text.split(':').map(str::to_owned).collect(),
            _ => vec![text.to_owned()],
        };
        for word in &words {
            setting
                .kind
                .judge(word)
                .map_err(|why| Fail::own("RD0927", format!("{name}: {why}")))?;
        }
        let source = Source::Variable(name);
        return Ok(Some(InForce { words, source }));
    }
    match file {
        Some(file) => file.value(setting),
        None => Ok(None),
    }
}

/// Whether a setting's flag, one of every command, stands on this command line.
fn flag(matches: &ArgMatches, setting: &Setting) -> bool {
    let everywhere = |(words, id): &&(&[&str], &str)| words.is_empty() && !id.is_empty();
    let id = setting.flags.iter().find(everywhere).map(|(_, id)| *id);
    id.is_some_and(|id| matches.value_source(id) == Some(ValueSource::CommandLine))
}

/// An empty variable is not set, except the database's: whoever filled it from something that was missing means no
/// private server.
fn no_empty_database(matches: &ArgMatches, environment: &[(String, String)]) -> Result<(), Fail> {
    if by_key("database").is_some_and(|setting| flag(matches, setting)) {
        return Ok(());
    }
    for name in ["REDRESS_DATABASE_URL", "DATABASE_URL"] {
        match environment.iter().find(|(key, _)| key == name) {
            Some((_, text)) if text.trim().is_empty() => {
                return Err(Fail::own("RD0927", format!("{name}: {EMPTY_URL}")));
            }
            Some(_) => return Ok(()),
            None => {}
        }
    }
    Ok(())
}

/// A setting's variable, and what stands there; an empty one is not set.
fn variable<'e>(
    environment: &'e [(String, String)],
    setting: &Setting,
) -> Option<(&'static str, &'e str)> {
    let names = match setting.key {
        "database" => &[setting.variable, "DATABASE_URL"][..],
        _ => &[setting.variable][..],
    };
    names.iter().find_map(|name| {
        let mut found = environment.iter();
        let (_, text) = found.find(|(key, text)| key == name && !text.trim().is_empty())?;
        Some((*name, text.as_str()))
    })
}

fn of_globals(globals: &Globals, key: &str) -> String {
    let path = |path: &Option<PathBuf>| path.as_deref().map(|p: &Path| p.display().to_string());
    let text = match key {
        "database" => globals.database.clone(),
        "schema" => Some(globals.schema.as_str().to_owned()),
        "state_dir" => path(&globals.state_dir),
        "trust" => path(&globals.trust),
        "as" => globals.signer.clone(),
        "passphrase_file" => path(&globals.passphrase_file),
        "color" => Some(format!("{:?}", globals.color).to_lowercase()),
        _ => None,
    };
    text.unwrap_or_default()
}

/// Variables that look like ours and that nothing reads, each with the one that may have been meant.
fn unknown(environment: &[(String, String)]) -> Vec<String> {
    let settings = SETTINGS.iter().chain([&CONFIG]).map(|one| one.variable);
    let known: Vec<&str> = settings.chain(OTHER_VARIABLES.iter().copied()).collect();
    let names = environment.iter().map(|(name, _)| name.as_str());
    let strange = names.filter(|name| {
        let ours = name.starts_with("REDRESS_");
        ours && !known.contains(name) && !is_internal(name)
    });
    let told = strange.map(|name| {
        let near = redress_runbooks::text::nearest(name, known.iter().copied());
        let meant = near.map_or_else(String::new, |near| format!("; did you mean {near}?"));
        format!("nothing reads the variable {name}{meant} (`redress config` lists all)")
    });
    told.collect()
}

/// Variables of tests, and those that a program gets from the adapter `command`.
fn is_internal(name: &str) -> bool {
    INTERNAL.contains(&name) || name.starts_with("REDRESS_TEST_")
}

const INTERNAL: &[&str] = &[
    "REDRESS_BENCH_CPU",
    "REDRESS_BIN",
    "REDRESS_COMPLETE",
    "REDRESS_CRASH",
    "REDRESS_CRASH_STOP",
    "REDRESS_FAULT",
    "REDRESS_KEY",
    "REDRESS_LONG",
    "REDRESS_PYTHON",
    "REDRESS_SEED",
    "REDRESS_UNDO_KEY",
    "REDRESS_WRITE",
    "REDRESS_WRITE_SCHEMA",
];

/// Every variable that a setting may come from; whoever works apart from this machine's settings unsets them.
pub fn variables() -> Vec<&'static str> {
    let settings = SETTINGS.iter().chain([&CONFIG]).map(|one| one.variable);
    settings.chain(["DATABASE_URL"]).collect()
}

/// Judges a file alone: its shape, and every value of it as whoever uses it would.
///
/// # Errors
/// RD0927 with line and column; RD0910 and RD0911 when it cannot be read.
pub fn check(path: &Path) -> Result<File, Fail> {
    let loaded = load::read(path)?;
    for setting in SETTINGS {
        loaded.value(setting)?;
        if setting.kind == Kind::Url {
            loaded.judged_url(setting)?;
        }
    }
    Ok(loaded.file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Cli;

    fn gathered(words: &[&str], variables: &[(&str, &str)]) -> Result<Settings, Fail> {
        use clap::FromArgMatches;
        let words = [&["redress"], words].concat();
        let matches = crate::command_line().get_matches_from(words);
        let cli = Cli::from_arg_matches(&matches).unwrap();
        let owned = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
        let variables: Vec<(String, String)> = variables.iter().map(owned).collect();
        Settings::gather(&matches, &cli.globals, &variables)
    }

    #[test]
    fn a_flag_wins_over_a_variable_and_a_variable_over_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("redress.toml");
        std::fs::write(
            &file,
            "schema = 'of_file'\ntrust = 'roots'\n[work]\nlease = '7s'\n",
        )
        .unwrap();
        let file = file.display().to_string();
        let check = |words: &[&str], variables: &[(&str, &str)], text: &str, source: Source| {
            let words = [&["--config", &file], words].concat();
            let settings = gathered(&words, variables).unwrap();
            let found = settings.get("schema").unwrap();
            assert_eq!((found.words[0].as_str(), &found.source), (text, &source));
            let trust = settings.path("trust").unwrap();
            assert_eq!(trust, dir.path().join("roots"), "relative to the file");
        };
        let of_variable = [("REDRESS_SCHEMA", "of_variable")];
        check(&["status"], &[], "of_file", Source::File(1));
        let source = Source::Variable("REDRESS_SCHEMA");
        check(&["status"], &of_variable, "of_variable", source);
        check(
            &["status"],
            &[("REDRESS_SCHEMA", "")],
            "of_file",
            Source::File(1),
        );
        let words = ["status", "--schema", "of_flag"];
        check(&words, &of_variable, "of_flag", Source::Flag);
    }

    #[test]
    fn a_second_url_is_left_out_when_the_database_comes_from_a_stronger_place() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("redress.toml");
        std::fs::write(
            &file,
            "database = 'postgres://a/b'\nmigrate = 'postgres://o@a/b'\n",
        )
        .unwrap();
        let file = file.display().to_string();
        let words = ["--config", &file, "status"];
        let settings = gathered(&words, &[]).unwrap();
        assert_eq!(settings.url_beside("migrate"), Some("postgres://o@a/b"));
        let other = [("DATABASE_URL", "postgres://other/x")];
        let settings = gathered(&words, &other).unwrap();
        assert_eq!(settings.url_beside("migrate"), None);
        assert_eq!(settings.text("database"), Some("postgres://other/x"));
    }

    #[test]
    fn what_is_no_setting_is_refused_or_told() {
        let check = |variables: &[(&str, &str)], says: &str| {
            let error = gathered(&["status"], variables).unwrap_err();
            assert_eq!(error.code(), "RD0927");
            assert!(error.to_string().contains(says), "{error}");
        };
        check(
            &[("REDRESS_WORK_LEASE", "soon")],
            "REDRESS_WORK_LEASE: a length",
        );
        check(&[("REDRESS_COLOR", "blue")], "auto, always, never");
        let strange = [("REDRESS_STATEDIR", "/x"), ("REDRESS_LONG", "1")];
        let settings = gathered(&["status"], &strange).unwrap();
        let warnings = settings.warnings().join("\n");
        assert!(
            warnings.contains("did you mean REDRESS_STATE_DIR"),
            "{warnings}"
        );
        assert!(!warnings.contains("REDRESS_LONG"), "{warnings}");
    }

    #[test]
    fn a_setting_becomes_the_default_of_its_flag() {
        use clap::FromArgMatches;
        let variables = [
            ("REDRESS_WORK_CONCURRENCY", "9"),
            ("REDRESS_SEAL_ARCHIVES", "/a:/b"),
        ];
        let settings = gathered(&["status"], &variables).unwrap();
        let parse = |words: &[&str]| {
            let matches = settings.onto(crate::command_line()).get_matches_from(words);
            Cli::from_arg_matches(&matches).unwrap().command
        };
        let concurrency = |words: &[&str]| match parse(words) {
            crate::args::Command::Work(args) => args.concurrency,
            other => panic!("{other:?}"),
        };
        assert_eq!(concurrency(&["redress", "work"]), 9);
        assert_eq!(concurrency(&["redress", "work", "--concurrency", "2"]), 2);
        let seal = format!("{:?}", parse(&["redress", "audit", "seal"]));
        assert!(seal.contains(r#"["/a", "/b"]"#), "{seal}");
    }

    /// Whatever a source names `REDRESS_...` is a variable that is known; otherwise whoever sets it is told that
    /// nothing reads it.
    #[test]
    fn every_variable_that_a_source_names_is_known() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut folders: Vec<PathBuf> = ["adapters/src", "cli/src", "engine/src", "tests/src"]
            .map(|folder| root.join(folder))
            .into();
        let mut names = std::collections::BTreeSet::new();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).unwrap().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|end| end == "rs") {
                    let text = std::fs::read_to_string(&path).unwrap();
                    let quoted = text.split('"').filter(|word| {
                        let rest = word.strip_prefix("REDRESS_").unwrap_or_default();
                        let upper = |c: char| c.is_ascii_uppercase() || c == '_';
                        !rest.is_empty() && rest.chars().all(upper)
                    });
                    names.extend(quoted.map(str::to_owned));
                }
            }
        }
        assert!(names.len() > 20, "{names:?}");
        names.remove("REDRESS_STATEDIR");
        let environment: Vec<(String, String)> = names
            .into_iter()
            .map(|name| (name, "x".to_owned()))
            .collect();
        assert_eq!(unknown(&environment), Vec::<String>::new());
    }
}
