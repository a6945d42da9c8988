//! Finds the key that somebody names: by its public key, its file, its name or its id.

use std::path::Path;

use redress_ledger::key::{KeyId, Vkey};
use redress_ledger::keyfile::{key_path, read_public};
use redress_ledger::keyring::{KeyRole, Keyring, LedgerKey};

use redress_ledger::sshsig::{SSH_BYTES_MAX, read_public_key};

use crate::fail::Fail;
use crate::place::Place;
use crate::read::read_file;

/// A public key, and what the place where it was found says that it is for.
#[derive(Debug)]
pub struct Found {
    /// The key.
    pub vkey: Vkey,
    stated: Option<KeyRole>,
}

impl Found {
    /// What the key is for: as the caller says, as its file says, and never both differently.
    ///
    /// # Errors
    /// RD0579 when they differ, RD0913 when neither says it, RD0509.
    pub fn role(&self, given: Option<&str>) -> Result<KeyRole, Fail> {
        let given: Option<KeyRole> = given.map(str::parse).transpose()?;
        match (given, self.stated) {
            (Some(given), Some(stated)) if given != stated => Err(Fail::own(
                "RD0579",
                format!(
                    "--role says {given}, and the key's own file or line says {stated}: {}",
                    self.vkey.id()
                ),
            )),
            (Some(role), _) | (None, Some(role)) => Ok(role),
            (None, None) => Err(Fail::own(
                "RD0913",
                format!(
                    "what the key is for is missing: give --role ROLE, key {}",
                    self.vkey.id()
                ),
            )),
        }
    }
}

/// The public key that a text means: itself, a `.pub` file, or a name in STATE/keys or in the trust file.
///
/// # Errors
/// RD0915 when there is none, RD0919 when there are several; [`Fail::KeyFile`].
pub fn public_key(place: &Place, text: &str) -> Result<Found, Fail> {
    if text.matches('+').count() > 1 {
        let vkey = text.parse()?;
        return Ok(Found { vkey, stated: None });
    }
    let path = Path::new(text);
    if path.extension().is_some_and(|end| end == "pub") {
        return found_in(path);
    }
    let keys = place.keys()?;
    if let Ok(path) = key_path(&keys, text) {
        let path = path.with_extension("pub");
        if path.exists() {
            return found_in(&path);
        }
    }
    let trust = place.trust()?.unwrap_or_default();
    let named: Vec<_> = trust
        .keys()
        .filter(|key| key.principal() == text || key.vkey.id().to_string() == text)
        .collect();
    match named.as_slice() {
        [one] => Ok(Found {
            vkey: one.vkey.clone(),
            stated: Some(one.role.into()),
        }),
        [] => Err(Fail::own(
            "RD0915",
            format!(
                "no key of this name in {} and in the trust file: {text}",
                keys.display()
            ),
        )),
        _ => Err(Fail::own(
            "RD0919",
            format!("the trust file has several keys of this name, give the id of one: {text}"),
        )),
    }
}

fn found_in(path: &Path) -> Result<Found, Fail> {
    if let Some(found) = openssh(path)? {
        return Ok(found);
    }
    let (role, vkey) = read_public(path)?;
    Ok(Found {
        vkey,
        stated: Some(role),
    })
}

/// The key of a file as `id_ed25519.pub`; its comment names the person.
fn openssh(path: &Path) -> Result<Option<Found>, Fail> {
    let text = read_file(path, SSH_BYTES_MAX)?;
    let text = String::from_utf8_lossy(&text);
    if !text.starts_with("ssh-") && !text.starts_with("sk-ssh-") {
        return Ok(None);
    }
    let (key, name) =
        read_public_key(&text).map_err(|error| Fail::own(error.code(), error.to_string()))?;
    let vkey = Vkey::new(&name, key).map_err(|error| {
        let text = format!(
            "the comment of the key's line names its holder, a word without spaces: {error}, {}",
            path.display()
        );
        Fail::own(error.code(), text)
    })?;
    Ok(Some(Found { vkey, stated: None }))
}

/// The key of the ledger that a text means: an id, a name, or `log`; one that counts before one that did.
///
/// # Errors
/// RD0573 when there is none, RD0919 when there are several.
pub fn ledger_key(keyring: &Keyring, text: &str) -> Result<KeyId, Fail> {
    let fits = |key: &&LedgerKey| {
        let vkey = key.vkey();
        vkey.name() == text
            || vkey.id().to_string() == text
            || (text == "log" && key.role() == KeyRole::Log)
    };
    let all: Vec<&LedgerKey> = keyring.keys().filter(fits).collect();
    let valid: Vec<&LedgerKey> = all
        .iter()
        .copied()
        .filter(|key| key.until().is_none())
        .collect();
    let meant = if valid.is_empty() { all } else { valid };
    match meant.as_slice() {
        [one] => Ok(one.vkey().id().clone()),
        [] => Err(Fail::own(
            "RD0573",
            format!("the ledger knows no key of this name or id: {text}"),
        )),
        several => {
            let ids: Vec<String> = several
                .iter()
                .map(|key| key.vkey().id().to_string())
                .collect();
            Err(Fail::own(
                "RD0919",
                format!(
                    "several keys of the ledger have this name, give the id of one: {}",
                    ids.join(", ")
                ),
            ))
        }
    }
}
