//! The typed `with` of the `postings` adapter.
//!
//! A text that begins with `/` is a pointer into the run's context; any other text is itself. So a value that is to begin
//! with `/` comes through the input.
//!
//! ```yaml
//! with:
//!   schema: postings                        # where the tables are; this is the default
//!   accounts: [/input/payer, "fees:*"]      # every account that the phase may lock or move; `*` ends a pattern
//!   keys: [order]                           # every key of metadata that it may lock, set or delete
//!   mode: strict                            # or ingest: deleting a key that is not there is noted, not refused
//!   open:                                   # accounts that may go below nothing; others are opened by their first use
//!     - {account: world, overdraft: true}
//!   expect:                                 # judged under lock before anything is moved
//!     - {account: /input/payer, asset: EUR/2, min: "0"}
//!   transactions:
//!     - as: payment                         # output: /phases/PHASE/payment/0/{id,effective,reference,existing,postings}
//!       reference: /input/reference         # used once; again with the same content: the same transaction
//!       effective: /input/date              # RFC 3339; left out: now
//!       postings:                           # or a pointer to such a list
//!         - {source: /input/payer, destination: fees:eu, asset: EUR/2, amount: "25"}
//!       metadata: {order: /input/order}     # of the transaction; or a pointer to such an object
//!   reverts:
//!     - as: refund
//!       transaction: /input/transaction     # or `receipt`, or both, which must then agree
//!       receipt: {note: /input/note, record: /input/record}
//!       reference: /input/reference
//!       effective: original                 # or now (the default), or a pointer to a time
//!       metadata: {}
//!       force: /input/forced_by             # who lets it overdraw an account; nothing there: nobody
//!       dry_run: /input/dry_run             # judged and reported, nothing is moved; also plain true or false
//!   metadata:
//!     - {account: /input/payer, set: {tier: gold}, delete: [note]}
//!     - {transaction: /input/transaction, set: /input/facts}
//!   compensation:                           # how this phase itself is taken back: by reversing transactions
//!     effective: original                   # or now (the default)
//!     force: /decision/principal            # an approved plan may overdraw, in the name of who signed it
//!     metadata: {reason: /plan/reason}
//! ```
//!
//! **Invariant:** a [`With`] written to JSON leaves out what is empty, so a saga built in Rust has the digest of the same
//! saga in a file that writes no defaults.

use std::collections::BTreeMap;
use std::fmt;

use redress::name::Name;
use redress::pointer::Pointer;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::schema::Schema;

/// What a phase with `adapter: postings` gives under `with`.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct With {
    /// Where the tables are.
    #[serde(skip_serializing_if = "Schema::is_default")]
    pub schema: Schema,
    /// Every account that the phase may lock or move.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub accounts: Vec<Term>,
    /// Every key of metadata that the phase may lock, set or delete.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<Term>,
    /// What deleting a key means that is not there.
    #[serde(skip_serializing_if = "Mode::is_strict")]
    pub mode: Mode,
    /// Accounts to open.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub open: Vec<Open>,
    /// Balances that must be there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub expect: Vec<Expect>,
    /// Transactions to commit.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub transactions: Vec<Transaction>,
    /// Transactions to reverse.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reverts: Vec<Revert>,
    /// Metadata to set and delete.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub metadata: Vec<Change>,
    /// How the phase itself is taken back.
    #[serde(skip_serializing_if = "WayBack::is_default")]
    pub compensation: WayBack,
}

/// A text of the file: a pointer when it begins with `/`, itself otherwise.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Term {
    /// Where the value stands.
    At(Pointer),
    /// The value.
    Text(String),
}

impl Term {
    /// The value itself.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(pointer) => pointer.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl Serialize for Term {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Term {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if !text.starts_with('/') {
            return Ok(Self::Text(text));
        }
        Pointer::parse(&text)
            .map(Self::At)
            .map_err(serde::de::Error::custom)
    }
}

/// What deleting a key of metadata means that is not there.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// A mistake: refused.
    #[default]
    Strict,
    /// Replay of what happened elsewhere: noted in the output as `absent`.
    Ingest,
}

impl Mode {
    fn is_strict(&self) -> bool {
        *self == Self::Strict
    }
}

/// An account to open.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Open {
    /// Its address.
    pub account: Term,
    /// Whether it may go below nothing; another answer for an account that is open already is refused.
    #[serde(default)]
    pub overdraft: bool,
}

/// A balance that must be there, judged under lock.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// The account.
    pub account: Term,
    /// The asset.
    pub asset: Term,
    /// The least, a string of digits with or without a sign.
    pub min: Term,
}

/// A transaction to commit.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transaction {
    /// The name under which it stands in the phase's output.
    #[serde(default, rename = "as", skip_serializing_if = "Option::is_none")]
    pub keep_as: Option<Name>,
    /// Used once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<Term>,
    /// When it counts; left out: now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective: Option<Term>,
    /// What is moved; together they balance, because each takes from one account what it gives to another.
    pub postings: Many<Posting>,
    /// What is known about it.
    #[serde(default, skip_serializing_if = "Facts::is_none")]
    pub metadata: Facts,
}

/// A list of the file, or where one stands in the context.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Many<T> {
    /// The list.
    Listed(Vec<T>),
    /// Where it stands.
    At(Pointer),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Many<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<T>(std::marker::PhantomData<T>);

        impl<'de, T: Deserialize<'de>> serde::de::Visitor<'de> for Visitor<T> {
            type Value = Many<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list, or a pointer to one")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Many<T>, E> {
                Pointer::parse(text).map(Many::At).map_err(E::custom)
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, seq: A) -> Result<Many<T>, A::Error> {
                let list = serde::de::value::SeqAccessDeserializer::new(seq);
                Vec::deserialize(list).map(Many::Listed)
            }
        }

        deserializer.deserialize_any(Visitor(std::marker::PhantomData))
    }
}

/// What is moved from one account to another.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Posting {
    /// From.
    pub source: Term,
    /// To.
    pub destination: Term,
    /// What.
    pub asset: Term,
    /// How much of its smallest unit.
    pub amount: Term,
}

/// Keys and values, or where an object of them stands in the context.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Facts {
    /// Keys and values.
    Listed(BTreeMap<String, Term>),
    /// Where they stand.
    At(Pointer),
}

impl Facts {
    /// Whether there is none.
    pub fn is_none(&self) -> bool {
        matches!(self, Self::Listed(map) if map.is_empty())
    }
}

impl Default for Facts {
    fn default() -> Self {
        Self::Listed(BTreeMap::new())
    }
}

impl<'de> Deserialize<'de> for Facts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Facts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("keys with their values, or a pointer to an object of them")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Facts, E> {
                Pointer::parse(text).map(Facts::At).map_err(E::custom)
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Facts, A::Error> {
                let map = serde::de::value::MapAccessDeserializer::new(map);
                BTreeMap::deserialize(map).map(Facts::Listed)
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

/// A transaction to reverse.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Revert {
    /// The name under which the reversal stands in the phase's output.
    #[serde(rename = "as", skip_serializing_if = "Option::is_none")]
    pub keep_as: Option<Name>,
    /// The id of what is reversed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transaction: Option<Term>,
    /// A signed receipt for the record that committed it, and that record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Receipt>,
    /// Used once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<Term>,
    /// When it counts: `now`, `original`, or a pointer to a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effective: Option<Term>,
    /// What is known about the reversal.
    #[serde(skip_serializing_if = "Facts::is_none")]
    pub metadata: Facts,
    /// Who lets it overdraw.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub force: Option<Pointer>,
    /// Judges and reports without moving anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<Switch>,
}

/// A signed receipt and the record that it is for.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// The signed note.
    pub note: Pointer,
    /// The record's canonical bytes, as text.
    pub record: Pointer,
}

/// True, false, or where that stands.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Switch {
    /// As written.
    Plain(bool),
    /// Where it stands.
    At(Pointer),
}

/// What changes about an account or a transaction.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Change {
    /// The account, or
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<Term>,
    /// the transaction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transaction: Option<Term>,
    /// Keys that get a value.
    #[serde(skip_serializing_if = "Facts::is_none")]
    pub set: Facts,
    /// Keys that are deleted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub delete: Vec<Term>,
}

/// How the phase itself is taken back.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WayBack {
    /// When the reversals count: `now` (left out) or `original`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effective: Option<Term>,
    /// Who lets them overdraw.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub force: Option<Pointer>,
    /// What is known about the reversals.
    #[serde(skip_serializing_if = "Facts::is_none")]
    pub metadata: Facts,
}

impl WayBack {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
