//! Finds a Python for the tests that hold this verifier against the other one.
//!
//! It is `REDRESS_PYTHON`, else `python3` if it has the package `cryptography`, else one in a virtual
//! environment that is made for the tests.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The interpreter, or nothing and a loud line on standard error; an environment is made below `folder`.
pub fn interpreter(folder: &Path) -> Option<PathBuf> {
    let has = |python: &Path| {
        let mut probe = Command::new(python);
        let probe = probe.args([
            "-c",
            "import cryptography.hazmat.primitives.asymmetric.ed25519",
        ]);
        probe.output().is_ok_and(|done| done.status.success())
    };
    if let Some(named) = std::env::var_os("REDRESS_PYTHON") {
        let named = PathBuf::from(named);
        assert!(has(&named), "REDRESS_PYTHON has no package cryptography");
        return Some(named);
    }
    let plain = PathBuf::from("python3");
    if has(&plain) {
        return Some(plain);
    }
    let folder = folder.join("venv");
    let python = folder.join("bin/python");
    if !has(&python) {
        let quiet =
            |command: &mut Command| command.output().is_ok_and(|done| done.status.success());
        quiet(Command::new(&plain).args(["-m", "venv"]).arg(&folder));
        quiet(Command::new(&python).args(["-m", "pip", "install", "-q", "cryptography"]));
    }
    if has(&python) {
        return Some(python);
    }
    eprintln!(
        "SKIPPED: no python with the package cryptography could be had, so this verifier was \
         compared with nothing. Set REDRESS_PYTHON."
    );
    None
}

/// Runs a command that must succeed; gives what it wrote.
pub fn run(command: &mut Command) -> Vec<u8> {
    let done = command.output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{command:?}: {said}");
    done.stdout
}
