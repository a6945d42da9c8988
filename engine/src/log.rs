//! The saga log, written: builds the records of one transaction.
//!
//! **Invariant:** records are chained here exactly as `append` demands: dense numbers, each `prev` the hash before.
//!
//! **Not here:** the log read back (`story`), and how records come into the database (`tx`).

use redress_ledger::state::{self, Event, State};
use redress_ledger::{Class, Hash, Kind, Record, RecordError};
use serde_json::{Value, json};
use thiserror::Error;
use uuid::Uuid;

/// The engine's version, as it stands in each record.
pub(crate) const ENGINE: &str = concat!("redress/", env!("CARGO_PKG_VERSION"));

/// A log that cannot be read, or a record that cannot be written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LogError {
    /// A record is not what it must be.
    #[error("record {seq} of run {run}: {source}")]
    Record {
        /// Its number.
        seq: i64,
        /// Its run.
        run: Uuid,
        /// What is wrong.
        source: RecordError,
    },
    /// What is to be recorded has no room in a record: nothing was written.
    #[error(
        "what is to be recorded is too long: {bytes} bytes, a record has at most {}; run {run}",
        redress_ledger::record::RECORD_BYTES_MAX
    )]
    NoRoom {
        /// How long the record would be.
        bytes: usize,
        /// Its run.
        run: Uuid,
    },
    /// The log and the run's row disagree: somebody wrote around the engine.
    #[error(
        "the log says {logged}, the row says {stored}: run `redress check` before anything else, run {run}"
    )]
    Disagree {
        /// What replay gives.
        logged: String,
        /// What stands in the row.
        stored: String,
        /// The run.
        run: Uuid,
    },
    /// A field that must be there is not.
    #[error("record {seq} lacks {field}, run {run}")]
    Field {
        /// Its number.
        seq: i64,
        /// The missing field.
        field: &'static str,
        /// Its run.
        run: Uuid,
    },
}

impl LogError {
    /// Why a record cannot be written: nothing that stands is wrong, so too much of it is only refused.
    pub(crate) fn unwritten(record: &Record, source: RecordError) -> Self {
        let (seq, run) = (record.seq, record.run);
        match source {
            RecordError::TooLong(bytes) => Self::NoRoom { bytes, run },
            source => Self::Record { seq, run, source },
        }
    }

    /// What must be done.
    pub fn class(&self) -> Class {
        match self {
            Self::Record { source, .. } => source.class(),
            Self::NoRoom { .. } => Class::Refused,
            Self::Disagree { .. } | Self::Field { .. } => Class::Hold,
        }
    }

    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Record { source, .. } => source.code(),
            Self::NoRoom { .. } => "RD0196",
            Self::Disagree { .. } => "RD0670",
            Self::Field { .. } => "RD0671",
        }
    }
}

/// What each record of one transaction has in common.
#[derive(Clone, Debug)]
pub(crate) struct Common<'a> {
    pub origin: &'a str,
    pub generation: i64,
    pub run: Uuid,
    pub epoch: i64,
    pub switch_no: i64,
    pub actor: &'a str,
    pub policy: Option<Hash>,
    pub at: String,
}

/// Records of one transaction, chained onto the run's head.
pub(crate) struct Pages<'a> {
    common: Common<'a>,
    pub seq: i64,
    pub head: Hash,
    pub bytes: Vec<Vec<u8>>,
    state: State,
}

impl<'a> Pages<'a> {
    pub fn after(common: Common<'a>, seq: i64, head: Hash, state: State) -> Self {
        Self {
            common,
            seq,
            head,
            bytes: Vec::with_capacity(2),
            state,
        }
    }

    /// The run that these belong to.
    pub fn run(&self) -> Uuid {
        self.common.run
    }

    /// The state after what was pushed so far.
    pub fn state(&self) -> State {
        self.state
    }

    /// Adds a record that does not move the run's state.
    pub fn push(
        &mut self,
        kind: Kind,
        idem: Option<String>,
        body: Value,
    ) -> Result<Hash, LogError> {
        let record = Record {
            v: redress_ledger::record::VERSION,
            origin: self.common.origin.to_owned(),
            generation: self.common.generation,
            run: self.common.run,
            epoch: self.common.epoch,
            switch_no: self.common.switch_no,
            seq: self.seq + 1,
            prev: self.head,
            kind,
            at: self.common.at.clone(),
            actor: self.common.actor.to_owned(),
            engine: ENGINE.to_owned(),
            policy: self.common.policy,
            idem,
            body,
        };
        let encoded = record.encode();
        let encoded = encoded.map_err(|source| LogError::unwritten(&record, source))?;
        self.seq += 1;
        self.head = encoded.hash;
        self.bytes.push(encoded.bytes);
        Ok(encoded.hash)
    }

    /// Adds a record that moves the run's state; the move is legal or the caller has a defect that must not be written.
    pub fn push_event(
        &mut self,
        kind: Kind,
        event: &Event,
        idem: Option<String>,
        mut body: Value,
    ) -> Result<Hash, LogError> {
        let disagree = |logged: String| LogError::Disagree {
            logged,
            stored: self.state.as_str().to_owned(),
            run: self.common.run,
        };
        let to = state::transition(self.state, event)
            .map_err(|illegal| disagree(illegal.to_string()))?;
        if let Value::Object(fields) = &mut body {
            fields.insert(
                "transition".to_owned(),
                json!({"from": self.state.as_str(), "event": event.as_str(), "to": to.as_str()}),
            );
        }
        let hash = self.push(kind, idem, body)?;
        self.state = to;
        Ok(hash)
    }
}
