//! Finds the one file that is read, and reads it.

use std::collections::BTreeMap;
use std::fs::File as OsFile;
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use redress::db::Target;
use redress_adapters::file::{Entry, File, entries};

use super::list::{Kind, Setting};
use super::{InForce, Source};
use crate::fail::Fail;

/// A file that was read.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Where it lies.
    pub path: PathBuf,
    /// What it says.
    pub file: File,
    /// Every value of it, by its dotted key.
    pub entries: BTreeMap<String, Entry>,
    /// What a person should hear.
    pub warnings: Vec<String>,
}

impl Loaded {
    /// What the file says of a setting.
    ///
    /// # Errors
    /// RD0927 with file, line and column when it is no such value.
    pub(super) fn value(&self, setting: &Setting) -> Result<Option<InForce>, Fail> {
        let Some(entry) = self.entries.get(setting.key) else {
            return Ok(None);
        };
        let mut words = Vec::new();
        for word in &entry.words {
            setting
                .kind
                .judge(word)
                .map_err(|why| self.wrong(entry, &format!("{}: {why}", setting.key)))?;
            let below = match setting.kind {
                Kind::Path | Kind::Paths => true,
                Kind::Signer => word.contains('/'),
                _ => false,
            };
            let folder = self.path.parent().unwrap_or(Path::new("/"));
            words.push(match below {
                true => folder.join(word).display().to_string(),
                false => word.clone(),
            });
        }
        let source = Source::File(entry.line);
        Ok(Some(InForce { words, source }))
    }

    /// Whether a URL of the file would be used: its own commands judge it where they need it.
    ///
    /// # Errors
    /// RD0927 with file, line and column when it would not.
    pub(super) fn judged_url(&self, setting: &Setting) -> Result<(), Fail> {
        let Some(entry) = self.entries.get(setting.key) else {
            return Ok(());
        };
        for word in &entry.words {
            word.parse::<Target>()
                .map_err(|why| self.wrong(entry, &format!("{}: {why}", setting.key)))?;
        }
        Ok(())
    }

    fn wrong(&self, entry: &Entry, why: &str) -> Fail {
        let (path, line, column) = (self.path.display(), entry.line, entry.column);
        Fail::own("RD0927", format!("{path}:{line}:{column}: {why}"))
    }
}

/// The file that is named, else the first that is there.
///
/// # Errors
/// As [`read`]; RD0927 when a file in the state folder names another state folder.
pub(super) fn load(named: Option<&Path>, state: Option<&Path>) -> Result<Option<Loaded>, Fail> {
    if let Some(path) = named {
        return read(path).map(Some);
    }
    let of_state = state.map(|state| state.join(NAME));
    if let Some(path) = of_state.filter(|path| path.exists()) {
        let loaded = read(&path)?;
        if let Some(entry) = loaded.entries.get("state_dir") {
            let why = "this file was found by the state folder, so it cannot say which that is";
            return Err(loaded.wrong(entry, why));
        }
        return Ok(Some(loaded));
    }
    let of_machine = Path::new(OF_MACHINE);
    match of_machine.exists() {
        true => read(of_machine).map(Some),
        false => Ok(None),
    }
}

/// Reads a file.
///
/// # Errors
/// RD0927 when it cannot be read, is not understood, or may be written by anybody.
pub(super) fn read(path: &Path) -> Result<Loaded, Fail> {
    let refused = |why: String| Fail::own("RD0927", format!("{why}, {}", path.display()));
    let unread =
        |error: std::io::Error| refused(format!("the configuration cannot be read: {error}"));
    let path = std::path::absolute(path).map_err(unread)?;
    let opened = OsFile::open(&path).map_err(unread)?;
    let meta = opened.metadata().map_err(unread)?;
    let device = meta.file_type().is_char_device();
    if meta.mode() & WRITABLE_BY_OTHERS != 0 && !device {
        let why = "anybody may write the configuration, which says what may be run (chmod o-w)";
        return Err(refused(why.to_owned()));
    }
    let mut bytes = Vec::new();
    opened
        .take(CONFIG_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(unread)?;
    if bytes.len() as u64 > CONFIG_BYTES_MAX {
        let why = format!("the configuration is larger than {CONFIG_BYTES_MAX} bytes");
        return Err(refused(why));
    }
    let text = String::from_utf8(bytes)
        .map_err(|_| refused("the configuration is not UTF-8 text".to_owned()))?;
    let place = path.display();
    let wrong = |error: redress_adapters::ConfigError| {
        let text = match &error {
            redress_adapters::ConfigError::Shape {
                line,
                column,
                message,
            } => format!("{place}:{line}:{column}: {message}"),
            other => format!("{other}, {place}"),
        };
        Fail::own(error.code(), text)
    };
    let file = File::parse(&text).map_err(wrong)?;
    let entries = entries(&text).map_err(wrong)?;
    let mut warnings = Vec::new();
    let urls = [&file.database, &file.direct, &file.migrate];
    let secret = urls.into_iter().flatten().any(|url| has_password(url));
    if secret && meta.mode() & READABLE_BY_OTHERS != 0 {
        let text = format!("{place} has a password and everybody can read it (chmod o-r)");
        warnings.push(text);
    }
    Ok(Loaded {
        path,
        file,
        entries,
        warnings,
    })
}

/// Whether a URL, or key and value pairs, has a password in it.
fn has_password(url: &str) -> bool {
    redress::db::masked(url).is_ok_and(|shown| shown != url)
}

const NAME: &str = "redress.toml";
/// The file of a machine, when the state folder has none.
const OF_MACHINE: &str = "/etc/redress/redress.toml";
const WRITABLE_BY_OTHERS: u32 = 0o002;
const READABLE_BY_OTHERS: u32 = 0o004;
/// Most bytes of a configuration file.
const CONFIG_BYTES_MAX: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_that_anybody_may_write_is_refused_and_a_password_for_all_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("redress.toml");
        let put = |text: &str, mode: u32| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        };
        put("", 0o646);
        assert_eq!(read(&path).unwrap_err().code(), "RD0927");
        put("database = 'postgres://me:word@db/x'", 0o644);
        let warnings = read(&path).unwrap().warnings;
        assert!(warnings[0].contains("password"), "{warnings:?}");
        put("database = 'postgres://me:word@db/x'", 0o640);
        assert!(read(&path).unwrap().warnings.is_empty());
        put("database = 'postgres://me@db/x'", 0o644);
        assert!(read(&path).unwrap().warnings.is_empty());
    }

    #[test]
    fn a_file_found_by_the_state_folder_cannot_name_another() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("redress.toml");
        fs::write(&path, "\nstate_dir = '/elsewhere'").unwrap();
        let error = load(None, Some(dir.path())).unwrap_err();
        assert!(error.to_string().contains("redress.toml:2:1"), "{error}");
        assert!(load(Some(&path), Some(dir.path())).unwrap().is_some());
    }
}
