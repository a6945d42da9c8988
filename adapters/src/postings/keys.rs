//! The coverage gate for keys: which accounts and keys of metadata a phase may lock, change or delete.
//!
//! **Invariant:** every way to an account or a key of metadata goes through [`Keys`], before the row is locked; deletes
//! and what a reversal brings with it too. Nothing declared is nothing allowed.

use std::collections::BTreeSet;

use super::error::PostingsError;
use super::value::{Address, Key};

/// What a phase declares, pointers resolved.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Keys {
    accounts: Patterns,
    keys: Patterns,
}

/// Names, and beginnings of names (`users:*`).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Patterns {
    names: BTreeSet<String>,
    beginnings: Vec<String>,
}

impl Patterns {
    fn of<'t>(texts: impl IntoIterator<Item = &'t str>) -> Self {
        let mut patterns = Self::default();
        for text in texts {
            match text.strip_suffix('*') {
                Some(beginning) => patterns.beginnings.push(beginning.to_owned()),
                None => _ = patterns.names.insert(text.to_owned()),
            }
        }
        patterns
    }

    fn cover(&self, name: &str) -> bool {
        self.names.contains(name) || self.beginnings.iter().any(|b| name.starts_with(b.as_str()))
    }
}

impl Keys {
    /// Declares accounts and keys of metadata; a `*` at the end stands for any ending.
    pub fn new<'t>(
        accounts: impl IntoIterator<Item = &'t str>,
        keys: impl IntoIterator<Item = &'t str>,
    ) -> Self {
        Self {
            accounts: Patterns::of(accounts),
            keys: Patterns::of(keys),
        }
    }

    /// Refuses accounts that are not declared; all of them are named.
    pub(super) fn admit_accounts<'a>(
        &self,
        accounts: impl IntoIterator<Item = &'a Address>,
    ) -> Result<(), PostingsError> {
        let beyond: Vec<String> = accounts
            .into_iter()
            .filter(|account| !self.accounts.cover(account.as_str()))
            .map(|account| format!("account {account}"))
            .collect();
        refuse(&beyond)
    }

    /// Refuses keys of metadata that are not declared.
    pub(super) fn admit_keys<'a>(
        &self,
        keys: impl IntoIterator<Item = &'a Key>,
    ) -> Result<(), PostingsError> {
        let beyond: BTreeSet<&Key> = keys
            .into_iter()
            .filter(|key| !self.keys.cover(key.as_str()))
            .collect();
        let beyond: Vec<String> = beyond
            .iter()
            .map(|key| format!("metadata key {key}"))
            .collect();
        refuse(&beyond)
    }
}

fn refuse(beyond: &[String]) -> Result<(), PostingsError> {
    match beyond {
        [] => Ok(()),
        names => Err(PostingsError::CoverageMiss(names.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_declared_is_not_covered() {
        let check = |declared: &[&str], account: &str, covered: bool| {
            let keys = Keys::new(declared.iter().copied(), []);
            let account: Address = account.parse().expect("an account");
            assert_eq!(
                keys.admit_accounts([&account]).is_ok(),
                covered,
                "{account}"
            );
        };
        check(&[], "a", false);
        check(&["a"], "a", true);
        check(&["a"], "ab", false);
        check(&["ab"], "a", false);
        check(&["a:*"], "a:b:c", true);
        check(&["a:*"], "a", false);
        check(&["*"], "a", true);
        let key: Key = "order".parse().expect("a key");
        assert!(Keys::new(["*"], []).admit_keys([&key]).is_err());
    }
}
