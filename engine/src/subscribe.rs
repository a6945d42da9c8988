//! Hands out the records of the log as they become visible: to whoever embeds the engine, from a position on.
//!
//! **Invariant:** at least once. Nothing that commits is passed over, however late; a run's records come in their order.
//! A position that is remembered and taken up again gives everything behind it, and perhaps a little before it once more:
//! an event is told from its repetition by its hash.
//!
//! **What can go wrong:** what was archived before anybody read it does not come; in a restored copy the records of old
//! transactions may come again, late.
//!
//! **Not here:** who remembers the position (`notify` does, for its sinks).

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use redress_ledger::{Hash, Record};
use redress_sql as sql;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::engine::Engine;
use crate::error::Error;
use crate::seen::Seen;
use crate::tx::hash_at;
use crate::view::Reading;

/// How often the log is looked at when nothing was new.
const POLL: Duration = Duration::from_millis(200);
/// Records that are read at once.
const EVENTS_A_PAGE: usize = 500;

/// A record that became visible.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The run, or the installation's own log.
    pub run: Uuid,
    /// The record's number in it.
    pub seq: i64,
    /// Its hash: the same event has the same, whenever it comes.
    pub hash: Hash,
    /// The record itself.
    pub record: Record,
}

/// How far somebody has read; a short text that can be kept anywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position(Seen);

impl Position {
    /// Before the first record.
    pub fn beginning() -> Self {
        Self(Seen {
            below: 0,
            in_flight: BTreeSet::new(),
        })
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_text())
    }
}

/// A text that is no position.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a position of the log: {0:?}")]
pub struct NoPosition(String);

impl FromStr for Position {
    type Err = NoPosition;

    fn from_str(text: &str) -> Result<Self, NoPosition> {
        let seen = Seen::parse(text).filter(|seen| {
            let late = seen.in_flight.last();
            late.is_none_or(|last| *last < seen.below)
        });
        seen.map(Self).ok_or_else(|| NoPosition(text.to_owned()))
    }
}

/// Reads the log from a position on.
pub struct Subscription {
    engine: Engine,
    seen: Seen,
    /// What the present page leads to, once all of it was handed out.
    next: Option<Seen>,
    page: VecDeque<Event>,
}

impl Engine {
    /// Hears of every record behind a position: of runs, of holds and the switch, and of the keys.
    pub fn subscribe(&self, from: Position) -> Subscription {
        Subscription {
            engine: self.clone(),
            seen: from.0,
            next: None,
            page: VecDeque::new(),
        }
    }

    /// Where the log ends now: whoever subscribes from here hears of what commits later.
    ///
    /// # Errors
    /// [`Error::Db`].
    pub async fn position(&self) -> Result<Position, Error> {
        let reading = Reading::begin(&self.inner).await?;
        let seen = now(&reading).await?;
        reading.end().await;
        Ok(Position(seen))
    }
}

impl Subscription {
    /// The next record, as soon as there is one.
    ///
    /// # Errors
    /// [`Error::Db`], [`Error::Log`]; asking again goes on where it was.
    pub async fn next(&mut self) -> Result<Event, Error> {
        loop {
            if let Some(event) = self.try_next().await? {
                return Ok(event);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// The next record, if there is one now.
    ///
    /// # Errors
    /// As [`Subscription::next`].
    pub async fn try_next(&mut self) -> Result<Option<Event>, Error> {
        if self.page.is_empty() {
            // What was asked for before has been handed out.
            if let Some(next) = self.next.take() {
                self.seen = next;
            }
            self.read_page().await?;
        }
        Ok(self.page.pop_front())
    }

    /// From where on everything comes that was not handed out yet, with what was handed out of the present page.
    pub fn position(&self) -> Position {
        match (&self.next, self.page.is_empty()) {
            (Some(next), true) => Position(next.clone()),
            _ => Position(self.seen.clone()),
        }
    }

    async fn read_page(&mut self) -> Result<(), Error> {
        let inner = std::sync::Arc::clone(&self.engine.inner);
        let reading = Reading::begin(&inner).await?;
        let now = now(&reading).await?;
        let late: Vec<String> = self.seen.in_flight.iter().map(u64::to_string).collect();
        let mut rows = match late.is_empty() {
            true => Vec::new(),
            false => reading.query(sql::LATE_RECORDS, &[&late]).await?,
        };
        let from = self.seen.below.to_string();
        let mut limit = EVENTS_A_PAGE;
        let cut = loop {
            let most = i64::try_from(limit).unwrap_or(i64::MAX);
            let found = reading.query(sql::EVENTS_SINCE, &[&from, &most]).await?;
            let last = xid_of(found.last())?;
            let whole = found.len() < limit;
            // The last transaction may have more records than were read.
            let cut = last.filter(|_| !whole);
            let taken: Vec<Row> = found
                .into_iter()
                .filter(|row| xid_of(Some(row)).ok().flatten() != cut || cut.is_none())
                .collect();
            if cut.is_none() || !taken.is_empty() {
                rows.extend(taken);
                break cut;
            }
            limit = limit.saturating_mul(2);
        };
        reading.end().await;
        self.page = rows.iter().map(event).collect::<Result<_, Error>>()?;
        // A late transaction that has ended is read by now; one that is still in flight is late once more.
        self.next = Some(now.up_to(cut, &BTreeSet::new()));
        Ok(())
    }
}

async fn now(reading: &Reading<'_>) -> Result<Seen, Error> {
    let rows = reading.query(sql::CURRENT_SNAPSHOT, &[]).await?;
    let text: Option<&str> = rows.first().map(|row| row.try_get(0)).transpose()?;
    let seen = text.and_then(Seen::parse);
    seen.ok_or_else(|| Error::Inconsistent("a snapshot that is none".to_owned()))
}

fn xid_of(row: Option<&Row>) -> Result<Option<u64>, Error> {
    let Some(row) = row else { return Ok(None) };
    let text: &str = row.try_get(0)?;
    let xid = text.parse();
    xid.map(Some)
        .map_err(|_| Error::Inconsistent(format!("a transaction's id that is none: {text}")))
}

fn event(row: &Row) -> Result<Event, Error> {
    let (run, seq): (Uuid, i64) = (row.try_get(1)?, row.try_get(2)?);
    let bytes: &[u8] = row.try_get(4)?;
    let record = Record::decode(bytes);
    let record = record.map_err(|source| crate::log::LogError::Record { seq, run, source })?;
    Ok(Event {
        run,
        seq,
        hash: hash_at(row, 3)?,
        record,
    })
}
