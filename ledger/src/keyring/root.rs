//! Says who decides on keys: a set of sovereigns' keys, and how many of their holders it takes.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::key::{KeyError, KeyId, Vkey};
use crate::trust::Trust;

use super::KeyringError;

/// The most keys of a root.
pub const ROOT_KEYS_MAX: usize = 64;

/// The root of a ledger. It exists only if its own people can meet its threshold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    keys: BTreeMap<KeyId, Vkey>,
    threshold: u64,
}

impl Root {
    /// Names the keys and how many different people of them it takes.
    pub fn new(keys: &[Vkey], threshold: u64) -> Result<Root, KeyringError> {
        if keys.is_empty() || keys.len() > ROOT_KEYS_MAX {
            return Err(KeyringError::member("root"));
        }
        let mut root = Root {
            keys: BTreeMap::new(),
            threshold,
        };
        for vkey in keys {
            root.add(vkey.clone())?;
        }
        root.check_threshold()?;
        Ok(root)
    }

    /// Reads the member of a body.
    pub fn from_value(value: &Value) -> Result<Root, KeyringError> {
        let bad = || KeyringError::member("root");
        let members = value.as_object().filter(|members| members.len() == 2);
        let members = members.ok_or_else(bad)?;
        let keys = members.get("keys").and_then(Value::as_array);
        let keys = keys.filter(|keys| (1..=ROOT_KEYS_MAX).contains(&keys.len()));
        let keys = keys.ok_or_else(bad)?;
        let threshold = members.get("threshold").and_then(Value::as_i64);
        let threshold = threshold.ok_or_else(bad)?;
        let mut root = Root {
            keys: BTreeMap::new(),
            threshold: u64::try_from(threshold).unwrap_or_default(),
        };
        for one in keys {
            let pair = one.as_object().filter(|members| members.len() == 2);
            let pair = pair.and_then(|pair| Some((pair.get("vkey")?, pair.get("principal")?)));
            let (vkey, principal) = pair.ok_or_else(bad)?;
            let vkey: Vkey = vkey.as_str().ok_or(KeyError::Vkey)?.parse()?;
            if principal.as_str() != Some(vkey.name()) {
                return Err(bad());
            }
            root.add(vkey)?;
        }
        root.check_threshold()?;
        Ok(root)
    }

    fn add(&mut self, vkey: Vkey) -> Result<(), KeyringError> {
        let same = |known: &Vkey| known.key() == vkey.key();
        if self.keys.contains_key(vkey.id()) || self.keys.values().any(same) {
            return Err(KeyringError::UsedAgain(vkey.id().clone()));
        }
        self.keys.insert(vkey.id().clone(), vkey);
        Ok(())
    }

    fn check_threshold(&self) -> Result<(), KeyringError> {
        let people: BTreeSet<&str> = self.keys.values().map(Vkey::name).collect();
        let most = u64::try_from(people.len()).unwrap_or(u64::MAX);
        if (1..=most).contains(&self.threshold) {
            Ok(())
        } else {
            Err(KeyringError::member("root"))
        }
    }

    /// Writes the member of a body.
    pub fn to_value(&self) -> Value {
        let keys: Vec<Value> = self
            .keys
            .values()
            .map(|vkey| json!({"principal": vkey.name(), "vkey": vkey.to_string()}))
            .collect();
        json!({"keys": keys, "threshold": self.threshold})
    }

    /// How many different people it takes.
    pub fn threshold(&self) -> u64 {
        self.threshold
    }

    /// Its keys, by id.
    pub fn keys(&self) -> impl Iterator<Item = (&KeyId, &Vkey)> {
        self.keys.iter()
    }

    /// The key with this id, if it is one of the root.
    pub fn key(&self, id: &KeyId) -> Option<&Vkey> {
        self.keys.get(id)
    }

    /// Checks that enough of its people are among these signers.
    pub(super) fn check_met(&self, signers: &[KeyId]) -> Result<(), KeyringError> {
        let own = signers.iter().filter_map(|id| self.keys.get(id));
        let people: BTreeSet<&str> = own.map(Vkey::name).collect();
        let threshold = self.threshold;
        if u64::try_from(people.len()).unwrap_or(u64::MAX) >= threshold {
            Ok(())
        } else {
            Err(KeyringError::Threshold(threshold))
        }
    }

    /// Whether the reader's file names exactly this root, as far as it says anything.
    pub fn is_named_by(&self, trust: &Trust) -> bool {
        let known = |(id, vkey): (&KeyId, &Vkey)| {
            trust
                .sovereigns()
                .any(|key| key.vkey.id() == id && key.vkey.key() == vkey.key())
        };
        let Some(rule) = trust.root() else {
            return self.keys().all(known);
        };
        self.keys().all(known)
            && self.threshold >= rule.threshold
            && (rule.keys.is_empty() || rule.keys.iter().eq(self.keys.keys()))
    }
}
