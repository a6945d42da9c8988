//! Tells whose signatures an act still needs, without judging one of them.

use std::collections::BTreeSet;

use crate::act::Act;
use crate::envelope::Envelope;
use crate::key::Vkey;

use super::{Keyring, KeyringError, Root};

/// What one root still needs before an act counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    /// Whether it is the root that the act would bring, and not the one in force.
    pub is_new: bool,
    /// How many different people it takes.
    pub threshold: u64,
    /// The people of it whose signatures are there.
    pub signed: Vec<String>,
    /// The people of it who could still sign.
    pub open: Vec<String>,
}

impl Keyring {
    /// What the roots that decide on an act still need; empty if enough of their people signed.
    ///
    /// Only the names under the envelope are counted. Whether its signatures hold is said when its
    /// record is pushed, and nowhere else.
    pub fn lacks(&self, act: &Act, envelope: &Envelope) -> Result<Vec<Lack>, KeyringError> {
        let new = match act.body.get("root") {
            Some(root) => Some(Root::from_value(root)?),
            None => None,
        };
        let roots = self.root().map(|root| (root, false));
        let roots = roots
            .into_iter()
            .chain(new.as_ref().map(|root| (root, true)));
        let mut lacks = Vec::new();
        for (root, is_new) in roots {
            let lack = lack(root, is_new, envelope);
            if u64::try_from(lack.signed.len()).unwrap_or(u64::MAX) < lack.threshold {
                lacks.push(lack);
            }
        }
        Ok(lacks)
    }

    /// Whether an act was written behind the last record of the keys that this keyring has.
    pub fn is_next(&self, act: &Act) -> bool {
        act.basis == self.basis()
    }
}

fn lack(root: &Root, is_new: bool, envelope: &Envelope) -> Lack {
    let signed: BTreeSet<&str> = envelope
        .signatures
        .iter()
        .filter_map(|one| root.key(&one.keyid))
        .map(Vkey::name)
        .collect();
    let all: BTreeSet<&str> = root.keys().map(|(_, vkey)| vkey.name()).collect();
    let owned = |names: &BTreeSet<&str>| names.iter().map(|name| (*name).to_owned()).collect();
    Lack {
        is_new,
        threshold: root.threshold(),
        signed: owned(&signed),
        open: owned(&all.difference(&signed).copied().collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::log_origin;
    use crate::key::SigningKey;
    use crate::keyring::{Terms, body};
    use crate::record::Kind;
    use crate::testing::{LATER, ORIGIN, key, run};

    #[test]
    fn who_is_missing_is_told_by_name_until_the_threshold_is_met() {
        let keys = ["alice", "dave", "frank"].map(|name| key(name).vkey().clone());
        let root = Root::new(&keys, 2).unwrap();
        let log = SigningKey::from_seed(&log_origin(ORIGIN, 1), &[7; 32]).unwrap();
        let terms = Terms {
            id: run(500),
            origin: ORIGIN.to_owned(),
            not_after: LATER.to_owned(),
            reason: "as agreed".to_owned(),
        };
        let ring = Keyring::new(1);
        let opening = body::opening(&root, log.vkey());
        let act = ring.act(Kind::KeyRegistered, opening, terms).unwrap();
        let mut envelope = Envelope::unsigned_act(&act).unwrap();
        let told = |envelope: &Envelope| ring.lacks(&act, envelope).unwrap();
        let text = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let lack = |signed: &[&str], open: &[&str]| Lack {
            is_new: true,
            threshold: 2,
            signed: text(signed),
            open: text(open),
        };
        assert_eq!(told(&envelope), [lack(&[], &["alice", "dave", "frank"])]);
        envelope.countersign(&key("dave")).unwrap();
        assert_eq!(told(&envelope), [lack(&["dave"], &["alice", "frank"])]);
        // Somebody who is none of the root is not counted.
        envelope.countersign(&key("eve")).unwrap();
        assert_eq!(told(&envelope), [lack(&["dave"], &["alice", "frank"])]);
        envelope.countersign(&key("frank")).unwrap();
        assert_eq!(told(&envelope), []);
        assert!(ring.is_next(&act));
    }
}
