//! `config`: what is in force here, and where it comes from.
//!
//! **Invariant:** a secret is never shown: a URL is shown without its password, and of files with secrets their names.

use std::path::PathBuf;

use redress_adapters::file::File;
use serde_json::{Value, json};

use crate::commands::db::without_password;
use crate::exit::Exit;
use crate::fail::Fail;
use crate::place::Place;
use crate::settings::list::{CONFIG, Kind, ONLY_IN_A_FILE, SETTINGS, Setting};
use crate::settings::{InForce, Settings, Source, check};

/// What to show.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("other").multiple(false))]
pub struct Args {
    /// Judge a file and show nothing: exit 78 when it is not understood
    #[arg(long, value_name = "FILE", group = "other")]
    pub check: Option<PathBuf>,
    /// Print the JSON Schema of redress.toml
    #[arg(long, group = "other")]
    pub json_schema: bool,
}

/// One line of the answer.
struct Line {
    key: String,
    value: Option<Value>,
    /// The value in words, or what the default is.
    text: String,
    source: Source,
    variable: Option<&'static str>,
    flag: Option<String>,
}

/// Shows what is in force.
///
/// # Errors
/// RD0927 for a file that is not understood.
pub fn config(place: &Place, args: &Args) -> Result<Exit, Fail> {
    if args.json_schema {
        place.say.data(format!("{:#}", File::json_schema()))?;
        return Ok(Exit::Done);
    }
    if let Some(path) = &args.check {
        check(path)?;
        if place.say.is_json() {
            let value = json!({"schema": 1, "file": path, "understood": true, "errors": []});
            place.say.value(&value)?;
        } else {
            place.say.line(&format!("understood: {}", path.display()))?;
        }
        return Ok(Exit::Done);
    }
    show(place)
}

fn show(place: &Place) -> Result<Exit, Fail> {
    let settings = &place.settings;
    let file = settings.file.as_ref().map(|file| file.path.as_path());
    let listed = SETTINGS.iter().chain([&CONFIG]);
    let mut lines: Vec<Line> = listed.map(|one| line(settings, one)).collect();
    lines.extend(of_file(settings));
    if place.say.is_json() {
        let list: Vec<Value> = lines.iter().map(|line| line.json(settings)).collect();
        let warnings = settings.warnings();
        place.say.value(&json!({
            "schema": 1, "file": file, "settings": list, "warnings": warnings, "errors": [],
        }))?;
        return Ok(Exit::Done);
    }
    let rows: Vec<Vec<String>> = lines
        .iter()
        .map(|line| vec![line.key.clone(), line.text.clone(), line.from(settings)])
        .collect();
    place
        .say
        .table(&["setting", "value", "from"], &[0], &rows)?;
    match file {
        Some(file) => place.say.notice(&format!("the file is {}", file.display())),
        None => place
            .say
            .notice(&format!("no file is read ({})", CONFIG.default)),
    }
    Ok(Exit::Done)
}

fn line(settings: &Settings, setting: &'static Setting) -> Line {
    let everywhere = setting.flags.first().map(|(words, id)| {
        let name = match *id {
            "signer" => "as".to_owned(),
            "archives" => "archive".to_owned(),
            id => id.replace('_', "-"),
        };
        [&words.join(" "), " --", &name].concat().trim().to_owned()
    });
    let in_force = settings.get(setting.key).cloned();
    let masked = |word: &String| match setting.kind {
        Kind::Url => without_password(word),
        _ => word.clone(),
    };
    let words: Option<Vec<String>> = in_force
        .as_ref()
        .map(|found| found.words.iter().map(masked).collect());
    let beside = ["direct", "migrate"].contains(&setting.key);
    let left_out = beside && words.is_some() && settings.url_beside(setting.key).is_none();
    let text = match &words {
        Some(words) if left_out => format!(
            "{} (not used: the database comes from a stronger place)",
            words.join(", ")
        ),
        Some(words) => words.join(", "),
        None => setting.default.to_owned(),
    };
    let value = words.map(|words| match (setting.kind, words.as_slice()) {
        (Kind::Paths, words) => json!(words),
        (Kind::Number(..), [word]) => word.parse::<u64>().map_or(Value::Null, |n| json!(n)),
        (_, words) => json!(words.first()),
    });
    Line {
        key: setting.key.to_owned(),
        value,
        text,
        source: in_force.map_or(Source::Default, |found: InForce| found.source),
        variable: Some(setting.variable),
        flag: everywhere,
    }
}

/// What a file alone can say: the sections of the adapters.
fn of_file(settings: &Settings) -> Vec<Line> {
    let entries = settings.file.iter().flat_map(|file| &file.entries);
    let ours = entries.filter(|(key, _)| {
        let section = key.split('.').next().unwrap_or_default();
        ONLY_IN_A_FILE.contains(&section)
    });
    ours.map(|(key, entry)| Line {
        key: key.clone(),
        value: Some(match entry.words.as_slice() {
            [word] => json!(word),
            words => json!(words),
        }),
        text: entry.words.join(", "),
        source: Source::File(entry.line),
        variable: None,
        flag: None,
    })
    .collect()
}

impl Line {
    fn from(&self, settings: &Settings) -> String {
        match &self.source {
            Source::Default => "default".to_owned(),
            Source::Variable(name) => (*name).to_owned(),
            Source::Flag => self.flag.clone().unwrap_or_default(),
            Source::File(line) => {
                let path = settings.file.as_ref().map(|file| file.path.display());
                format!("{}:{line}", path.map(|p| p.to_string()).unwrap_or_default())
            }
        }
    }

    fn json(&self, settings: &Settings) -> Value {
        let source = match &self.source {
            Source::Default => "default",
            Source::Variable(_) => "variable",
            Source::Flag => "flag",
            Source::File(_) => "file",
        };
        json!({
            "key": self.key, "value": self.value, "source": source, "from": self.from(settings),
            "default": self.value.is_none().then_some(&self.text),
            "variable": self.variable, "flag": self.flag,
        })
    }
}
