//! Makes the data of a server once, and copies it for every test server.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};

use redress_cli::cluster::{self, Account, Binaries};

use crate::ground::{self, Ground};

/// The template's data folder for these binaries, made if it is missing; parallel test processes
/// make it once. Kept for the next test run.
fn template(ground: Ground, binaries: &Binaries, account: Account) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    (&binaries.bin, account.uid(), REVISION).hash(&mut hasher);
    let base = ground.base();
    let name = format!("template-{}-{:016x}", binaries.version, hasher.finish());
    let data = base.join(&name);
    let _guard = ground::lock(&base.join(format!("{name}.lock")), ground::LOCK_LIMIT);
    if !data.exists() {
        let partial = base.join(format!("{name}.partial"));
        let make = || -> io::Result<()> {
            // Left by a process that was killed while making it.
            if partial.exists() {
                fs::remove_dir_all(&partial)?;
            }
            fs::create_dir(&partial)
        };
        make().expect("the template's folder can be made");
        account
            .own(&partial)
            .and_then(|()| cluster::init(binaries, account, &partial, false))
            .unwrap_or_else(|error| panic!("{} {error}", error.code()));
        fs::rename(&partial, &data).expect("the finished template can be renamed");
    }
    data
}

/// Copies the template to `data`, which does not exist yet.
pub(crate) fn copy_to(data: &Path, ground: Ground, binaries: &Binaries, account: Account) {
    let template = template(ground, binaries, account);
    copy(&template, data, account)
        .unwrap_or_else(|error| panic!("could not copy {}: {error}", template.display()));
}

/// Copies a folder with everything in it; the system clones the blocks where it can.
fn copy(from: &Path, to: &Path, account: Account) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target, account)?;
        } else {
            fs::copy(entry.path(), &target)?;
            account.own(&target).map_err(io::Error::other)?;
        }
    }
    fs::set_permissions(to, fs::metadata(from)?.permissions())?;
    account.own(to).map_err(io::Error::other)
}

/// Raised when templates made before would not serve any more.
const REVISION: u32 = 1;
