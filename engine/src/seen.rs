//! What a reader of the log has seen: transactions below a number, but for those that were in flight.
//!
//! **Invariant:** a record becomes visible at the commit of its transaction, and transactions commit in any order. So what was
//! seen is a set of transactions and not a last number; whoever remembers a number skips late committers.

use std::collections::BTreeSet;

/// A snapshot of PostgreSQL: everything below `below` was decided, but for `in_flight`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub below: u64,
    pub in_flight: BTreeSet<u64>,
}

impl Seen {
    /// Reads `xmin:xmax:xip,...`.
    pub fn parse(text: &str) -> Option<Seen> {
        let mut parts = text.split(':');
        let (_, below, list) = (parts.next()?, parts.next()?, parts.next()?);
        let list = list.split(',').filter(|xid| !xid.is_empty());
        Some(Seen {
            below: below.parse().ok()?,
            in_flight: list.map(|xid| xid.parse().ok()).collect::<Option<_>>()?,
        })
    }

    /// What was seen when only transactions below `limit` were read, and those of `waiting` not wholly sealed.
    pub fn up_to(&self, limit: Option<u64>, waiting: &BTreeSet<u64>) -> Seen {
        let below = limit.map_or(self.below, |limit| limit.min(self.below));
        let late = self.in_flight.union(waiting).copied();
        Seen {
            below,
            in_flight: late.filter(|xid| *xid < below).collect(),
        }
    }

    /// What was seen, as [`Seen::parse`] reads it.
    pub fn to_text(&self) -> String {
        let list: Vec<String> = self.in_flight.iter().map(u64::to_string).collect();
        let least = self.in_flight.first().unwrap_or(&self.below);
        format!("{least}:{}:{}", self.below, list.join(","))
    }
}
