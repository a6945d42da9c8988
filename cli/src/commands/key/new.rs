//! `key new`: an encrypted file for its owner, and a line for the trust file.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use redress_ledger::key::{SigningKey, Vkey};
use redress_ledger::keyfile::{ITERATIONS_DEFAULT, KeyFileError, key_path, write_key_as};
use redress_ledger::keyring::KeyRole;
use serde_json::json;

use super::trust::{append, extended, line_of};
use crate::exit::Exit;
use crate::fail::Fail;
use crate::place::Place;

/// Which key to make.
#[derive(Debug, clap::Args)]
pub struct NewArgs {
    /// Whose key it is; a log's key has the name of the log
    pub name: String,
    /// What it is for; log and engine are machines
    #[arg(long, value_name = "operator|reviewer|sovereign|auditor|log|engine")]
    pub role: String,
    /// Name of the files without their ends, for a second key of the same holder [default: NAME]
    #[arg(long, value_name = "STEM")]
    pub file: Option<String>,
    /// Leave the trust file as it is
    #[arg(long)]
    pub no_trust: bool,
}

/// Makes a key.
///
/// # Errors
/// [`Fail`]: no key was made, or the message says what stands.
pub fn new(place: &Place, args: &NewArgs) -> Result<Exit, Fail> {
    let role: KeyRole = args.role.parse()?;
    let name = &args.name;
    let keys = place.keys()?;
    let stem = args.file.as_ref().unwrap_or(name);
    let path = key_path(&keys, stem)?;
    let key = SigningKey::generate(name)?;
    // The trust file is judged before a key stands that nobody would trust.
    let trust_path = place.trust_path()?;
    let line = line_of(role, key.vkey()).filter(|_| !args.no_trust);
    if line.is_some() {
        extended(&trust_path, role, key.vkey())?;
    }
    for taken in [&path, &path.with_extension("pub")] {
        if fs::symlink_metadata(taken).is_ok() {
            return Err(KeyFileError::Exists(taken.clone()).into());
        }
    }
    let passphrase = place.passphrase(&format!("new passphrase for {name}"), true)?;
    make_dir(&keys)?;
    write_key_as(&keys, stem, &key, role, &passphrase, ITERATIONS_DEFAULT)?;
    if let Some(line) = &line {
        append(&trust_path, line).map_err(|error| {
            let text = format!(
                "the key stands, the trust file could not be written: {error}, {}",
                trust_path.display()
            );
            Fail::own("RD0921", text)
        })?;
    }
    if place.say.is_json() {
        place.say.value(&json!({
            "schema": 1,
            "name": name,
            "role": role.as_str(),
            "key": path,
            "id": key.id().to_string(),
            "vkey": key.vkey().to_string(),
            "trust": line.is_some().then_some(&trust_path),
            "errors": [],
        }))?;
        return Ok(Exit::Done);
    }
    place.say.line(&format!("{}", path.display()))?;
    tell(
        place,
        role,
        key.vkey(),
        line.is_some().then_some(&trust_path),
    );
    Ok(Exit::Done)
}

fn tell(place: &Place, role: KeyRole, vkey: &Vkey, trusted_by: Option<&PathBuf>) {
    let article = match role.as_str() {
        "auditor" | "engine" | "operator" => "an",
        _ => "a",
    };
    let (name, id) = (vkey.name(), vkey.id());
    place
        .say
        .notice(&format!("{name} is {article} {role} with the key {id}"));
    let next = match (trusted_by, line_of(role, vkey)) {
        (Some(trust), _) => format!("{} trusts it now", trust.display()),
        (None, Some(line)) => format!(
            "to trust it, add this line to a trust file: {}",
            line.trim_end()
        ),
        (None, None) => "next: redress key register, with the signatures of the root".to_owned(),
    };
    place.say.notice(&next);
}

/// Makes the folder of keys, if it is not there.
///
/// # Errors
/// RD0921.
pub fn make_dir(path: &Path) -> Result<(), Fail> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| {
            Fail::own(
                "RD0921",
                format!("cannot make the folder: {error}, {}", path.display()),
            )
        })
}
