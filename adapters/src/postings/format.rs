//! The undo data of a record: what a reversal needs of each transaction that a phase committed, and what its metadata was.
//!
//! **Invariant:** a name that was ever in a record keeps its meaning: [`FIELDS`] lists every one with its number, the
//! retired ones too, and neither is used a second time.
//!
//! **What can go wrong:** a record without these fields is of an older format (`LegacyRecord`); one of a newer format is
//! not read by guesswork.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::error::PostingsError;
use super::schema::Schema;
use super::value::{Address, Amount, Asset};

/// The format that is written, and the only one that is read.
pub const FORMAT: u32 = 1;

/// A field of the records, for ever.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Field {
    /// Its number; dense from 1.
    pub number: u16,
    /// Its name.
    pub name: &'static str,
    /// The format that stopped using it.
    pub retired: Option<u32>,
}

const fn field(number: u16, name: &'static str) -> Field {
    Field {
        number,
        name,
        retired: None,
    }
}

/// Every field that was ever written. New ones are added at the end; one that is not written any more gets `retired`.
pub const FIELDS: [Field; 17] = [
    field(1, "format"),
    field(2, "schema"),
    field(3, "transactions"),
    field(4, "id"),
    field(5, "effective"),
    field(6, "postings"),
    field(7, "source"),
    field(8, "destination"),
    field(9, "asset"),
    field(10, "amount"),
    field(11, "metadata"),
    field(12, "kind"),
    field(13, "target"),
    field(14, "key"),
    field(15, "was"),
    field(16, "revision"),
    field(17, "value"),
];

/// What is moved from one account to another.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Posting {
    /// From.
    pub source: Address,
    /// To.
    pub destination: Address,
    /// What.
    pub asset: Asset,
    /// How much of its smallest unit.
    pub amount: Amount,
}

impl Posting {
    /// The same the other way.
    pub fn mirrored(&self) -> Self {
        Self {
            source: self.destination.clone(),
            destination: self.source.clone(),
            ..self.clone()
        }
    }
}

/// A transaction as it was committed.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Captured {
    /// Its id.
    pub id: Uuid,
    /// When it counts, RFC 3339.
    pub effective: String,
    /// What it moved, in order.
    pub postings: Vec<Posting>,
}

/// A key of metadata that a phase changed.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fact {
    /// `account` or `transaction`.
    pub kind: String,
    /// Which one.
    pub target: String,
    /// The key.
    pub key: String,
    /// Its value before; `None` when it had none.
    pub was: Option<String>,
    /// Its value since; `None` for a tombstone.
    pub value: Option<String>,
    /// Its revision since.
    pub revision: i64,
}

/// What a record keeps for the way back.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Undo {
    /// [`FORMAT`].
    pub format: u32,
    /// Where the tables are.
    pub schema: Schema,
    /// The transactions that the phase itself committed, in order.
    pub transactions: Vec<Captured>,
    /// The keys that it changed, in order.
    pub metadata: Vec<Fact>,
}

impl Undo {
    /// As it stands in the record.
    pub(super) fn to_value(&self) -> Value {
        json!(self)
    }

    /// Reads undo data; `place` says of what.
    pub(super) fn read(undo: &Value, place: &str) -> Result<Self, PostingsError> {
        match undo.get("format").and_then(Value::as_u64) {
            Some(format) if format == u64::from(FORMAT) => {}
            // An older engine wrote none, and an older format had other fields.
            None => return Err(PostingsError::LegacyRecord(place.to_owned())),
            Some(format) if format < u64::from(FORMAT) => {
                return Err(PostingsError::LegacyRecord(place.to_owned()));
            }
            Some(format) => {
                return Err(PostingsError::Inconsistent(format!(
                    "{place} is of format {format}, this program knows {FORMAT}"
                )));
            }
        }
        serde_json::from_value(undo.clone())
            .map_err(|error| PostingsError::Inconsistent(format!("{place}: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// What is wrong with a list of fields.
    fn fault(fields: &[Field]) -> Option<String> {
        let mut names = BTreeSet::new();
        for (at, field) in fields.iter().enumerate() {
            if usize::from(field.number) != at + 1 {
                return Some(format!(
                    "number {} stands at place {}",
                    field.number,
                    at + 1
                ));
            }
            if !names.insert(field.name) {
                return Some(format!("{} is used again", field.name));
            }
        }
        None
    }

    fn names_in(value: &Value, names: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) => {
                for (name, value) in map {
                    names.insert(name.clone());
                    names_in(value, names);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| names_in(item, names)),
            _ => {}
        }
    }

    fn undo() -> Undo {
        let posting = Posting {
            source: "a".parse().expect("an account"),
            destination: "b".parse().expect("an account"),
            asset: "EUR/2".parse().expect("an asset"),
            amount: "5".parse().expect("an amount"),
        };
        Undo {
            format: FORMAT,
            schema: Schema::default(),
            transactions: vec![Captured {
                id: Uuid::from_u128(1),
                effective: "2026-01-01T00:00:00Z".to_owned(),
                postings: vec![posting],
            }],
            metadata: vec![Fact {
                kind: "account".to_owned(),
                target: "a".to_owned(),
                key: "tier".to_owned(),
                was: None,
                value: Some("gold".to_owned()),
                revision: 1,
            }],
        }
    }

    /// systems.md 3.6: a removed field number or name is never used again.
    #[test]
    fn no_field_number_and_no_name_is_used_twice() {
        assert_eq!(fault(&FIELDS), None);
        let again = [
            field(1, "a"),
            Field {
                retired: Some(2),
                ..field(2, "b")
            },
            field(3, "b"),
        ];
        assert_eq!(fault(&again), Some("b is used again".to_owned()));
        let gap = [field(1, "a"), field(3, "c")];
        assert_eq!(fault(&gap), Some("number 3 stands at place 2".to_owned()));
    }

    /// What is written has exactly the names that are listed and not retired.
    #[test]
    fn what_is_written_is_what_is_listed() {
        let mut written = BTreeSet::new();
        names_in(&undo().to_value(), &mut written);
        let listed: BTreeSet<String> = FIELDS
            .iter()
            .filter(|field| field.retired.is_none())
            .map(|field| field.name.to_owned())
            .collect();
        assert_eq!(written, listed);
        assert_eq!(Undo::read(&undo().to_value(), "it").expect("read"), undo());
    }

    #[test]
    fn an_older_record_is_legacy_and_a_broken_one_is_inconsistent() {
        let check = |undo: Value, code: &str| {
            let error = Undo::read(&undo, "the record").expect_err("refused");
            assert_eq!(error.code(), code, "{undo}");
        };
        check(Value::Null, "RD0351");
        check(json!({}), "RD0351");
        check(json!({"format": 0, "moves": []}), "RD0351");
        check(json!({"format": 2}), "RD0353");
        check(json!({"format": 1}), "RD0353");
        let mut more = undo().to_value();
        more["transactions"][0]["more"] = json!(1);
        check(more, "RD0353");
    }
}
