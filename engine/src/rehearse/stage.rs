//! One rehearsal on its way: forward phase by phase, and from each point back and forth again.
//!
//! **Invariant:** a point leaves nothing: a savepoint stands in front of each way back and is returned to.

use std::collections::{BTreeMap, BTreeSet};

use redress_ledger::Hash;
use redress_sql as sql;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::model::{Difference, Locked, Options, Point, Verdict, What};
use super::rows::Relation;
use crate::adapter::{AdapterError, Applied, Call};
use crate::db::{DbError, Session};
use crate::definition::Phase;
use crate::engine::Inner;
use crate::error::Error;
use crate::log::Pages;
use crate::name::Name;
use crate::phase::push_committed;
use crate::run::Live;
use crate::start::{Opening, push_opened};
use crate::tx::Entered;

/// Who signs in a rehearsal; the key is thrown away with it.
pub(super) const REHEARSAL: &str = "rehearsal";

/// What is known while a rehearsal goes on.
pub(super) struct Stage<'a> {
    pub inner: &'a Inner,
    pub session: &'a Session,
    pub beside: &'a Session,
    pub live: Live,
    pub at: Entered,
    order: Vec<usize>,
    pub relations: Vec<Relation>,
    /// The phase that added a row, by relation and key, and the row as it is on the way forward.
    pub written: BTreeMap<(String, String), (Name, String)>,
    /// Gates that were passed although they are shut now.
    pub shut: Vec<String>,
    /// The phase at whose point a difference showed for the first time.
    pub first_seen: BTreeMap<(What, String), Option<Name>>,
    locks: BTreeMap<String, BTreeSet<String>>,
    artefacts: TempDir,
}

/// Why forward work ended.
enum Forward {
    Done,
    Failed(Box<Difference>),
    Outside,
}

impl<'a> Stage<'a> {
    /// Sets the stage: rows noted, the snapshot before the run read and judged, the run opened in memory.
    pub async fn set(
        inner: &'a Inner,
        session: &'a Session,
        beside: &'a Session,
        opening: Opening,
        options: Options,
    ) -> Result<Self, Error> {
        let definition = opening.loaded.definition.clone();
        let names: BTreeSet<&String> = definition.phases.iter().flat_map(|p| &p.writes).collect();
        let mut relations = Vec::with_capacity(names.len());
        for name in names {
            relations.push(inner.remember_rows(session, name, options).await?);
        }
        let mut live = opening.live(inner)?;
        let at = Entered {
            xid: String::new(),
            seq: 0,
            head: Hash::ZERO,
            at: inner.now(session).await?,
            switch_no: 0,
            epoch: 1,
            state: live.story.state,
            phase: None,
            basis: (0, Hash::ZERO),
        };
        let pre = inner.pre(session, &live).await?;
        let mut pages = Pages::after(inner.common(&live, &at), 0, Hash::ZERO, live.story.state);
        let mut blobs = Vec::new();
        push_opened(&mut pages, &opening, &live, pre.clone(), &mut blobs)?;
        inner.take_records(&mut live, pages.bytes)?;
        // As they are, not as references to blobs that nobody stored.
        live.story.input = opening.input.clone();
        live.story.pre = Value::Object(pre);
        let folder =
            |error: std::io::Error| Error::NotRehearsed(format!("a folder for artefacts: {error}"));
        Ok(Self {
            inner,
            session,
            beside,
            order: definition.order(),
            live,
            at,
            relations,
            written: BTreeMap::new(),
            shut: Vec::new(),
            first_seen: BTreeMap::new(),
            locks: BTreeMap::new(),
            artefacts: tempfile::tempdir().map_err(folder)?,
        })
    }

    /// The relations whose rows are compared.
    pub fn compared(&self) -> Vec<String> {
        self.relations.iter().map(|r| r.name.clone()).collect()
    }

    /// What was locked, gathered on the way.
    pub fn take_locks(&mut self) -> Vec<Locked> {
        let locks = std::mem::take(&mut self.locks);
        let locked = |(relation, modes): (String, BTreeSet<String>)| Locked {
            relation,
            modes: modes.into_iter().collect(),
        };
        locks.into_iter().map(locked).collect()
    }

    /// Every point: 0 to n committed phases.
    pub async fn play(&mut self) -> Result<Vec<Point>, Error> {
        let phases: Vec<Phase> = self
            .order
            .iter()
            .map(|at| self.live.definition().phases[*at].clone())
            .collect();
        let mut points = vec![self.back(phases.first()).await?];
        let mut ended = None;
        for (at, phase) in phases.iter().enumerate() {
            let fails_at = phases.get(at + 1);
            let forward = match &ended {
                None => self.forward(phase).await?,
                Some(verdict) => {
                    points.push(self.unreached(&phases[..=at], fails_at, *verdict));
                    continue;
                }
            };
            let (verdict, finding) = match forward {
                Forward::Done => {
                    points.push(self.back(fails_at).await?);
                    continue;
                }
                Forward::Outside => (Verdict::NotRehearsable, None),
                Forward::Failed(finding) => (Verdict::Unreached, Some(*finding)),
            };
            ended = Some(verdict);
            let mut point = self.unreached(&phases[..=at], fails_at, verdict);
            match finding {
                Some(finding) => {
                    point.verdict = Verdict::Broken;
                    point.findings.push(finding);
                }
                None => point.notes.push(format!(
                    "phase {} works outside the database (adapter {}): what it does cannot be rolled back",
                    phase.name, phase.adapter
                )),
            }
            points.push(point);
        }
        Ok(points)
    }

    fn unreached(&self, committed: &[Phase], fails_at: Option<&Phase>, verdict: Verdict) -> Point {
        Point {
            committed: committed.iter().map(|p| p.name.clone()).collect(),
            fails_at: fails_at.map(|p| p.name.clone()),
            actions: Vec::new(),
            holds: false,
            verdict,
            findings: Vec::new(),
            residue: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// One phase forward, as a real one, and its record in memory.
    async fn forward(&mut self, phase: &Phase) -> Result<Forward, Error> {
        if self.inner.external(phase).is_some()
            || !self.inner.adapter(phase.adapter.as_str())?.in_database()
        {
            return Ok(Forward::Outside);
        }
        self.session.batch_execute("savepoint forward").await?;
        self.consent(phase);
        match self.apply(phase).await {
            Ok(()) => {}
            // A gate that is shut now: it changes nothing, and what comes behind it is what is to be proven.
            Err(Error::Adapter(AdapterError::NotYet { why, .. })) if phase.writes.is_empty() => {
                self.session
                    .batch_execute("rollback to savepoint forward")
                    .await?;
                self.shut.push(format!(
                    "phase {} is passed as if it had opened; it is shut now: {why}",
                    phase.name
                ));
                self.record(phase, Applied::default())?;
                return Ok(Forward::Done);
            }
            Err(error) if is_surroundings(&error) => return Err(error),
            Err(error) => {
                self.session
                    .batch_execute("rollback to savepoint forward")
                    .await?;
                return Ok(Forward::Failed(Box::new(Difference {
                    what: match error {
                        Error::Coverage { .. } | Error::LockCoverage { .. } => What::Coverage,
                        _ => What::Forward,
                    },
                    phase: Some(phase.name.clone()),
                    relation: written_by(phase),
                    difference: error.to_string(),
                    code: Some(error.code().to_owned()),
                    row: None,
                })));
            }
        }
        for relation in &self.relations {
            if !phase.writes.contains(&relation.name) {
                continue;
            }
            let moved = self
                .inner
                .moved_rows(self.session, self.beside, relation)
                .await?;
            for row in moved.added {
                let key = (relation.name.clone(), relation.key_of(&row).to_string());
                let by = match self.written.get(&key) {
                    Some((by, _)) => by.clone(),
                    None => phase.name.clone(),
                };
                self.written.insert(key, (by, row.whole));
            }
        }
        Ok(Forward::Done)
    }

    /// Signatures that the phase would wait for, by a key that nobody has.
    fn consent(&mut self, phase: &Phase) {
        let needed: u32 = phase.approvals.values().sum();
        let signed = json!({"principal": REHEARSAL, "key": REHEARSAL, "signature": null});
        let approvals: Vec<Value> = (0..needed).map(|_| signed.clone()).collect();
        let since = self.at.at.clone();
        if let Some(context) = self.live.context.as_object_mut() {
            context.insert("approvals".to_owned(), Value::Array(approvals));
            context["run"]["since"] = Value::String(since);
        }
    }

    async fn apply(&mut self, phase: &Phase) -> Result<(), Error> {
        let inner = self.inner;
        let call = Call {
            phase,
            context: &self.live.context,
            undo: &Value::Null,
            artefacts: Some(self.artefacts.path()),
        };
        let entry = async { Ok::<_, DbError>(()) };
        let ((), applied) = inner.apply(self.session, false, entry, &call).await?;
        let mut declared = self.declared();
        declared.extend(phase.writes.iter().cloned());
        let beyond = inner.written_beyond(self.session, &declared).await?;
        if !beyond.is_empty() {
            return Err(Error::Coverage {
                phase: phase.name.to_string(),
                relations: beyond.join(", "),
            });
        }
        let name = phase.name.as_str();
        let definition = self.live.definition();
        let before = self.live.story.committed.iter();
        let before = before.filter_map(|c| definition.phase(c.phase.as_str()));
        inner
            .cover_locks(self.session, name, before.chain([phase]))
            .await?;
        // Each phase is a transaction of its own, and begins with its constraints deferred.
        self.session
            .batch_execute("set constraints all deferred")
            .await?;
        self.record(phase, applied)
    }

    fn record(&mut self, phase: &Phase, applied: Applied) -> Result<(), Error> {
        let inner = self.inner;
        let output = Value::Object(applied.output.clone());
        let undo = applied.undo.clone();
        let mut blobs = Vec::new();
        let (seq, head, state) = (self.live.row.seq, self.live.row.head, self.live.story.state);
        let mut pages = Pages::after(inner.common(&self.live, &self.at), seq, head, state);
        push_committed(&mut pages, &self.live, phase, applied, &mut blobs)?;
        inner.advance(&mut self.live, phase, pages.bytes, output)?;
        if let Some(committed) = self.live.story.committed.last_mut()
            && !undo.is_null()
        {
            committed.undo = undo;
        }
        Ok(())
    }

    /// What the phases that have committed declare.
    pub fn declared(&self) -> Vec<String> {
        let committed = self.live.story.committed.iter();
        let phases = committed.filter_map(|c| self.live.definition().phase(c.phase.as_str()));
        phases.flat_map(|phase| phase.writes.clone()).collect()
    }

    pub async fn note_locks(&mut self) -> Result<(), Error> {
        let text = self.inner.sql.text(sql::HELD_LOCKS);
        let rows = self.session.query(text, &[]).await;
        let rows = match rows.map_err(DbError::from) {
            Ok(rows) => rows,
            // The transaction is broken just now; what it holds is seen at the next point.
            Err(error) if error.sqlstate() == Some("25P02") => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        for row in &rows {
            let relation: String = row.try_get(0)?;
            self.locks
                .entry(relation)
                .or_default()
                .insert(row.try_get(1)?);
        }
        Ok(())
    }
}

/// Nothing is said about the saga: a lock that was not to be had, a lost connection, somebody else's change.
pub(super) fn is_surroundings(error: &Error) -> bool {
    error.is_lost()
        || matches!(
            error.sqlstate(),
            Some("40001" | "40P01" | "55P03" | "57014")
        )
}

/// What a phase writes, for people.
pub(super) fn written_by(phase: &Phase) -> Option<String> {
    (!phase.writes.is_empty()).then(|| phase.writes.join(", "))
}
