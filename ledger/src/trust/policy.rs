//! Decides whether enough witnesses saw a checkpoint: the part of a C2SP tlog-policy that says so.
//!
//! **Invariant:** a group speaks only of what stands above it and each name is a member once, so the
//! groups are trees and one pass in the order of the file decides.

use std::collections::{BTreeMap, BTreeSet};

use crate::note::{Note, NoteError};

use super::TrustFault;
use super::witness::WitnessKey;

/// The name that stands for no witness at all.
const NOBODY: &str = "none";

/// Witnesses, groups of them, and which of these must have seen a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Policy {
    /// In the order of the file; a member's place is before its group's.
    parties: Vec<Party>,
    places: BTreeMap<String, usize>,
    members: BTreeSet<usize>,
    quorum: Option<Quorum>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Party {
    Witness(WitnessKey),
    Group { needed: usize, members: Vec<usize> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quorum {
    Nobody,
    Party(usize),
}

impl Policy {
    pub(super) fn add_witness(&mut self, name: &str, vkey: &str) -> Result<(), TrustFault> {
        self.check_name(name)?;
        let key: WitnessKey = vkey.parse()?;
        if self.witnesses().any(|(_, known)| known.key() == key.key()) {
            return Err(TrustFault::KeyTwice(key.id().clone()));
        }
        self.add(name, Party::Witness(key));
        Ok(())
    }

    pub(super) fn add_group(
        &mut self,
        name: &str,
        needed: &str,
        members: &[&str],
    ) -> Result<(), TrustFault> {
        self.check_name(name)?;
        let mut places = Vec::with_capacity(members.len());
        for member in members {
            let undefined = || TrustFault::Undefined((*member).to_owned());
            let place = *self.places.get(*member).ok_or_else(undefined)?;
            if !self.members.insert(place) {
                return Err(undefined());
            }
            places.push(place);
        }
        let count = match needed {
            "any" => Some(1),
            "all" => Some(places.len()),
            number => read_count(number).and_then(|count| usize::try_from(count).ok()),
        };
        let needed = count
            .filter(|count| *count <= places.len())
            .ok_or_else(|| TrustFault::Needed(needed.to_owned()))?;
        let members = places;
        self.add(name, Party::Group { needed, members });
        Ok(())
    }

    pub(super) fn set_quorum(&mut self, name: &str) -> Result<(), TrustFault> {
        if self.quorum.is_some() {
            return Err(TrustFault::Twice("quorum"));
        }
        self.quorum = Some(match self.places.get(name) {
            Some(place) => Quorum::Party(*place),
            None if name == NOBODY => Quorum::Nobody,
            None => return Err(TrustFault::Undefined(name.to_owned())),
        });
        Ok(())
    }

    /// Whether the quorum saw the text of a note.
    pub(super) fn is_met(&self, note: &Note) -> Result<bool, NoteError> {
        let mut met = vec![false; self.parties.len()];
        for one in note.signatures() {
            // Four bytes of hash can be the same for two keys of one name: then both must hold.
            for (place, key) in self.witnesses().filter(|(_, key)| key.id() == one.key()) {
                if !key.has_cosigned(note.text(), one.bytes()) {
                    return Err(NoteError::BadSignature(one.key().clone()));
                }
                met[place] = true;
            }
        }
        for (place, party) in self.parties.iter().enumerate() {
            if let Party::Group { needed, members } = party {
                let count = members.iter().filter(|member| met[**member]).count();
                met[place] = count >= *needed;
            }
        }
        Ok(match self.quorum {
            Some(Quorum::Party(place)) => met[place],
            Some(Quorum::Nobody) | None => true,
        })
    }

    fn witnesses(&self) -> impl Iterator<Item = (usize, &WitnessKey)> {
        let all = self.parties.iter().enumerate();
        all.filter_map(|(place, party)| match party {
            Party::Witness(key) => Some((place, key)),
            Party::Group { .. } => None,
        })
    }

    fn check_name(&self, name: &str) -> Result<(), TrustFault> {
        if name == NOBODY || self.places.contains_key(name) {
            return Err(TrustFault::Name(name.to_owned()));
        }
        Ok(())
    }

    fn add(&mut self, name: &str, party: Party) {
        self.places.insert(name.to_owned(), self.parties.len());
        self.parties.push(party);
    }
}

/// Reads a count from 1 on, of at most four digits, in its one spelling.
pub(super) fn read_count(text: &str) -> Option<u64> {
    let digits = text.len() <= 4 && text.bytes().all(|byte| byte.is_ascii_digit());
    let plain = digits && !text.starts_with('0');
    plain.then(|| text.parse().ok())?
}
