//! `key trust`: the trust file of this machine.
//!
//! **Invariant:** a line is added only if the whole file with it can be read.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use redress_ledger::key::Vkey;
use redress_ledger::keyring::KeyRole;
use redress_ledger::trust::Trust;
use serde_json::{Value, json};

use super::find::public_key;
use crate::exit::Exit;
use crate::fail::Fail;
use crate::place::{Place, read_trust};

/// What to trust.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true))]
pub struct TrustArgs {
    /// A public key (NAME+HASH+BASE64), a .pub file, or the name of a key in STATE/keys
    #[arg(value_name = "KEY", group = "what")]
    pub key: Option<String>,
    /// What its holder may do; a .pub file says it itself
    #[arg(
        long,
        value_name = "operator|reviewer|sovereign|auditor|log",
        requires = "key"
    )]
    pub role: Option<String>,
    /// Show the file as it is understood
    #[arg(long, group = "what")]
    pub show: bool,
}

/// Adds a line to the trust file, or shows what it says.
///
/// # Errors
/// [`Fail`]: the file is as it was.
pub fn trust(place: &Place, args: &TrustArgs) -> Result<Exit, Fail> {
    match &args.key {
        Some(key) => add(place, key, args.role.as_deref()),
        None => show(place),
    }
}

fn add(place: &Place, key: &str, role: Option<&str>) -> Result<Exit, Fail> {
    let found = public_key(place, key)?;
    let role = found.role(role)?;
    let vkey = found.vkey;
    let path = place.trust_path()?;
    let Some(line) = line_of(role, &vkey) else {
        let text =
            "an engine's key has no line in a trust file: `redress key register` lets it count";
        return Err(Fail::own("RD0924", text));
    };
    extended(&path, role, &vkey)?;
    append(&path, &line).map_err(|error| cannot_write(&path, &error))?;
    if place.say.is_json() {
        place.say.value(&json!({
            "schema": 1,
            "trust": path,
            "id": vkey.id().to_string(),
            "name": vkey.name(),
            "role": role.as_str(),
            "line": line.trim_end(),
            "errors": [],
        }))?;
    } else {
        place.say.line(line.trim_end())?;
        place
            .say
            .notice(&format!("{} trusts it now", path.display()));
        if role != KeyRole::Log {
            place.say.notice(
                "once the ledger is open, its keyring says whose signatures count: redress key register",
            );
        }
    }
    Ok(Exit::Done)
}

fn show(place: &Place) -> Result<Exit, Fail> {
    let path = place.trust_path()?;
    let trust = place.trust()?.ok_or(redress::Error::NoTrust)?;
    let keys: Vec<Value> = trust
        .keys()
        .map(|key| {
            json!({
                "name": key.principal(),
                "role": key.role.as_str(),
                "id": key.vkey.id().to_string(),
                "vkey": key.vkey.to_string(),
            })
        })
        .collect();
    if place.say.is_json() {
        let root = trust.root().map(|rule| {
            let keys: Vec<String> = rule.keys.iter().map(ToString::to_string).collect();
            json!({"threshold": rule.threshold, "keys": keys})
        });
        let logs: Vec<Value> = trust
            .logs()
            .iter()
            .map(|vkey| json!({"name": vkey.name(), "id": vkey.id().to_string(), "vkey": vkey.to_string()}))
            .collect();
        place.say.value(&json!({
            "schema": 1,
            "trust": path,
            "keys": keys,
            "root": root,
            "logs": logs,
            "errors": [],
        }))?;
        return Ok(Exit::Done);
    }
    let people = trust.keys().map(|key| {
        let id = key.vkey.id().to_string();
        vec![key.principal().to_owned(), key.role.to_string(), id]
    });
    let rows: Vec<Vec<String>> = people.collect();
    place.say.table(&["name", "role", "key"], &[2], &rows)?;
    for vkey in trust.logs() {
        place.say.line(&format!("log: {}", vkey.id()))?;
    }
    let root = match trust.root() {
        None => "root: any of the sovereigns above, with any threshold".to_owned(),
        Some(rule) if rule.keys.is_empty() => format!(
            "root: any of the sovereigns above, at least {} of them",
            rule.threshold
        ),
        Some(rule) => {
            let ids: Vec<String> = rule.keys.iter().map(ToString::to_string).collect();
            format!(
                "root: exactly {}, at least {} of them",
                ids.join(", "),
                rule.threshold
            )
        }
    };
    place.say.line(&root)?;
    place
        .say
        .notice(&format!("{} as it is understood", path.display()));
    Ok(Exit::Done)
}

/// The line of a trust file for a key; none for an engine's, which the ledger alone registers.
pub fn line_of(role: KeyRole, vkey: &Vkey) -> Option<String> {
    match role {
        KeyRole::Person(role) => Some(format!("key {role} {vkey}\n")),
        KeyRole::Log => Some(format!("log {vkey}\n")),
        KeyRole::Engine => None,
    }
}

/// The trust file as it would be with one more key; nothing is written.
///
/// # Errors
/// RD0920 when the file cannot be read or does not take the key.
pub fn extended(path: &Path, role: KeyRole, vkey: &Vkey) -> Result<Trust, Fail> {
    let mut trust = if path.exists() {
        read_trust(path)?
    } else {
        Trust::new()
    };
    let added = match role {
        KeyRole::Person(role) => trust.add(role, vkey.clone()),
        KeyRole::Log => trust.add_log(vkey.clone()),
        KeyRole::Engine => Ok(()),
    };
    added
        .map_err(|fault| Fail::own("RD0920", format!("{fault}, trust file {}", path.display())))?;
    Ok(trust)
}

/// Adds the line of the log's key to `STATE/trust`, if it is that file and does not say so already.
///
/// # Errors
/// RD0921; what was done in the database stands.
pub fn add_log_line(place: &Place, log: &Vkey) -> Result<bool, Fail> {
    let path = place.trust_path()?;
    if place.globals.trust.is_some() || !path.exists() {
        return Ok(false);
    }
    let added = extended_by_log(&path, log);
    added.map(|()| true).map_err(|why| {
        let text = format!(
            "the ledger is open, the line `log {log}` could not be added to the trust file: {why}, {}",
            path.display()
        );
        Fail::own("RD0921", text)
    })
}

fn extended_by_log(path: &Path, log: &Vkey) -> Result<(), String> {
    let trust = read_trust(path).map_err(|fail| fail.to_string())?;
    if trust.logs().contains(log) {
        return Ok(());
    }
    extended(path, KeyRole::Log, log).map_err(|fail| fail.to_string())?;
    append(path, &format!("log {log}\n")).map_err(|error| error.to_string())
}

fn cannot_write(path: &Path, error: &io::Error) -> Fail {
    Fail::own(
        "RD0920",
        format!(
            "the trust file cannot be written: {error}, {}",
            path.display()
        ),
    )
}

/// Adds one line with one write, so that two commands do not mix theirs.
///
/// # Errors
/// What the system says.
pub fn append(path: &Path, line: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .read(true)
        .mode(0o644)
        .open(path)?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    let gap = if text.is_empty() || text.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    file.write_all(format!("{gap}{line}").as_bytes())?;
    file.sync_all()
}
