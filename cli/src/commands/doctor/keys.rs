//! Keys of this machine, whose signatures count here, and whether copies lie somewhere else.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use redress_ledger::keyfile::list_public;

use super::model::Check;
use crate::place::Place;

/// Looks at keys, trust and copies.
pub fn look(place: &Place) -> Vec<Check> {
    let Ok(keys) = place.keys() else {
        return Vec::new();
    };
    let mut checks = vec![modes(&keys), trust(place, &keys)];
    checks.push(match place.settings.path("backup.keys") {
        Some(copy) => copied(&keys, &copy),
        None if files(&keys, "key").is_empty() => Check::ok("backup.keys", "there is no key here"),
        None => Check::unknown(
            "backup.keys",
            "nobody says where copies of the keys lie",
            "a key that is lost signs no more; keep a copy elsewhere and name its folder in redress.toml ([backup] keys)",
        ),
    });
    let anchor = match (place.settings.path("seal.anchor"), place.state()) {
        (Some(file), _) => Some(file),
        (None, Ok(state)) => Some(state.join("anchor")),
        (None, Err(_)) => None,
    };
    if let Some(anchor) = anchor {
        checks.push(match place.settings.path("backup.anchor") {
            Some(copy) => anchored(place, &anchor, &copy),
            None if anchors(&anchor).is_empty() => Check::ok("backup.anchor", "there is no anchor here"),
            None => Check::unknown(
                "backup.anchor",
                "nobody says where a copy of the anchor lies",
                "without an anchor a restored, older database is not found out; copy it to another machine and name the folder in redress.toml ([backup] anchor)",
            ),
        });
    }
    checks
}

/// The files of a folder with this ending, in the order of their names.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    let mut paths: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|end| end == ending))
        .collect();
    paths.sort();
    paths
}

/// The anchors of a file, or of a folder of them.
fn anchors(anchor: &Path) -> Vec<PathBuf> {
    if anchor.is_file() {
        return vec![anchor.to_owned()];
    }
    let entries = fs::read_dir(anchor).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.is_file() && !hidden(path))
        .collect();
    paths.sort();
    paths
}

fn hidden(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().starts_with('.')
}

fn modes(keys: &Path) -> Check {
    let name = "keys.files";
    let all = files(keys, "key");
    let wrong: Vec<String> = all
        .iter()
        .filter_map(|path| {
            let meta = fs::symlink_metadata(path).ok()?;
            let mode = meta.mode() & 0o7777;
            (mode & 0o077 != 0).then(|| format!("{} has mode {mode:o}", path.display()))
        })
        .collect();
    if wrong.is_empty() {
        return Check::ok(name, format!("{} in {}", all.len(), keys.display()));
    }
    Check::fail(
        name,
        wrong.join("; "),
        "a key file that others may open is refused; whoever has read it needs only the passphrase",
        "chmod 600; if others could read it, rotate the key: redress key rotate",
    )
}

fn trust(place: &Place, keys: &Path) -> Check {
    let name = "keys.trust";
    let trust = match place.trust() {
        Ok(Some(trust)) => trust,
        Ok(None) => {
            return Check::warn(
                name,
                "there is no trust file",
                "no signature counts here: no release is believed and no plan that needs one is applied",
                "name one with --trust, or make a key with redress key new",
            );
        }
        Err(fail) => {
            return Check::fail(
                name,
                fail.to_string(),
                "no signature counts here until it is mended",
                "correct what the message names",
            )
            .code(fail.code());
        }
    };
    let path = place.trust_path().unwrap_or_default();
    let open = fs::metadata(&path).is_ok_and(|meta| meta.mode() & 0o022 != 0);
    if open {
        return Check::fail(
            name,
            format!("others may write {}", path.display()),
            "whoever may write it decides whose signatures count on this machine",
            format!("look at its lines, then chmod go-w {}", path.display()),
        );
    }
    let own = list_public(keys).unwrap_or_default();
    let named = |id| trust.lookup(id).is_some() || trust.logs().iter().any(|log| log.id() == id);
    let strange: Vec<String> = own
        .iter()
        .filter(|(_, vkey)| !named(vkey.id()))
        .map(|(role, vkey)| format!("{} ({role})", vkey.name()))
        .collect();
    let found = format!("{} keys count, {}", trust.keys().count(), path.display());
    if trust.is_empty() {
        return Check::warn(
            name,
            found,
            "no signature counts here",
            "add keys with redress key trust",
        );
    }
    if !strange.is_empty() {
        return Check::warn(
            name,
            format!("{found}; not among them: {}", strange.join(", ")),
            "what these keys of this machine sign does not count by this file",
            "redress key trust adds one; a key that was replaced can be removed",
        );
    }
    Check::ok(name, found)
}

fn same(one: &Path, other: &Path) -> io::Result<bool> {
    Ok(fs::read(one)? == fs::read(other)?)
}

/// Each key lies in the folder of copies, byte for byte.
fn copied(keys: &Path, copy: &Path) -> Check {
    let name = "backup.keys";
    let all = files(keys, "key");
    let missing: Vec<String> = all
        .iter()
        .filter(|path| {
            let other = copy.join(path.file_name().unwrap_or_default());
            !same(path, &other).unwrap_or(false)
        })
        .map(|path| {
            path.file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    if missing.is_empty() {
        return Check::ok(name, format!("{} keys, {}", all.len(), copy.display()));
    }
    Check::fail(
        name,
        format!(
            "missing or different in {}: {}",
            copy.display(),
            missing.join(", ")
        ),
        "a key that is lost signs no more, and the root cannot be replaced without its keys",
        format!("copy {} there", keys.display()),
    )
}

/// The copy of each anchor is a beginning of the same log, and not too old.
fn anchored(place: &Place, anchor: &Path, copy: &Path) -> Check {
    let name = "backup.anchor";
    let days = place.settings.number("backup.max_age_days");
    let limit = Duration::from_secs(days.saturating_mul(86_400));
    let all = anchors(anchor);
    for path in &all {
        let other = copy.join(path.file_name().unwrap_or_default());
        let shown = other.display().to_string();
        let made = match fs::metadata(&other).and_then(|meta| meta.modified()) {
            Ok(made) => made,
            Err(error) => return lost(name, format!("{error}, {shown}")),
        };
        if same(path, &other).unwrap_or(false) {
            continue;
        }
        // It differs: it was made before the last batch. How long ago says whether anybody still copies.
        let age = SystemTime::now().duration_since(made).unwrap_or_default();
        if age > limit {
            return lost(
                name,
                format!("older than {days} days and different, {shown}"),
            );
        }
    }
    Check::ok(name, format!("{} anchors, {}", all.len(), copy.display()))
}

fn lost(name: &'static str, found: String) -> Check {
    Check::fail(
        name,
        found,
        "without a copy of the anchor a restored, older database is not found out when this machine is lost too",
        "copy the anchor there again, regularly, and find out why it was not",
    )
    .code("RD0736")
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::super::model::State;
    use super::*;

    #[test]
    fn a_key_that_others_may_open_and_one_without_a_copy_are_named() {
        let (keys, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let key = keys.path().join("sov.key");
        fs::write(&key, "secret").unwrap();
        fs::set_permissions(&key, Permissions::from_mode(0o640)).unwrap();
        let found = modes(keys.path());
        assert_eq!(found.state, State::Fail);
        assert!(
            found.found.contains("sov.key has mode 640"),
            "{}",
            found.found
        );
        fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
        assert_eq!(modes(keys.path()).state, State::Ok);

        assert_eq!(copied(keys.path(), copy.path()).state, State::Fail);
        fs::write(copy.path().join("sov.key"), "other").unwrap();
        assert_eq!(copied(keys.path(), copy.path()).state, State::Fail);
        fs::write(copy.path().join("sov.key"), "secret").unwrap();
        assert_eq!(copied(keys.path(), copy.path()).state, State::Ok);
    }
}
