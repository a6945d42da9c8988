//! Makes the data of a private server, and tells whether a folder holds one.
//!
//! **Invariant:** only a folder that is ours by its description, or empty, is ever cleared.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::account::Account;
use super::binaries::Binaries;
use super::error::ClusterError;
use super::folder::{DATA, LOCK, LOG};
use super::{config, wait};

/// Makes the data of a server in `data`, which the account owns and which is empty.
///
/// `sync` makes it durable; a folder that can be made again does without.
pub fn init(
    binaries: &Binaries,
    account: Account,
    data: &Path,
    sync: bool,
) -> Result<(), ClusterError> {
    let mut failed = String::new();
    // Not every system has the first one; it sorts like C and knows letters.
    for locale in ["C.UTF-8", "C"] {
        empty(data)?;
        let mut command = binaries.command("initdb");
        command
            .arg("--pgdata")
            .arg(data)
            .arg(format!("--locale={locale}"))
            .args([
                "--username=postgres",
                "--encoding=UTF8",
                "--no-instructions",
            ])
            .args(["--auth-local=trust", "--auth-host=reject"])
            .args((!sync).then_some("--no-sync"));
        account.apply(&mut command);
        let run = wait::run(&mut command, INIT_LIMIT)
            .map_err(ClusterError::io("run initdb", &binaries.bin))?;
        if run.ok() {
            return config::include(data, account);
        }
        failed = run.tail();
    }
    empty(data)?;
    Err(ClusterError::Init {
        data: data.to_path_buf(),
        output: failed,
    })
}

/// The major version in the data folder; nothing as long as the folder is not made whole.
pub(super) fn written_by(data: &Path) -> Option<u32> {
    config::is_whole(data)
        .then(|| fs::read_to_string(data.join("PG_VERSION")).ok())
        .flatten()
        .and_then(|text| text.trim().parse().ok())
}

/// Refuses a folder that holds other things than a private server; called where there is no
/// description yet. A data folder that was copied there whole is taken over.
pub(super) fn refuse_foreign(dir: &Path) -> Result<(), ClusterError> {
    let list = |path: &Path| -> io::Result<Vec<OsString>> {
        fs::read_dir(path)?
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect()
    };
    let entries = list(dir).map_err(ClusterError::io("list the folder", dir))?;
    let ours = |name: &OsString| [DATA, LOCK, LOG].iter().any(|own| name == own);
    let data = dir.join(DATA);
    let data_ours = !data.exists()
        || config::is_whole(&data)
        || list(&data).is_ok_and(|entries| entries.is_empty());
    if entries.iter().all(ours) && data_ours {
        return Ok(());
    }
    Err(ClusterError::NotOurs {
        dir: dir.to_path_buf(),
    })
}

fn empty(data: &Path) -> Result<(), ClusterError> {
    let clear = || -> io::Result<()> {
        for entry in fs::read_dir(data)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    };
    clear().map_err(ClusterError::io("clear the half-made data folder", data))
}

const INIT_LIMIT: Duration = Duration::from_secs(120);
