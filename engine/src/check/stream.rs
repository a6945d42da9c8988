//! Records and run rows in the order of their ids, page by page, in flat memory.

use std::vec::IntoIter;

use redress_ledger::{Record, leaf_hash};
use redress_sql as sql;
use serde_json::Value;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::error::Error;
use crate::view::Reading;

/// Records of one page: at most 65,535 bytes each.
const RECORDS_A_PAGE: i64 = 500;

/// A record as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub run: Uuid,
    pub seq: i64,
    pub hash: Vec<u8>,
    pub kind: String,
    pub phase: Option<String>,
    pub epoch: i64,
    pub switch_no: i64,
    pub transition: Option<String>,
    pub bytes: Vec<u8>,
}

impl Stored {
    fn read(row: &Row) -> Result<Self, tokio_postgres::Error> {
        Ok(Self {
            run: row.try_get(0)?,
            seq: row.try_get(1)?,
            hash: row.try_get(2)?,
            kind: row.try_get(3)?,
            phase: row.try_get(4)?,
            epoch: row.try_get(5)?,
            switch_no: row.try_get(6)?,
            transition: row.try_get(7)?,
            bytes: row.try_get(8)?,
        })
    }

    /// Whether the stored hash is that of the bytes.
    pub fn hash_holds(&self) -> bool {
        leaf_hash(&self.bytes).as_bytes().as_slice() == self.hash.as_slice()
    }

    /// The columns that are not what the bytes say.
    pub fn differing(&self, record: &Record, system: bool) -> Vec<&'static str> {
        // The system log tells of no phase.
        let phase = if system {
            None
        } else {
            text_of(record.body.get("phase"))
        };
        let columns = [
            ("run", self.run == record.run),
            ("seq", self.seq == record.seq),
            ("kind", self.kind == record.kind.as_str()),
            ("phase", self.phase == phase),
            ("epoch", self.epoch == record.epoch),
            ("switch_no", self.switch_no == record.switch_no),
            (
                "transition",
                self.transition == transition_of(record.body.get("transition")),
            ),
        ];
        let differs = |(name, same): (&'static str, bool)| (!same).then_some(name);
        columns.into_iter().filter_map(differs).collect()
    }
}

/// From, event and to as the schema's `transition_of` joins them.
fn transition_of(moved: Option<&Value>) -> Option<String> {
    let word = |name: &str| text_of(moved?.get(name));
    Some(format!(
        "{} {} {}",
        word("from")?,
        word("event")?,
        word("to")?
    ))
}

/// A member as PostgreSQL's `->>` gives it.
fn text_of(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// Every record, by run and number.
pub(crate) struct Records {
    after: (Uuid, i64),
    page: IntoIter<Row>,
    waiting: Option<Stored>,
    ended: bool,
}

impl Records {
    pub fn new() -> Self {
        Self {
            after: (Uuid::nil(), 0),
            page: Vec::new().into_iter(),
            waiting: None,
            ended: false,
        }
    }

    /// The next record, without taking it.
    pub async fn peek(&mut self, reading: &Reading<'_>) -> Result<Option<&Stored>, Error> {
        if self.waiting.is_none() {
            self.waiting = self.fetch(reading).await?;
        }
        Ok(self.waiting.as_ref())
    }

    /// Takes the next record.
    pub async fn next(&mut self, reading: &Reading<'_>) -> Result<Option<Stored>, Error> {
        match self.waiting.take() {
            Some(stored) => Ok(Some(stored)),
            None => self.fetch(reading).await,
        }
    }

    async fn fetch(&mut self, reading: &Reading<'_>) -> Result<Option<Stored>, Error> {
        loop {
            if let Some(row) = self.page.next() {
                let stored = Stored::read(&row)?;
                self.after = (stored.run, stored.seq);
                return Ok(Some(stored));
            }
            if self.ended {
                return Ok(None);
            }
            let (run, seq) = &self.after;
            let rows = reading
                .query(sql::ALL_RECORDS, &[run, seq, &RECORDS_A_PAGE])
                .await?;
            self.ended = rows.is_empty();
            self.page = rows.into_iter();
        }
    }
}

#[cfg(test)]
mod tests {
    use redress_ledger::{Hash, Kind};
    use serde_json::json;

    use super::*;

    fn record() -> Record {
        Record {
            v: redress_ledger::record::VERSION,
            origin: "test.example/check".to_owned(),
            generation: 1,
            run: Uuid::from_u128(7),
            epoch: 2,
            switch_no: 1,
            seq: 3,
            prev: Hash::ZERO,
            kind: Kind::PhaseCommitted,
            at: "2026-01-02T03:04:05.000006Z".to_owned(),
            actor: "test".to_owned(),
            engine: "redress/0".to_owned(),
            policy: None,
            idem: None,
            body: json!({
                "phase": "book",
                "transition": {"from": "running", "event": "phase_committed", "to": "running"},
            }),
        }
    }

    fn stored() -> Stored {
        let encoded = record().encode().expect("a record");
        let text = |text: &str| Some(text.to_owned());
        Stored {
            run: Uuid::from_u128(7),
            seq: 3,
            hash: encoded.hash.as_bytes().to_vec(),
            kind: "phase.committed".to_owned(),
            phase: text("book"),
            epoch: 2,
            switch_no: 1,
            transition: text("running phase_committed running"),
            bytes: encoded.bytes,
        }
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut Stored), expected: &[&str]) {
        let mut stored = stored();
        change(&mut stored);
        assert_eq!(stored.differing(&record(), false), expected);
    }

    #[test]
    fn each_column_is_compared_with_the_bytes() {
        check(|_| {}, &[]);
        check(|s| s.run = Uuid::nil(), &["run"]);
        check(|s| s.seq = 4, &["seq"]);
        check(|s| s.kind = "phase.failed".to_owned(), &["kind"]);
        check(|s| s.phase = None, &["phase"]);
        check(|s| s.epoch = 1, &["epoch"]);
        check(|s| s.switch_no = 2, &["switch_no"]);
        check(|s| s.transition = None, &["transition"]);
        let other = "running phase_committed failed";
        check(|s| s.transition = Some(other.to_owned()), &["transition"]);
    }

    #[test]
    fn a_hash_of_other_bytes_or_of_another_length_does_not_hold() {
        let mut stored = stored();
        assert!(stored.hash_holds());
        stored.hash.pop();
        assert!(!stored.hash_holds());
        stored.hash.push(0xff);
        assert!(!stored.hash_holds());
    }
}
