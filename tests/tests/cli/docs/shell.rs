//! Does what a page says, in an empty folder, as somebody who has just this command.
//!
//! **Invariant:** nothing is put into a command that its page does not say; a variable that a later command uses was set
//! by an earlier one, in the same shell.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use redress_cli::cluster;
use redress_tests::ground::Ground;
use redress_tests::redress_bin;
use tempfile::TempDir;

use super::page::{Step, is_shown, steps};

/// A folder, a home and nothing else.
pub struct Reader {
    dir: TempDir,
    work: PathBuf,
}

/// What became of a page.
#[derive(Debug)]
pub struct Followed {
    /// Commands that were typed.
    pub typed: usize,
    /// Blocks that the page itself takes out.
    pub untried: Vec<String>,
}

impl Reader {
    pub fn new() -> Self {
        let dir = TempDir::new().expect("a folder");
        for name in ["home", "work", "bin", "told"] {
            fs::create_dir(dir.path().join(name)).expect("a folder");
        }
        symlink(redress_bin(), dir.path().join("bin/redress")).expect("a link");
        let work = dir.path().join("work");
        Self { dir, work }
    }

    /// One whose folder always has the same name: what a compiler makes there replaces what it made the last time.
    pub fn in_one_place(name: &str) -> Self {
        let work = Ground::Disk.base().join(name);
        let _ = fs::remove_dir_all(&work);
        let cargo = work.join(".cargo");
        fs::create_dir_all(&cargo).expect("a folder");
        fs::write(cargo.join("config.toml"), profile()).expect("written");
        let mut reader = Self::new();
        reader.work = work;
        reader
    }

    /// The folder in which the commands are typed.
    pub fn work(&self) -> PathBuf {
        self.work.clone()
    }

    /// Does all that a page asks for; the page is named in every complaint, with its line.
    #[track_caller]
    pub fn follow(&self, name: &str, page: &str) -> Followed {
        let steps = steps(page);
        let mut script =
            String::from("shopt -s expand_aliases\ntrap 'kill $(jobs -p) 2>/dev/null; :' EXIT\n");
        let mut followed = Followed {
            typed: 0,
            untried: Vec::new(),
        };
        for (at, (line, step)) in steps.iter().enumerate() {
            let told = self.dir.path().join("told");
            match step {
                // Written by the script, because the folder may be one that an earlier command makes.
                Step::Save { name, text } => {
                    let file = told.join(format!("{at}.file"));
                    fs::write(&file, text).expect("a file");
                    let _ = writeln!(script, "cp '{}' '{name}' || exit 99", file.display());
                }
                Step::Type { command, exit, .. } => {
                    followed.typed += 1;
                    let told = told.display();
                    let _ = writeln!(
                        script,
                        "{{\n{command}\n}} >'{told}/{at}.out' 2>&1 </dev/null\n\
                         _exit=$?; echo $_exit >'{told}/{at}.exit'; [ $_exit = {exit} ] || exit 98"
                    );
                }
                Step::Untried(first) => followed.untried.push(format!("{name}:{line} {first}")),
            }
        }
        let file = self.dir.path().join("script");
        fs::write(&file, script).expect("a script");
        let output = self.shell(&file).output().expect("bash runs");
        for (at, (line, step)) in steps.iter().enumerate() {
            let Step::Type {
                command,
                exit,
                prints,
            } = step
            else {
                continue;
            };
            let told = |end: &str| {
                let file = self.dir.path().join(format!("told/{at}.{end}"));
                fs::read_to_string(file).unwrap_or_default()
            };
            let (printed, ended) = (told("out"), told("exit"));
            let ended = ended.trim();
            assert_eq!(
                ended,
                exit.to_string(),
                "{name}:{line}: the page says exit {exit}\n$ {command}\n{printed}\n{output:?}"
            );
            assert!(
                prints.is_empty() || is_shown(&printed, prints),
                "{name}:{line}: the page shows something else\n$ {command}\n{printed}\n--- shown:\n{}",
                prints.join("\n")
            );
        }
        assert!(output.status.success(), "{name}: {output:?}");
        followed
    }

    fn shell(&self, script: &Path) -> Command {
        let home = env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        let at_home = |name: &str, folder: &str| {
            env::var_os(name).unwrap_or_else(|| home.join(folder).into_os_string())
        };
        let path = env::var("PATH").unwrap_or_default();
        let mut command = Command::new("bash");
        command
            .arg(script)
            .current_dir(self.work())
            .env("CARGO_HOME", at_home("CARGO_HOME", ".cargo"))
            .env("RUSTUP_HOME", at_home("RUSTUP_HOME", ".rustup"))
            .env("HOME", self.dir.path().join("home"))
            .env(
                "PATH",
                format!("{}:{path}", self.dir.path().join("bin").display()),
            )
            .env("LC_ALL", "C.UTF-8")
            // The clone that the pages speak of, and what it has built.
            .env("REDRESS", root())
            .env("CARGO_NET_OFFLINE", "true")
            .env("CARGO_TARGET_DIR", target())
            .stdin(Stdio::null());
        for (name, _) in env::vars_os() {
            let text = name.to_string_lossy();
            let ours = text.starts_with("REDRESS_") || text.starts_with("CARGO_PKG_");
            if ours || text.starts_with("CARGO_MANIFEST_") || text.starts_with("PG") {
                command.env_remove(name);
            }
        }
        for name in [
            "DATABASE_URL",
            "XDG_STATE_HOME",
            "RUST_LOG",
            "RUST_BACKTRACE",
        ] {
            command.env_remove(name);
        }
        command
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let state = self.dir.path().join("home/.local/state/redress/postgres");
        if let Err(error) = cluster::remove(&state, cluster::Stop::Immediate) {
            eprintln!("the private server of a page stays: {error}");
        }
    }
}

/// The repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// How this repository builds for tests, so that what is built already serves a page too: it costs minutes otherwise.
fn profile() -> String {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("a manifest");
    let (_, profile) = manifest.split_once("[profile.dev]").expect("a profile");
    let (profile, _) = profile.split_once("[profile.release").expect("another one");
    let mut text = format!("[profile.dev]{profile}");
    for name in [
        "redress",
        "redress-adapters",
        "redress-ledger",
        "redress-sql",
    ] {
        let _ = writeln!(text, "[profile.dev.package.{name}]\nopt-level = 0");
    }
    text
}

/// Where this test was built.
fn target() -> PathBuf {
    let program = env::current_exe().expect("a program");
    // TARGET/debug/deps/PROGRAM
    program.ancestors().nth(3).expect("folders").to_owned()
}
