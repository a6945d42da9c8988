//! Metadata of accounts and transactions: set, deleted, put back. A deleted key stays as a tombstone whose revision grows.
//!
//! **Invariant:** what a reader knows of a key is the highest revision that it has seen. A tombstone has one too, so that
//! neither an older copy nor a late delivery brings a deleted key back ([`Kept`]).

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::book::{Book, text};
use super::error::PostingsError;
use super::format::Fact;
use super::schema;
use super::value::{Address, Key, Words};
use super::with::Mode;

/// Kind, target, key.
pub type Place = (String, String, String);

/// What is to become of one key.
#[derive(Clone, Debug)]
pub struct FactChange {
    /// The account, when it is about one: it must be declared too.
    pub account: Option<Address>,
    /// The transaction, when it is about one.
    pub transaction: Option<Uuid>,
    /// The key.
    pub key: Key,
    /// Its value; `None` deletes it.
    pub value: Option<Words>,
    /// The revision that it must have now, when it is put back.
    pub at: Option<i64>,
}

impl FactChange {
    fn place(&self) -> Place {
        let (kind, target) = match (&self.account, &self.transaction) {
            (Some(account), _) => ("account", account.to_string()),
            (None, Some(transaction)) => ("transaction", transaction.to_string()),
            (None, None) => ("transaction", String::new()),
        };
        (kind.to_owned(), target, self.key.to_string())
    }
}

/// What became of one key.
#[derive(Clone, Debug, Serialize)]
pub struct Changed {
    /// For the record.
    #[serde(flatten)]
    pub fact: Fact,
    /// `set`, `deleted`, or `absent`: there was nothing to delete, which ingest mode allows.
    pub done: &'static str,
}

/// The changes that a transaction's own metadata is.
pub(super) fn of_transaction(
    id: Uuid,
    metadata: &BTreeMap<Key, Words>,
) -> impl Iterator<Item = FactChange> {
    metadata.iter().map(move |(key, value)| FactChange {
        account: None,
        transaction: Some(id),
        key: key.clone(),
        value: Some(value.clone()),
        at: None,
    })
}

/// Locks, judges and changes keys.
pub(super) async fn change(
    book: &Book<'_>,
    changes: &[FactChange],
    mode: Mode,
    judge_only: bool,
) -> Result<Vec<Changed>, PostingsError> {
    if changes.is_empty() {
        return Ok(Vec::new());
    }
    let named = |change: &FactChange| {
        let (kind, target, key) = change.place();
        json!({"kind": kind, "target": target, "key": key})
    };
    let set: Vec<Value> = changes
        .iter()
        .filter(|c| c.value.is_some())
        .map(named)
        .collect();
    if !judge_only && !set.is_empty() {
        book.sql
            .touch(book.tx, schema::HOLD_METADATA, &[json!(set)])
            .await?;
    }
    let all: Vec<Value> = changes.iter().map(named).collect();
    let mut found: BTreeMap<Place, (i64, Option<String>)> = BTreeMap::new();
    for row in &book
        .sql
        .rows(book.tx, schema::LOCK_METADATA, &[json!(all)])
        .await?
    {
        let place = (
            text(row, "kind")?.to_owned(),
            text(row, "target")?.to_owned(),
            text(row, "key")?.to_owned(),
        );
        let revision = text(row, "revision")?.parse();
        let revision =
            revision.map_err(|_| PostingsError::Inconsistent("a revision".to_owned()))?;
        found.insert(place, (revision, row["value"].as_str().map(str::to_owned)));
    }
    let mut changed: Vec<Changed> = Vec::with_capacity(changes.len());
    let mut seen = std::collections::BTreeSet::new();
    for change in changes {
        if !seen.insert(change.place()) {
            return Err(PostingsError::Malformed {
                what: "a key of metadata is changed once in a phase",
                found: shown(&change.place()),
            });
        }
        changed.push(judge(change, found.get(&change.place()), mode)?);
    }
    let writes: Vec<Value> = changed
        .iter()
        .filter(|c| c.done != "absent")
        .map(|c| json!({"kind": c.fact.kind, "target": c.fact.target, "key": c.fact.key, "value": c.fact.value}))
        .collect();
    if !judge_only && !writes.is_empty() {
        book.sql
            .touch(book.tx, schema::CHANGE_METADATA, &[json!(writes)])
            .await?;
    }
    Ok(changed)
}

fn judge(
    change: &FactChange,
    found: Option<&(i64, Option<String>)>,
    mode: Mode,
) -> Result<Changed, PostingsError> {
    let (kind, target, key) = change.place();
    let (revision, was) = found.cloned().unwrap_or((0, None));
    if change.at.is_some_and(|at| at != revision) {
        return Err(PostingsError::Changed(format!(
            "metadata {}",
            shown(&change.place())
        )));
    }
    let done = match (&change.value, &was, change.at) {
        (Some(_), _, _) => "set",
        (None, Some(_), _) | (None, None, Some(_)) => "deleted",
        (None, None, None) if mode == Mode::Ingest => "absent",
        (None, None, None) => return Err(PostingsError::Absent(shown(&change.place()))),
    };
    let fact = Fact {
        kind,
        target,
        key,
        was,
        value: change.value.as_ref().map(ToString::to_string),
        revision: if done == "absent" {
            revision
        } else {
            revision + 1
        },
    };
    Ok(Changed { fact, done })
}

fn shown((kind, target, key): &Place) -> String {
    format!("{key} of {kind} {target}")
}

/// What a reader keeps of metadata between its looks at the database.
///
/// ```
/// use redress_adapters::postings::Kept;
///
/// let place = || ("account".to_owned(), "a".to_owned(), "tier".to_owned());
/// let mut kept = Kept::default();
/// kept.take(place(), 1, Some("gold".to_owned()));
/// kept.take(place(), 2, None);
/// // The older copy of another reader comes late: the key stays deleted.
/// kept.take(place(), 1, Some("gold".to_owned()));
/// assert_eq!(kept.get(&place()), None);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Kept {
    known: BTreeMap<Place, (i64, Option<String>)>,
}

impl Kept {
    /// Takes a row of the table `metadata`, tombstones too, in whatever order they come; an older one changes nothing.
    pub fn take(&mut self, place: Place, revision: i64, value: Option<String>) {
        let known = self.known.entry(place).or_insert((-1, None));
        if known.0 < revision {
            *known = (revision, value);
        }
    }

    /// The value of a live key.
    pub fn get(&self, place: &Place) -> Option<&str> {
        self.known.get(place)?.1.as_deref()
    }
}
