//! This machine: the state folder, disks, and the programs and folders that the configuration lists.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::model::Check;
use crate::place::Place;

/// Looks at this machine.
pub fn look(place: &Place) -> Vec<Check> {
    let mut checks = Vec::new();
    match place.state() {
        Ok(state) => {
            checks.push(folder(&state));
            checks.push(disk(place, "disk.state", &state));
            let data = state.join("postgres/data");
            checks.push(match place.given_url() {
                None if data.exists() => disk(place, "disk.server", &data),
                _ => Check::unknown(
                    "disk.server",
                    "the server's disk cannot be seen from here",
                    "watch the disk of its data folder and of pg_wal where it stands: a full one stops every run",
                ),
            });
        }
        Err(fail) => checks.push(
            Check::fail(
                "state",
                fail.to_string(),
                "nothing is kept",
                "give --state-dir DIR",
            )
            .code(fail.code()),
        ),
    }
    checks.push(settings(place));
    checks.push(programs(place));
    checks.push(secrets(place));
    checks
}

fn folder(state: &Path) -> Check {
    let name = "state";
    let meta = match fs::metadata(state) {
        Ok(meta) => meta,
        Err(error) => {
            return Check::warn(
                name,
                format!("{error}, {}", state.display()),
                "no snapshot, hold or key is kept here yet",
                "the first command that writes makes it; on a machine that worked before, find out where it went",
            );
        }
    };
    let mode = meta.mode() & 0o7777;
    let found = format!("{}, mode {mode:o}", state.display());
    let ours = rustix::process::geteuid().as_raw();
    if meta.uid() != ours && ours != 0 {
        return Check::fail(
            name,
            format!("{found}, owned by user {}", meta.uid()),
            "somebody else decides what is held here and whose signatures count",
            "work as its owner, or name your own with --state-dir",
        );
    }
    if mode & OTHERS_WRITE != 0 {
        return Check::fail(
            name,
            found,
            "somebody else may put a trust file, a hold or a redress.toml there",
            format!("chmod go-w {}", state.display()),
        );
    }
    Check::ok(name, found)
}

fn disk(place: &Place, name: &'static str, path: &Path) -> Check {
    let there = path.ancestors().find(|path| path.exists());
    let found = there.map(rustix::fs::statvfs);
    let stat = match found {
        Some(Ok(stat)) => stat,
        Some(Err(error)) => return Check::unknown(name, error.to_string(), "look with df"),
        None => return Check::unknown(name, "no such folder", "look with df"),
    };
    let mib = |blocks: u64| blocks.saturating_mul(stat.f_frsize) >> 20;
    let (free, all) = (mib(stat.f_bavail), mib(stat.f_blocks));
    let found = format!("{free} of {all} MiB are free, {}", path.display());
    let min = place.settings.number("doctor.disk_free_mib_min");
    if free < min {
        return Check::fail(
            name,
            found,
            "a full disk stops every phase that writes here, and the server with it if it is the server's",
            format!(
                "make room: at least {min} MiB (doctor.disk_free_mib_min); `redress artefacts` and `redress fileset collect` remove what nobody needs"
            ),
        );
    }
    Check::ok(name, found)
}

fn settings(place: &Place) -> Check {
    let name = "configuration";
    let warnings = place.settings.warnings();
    let found = match &place.settings.file {
        Some(file) => format!("{}", file.path.display()),
        None => "no file is read".to_owned(),
    };
    if warnings.is_empty() {
        return Check::ok(name, found);
    }
    Check::warn(
        name,
        warnings.join("; "),
        "something is not in force that somebody may have meant, or is seen by everybody",
        "redress config shows what is in force, and where it comes from",
    )
}

/// Programs that a definition may run, and those that are told of failures.
fn programs(place: &Place) -> Check {
    let name = "configuration.programs";
    let config = place.settings.adapters();
    let alert = place.settings.path("work.alert_command");
    let told = config.notify.iter().filter_map(|told| told.command.clone());
    let all: Vec<PathBuf> = config
        .command
        .allow
        .iter()
        .cloned()
        .chain(alert)
        .chain(told)
        .collect();
    let wrong: Vec<String> = all
        .iter()
        .filter_map(|path| Some(format!("{}: {}", path.display(), unfit(path)?)))
        .collect();
    if !wrong.is_empty() {
        return Check::fail(
            name,
            wrong.join("; "),
            "a phase or an alert that needs it fails, or runs what somebody else put there",
            "mend the program, or the line of redress.toml (`redress config` names it)",
        );
    }
    Check::ok(name, format!("{} listed, all there", all.len()))
}

/// Why a program is not fit to be run; nothing when it is.
fn unfit(path: &Path) -> Option<String> {
    let meta = match fs::metadata(path) {
        Ok(meta) => meta,
        Err(error) => return Some(error.to_string()),
    };
    if !meta.is_file() || meta.mode() & 0o111 == 0 {
        return Some("it is no program".to_owned());
    }
    let folders = path.ancestors().skip(1);
    let others = folders.filter_map(|folder| Some((folder, fs::metadata(folder).ok()?)));
    // In a folder with the sticky bit nobody renames what is somebody else's.
    let mut open =
        others.filter(|(_, meta)| meta.mode() & OTHERS_WRITE != 0 && meta.mode() & STICKY == 0);
    match (meta.mode() & OTHERS_WRITE != 0, open.next()) {
        (true, _) => Some(format!(
            "others may write it (mode {:o})",
            meta.mode() & 0o7777
        )),
        (_, Some((folder, _))) => Some(format!("others may write its folder {}", folder.display())),
        _ => None,
    }
}

/// Files with secrets that may be sent, and the passphrase: only the owner reads them.
fn secrets(place: &Place) -> Check {
    let name = "configuration.secrets";
    let config = place.settings.adapters();
    let files = config.http.secret_files.iter().cloned();
    let files: Vec<PathBuf> = files.chain(place.globals.passphrase_file.clone()).collect();
    let wrong: Vec<String> = files
        .iter()
        .filter_map(|path| match fs::metadata(path) {
            Err(error) => Some(format!("{}: {error}", path.display())),
            Ok(meta) if meta.mode() & 0o044 != 0 => Some(format!(
                "{}: others may read it (mode {:o})",
                path.display(),
                meta.mode() & 0o7777
            )),
            Ok(_) => None,
        })
        .collect();
    if wrong.is_empty() {
        return Check::ok(
            name,
            format!("{} files, read by their owner alone", files.len()),
        );
    }
    Check::warn(
        name,
        wrong.join("; "),
        "a secret is missing, or others know it",
        "chmod 600, and change a secret that others could read",
    )
}

const OTHERS_WRITE: u32 = 0o022;
const STICKY: u32 = 0o1000;

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::super::model::State;
    use super::*;

    #[test]
    fn a_program_that_others_may_write_is_not_fit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tool");
        fs::write(&path, "").unwrap();
        let mode =
            |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        let check = |file, folder, says: Option<&str>| {
            mode(&path, file);
            mode(dir.path(), folder);
            let found = unfit(&path);
            assert_eq!(found.is_some(), says.is_some(), "{found:?}");
            let found = found.unwrap_or_default();
            assert!(found.contains(says.unwrap_or_default()), "{found}");
        };
        check(0o755, 0o755, None);
        check(0o644, 0o755, Some("no program"));
        check(0o775, 0o755, Some("others may write it"));
        check(0o755, 0o777, Some("folder"));
        check(0o755, 0o1777, None);
        assert!(unfit(&dir.path().join("none")).is_some());
    }

    #[test]
    fn a_state_folder_that_others_may_write_fails() {
        let dir = tempfile::tempdir().unwrap();
        let check = |mode, state| {
            fs::set_permissions(dir.path(), Permissions::from_mode(mode)).unwrap();
            assert_eq!(folder(dir.path()).state, state, "{mode:o}");
        };
        check(0o700, State::Ok);
        check(0o755, State::Ok);
        check(0o770, State::Fail);
        check(0o702, State::Fail);
        assert_eq!(folder(&dir.path().join("none")).state, State::Warn);
    }
}
