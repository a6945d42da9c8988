//! Unpacks the system's server packages into the cache of one user, who needs no rights for it.
//!
//! Only what is missing is fetched: the server first, then the packages of those shared
//! libraries that `ldd` does not find, until it finds all.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::super::binaries::library_folders;
use super::{Staged, call, is_installed, notice, packaged_major};

/// Fetches and unpacks a server into `CACHE/deb-NN`.
pub(super) fn unpack(cache: &Path) -> Result<(), String> {
    for program in ["apt-get", "apt-cache", "dpkg", "dpkg-query", "ldd"] {
        if !is_installed(program) {
            return Err(format!("there is no {program}"));
        }
    }
    if !Path::new(ZONES).exists() {
        // Debian's server reads the system's time zones and cannot be told another place.
        return Err("the system has no time zone files, install the package tzdata".to_owned());
    }
    notice("unpacking one for this user alone with apt-get download");
    let mut apt = Apt {
        private: None,
        packages: cache.join("packages.partial"),
    };
    let _ = fs::remove_dir_all(&apt.packages);
    fs::create_dir_all(&apt.packages).map_err(|error| error.to_string())?;
    let done = fetch(cache, &mut apt);
    let _ = fs::remove_dir_all(&apt.packages);
    if let Some(private) = &apt.private {
        let _ = fs::remove_dir_all(private);
    }
    done
}

fn fetch(cache: &Path, apt: &mut Apt) -> Result<(), String> {
    let mut first = apt
        .major()
        .and_then(|major| Ok((major, apt.download(&server(major))?)));
    if first.is_err() {
        // The system's lists are missing or outdated; lists of our own need no rights.
        apt.update(cache)?;
        first = apt
            .major()
            .and_then(|major| Ok((major, apt.download(&server(major))?)));
    }
    let (major, packages) = first?;
    let staged = Staged::new(cache, &format!("deb-{major}"))?;
    extract(&packages, staged.path())?;
    // Only for whoever copies or dumps it: a server is one without them too.
    if let Ok(tools) = apt.download(&client(major)) {
        extract(&tools, staged.path())?;
    }
    let bin = staged
        .path()
        .join(format!("usr/lib/postgresql/{major}/bin"));
    let mut fetched = BTreeSet::new();
    loop {
        let missing = missing_libraries(&bin, &library_folders(staged.path()))?;
        if missing.is_empty() {
            return staged.publish();
        }
        let wanted: Vec<String> = apt
            .libraries_for(major, &missing)?
            .into_iter()
            .filter(|name| fetched.insert(name.clone()))
            .collect();
        if wanted.is_empty() {
            let missing: Vec<String> = missing.into_iter().collect();
            return Err(format!("no package has {}", missing.join(", ")));
        }
        for name in &wanted {
            extract(&apt.download(name)?, staged.path())?;
        }
    }
}

/// The package with `postgres` and `initdb`.
fn server(major: u32) -> String {
    format!("postgresql-{major}")
}

/// The package with `pg_basebackup` and `pg_dump`.
fn client(major: u32) -> String {
    format!("postgresql-client-{major}")
}

/// apt, with the system's package lists or with private ones.
struct Apt {
    private: Option<PathBuf>,
    packages: PathBuf,
}

impl Apt {
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("LC_ALL", "C").current_dir(&self.packages);
        if let Some(private) = &self.private {
            let option =
                |name: &str, path: &str| format!("{name}={}", private.join(path).to_string_lossy());
            command
                .args(["-o", &option("Dir::State::lists", "lists")])
                .args(["-o", &option("Dir::Cache", "cache")])
                .args(["-o", "Debug::NoLocking=1", "-o", "APT::Sandbox::User="]);
        }
        command
    }

    fn update(&mut self, cache: &Path) -> Result<(), String> {
        let private = cache.join("lists.partial");
        for folder in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(private.join(folder)).map_err(|error| error.to_string())?;
        }
        self.private = Some(private);
        call(self.command("apt-get").args(["-qq", "update"])).map(drop)
    }

    fn major(&self) -> Result<u32, String> {
        packaged_major(&call(
            self.command("apt-cache").args(["depends", "postgresql"]),
        )?)
    }

    /// Downloads one package and gives its file.
    fn download(&self, package: &str) -> Result<PathBuf, String> {
        call(self.command("apt-get").args(["-qq", "download", package]))?;
        let prefix = format!("{package}_");
        let entries = fs::read_dir(&self.packages).map_err(|error| error.to_string())?;
        entries
            .flatten()
            .map(|entry| entry.path())
            .find(|path| {
                path.file_name()
                    .is_some_and(|name| name.to_string_lossy().starts_with(&prefix))
            })
            .ok_or_else(|| format!("apt-get downloaded no {package}"))
    }

    /// The packages that may hold the missing libraries: those that the server needs, that are
    /// not installed, and whose name begins like the library's (`libicu72` for `libicui18n.so.72`);
    /// if none does, all of them, the huge compiler library that we do without excepted.
    fn libraries_for(&self, major: u32, missing: &BTreeSet<String>) -> Result<Vec<String>, String> {
        let needed = call(
            self.command("apt-cache")
                .args(["depends", "--recurse", "--no-recommends", "--no-suggests"])
                .args([
                    "--no-conflicts",
                    "--no-breaks",
                    "--no-replaces",
                    "--no-enhances",
                ])
                .arg(server(major)),
        )?;
        let installed = call(
            Command::new("dpkg-query")
                .args(["-W", "-f", "${db:Status-Abbrev} ${Package}\n"])
                .env("LC_ALL", "C"),
        )?;
        let installed: BTreeSet<&str> = installed
            .lines()
            .filter_map(|line| line.strip_prefix("ii "))
            .map(str::trim)
            .collect();
        let candidates: Vec<String> = needed
            .lines()
            .filter(|line| line.starts_with("lib") && !line.starts_with("libllvm"))
            .filter(|name| !installed.contains(name))
            .map(str::to_owned)
            .collect();
        let alike = |package: &&String| missing.iter().any(|library| alike(library, package));
        let near: Vec<String> = candidates.iter().filter(alike).cloned().collect();
        Ok(if near.is_empty() { candidates } else { near })
    }
}

fn extract(package: &Path, root: &Path) -> Result<(), String> {
    call(Command::new("dpkg").arg("-x").arg(package).arg(root)).map(drop)
}

/// The libraries that the server and its tools need and the loader does not find.
fn missing_libraries(bin: &Path, libraries: &[PathBuf]) -> Result<BTreeSet<String>, String> {
    let path = std::env::join_paths(libraries).map_err(|error| error.to_string())?;
    let mut missing = BTreeSet::new();
    for name in ["postgres", "initdb", "pg_basebackup", "pg_dump"] {
        let program = bin.join(name);
        // The tools are not always fetched; a server without these two is none.
        if name.starts_with("pg_") && !program.exists() {
            continue;
        }
        let said = call(
            Command::new("ldd")
                .arg(program)
                .env("LD_LIBRARY_PATH", &path)
                .env("LC_ALL", "C"),
        )?;
        missing.extend(not_found(&said));
    }
    Ok(missing)
}

fn not_found(ldd: &str) -> impl Iterator<Item = String> {
    ldd.lines()
        .filter_map(|line| line.trim().strip_suffix("=> not found"))
        .map(|name| name.trim().to_owned())
}

/// Tells whether a package's name fits a library's file name by its first letters.
fn alike(library: &str, package: &str) -> bool {
    let letters = |text: &str| -> String {
        text.chars()
            .take_while(|c| c.is_ascii_alphabetic())
            .collect()
    };
    let (library, package) = (letters(library), letters(package));
    package.len() > "lib".len() && library.starts_with(&package)
}

const ZONES: &str = "/usr/share/zoneinfo/UTC";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_libraries_are_read_from_ldd() {
        let said = "\tlibpq.so.5 => not found\n\tlibc.so.6 => /lib/libc.so.6 (0x1)\n\tlibicui18n.so.72 => not found\n";
        let all: Vec<String> = not_found(said).collect();
        assert_eq!(all, ["libpq.so.5", "libicui18n.so.72"]);
    }

    #[test]
    fn packages_are_chosen_by_the_name_of_the_library() {
        assert!(alike("libpq.so.5", "libpq5"));
        assert!(alike("libicui18n.so.72", "libicu72"));
        assert!(alike("libxslt.so.1", "libxslt1.1"));
        assert!(alike("libldap-2.5.so.0", "libldap-2.5-0"));
        assert!(!alike("libpq.so.5", "libxml2"));
        assert!(!alike("libpq.so.5", "lib32z"));
    }
}
