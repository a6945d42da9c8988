//! Reads what a root act would change, and whether the keys that are there allow it.

use serde_json::{Map, Value};
use uuid::Uuid;

use crate::act::DECISION_MEMBER;
use crate::checkpoint::{Checkpoint, CheckpointError, log_origin, split_log_origin};
use crate::hash::Hash;
use crate::key::{KeyError, KeyId, Vkey};
use crate::record::{Kind, Record};

use super::archived::{self, Archived};
use super::body::OPENING_MEMBERS;
use super::carried::{Carried, Older};
use super::{KeyRole, Keyring, KeyringError, LedgerKey, Place, Root, Standing};

/// What a root act does once it is known to be signed.
pub(super) enum Change {
    Open {
        root: Root,
        log: Vkey,
        others: Vec<(Vkey, KeyRole)>,
        older: Option<Older>,
    },
    Add(Vkey, KeyRole),
    Replace {
        old: KeyId,
        new: Vkey,
        role: KeyRole,
    },
    Root(Root),
    End(KeyId),
    Compromise {
        key: KeyId,
        since: u64,
    },
    Nothing,
}

impl Change {
    /// The root that has to sign beside the one in force.
    pub(super) fn new_root(&self) -> Option<&Root> {
        match self {
            Change::Open { root, .. } | Change::Root(root) => Some(root),
            _ => None,
        }
    }
}

type Body = Map<String, Value>;

impl Keyring {
    /// Reads the body of a root act.
    pub(super) fn change(&self, record: &Record, place: Place) -> Result<Change, KeyringError> {
        let empty = Map::new();
        let body = record.body.as_object().unwrap_or(&empty);
        let has_root = body.contains_key("root");
        match record.kind {
            Kind::GenerationOpened => {
                closed(body, &OPENING_MEMBERS)?;
                self.open(record, body)
            }
            Kind::KeyRegistered if has_root => {
                closed(body, &["root", "log"])?;
                self.open(record, body)
            }
            Kind::KeyRegistered => {
                closed(body, &["vkey", "role"])?;
                let role = read_role(body.get("role"))?;
                let vkey = self.unused(read_vkey(body.get("vkey"))?)?;
                self.agrees(&vkey, role)?;
                Ok(Change::Add(vkey, role))
            }
            Kind::KeyRotated if has_root => {
                closed(body, &["root"])?;
                self.rotate_root(read_root(body)?)
            }
            Kind::KeyRotated => {
                closed(body, &["old", "new"])?;
                self.rotate(body)
            }
            Kind::KeyRevoked => {
                closed(body, &["key"])?;
                let key = self.ordinary(text(body, "key")?, true)?;
                Ok(Change::End(key.vkey.id().clone()))
            }
            Kind::KeyCompromised => {
                closed(body, &["key", "since"])?;
                self.compromise(body, place)
            }
            Kind::BlobErased => {
                closed(body, &["blob"])?;
                let blob = text(body, "blob")?;
                let plain = blob.parse().is_ok_and(|id: Uuid| id.to_string() == blob);
                if plain {
                    Ok(Change::Nothing)
                } else {
                    Err(KeyringError::member("blob"))
                }
            }
            Kind::RunsArchived => {
                closed(body, &archived::MEMBERS)?;
                let archived = Archived::from_body(body)?;
                // Nothing is archived that has no place yet.
                place.holds("through", archived.through)?;
                Ok(Change::Nothing)
            }
            _ => match text(body, "policy")?.parse::<Hash>() {
                Ok(_) => Ok(Change::Nothing),
                Err(_) => Err(KeyringError::member("policy")),
            },
        }
    }

    fn open(&self, record: &Record, body: &Body) -> Result<Change, KeyringError> {
        let root = read_root(body)?;
        let log = read_vkey(body.get("log"))?;
        if log.name() != log_origin(&record.origin, self.generation) {
            let what = "the log's key has another name than the log";
            return Err(KeyringError::forbidden(what, log.name()));
        }
        let (mut others, mut older) = (Vec::new(), None);
        if record.kind == Kind::GenerationOpened {
            let pinned = self.read_pinned(record, body)?;
            let carried = Carried::read(body.get("carried").unwrap_or(&Value::Null))
                .ok_or_else(|| KeyringError::member("carried"))?;
            older = Some(Older { pinned, carried });
            others = read_keys(body)?;
        }
        let roots = root.keys().map(|(_, vkey)| (vkey, KeyRole::SOVEREIGN));
        let rest = others.iter().map(|(vkey, role)| (vkey, *role));
        let all: Vec<(&Vkey, KeyRole)> = roots.chain([(&log, KeyRole::Log)]).chain(rest).collect();
        for (index, (vkey, role)) in all.iter().enumerate() {
            let same = |(known, _): &(&Vkey, KeyRole)| {
                known.id() == vkey.id() || known.key() == vkey.key()
            };
            // A second one of the same id is named wherever it stands, before or behind.
            let id_behind = |(known, _): &(&Vkey, KeyRole)| known.id() == vkey.id();
            if all[..index].iter().any(same) || all[index + 1..].iter().any(id_behind) {
                return Err(KeyringError::UsedAgain(vkey.id().clone()));
            }
            self.agrees(vkey, *role)?;
        }
        Ok(Change::Open {
            root,
            log,
            others,
            older,
        })
    }

    /// The last head of the generation before; those who hold its key can check that it is one.
    fn read_pinned(&self, record: &Record, body: &Body) -> Result<Checkpoint, KeyringError> {
        if body.get("generation").and_then(Value::as_i64) != Some(record.generation) {
            return Err(KeyringError::member("generation"));
        }
        let checkpoint = body.get("checkpoint").and_then(Value::as_str);
        let keys = body.get("keys").and_then(Value::as_array);
        let (Some(checkpoint), Some(_)) = (checkpoint, keys) else {
            return Err(KeyringError::member("checkpoint"));
        };
        let (pinned, note) = Checkpoint::parse(checkpoint.as_bytes())?;
        let older = split_log_origin(&pinned.origin)
            .is_some_and(|(origin, n)| origin == record.origin && n + 1 == self.generation);
        if !older {
            return Err(CheckpointError::OtherOrigin(pinned.origin).into());
        }
        note.signers(self.trust.logs())
            .map_err(CheckpointError::from)?;
        Ok(pinned)
    }

    fn rotate(&self, body: &Body) -> Result<Change, KeyringError> {
        let old = text(body, "old")?;
        let is_log = self
            .log_key()
            .is_some_and(|log| log.id().to_string() == old);
        let old = match self.find(old) {
            Some(key) if is_log => key,
            _ => self.ordinary(old, true)?,
        };
        let new = self.unused(read_vkey(body.get("new"))?)?;
        if new.name() != old.vkey.name() {
            let what = "a key is replaced by one of the same holder";
            return Err(KeyringError::forbidden(what, new.id()));
        }
        self.agrees(&new, old.role)?;
        Ok(Change::Replace {
            old: old.vkey.id().clone(),
            new,
            role: old.role,
        })
    }

    fn rotate_root(&self, root: Root) -> Result<Change, KeyringError> {
        for (id, vkey) in root.keys() {
            match self.standing(id) {
                Standing::Unknown => {
                    self.unused(vkey.clone())?;
                    self.agrees(vkey, KeyRole::SOVEREIGN)?;
                }
                Standing::Valid(known)
                    if known.vkey.key() == vkey.key() && known.role == KeyRole::SOVEREIGN => {}
                Standing::Valid(_) | Standing::Ended(_) => {
                    return Err(KeyringError::forbidden("the key cannot become a root", id));
                }
            }
        }
        Ok(Change::Root(root))
    }

    fn compromise(&self, body: &Body, place: Place) -> Result<Change, KeyringError> {
        let since = body.get("since").and_then(Value::as_u64);
        let since = since.ok_or_else(|| KeyringError::member("since"))?;
        place.holds("since", since)?;
        let key = self.ordinary(text(body, "key")?, false)?;
        let key = key.vkey.id().clone();
        Ok(Change::Compromise { key, since })
    }

    /// A key that may be taken away by itself: neither the log's nor one of the root.
    fn ordinary(&self, id: &str, valid: bool) -> Result<&LedgerKey, KeyringError> {
        let key = self.find(id).filter(|key| !valid || key.until.is_none());
        let key = key.ok_or_else(|| KeyringError::NotInForce(id.to_owned()))?;
        let id = key.vkey.id();
        let log = self.log_key().is_some_and(|log| log.id() == id);
        if log || self.root().is_some_and(|root| root.key(id).is_some()) {
            let what = "the key in force is replaced and not taken away";
            return Err(KeyringError::forbidden(what, id));
        }
        Ok(key)
    }

    fn find(&self, id: &str) -> Option<&LedgerKey> {
        self.keys.get(&id.parse().ok()?)
    }

    fn unused(&self, vkey: Vkey) -> Result<Vkey, KeyringError> {
        if self.keys.contains_key(vkey.id()) || self.publics.contains(vkey.key().as_bytes()) {
            return Err(KeyringError::UsedAgain(vkey.id().clone()));
        }
        Ok(vkey)
    }

    /// What the reader's file says of a public key holds against what the ledger says of it.
    fn agrees(&self, vkey: &Vkey, role: KeyRole) -> Result<(), KeyringError> {
        let people = self.trust.keys();
        let people = people.map(|known| (&known.vkey, KeyRole::Person(known.role)));
        let logs = self.trust.logs().iter().map(|known| (known, KeyRole::Log));
        let differs = people.chain(logs).any(|(known, known_role)| {
            known.key() == vkey.key() && (known_role != role || known.name() != vkey.name())
        });
        if differs {
            return Err(KeyringError::TrustDiffers(vkey.id().clone()));
        }
        Ok(())
    }
}

impl Place {
    /// Checks that a position that the body names is there. Where none is known, nothing can be held against it.
    fn holds(self, name: &'static str, position: u64) -> Result<(), KeyringError> {
        match self.last.filter(|last| position > *last) {
            Some(last) => Err(KeyringError::Beyond {
                name,
                position,
                last,
            }),
            None => Ok(()),
        }
    }
}

/// Checks that a body has exactly these members beside the signed act.
fn closed(body: &Body, names: &[&str]) -> Result<(), KeyringError> {
    if let Some(missing) = names.iter().find(|name| !body.contains_key(**name)) {
        return Err(KeyringError::member(missing));
    }
    let known = |name: &str| name == DECISION_MEMBER || names.contains(&name);
    match body.keys().find(|name| !known(name)) {
        Some(name) => Err(KeyringError::member(name)),
        None => Ok(()),
    }
}

fn text<'b>(body: &'b Body, name: &str) -> Result<&'b str, KeyringError> {
    let text = body.get(name).and_then(Value::as_str);
    text.ok_or_else(|| KeyringError::member(name))
}

fn read_root(body: &Body) -> Result<Root, KeyringError> {
    Root::from_value(body.get("root").unwrap_or(&Value::Null))
}

fn read_vkey(value: Option<&Value>) -> Result<Vkey, KeyringError> {
    let text = value.and_then(Value::as_str).ok_or(KeyError::Vkey)?;
    Ok(text.parse()?)
}

/// Any role but that of the log, whose key comes with the opening or replaces another.
fn read_role(value: Option<&Value>) -> Result<KeyRole, KeyringError> {
    let text = value.and_then(Value::as_str).unwrap_or_default();
    match text.parse()? {
        KeyRole::Log => Err(KeyError::Role(text.to_owned()).into()),
        role => Ok(role),
    }
}

fn read_keys(body: &Body) -> Result<Vec<(Vkey, KeyRole)>, KeyringError> {
    let bad = || KeyringError::member("keys");
    let keys = body.get("keys").and_then(Value::as_array).ok_or_else(bad)?;
    let mut all = Vec::with_capacity(keys.len());
    for one in keys {
        let pair = one.as_object().filter(|members| members.len() == 2);
        let pair = pair.and_then(|pair| Some((pair.get("vkey")?, pair.get("role")?)));
        let (vkey, role) = pair.ok_or_else(bad)?;
        all.push((read_vkey(Some(vkey))?, read_role(Some(role))?));
    }
    Ok(all)
}
