//! `key list`: the keys of this machine, and with `--ledger` those of the ledger.

use redress_ledger::keyfile::list_public;
use redress_ledger::keyring::{KeyRole, Keyring, LedgerKey, Root};
use redress_ledger::trust::Trust;
use serde_json::{Value, json};

use crate::exit::Exit;
use crate::fail::Fail;
use crate::place::Place;

/// Which keys to list.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// Also the keyring of the ledger, which needs the database
    #[arg(long)]
    pub ledger: bool,
}

/// Name and id of a key for a table: a log has a long name, and only one log is meant here.
pub fn cells(role: KeyRole, name: &str, id: &str) -> (String, String) {
    match (role, id.rsplit_once('/')) {
        (KeyRole::Log, Some((_, end))) => ("the log".to_owned(), format!("…/{end}")),
        _ => (name.to_owned(), id.to_owned()),
    }
}

/// A key of this machine.
struct Own {
    name: String,
    role: KeyRole,
    id: String,
    here: bool,
    trusted: bool,
}

/// Lists keys.
///
/// # Errors
/// [`Fail`]: a file or the database cannot be read.
pub async fn list(place: &Place, args: &ListArgs) -> Result<Exit, Fail> {
    let own = own(place)?;
    let keyring = if args.ledger {
        place.engine().await?.keyring().await?
    } else {
        None
    };
    if place.say.is_json() {
        let list: Vec<Value> = own
            .iter()
            .map(|key| {
                json!({
                    "name": key.name,
                    "role": key.role.as_str(),
                    "id": key.id,
                    "here": key.here,
                    "trusted": key.trusted,
                })
            })
            .collect();
        let mut value = json!({"schema": 1, "keys": list, "errors": []});
        if args.ledger {
            value["ledger"] = keyring.as_ref().map_or(Value::Null, ledger_json);
        }
        place.say.value(&value)?;
        return Ok(Exit::Done);
    }
    let yes = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    let rows: Vec<Vec<String>> = own
        .into_iter()
        .map(|key| {
            let (here, trusted) = (yes(key.here), yes(key.trusted));
            let (name, id) = cells(key.role, &key.name, &key.id);
            vec![name, key.role.to_string(), id, here, trusted]
        })
        .collect();
    place
        .say
        .table(&["name", "role", "key", "here", "trusted"], &[2], &rows)?;
    match &keyring {
        Some(keyring) => print_ledger(place, keyring)?,
        None if args.ledger => place
            .say
            .notice("the ledger is not open: the trust file alone says whose signatures count (redress key open)"),
        None => {}
    }
    Ok(Exit::Done)
}

/// The keys in STATE/keys, then those of the trust file that are not among them.
fn own(place: &Place) -> Result<Vec<Own>, Fail> {
    let keys = place.keys()?;
    let files = if keys.exists() {
        list_public(&keys)?
    } else {
        Vec::new()
    };
    let trust = place.trust()?.unwrap_or_else(Trust::new);
    let mut rows: Vec<Own> = files
        .into_iter()
        .map(|(role, vkey)| Own {
            name: vkey.name().to_owned(),
            trusted: trust.lookup(vkey.id()).is_some() || trust.logs().contains(&vkey),
            role,
            id: vkey.id().to_string(),
            here: true,
        })
        .collect();
    let people = trust.keys().map(|key| (KeyRole::from(key.role), &key.vkey));
    let logs = trust.logs().iter().map(|vkey| (KeyRole::Log, vkey));
    for (role, vkey) in people.chain(logs) {
        let id = vkey.id().to_string();
        if rows.iter().all(|row| row.id != id) {
            rows.push(Own {
                name: vkey.name().to_owned(),
                role,
                id,
                here: false,
                trusted: true,
            });
        }
    }
    Ok(rows)
}

fn ledger_json(keyring: &Keyring) -> Value {
    let keys: Vec<Value> = keyring
        .keys()
        .map(|key| {
            json!({
                "name": key.vkey().name(),
                "role": key.role().as_str(),
                "id": key.vkey().id().to_string(),
                "vkey": key.vkey().to_string(),
                "valid": key.until().is_none(),
                "since": key.since() + 1,
                "ended": key.until().map(|at| at + 1),
                "root": is_root(keyring, key),
            })
        })
        .collect();
    json!({
        "threshold": keyring.root().map(Root::threshold),
        "log": keyring.log_key().map(|vkey| vkey.id().to_string()),
        "record": keyring.basis().map(|basis| basis.seq),
        "keys": keys,
    })
}

fn print_ledger(place: &Place, keyring: &Keyring) -> Result<(), Fail> {
    let rows: Vec<Vec<String>> = keyring
        .keys()
        .map(|key| {
            let stands = match key.until() {
                None => "valid".to_owned(),
                Some(at) => format!("ended by record {}", at + 1),
            };
            let root = if is_root(keyring, key) { "yes" } else { "no" };
            let vkey = key.vkey();
            let (name, id) = cells(key.role(), vkey.name(), &vkey.id().to_string());
            vec![
                name,
                key.role().to_string(),
                id,
                stands,
                format!("record {}", key.since() + 1),
                root.to_owned(),
            ]
        })
        .collect();
    place.say.line("")?;
    place
        .say
        .line("the ledger's keyring, by its own records:")?;
    let header = ["name", "role", "key", "stands", "since", "root"];
    place.say.table(&header, &[2], &rows)?;
    if let Some(root) = keyring.root() {
        place.say.line(&format!(
            "threshold of the root: {} different people",
            root.threshold()
        ))?;
    }
    Ok(())
}

fn is_root(keyring: &Keyring, key: &LedgerKey) -> bool {
    keyring
        .root()
        .is_some_and(|root| root.key(key.vkey().id()).is_some())
}
