//! `key`: keys to sign with, and whose signatures count.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use redress_ledger::key::{Role, SigningKey};
use redress_ledger::keyfile::{ITERATIONS_DEFAULT, key_path, list_public, write_key};
use redress_ledger::trust::Trust;
use serde_json::json;

use crate::exit::Exit;
use crate::fail::Fail;
use crate::place::{Place, read_trust};

/// What to do with keys.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make a key: an encrypted file for its owner, and a public line for the trust file
    New {
        /// Whose key it is
        name: String,
        /// What its holder may do
        #[arg(long, value_name = "operator|reviewer|sovereign|auditor")]
        role: String,
        /// Leave the trust file as it is
        #[arg(long)]
        no_trust: bool,
    },
    /// List the keys in STATE/keys and in the trust file
    List,
}

/// Carries it out.
///
/// # Errors
/// [`Fail`]: what was asked was not done.
pub fn run(place: &Place, command: &Command) -> Result<Exit, Fail> {
    match command {
        Command::New {
            name,
            role,
            no_trust,
        } => new(place, name, role, *no_trust),
        Command::List => list(place),
    }
}

fn new(place: &Place, name: &str, role: &str, no_trust: bool) -> Result<Exit, Fail> {
    let role: Role = role.parse()?;
    let keys = place.keys()?;
    let path = key_path(&keys, name)?;
    let key = SigningKey::generate(name)?;
    // The trust file is judged before a key stands that nobody would trust.
    let trust_path = place.trust_path()?;
    let line = format!("key {role} {}\n", key.vkey());
    if !no_trust {
        let mut trust = if trust_path.exists() {
            read_trust(&trust_path)?
        } else {
            Trust::new()
        };
        trust.add(role, key.vkey().clone()).map_err(|fault| {
            Fail::own(
                "RD0920",
                format!("{fault}, trust file {}", trust_path.display()),
            )
        })?;
    }
    for taken in [&path, &path.with_extension("pub")] {
        if fs::symlink_metadata(taken).is_ok() {
            return Err(redress_ledger::keyfile::KeyFileError::Exists(taken.clone()).into());
        }
    }
    let passphrase = place.passphrase(&format!("new passphrase for {name}"), true)?;
    make_dir(&keys)?;
    write_key(&keys, &key, role, &passphrase, ITERATIONS_DEFAULT)?;
    if !no_trust {
        append(&trust_path, &line).map_err(|error| {
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
            "trust": (!no_trust).then_some(&trust_path),
            "errors": [],
        }))?;
    } else {
        place.say.line(&format!("{}", path.display()))?;
        place
            .say
            .notice(&format!("{name} is a {role} with the key {}", key.id()));
        if no_trust {
            place.say.notice(&format!(
                "to trust it, add this line to a trust file: {}",
                line.trim_end()
            ));
        } else {
            place
                .say
                .notice(&format!("{} trusts it now", trust_path.display()));
        }
    }
    Ok(Exit::Done)
}

fn list(place: &Place) -> Result<Exit, Fail> {
    let keys = place.keys()?;
    let own = if keys.exists() {
        list_public(&keys)?
    } else {
        Vec::new()
    };
    let trust = place.trust()?;
    let mut rows: Vec<(String, Role, String, bool, bool)> = Vec::new();
    for (role, vkey) in &own {
        let trusted = trust.as_ref().and_then(|trust| trust.lookup(vkey.id()));
        let trusted = trusted.is_some_and(|found| found.role == *role);
        rows.push((
            vkey.name().to_owned(),
            *role,
            vkey.id().to_string(),
            true,
            trusted,
        ));
    }
    for found in trust.iter().flat_map(Trust::keys) {
        if !own.iter().any(|(_, vkey)| vkey.id() == found.vkey.id()) {
            let id = found.vkey.id().to_string();
            rows.push((found.principal().to_owned(), found.role, id, false, true));
        }
    }
    if place.say.is_json() {
        let list: Vec<_> = rows
            .iter()
            .map(|(name, role, id, here, trusted)| {
                json!({"name": name, "role": role.as_str(), "id": id, "here": here, "trusted": trusted})
            })
            .collect();
        place
            .say
            .value(&json!({"schema": 1, "keys": list, "errors": []}))?;
    } else {
        let yes = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
        let rows: Vec<Vec<String>> = rows
            .into_iter()
            .map(|(name, role, id, here, trusted)| {
                vec![name, role.to_string(), id, yes(here), yes(trusted)]
            })
            .collect();
        place
            .say
            .table(&["name", "role", "key", "here", "trusted"], &[2], &rows)?;
    }
    Ok(Exit::Done)
}

fn make_dir(path: &Path) -> Result<(), Fail> {
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

/// Adds one line with one write, so that two commands do not mix theirs.
fn append(path: &Path, line: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .read(true)
        .mode(0o644)
        .open(path)?;
    let mut text = String::new();
    io::Read::read_to_string(&mut file, &mut text)?;
    let gap = if text.is_empty() || text.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    file.write_all(format!("{gap}{line}").as_bytes())?;
    file.sync_all()
}
