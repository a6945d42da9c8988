//! Builds the `redress` command with its crash points once, and hands out a copy of it.
//!
//! A copy, because a later `cargo build` without the crash points writes to the same place while
//! tests still start processes from it.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

use crate::ground::{self, Ground};

/// The built command. `REDRESS_BIN` names one to use instead; then nothing is built.
pub fn redress_bin() -> &'static Path {
    static BIN: OnceLock<PathBuf> = OnceLock::new();
    BIN.get_or_init(|| match env::var_os("REDRESS_BIN") {
        Some(named) => PathBuf::from(named),
        None => build(),
    })
}

fn build() -> PathBuf {
    let base = Ground::Disk.base();
    let _guard = ground::lock(&base.join("build.lock"));
    let mut command = Command::new(env!("CARGO"));
    command
        .args([
            "build",
            "--quiet",
            "--package",
            "redress-cli",
            "--bin",
            "redress",
        ])
        .args(["--features", "crash", "--message-format", "json"])
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    if release() {
        command.arg("--release");
    }
    let output = command.output().expect("cargo runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "the command does not build:\n{}{}",
        rendered(&text),
        String::from_utf8_lossy(&output.stderr)
    );
    let built = executable(&text).expect("cargo names the program that it built");
    keep(&built, &base)
}

/// Whether this test itself was built with optimisation, so that both share their dependencies.
fn release() -> bool {
    !cfg!(debug_assertions)
}

/// The program named by cargo's messages.
fn executable(messages: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == "redress")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
}

/// The compiler's complaints among cargo's messages.
fn rendered(messages: &str) -> String {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|message| message["message"]["rendered"].as_str().map(str::to_owned))
        .collect()
}

/// Copies the program under a name that says which build it is of.
fn keep(built: &Path, base: &Path) -> PathBuf {
    let folder = base.join("bin");
    let meta = fs::metadata(built).expect("the built program is there");
    let age = meta
        .modified()
        .ok()
        .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok())
        .map_or(0, |time| time.as_nanos());
    let kept = folder.join(format!("redress-{}-{age}", meta.len()));
    if !kept.exists() {
        let partial = folder.join("partial");
        let copy = || -> std::io::Result<()> {
            // Earlier builds; a process that still runs one keeps it.
            if folder.exists() {
                fs::remove_dir_all(&folder)?;
            }
            fs::create_dir_all(&folder)?;
            fs::copy(built, &partial)?;
            fs::rename(&partial, &kept)
        };
        copy().expect("the built program can be copied");
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_read_from_cargos_messages() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"name":"other"},"executable":"/x/other"}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"name":"redress"},"executable":null}"#,
            "\nnoise\n",
            r#"{"reason":"compiler-artifact","target":{"name":"redress"},"executable":"/x/redress"}"#,
        );
        assert_eq!(executable(messages), Some("/x/redress".into()));
        assert_eq!(executable(""), None);
    }
}
