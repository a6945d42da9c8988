//! Builds the `redress` command with its crash points once, and hands out a copy of it.
//!
//! A copy, because a later `cargo build` without the crash points writes to the same place while
//! tests still start processes from it.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

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
    let _guard = ground::lock(&Ground::Disk.base().join("build.lock"), BUILD_LIMIT);
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
        .args(["--features", FEATURES, "--message-format", "json"])
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    if release() {
        command.arg("--release");
    }
    // What cargo told this test about its own package would make build scripts run anew, and with them half of the
    // dependencies, here and again at the next build outside of a test.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
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
    keep(&built).unwrap_or_else(|error| panic!("could not copy {}: {error}", built.display()))
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

/// Copies the program, beside where it was built, under a name that says which build it is.
fn keep(built: &Path) -> io::Result<PathBuf> {
    let folder = built.with_file_name("redress-harness");
    let meta = fs::metadata(built)?;
    let age = meta
        .modified()?
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_err(io::Error::other)?;
    let kept = folder.join(format!("redress-{}-{}", meta.len(), age.as_nanos()));
    if kept.exists() {
        return Ok(kept);
    }
    fs::create_dir_all(&folder)?;
    let mut earlier: Vec<(SystemTime, PathBuf)> = fs::read_dir(&folder)?
        .flatten()
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    earlier.sort();
    // Tests that run now may still start the last few.
    for (_, old) in earlier.iter().rev().skip(KEPT_MAX) {
        fs::remove_file(old)?;
    }
    let partial = folder.join("partial");
    fs::copy(built, &partial)?;
    fs::rename(&partial, &kept)?;
    Ok(kept)
}

/// With the spans where the tests want them.
const FEATURES: &str = match cfg!(feature = "otel") {
    true => "crash,otel",
    false => "crash",
};
/// Another process may be building everything from nothing.
const BUILD_LIMIT: Duration = Duration::from_secs(30 * 60);
const KEPT_MAX: usize = 2;

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
