//! Writes the bodies of root acts, without the signed act itself, which `Act::record_body` adds.
//!
//! Each function names the kind of the record that its body is for.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::hash::Hash;
use crate::key::{KeyId, Vkey};
use crate::note::Note;

use super::{Carried, KeyRole, Root};

/// `key.registered` at position 0 of generation 1: opens the log.
pub fn opening(root: &Root, log: &Vkey) -> Value {
    json!({"root": root.to_value(), "log": log.to_string()})
}

/// What a `generation.opened` has beside its signed act.
pub(super) const OPENING_MEMBERS: [&str; 6] =
    ["generation", "checkpoint", "carried", "root", "log", "keys"];

/// `generation.opened` at position 0 of a later generation: opens the log behind the last head of
/// the one before that somebody outside remembered, and says which log is carried into it. `keys`
/// are all others that stay valid.
pub fn generation_opened(
    generation: i64,
    checkpoint: &Note,
    carried: &Carried,
    root: &Root,
    log: &Vkey,
    keys: &[(Vkey, KeyRole)],
) -> Value {
    let keys: Vec<Value> = keys
        .iter()
        .map(|(vkey, role)| json!({"vkey": vkey.to_string(), "role": role.as_str()}))
        .collect();
    json!({
        "generation": generation,
        "checkpoint": checkpoint.to_string(),
        "carried": carried.to_value(),
        "root": root.to_value(),
        "log": log.to_string(),
        "keys": keys,
    })
}

/// `key.registered`: the key is valid from the next record on.
pub fn register(vkey: &Vkey, role: KeyRole) -> Value {
    json!({"vkey": vkey.to_string(), "role": role.as_str()})
}

/// `key.rotated`: another root, which its own threshold signs too.
pub fn rotate_root(root: &Root) -> Value {
    json!({"root": root.to_value()})
}

/// `key.rotated`: a key is replaced by another of the same name; the log's key only so.
pub fn rotate(old: &KeyId, new: &Vkey) -> Value {
    json!({"old": old, "new": new.to_string()})
}

/// `key.revoked`: the key is no longer valid.
pub fn revoke(key: &KeyId) -> Value {
    json!({"key": key})
}

/// `key.compromised`: the key is no longer valid, and what it signed from a position on is doubtful.
pub fn compromise(key: &KeyId, since: u64) -> Value {
    json!({"key": key, "since": since})
}

/// `blob.erased`: the blob and its salt are gone.
pub fn blob_erased(blob: Uuid) -> Value {
    json!({"blob": blob})
}

/// `policy.set` and `policy.retired`: the policy and whatever else is said of it.
pub fn policy(policy: &Hash, mut more: Map<String, Value>) -> Value {
    more.insert("policy".to_owned(), json!(policy));
    Value::Object(more)
}
