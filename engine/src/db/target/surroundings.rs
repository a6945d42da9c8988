//! What fills the gaps of a connection string: a service file, then libpq's environment variables.
//!
//! **Invariant:** a key that was given is never changed by the surroundings.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use super::{TargetError, keys};

/// A key, its value, and the file and line where they stand.
pub(super) type Line = (String, String, String);

/// The variables that matter, as they were when somebody looked.
#[derive(Clone, Default)]
pub(super) struct Surroundings {
    variables: BTreeMap<&'static str, String>,
}

impl Surroundings {
    /// Those of this process. A variable that is empty or not UTF-8 counts as unset.
    pub fn of_process() -> Self {
        Self::of(|name| env::var(name).ok())
    }

    pub fn of(read: impl Fn(&str) -> Option<String>) -> Self {
        let names = keys::KEYS.iter().filter_map(|key| key.variable);
        let variables = names
            .chain(["HOME", "PGSYSCONFDIR"])
            .filter_map(|name| Some((name, read(name).filter(|value| !value.is_empty())?)))
            .collect();
        Self { variables }
    }

    /// The value that fills a key's gap, and the variable that has it.
    pub fn fill(&self, key: &str) -> Option<(&'static str, &str)> {
        let variable = keys::find(key)?.variable?;
        Some((variable, self.get(variable)?))
    }

    /// A file in the home folder.
    pub fn at_home(&self, path: &str) -> Option<PathBuf> {
        self.get("HOME").map(|home| Path::new(home).join(path))
    }

    /// The pairs of a service, each with its place.
    ///
    /// # Errors
    /// [`TargetError::Service`].
    pub fn service(&self, name: &str, file: Option<&str>) -> Result<Vec<Line>, TargetError> {
        let own = match file {
            Some(file) => Some(PathBuf::from(file)),
            None => self.at_home(".pg_service.conf"),
        };
        let folder = self.get("PGSYSCONFDIR").unwrap_or(SYSTEM_FOLDER);
        let system = Path::new(folder).join("pg_service.conf");
        let mut looked = Vec::new();
        for path in own.into_iter().chain([system]) {
            looked.push(path.display().to_string());
            if !path.exists() {
                continue;
            }
            if let Some(pairs) = section(name, &path)? {
                return Ok(pairs);
            }
        }
        Err(TargetError::Service(format!(
            "there is no service `{}`, looked for in {}",
            name.escape_debug(),
            looked.join(" and ")
        )))
    }

    fn get(&self, variable: &str) -> Option<&str> {
        self.variables.get(variable).map(String::as_str)
    }
}

/// The pairs under `[name]`; `None` when the file has no such section.
fn section(name: &str, path: &Path) -> Result<Option<Vec<Line>>, TargetError> {
    let shown = path.display();
    let wrong = |text: String| TargetError::Service(text);
    let size = fs::metadata(path).map_or(0, |found| found.len());
    if size > FILE_BYTES_MAX {
        return Err(wrong(format!(
            "the service file is longer than 1 MiB, {shown}"
        )));
    }
    let text = fs::read_to_string(path)
        .map_err(|error| wrong(format!("the service file cannot be read: {error}, {shown}")))?;
    let (mut inside, mut found) = (false, None);
    for (at, line) in text.lines().enumerate() {
        let place = format!("{shown}:{}", at + 1);
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(section) = line
            .strip_prefix('[')
            .and_then(|line| line.strip_suffix(']'))
        {
            if found.is_some() {
                break;
            }
            inside = section == name;
            if inside {
                found = Some(Vec::new());
            }
            continue;
        }
        let Some(pairs) = found.as_mut().filter(|_| inside) else {
            continue;
        };
        if line.starts_with("ldap") {
            return Err(wrong(format!("LDAP look-ups are not supported, {place}")));
        }
        let Some((key, value)) = line.split_once('=') else {
            return Err(wrong(format!("a line without `=`, {place}")));
        };
        if matches!(key, "service" | "servicefile") {
            return Err(wrong(format!("a service cannot name a service, {place}")));
        }
        pairs.push((key.to_owned(), value.to_owned(), place));
    }
    Ok(found)
}

/// Where Debian's libpq looks; others are named by PGSYSCONFDIR.
const SYSTEM_FOLDER: &str = "/etc/postgresql-common";
const FILE_BYTES_MAX: u64 = 1 << 20;
